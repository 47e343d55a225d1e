"""What a config's test pipeline does to an image, for a file to repeat."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmengine.config import Config

from epsd_mm.config_types import type_name
from epsd_mm.datasets.leaves import leaf_configs

from .run import Resize

# They hand on what was loaded; what begins with Load does so, too.
_HARMLESS = ('PackDetInputs', 'PackInputs', 'PackMultiTaskInputs', 'Collect')
_Size = tuple[int, int]


@dataclass(frozen=True)
class Canvas:
    """How images come before a network.

    Attributes:
        resize: What happens to them.
        width: Of what the network is given.
        height: Likewise.
        pad: RGB of what the pipeline pads with, None where it does not.
        order: Of channels, as images reach the network in training.
    """

    resize: Resize
    width: int
    height: int
    pad: tuple[float, ...] | None
    order: str


def canvas_of(
    cfg: Config, size: _Size | None = None, divisor: int = 1
) -> Canvas:
    """Read a config's test pipeline.

    Args:
        cfg: Complete.
        size: Width and height to take in place of those of the pipeline.
        divisor: Width and height of the canvas are multiples of it.

    Raises:
        ValueError: A transform is not known, or says no size; or the size
            is none that the network takes.
    """
    _check(size, divisor)
    steps = _pipeline(cfg)
    resizing = [s for s in steps if type_name(s) in _READERS]
    padding = [s for s in steps if type_name(s) == 'Pad']
    crops = [s for s in steps if type_name(s) == 'CenterCrop']
    for step in steps:
        name = type_name(step)
        known = (*_HARMLESS, *_READERS, 'Pad', 'CenterCrop')
        if name not in known and not name.startswith('Load'):
            raise ValueError(
                f'the test pipeline has {name}, which an exported file cannot '
                f'repeat: known are {", ".join((*_READERS, "Pad"))} and '
                'CenterCrop'
            )
    if len(resizing) > 1:
        names = ' and '.join(map(type_name, resizing))
        raise ValueError(
            f'the test pipeline resizes more than once, by {names}: leave one '
            'of them in it'
        )
    if not resizing:
        resize, natural = _unresized(size)
    else:
        (step,) = resizing
        resize, natural = _READERS[type_name(step)](step, crops, size)
    if padding and size is None:
        natural = _padded(padding[-1], natural)
    width, height = (-(-side // divisor) * divisor for side in natural)
    order = _order(steps)
    return Canvas(resize, width, height, _pad_pixel(padding), order)


def channel_order(cfg: Config) -> str:
    """Of images as a config's test pipeline gives them, see `Canvas`."""
    return _order(_pipeline(cfg))


def _order(steps: Sequence[Mapping]) -> str:
    # Data sets that hold arrays, as CIFAR's, hold them as RGB.
    from_files = any(
        type_name(step).startswith('Load')
        and not type_name(step).startswith('LoadAnn')
        for step in steps
    )
    return 'bgr' if from_files else 'rgb'


def _check(size: _Size | None, divisor: int) -> None:
    if size is None:
        return
    off = [side for side in size if side < 1 or side % divisor]
    if off:
        near = [max(divisor, round(s / divisor) * divisor) for s in size]
        raise ValueError(
            f'--size {size[0]} {size[1]}: the network takes multiples of '
            f'{divisor}: say --size {near[0]} {near[1]}'
        )


def _pipeline(cfg: Config) -> Sequence[Mapping]:
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    if loader is None:
        raise ValueError(
            f'{cfg.filename} has no test_dataloader, whose pipeline says how '
            'images come before the network'
        )
    leaves = list(leaf_configs(loader.get('dataset')))
    for leaf in leaves:
        if leaf.get('pipeline'):
            return leaf['pipeline']
    return loader['dataset'].get('pipeline') or []


def _from_resize(
    step: Mapping, crops: Sequence[Mapping], size: _Size | None
) -> tuple[Resize, _Size]:
    scale = step.get('scale')
    if scale is None:
        raise ValueError(
            'Resize of the test pipeline has no scale: give it '
            'scale=(width, height)'
        )
    scale = (scale, scale) if isinstance(scale, int) else tuple(scale)
    if len(scale) != 2 or not all(isinstance(side, int) for side in scale):
        raise ValueError(
            f'Resize of the test pipeline has scale={scale!r}: one width and '
            'height are needed'
        )
    if crops:
        raise ValueError(
            'the test pipeline has Resize and CenterCrop: write ResizeEdge '
            'for what is cropped'
        )
    natural = size or scale
    how = _interpolation(step)
    if step.get('keep_ratio', False):
        return Resize('keep_ratio', scale=list(natural), **how), natural
    return Resize('stretch', **how), natural


def _from_edge(
    step: Mapping, crops: Sequence[Mapping], size: _Size | None
) -> tuple[Resize, _Size]:
    if step.get('edge', 'short') != 'short' or len(crops) != 1:
        raise ValueError(
            'the test pipeline has a ResizeEdge that an exported file cannot '
            "repeat: let it have edge='short', and one CenterCrop after it"
        )
    crop = crops[0]['crop_size']
    crop = (crop, crop) if isinstance(crop, int) else tuple(crop)
    edge = step['scale']
    if size is not None:  # as much of the image as before
        edge = round(edge * min(size) / min(crop))
    how = _interpolation(step)
    return Resize('short_edge_then_crop', edge=edge, **how), size or crop


def _unresized(size: _Size | None) -> tuple[Resize, _Size]:
    if size is None:
        raise ValueError(
            'the test pipeline resizes nothing, so that it does not say how '
            'large images are: add --size WIDTH HEIGHT'
        )
    return Resize('stretch'), size


def _interpolation(step: Mapping) -> dict:
    return dict(
        interpolation=step.get('interpolation', 'bilinear'),
        backend=step.get('backend', 'cv2'),
    )


def _padded(step: Mapping, natural: _Size) -> _Size:
    if step.get('pad_to_square', False):
        side = max(natural)
        return side, side
    size = step.get('size')
    if size is None:
        return natural
    width, height = size
    return max(width, natural[0]), max(height, natural[1])


def _pad_pixel(padding: Sequence[Mapping]) -> tuple[float, ...] | None:
    if not padding:
        return None
    value = padding[-1].get('pad_val', 0)
    if isinstance(value, Mapping):
        value = value.get('img', 0)
    if isinstance(value, (int, float)):
        value = (value,) * 3
    return tuple(float(each) for each in reversed(value))  # from BGR


_READERS = {'Resize': _from_resize, 'ResizeEdge': _from_edge}
