"""A model is scored on a copy that is free of it."""

import copy
import functools
import types

import numpy as np
import pytest
import torch
from mmengine.runner import turn_on_activation_checkpointing
from torch import nn

from epsd_mm.engine.objective import ModelObjective
from epsd_mm.engine.scoring import scoring_copy
from epsd_mm.engine.twin import independent_copy
from epsd_mm.pruning import meta_gradient
from tests.helpers.models import (
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


def wrapped(model):
    layer = model.backbone.layer1
    forward = layer.forward
    layer.forward = lambda x: forward(x) * 2
    return r'backbone\.layer1\.forward closing over forward.*backbone\.layer1'


def hooked(model):
    layer, other = model.backbone.layer1, model.backbone.layer2
    layer.register_forward_hook(lambda *unused: None and other)
    return r'_forward_hooks.* closing over other: .*backbone\.layer2'


def defaulted(model):
    bias = model.head.fc.bias
    model.backbone.scale = lambda x, b=bias: x + b.sum()
    return r'backbone\.scale with a default: .*head\.fc\.bias'


def deep(model):
    norm = model.backbone.norm1
    inner = functools.partial(lambda x: norm(x))
    model.extras = [dict(mapping=inner)]
    return r'extras\[0\]\[.mapping.*closing over norm: .*backbone\.bn1'


class Shared(list):
    def __deepcopy__(self, memo):
        return self


def shared(model):
    model.shared = Shared([model.backbone])
    return r"model\.shared\[0\]: .*'backbone'"


@pytest.mark.parametrize('change', [wrapped, hooked, defaulted, deep, shared])
def test_functions_that_hold_the_original_are_named(change):
    model = tiny_classifier()
    message = change(model)
    with pytest.raises(TypeError, match=message) as error:
        scoring_copy(model)
    assert 'types.MethodType' in str(error.value)


def test_functions_that_hold_nothing_of_the_model_are_fine():
    seen, norm = [], nn.BatchNorm2d(3)
    model = tiny_classifier()
    model.backbone.register_forward_hook(lambda *args: seen.append(norm))
    scoring_copy(model)


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
