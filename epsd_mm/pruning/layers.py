"""The layers whose weights may be pruned, and those weights."""

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.prune import BasePruningMethod

#: Of attention either the first, or the others where queries, keys and
#: values differ in width; what is absent is None.
_PROJECTIONS = (
    'in_proj_weight',
    'q_proj_weight',
    'k_proj_weight',
    'v_proj_weight',
)

#: Deformable convolutions share no base class with torch's, nor mmcv's with
#: torchvision's or with the copies in projects: what they share is the name.
_DEFORMABLE = {
    'DeformConv',
    'DeformConv2d',
    'ModulatedDeformConv',
    'ModulatedDeformConv2d',
}


def is_deformable(module: nn.Module) -> bool:
    """Whether a module is a deformable convolution, by class or base."""
    return any(kind.__name__ in _DEFORMABLE for kind in type(module).__mro__)


def layer_weights(module: nn.Module) -> list[nn.Parameter]:
    """Weights by which a module itself convolves or multiplies its inputs.

    One of a linear layer or convolution, deformable or not.
    ``nn.MultiheadAttention`` projects queries, keys and values without such
    layers: one matrix, or three. Of any other module none, whatever its
    parts are, and none where the weight is calculated from parameters.
    """
    own = dict(module.named_parameters(recurse=False))
    return [own[name] for name in _weight_names(module) if name in own]


def hooked_weights(module: nn.Module) -> list[nn.Parameter]:
    """Parameters from which a hook calculates the weights of a layer.

    So ``torch.nn.utils.weight_norm`` and ``spectral_norm`` work: before
    each forward pass a hook puts a tensor in the place of the weight.
    ``torch.nn.utils.prune`` works alike, but its masks do not change what
    they keep, so its weights are not meant.
    """
    pruned = {
        f'{hook._tensor_name}_orig'
        for hook in module._forward_pre_hooks.values()
        if isinstance(hook, BasePruningMethod)
    }
    shapes = {weight.shape for weight in calculated_weights(module)}
    return [
        param
        for name, param in module.named_parameters(recurse=False)
        if name not in pruned and param.shape in shapes
    ]


def calculated_weights(module: nn.Module) -> list[Tensor]:
    """Weights of a layer that are attributes and no parameters.

    Some have a gradient function, which Python's ``deepcopy`` refuses.
    """
    found = [vars(module).get(name) for name in _weight_names(module)]
    return [weight for weight in found if isinstance(weight, Tensor)]


def _weight_names(module: nn.Module) -> tuple[str, ...]:
    if isinstance(module, nn.MultiheadAttention):
        return _PROJECTIONS
    if isinstance(module, (_ConvNd, nn.Linear)) or is_deformable(module):
        return ('weight',)
    return ()
