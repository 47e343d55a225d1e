"""Published figures, beside results of the same set-up alone."""

from dataclasses import dataclass

from mmengine.config import Config

from epsd_mm.config_types import type_name
from epsd_mm.pages import Table

from ..comparison import Arm, Comparison
from .text import spread

_SYNFLOW = 'Tanaka et al., NeurIPS 2020 (data of the authors), 3 seeds'
_PS_KD = 'Kim et al., ICCV 2021'
_RESNET18 = ('ResNet_CIFAR', 18, 64)
_PREACT18 = ('PreActResNet', 18, 64)
_SPARSITIES = (0.438, 0.684, 0.822, 0.900, 0.944, 0.968, 0.982, 0.990)
_METRIC = 'accuracy/top1'
# Published to a tenth of a per cent.
_ROUNDED = 0.0006


@dataclass(frozen=True)
class _Dataset:
    """A data set, whole and at its own size.

    Attributes:
        types: Classes that read it.
        images: To train.
    """

    types: tuple[str, ...]
    images: int


_DATASETS = {
    'CIFAR-10': _Dataset(('CIFAR10', 'CIFAR10Batches'), 50_000),
    'CIFAR-100': _Dataset(('CIFAR100', 'CIFAR100Batches'), 50_000),
    'Tiny-ImageNet': _Dataset(('TinyImageNet',), 100_000),
}
# Top-1 of a pruned ResNet-18 at _SPARSITIES, trained without distillation.
_PRUNED = {
    ('CIFAR-10', 'Random'): '94.65 94.42 93.88 92.92 91.60 89.57 87.34 82.98',
    ('CIFAR-10', 'Magnitude'): '94.92 94.91 94.70 94.40 10 10 10 10',
    ('CIFAR-10', 'SNIP'): '94.93 94.82 94.63 94.29 93.69 93.23 91.84 90.80',
    ('CIFAR-10', 'GraSP'): '94.61 94.38 94.18 93.78 92.83 92.09 91.18 89.71',
    ('CIFAR-10', 'SynFlow'): '94.98 94.78 94.55 94.07 93.69 92.66 91.75 90.36',
    ('CIFAR-100', 'SNIP'): '77.95 76.78 75.61 74.47 71.25 66.51 63.35 55.08',
    (
        'CIFAR-100',
        'SynFlow',
    ): '78.20 76.59 75.10 73.84 71.59 68.77 64.98 60.90',
    ('Tiny-ImageNet', 'SNIP'): '62.94 62.01 59.91 57.03 52.93 46.75 39.15 '
    '29.56',
    ('Tiny-ImageNet', 'SynFlow'): '63.24 62.64 60.68 58.86 56.55 53.38 49.55 '
    '44.48',
}
# Top-1 of dense networks by the loss that they are trained with.
_DENSE = {
    (_PREACT18, 'CIFAR-100', None): (75.82, _PS_KD),
    (_PREACT18, 'CIFAR-100', 'CSKDLoss'): (78.70, _PS_KD),
    (_PREACT18, 'CIFAR-100', 'PSKDLoss'): (79.18, _PS_KD),
}


def published_table(comparison: Comparison, setup: str) -> Table | None:
    """Ours beside published ones; None where no set-up is the same."""
    rows = []
    if comparison.suite.setups[setup].metric != _METRIC:
        return None
    for arm in comparison.arms_of(setup):
        if not comparison.cells(arm):
            continue
        found = _published(comparison, arm)
        if found is None:
            continue
        ours = comparison.summary(arm, comparison.primary(setup))
        value, source = found
        rows.append([str(arm), spread(ours, ' %'), f'{value:.2f} %', source])
    if not rows:
        return None
    return Table(('method', 'ours', 'published', 'by'), rows)


def _published(comparison: Comparison, arm: Arm) -> tuple[float, str] | None:
    cfg, traits = comparison.config(arm), comparison.traits(arm)
    dataset = whole_dataset(comparison, arm)
    if dataset is None:
        return None
    if traits.role in ('dense', 'sd-only'):
        return _DENSE.get((_network(cfg), dataset, traits.sd_loss))
    values = _PRUNED.get((dataset, traits.criterion))
    if (
        values is None
        or traits.role != 'prune-only'
        or _network(cfg) != _RESNET18
    ):
        return None
    for sparsity, value in zip(_SPARSITIES, values.split()):
        if abs(sparsity - arm.sparsity) < _ROUNDED:
            return float(value), _SYNFLOW
    return None


def whole_dataset(comparison: Comparison, arm: Arm) -> str | None:
    """The known data set of an arm, if it is all of it, at its own size."""
    dataset = _dataset(comparison.config(arm))
    if dataset is None or not _whole(comparison, arm, dataset):
        return None
    return dataset


def _dataset(cfg: Config) -> str | None:
    dataset = cfg.val_dataloader.dataset
    names = [type_name(step) for step in dataset.get('pipeline', ())]
    resized = any('Resize' in name or 'Crop' in name for name in names)
    if resized or dataset.get('indices') is not None:
        return None
    for name, known in _DATASETS.items():
        if type_name(dataset) in known.types:
            return name
    return None


def _whole(comparison: Comparison, arm: Arm, dataset: str) -> bool:
    """Whether an epoch has as many images as the data set."""
    epochs = comparison.traits(arm).epochs_trained
    loader = comparison.config(arm).train_dataloader
    batch = loader.batch_size
    if type_name(loader.get('batch_sampler')) == 'OverlapBatchSampler':
        batch //= 2
    if not epochs:
        return False
    counts = comparison.available(arm, 'training/iterations').values()
    images = _DATASETS[dataset].images
    return bool(counts) and all(
        abs(count / epochs * batch - images) < batch for count in counts
    )


def _network(cfg: Config) -> tuple:
    backbone = cfg.model.get('backbone', {})
    width = backbone.get('base_channels', 64)
    return type_name(backbone), backbone.get('depth'), width
