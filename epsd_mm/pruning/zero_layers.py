"""Layers whose scores are all exactly zero, so that nothing ranks them."""

from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

from .masks import Masks

_ZERO_INIT = (
    'zero_init_residual=False in its backbone (--cfg-options '
    'model.backbone.zero_init_residual=False), or zero_init_last=False in timm'
)

_FEW_IMAGES = (
    'a layer that few images use needs more draws or batches_per_step, and '
    'in a detector images with objects that are not ignored'
)

#: What to do where weights have to be trained ones.
LOAD_TRAINED = (
    'load them first, by load_from, an init_cfg of type Pretrained, '
    '--checkpoint of tools/prune.py, or weights_of in a suite'
)

#: What is done with them: raise, or keep all of their weights.
CHOICES = ('error', 'dense')


def check_choice(zero_layers: str) -> None:
    """Raise unless it is one of :data:`CHOICES`."""
    if zero_layers not in CHOICES:
        raise ValueError(
            f'zero_layers={zero_layers!r} must be one of '
            f'{", ".join(map(repr, CHOICES))}'
        )


def find_zero_layers(scores: Mapping[str, Tensor], masks: Masks) -> list[str]:
    """Names of the layers of which something is left that scores zero only.

    Args:
        scores: Scores by parameter name.
        masks: What is left.
    """
    return [
        name
        for name, tensor in scores.items()
        if masks[name].any() and not tensor.any()
    ]


def check_zero_layers(
    names: Collection[str],
    choice: str,
    params: Mapping[str, Tensor],
    count: int,
    round: int = 1,
    started: bool = False,
    trained: bool = False,
) -> None:
    """Raise unless such layers are to stay dense, and others are left.

    Ties by index would settle which of their weights are kept otherwise.
    A layer that earlier rounds have cut off has lost weights by then, and
    is refused whatever the choice.

    Args:
        names: The layers, if any.
        choice: One of :data:`CHOICES`.
        params: Weights by name, as they were initialised: a score
            ``θ ⊙ g`` is zero where the weights are, whatever the gradient.
        count: Number of prunable layers.
        round: Number of the round of scoring.
        started: Whether the first round is of what given masks keep.
        trained: Whether what scores is made for trained weights.

    Raises:
        ValueError: Names the layers, and the cause of each.
    """
    if not names or (choice == 'dense' and round == 1 and len(names) < count):
        return
    what = f'all scores are exactly zero in {len(names)} of {count} layers'
    if round > 1:
        raise ValueError(
            f'in round {round} {what}: {", ".join(names)}. What earlier '
            'rounds have left passes no gradient on to them: lower the '
            'sparsity, give every layer a floor (min_density of the '
            'allocation), or take more draws'
        )
    if started:
        raise ValueError(
            f'{what}: {", ".join(names)}. What the masks of start leave may '
            'pass no gradient on to them: start from masks that leave more '
            'of each layer (min_density of the allocation they were found '
            'with), leave start out, or take more draws'
        )
    remedy = (
        'To leave these layers dense, say so: zero_layers="dense" leaves '
        'them all, exclude=[...] some by name'
    )
    if len(names) == count:
        remedy = 'Nothing would be left to prune'
    raise ValueError(
        '. '.join([what, *_causes(names, params, trained), remedy])
    )


def _causes(
    names: Collection[str], params: Mapping[str, Tensor], trained: bool
) -> Iterator[str]:
    empty = [n for n in names if n in params and not params[n].any()]
    cut = [name for name in names if name not in empty]
    if empty:
        yield (
            f'The weights of {", ".join(empty)} are all zero at '
            'initialisation, and so is a score that multiplies by them, '
            'whatever their gradient'
        )
    if cut:
        when = '' if trained else ' at initialisation'
        yield f'The gradient of {", ".join(cut)} is zero{when}'
        yield _cut_off(names, params, trained)
    if trained:
        yield f'What scores here is made for trained weights: {LOAD_TRAINED}'


def _cut_off(
    names: Collection[str], params: Mapping[str, Tensor], trained: bool
) -> str:
    """What may be behind a gradient of zero."""
    still = {
        name: param
        for name, param in params.items()
        if name.endswith('weight') and name not in names and not param.any()
    }
    scales = [name for name, param in still.items() if param.dim() == 1]
    matrices = [name for name in still if name not in scales]
    if not still:
        return (
            'A residual network trained from scratch needs '
            f'{_ZERO_INIT} (with True, the last norm of each block starts at '
            '0 and cuts its branch off); a classifier that starts at zero '
            f'cuts off all before it; {_FEW_IMAGES}'
        )
    found = []
    if scales:
        found.append(
            f'{_first_of(scales)} of normalisation, where branches end: set '
            f'{_ZERO_INIT}'
        )
    if matrices:
        remedy = ': load trained weights, or initialise it otherwise'
        found.append(
            f'{_first_of(matrices)}, which cuts off all before it'
            + ('' if trained else remedy)
        )
    return f'What starts at zero is {"; and ".join(found)}; {_FEW_IMAGES}'


def _first_of(names: Collection[str]) -> str:
    first, *others = names
    return first + (f' and {len(others)} more' if others else '')
