"""What is said of networks that are smaller for real."""

from epsd_mm.benchmark.report.trade_offs import trade_offs

from ...helpers.suites import METRIC, compared, suite_of

UNITS = {'default_hooks.epsd.structure': 'channels'}
METHODS = {
    'dense': dict(variant='dense'),
    'narrow': dict(
        variant='dense',
        options={'model.backbone.base_channels': 32},
    ),
    'zeros': dict(),
    'units': dict(options=UNITS),
}


def section(folder, compact=True, counted=False):
    """Of a network whose epochs and multiply-adds are halved."""

    def metrics(cell):
        units = cell.method.name == 'units'
        found = {
            METRIC: 60.0 - units,
            'training/iteration_time': 0.1 if units else 0.2,
            'training/iterations': 2000.0,
        }
        if units and compact:
            found['saved/multiply_adds'] = 5e6
            found['saved/dense_multiply_adds'] = 1e7
        if counted:
            narrow = cell.method.name == 'narrow'
            found['training/weights'] = 30 if narrow else 100
            found['training/multiply_adds'] = 4.0 if narrow else 16.0
        return found

    return trade_offs(compared(suite_of(folder, METHODS), metrics), 'a')


def test_compact_networks_stand_beside_the_dense_one(tmp_path):
    found = section(tmp_path)
    figure, table = found.blocks
    rows = {row[0].split(' ')[0]: row[1:] for row in table.rows}
    assert rows.keys() == {'dense', 'narrow', 'units'}  # no zeros
    assert rows['dense'][:2] == ['10 M', '1.000']
    assert rows['units'][:2] == ['5 M', '0.500']
    assert rows['narrow'][:2] == ['', '']  # another network: not counted
    assert [row[3] for row in rows.values()] == ['1.00', '1.00', '0.50']
    assert 'multiply-adds' in figure.svg and 'seconds an epoch' in figure.svg


def test_a_narrower_network_has_its_share_where_cells_have_counted(tmp_path):
    _, table = section(tmp_path, counted=True).blocks
    rows = {row[0].split(' ')[0]: row[1:] for row in table.rows}
    assert rows['narrow'][:2] == ['2 M', '0.250']
    assert rows['dense'][:2] == ['10 M', '1.000']


def test_nothing_is_said_where_no_network_is_compact(tmp_path):
    assert section(tmp_path, compact=False) is None


def of_students(folder, cut):
    """Students at a quarter of 2 M, beside networks that are cut, if any."""
    methods = {
        'dense': dict(variant='dense'),
        'GMP': dict(variant='prune-only', policy='GMP'),
        'student': dict(student_of='GMP'),
    }
    if cut:
        methods['units'] = dict(options=UNITS)
    # Of the cut ones the layers that may be pruned are counted alone.
    counts = dict(student=(5e5, 2e6), units=(6e5, 1e6))

    def metrics(cell):
        found = {METRIC: 60.0}
        if (both := counts.get(cell.method.name)) is not None:
            names = 'saved/multiply_adds', 'saved/dense_multiply_adds'
            found |= dict(zip(names, both))
        return found

    return trade_offs(compared(suite_of(folder, methods, 1), metrics), 'a')


def test_a_student_is_no_network_that_lost_channels(tmp_path):
    """It has weights of its own, and comes after a whole training."""
    found = of_students(tmp_path, cut=False)
    said = ' '.join(found.text)
    assert found.title == 'Smaller networks'
    assert 'lost channels' not in said and 'what is left' not in said
    assert 'initial weights of their own' in said
    rows = {row[0]: row[1:3] for row in found.blocks[-1].rows}
    assert rows['student at 0.9'] == ['0.5 M', '0.250']


def test_of_both_kinds_is_said_what_each_is(tmp_path):
    found = of_students(tmp_path, cut=True)
    assert found.title == 'Smaller networks'
    lost, students, both = found.text
    assert lost.startswith('Networks that lost channels before their first')
    assert students.startswith('Students of pruned networks')
    assert 'measured' in both
    rows = {row[0]: row[2] for row in found.blocks[-1].rows}
    assert rows['student at 0.9'] == '0.250'
    assert rows['units at 0.9'] == '0.600'


def test_networks_that_lost_channels_are_told_as_such(tmp_path):
    found = section(tmp_path)
    assert found.title == 'Smaller before the first step'
    assert 'tudent' not in ' '.join(found.text)
