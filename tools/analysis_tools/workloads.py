"""The models and batches that the benchmarks run on."""

import epsd_mm  # noqa: F401, I001  (first: it repairs broken environments)

import time
from collections.abc import Callable

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

WORKLOADS = ('resnet18', 'faster-rcnn', 'faster-rcnn-r50')


def build_model(name: str, device: str) -> BaseModel:
    """A model with random weights, in training mode.

    ``resnet18`` is mmpretrain's ResNet-18 for 32x32 images, ``faster-rcnn``
    that of the demo, ``faster-rcnn-r50`` mmdet's own for VOC.
    """
    if name == 'resnet18':
        base, scope = (
            'mmpretrain::_base_/models/resnet18_cifar.py',
            'mmpretrain',
        )
        cfg = Config.fromfile(shipped(base)).model
        cfg.backbone.zero_init_residual = False
        import mmpretrain.models  # noqa: F401
    else:
        small = epsd_mm.config_path('demo_faster_rcnn')
        large = 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py'
        path = small if name == 'faster-rcnn' else shipped(large)
        cfg, scope = Config.fromfile(path).model, 'mmdet'
        cfg.backbone.update(init_cfg=None, zero_init_residual=False)
        import mmdet.models  # noqa: F401
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg)
        model.init_weights()
    return model.to(device).train()


def make_batch(name: str, size: int, image: tuple[int, int], seed: int):
    """A collated batch of random images with random annotations.

    Args:
        name: The workload.
        size: Number of images.
        image: Their height and width.
        seed: Seed of everything.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(size, 3, *image, generator=generator) * 255
    if name == 'resnet18':
        from mmpretrain.structures import DataSample

        labels = torch.randint(0, 10, (size,), generator=generator)
        samples = [DataSample().set_gt_label(int(label)) for label in labels]
        return dict(inputs=pixels, data_samples=samples)
    from mmdet.structures import DetDataSample

    samples = []
    extent = torch.tensor([image[1], image[0]])
    for _ in range(size):
        corner = torch.rand(4, 2, generator=generator) * extent / 2
        sides = (0.1 + torch.rand(4, 2, generator=generator) * 0.4) * extent
        labels = torch.randint(0, 4, (4,), generator=generator)
        sample = DetDataSample(
            gt_instances=InstanceData(
                bboxes=torch.cat([corner, corner + sides], dim=1),
                labels=labels,
            ),
            ignored_instances=InstanceData(
                bboxes=torch.zeros(0, 4), labels=labels[:0]
            ),
        )
        sample.set_metainfo(dict(img_shape=image, ori_shape=image))
        samples.append(sample)
    return dict(inputs=list(pixels), data_samples=samples)


def default_image(name: str) -> tuple[int, int]:
    """Height and width of a workload's images."""
    return {'resnet18': (32, 32), 'faster-rcnn': (128, 128)}.get(
        name, (600, 1000)
    )


def default_batch_size(name: str) -> int:
    """Images a batch of a workload."""
    return {'resnet18': 64, 'faster-rcnn': 8}.get(name, 2)


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes, with what it starts on a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def shipped(name: str) -> str:
    """Write a config that only has a base, for mmengine to resolve."""
    import tempfile

    with tempfile.NamedTemporaryFile('w', suffix='.py', delete=False) as f:
        f.write(f'_base_ = {name!r}\n')
    return f.name
