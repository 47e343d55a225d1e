"""Runs that take a moment: a linear model on noise, pruned by magnitude."""

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import FlexibleRunner, Runner

PRUNED = dict(type='EPSDHook', sparsity=0.5, criterion='Magnitude')


class Linear(BaseModel):
    """Fits noise by a linear layer."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 4)

    def forward(self, inputs, mode='tensor'):
        outputs = self.layer(inputs)
        if mode == 'loss':
            return dict(loss=outputs.square().mean())
        return outputs


class Noise(torch.utils.data.Dataset):
    """Eight samples."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randn(6, generator=generator)


def small_runner(work_dir, epochs=1, hook=PRUNED, flexible=False, **changes):
    """A runner of two iterations an epoch that saves after each epoch.

    Args:
        work_dir: Of the run.
        epochs: Number of epochs.
        hook: Config of the hook of this package; None for none.
        flexible: Build a FlexibleRunner.
        changes: Of the arguments of the runner.
    """
    checkpoint = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)
    name = f'small-{abs(hash((str(work_dir), epochs)))}'
    options = dict(
        model=Linear(),
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            dataset=Noise(),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=lambda batch: dict(inputs=torch.stack(batch)),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        default_hooks=dict(checkpoint=checkpoint),
        custom_hooks=[] if hook is None else [dict(hook)],
        work_dir=str(work_dir),
        randomness=dict(seed=0),
        experiment_name=name,
        cfg=Config(dict()),
    )
    options.update(changes)
    return (FlexibleRunner if flexible else Runner)(**options)
