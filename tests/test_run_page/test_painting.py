"""What is painted is where it was annotated or found."""

import re

from PIL import Image

from epsd_mm.run_page.painting import painted
from epsd_mm.run_page.seen_images import Box, Seen, SeenImages

IMAGE = Image.new('RGB', (200, 100), 'white')
TRUTH = [Box((10, 20, 60, 80), 0), Box((100, 0, 200, 100), 1, counts=False)]
FOUND = [Box((12, 20, 62, 80), 0, 0.9), Box((0, 0, 20, 20), 1, 0.2)]


def detections(threshold):
    seen = Seen(IMAGE, 'a<b>.jpg', TRUTH, FOUND)
    section = painted(SeenImages(['cat', 'dog & co'], True, [seen]), threshold)
    (figure,) = section.blocks
    return figure


def boxes(drawing):
    """Left, top, width and height of what is outlined, in order."""
    found = re.findall(
        r'<rect x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)" fill="none"',
        drawing,
    )
    return [tuple(map(float, each)) for each in found]


def test_boxes_are_scaled_with_their_image():
    drawing = detections(0.3).svg
    scale = 400 / 200
    assert boxes(drawing) == [
        tuple(scale * x for x in (10, 20, 50, 60)),
        tuple(scale * x for x in (100, 0, 100, 100)),
        tuple(scale * x for x in (12, 20, 50, 60)),
    ]


def test_detections_below_the_threshold_are_left_out():
    assert len(boxes(detections(0.1).svg)) == 4
    assert detections(0.3).caption == 'a<b>.jpg: 2 objects, 1 found'


def test_what_no_metric_counts_is_dashed():
    assert detections(0.3).svg.count('stroke-dasharray') == 1


def test_names_are_no_markup():
    drawing = detections(0.3).svg
    assert 'dog &amp; co' in drawing and 'dog & co' not in drawing


def test_a_classifier_is_right_where_its_best_class_is_among_the_labels():
    classes = ['cat', 'dog', 'cow']
    seen = [
        Seen(IMAGE, '0', [1], [0.2, 0.7, 0.1]),
        Seen(IMAGE, '1', [0], [0.2, 0.7, 0.1]),
        Seen(IMAGE, '2', [0, 1], [0.2, 0.7, 0.1]),
    ]
    (figure,) = painted(SeenImages(classes, False, seen), 0.3).blocks
    assert figure.caption.endswith('2 of 3 are right.')
    assert figure.svg.count('dog 0.70') == 3
