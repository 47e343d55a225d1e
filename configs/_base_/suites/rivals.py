# Beside early pruning, what prunes or rewires while it trains: with the plain
# loss, as its authors have it, and with self-distillation, the fair control.
# A later criterion that prunes before training likewise (NTK-SAP, ICLR 2023).
# Then what trains more than once: a lottery ticket, in rounds of 20 %, and
# the masks of EPSD taught by the dense network of the same seed. And a student
# as large as what GMP keeps (Prune, then Distill).
_rivals = {
    'dense': dict(variant='dense'),
    'SD only': dict(variant='sd-only'),
    'Random': dict(variant='prune-only', criterion='Random'),
    'Simple Combination': dict(variant='simple-combination'),
    'EPSD': dict(),
    **{
        name: dict(variant='prune-only', policy=name)
        for name in ('GMP', 'SET', 'RigL')
    },
    **{
        f'{name} + SD': dict(variant='simple-combination', policy=name)
        for name in ('GMP', 'SET', 'RigL')
    },
    'NTK-SAP': dict(variant='prune-only', criterion='NTKSAP'),
    'NTK-SAP + SD': dict(variant='simple-combination', criterion='NTKSAP'),
    # Back to an early epoch: how early is our choice.
    'IMP': dict(variant='prune-only', rounds=dict(share=0.2, rewind=2)),
    'KD from a dense twin': dict(
        sd_loss='KD', masks_of='EPSD', teacher='dense'
    ),
    # With the temperature and weight of its authors.
    'Prune, then Distill': dict(
        student_of='GMP',
        options={
            'default_hooks.epsd.sd_loss.temperature': 10.0,
            'default_hooks.epsd.sd_loss.alpha': 0.95,
        },
    ),
}
