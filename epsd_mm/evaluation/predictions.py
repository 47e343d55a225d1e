"""How sure a network was of each prediction, and whether it was right."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epsd_mm.files import atomic_write

from .calibration import risk_coverage, scores_and_label
from .voc_metric import DetectedImage, Tally

_IOU = 0.5


@dataclass(frozen=True)
class Predictions:
    """All predictions over a test set, whatever is predicted.

    Attributes:
        confidence: Of each one, in [0, 1], float32, shape (N,).
        correct: Whether it was right, bool, shape (N,).
        sought: What there was to predict: images, or objects to detect.
        of: ``'images'`` or ``'objects'``.
    """

    confidence: np.ndarray
    correct: np.ndarray
    sought: int
    of: str

    def risk(self, coverage: np.ndarray) -> np.ndarray:
        """What is wrong among the most confident ones.

        Args:
            coverage: How many of them are looked at, as shares of what was
                sought, shape (K,).

        Returns:
            Their error rates, shape (K,); NaN where fewer were predicted.
        """
        if not len(self.confidence) or not self.sought:
            return np.full(len(coverage), np.nan)
        risks = risk_coverage(self.confidence, self.correct)
        at = np.arange(1, len(risks) + 1) / self.sought
        return np.interp(coverage, at, risks, right=np.nan)

    def save(self, path: str | Path) -> None:
        """Write a file, complete or not at all."""
        with atomic_write(path) as file:
            np.savez_compressed(file, **vars(self))

    @classmethod
    def load(cls, path: str | Path) -> 'Predictions':
        """Those of a file of :meth:`save`.

        Raises:
            OSError: The file cannot be opened.
            ValueError: It is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as saved:
                found = cls(
                    saved['confidence'],
                    saved['correct'],
                    int(saved['sought']),
                    str(saved['of']),
                )
                if found.confidence.shape != found.correct.shape:
                    raise ValueError('its two columns differ in length')
                return found
        except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(
                f'{path} holds no predictions, or is damaged ({error}): '
                'remove it, and a report goes without it'
            ) from error


class PredictionReader:
    """Takes what is needed out of one evaluated sample after the other."""

    def __init__(self) -> None:
        self._images: list[tuple[float, bool]] = []
        self._tally: Tally | None = None

    def add(self, sample: Mapping) -> None:
        """Take a sample of mmpretrain or of mmdet, as a dict.

        A detection is right as Pascal VOC has it, at an overlap of 0.5;
        difficult objects, and what is found of them, do not count.

        Raises:
            ValueError: It is of another task, or lacks labels.
        """
        if 'pred_instances' in sample:
            self._tally = self._tally or Tally()
            image = DetectedImage.of(sample)
            for label in image.all_classes:
                image.add_to(self._tally, label, _IOU)
            return
        scores, label = scores_and_label(sample)
        prediction = int(scores.argmax())
        self._images.append((scores[prediction], prediction == label))

    def result(self) -> Predictions:
        """The predictions of all samples."""
        if self._tally is None:
            confidence, correct = np.reshape(self._images, (-1, 2)).T
            sought, of = len(self._images), 'images'
        else:
            none = [np.zeros(0)]
            confidence = np.concatenate(self._tally.scores or none)
            correct = np.concatenate(self._tally.right or none)
            sought, of = self._tally.objects, 'objects'
        return Predictions(
            confidence.astype(np.float32), correct.astype(bool), sought, of
        )
