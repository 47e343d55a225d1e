"""What mmdet's SSD needs."""

from torch import nn

from .kinds import class_names


def repair_ssd_head(model: nn.Module) -> None:
    """Let mmdet's ``SSDHead`` predict, which it cannot since mmdet 3.3.

    Its base class asks ``loss_cls`` for an activation of its own, and this
    head has no such loss: ``None`` answers that there is none.

    Args:
        model: Any model; heads that predict stay as they are.
    """
    for module in model.modules():
        if 'SSDHead' in class_names(module):
            if not hasattr(module, 'loss_cls'):
                module.loss_cls = None
