"""When a file counts as equal to the network, on boxes made by hand."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from epsd_mm.deploy.equivalence import compare, found_again, in_double
from epsd_mm.deploy.run import Metadata, Network, Resize, Session

BOXES = np.array([[[0, 0, 20, 10], [5, 5, 30, 30], [0, 0, 0, 0]]], float)
SCORES = np.array([[0.9, 0.4, 0.0]])
LABELS = np.array([[1, 0, -1]])


class Fixed(nn.Module):
    """A detector that sees the same in every image."""

    count = 3

    def forward(self, image, size):
        from epsd_mm.families.deployable.candidates import Selected

        return Selected(
            torch.tensor(BOXES).to(image),
            torch.tensor(SCORES).to(image),
            torch.tensor(LABELS),
        )


def network(boxes=BOXES, scores=SCORES, labels=LABELS):
    metadata = Metadata('detection', ['a', 'b'], Resize('stretch'), 32, 32)
    shapes = dict(image=(None, 3, 32, 32), size=(None, 2))
    return Network(
        Session(
            shapes,
            metadata.to_json(),
            lambda feed: dict(boxes=boxes, scores=scores, labels=labels),
        ),
        metadata,
    )


def comparison(predict=None, module=None, **outputs):
    picture = Image.new('RGB', (40, 40))
    fixed = module or Fixed()
    return compare(fixed, network(**outputs), [picture], predict or fixed)


def faults(**outputs):
    return comparison(**outputs).faults()


def test_equal_outputs_have_no_fault():
    assert faults() == []


def test_the_order_of_boxes_does_not_matter():
    turned = [1, 0, 2]
    assert (
        faults(
            boxes=BOXES[:, turned],
            scores=SCORES[:, turned],
            labels=LABELS[:, turned],
        )
        == []
    )


@pytest.mark.parametrize('off, allowed', [(5e-5, True), (3e-4, False)])
def test_scores_may_differ_by_a_ten_thousandth(off, allowed):
    found = faults(scores=SCORES + [off, 0, 0])
    assert found == [] if allowed else 'a score differs by 3.0e-04' in found[0]


@pytest.mark.parametrize('off, allowed', [(0.009, True), (0.25, False)])
def test_corners_may_differ_by_what_single_precision_explains(off, allowed):
    found = faults(boxes=BOXES + off * (SCORES > 0)[..., None])
    assert found == [] if allowed else 'corner differs by 0.25' in found[0]


def test_a_lost_box_and_an_invented_one_are_found():
    assert '1 boxes have no partner' in faults(scores=SCORES * [1, 0, 0],
        labels=np.array([[1, -1, -1]]))[0]  # fmt: skip
    invented = np.array([[1, 0, 0]])
    found = faults(
        labels=invented, scores=np.array([[0.9, 0.4, 0.3]]), boxes=BOXES + 0
    )
    assert '1 boxes have no partner' in found[0]


@pytest.mark.parametrize('place', ['boxes', 'scores'])
def test_what_is_no_number_is_found(place):
    values = dict(boxes=BOXES, scores=SCORES)
    assert faults(**{place: values[place] * np.nan})


def test_what_mm_itself_finds_is_compared_too():
    def votes(image, size):  # as PAA does, once boxes are suppressed
        found = Fixed()(image, size)
        return found._replace(boxes=found.boxes + 0.2)

    (fault,) = comparison(votes).faults()
    assert 'mm itself predicts something else: a corner differs' in fault


def test_nothing_to_compare_is_said():
    class Blind(Fixed):
        def forward(self, image, size):
            found = super().forward(image, size)
            return found._replace(scores=found.scores * 0.01)

    picture = Image.new('RGB', (40, 40))
    blind = Blind()
    found = compare(blind, network(scores=SCORES * 0.01), [picture], blind)
    assert found.faults() == []
    assert 'no box was compared; name images' in found.summary()
    assert '2 boxes beside double' in comparison().summary()


def test_another_class_is_no_partner():
    assert 'no partner' in faults(labels=np.array([[0, 1, -1]]))[0]


def test_a_neighbour_is_no_partner():
    assert '4 boxes have no partner' in faults(boxes=BOXES + 1)[0]


def test_of_two_that_round_otherwise_close_boxes_are_one():
    picture = [Image.new('RGB', (40, 40))] * 2
    near = network(boxes=BOXES + 1.5)  # of a canvas of 32 pixels
    assert found_again(network(), near, picture) == (4, 4)
    far = network(boxes=BOXES + [0, 0, 0, 1.7])
    assert found_again(network(), far, picture) == (0, 4)
    fewer = network(scores=SCORES * [1, 0, 0])
    assert found_again(fewer, network(), picture) == (2, 2)
    renamed = network(labels=LABELS[:, [1, 0, 2]])
    assert found_again(network(), renamed, picture) == (0, 4)


class Elsewhere(Fixed):
    """In double precision the same network finds other boxes."""

    def forward(self, image, size):
        found = super().forward(image, size)
        if image.dtype == torch.float64:
            found.boxes.add_(8)
        return found


def test_a_network_that_rounding_turns_into_another_one_is_not_called_equal():
    found = comparison(module=Elsewhere(), boxes=BOXES + 3)
    (fault,) = found.faults()
    assert 'other boxes in single precision' in fault
    assert '4 without a partner beside 2' in fault


class Positions(nn.Module):
    """In single precision whatever the weights are, as in DAB-DETR."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 4)

    def forward(self, x):
        return self.layer(x.float().sum((1, 2, 3))[:, None])


def test_the_copy_in_double_precision_takes_positions_in_single_precision():
    module = Positions()
    image = torch.ones(2, 3, 4, 4)
    with torch.no_grad():
        double = in_double(module)(image.double())
        assert double.dtype == torch.float64
        assert (double - module(image)).abs().max() < 1e-5
