"""Students of the pruned networks of a suite, before anything runs."""

import pytest

from epsd_mm.benchmark.comparison import Arm
from epsd_mm.benchmark.costs import total_passes
from epsd_mm.benchmark.report.writing import write_report
from epsd_mm.runs import Run
from tests.helpers.suites import METRIC, compared, suite_of

GMP = dict(variant='prune-only', policy='GMP')
STUDENT = dict(student_of='GMP')


def suite(folder, **methods):
    return suite_of(folder, methods, 1, (0.5, 0.9))


def test_one_word_makes_a_cell_after_each_of_its_teachers(tmp_path):
    found = suite(tmp_path, student=STUDENT, GMP=GMP)
    assert [c.name for c in found.cells] == [
        'a/GMP/0.5/seed 0',
        'a/student/0.5/seed 0',
        'a/GMP/0.9/seed 0',
        'a/student/0.9/seed 0',
    ]
    keys = {c.name: c.key for c in found.cells}
    assert len(set(keys.values())) == 4
    cell = found.cells[1]
    assert [c.key for c in cell.after] == [keys['a/GMP/0.5/seed 0']]
    assert Run(**cell.run.to_dict()) == cell.run


def test_a_student_is_not_pruned_and_distils(tmp_path):
    found = suite(tmp_path, student=STUDENT, GMP=GMP)
    hook = found.cells[1].config.default_hooks.epsd
    assert hook.criterion is None and 'policy' not in hook
    assert hook.sd_loss.type == 'KD'


def test_temperature_and_weight_are_options_of_its_loss(tmp_path):
    option = 'default_hooks.epsd.sd_loss.temperature'
    method = dict(STUDENT, options={option: 10.0})
    found = suite(tmp_path, student=method, GMP=GMP)
    assert found.cells[1].config.default_hooks.epsd.sd_loss.temperature == 10


@pytest.mark.parametrize(
    'method, words',
    [
        (dict(student_of='nobody'), "has student_of='nobody'; the suite has"),
        (dict(student_of='dense'), 'the other run removes none: name one'),
        (dict(student_of='x'), "'x' comes after 'x', which comes after it"),
        (dict(STUDENT, sd_loss='CSKDLoss'), 'learns by KD, so that another'),
        (dict(STUDENT, criterion='SNIP'), 'criterion.* cannot stand beside'),
        (dict(STUDENT, teacher='dense'), 'teacher.* cannot stand beside'),
        (dict(STUDENT, variant='dense'), 'another variant or sd_loss'),
        (dict(weights_of='student'), 'trains a student.*: name the teacher'),
        (
            dict(GMP, weights_of='student'),
            'a/x/0.5/seed 0.*weights_of: the other run trains a student',
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(method, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        others = dict(student=STUDENT, GMP=GMP, dense=dict(variant='dense'))
        found = suite(tmp_path, x=method, **others)
        [cell.key for cell in found.cells]


def test_another_network_may_learn_from_a_student(tmp_path):
    """As the refusal to go on from one says."""
    method = dict(variant='simple-combination', sd_loss='KD')
    x = dict(method, criterion='SNIP', teacher='student')
    found = suite(tmp_path, x=x, student=STUDENT, GMP=GMP)
    after = {c.name: [before.name for before in c.after] for c in found.cells}
    assert after['a/x/0.9/seed 0'] == ['a/student/0.9/seed 0']


@pytest.mark.parametrize(
    'method',
    [
        dict(variant='sd-only'),
        dict(),
        dict(masks_of='EPSD'),
        dict(variant='simple-combination', rounds='IMP'),
    ],
)
def test_a_loss_that_learns_from_another_needs_one(method, tmp_path):
    """Before anything runs, and not in each cell once it has started."""
    method = dict(method, sd_loss='KD')
    with pytest.raises(ValueError, match="'KD' learns.*add teacher") as error:
        suite(tmp_path, EPSD=dict(), x=method).cells  # noqa: B018
    assert 'a/x/' in str(error.value)


def test_the_hook_of_a_config_may_name_the_teacher(tmp_path):
    teacher = dict(config='dense.py', checkpoint='dense.pth')
    options = {'default_hooks.epsd.sd_loss.teacher': teacher}
    found = suite(tmp_path, x=dict(sd_loss='KD', options=options))
    assert all(cell.key for cell in found.cells)


def test_a_narrow_run_needs_a_teacher():
    with pytest.raises(ValueError, match='name that run by teacher'):
        Run('config.py', narrow=True)


def test_what_led_to_a_student_counts_and_what_its_teacher_looks_at(tmp_path):
    """A quarter of the work of 3 passes, one of the teacher, its training."""
    figures = {METRIC: 60.0, 'training/iterations': 400}
    small = {'saved/multiply_adds': 0.5, 'saved/dense_multiply_adds': 2.0}

    def metrics(cell):
        return figures | (small if cell.method.name == 'student' else {})

    comparison = compared(suite(tmp_path, student=STUDENT, GMP=GMP), metrics)
    passes = total_passes(comparison, Arm('a', 'student', 0.9))
    assert passes[0] == 400 * 128 * (3 * 0.25 + 1 + 3)
    write_report(comparison, tmp_path / 'nowhere', tmp_path / 'out')
    assert '| student |' in (tmp_path / 'out' / 'report.md').read_text()
