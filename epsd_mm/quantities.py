"""What numbers of a run mean: their units, and which way is better."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

HIGHER, LOWER = 'higher', 'lower'

#: Glob of the last two parts of a name; unit; what is better. The first that
#: matches counts. Shares have the unit '1'.
_KINDS = (
    # mmpretrain's, in percent
    ('*-label/support*', '1', None),
    ('accuracy/*', '%', HIGHER),
    ('single-label/*', '%', HIGHER),
    ('multi-label/*', '%', HIGHER),
    ('retrieval/*', '%', HIGHER),
    # mmdet's, as shares but for panoptic quality
    ('pascal_voc/*', '1', HIGHER),
    ('coco/*', '1', HIGHER),
    ('lvis/*', '1', HIGHER),
    ('openimages/*', '1', HIGHER),
    ('crowd_human/mMR', '1', LOWER),
    ('crowd_human/*', '1', HIGHER),
    ('coco_panoptic/*', '%', HIGHER),
    # of this package
    ('calibration/nll', 'nat', LOWER),
    ('calibration/*', '1', LOWER),
    ('training/*_time', 's', LOWER),
    ('training/*seconds', 's', LOWER),
    ('training/gpu_memory', 'MiB', LOWER),
    ('scoring/time', 's', LOWER),
    ('scoring/peak_memory', 'B', LOWER),
)


@dataclass(frozen=True)
class Quantity:
    """A number and what it means.

    Attributes:
        value: The number.
        unit: Its unit; ``'1'`` for shares, counts and what is not known.
        better: ``'higher'`` or ``'lower'``; ``None`` where neither is, or
            it is not known.
    """

    value: float
    unit: str = '1'
    better: str | None = None

    @classmethod
    def of(cls, name: str, value: float) -> 'Quantity':
        """A number with what its name says of it, see :func:`kind_of`."""
        return cls(value, *kind_of(name))


def kind_of(name: str) -> tuple[str, str | None]:
    """Unit and better direction of what has a name, as of a quantity.

    Args:
        name: Such as ``accuracy/top1``; further prefixes, of one of several
            data sets or evaluators, may stand before it.
    """
    end = '/'.join(name.split('/')[-2:])
    for glob, unit, better in _KINDS:
        if fnmatchcase(end, glob):
            return unit, better
    return '1', None
