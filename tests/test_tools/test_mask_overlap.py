"""Overlaps of masks, and the configs that the page on them shows."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from epsd_mm.engine import EPSDHook
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import tiny_classifier_cfg

PAGE = Path(__file__).parents[2] / 'docs' / 'mask_overlap'
EPSD = dict(
    type='EPSDHook',
    sparsity=0.9,
    criterion='SNIP',
    sd_loss=dict(type='CSKDLoss'),
)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp('pictures') / 'set')


@pytest.fixture
def overlap(run, pictures, tmp_path, capsys):
    """What the tool writes to its file, and its last table."""

    def run_main(*options, epsd=EPSD):
        cfg = tiny_classifier_cfg(
            pictures, tmp_path, epsd, sampler='ClassPairBatchSampler'
        )
        cfg.dump(str(tmp_path / 'config.py'))
        out = tmp_path / 'figures.json'
        run(
            'analysis_tools/mask_overlap',
            tmp_path / 'config.py',
            *('--out', out),
            *options,
        )
        return json.loads(out.read_text()), capsys.readouterr().out

    return run_main


def pairs(result):
    return [(row['a'], row['b']) for row in result['rows']]


def test_each_way_with_itself_and_the_first_with_the_others(overlap):
    result, table = overlap(
        *('--objectives', 'plain', 'sd', '--draws', '2'),
        *('--sparsities', '0.5', '0.95'),
    )
    assert pairs(result) == [
        ('SNIP, plain', 'SNIP, plain (other batches)'),
        ('SNIP, sd', 'SNIP, sd (other batches)'),
        ('SNIP, plain', 'SNIP, sd'),
    ]
    figures = [row['of'] for row in result['rows']]
    # Other batches change some of the masks, but not all of them.
    assert all(0 < figure < 1 for row in figures for figure in row)
    for row in figures:
        cells = ' │ '.join(f'{figure:.3f}' for figure in row)
        assert len(row) == 2 and cells in table
    assert '50%' in table and '95%' in table


def test_a_criterion_without_data_overlaps_with_itself_in_all(overlap):
    """Whatever the objectives, of which it knows nothing."""
    synflow = '{"type": "SynFlow", "rounds": 2}'
    result, _ = overlap(
        *('--criteria', 'Magnitude', synflow),
        *('--objectives', 'plain', 'total', '--sparsities', '0.5', '0.8'),
    )
    names = [pair[0] for pair in pairs(result)]
    assert names == ['Magnitude', synflow, 'Magnitude']
    *themselves, (_, _, between) = (row.values() for row in result['rows'])
    assert all(of == [1.0, 1.0] for _, _, of in themselves)
    assert all(0 <= figure < 1 for figure in between)


def test_a_criterion_in_rounds_is_run_for_each_sparsity(overlap):
    result, _ = overlap(
        *('--criteria', '{"type": "IterSNIP", "rounds": 2}'),
        *('--draws', '1', '--sparsities', '0.5', '0.9'),
    )
    (row,) = result['rows']
    assert len(row['of']) == 2 and all(0 < f <= 1 for f in row['of'])


def test_masks_of_a_start_are_not_those_that_are_compared(overlap):
    policy = dict(type='Gradual', every=1, initial_sparsity=0.6)
    result, _ = overlap(
        *('--criteria', '{"type": "IterSNIP", "rounds": 2}'),
        *('--draws', '1', '--sparsities', '0.5'),
        epsd=dict(EPSD, sparsity=0.9, policy=policy),
    )
    assert len(result['rows']) == 1


def test_a_config_without_the_hook_is_refused(overlap):
    plain = dict(type='IterTimerHook')
    with pytest.raises(SystemExit, match='config.py has no EPSDHook'):
        overlap(epsd=plain)


def test_an_objective_without_a_loss_is_refused(overlap):
    with pytest.raises(SystemExit, match='total needs an sd_loss'):
        overlap('--objectives', 'total', epsd=dict(EPSD, sd_loss=None))


@pytest.mark.parametrize(
    'name, loss',
    [
        ('resnet20_cifar10_jpeg', 'CSKDLoss'),
        ('larger_head', 'CSKDLoss'),
        ('larger_head_ps_kd', 'PSKDLoss'),
        ('larger_head_dlb', 'DLBLoss'),
    ],
)
def test_configs_of_the_page_build_their_hook(name, loss):
    options = dict(Config.fromfile(PAGE / f'{name}.py').default_hooks.epsd)
    assert options.pop('type') == 'EPSDHook'
    settings = EPSDHook(**options).settings
    assert type(settings.sd_loss).__name__ == loss
    assert type(settings.criterion).__name__ == 'ProsPr'
