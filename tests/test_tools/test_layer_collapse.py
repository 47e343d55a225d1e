"""The compression at which a criterion first empties a layer."""

import copy
import json
from functools import partial

import pytest
import torch
from torch import nn

import epsd_mm
from epsd_mm.pruning import Magnitude, Schedule, SynFlow, prunable_parameters

SMALL = [4], [4], [8], [8], [8, 8]


@pytest.fixture
def collapse(tool):
    return tool('analysis_tools/layer_collapse')


def two_layers(second):
    """A layer of 92 weights of size 1, and one of 8 of another size."""
    net = nn.Sequential(nn.Linear(92, 1), nn.Linear(1, 8))
    nn.init.constant_(net[0].weight, 1.0)
    nn.init.constant_(net[1].weight, second)
    return net


def test_networks_have_the_published_shapes(collapse):
    vgg = prunable_parameters(collapse.vgg16_bn(100))
    resnet = prunable_parameters(collapse.resnet18(10))
    assert [w.ndim for w in vgg.values()] == [4] * 13 + [2]
    assert sum(w.numel() for w in vgg.values()) == 14_761_664
    assert [w.ndim for w in resnet.values()] == [4] * 20 + [2]
    assert sum(w.numel() for w in resnet.values()) == 11_164_352


def test_initialisation_is_as_documented(collapse):
    resnet = collapse.resnet18(10)
    stem, last = resnet.stem.conv.weight.data, resnet.fc.weight.data
    assert stem.std() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)
    assert last.abs().max() <= 512**-0.5
    vgg = collapse.vgg16_bn(100)
    first = vgg.conv1.weight.data
    assert first.std() == pytest.approx((2 / 27) ** 0.5, rel=0.1)
    assert not vgg.conv1.bias.any()


def test_the_grid_ends_where_layers_outnumber_weights(collapse):
    assert collapse.exponents(1000, 10)[-1] == 2.0
    assert collapse.exponents(1000, 11)[-1] == 1.75


@pytest.mark.parametrize(
    ('second', 'largest', 'emptied'),
    # Of 100 weights 10^-0.25 keeps 56, 10^-1 keeps 10, 10^-1.25 keeps 6.
    [(0.5, 0.0, '1.weight'), (2.0, 1.0, '0.weight')],
)
def test_magnitude_empties_the_layer_of_smaller_weights(
    collapse, second, largest, emptied
):
    trial = collapse.Trial(two_layers(second), 8, Magnitude(), seed=0)
    result = trial.run(images=1)
    assert result['largest'] == largest
    assert result['emptied_next'] == [emptied]


def test_synflow_reaches_further_than_magnitude(collapse):
    torch.manual_seed(0)
    net = collapse.vgg16_bn(4, SMALL)
    magnitude = collapse.Trial(net, 4, Magnitude(), seed=0).run(images=1)
    synflow = collapse.Trial(net, 4, SynFlow(rounds=20), seed=0).run(images=1)
    assert synflow['largest'] > magnitude['largest']
    assert synflow['largest'] <= synflow['limit']


def test_ntk_sap_keeps_layers_where_snip_does_not(collapse):
    torch.manual_seed(0)
    net = collapse.vgg16_bn(4, SMALL)

    def emptied(criterion, **options):
        return epsd_mm.prune(
            copy.deepcopy(net),
            [collapse.random_batch(8, 4, 0)],
            sparsity=1 - 10**-1.5,
            criterion=criterion,
            allow_empty_layers=True,
            **options,
        ).empty_layers()

    assert emptied('SNIP', loss=collapse.loss, draws=1)
    assert not emptied('NTKSAP')


@pytest.mark.parametrize('name', ['SNIP', 'GraSP', 'GraSP-eval'])
def test_pruning_collapses_where_the_table_says(collapse, name):
    make, training = collapse.CRITERIA[name]
    net = collapse.vgg16_bn(4, SMALL).train(training)
    result = collapse.Trial(net, 4, make(), seed=0).run(images=8)

    def pruned(exponent):
        return epsd_mm.prune(
            copy.deepcopy(net),
            [collapse.random_batch(8, 4, 0)],
            sparsity=1 - 10**-exponent,
            criterion=name.removesuffix('-eval'),
            loss=collapse.loss,
            draws=1,
            allow_empty_layers=True,
        )

    assert 0 < result['largest'] < result['limit']
    assert not pruned(result['largest']).empty_layers()
    emptied = pruned(result['largest'] + 0.25).empty_layers()
    assert emptied and result['emptied_next'] == emptied


def test_what_a_round_empties_is_named(collapse):
    """The layer of the smaller weights is gone after the first of five."""

    class InRounds(Magnitude):
        schedule = Schedule(rounds=5)

    trial = collapse.Trial(two_layers(0.5), 8, InRounds(), seed=0)
    batch = collapse.random_batch(1, 8, 0)
    assert trial.empty_layers(1.0, batch) == ['1.weight']
    assert trial.run(images=1)['largest'] == 0.0


def test_scores_that_vanish_count_as_collapse(collapse):
    net = collapse.vgg16_bn(4, SMALL)
    nn.init.zeros_(net.conv3.weight)
    trial = collapse.Trial(net, 4, SynFlow(rounds=1), seed=0)
    batch = collapse.random_batch(1, 4, 0)
    assert trial.empty_layers(0.25, batch) == [*prunable_parameters(net)]


def test_other_errors_are_no_collapse(collapse):
    net = collapse.vgg16_bn(4, SMALL)
    net.unused = nn.Linear(2, 2)
    net.forward = partial(nn.Sequential.forward, nn.Sequential(*net[:-1]))
    trial = collapse.Trial(net, 4, SynFlow(rounds=1), seed=0)
    with pytest.raises(ValueError, match='does not reach'):
        trial.empty_layers(0.25, collapse.random_batch(1, 4, 0))


def test_table_and_json(collapse, monkeypatch, tmp_path, capsys):
    build = partial(collapse.vgg16_bn, stages=SMALL)
    monkeypatch.setitem(collapse.NETS, 'vgg16-bn', (build, 4))
    out = tmp_path / 'results.json'
    collapse.main(
        ['--nets', 'vgg16-bn', '--criteria', 'Magnitude', 'SNIP-eval']
        + ['--seeds', '0', '1', '--images', '2', '--out', str(out)]
    )
    rows = json.loads(out.read_text())['rows']
    assert [row['seed'] for row in rows] == [0, 1, 0, 1]
    first = ' '.join(f'{row["largest"]:.2f}' for row in rows[:2])
    line = [x for x in capsys.readouterr().out.splitlines() if first in x][0]
    assert [c.strip() for c in line.split('│')[1:5]] == [
        'vgg16-bn',
        'Magnitude',
        first,
        '2.75',
    ]
