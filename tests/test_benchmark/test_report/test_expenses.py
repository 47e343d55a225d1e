"""Methods stand in the order of what they cost, counted in passes."""

from epsd_mm.benchmark.report.expenses import expenses
from tests.helpers.suites import compared, suite_of

METHODS = {
    'EPSD': dict(),
    'SD only': dict(variant='sd-only'),
    'RigL': dict(variant='prune-only', policy='RigL'),
    'dense': dict(variant='dense'),
}


def rows(tmp_path, steps, share):
    def metrics(cell):
        found = {'training/iterations': steps[cell.method.name]}
        if cell.method.name in share:
            found['training/sparse_share'] = share[cell.method.name]
        if cell.method.name == 'EPSD':
            found['scoring/evaluations'] = 32
        return found

    comparison = compared(suite_of(tmp_path, METHODS, seeds=1), metrics)
    (table,) = expenses(comparison, 'a').blocks
    passes = table.headings.index('× dense, passes')
    return [(row[0], *row[passes : passes + 2]) for row in table.rows]


def test_the_cheapest_is_first_and_zeros_are_told_apart(tmp_path):
    steps = dict.fromkeys(METHODS, 400)
    share = {'RigL': 0.15, 'EPSD': 0.1, 'dense': 1.0}
    # CS-KD has a partner for each image: 4 passes in place of 3; scoring
    # takes 32 times 4 and, of the image alone, 2 and 6 for three of 4 batches.
    epsd = 400 * 4 + 32 * (4 + (2 + 6) * 3 / 4)
    sparse = 400 * 4 * 0.1 + 32 * (4 + (2 + 6) * 3 / 4)
    assert rows(tmp_path, steps, share) == [
        ('RigL at 0.9', '1.00', '0.15'),
        ('dense', '1.00', '1.00'),
        ('SD only', '1.33', ''),
        ('EPSD at 0.9', f'{epsd / 1200:.2f}', f'{sparse / 1200:.2f}'),
    ]


def test_a_longer_training_costs_more(tmp_path):
    steps = {'RigL': 2000, 'EPSD': 400, 'SD only': 300, 'dense': 400}
    names = [row[0] for row in rows(tmp_path, steps, {})]
    assert names == ['SD only', 'dense', 'EPSD at 0.9', 'RigL at 0.9']
