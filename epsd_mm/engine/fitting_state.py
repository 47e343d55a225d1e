"""Whether a checkpoint is one of a network."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from .safe_loading import CheckpointError


def fitting_state(
    model: nn.Module, content: Any, path: str
) -> dict[str, Tensor]:
    """All weights of a network in a checkpoint, by their names there.

    What else the checkpoint has, as an auxiliary head of its training, is
    left out.

    Args:
        model: The network.
        content: What was loaded of the checkpoint, or its ``state_dict``.
        path: Of it, for messages.

    Raises:
        CheckpointError: Some are not there, or of another shape.
    """
    state = content
    if isinstance(content, Mapping):
        state = content.get('state_dict', content)
    if not isinstance(state, Mapping):
        raise CheckpointError(f'{path} has no state_dict: name a checkpoint')
    # What wraps a model in distributed training is there in some.
    state = {name.removeprefix('module.'): v for name, v in state.items()}
    own = model.state_dict()
    wrong = [
        f'{name}, {tuple(value.shape)} here, {_shape(state, name)} there'
        for name, value in own.items()
        if name not in state or state[name].shape != value.shape
    ]
    if wrong:
        others = f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''
        raise CheckpointError(
            f'{path} is not of the network of the config: {wrong[0]}{others}; '
            'take the config it was trained with'
        )
    return {name: state[name] for name in own}


def _shape(state: Mapping[str, Tensor], name: str) -> str:
    return f'{tuple(state[name].shape)}' if name in state else 'is not'
