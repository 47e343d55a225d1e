"""Removing units by hand: set to zero, and cut out of the layers."""

import copy

import torch
from torch import nn


def random_units(groups, seed=0):
    """Of each group some units that go, and at least one that stays."""
    generator = torch.Generator().manual_seed(seed)
    chosen = {}
    for name, group in groups.items():
        order = torch.randperm(group.units, generator=generator)
        most = max(group.units - 1, 1)
        number = int(torch.randint(1, most + 1, (), generator=generator))
        chosen[name] = order[: min(number, group.units - 1)].tolist()
    return chosen


def liven(model, seed=0):
    """Random values for all that may be zero or equal at the start."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            size = module.running_mean.shape
            module.running_mean += 0.2 * torch.rand(size, generator=generator)
            module.running_var += torch.rand(size, generator=generator)
    for param in model.parameters():
        noise = torch.randn(param.shape, generator=generator)
        fan_in = param[0].numel() if param.dim() > 1 else 25
        param.data += noise.to(param) * fan_in**-0.5
    return model


def with_zeros(model, groups, removed):
    """A copy in which what the units write and read is zero."""
    model = copy.deepcopy(model)
    tensors = dict(model.named_parameters())
    for name, group in groups.items():
        for member in group.members:
            if member.role == 'statistic':
                continue
            tensor = tensors[member.name].data
            for unit in removed[name]:
                for position in member.index[unit].tolist():
                    tensor.select(member.axis, position).zero_()
    return model


def without(model, groups, removed):
    """A copy whose tensors do not have the units at all."""
    model = copy.deepcopy(model)
    gone = {}
    for name, group in groups.items():
        for member in group.members:
            positions = gone.setdefault((member.name, member.axis), set())
            for unit in removed[name]:
                positions.update(member.index[unit].tolist())
    before = {
        name: layer.weight.shape
        for name, layer in model.named_modules()
        if isinstance(getattr(layer, 'weight', None), torch.Tensor)
    }
    for (name, axis), positions in gone.items():
        path, _, own = name.rpartition('.')
        layer = model.get_submodule(path)
        tensor = getattr(layer, own)
        kept = [i for i in range(tensor.shape[axis]) if i not in positions]
        narrow = tensor.data.transpose(0, axis)[kept].transpose(0, axis)
        if own in layer._buffers:
            layer._buffers[own] = narrow
        else:
            layer._parameters[own] = nn.Parameter(narrow.contiguous())
    for name, shape in before.items():
        layer = model.get_submodule(name)
        share = layer.weight.shape[0] / shape[0]
        if isinstance(layer, nn.GroupNorm):
            layer.num_groups = round(layer.num_groups * share)
        elif getattr(layer, 'groups', 1) > 1:
            layer.groups = round(layer.groups * share)
    for name, module in model.named_modules():
        if hasattr(module, 'num_heads') and hasattr(module, 'qkv'):
            width = before[f'{name}.proj'][1]
            heads = module.proj.weight.shape[1] * module.num_heads // width
            if module.proj.weight.shape[1] != width:
                module.embed_dims = module.proj.weight.shape[1]
            module.num_heads = heads
    return model
