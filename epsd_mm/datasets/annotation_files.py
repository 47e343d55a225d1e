"""The annotations of a detection set as its files hold them.

mmdet's data sets drop objects of unknown names, and some bad boxes, without
a word; here nothing is left out.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Real
from typing import Any
from xml.etree import ElementTree as ET

import mmcv
from mmengine import fileio

from .class_names import near_name


@dataclass(slots=True)
class AnnotatedObject:
    """One object.

    Attributes:
        place: What the file knows it by, for messages.
        name: Its class.
        written: Its box as the file has it, for messages.
        box: left, top, right, bottom as mmdet trains it, in pixels from 0;
            empty where mmdet does not read it.
        ignored: Difficult or a crowd: no positive.
        dropped: Why mmdet leaves it out though its class is known, or
            nothing.
    """

    place: str
    name: str
    written: str
    box: tuple[float, ...]
    ignored: bool
    dropped: str = ''


@dataclass(slots=True)
class AnnotatedImage:
    """One image: the file that tells of it, width and height, objects."""

    file: str
    size: tuple[float, float]
    objects: list[AnnotatedObject] = field(default_factory=list)


def annotated_images(dataset: Any) -> Iterator[AnnotatedImage]:
    """Every image of a detection set, those that mmdet filters out as well.

    ``XMLDataset`` (with ``VOCDataset``) and ``CocoDataset`` are read from
    their files, whether they are loaded yet or not; of others, what
    ``get_data_info`` tells. A set without ``instances`` yields nothing.

    Args:
        dataset: One data set, without wrappers.

    Raises:
        ValueError: A file is not understood, or the categories of a COCO
            file are not the classes of the data set.
    """
    if reads_like(type(dataset), 'XMLDataset'):
        return _xml_images(dataset)
    if reads_like(type(dataset), 'CocoDataset'):
        return _coco_images(dataset)
    return _told_images(dataset)


def reads_like(
    kind: type,
    name: str,
    methods: Sequence[str] = ('load_data_list', 'parse_data_info'),
) -> bool:
    """Whether a class is this one of mmdet, or inherits these methods."""
    for base in kind.__mro__:
        if base.__name__ == name:
            return all(
                getattr(kind, method) is getattr(base, method)
                for method in methods
            )
    return False


@contextmanager
def _understood(where: str, style: str, remedy: str) -> Iterator[None]:
    """Say where a file is not of the form that it should have."""
    try:
        yield
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        ET.ParseError,
    ) as error:
        reason = error
        if isinstance(error, KeyError):
            reason = f'it has no {error}'
        raise ValueError(
            f'{where} is not understood in the format of {style} '
            f'({reason}): correct it, or {remedy}'
        ) from error


_TAGS = ('xmin', 'ymin', 'xmax', 'ymax')


def _xml_images(dataset: Any) -> Iterator[AnnotatedImage]:
    backend = dataset.backend_args
    root = dataset.sub_data_root
    for name in fileio.list_from_file(dataset.ann_file, backend_args=backend):
        file = fileio.join_path(
            root, dataset.ann_subdir, f'{name}.xml', backend_args=backend
        )
        picture = fileio.join_path(
            root, dataset.img_subdir, f'{name}.jpg', backend_args=backend
        )
        content = fileio.get(file, backend_args=backend)
        remedy = f'take {name} out of {dataset.ann_file}'
        with _understood(file, 'VOC', remedy):
            tree = ET.fromstring(content)
            image = AnnotatedImage(file, _xml_size(tree, picture, backend))
            elements = tree.findall('object')
            for number, element in enumerate(elements, 1):
                place = f'object {number} of {len(elements)}'
                image.objects.append(_xml_object(element, place))
        yield image


def _xml_size(
    tree: ET.Element, picture: str, backend: dict | None
) -> tuple[float, float]:
    size = tree.find('size')
    if size is not None:
        return int(size.find('width').text), int(size.find('height').text)
    content = fileio.get(picture, backend_args=backend)
    height, width = mmcv.imfrombytes(content, backend='cv2').shape[:2]
    return width, height


def _xml_object(element: ET.Element, place: str) -> AnnotatedObject:
    bounds = element.find('bndbox')
    texts = [bounds.find(tag).text for tag in _TAGS]
    values = [float(text) for text in texts]
    if all(map(math.isfinite, values)):
        # mmdet takes whole pixels, and counts them from 0.
        values = [int(value) - 1 for value in values]
    difficult = element.find('difficult')
    return AnnotatedObject(
        place=place,
        name=element.find('name').text or '',
        written=', '.join(f'{t}={v}' for t, v in zip(_TAGS, texts)),
        box=tuple(values),
        ignored=difficult is not None and int(difficult.text) != 0,
    )


def _coco_images(dataset: Any) -> Iterator[AnnotatedImage]:
    file = dataset.ann_file
    with _understood(file, 'COCO', 'export it again'):
        # Whatever its name ends in: mmdet reads JSON.
        content = fileio.load(
            file, file_format='json', backend_args=dataset.backend_args
        )
        pictures = list(content['images'])
        annotations = list(content.get('annotations', ()))
        kinds = list(content.get('categories', ()))
    categories = []
    for where, category in _located(file, 'categories', kinds):
        with _understood(where, 'COCO', 'remove it'):
            categories.append((category['id'], category['name']))
    for what, values in zip(('id', 'name'), zip(*categories)):
        _refuse_twice(file, 'categories', what, values)
    _check_labels(dataset, [name for _, name in categories])
    names = dict(categories)
    images = {}
    for where, image in _located(file, 'images', pictures):
        with _understood(where, 'COCO', 'remove it'):
            images[image['id']] = AnnotatedImage(
                f'{image["file_name"]} in {file}',
                (_number(image['width']), _number(image['height'])),
            )
    _refuse_twice(file, 'images', 'id', [image['id'] for image in pictures])
    for where, annotation in _located(file, 'annotations', annotations):
        with _understood(where, 'COCO', 'remove it'):
            image = images.get(annotation['image_id'])
            if image is not None:
                thing = _coco_object(annotation, names, image.size)
                image.objects.append(thing)
    yield from images.values()


def _located(file: str, key: str, entries: list) -> Iterator[tuple[str, Any]]:
    """Where each entry of a COCO file is, for messages, and the entry."""
    for number, entry in enumerate(entries):
        yield f'{key}[{number}] of {file}', entry


def _refuse_twice(file: str, key: str, what: str, values: Sequence) -> None:
    """Raise where two entries of a COCO file are the same to mmdet."""
    places: dict = {}
    for place, value in enumerate(values):
        if value in places:
            raise ValueError(
                f'{key}[{places[value]}] and {key}[{place}] of {file} have '
                f'the same {what} {value!r}: give each its own, or make one '
                'of them'
            )
        places[value] = place


def _number(value: Any) -> float:
    if not isinstance(value, Real):
        raise TypeError(f'{value!r} is no number')
    return value


def _check_labels(dataset: Any, names: list[str]) -> None:
    """mmdet numbers the categories in the order of the file."""
    classes = list(dataset.metainfo['classes'])
    labels = [name for name in names if name in classes]
    if labels and labels != classes:
        absent = [name for name in classes if name not in names]
        pairs = [(name, near_name(name, names)) for name in absent]
        slips = ''.join(
            f'. For {name!r}, is {near!r} meant?'
            for name, near in pairs
            if near
        )
        raise ValueError(
            f'{dataset.ann_file} has the categories {", ".join(names)}, of '
            f'which {", ".join(labels)} get the labels 0, 1, …, but metainfo '
            f'of the data set has the classes {", ".join(classes)}: labels '
            'would have the names of other classes. Give metainfo the '
            "file's own names in its order, and no others, in the config"
            + slips
        )


def _coco_object(
    annotation: dict, names: dict, size: tuple[float, float]
) -> AnnotatedObject:
    category = annotation['category_id']
    thing = AnnotatedObject(
        place=f'annotation {annotation["id"]}',
        name=names.get(category, f'category_id {category}'),
        written=f'bbox={annotation.get("bbox")}',
        box=(),
        ignored=bool(annotation.get('iscrowd')),
    )
    if annotation.get('ignore'):
        thing.dropped = 'flagged with ignore'
        return thing
    left, top, width, height = map(_number, annotation['bbox'])
    right, bottom = left + width, top + height
    thing.box = (left, top, right, bottom)
    # In mmdet's order, which reads no area of a box that is outside.
    if (
        min(right, size[0]) <= max(left, 0)
        or min(bottom, size[1]) <= max(top, 0)
        or _number(annotation['area']) <= 0
        or min(width, height) < 1
    ):
        thing.dropped = 'smaller than a pixel or outside of their image'
    return thing


def _told_images(dataset: Any) -> Iterator[AnnotatedImage]:
    if not hasattr(dataset, 'get_data_info'):
        return
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        if 'instances' not in info:
            return
        instances = info['instances']
        yield AnnotatedImage(
            str(info.get('img_path', f'image {index}')),
            (info.get('width', math.inf), info.get('height', math.inf)),
            [
                AnnotatedObject(
                    place=f'object {number} of {len(instances)}',
                    name=f'label {instance.get("bbox_label")}',
                    written=f'bbox={list(instance["bbox"])}',
                    box=tuple(instance['bbox']),
                    ignored=bool(instance.get('ignore_flag', 0)),
                )
                for number, instance in enumerate(instances, 1)
                # Rotated boxes have five numbers or eight.
                if len(instance.get('bbox', ())) == 4
            ],
        )
