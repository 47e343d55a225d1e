"""An exported file in the place of a model, for mm's own evaluators."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from .run import load


class FileModel(BaseModel):
    """Tests what an exported file answers to the batches of a data loader.

    Args:
        file (str): The network.
        classes (list[str]): Of the data set, which must be those of the file.
        order (str): Of the channels of images in a batch, ``bgr`` or ``rgb``.

    Raises:
        ImportError: Its runtime is not installed.
        OSError: There is no such file.
        ValueError: It cannot be read, or is of other classes.
    """

    def __init__(
        self, file: str, classes: Sequence[str] | None, order: str
    ) -> None:
        super().__init__()
        self.network = load(file)
        known = list(self.network.metadata.classes)
        if classes is not None and list(classes) != known:
            raise ValueError(
                f'{file} knows the classes {known}, and the test set has '
                f'{list(classes)}: give the config that it was exported with'
            )
        self._order = order

    def test_step(self, data: Mapping) -> list[BaseDataElement]:
        """The samples of a batch, with predictions in pixels of the images.

        Args:
            data: ``inputs``, images of shape (3, H, W) as the test pipeline
                leaves them, and their ``data_samples``.
        """
        samples = data['data_samples']
        images = [self._rgb(image) for image in data['inputs']]
        batch = self.network.on_canvas(images)
        if self.network.metadata.task == 'classification':
            found = self.network(batch)['probabilities']
            for sample, row in zip(samples, found, strict=True):
                scores = torch.from_numpy(row)
                sample.set_pred_score(scores).set_pred_label(scores.argmax())
            return samples
        sizes = np.array([image.shape[1:] for image in images])
        found = self.network(batch, sizes)
        for index, sample in enumerate(samples):
            answer = {name: found[name][index] for name in found}
            scale = sample.metainfo.get('scale_factor', (1.0, 1.0))
            sample.pred_instances = _instances(answer, scale)
        return _with_plain_boxes(samples)

    val_step = test_step

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """What trains a model, which a file cannot.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError('an exported file answers test_step alone')

    def _rgb(self, image: Tensor) -> np.ndarray:
        pixels = image.numpy()
        return pixels[::-1] if self._order == 'bgr' else pixels


def _instances(
    answer: Mapping[str, np.ndarray], scale: Sequence[float]
) -> InstanceData:
    """What a file found in an image, in pixels before resizing."""
    used = answer['labels'] >= 0
    scales = np.tile(np.asarray(scale, np.float32), 2)
    return InstanceData(
        bboxes=torch.from_numpy(answer['boxes'][used] / scales),
        scores=torch.from_numpy(answer['scores'][used]),
        labels=torch.from_numpy(answer['labels'][used]),
    )


def _with_plain_boxes(samples: list) -> list:
    """Annotated boxes as tensors, as detectors leave them."""
    from mmdet.models.utils import samplelist_boxtype2tensor

    samplelist_boxtype2tensor(samples)
    return samples
