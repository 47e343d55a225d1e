"""A look at the annotations of a detection set before training on them."""

import inspect
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from logging import Logger
from typing import Any

from mmengine.registry import DATASETS, DefaultScope

from .annotation_files import (
    AnnotatedImage,
    AnnotatedObject,
    annotated_images,
    reads_like,
)
from .bad_boxes import box_fault, check_bad_boxes
from .class_names import check_class_names, near_name
from .leaves import leaf_configs, leaf_datasets

#: So many bad annotations are named in one message.
SHOWN = 5


def check_annotations(
    dataset: Any, logger: Logger | None = None, bad_boxes: str = 'error'
) -> int:
    """Refuse annotations that would spoil the training of a detector.

    An error: a box that is inverted, without area, not finite or entirely
    outside of its image (mmdet makes losses of them that are NaN or infinite,
    or learns nothing from them, according to the head); an object whose name
    differs from a class only in case or blanks; no object of any class; no
    object that may be learned; a data set of which ``filter_cfg`` leaves no
    image. A warning each: objects of other names, which mmdet takes for
    background; boxes that are partly outside; objects of a COCO file that
    mmdet drops; bad boxes where they are to be dropped.

    Every annotation file is read once more. Sets without boxes pass, and so
    do images without objects. Boxes that are small, or become so by
    scaling, are no error: every loss stays finite.

    Args:
        dataset: A training set of mmdet in any of mmengine's wrappers; it
            need not be loaded yet (``lazy_init=True``).
        logger: What the warnings go to; nowhere without it.
        bad_boxes: ``'error'``, or ``'drop'`` where :func:`drop_bad_boxes`
            shall take out those that mmdet can load.

    Returns:
        Number of boxes to drop.

    Raises:
        ValueError: Names files, objects, boxes and the remedy.
    """
    findings = _Findings(bad_boxes)
    for leaf in leaf_datasets(dataset):
        findings.look_at(leaf)
    findings.refuse()
    if logger is not None:
        findings.warn(logger)
    return len(findings.to_drop)


def check_configured_annotations(cfg: Mapping) -> None:
    """The same for the config of a training set that is not built yet.

    It speaks before mmdet stops, without saying why, on a data set of which
    loading leaves nothing. Only those that read files as ``XMLDataset`` and
    ``CocoDataset`` do are looked at; others may take long to build. Gives no
    warnings.

    Args:
        cfg: A config (mmengine's ``Config``) of mmdet.

    Raises:
        ValueError: As :func:`check_annotations`.
    """
    findings = _Findings(_configured_choice(cfg))
    scope = cfg.get('default_scope', 'mmdet')
    with DefaultScope.overwrite_default_scope(scope):
        for leaf in leaf_configs(cfg['train_dataloader']['dataset']):
            if _builds_unloaded(leaf):
                findings.look_at(DATASETS.build(dict(leaf, lazy_init=True)))
            else:
                findings.complete = False
    findings.refuse()


def _configured_choice(cfg: Mapping) -> str:
    """What the hook of a config is told to do about bad boxes."""
    hooks = [*(cfg.get('default_hooks') or {}).values()]
    hooks += cfg.get('custom_hooks') or []
    hooks = [hook for hook in hooks if isinstance(hook, Mapping)]
    told = [hook['bad_boxes'] for hook in hooks if 'bad_boxes' in hook]
    return told[0] if told else 'error'


def _builds_unloaded(leaf: Mapping) -> bool:
    """Whether a data set is known to be built without loading it."""
    kind = leaf.get('type')
    if isinstance(kind, str):
        scope = leaf.get('_scope_')
        with DATASETS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    if not isinstance(kind, type) or not _file_reader(kind):
        return False
    parameters = inspect.signature(kind).parameters
    return 'lazy_init' in parameters or any(
        parameter.kind is parameter.VAR_KEYWORD
        for parameter in parameters.values()
    )


def _file_reader(kind: type) -> str:
    """mmdet's class that reads files as this one does, or nothing."""
    for name in ('XMLDataset', 'CocoDataset'):
        if reads_like(kind, name):
            return name
    return ''


@dataclass
class _Findings:
    """What was seen in all data sets of a training set."""

    bad_boxes: str
    classes: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    #: Bad boxes that could be dropped, or will be.
    droppable: list[str] = field(default_factory=list)
    #: Known names of objects, dropped ones as well.
    named: Counter = field(default_factory=Counter)
    unknown: Counter = field(default_factory=Counter)
    #: Where a class, the key's first, has another name, its second.
    misnamed: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    #: Why objects of known names are not learned.
    idle: Counter = field(default_factory=Counter)
    #: Objects that mmdet leaves out, by the reason.
    dropped: dict[str, list[str]] = field(default_factory=dict)
    #: Data sets of which mmdet loads no image, and stops.
    lost: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    images: int = 0
    learned: int = 0
    #: Whether every data set of the training set was looked at.
    complete: bool = True

    def __post_init__(self) -> None:
        check_bad_boxes(self.bad_boxes)

    @property
    def to_drop(self) -> list[str]:
        """Bad boxes that shall be dropped."""
        return self.droppable if self.bad_boxes == 'drop' else []

    def look_at(self, dataset: Any) -> None:
        """Every object of one data set, without wrappers."""
        check_class_names(dataset)
        rules = _Rules.of(dataset)
        self.classes += [c for c in rules.classes if c not in self.classes]
        images = kept = 0
        for image in annotated_images(dataset):
            images += 1
            kept += rules.keeps(image)
            if min(image.size) <= 0:
                self.bad.append(
                    f'{image.file}: a size of {image.size[0]} x '
                    f'{image.size[1]}: write the width and height of the image'
                )
                continue
            for thing in image.objects:
                if not rules.classes or thing.name in rules.classes:
                    self._look_at(thing, image, rules)
                else:
                    self._look_at_name(thing, image, rules)
        self.images += images
        if rules.needs_images and not kept:
            fault = 'it names no image'
            if images:
                fault = (
                    f'filter_cfg={dict(rules.filters)} of the data set '
                    f'leaves none of its {images} images'
                )
            self.lost.append(f'{dataset.ann_file}: {fault}')

    def _look_at(
        self, thing: AnnotatedObject, image: AnnotatedImage, rules: '_Rules'
    ) -> None:
        where = f'{image.file}, {thing.place} ({thing.name}), {thing.written}'
        self.named[thing.name] += 1
        if fault := _fault(thing, image.size):
            loads = all(map(math.isfinite, thing.box))
            # mmdet stops on coordinates that are not finite.
            bad = self.droppable if loads else self.bad
            bad.append(f'{where}: {fault}')
        elif thing.dropped:
            self.dropped.setdefault(thing.dropped, []).append(where)
        elif reason := rules.idle(thing, image):
            self.idle[reason] += 1
        else:
            self.learned += 1
            if _beyond(thing.box, image.size) > 1:
                self.beyond.append(where)

    def _look_at_name(
        self, thing: AnnotatedObject, image: AnnotatedImage, rules: '_Rules'
    ) -> None:
        meant = rules.meant.get(_plain(thing.name))
        if meant is None:
            self.unknown[thing.name] += 1
        else:
            places = self.misnamed.setdefault((meant, thing.name), [])
            places.append(f'{image.file}, {thing.place}')

    def _faults_of_names(self) -> Iterator[str]:
        for (meant, name), places in self.misnamed.items():
            differs = (
                f'differs from the class {meant!r} only in case or blanks, '
                'and mmdet would drop'
            )
            variants = [
                other for known, other in self.misnamed if known == meant
            ]
            if variants == [name] and not self.named[meant]:
                yield (
                    f'the name {name!r} of all {len(places)} objects, as in '
                    f'{places[0]}, {differs} them: make {name!r} the class in '
                    f'metainfo of the config, or write {meant!r}'
                )
                continue
            for place in places:
                yield (
                    f'{place}: the name {name!r} {differs} the object: write '
                    f'{meant!r}'
                )

    def refuse(self) -> None:
        """Raise where training would go wrong."""
        bad = self.bad + list(self._faults_of_names())
        to_refuse = self.droppable if self.bad_boxes == 'error' else []
        if bad or to_refuse:
            message = _listed('bad annotations', bad + to_refuse)
            if to_refuse:
                message += (
                    f"\nbad_boxes='drop' of EPSDHook or DenseHook trains "
                    f'without the {len(to_refuse)} bad boxes, and says so'
                )
            raise ValueError(message)
        if self.complete and self.images and not self.learned:
            self._refuse_nothing()
        if self.lost:
            raise ValueError(
                _listed('data sets without an image to load', self.lost)
                + "\nmmdet stops on such a set with numpy's 'need at least "
                "one array to concatenate': take it out of the training "
                'set, or change its filter_cfg (filter_empty_gt=False keeps '
                'images without objects of the classes)'
            )

    def _slips(self) -> str:
        """Classes without an object that may be misspelt in the config."""
        empty = [name for name in self.classes if not self.named[name]]
        pairs = [(name, near_name(name, self.unknown)) for name in empty]
        return ''.join(
            f'. No object is a {name!r}, a class of metainfo: is {near!r} '
            'meant?'
            for name, near in pairs
            if near
        )

    def _refuse_nothing(self) -> None:
        reasons = self.idle.copy()
        for reason, places in self.dropped.items():
            reasons[reason] += len(places)
        if self.unknown and not reasons.total():
            raise ValueError(
                'no object of the training set is of one of the classes '
                f'{", ".join(self.classes)}; its annotations name '
                f'{_counts(self.unknown)}: set metainfo=dict(classes=…) of '
                'the data set in the config, and num_classes of the head to '
                'their number' + self._slips()
            )
        reasons['of unknown names'] += self.unknown.total()
        raise ValueError(
            f'the {self.images} images of the training set hold no object to '
            f'learn from: {_counts(+reasons) or "none holds any object"}. '
            'Take other images, change filter_cfg of the data set, or the '
            'flags in its annotations'
        )

    def warn(self, logger: Logger) -> None:
        """Say what mmdet does without a word, and what is dropped."""
        if self.to_drop:
            logger.warning(
                _listed(
                    "bad boxes are dropped (bad_boxes='drop')", self.to_drop
                )
            )
        if self.unknown:
            logger.warning(
                'objects of other names than the classes of metainfo count '
                f'as background: {_counts(self.unknown)}{self._slips()}'
            )
        if self.beyond:
            logger.warning(
                f'{len(self.beyond)} of {self.learned} boxes reach beyond '
                f'their image by more than a pixel, as {self.beyond[0]}: '
                'Resize cuts them off at its border unless '
                'clip_object_border=False'
            )
        for reason, places in self.dropped.items():
            logger.warning(
                f'mmdet leaves out {len(places)} objects that are {reason}, '
                f'so that they count as background, as {places[0]}'
            )


@dataclass
class _Rules:
    """What a data set of mmdet does with the objects of its files.

    Attributes:
        classes: Names that are learned; none where objects have labels.
        meant: Classes by their names without case and blanks.
        min_box: Least side of a box that is learned.
        filters: What of ``filter_cfg`` says which images are used.
        needs_images: Whether mmdet stops where it loads no image.
    """

    classes: Sequence[str] = ()
    meant: dict[str, str] = field(default_factory=dict)
    min_box: float = 0
    filters: Mapping = field(default_factory=dict)
    needs_images: bool = False

    @classmethod
    def of(cls, dataset: Any) -> '_Rules':
        reader = _file_reader(type(dataset))
        if not reader:
            return cls()
        filters = dataset.filter_cfg or {}
        if dataset.test_mode:
            filters = {}
        min_box = filters.get('bbox_min_size') or 0
        filtered = reads_like(type(dataset), reader, ['filter_data'])
        classes = dataset.metainfo['classes']
        return cls(
            classes,
            meant={_plain(name): name for name in classes},
            min_box=min_box if reader == 'XMLDataset' else 0,
            filters=filters if filtered else {},
            # Without serialize_data an empty list is no error.
            needs_images=filtered and dataset.serialize_data,
        )

    @property
    def min_image(self) -> float:
        """Least side of an image that is used."""
        return self.filters.get('min_size', 0)

    def keeps(self, image: AnnotatedImage) -> bool:
        """Whether mmdet uses an image, for objects that it drops too."""
        empty = not any(thing.name in self.classes for thing in image.objects)
        if self.filters.get('filter_empty_gt', False) and empty:
            return False
        return min(image.size) >= self.min_image

    def idle(self, thing: AnnotatedObject, image: AnnotatedImage) -> str:
        """Why an object is no positive, or nothing."""
        left, top, right, bottom = thing.box
        if min(image.size) < self.min_image:
            return f'in images below min_size={self.min_image} of filter_cfg'
        if thing.ignored:
            return 'difficult or ignored'
        if min(right - left, bottom - top) < self.min_box:
            return f'below bbox_min_size={self.min_box} of filter_cfg'
        return ''


def _plain(name: str) -> str:
    return ''.join(name.split()).casefold()


def _fault(thing: AnnotatedObject, size: tuple[float, float]) -> str:
    """What is wrong with a box of a known class, or nothing."""
    if not thing.box:
        return ''
    fault = box_fault(thing.box, size)
    left, top, right, bottom = thing.box
    inverted = right < left or bottom < top
    if thing.dropped and not inverted and all(map(math.isfinite, thing.box)):
        return ''  # mmdet sees to it
    return fault


def _beyond(box: Sequence[float], size: tuple[float, float]) -> float:
    left, top, right, bottom = box
    return max(-left, -top, right - size[0], bottom - size[1])


def _listed(what: str, lines: Sequence[str]) -> str:
    shown = [f'{len(lines)} {what} in the training set:', *lines[:SHOWN]]
    if len(lines) > SHOWN:
        shown.append(f'… and {len(lines) - SHOWN} more')
    return '\n  '.join(shown)


def _counts(counter: Counter) -> str:
    parts = [f'{key} ({count})' for key, count in counter.most_common(20)]
    if len(counter) > len(parts):
        parts.append(f'and {len(counter) - len(parts)} more')
    return ', '.join(parts)
