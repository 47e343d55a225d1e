"""A report of a scoring, as ``epsd/report.json`` has it."""

_COUNTS = dict(kept=2, total=4, sparsity=0.5)

#: All that a report of version 1 must have.
REPORT = dict(
    criterion='ProsPr',
    settings=dict(steps=1, lr=0.1),
    allocation=None,
    structure=dict(type='NM', n=2, m=4),
    sd_loss=dict(type='CSKDLoss', temperature=4.0),
    score_weights=dict(task=1, sd=1.0),
    draws=2,
    batches_per_step=1,
    seed=0,
    **_COUNTS,
    sparsity_all=0.5,
    all_weights=dict(_COUNTS, parts=dict(a=_COUNTS)),
    unpruned=[dict(layer='LSTM', names=['b'], weights=8, share=0.5)],
    left_dense=dict(c=3),
    stability=0.75,
    layers={'a.weight': dict(kept=2, total=4, density=0.5)},
    steps=[dict(losses=[2.0, 1.5], growth=1.5), dict(losses=[2.0])],
    terms=[dict(task=2.0, sd=0.25), dict(task=2.0, sd=-0.75)],
    seconds=12.5,
    peak_memory=2**30,
    peak_memory_of='process since its start',
)
