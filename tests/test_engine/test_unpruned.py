"""What is not pruned is said: once, with class, layers and share."""

import json

import pytest
import torch
from mmcv.cnn.bricks.conv_ws import ConvWS2d
from mmcv.ops import ModulatedDeformConv2d
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

import epsd_mm
from epsd_mm.engine.scoring_job import score_model
from epsd_mm.engine.settings import Settings
from tests.helpers.layers import TwoInputLinear
from tests.helpers.models import classification_batch, tiny_classifier
from tests.helpers.nets import cross_entropy


@pytest.fixture
def warnings():
    """Texts of the warnings that were logged."""
    logger, texts = MMLogger.get_current_instance(), []

    class Keep(type(logger.handlers[0])):
        def emit(self, record):
            if record.levelname == 'WARNING':
                texts.append(record.getMessage())

    handler = Keep()
    logger.addHandler(handler)
    yield texts
    logger.removeHandler(handler)


def convolution_and_classifier(convolution):
    return nn.Sequential(
        convolution,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )


def batches():
    return [(torch.randn(4, 3, 6, 6), torch.randint(0, 4, (4,)))] * 8


def pruned(model, **options):
    return epsd_mm.prune(
        model,
        batches(),
        sparsity=0.5,
        criterion='SNIP',
        loss=cross_entropy,
        **options,
    )


def test_a_convolution_with_weight_norm_is_named(warnings):
    model = convolution_and_classifier(weight_norm(nn.Conv2d(3, 16, 3)))
    masks = pruned(model)
    assert masks.kept == 32 and masks.total == 64
    (text,) = warnings
    # Directions, lengths and biases; 64 weights and 4 biases.
    share = 432 / (432 + 16 + 16 + 68)
    assert f'432 weights, {share:.2%} of all' in text
    assert 'ParametrizedConv2d: 0.parametrizations.weight.original1' in text


def test_what_exclude_names_is_not_listed(warnings):
    model = convolution_and_classifier(weight_norm(nn.Conv2d(3, 16, 3)))
    assert list(pruned(model, exclude=['0.*'])) == ['4.weight']
    assert warnings == []


def test_where_all_is_prunable_nothing_is_said(warnings):
    pruned(convolution_and_classifier(nn.Conv2d(3, 16, 3)))
    assert warnings == []


def test_criteria_without_data_say_it_too(warnings):
    model = nn.ModuleDict(dict(rnn=nn.LSTM(3, 4), out=nn.Linear(4, 2)))
    epsd_mm.prune(model, sparsity=0.5, criterion='Magnitude')
    (text,) = warnings
    assert 'LSTM: rnn.weight_ih_l0, rnn.weight_hh_l0 (112, ' in text


def test_names_that_differ_in_numbers_are_one_entry(warnings):
    layers = nn.Sequential(*(nn.GRU(3, 3) for _ in range(12)), nn.Linear(3, 2))
    epsd_mm.prune(layers, sparsity=0.5, criterion='Random')
    (text,) = warnings
    assert '*.weight_ih_l*, *.weight_hh_l* (648, ' in text


def test_what_is_taken_on_trust_is_named(warnings):
    model = nn.Sequential(TwoInputLinear(3, 4), TwoInputLinear(4, 2))
    epsd_mm.prune(model, sparsity=0.5, criterion='Magnitude')
    (text,) = warnings
    assert 'taken on trust' in text and '*.weight' in text
    assert "argument: 'y'" in text


def test_standardised_weights_are_refused_and_nothing_is_changed():
    model = convolution_and_classifier(ConvWS2d(3, 16, 3))
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=r'0\.weight \(ConvWS2d: .*exclude='):
        pruned(model)
    for param, same in zip(model.parameters(), before):
        assert torch.equal(param, same)
    masks = pruned(model, exclude=['0.weight'])
    assert list(masks) == ['4.weight']


def test_most_of_a_backbone_with_deformable_convolutions_goes():
    """Of mmdet's, half was left when offsets alone were convolutions."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        backbone = MODELS.build(
            dict(
                type='ResNet',
                depth=50,
                base_channels=16,
                dcn=dict(type='DCNv2', deform_groups=1),
                stage_with_dcn=(False, True, True, True),
            )
        )
    masks = epsd_mm.prune(
        backbone,
        sparsity=0.9,
        criterion='Magnitude',
        allocation='uniform',
        exclude=['*.conv_offset.*'],
    )
    deformable = [
        f'{name}.weight'
        for name, module in backbone.named_modules()
        if isinstance(module, ModulatedDeformConv2d)
    ]
    assert len(deformable) == 13 and set(deformable) <= set(masks)
    shape = dict(backbone.named_parameters())[deformable[0]].shape
    assert masks[deformable[0]].shape == shape
    offsets = sum(
        p.numel()
        for n, p in backbone.named_parameters()
        if 'conv_offset' in n or p.dim() == 1
    )
    everything = sum(p.numel() for p in backbone.parameters())
    zeros = sum(
        int((p == 0).sum())
        for n, p in backbone.named_parameters()
        if n in masks
    )
    assert zeros == round(0.9 * (everything - offsets))


@pytest.mark.filterwarnings('ignore:.*weight_norm:FutureWarning')
@pytest.mark.parametrize(
    'wrap, name',
    [
        (nn.utils.weight_norm, 'weight_v'),
        (nn.utils.spectral_norm, 'weight_orig'),
        (lambda m: prune.random_unstructured(m, 'weight', 0.5), 'weight_orig'),
        (weight_norm, 'parametrizations.weight.original1'),
    ],
    ids=['weight_norm', 'spectral_norm', 'prune', 'parametrised'],
)
def test_a_model_with_calculated_weights_is_scored_around_them(wrap, name):
    model = tiny_classifier()
    wrap(model.head.fc)
    # As after a training: a weight that is no leaf cannot be copied.
    model(torch.randn(2, 3, 8, 8))
    masks = epsd_mm.prune(
        model,
        [classification_batch()] * 8,
        sparsity=0.5,
        criterion=dict(type='ProsPr', steps=1, lr=0.01),
        draws=1,
        exclude=[f'head.fc.{name}'],
    )
    assert not any(name.startswith('head') for name in masks)
    assert model(torch.randn(2, 3, 8, 8))[0].isfinite().all()


def test_a_model_of_openmmlab_says_it_in_its_report_too(warnings):
    model = tiny_classifier()
    model.backbone.table = nn.Embedding(6, 4)
    settings = Settings.build(
        sparsity=0.5,
        criterion='SNIP',
        draws=1,
        allow_empty_layers=True,
        seed=0,
    )
    batch = classification_batch()
    _, report = score_model(
        model, lambda draw: [batch], settings, MMLogger.get_current_instance()
    )
    everything = sum(p.numel() for p in model.parameters())
    table = dict(
        layer='Embedding',
        names=['backbone.table.weight'],
        weights=24,
        share=24 / everything,
    )
    assert json.loads(json.dumps(report['unpruned'])) == [table]
    assert report['all_weights']['total'] == everything
    removed = report['total'] - report['kept']
    assert report['sparsity_all'] == pytest.approx(removed / everything)
    (text,) = [text for text in warnings if 'not prunable' in text]
    assert 'Embedding: backbone.table.weight (24, ' in text
