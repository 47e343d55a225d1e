"""VOC's average precision, one detection after the other, from XML files.

Written from the definition of the devkit alone: boxes count from 1, a box
holds the pixels of both its ends, recalls are exact fractions.
"""

from fractions import Fraction
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np

TAGS = ('xmin', 'ymin', 'xmax', 'ymax')


class Object(NamedTuple):
    name: str
    box: np.ndarray
    difficult: bool


class Detection(NamedTuple):
    image: str
    name: str
    score: float
    box: np.ndarray


def read_objects(path):
    """The objects of an annotation file, in its order."""
    return [
        Object(
            element.findtext('name'),
            np.array([float(element.findtext(f'bndbox/{t}')) for t in TAGS]),
            element.findtext('difficult') == '1',
        )
        for element in ET.parse(path).getroot().iter('object')
    ]


def overlap(first, second):
    """Pixels that two boxes share, of those that either one holds."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right, bottom = min(first[2], second[2]), min(first[3], second[3])
    if right - left + 1 <= 0 or bottom - top + 1 <= 0:
        return 0.0
    shared = (right - left + 1) * (bottom - top + 1)
    held = sum(
        (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
        for box in (first, second)
    )
    return shared / (held - shared)


def curve(name, truth, detections, threshold):
    """(recall, precision) after each detection of a class, exact."""
    positives = sum(
        o.name == name and not o.difficult
        for objects in truth.values()
        for o in objects
    )
    if not positives:
        return None
    taken = set()
    right = wrong = 0
    points = []
    chosen = [d for d in detections if d.name == name]
    for detection in sorted(chosen, key=lambda d: -d.score):
        best, index = -np.inf, None
        for i, candidate in enumerate(truth[detection.image]):
            if candidate.name == name:
                value = overlap(detection.box, candidate.box)
                if value > best:
                    best, index = value, i
        if best < threshold:
            wrong += 1
        elif not truth[detection.image][index].difficult:
            if (detection.image, index) in taken:
                wrong += 1
            else:
                taken.add((detection.image, index))
                right += 1
        if right + wrong:
            points.append(
                (Fraction(right, positives), Fraction(right, right + wrong))
            )
    return points


def eleven_points(points):
    levels = [
        max((p for r, p in points if r >= Fraction(level, 10)), default=0)
        for level in range(11)
    ]
    return float(Fraction(sum(levels), 11))


def area(points):
    """Under the highest precision at each recall or a higher one."""
    total = Fraction(0)
    before = Fraction(0)
    for recall in sorted({r for r, _ in points}):
        height = max(p for r, p in points if r >= recall)
        total += (recall - before) * height
        before = recall
    return float(total)


def average_precisions(truth, detections, eval_mode, threshold=0.5):
    """AP of each class that has objects which are not difficult.

    ``truth``: the objects of each image.
    """
    summary = dict(area=area)
    summary['11points'] = eleven_points
    names = {o.name for objects in truth.values() for o in objects}
    curves = {
        name: curve(name, truth, detections, threshold)
        for name in sorted(names)
    }
    return {
        name: summary[eval_mode](points)
        for name, points in curves.items()
        if points is not None
    }
