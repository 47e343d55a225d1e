"""A suite says what is wrong with it before anything runs."""

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

import epsd_mm
from epsd_mm.benchmark.effects import check_effects
from epsd_mm.benchmark.preflight import check_data, check_metrics
from epsd_mm.benchmark.suite import Suite
from epsd_mm.benchmark.suite_parts import Setup

CONFIG = epsd_mm.config_path('cifar100_resnet18_epsd')
CONTENT = f"""
title = 'test'
setups = dict(a=dict(config={CONFIG!r}, metric='accuracy/top1'))
methods = {{
    'dense': dict(variant='dense'),
    'snip': dict(variant='prune-only', criterion='SNIP'),
    'epsd': dict(),
}}
sparsities = [0.9, 0.95]
seeds = [0, 1]
claims = [dict(name='C1', setup='a', first='epsd', second='snip',
               sparsity=0.9)]
"""


@pytest.fixture
def suite(tmp_path):
    def load(more='', content=CONTENT):
        path = tmp_path / 'suite.py'
        path.write_text(content + textwrap.dedent(more))
        return Suite.load(path)

    return load


def test_dense_methods_have_one_cell_a_seed(suite):
    names = [cell.name for cell in suite().cells]
    assert names == [
        f'a/{method}/seed {seed}'
        for seed in (0, 1)
        for method in (
            'dense',
            'snip/0.9',
            'snip/0.95',
            'epsd/0.9',
            'epsd/0.95',
        )
    ]


def test_cells_of_one_seed_differ_in_the_method_alone(suite):
    first, *others = (
        c.run.resolve().to_dict() for c in suite().cells if c.seed == 1
    )
    assert first['randomness']['seed'] == 1
    for other in others:
        for name in ('model', 'randomness', 'optim_wrapper', 'train_cfg'):
            assert other[name] == first[name]


BENCHMARKS = Path(epsd_mm.config_path('benchmarks/micro')).parent
STUDIES = Path(__file__).parents[2] / 'docs' / 'study'


def suites_in(folder):
    """Without what lies beside them, such as configs of what they train."""
    return [p for p in folder.glob('*.py') if 'title = ' in p.read_text()]


SUITES = suites_in(BENCHMARKS)
SHIPPED = [*SUITES, *suites_in(STUDIES)]


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_suites_can_run(path):
    """Of each method the cells of one seed at one sparsity, all of it used."""
    suite = Suite.load(path)
    part = replace(
        suite, seeds=suite.seeds[:1], sparsities=suite.sparsities[:1]
    )
    assert len(part.asked) == len(suite.setups) * len(suite.methods)
    check_effects(part)


def more_options(method):
    assert (method.policy, method.variant) == ('GMP', 'prune-only')
    return method.options.keys()


RIVALS = [path for path in SUITES if 'rivals' in path.stem]


@pytest.mark.parametrize('path', RIVALS, ids=lambda path: path.stem)
def test_suites_of_rivals_have_one_list(path):
    """But for what their set-ups cannot do, and how often masks change."""
    shared = Suite.load(BENCHMARKS / 'micro_rivals.py').methods
    found = Suite.load(path).methods
    detects = path.stem in ('bccd_rivals', 'full_voc_rivals')
    missing = {'NTK-SAP', 'NTK-SAP + SD'} if detects else set()
    assert shared.keys() - found.keys() == missing
    more = {'GMP of all layers'} if path.stem == 'full_voc_rivals' else set()
    assert found.keys() - shared.keys() == more
    for name in found.keys() & shared.keys():
        method = found[name]
        if name == 'Prune, then Distill' and more:
            # Of a network that starts from scratch no layer may be frozen.
            layers = {k for k in method.options if k.startswith('model.')}
            assert layers == more_options(found['GMP of all layers'])
            assert method.student_of in more
            continue
        same = dict(rounds=None, options={})
        if method.policy is None:
            same.pop('options')
        assert replace(method, **same) == replace(shared[name], **same)


def test_parts_that_files_have_in_common_are_no_part_of_a_suite(suite):
    found = suite('_shared = dict(fast=dict(varient=1))')
    assert list(found.methods) == ['dense', 'snip', 'epsd']


@pytest.mark.parametrize(
    'more, said',
    [
        ('seeds = []', 'seeds is empty'),
        (
            'sparsities, claims = [], []',
            'sparsities is empty, so that there is no cell of snip, epsd: gi',
        ),
        ('seeds = [1, 2, 1]', r'seeds has \[1\] more than once: leave'),
        ('sparsities = [0.9, 0.9]', 'sparsities has'),
        ("methods = dict(x=dict(variant='fast'))", "variant 'fast'; known"),
        ("methods = dict(x=dict(varient='dense'))", 'varient'),
        ("claims[0].update(first='magic')", "first='magic'; the suite has"),
        ('claims[0].update(sparsity=0.5)', 'sparsity 0.5'),
        ('claims = claims * 4', '4 claims, but at most 3'),
        (
            "claims.append(dict(claims[0], first='dense'))",
            "two claims have the name 'C1', 'epsd' against 'snip' and "
            "'dense' against 'snip'",
        ),
        *[
            (
                f"claims.append(dict(claims[0], name='C2', {turned}))",
                r"claim 'C1' \('epsd' against 'snip'\) and claim 'C2' .* are "
                'one comparison',
            )
            for turned in ('', "first='snip', second='epsd'")
        ],
        ("colour = 'red'", 'has besides colour'),
        ('del title', 'lacks title'),
        ('setups = [1]', 'must be a dict by name'),
        ("methods = {'x': dict(), 'x': dict()}", "'x' is named twice"),
        ('sparsities = [90]', r'sparsity=90 must be a number in \[0, 1\)'),
        ("seeds = ['0']", "the seed '0' must be a whole number"),
        ('seeds = [-1]', 'the seed -1 must be a whole number'),
        ('title = titel', "NameError: name 'titel' is not defined"),
        ('title = (', 'cannot be read: SyntaxError'),
    ],
)
def test_what_is_wrong_is_said(more, said, suite):
    with pytest.raises(ValueError, match=said):
        suite(more)


@pytest.mark.parametrize(
    'more, said',
    [
        ('title = 5', 'title=5 must be a string'),
        ('sparsities = 0.95', r'sparsities=0.95 must be a list, such as \['),
        ('sparsities = None', 'sparsities=None must be a list'),
        ("sparsities = ['0.9']", "sparsity='0.9' must be a number"),
        ('seeds = 3', r'seeds=3 must be a list, such as \[3\]'),
        ("seeds = '12'", "seeds='12' must be a list"),
        ('seeds = [True, 2]', 'the seed True must be a whole number'),
        ('seeds = [[1], [1]]', r'the seed \[1\] must be a whole number'),
        ('claims = None', 'claims=None must be a list of dicts.* left out'),
        ('claims = dict(claims[0])', 'claims={.* must be a list of dicts'),
        ("claims = ['C1']", r"claims\[0\]='C1' must be a dict of name, setup"),
        ("claims[0]['frist'] = 'x'", "no 'frist': did you mean 'first'"),
        ("del claims[0]['second']", r'claims\[0\] lacks second'),
        ("claims[0]['sparsity'] = 'x'", "sparsity='x' must be a number or No"),
        ("claims[0]['setup'] = ['a']", r"setup=\['a'\] must be a string"),
        ("methods['dense'] = None", "ods.'dense'.=None must be a dict of var"),
        ('methods = None', 'methods=None must be a dict by name'),
        ("methods[5] = dict(variant='sd-only')", 'must be a dict by name'),
        ("methods['epsd']['options'] = None", 'options=None must be a dict'),
        ("methods['epsd']['options'] = [1]", r'options=\[1\] must be a dict'),
        ("methods['epsd']['options'] = {1: 2}", 'options={1: 2} must be a di'),
        ("methods['epsd']['sdloss'] = 'x'", "'sdloss': did you mean 'sd_lo"),
        ("methods['epsd']['sdloss'] = 'x'", 'known are criterion, masks_of, '),
        ("methods['epsd']['sd_loss'] = 1", 'sd_loss=1 must be a string or N'),
        (
            "methods['epsd']['score_weights'] = (1, 10)",
            r'score_weights=\(1, 10\) must be .*, such as dict\(task=1, sd=10',
        ),
        ('seeds = range(3)', r'a list, such as list\(range\(0, 3\)\)'),
        (
            'import numpy as np\nseeds = np.arange(3)',
            'cannot be read: something that is imported is called',
        ),
        ("methods['epsd']['shuffled'] = 1", 'shuffled=1 must be True or Fal'),
        ("methods['epsd']['teacher'] = {}", 'teacher={} must be a string or'),
        ("setups['a']['options'] = None", "setups.'a'.: options=None must be"),
        ("setups['a']['config'] = 5", 'config=5 must be a string'),
        ("del setups['a']['metric']", "setups.'a'. lacks metric"),
        ("setups['a']['metrik'] = 'x'", "no 'metrik': did you mean 'metric'"),
    ],
)
def test_what_is_of_another_type_is_one_sentence(more, said, suite):
    with pytest.raises(ValueError, match=said):
        suite(more)


LEARN = "methods['KD'] = dict(sd_loss='KD', teacher='dense')\n"


@pytest.mark.parametrize(
    'method, said',
    [
        (
            "variant='prune-only', sd_loss='KD', teacher='dense'",
            "'prune-only' trains by the plain loss, so that sd_loss='KD' and "
            "teacher='dense' cannot stand beside: leave them out, or take "
            "variant='simple-combination'$",
        ),
        (
            "variant='prune-only', criterion='SNIP', sd_loss='CSKDLoss'",
            "that sd_loss='CSKDLoss' cannot stand beside: leave it out",
        ),
        (
            "variant='prune-only', rounds='IMP', sd_loss='PSKDLoss'",
            "that sd_loss='PSKDLoss' cannot stand beside: leave it out",
        ),
        (
            "variant='prune-only', policy='GMP', teacher='dense'",
            "that teacher='dense' cannot stand beside: leave it out",
        ),
        (
            "variant='dense', sd_loss='KD', teacher='epsd'",
            "'dense' trains by .* or take variant='sd-only'$",
        ),
    ],
)
def test_a_loss_beside_plain_training_is_told_when_read(method, said, suite):
    with pytest.raises(ValueError, match=said) as error:
        suite(f"{LEARN}methods['x'] = dict({method})")
    assert "suite.py: method 'x': variant=" in str(error.value)


def test_the_loss_whose_batches_a_plain_run_halves_may_be_named(suite):
    """A plain run sees the fresh halves of DLB's batches."""
    more = "methods['x'] = dict(variant='dense', sd_loss='DLBLoss')"
    sizes = {
        cell.method.name: cell.config.train_dataloader.batch_size
        for cell in suite(more).cells
    }
    assert (sizes['dense'], sizes['x']) == (128, 64)


LENT = "methods['lent'] = dict(masks_of='epsd', shuffled=True)\n"


@pytest.mark.parametrize(
    'more, said',
    [
        ("methods['x'] = dict(masks_of='magic')", 'their own are snip, epsd$'),
        (
            "for __p in ('GMP', 'SET', 'RigL'):\n"
            "    methods[__p] = dict(variant='prune-only', policy=__p)\n"
            "methods['IMP'] = dict(variant='prune-only', rounds='IMP')\n"
            "methods['x'] = dict(masks_of='magic')",
            'their own are snip, epsd, IMP$',
        ),
        (
            "methods['x'] = dict(masks_of='x')",
            "'x' has masks_of='x' itself; .* own are snip, epsd$",
        ),
        (LENT + "methods['x'] = dict(masks_of='lent')", "masks_of='lent'"),
        ("methods['x'] = dict(masks_of='dense')", 'the other run scores noth'),
        ("methods['x'] = dict(shuffled=True)", 'name it by masks_of'),
        (
            "methods['x'] = dict(masks_of='epsd', criterion='SNIP')",
            'those of another run, so that criterion would have no effect',
        ),
        (
            "methods['x'] = dict(masks_of='epsd', variant='dense')",
            'prunes nothing, so that masks_of would have no effect',
        ),
        (
            "methods['n:m'] = dict(criterion='SNIP', "
            "options={'default_hooks.epsd.structure': '2:4'})\n"
            "methods['x'] = dict(masks_of='n:m', shuffled=True)",
            'weights together, which shuffling would tear apart',
        ),
        (
            "methods['units'] = dict(criterion='SNIP', "
            "options={'default_hooks.epsd.structure': 'channels'})\n"
            "methods['x'] = dict(masks_of='units')",
            'removes whole channels',
        ),
    ],
)
def test_masks_that_cannot_be_lent_are_refused(more, said, suite):
    with pytest.raises(ValueError, match=said) as error:
        suite(f'sparsities = [0.5]\nclaims = []\n{more}').cells  # noqa: B018
    assert 'suite.py' in str(error.value)


def test_each_cell_has_the_masks_of_its_own_seed_and_sparsity(suite):
    cells = suite(LENT).cells
    lent = [cell for cell in cells if cell.method.name == 'lent']
    own = {c.name: c for c in cells if c.method.name == 'epsd'}
    assert len(lent) == len(own) == 4
    for cell in lent:
        other = own[cell.name.replace('lent', 'epsd')]
        assert cell.run.masks_of == other.run
        assert cell.config.masks_of.run.randomness.seed == cell.seed
    assert len({cell.key for cell in cells}) == len(cells)


def test_claims_at_two_sparsities_are_two(suite):
    more = "claims.append(dict(claims[0], name='C2', sparsity=0.95))"
    assert len(suite(more).claims) == 2


def test_a_claim_of_dense_networks_has_no_sparsity(suite):
    more = "methods['sd'] = dict(variant='sd-only')\nclaims = [dict("
    of = "name='C', setup='a', first='sd', second='dense'"
    assert suite(f'{more}{of})]').claims[0].sparsity is None
    with pytest.raises(ValueError, match='sparsity=0.9 has no effect'):
        suite(f'{more}{of}, sparsity=0.9)]')
    with pytest.raises(ValueError, match=r'lacks sparsity, .* \[0.9'):
        suite(f"{more}name='C', setup='a', first='sd', second='epsd')]")


def test_a_method_is_not_compared_with_itself(suite):
    with pytest.raises(ValueError, match="compares 'epsd' with itself"):
        suite("claims[0].update(second='epsd')")


def test_two_methods_that_are_one_run_are_refused(suite):
    twins = suite("methods['again'] = dict(variant='epsd')")
    with pytest.raises(ValueError, match='are the same run'):
        twins.cells  # noqa: B018


def test_a_missing_config_is_named(suite):
    with pytest.raises(FileNotFoundError, match='nowhere.py'):
        suite("setups = dict(a=dict(config='nowhere.py', metric='x'))")
    with pytest.raises(FileNotFoundError, match='no suite'):
        Suite.load('nowhere.py')


def test_a_config_that_cannot_be_read_is_named(suite, tmp_path):
    (tmp_path / 'broken.py').write_text('model.depth = 3')
    broken = suite("setups = dict(a=dict(config='broken.py', metric='x'))")
    with pytest.raises(ValueError, match=r'broken\.py cannot be read: Name'):
        broken.cells  # noqa: B018


@pytest.mark.parametrize(
    'method, said',
    [
        ("dict(criterion='SNIPS')", "'a/x/0.9/seed 0' cannot run: .*SNIPS"),
        ("dict(criterion=dict(type='ProsPr', stepz=3))", 'stepz'),
        ("dict(sd_loss='CSKD')", 'CSKD'),
        ("dict(options={'default_hooks.epsd.drawz': 3})", 'option drawz'),
        ('dict(score_weights=dict(task=1, kd=1))', 'kd'),
        ("dict(variant='dense', criterion='SNIP')", 'would have no effect'),
    ],
)
def test_a_method_that_cannot_run_is_said_before_it_does(method, said, suite):
    with pytest.raises(ValueError, match=said) as error:
        suite(f"methods['x'] = {method}").cells  # noqa: B018
    assert 'suite.py' in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
    'more',
    [
        'sparsities = [0.9, 0.9000000001]',
        "setups['a/epsd'] = setups['a']; methods['0.9/epsd'] = dict()",
    ],
)
def test_two_cells_of_one_name_are_refused(more, suite):
    with pytest.raises(ValueError, match='2 cells have the name|same run'):
        suite(more).cells  # noqa: B018


@pytest.mark.parametrize(
    'metric, said',
    [
        ('coco/bbox_mAP', 'report accuracy/top1, accuracy/top5, calib'),
        ('top1', 'report accuracy/top1'),
        ('accuracy/top2', 'report accuracy/top1, accuracy/top5, calib'),
        ('accuracy/top1', None),
        ('accuracy/top5', None),
        ('calibration/ece', None),
    ],
)
def test_a_metric_of_no_evaluator_is_said_before_anything_runs(
    metric, said, suite
):
    asked = suite(f"setups['a']['metric'] = {metric!r}")
    if said is None:
        check_metrics(asked)
        return
    with pytest.raises(ValueError, match=f"'{metric}'.*{said}"):
        check_metrics(asked)


def test_evaluators_with_names_of_their_own_are_known_by_them(suite):
    named = [dict(type='Calibration', prefix='birds/calibration')]
    edit = """
    setups['a']['options'] = dict(val_evaluator={})
    setups['a']['metric'] = 'birds/calibration/{}'
    """
    check_metrics(suite(edit.format(named, 'nll')))
    with pytest.raises(ValueError, match='report birds/calibration/nll, '):
        check_metrics(suite(edit.format(named, 'top1')))


def test_a_metric_of_which_nobody_knows_what_is_better_is_refused(suite):
    own = [dict(type='Calibration', prefix='my')]
    edit = f"""
    setups['a']['options'] = dict(val_evaluator={own})
    setups['a']['metric'] = 'my/ece'
    """
    with pytest.raises(ValueError, match="'my/ece'.*add better='higher' or"):
        check_metrics(suite(edit))
    check_metrics(suite(f"{edit}setups['a']['better'] = 'lower'"))


def test_absent_data_is_said_with_what_gets_it(suite, tmp_path):
    nowhere = {'train_dataloader.dataset.data_root': str(tmp_path / 'none')}
    asked = suite(f"setups['a']['options'] = {nowhere!r}")
    with pytest.raises(FileNotFoundError, match='prepare_data.py cifar100'):
        check_data(asked.cells)


@pytest.mark.parametrize(
    'metric, better, lower',
    [
        ('accuracy/top1', None, False),
        ('calibration/nll', None, True),
        ('birds/calibration/nll', 'lower', True),
        ('mine/error', None, False),
        ('mine/error', 'lower', True),
    ],
)
def test_which_way_is_better_goes_by_the_metric_or_is_said(
    metric, better, lower
):
    assert Setup('a', CONFIG, metric, better=better).lower_is_better == lower


@pytest.mark.parametrize(
    'metric, better, said',
    [
        ('mine/error', 'less', "'less' must be 'higher' or 'lower'"),
        ('calibration/nll', 'higher', 'of calibration/nll lower is better'),
    ],
)
def test_a_wrong_way_is_refused(metric, better, said, suite):
    setup = f"setups['a'].update(metric={metric!r}, better={better!r})"
    with pytest.raises(ValueError, match=said) as error:
        suite(setup)
    assert str(error.value).count("'a'") == 1
