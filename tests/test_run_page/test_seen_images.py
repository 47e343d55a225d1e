"""Which test images are looked at."""

import pytest

from epsd_mm.run_page.seen_images import spread


@pytest.mark.parametrize(
    'label',
    [lambda i: i // 100, lambda i: i % 10],
    ids=['sorted', 'in turns'],
)
def test_every_class_is_met_however_they_are_ordered(label):
    chosen = spread(1000, 20)
    assert len({label(index) for index in chosen}) == 10


@pytest.mark.parametrize('total', [1, 2, 7, 10, 1000])
@pytest.mark.parametrize('number', [1, 3, 10])
def test_images_are_in_the_set_and_there_once(total, number):
    chosen = list(spread(total, number))
    assert len(set(chosen)) == len(chosen) == min(total, number)
    assert all(0 <= index < total for index in chosen)
