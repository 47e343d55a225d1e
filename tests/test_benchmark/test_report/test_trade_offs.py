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
