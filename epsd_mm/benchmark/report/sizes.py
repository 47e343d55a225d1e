"""What a report says of how much of a network is really left."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from epsd_mm.analysis import read_report
from epsd_mm.engine.safe_loading import CheckpointError, load_values
from epsd_mm.run_files import REPORT, last_checkpoint

from ..compact_cell import PRUNED, SLACK
from ..comparison import Arm, Comparison
from ..folders import Folders


def real_sizes(
    comparison: Comparison, folders: Folders, setup: str
) -> str | None:
    """Names methods that keep another share than the table has them at.

    A sparsity is one of prunable weights, and the widths of a student go in
    steps; what is said here is of all weights of the whole network, of every
    method.

    Args:
        comparison: The finished cells.
        folders: Theirs.
        setup: Whose methods.
    """
    found = []
    for arm in comparison.arms_of(setup):
        if arm.sparsity is None:
            continue
        share = kept_share(comparison, folders, arm)
        if share is not None and abs(share - 1 + arm.sparsity) > SLACK:
            found.append(f'{arm}: {share:.1%}'.replace('%', ' %'))
    if not found:
        return None
    return (
        'Of all weights of the whole network, without biases and what '
        'normalises, some methods keep another share than their sparsity '
        f'says, by more than {SLACK:.0%}'.replace('%', ' % of the network: ')
        + '; '.join(found)
        + '.'
    )


def kept_share(
    comparison: Comparison, folders: Folders, arm: Arm
) -> float | None:
    """Share of all weights of the whole network that an arm keeps.

    The mean over seeds; None where nobody has counted, or the files that
    tell how many weights there are besides the prunable ones are gone or
    damaged.
    """
    sparsities = comparison.available(arm, 'saved/sparsity').values()
    if not sparsities:
        return None
    removed = sum(sparsities) / len(sparsities)
    if comparison.traits(arm).student:
        return 1 - removed  # of all weights already
    for seed, folder in folders.of(arm).items():
        checkpoint = last_checkpoint(folder)
        if checkpoint is None:
            continue
        try:
            state = load_values(checkpoint, 'cpu')['state_dict']
        except CheckpointError:  # damaged: no reason to report nothing
            continue
        left = _weights(state.values())
        if seed in (masks := folders.masks(arm)):
            prunable = sum(mask.numel() for mask in masks[seed].values())
            return 1 - removed * prunable / left
        if (scored := _report_of(folder)).is_file():
            layers = read_report(scored)['layers'].values()
            gone = removed * sum(layer['total'] for layer in layers)
            return left / (left + gone)
    return None


def _report_of(folder: Path) -> Path:
    return folder / PRUNED / REPORT


def _weights(values: Iterable[Tensor]) -> int:
    return sum(
        value.numel()
        for value in values
        if value.dim() > 1 and value.is_floating_point()
    )
