"""The module that becomes a file."""

import copy
from typing import Any

from torch import Tensor, nn

from epsd_mm.families.kinds import class_names

from .candidates import UNLIMITED, Selected, iou_threshold, suppress
from .compiled import make_exportable, refuse_operators
from .dense_heads import DenseHead
from .pixels import Normalise
from .queries import Queries
from .refusal import not_exportable
from .two_stages import TwoStages


def as_deployed(model: nn.Module, order: str = 'bgr') -> nn.Module:
    """A model of mmdet or mmpretrain, from pixels to what a user reads.

    Args:
        model: In evaluation mode; left as it was.
        order: Of the channels of what its ``data_preprocessor`` was given.

    Returns:
        A classifier takes images, RGB of 0 to 255, of shape (N, 3, H, W),
        and returns probabilities, of shape (N, classes). A detector takes
        height and width of each image, too, of shape (N, 2), beyond which
        there is padding, and returns :class:`Selected`.

    Raises:
        ValueError: It trains, or is of a kind that cannot be exported.
    """
    if model.training:
        raise ValueError(
            f'{type(model).__name__} is in training mode: call eval() before '
            'it is exported'
        )
    refuse_operators(model)
    model = copy.deepcopy(model).requires_grad_(False)
    make_exportable(model)
    if hasattr(model, 'roi_head') or hasattr(model, 'bbox_head'):
        return DeployedDetector(model, order).eval()
    if hasattr(model, 'head') and hasattr(model, 'backbone'):
        return DeployedClassifier(model, order).eval()
    raise not_exportable(
        type(model).__name__,
        'it is neither an image classifier of mmpretrain nor a detector of '
        'mmdet with one bbox_head or with proposals',
    )


class DeployedClassifier(nn.Module):
    """Probabilities of images, see :func:`as_deployed`."""

    def __init__(self, model: nn.Module, order: str) -> None:
        super().__init__()
        self.pixels = Normalise(model.data_preprocessor, order)
        self.model = model
        self.exclusive = 'MultiLabelClsHead' not in class_names(model.head)

    def forward(self, image: Tensor) -> Tensor:
        logits = self.model(self.pixels(image), mode='tensor')
        if isinstance(logits, (list, tuple)):
            raise not_exportable(
                type(self.model.head).__name__, 'it gives several outputs'
            )
        return logits.softmax(1) if self.exclusive else logits.sigmoid()


class DeployedDetector(nn.Module):
    """Final boxes of images, see :func:`as_deployed`."""

    def __init__(self, model: nn.Module, order: str) -> None:
        super().__init__()
        self.pixels = Normalise(model.data_preprocessor, order)
        self.model = model
        self._queries = self._candidates = None
        if hasattr(model, 'query_embedding') or hasattr(model, 'decoder'):
            self._queries = Queries(model)
            self.score_threshold = 0.0
            self.count = self._queries.count
            return
        if hasattr(model, 'roi_head'):
            self._candidates: Any = TwoStages(model)
            self._test_cfg = model.test_cfg.rcnn
        else:
            self._candidates = DenseHead(model.bbox_head)
            self._test_cfg = model.bbox_head.test_cfg
        cfg = self._test_cfg
        self.score_threshold = float(cfg.get('score_thr', 0))
        self.nms = cfg.get('nms') or {}
        iou_threshold(self.nms)  # refuses what ONNX lacks
        self.count = int(cfg.get('max_per_img', UNLIMITED))

    def forward(self, image: Tensor, size: Tensor) -> Selected:
        features = self.model.extract_feat(self.pixels(image))
        size, canvas = size.to(image), image.shape[2:]
        if self._queries is not None:
            return self._queries(features, size, canvas)
        candidates = self._candidates(features, size, canvas, self._test_cfg)
        return suppress(candidates, self.nms, self.count)
