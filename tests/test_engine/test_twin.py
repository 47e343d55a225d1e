"""A model is scored on a copy that is free of it."""

import copy
import functools
import types
import weakref

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner import turn_on_activation_checkpointing
from mmpretrain.structures import DataSample, MultiTaskDataSample
from torch import nn

from epsd_mm.engine.model_objective import ModelObjective
from epsd_mm.engine.scoring_job import scoring_copy
from epsd_mm.engine.twin import independent_copy
from epsd_mm.pruning import meta_gradient
from tests.helpers.models import (
    build,
    classification_batch,
    tiny_classifier,
    trainable,
)
from tests.helpers.oracles import relative_error


def gradient_of(model):
    """Of a walk of one step, over the copy of a model."""
    twin = scoring_copy(model)
    batches = ([classification_batch(seed=t)] for t in range(2))
    return meta_gradient(
        ModelObjective(twin), trainable(twin), batches, steps=1, lr=0.01
    ).gradient


def checkpointed(model):
    turn_on_activation_checkpointing(
        model, ['backbone.layer1', 'backbone.layer1', 'backbone.layer2.0']
    )


def compiled(model):
    layer = model.backbone.layer1
    layer.forward = torch.compile(layer.forward, backend='eager')


def compiled_in_training(model):
    model.train_step = torch.compile(model.train_step, backend='eager')


def bound(model):
    block = model.backbone.layer1[0]
    block.forward = types.MethodType(type(block).forward, block)


def partially(model):
    block = model.backbone.layer1[0]
    block.forward = functools.partial(type(block).forward, block)


@pytest.mark.parametrize(
    'change',
    [checkpointed, compiled, compiled_in_training, bound, partially],
)
def test_forwards_of_an_instance_score_the_copy(change):
    want = gradient_of(tiny_classifier())
    model = tiny_classifier()
    change(model)
    before = {n: dict(vars(m)) for n, m in model.named_modules()}
    assert relative_error(gradient_of(model), want) == 0
    after = {n: dict(vars(m)) for n, m in model.named_modules()}
    assert before == after, 'the model itself was changed'


class Doubling(nn.Sequential):
    """What the functions below do, as a class."""

    def forward(self, x):
        return super().forward(x) * 2


def doubled(forward):
    @functools.wraps(forward)
    def wrapper(*args, **kwargs):
        return forward(*args, **kwargs) * 2

    return wrapper


def wrapped(layer):
    layer.forward = doubled(layer.forward)


def wrapped_by_default_values(layer):
    layer.forward = lambda x, forward=layer.forward: forward(x) * 2


def wrapped_by_keywords(layer):
    def forward(x, *, own=layer.forward, by=2):
        return own(x) * by

    layer.forward = forward


def wrapped_by_a_method(layer):
    own = layer.forward
    layer.forward = types.MethodType(lambda self, x: own(x) * 2, layer)


def wrapped_by_a_torch_decorator(layer):
    layer.forward = torch.enable_grad()(doubled(layer.forward))


def wrapped_by_autocast(layer):
    off = torch.autocast('cpu', enabled=False)
    layer.forward = off(doubled(layer.forward))


def wrapped_around_a_checkpoint(layer):
    turn_on_activation_checkpointing(nn.ModuleDict({'a': layer}), ['a'])
    layer.forward = doubled(layer.forward)


def wrapped_by_a_weak_reference(layer):
    class Weak(nn.Sequential):
        def forward(self, x):
            return nn.Sequential.forward(self.itself(), x) * 2

    layer.__class__ = Weak
    layer.itself = weakref.ref(layer)


@pytest.mark.parametrize(
    'change',
    [
        wrapped,
        wrapped_by_default_values,
        wrapped_by_keywords,
        wrapped_by_a_method,
        wrapped_by_a_torch_decorator,
        wrapped_by_autocast,
        wrapped_around_a_checkpoint,
        wrapped_by_a_weak_reference,
    ],
)
def test_functions_that_close_over_the_layer_score_the_copy(change):
    """With weights of its own, so that those of the original show."""

    def outputs(model, change):
        layer = model.backbone.layer1
        change(layer)
        twin = scoring_copy(model)
        for weight in twin.parameters():
            weight.data.mul_(1.5)
        x = torch.rand(2, 64, 4, 4, generator=torch.Generator().manual_seed(0))
        x = x[:, : next(layer.parameters()).shape[1]]
        return twin.backbone.layer1(x)

    def as_a_class(layer):
        layer.__class__ = Doubling

    want = outputs(tiny_classifier(), as_a_class)
    assert torch.equal(outputs(tiny_classifier(), change), want)


def test_functions_are_copied_wherever_they_hang():
    model = tiny_classifier()
    norm, calls = model.backbone.norm1, 0

    def count(x):
        nonlocal calls
        calls += 1
        return norm(x)

    model.extras = [dict(mapping=functools.partial(count))]
    model.backbone.layer1.register_forward_hook(
        lambda *unused: None and model.backbone.layer2
    )
    twin = scoring_copy(model)
    held = twin.extras[0]['mapping'].func
    assert held.__closure__[1].cell_contents is twin.backbone.norm1
    held(torch.ones(2, norm.num_features, 4, 4))
    assert not calls and not norm.num_batches_tracked
    (hook,) = twin.backbone.layer1._forward_hooks.values()
    assert hook.__closure__[0].cell_contents is twin


def test_tasks_of_several_heads_score_the_copy():
    """MultiTaskHead wraps the loss of each of its heads."""
    head = dict(type='LinearClsHead', num_classes=3)
    config = dict(
        type='MultiTaskHead', in_channels=4, task_heads=dict(a=head, b=head)
    )
    model = build(config, 'mmpretrain')
    twin = scoring_copy(model)
    for weight in twin.parameters():
        weight.data.zero_()
    sample = MultiTaskDataSample()
    for task in 'ab':
        sample.set_field(DataSample().set_gt_label(1), task)
    losses = twin.loss((torch.ones(1, 4),), [sample])
    for task in 'ab':
        loss = losses[f'{task}_loss']
        assert torch.isclose(loss, torch.tensor(3.0).log())


class Shared(list):
    def __deepcopy__(self, memo):
        return self


def shared(model):
    model.shared = Shared([model.backbone])
    return r"model\.shared\[0\]: .*'backbone'"


def weak(model):
    model.parent = [weakref.ref(model.backbone)]
    return r"model\.parent\[0\]\(\): .*'backbone'"


def named_global(model):
    bias = model.head.fc.bias
    scope = dict(bias=bias)
    exec('def scale(x): return x + bias.sum()', scope)
    model.backbone.scale = scope['scale']
    return r'backbone\.scale naming the global bias: .*head\.fc\.bias'


@pytest.mark.parametrize('change', [shared, weak, named_global])
def test_what_still_holds_the_original_is_named(change):
    model = tiny_classifier()
    message = change(model)
    with pytest.raises(TypeError, match=message) as error:
        scoring_copy(model)
    assert 'in the class of the module' in str(error.value)


def test_a_reversible_backbone_is_walked_back_at_the_weights_given():
    """Its own backward runs its layers once more, with the model's."""
    backbone = dict(
        type='RevVisionTransformer',
        arch=dict(
            embed_dims=16,
            num_layers=2,
            num_heads=2,
            feedforward_channels=32,
        ),
        img_size=32,
    )
    gradients = []
    for plain in (True, False):
        config = dict(backbone, no_custom_backward=plain)
        torch.manual_seed(0)
        model = build(
            dict(
                type='ImageClassifier',
                backbone=config,
                head=dict(
                    type='VisionTransformerClsHead',
                    num_classes=4,
                    in_channels=32,
                ),
                data_preprocessor=dict(mean=[127.0] * 3, std=[60.0] * 3),
            ),
            'mmpretrain',
        )
        gradients.append(gradient_of(model))
    assert relative_error(*gradients) == 0


def test_functions_that_hold_nothing_of_the_model_are_fine():
    seen, norm = [], nn.BatchNorm2d(3)
    model = tiny_classifier()
    model.backbone.register_forward_hook(lambda *args: seen.append(norm))
    scoring_copy(model)


def test_loggers_are_those_of_the_process():
    """mmengine's refuse to be copied."""
    logger = MMLogger.get_instance('twin')
    model = tiny_classifier()
    model.logger = logger
    model.backbone.register_forward_hook(
        lambda *unused: logger.debug(model.logger)
    )
    twin = scoring_copy(model)
    assert twin.logger is logger
    (hook,) = twin.backbone._forward_hooks.values()
    held = [cell.cell_contents for cell in hook.__closure__]
    assert any(part is logger for part in held)
    assert any(part is twin for part in held)


def test_what_cannot_be_copied_is_said():
    model = tiny_classifier()
    model.log = open(__file__)
    with model.log, pytest.raises(TypeError, match='scored on a copy.*TextIO'):
        scoring_copy(model)
    model = tiny_classifier()
    model.last = model.head.fc.weight * 2
    with pytest.raises(TypeError, match='ImageClassifier is scored.*gradient'):
        scoring_copy(model)


def test_the_generators_of_the_process_stay_those():
    """Samplers of mmdet hold numpy's; each draw seeds it."""
    model, own = tiny_classifier(), np.random.RandomState(3)
    model.generators = [np.random.mtrand._rand, own]
    stock, other = independent_copy(model).generators
    assert stock is np.random.mtrand._rand
    assert other is not own
    plain = copy.deepcopy(model).generators[0]
    assert plain is not np.random.mtrand._rand  # why this is a test


def test_layers_stay_in_the_format_that_the_model_has():
    """Operators of one's own may take no other."""
    layers = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)]
    layers[1].to(memory_format=torch.channels_last)
    twin = scoring_copy(nn.Sequential(*layers))
    assert twin[0].weight.is_contiguous()
    assert twin[1].weight.is_contiguous(memory_format=torch.channels_last)
