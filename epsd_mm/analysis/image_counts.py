"""Multiply-adds of the images that a config's model is tested on."""

from collections.abc import Mapping

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData

from epsd_mm.config_types import type_name
from epsd_mm.datasets.leaves import leaf_configs
from epsd_mm.pruning import Masks

from .parts import layer_figures

#: Height and width of an image.
Shape = tuple[int, int]


def tested_shape(cfg: Config) -> Shape:
    """What the test pipeline of a config resizes or crops images to.

    Raises:
        ValueError: There is no test set, or its pipeline says no size.
    """
    if not cfg.get('test_dataloader'):
        raise ValueError(
            'the config has no test set: give it a test_dataloader'
        )
    leaf = next(leaf_configs(cfg.test_dataloader.dataset))
    for transform in reversed(leaf.pipeline):
        size = transform.get('crop_size')
        if type_name(transform) == 'Resize':
            size = transform.get('scale')
        if size is not None:
            width, height = (size, size) if isinstance(size, int) else size
            return height, width
    raise ValueError('the test pipeline of the config says no size of images')


def padded(model: BaseModel, shape: Shape) -> Shape:
    """An image's size in a batch of the model."""
    divisor = getattr(model.data_preprocessor, 'pad_size_divisor', 1)
    height, width = (-(-side // divisor) * divisor for side in shape)
    return height, width


def count_images(
    model: BaseModel, shapes: Mapping[Shape, int], masks: Masks | None = None
) -> dict[str, dict]:
    """What each layer computes for an image, as of :func:`layer_figures`.

    A RoI head is counted for :func:`proposals_of` proposals.

    Args:
        model: In evaluation mode; its forward is replaced, so that it is of
            no use for anything else.
        shapes: How many images have a size; the mean over them is counted.
        masks: Which weights are kept; all by default.
    """
    return mean_of(
        {shape: _layers_at(model, shape, masks) for shape in shapes}, shapes
    )


def mean_of(
    by_shape: Mapping[Shape, dict], shapes: Mapping[Shape, int]
) -> dict[str, dict]:
    """The mean over images of what differs between their sizes."""
    result = next(iter(by_shape.values()))
    for name, figures in result.items():
        for key in ('multiply_adds', 'sparse_multiply_adds'):
            sums = sum(by_shape[s][name][key] * n for s, n in shapes.items())
            figures[key] = sums / sum(shapes.values())
    return result


def proposals_of(model: BaseModel) -> int | None:
    """Proposals that a RoI head is counted for, where there is one.

    Raises:
        ValueError: The model does not say how many it gets at most.
    """
    if getattr(model, 'roi_head', None) is None:
        return None
    most = (model.test_cfg.get('rpn') or {}).get('max_per_img')
    if most is None:
        raise ValueError(
            f'{type(model).__name__} has a RoI head, but no '
            'test_cfg.rpn.max_per_img that says how many proposals it gets'
        )
    return most


def _layers_at(
    model: BaseModel, shape: Shape, masks: Masks | None
) -> dict[str, dict]:
    image = torch.zeros(1, 3, *shape)
    if proposals_of(model) is not None:
        _fix_proposals(model, image)
    return layer_figures(model, image, masks)


def _fix_proposals(model: BaseModel, image: torch.Tensor) -> None:
    """Let the RPN run, but hand on proposals of a fixed number."""
    height, width = image.shape[-2:]
    sample = BaseDataElement(
        metainfo=dict(img_shape=(height, width), scale_factor=(1.0, 1.0))
    )
    whole = torch.tensor([[0.0, 0.0, width, height]])
    proposals = InstanceData(bboxes=whole.repeat(proposals_of(model), 1))
    answers = []

    def predict(features, *args, **kwargs):
        answers.append(model.rpn_head(features))
        return [proposals]

    def forward(images):
        found = type(model).forward(model, images, data_samples=[sample])
        # What nothing comes of is not counted.
        return found, answers.pop()

    model.rpn_head.predict = predict
    model.forward = forward
