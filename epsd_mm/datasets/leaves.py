"""The data sets under mmengine's wrappers, and their configs."""

from collections.abc import Iterator, Mapping
from typing import Any


def leaf_datasets(dataset: Any) -> Iterator[Any]:
    """The data sets that load images, each once.

    ``RepeatDataset``, ``ClassBalancedDataset``, ``ConcatDataset`` and other
    wrappers with ``dataset`` or ``datasets`` are looked through.
    """
    seen: set[int] = set()
    waiting = [dataset]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        if type(current).__name__ == '_SlicedDataset':
            # Of num_batch_per_epoch; it hands out what is inside it.
            waiting.append(current._dataset)
            continue
        inner = getattr(current, 'datasets', None)
        if inner is None and hasattr(current, 'dataset'):
            inner = [current.dataset]
        if inner is None:
            yield current
        else:
            waiting.extend(inner)


def leaf_configs(dataset: Any) -> Iterator[Mapping]:
    """The innermost configs of a data set and its wrappers."""
    if not isinstance(dataset, Mapping):
        return
    inner = [dataset.get('dataset'), *(dataset.get('datasets') or [])]
    inner = [child for child in inner if child is not None]
    if not inner:
        yield dataset
    for child in inner:
        yield from leaf_configs(child)
