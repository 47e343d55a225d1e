"""Published figures stand beside results of the same set-up alone."""

import pytest

import epsd_mm
from epsd_mm.benchmark.report.published import published_table
from tests.helpers.suites import METRIC, compared, suite_of

METHODS = {
    'snip': dict(variant='prune-only', criterion='SNIP'),
    'snip, then SD': dict(criterion='SNIP'),
    'dense': dict(variant='dense'),
    'SD': dict(variant='sd-only'),
}
WHOLE = 391 * 200  # 50,000 images in batches of 128, 200 epochs


def rows(folder, config='cifar10_resnet18_epsd', iterations=WHOLE, **setup):
    setup.setdefault('sparsities', (0.9,))
    suite = suite_of(
        folder,
        METHODS,
        seeds=2,
        config=epsd_mm.config_path(config),
        **setup,
    )
    comparison = compared(
        suite,
        lambda cell: {
            METRIC: 94.0 + cell.seed,
            'training/iterations': iterations,
        },
    )
    table = published_table(comparison, 'a')
    return None if table is None else [row[:3] for row in table.rows]


def test_the_same_setup_is_shown(tmp_path):
    assert rows(tmp_path) == [['snip at 0.9', '94.50 ± 0.71 %', '94.29 %']]


def test_dense_networks_have_theirs(tmp_path):
    found = rows(tmp_path, 'cifar100_preact_resnet18_epsd')
    assert [row[0::2] for row in found] == [
        ['dense', '75.82 %'],
        ['SD', '78.70 %'],
    ]


@pytest.mark.parametrize(
    'changes',
    [
        dict(sparsities=(0.95,)),
        dict(iterations=WHOLE // 10),
        dict(metric='accuracy/top5'),
        dict(config='cifar100_wrn20_8_epsd'),
        dict(options={'model.backbone.base_channels': 16}),
        dict(options={'val_dataloader.dataset.indices': 3000}),
        dict(
            options={
                'val_dataloader.dataset.pipeline': [
                    dict(type='Resize', scale=16),
                    dict(type='PackInputs'),
                ]
            }
        ),
    ],
)
def test_any_other_setup_has_none(changes, tmp_path):
    assert rows(tmp_path, **changes) is None
