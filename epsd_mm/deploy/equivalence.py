"""Whether a file computes what the network computes."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .run import Network

#: Boxes of the reference with a lower score need no partner.
LOWEST_SCORE = 0.05
#: So far a score may always be from the reference.
SCORE_LIMIT = 1e-4
#: Boxes that are further apart, in pixels, are two: of two that overlap,
#: rounding decides which one suppresses the other.
NEAR = 0.5
#: Below so many pixels, errors are those of single precision.
BOX_FLOOR = 0.01

#: Boxes of two networks that round otherwise are one up to this distance of
#: their corners, in relation to the longer side of the canvas.
CLOSE = 0.05

#: Takes and returns what a deployable module does.
Predict = Callable[..., Any]


@dataclass
class Error:
    """How far outputs are from those in double precision.

    Attributes:
        objects: Boxes of the reference, or images of a classifier.
        unmatched: Boxes of one side without a partner on the other.
        score: Largest difference of a score or probability.
        box: Largest difference of a corner, in pixels.
    """

    objects: int = 0
    unmatched: int = 0
    score: float = 0.0
    box: float = 0.0

    def add(self, other: 'Error') -> None:
        """Take in another image."""
        self.objects += other.objects
        self.unmatched += other.unmatched
        self._raise(other.score, other.box)

    def _raise(self, score: float, box: float) -> None:
        # What is no number stays, which max() would lose.
        self.score = float(np.maximum(self.score, score))
        self.box = float(np.maximum(self.box, box))


@dataclass
class Comparison:
    """A file, torch and mm in single precision, beside double precision.

    What is exported is mm's network with a traceable end of ours; that this
    end finds what mm finds is compared as well.

    Attributes:
        detects: Whether boxes were compared, or else probabilities.
        images: That were compared.
        file: Error of the file.
        torch: Error of what was exported, in single precision.
        mm: Difference of what mm itself predicts.
    """

    detects: bool
    images: int
    file: Error
    torch: Error
    mm: Error

    def faults(self) -> list[str]:
        """In what one is further off than single precision explains."""
        if 2 * self.torch.unmatched > self.torch.objects:
            return [
                'torch itself finds other boxes in single precision than in '
                f'double precision ({self.torch.unmatched} without a partner '
                f'beside {self.torch.objects}), so that nothing can be told: '
                'name other images by --images, or look whether its weights '
                'are trained and finite'
            ]
        own = self._faults_of(self.mm)
        if own:
            return [f'mm itself predicts something else: {own[0]}', *own[1:]]
        return self._faults_of(self.file)

    def _faults_of(self, error: Error) -> list[str]:
        found = []
        allowed = max(2 * self.torch.score, SCORE_LIMIT)
        if not error.score <= allowed:
            found.append(
                f'a score differs by {error.score:.1e} (torch: '
                f'{self.torch.score:.1e}), and {allowed:.0e} is allowed'
            )
        allowed = max(2 * self.torch.box, BOX_FLOOR)
        if not error.box <= allowed:
            found.append(
                f'a corner differs by {error.box:.3g} pixels (torch: '
                f'{self.torch.box:.3g}), and {allowed:.3g} are allowed'
            )
        if error.unmatched > 2 * self.torch.unmatched:
            found.append(
                f'{error.unmatched} boxes have no partner (torch: '
                f'{self.torch.unmatched})'
            )
        return found

    def summary(self) -> str:
        """One line, in words."""
        file, own, mm = self.file, self.torch, self.mm
        if not self.detects:
            return (
                f'{self.images} images beside double precision: scores to '
                f'{file.score:.1e} (torch in single precision: '
                f'{own.score:.1e}, mm itself: {mm.score:.1e})'
            )
        if not file.objects:
            return (
                f'{self.images} images without a box above {LOWEST_SCORE} in '
                'double precision or in the file: no box was compared; name '
                'images with objects by --images'
            )
        return (
            f'{self.images} images, {file.objects} boxes beside double '
            f'precision: scores to {file.score:.1e}, corners to '
            f'{file.box:.1e} pixels, {file.unmatched} without a partner '
            f'(torch in single precision: {own.score:.1e}, {own.box:.1e}, '
            f'{own.unmatched}; mm itself: {mm.score:.1e}, {mm.box:.1e}, '
            f'{mm.unmatched})'
        )

    def figures(self) -> dict:
        """As they are written to a report."""
        return asdict(self)


def compare(
    module: nn.Module,
    network: Network,
    pictures: Sequence[Image.Image],
    predict: Predict,
) -> Comparison:
    """Run a file, and what it was made from, on the same pictures.

    Args:
        module: That was exported, in single precision.
        network: The file.
        pictures: Real ones: random pixels show little.
        predict: What mm itself finds, of the arguments of the module.
    """
    double = in_double(module)
    detects = network.metadata.task == 'detection'
    result = Comparison(detects, len(pictures), Error(), Error(), Error())
    for picture in pictures:
        feed = network.feed_of(picture)
        reference = _call(double, feed, torch.float64)
        result.file.add(_error(reference, network(**feed)))
        for call, error in ((module, result.torch), (predict, result.mm)):
            single = _call(call, feed, torch.float32)
            error.add(_error(reference, single))
    return result


def in_double(module: nn.Module) -> nn.Module:
    """A copy in double precision.

    mm computes some embeddings of positions in single precision whatever its
    weights are; layers of the copy take them as double.
    """
    double = copy.deepcopy(module).double()
    for layer in double.modules():
        if next(layer.parameters(recurse=False), None) is not None:
            layer.register_forward_pre_hook(_widen)
    return double


def _widen(layer: nn.Module, inputs: tuple) -> tuple:
    return tuple(
        x.double() if isinstance(x, Tensor) and x.is_floating_point() else x
        for x in inputs
    )


def found_again(
    one: Network, other: Network, pictures: Sequence[Image.Image]
) -> tuple[int, int]:
    """How many answers of one network another one gives, too.

    Those of a classifier are its classes; of a detector the boxes above
    :data:`LOWEST_SCORE`, of which another one of the class is no further
    away than :data:`CLOSE` of the canvas.

    Returns:
        How many, and of how many.
    """
    found = of = 0
    for picture in pictures:
        feed = one.feed_of(picture)
        here, there = one(**feed), other(**feed)
        if 'probabilities' in here:
            classes = [x['probabilities'].argmax() for x in (here, there)]
            found, of = found + int(classes[0] == classes[1]), of + 1
            continue
        limit = CLOSE * max(feed['image'].shape[2:])
        rows = ('boxes', 'scores', 'labels')
        others = tuple(there[name][0] for name in rows)
        for box, score, label in zip(*(here[name][0] for name in rows)):
            if score > LOWEST_SCORE:
                of += 1
                near = _partner(box, label, others, set(), limit)
                found += near is not None
    return found, of


def _call(
    call: Predict, feed: dict[str, np.ndarray], dtype: torch.dtype
) -> dict[str, np.ndarray]:
    inputs = [torch.from_numpy(value).to(dtype) for value in feed.values()]
    with torch.no_grad():
        found = call(*inputs)
    if isinstance(found, Tensor):
        return dict(probabilities=found.numpy())
    return {name: value.numpy() for name, value in found._asdict().items()}


def _error(
    reference: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> Error:
    if 'probabilities' in reference:
        off = np.abs(reference['probabilities'] - found['probabilities'])
        return Error(objects=len(off), score=float(off.max()))
    return _box_error(
        *(
            tuple(outputs[name][0] for name in ('boxes', 'scores', 'labels'))
            for outputs in (reference, found)
        )
    )


def _box_error(reference: tuple, found: tuple) -> Error:
    error = Error(objects=int((reference[1] > LOWEST_SCORE).sum()))
    for one, other in ((reference, found), (found, reference)):
        taken: set[int] = set()
        for box, score, label in zip(*one):
            if score <= LOWEST_SCORE:
                continue
            partner = _partner(box, label, other, taken)
            if partner is None:
                error.unmatched += 1
                continue
            taken.add(partner)
            error._raise(
                abs(score - other[1][partner]),
                np.abs(box - other[0][partner]).max(),
            )
    return error


def _partner(
    box: np.ndarray,
    label: int,
    others: tuple,
    taken: set[int],
    limit: float = NEAR,
) -> int | None:
    """The nearest box of the same class that has no partner yet."""
    boxes, _, labels = others
    free = [i for i in np.flatnonzero(labels == label) if i not in taken]
    if not free:
        return None
    off = np.abs(boxes[free] - box).max(axis=1)
    nearest = int(off.argmin())
    return int(free[nearest]) if off[nearest] < limit else None
