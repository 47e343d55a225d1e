"""Small data sets of real classes, without any picture."""

import json

import numpy as np
from mmdet.datasets import CocoDataset
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmpretrain.datasets import BaseDataset
from PIL import Image

CLASSES = ('a', 'b', 'c')


def detection_set(folder, images, name='set.json', **options):
    """A COCO set of images, each a list of (class, ignored)."""
    annotations = []
    for image, objects in enumerate(images):
        for label, crowd in objects:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=label + 1,
                    bbox=[1, 1, 9, 9],
                    area=81,
                    iscrowd=int(crowd),
                )
            )
    content = dict(
        images=[
            dict(
                id=i, file_name=f'{i}.jpg', width=20 + 20 * (i % 2), height=30
            )
            for i in range(len(images))
        ],
        annotations=annotations,
        categories=[dict(id=i + 1, name=c) for i, c in enumerate(CLASSES)],
    )
    path = folder / name
    path.write_text(json.dumps(content))
    return CocoDataset(
        ann_file=str(path),
        metainfo=dict(classes=CLASSES),
        data_prefix=dict(img=''),
        pipeline=[],
        **options,
    )


def classification_set(folder, labels, name='labels.json'):
    content = dict(
        metainfo=dict(classes=CLASSES),
        data_list=[
            dict(img_path=f'{i}.jpg', gt_label=label)
            for i, label in enumerate(labels)
        ],
    )
    path = folder / name
    path.write_text(json.dumps(content))
    return BaseDataset(ann_file=str(path))


def picture_folder(root, classes=4, per_class=6, size=8):
    """Noise in a colour for each class, one folder a class."""
    generator = np.random.default_rng(0)
    for label in range(classes):
        folder = root / f'class_{label}'
        folder.mkdir(parents=True)
        for index in range(per_class):
            colour = 60 * np.array([label & 1, label >> 1 & 1, 1])
            noise = generator.integers(0, 120, (size, size, 3))
            picture = Image.fromarray((noise + colour).astype(np.uint8))
            picture.save(folder / f'{index}.png')
    return root


def objects(*labels):
    return [(label, False) for label in labels]


def repeated(dataset, times):
    """Config of a repeated set, as another wrapper takes it."""
    return dict(type=RepeatDataset, dataset=dataset, times=times)


def concatenated(*datasets):
    """Config of a concatenation, likewise."""
    return dict(type=ConcatDataset, datasets=list(datasets))
