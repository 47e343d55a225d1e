"""A config's model in torch, timed as mm predicts with it."""

import copy
import time

import torch
from mmengine.registry import DefaultScope
from torch import Tensor

from epsd_mm.config_types import is_mmdet
from epsd_mm.engine.runner import complete
from epsd_mm.evaluation.sparsity import network_sparsity
from epsd_mm.runs import Run

from .canvas import canvas_of
from .exporting import build_model, compaction_of, initial_model


class TorchModel:
    """What pre-processing, network and post-processing take on a batch.

    Args:
        target: ``CONFIG``, with the weights that it starts from, or
            ``CONFIG:CHECKPOINT``.
        size: Width and height of images, by default those of the config.

    Attributes:
        size (tuple[int, int]): Width and height of images.
        known (dict): What is known of an exported file, too.
    """

    def __init__(
        self, target: str, size: tuple[int, int] | None = None
    ) -> None:
        config, _, checkpoint = target.partition(':')
        cfg = complete(Run(config).resolve())
        self._scope = cfg.default_scope
        self._detects = is_mmdet(cfg)
        if checkpoint:
            self._model, _ = build_model(cfg, checkpoint, keep_zeros=True)
        else:
            self._model = initial_model(cfg)
        canvas = canvas_of(cfg, size and tuple(size))
        self.size = canvas.width, canvas.height
        state = self._model.state_dict().values()
        self.known = dict(
            model=type(self._model).__name__,
            width=canvas.width,
            height=canvas.height,
            sparsity=network_sparsity(self._model),
            compaction=compaction_of(cfg),
            precision='float32',
            bytes=sum(t.numel() * t.element_size() for t in state),
        )

    @torch.no_grad()
    def seconds(self, images: Tensor) -> float:
        """Seconds of one prediction, from pixels to final boxes."""
        samples = [self._sample(image) for image in images]
        batch = dict(inputs=list(images), data_samples=samples)
        if not self._detects:
            batch['inputs'] = images
        started = time.perf_counter()
        with DefaultScope.overwrite_default_scope(self._scope):
            self._model.test_step(copy.copy(batch))
        return time.perf_counter() - started

    def _sample(self, image: Tensor) -> object:
        shape = tuple(image.shape[1:])
        if self._detects:
            from mmdet.structures import DetDataSample as Sample
        else:
            from mmpretrain.structures import DataSample as Sample
        sample = Sample()
        sample.set_metainfo(
            dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
        )
        return sample
