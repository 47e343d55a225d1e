"""What is behind files, and costs nobody knows how much."""

from collections.abc import Iterator

from mmengine.config import Config

from epsd_mm.borrowed_masks import BORROWED
from epsd_mm.config_types import epsd_hook
from epsd_mm.earlier_runs import MASKS, WEIGHTS
from epsd_mm.engine.pretrained import without_pretrained

from .comparison import Arm, Comparison


def uncounted(comparison: Comparison, arm: Arm) -> list[str]:
    """What led to an arm and comes from a file: nobody knows what it cost.

    Weights from which the dense network starts too are none of it: costs are
    told by its own.
    """
    found: dict[str, None] = {}
    lender = comparison.lender(arm)
    for each in (arm, *comparison.before(arm), *([lender] if lender else [])):
        found |= dict.fromkeys(_from_files(comparison, each))
    return list(found)


def _from_files(comparison: Comparison, arm: Arm) -> Iterator[str]:
    cfg = comparison.config(arm)
    hook = epsd_hook(cfg) or {}
    taught = comparison.traits(arm).taught_per_step
    if taught and comparison.teacher(arm) is None:
        yield 'a teacher'
    if hook.get('masks') not in (None, BORROWED):
        yield 'masks'
    if hook.get('start') not in (None, MASKS):
        yield 'masks'
    dense = [comparison.config(each) for each in comparison.dense(arm.setup)]
    shared = [each.get('load_from') for each in dense]
    loaded = cfg.get('load_from') not in (None, WEIGHTS, *shared)
    if loaded or _starts_trained(cfg) and not any(map(_starts_trained, dense)):
        yield 'weights'


def _starts_trained(cfg: Config) -> bool:
    return without_pretrained(cfg.model) != cfg.model
