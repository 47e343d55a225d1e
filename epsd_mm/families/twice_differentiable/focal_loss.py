"""mmdet's focal loss by operators that can be differentiated twice.

Where class indices meet logits on CUDA, mmdet's loss calls a kernel whose
backward is differentiable once, and ``torch.autograd.grad`` drops its
second-order terms without a word. One-hot rows of the same classes take
mmdet's other path, that of the CPU: operators of torch, on any device.
"""

import torch.nn.functional as F
from mmdet.models.losses import FocalLoss
from torch import Tensor, nn


class TwiceDifferentiableFocalLoss(FocalLoss):
    """mmdet's sigmoid focal loss with an exact second derivative.

    ::

        FL(x, y) = −α_y (1 − p_y)^γ log p_y
        p_1 = sigmoid(x),  α_1 = α      p_0 = 1 − p_1,  α_0 = 1 − α

    summed over the classes, y = 1 for the class of the row. Lin et al.,
    *Focal Loss for Dense Object Detection*, ICCV 2017, equation 5. Weights
    and reduction are mmdet's. With the usual γ = 2, and with any γ that is
    an integer or above 2, both derivatives are finite for any logit; with
    another one torch's second derivative is not a number where a sigmoid
    has become exactly 0 or 1, and scoring says that it is not finite.

    Args:
        loss: The loss whose settings to take over.
    """

    def __init__(self, loss: FocalLoss) -> None:
        super().__init__(
            gamma=loss.gamma,
            alpha=loss.alpha,
            reduction=loss.reduction,
            loss_weight=loss.loss_weight,
            activated=loss.activated,
        )

    def forward(self, pred: Tensor, target: Tensor, *args, **kwargs) -> Tensor:
        """The loss of logits (N, C) for classes (N,) or rows (N, C).

        Class C is the background, a row of zeros.
        """
        if target.dim() < pred.dim():
            classes = pred.size(1)
            target = F.one_hot(target, classes + 1)[:, :classes]
        return super().forward(pred, target, *args, **kwargs)


def replace_focal_loss(model: nn.Module) -> int:
    """Swap every focal loss of a model for its exact counterpart.

    Losses have no parameters, so names stay as they are. Meant for the copy
    of a model that is scored; the model that is trained keeps mmdet's.
    Subclasses stay: what they compute is not known here.

    Returns:
        The number of losses swapped.
    """
    found = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if type(child) is FocalLoss
    ]
    for module, name, child in found:
        setattr(module, name, TwiceDifferentiableFocalLoss(child))
    return len(found)
