"""Two-stage detectors, followed through RoIAlign at fixed proposals."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from epsd_mm.structure import Width, traceable
from epsd_mm.structure.sides import sides as sides_of

from .tensor_mode import samples


def fits(model: nn.Module) -> bool:
    """Whether a model has proposals and a head that looks at them."""
    return hasattr(model, 'rpn_head') and hasattr(model, 'roi_head')


def trace(model: nn.Module, image: Tensor) -> Any:
    """Outputs of the heads for one image.

    The proposals are the same whatever the weights are, two of each size
    that extractors tell apart.

    Args:
        model: The detector.
        image: Preprocessed, of shape (1, 3, H, W).
    """
    from mmengine.structures import InstanceData

    features = model.extract_feat(image)
    told = samples(model, image)
    learned = _has_learned_proposals(model)
    outputs = [] if learned else [model.rpn_head(features)]
    if getattr(model, 'semantic_head', None) is not None:
        outputs.append(model.semantic_head(features))
    sides = image.new_tensor([16, 32, 64, 128, 256, 512, 1024]).repeat(2)
    corner = image.new_zeros(len(sides), 2)
    boxes = torch.cat([corner, sides[:, None].expand(-1, 2)], dim=1)
    boxed = InstanceData(
        bboxes=boxes, scores=sides * 0, labels=sides.long() * 0
    )
    if learned:
        (boxed,) = model.rpn_head.predict(features, told)
    with ExitStack() as hooks:
        for module in filter(_is_extractor, model.modules()):
            hook = module.register_forward_pre_hook(_at_proposals(boxes))
            hooks.callback(hook.remove)
        # Some return less than their parts predict.
        for head in _heads(model.roi_head):
            hook = head.register_forward_hook(
                lambda head, inputs, output: outputs.append(output)
            )
            hooks.callback(hook.remove)
        semantic = getattr(model.roi_head, 'semantic_head', None)
        if semantic is not None:  # features come second, and may be fewer
            hook = semantic.register_forward_hook(
                lambda head, inputs, output: outputs.append(output[0])
            )
            hooks.callback(hook.remove)
        outputs.append(model.roi_head.forward(features, [boxed], told))
    return outputs


def _has_learned_proposals(model: nn.Module) -> bool:
    """Whether proposals are parameters, as Sparse R-CNN's."""
    return type(model.rpn_head).forward is nn.Module.forward


def _heads(roi_head: nn.Module) -> list[nn.Module]:
    """Its parts that predict: one, or one a stage."""
    parts = [*roi_head.children()]
    parts += [p for part in parts for p in part.children()]
    return [
        p
        for p in parts
        if hasattr(p, 'predict_by_feat') or hasattr(p, 'loss_and_target')
    ]


def _at_proposals(boxes: Tensor) -> Callable:
    """A hook by which all stages of a cascade look at the same boxes."""

    def hook(extractor: nn.Module, inputs: tuple) -> tuple:
        features, rois, *rest = inputs
        turns = -(-len(rois) // len(boxes))
        fixed = boxes.repeat(turns, 1)[: len(rois)]
        fixed = torch.cat([torch.zeros_like(fixed[:, :1]), fixed], dim=1)
        return features, fixed, *rest

    return hook


def attributes(model: nn.Module, image: Tensor) -> Mapping[str, Width]:
    """RoI extractors make tensors of the width ``out_channels``.

    That width is the one that the next layer with weights reads.
    """
    names = {module: name for name, module in model.named_modules()}
    called: list[nn.Module] = []

    def note(module: nn.Module, *_: Any) -> None:
        called.append(module)

    with traceable(model), torch.no_grad(), ExitStack() as hooks:
        for module in names:
            if _is_extractor(module) or _columns(module):
                hook = module.register_forward_pre_hook(note)
                hooks.callback(hook.remove)
        trace(model, image)
    found, waiting = {}, []
    for module in called:
        if _is_extractor(module):
            waiting.append(module)
            continue
        axis, size = _columns(module)
        for extractor in waiting:  # their features may be added
            found[f'{names[extractor]}.out_channels'] = Width(
                f'{names[module]}.weight', axis, size // extractor.out_channels
            )
        waiting.clear()
    return found


def _columns(module: nn.Module) -> tuple[int, int] | None:
    """The axis of a layer's weight that follows what it reads; its size."""
    for tensor, axis, _ in sides_of(module).read:
        if tensor == 'weight':
            return axis, module.weight.shape[axis]
    return None


def _is_extractor(module: nn.Module) -> bool:
    return hasattr(module, 'roi_layers') and hasattr(module, 'out_channels')
