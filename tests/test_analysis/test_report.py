"""The report says where the kept weights and the scores are."""

from epsd_mm.analysis import report_text


def test_density_and_mass_by_part():
    layer = dict(kept=5, total=20, density=0.25, mass=0.5, mass_kept=0.3)
    report = dict(
        criterion='SNIP',
        seconds=1.0,
        peak_memory=2**30,
        peak_memory_of='process since its start',
        steps=[],
        kept=25,
        total=60,
        all_weights=dict(
            kept=65,
            total=100,
            sparsity=0.35,
            parts=dict(
                backbone=dict(kept=60, total=80, sparsity=0.25),
                roi_head=dict(kept=5, total=20, sparsity=0.75),
            ),
        ),
        layers={
            'backbone.a.weight': layer,
            'backbone.b.weight': dict(layer, kept=15, mass=0.25),
            'roi_head.c.weight': dict(layer, mass=0.25, mass_kept=0.25),
        },
    )
    lines = report_text(report).splitlines()
    cells = [[c.strip() for c in t.split('│')[1:-1]] for t in lines]
    assert ['backbone.a.weight', '5', '20', '0.2500'] in cells
    assert ['backbone', '40', '20', '0.5000', '75.00%', '60.00%'] in cells
    assert ['roi_head', '20', '5', '0.2500', '25.00%', '25.00%'] in cells
    assert ['all', '60', '25', '0.4167', '100.00%', '85.00%'] in cells
    assert ['backbone', '80', '60', '0.2500'] in cells
    assert ['roi_head', '20', '5', '0.7500'] in cells
    assert ['all', '100', '65', '0.3500'] in cells
    assert lines[-3] == (
        'sparsity 0.5833 of 60 prunable weights, 0.3500 of all 100 weights'
    )
    assert lines[-2] == 'scored by SNIP in 1.0 s'
