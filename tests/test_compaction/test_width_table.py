"""A table of widths builds what was cut, and fits that network alone."""

import copy

import pytest
from mmengine.config import Config

from epsd_mm.compaction import WidthTable, shrink
from epsd_mm.families import channel_groups

from ..helpers.families import FAMILIES
from ..helpers.models import tiny_classifier
from ..helpers.narrowing import random_units
from .test_shrink import channels_without


def cut(model, seed=0):
    groups = channel_groups(model)
    channels = channels_without(groups, random_units(groups, seed))
    return shrink(model, groups, channels)


def shapes(model):
    return {name: t.shape for name, t in model.state_dict().items()}


def test_a_fresh_network_gets_the_widths_of_the_one_that_was_cut(
    family, tmp_path
):
    model = family()
    fresh = copy.deepcopy(model)
    table = cut(model)
    path = tmp_path / 'config.py'
    Config(dict(channels=table.to_config())).dump(path)
    spec = Config.fromfile(path).channels
    WidthTable.from_config(spec).apply(fresh)
    assert shapes(fresh) == shapes(model)
    for one, other in zip(fresh.modules(), model.modules()):
        for name in ('out_channels', 'num_features', 'num_groups', 'groups'):
            found = getattr(one, name, None)
            if isinstance(found, int):
                assert found == getattr(other, name)


@pytest.fixture(params=FAMILIES, ids=lambda build: build.__name__)
def family(request):
    return request.param


@pytest.fixture(scope='module')
def table():
    return cut(tiny_classifier())


def test_a_layer_says_its_width_before_and_after(table):
    before, after = table.layers['backbone.layer1.0.conv1']['out_channels']
    assert before == 4
    assert 0 < after < 4


def test_other_numbers_of_classes_take_the_same_table(table):
    model = tiny_classifier(classes=7)
    table.apply(model)
    assert model.head.fc.weight.shape[0] == 7


def test_tables_of_other_networks_are_refused_and_change_nothing(table):
    for change, reason in (
        (lambda t: t.update(other=dict(out_channels=(2, 1))), 'no layer'),
        (
            lambda t: t['backbone.conv1'].update(out_channels=(9, 2)),
            'is 4 there',
        ),
        (
            lambda t: t['backbone.conv1'].update(out_channels=(4, 5)),
            'damaged: .* of 4 cannot become 5: .* tools/prune.py wrote',
        ),
        (lambda t: t['backbone.conv1'].update(out_channels=(4, 0)), 'damaged'),
    ):
        layers = {name: dict(of) for name, of in table.layers.items()}
        change(layers)
        model = tiny_classifier()
        before = shapes(model)
        with pytest.raises(ValueError, match=reason):
            WidthTable(layers).apply(model)
        assert shapes(model) == before


@pytest.mark.parametrize(
    'spec, reason',
    [
        (None, 'tools/prune.py writes'),
        (dict(layers={}), 'tools/prune.py writes'),
        (dict(version=2, layers={}), 'of version 2, .* up to 1: .* or prune'),
        (dict(version=True, layers={}), 'of version True'),
        (dict(version=1), 'damaged'),
        (dict(version=1, layers={'a': dict(out_channels=3)}), 'damaged'),
        (dict(version=1, layers={'a': dict(out_channels=[3])}), 'damaged'),
        (dict(version=1, layers={'a': dict(out=[3, '2'])}), 'damaged'),
        (dict(version=1, layers={'a': dict(out=[3, [2]])}), 'damaged'),
        (dict(version=1, layers={'a': dict(out=[3, -2])}), 'damaged'),
        (dict(version=1, layers={}, more=1), 'damaged'),
    ],
)
def test_what_is_no_table_is_one_sentence(spec, reason):
    with pytest.raises(ValueError, match=reason):
        WidthTable.from_config(spec)


def test_a_network_that_is_cut_twice_has_one_table():
    twice, fresh = tiny_classifier(), tiny_classifier()
    cut(twice, seed=0).then(cut(twice, seed=1)).apply(fresh)
    assert shapes(fresh) == shapes(twice)


def test_a_table_survives_its_config(table):
    spec = Config(dict(channels=table.to_config())).channels
    assert WidthTable.from_config(spec) == table
