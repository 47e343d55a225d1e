"""The examples of docstrings that take torch alone run as they stand."""

import doctest
from importlib import import_module

import pytest

MODULES = [
    'distillation.losses.cs_kd',
    'distillation.losses.dlb',
    'distillation.losses.kd',
    'distillation.losses.ps_kd',
    'structure.graph',
    'compaction.shrink',
]
LOSSES = ('CSKDLoss', 'DLBLoss', 'PSKDLoss', 'cs_kd_loss', 'dlb_loss')
LOSSES += ('ps_kd_loss', 'ps_kd_divergence', 'KD', 'kd_loss', 'kd_divergence')


@pytest.mark.parametrize('name', MODULES)
def test_examples_run(name):
    module = import_module(f'epsd_mm.{name}')
    failed, tried = doctest.testmod(module)
    assert tried and not failed


@pytest.mark.parametrize('name', LOSSES)
def test_every_loss_has_an_example(name):
    module = import_module('epsd_mm.distillation')
    examples = doctest.DocTestParser().get_examples(
        getattr(module, name).__doc__
    )
    assert len(examples) > 3
