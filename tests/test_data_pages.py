"""The configs of docs/your_own_data.md read data in the layouts it shows."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    DefaultScope,
)
from PIL import Image

from epsd_mm.datasets.drawn_voc import generate_voc
from tests.helpers.pages import ROOT, blocks_of

PAGE = (ROOT / 'docs/your_own_data.md').read_text()
VOC, COCO, FOLDERS = (b.content for b in blocks_of(PAGE, 'python'))
PETS = ('cat', 'dog')


def write_pets(folder: Path) -> None:
    drawn = generate_voc(folder / 'drawn', train=10, size=64, classes=PETS)
    (folder / 'data').mkdir()
    (drawn / 'VOC2007').rename(folder / 'data/pets')


def write_coco(pets: Path) -> None:
    (pets / 'images').symlink_to(pets / 'JPEGImages')
    (pets / 'annotations').mkdir()
    for part in ('train', 'val'):
        names = (pets / f'ImageSets/Main/{part}.txt').read_text().split()
        boxes = [
            dict(
                **dict(id=i + 1, image_id=i, category_id=1 + i % 2),
                **dict(bbox=[8, 8, 30, 40], area=1200, iscrowd=0),
            )
            for i in range(len(names))
        ]
        content = dict(
            images=[
                dict(id=i, file_name=f'{n}.jpg', width=64, height=64)
                for i, n in enumerate(names)
            ],
            annotations=boxes,
            categories=[dict(id=i + 1, name=n) for i, n in enumerate(PETS)],
        )
        (pets / f'annotations/{part}.json').write_text(json.dumps(content))


def write_flowers(folder: Path) -> None:
    for part in ('train', 'val'):
        for flower in ('rose', 'tulip'):
            path = folder / 'data/flowers' / part / flower
            path.mkdir(parents=True)
            for i in range(3):
                pixels = np.full((40, 50, 3), 60 * i, np.uint8)
                Image.fromarray(pixels).save(path / f'{i}.jpg')


def built(name: str) -> SimpleNamespace:
    """All that a runner builds from a config before it trains."""
    cfg = Config.fromfile(name)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        sets = {
            part: DATASETS.build(cfg[f'{part}_dataloader'].dataset)
            for part in ('train', 'val', 'test')
        }
        samplers = cfg.train_dataloader
        batches = DATA_SAMPLERS.build(
            samplers.batch_sampler,
            default_args=dict(
                sampler=DATA_SAMPLERS.build(
                    samplers.sampler, default_args=dict(dataset=sets['train'])
                ),
                batch_size=2,
            ),
        )
        metrics = cfg.val_evaluator
        for metric in metrics if isinstance(metrics, list) else [metrics]:
            METRICS.build(metric)
        HOOKS.build(cfg.default_hooks.epsd)
        assert cfg.test_evaluator == cfg.val_evaluator
        assert cfg.randomness.seed == 0  # that of all its variants
        for dataset in sets.values():
            assert set(dataset[0]) == {'inputs', 'data_samples'}
        return SimpleNamespace(cfg=cfg, batches=batches, **sets)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('pets_voc.py').write_text(VOC)
    Path('pets_coco.py').write_text(COCO)
    Path('flowers.py').write_text(FOLDERS)
    return tmp_path


def test_boxes_in_the_layout_of_voc(folder):
    write_pets(folder)
    run = built('pets_voc.py')
    assert (len(run.train), len(run.val)) == (8, 2)
    assert run.train.metainfo['classes'] == PETS
    assert all(len(batch) == 4 for batch in run.batches)
    labels = {
        box['bbox_label']
        for i in range(8)
        for box in run.train.get_data_info(i)['instances']
    }
    assert labels == {0, 1}
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(run.cfg.model)
    assert model.roi_head.bbox_head.fc_cls.out_features == len(PETS) + 1


def test_boxes_in_a_coco_file(folder):
    write_pets(folder)
    write_coco(folder / 'data/pets')
    run = built('pets_coco.py')
    assert type(run.train).__name__ == 'CocoDataset'
    assert (len(run.train), len(run.val)) == (8, 2)
    assert run.train.metainfo['classes'] == PETS
    assert all(len(batch) == 4 for batch in run.batches)


def test_images_in_one_folder_a_class(folder):
    write_flowers(folder)
    run = built('flowers.py')
    assert (len(run.train), len(run.val)) == (6, 6)
    assert run.train.CLASSES == ('rose', 'tulip')
    assert all(len(batch) == 4 for batch in run.batches)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(run.cfg.model)
    assert model.head.fc.out_features == 2
