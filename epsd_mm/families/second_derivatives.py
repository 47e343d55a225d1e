"""Models whose losses can be differentiated twice, exactly."""

import sys

from torch import nn

from .kinds import class_names

# How a layer is told that autograd keeps what it needs. Those of mm, timm and
# transformers calculate it anew otherwise, or (reversible ones) from what
# comes out, when the weights of the evaluation are there no longer.
_OWN_BACKWARD = dict(
    with_cp=False,
    use_checkpoint=False,
    grad_checkpointing=False,
    gradient_checkpointing=False,
    no_custom_backward=True,
)


def make_twice_differentiable(model: nn.Module) -> None:
    """Let parts that refuse, or drop, second-order terms have them.

    RoIAlign, deformable convolutions and attention, and losses of mmdet
    become exact; activation checkpointing and the backward of reversible
    layers are off (they refuse a second derivative, or take it at other
    weights).

    Args:
        model: A copy of one's own: what trains keeps mm's operators.
    """
    for module in model.modules():
        for switch, plain in _OWN_BACKWARD.items():
            if getattr(module, switch, plain) is (not plain):
                setattr(module, switch, plain)
    kinds = {name for m in model.modules() for name in class_names(m)}
    # Classifiers do without mmcv's operators.
    if 'RoIAlign' in kinds:
        from .twice_differentiable import replace_roi_align

        replace_roi_align(model)
    if 'mmcv.ops' in sys.modules:  # or nothing can call them
        from .twice_differentiable.calls import replace_calls

        replace_calls(model)
    if any(type(m).__module__.startswith('mmdet.') for m in model.modules()):
        from .twice_differentiable.focal_loss import replace_focal_loss

        replace_focal_loss(model)
