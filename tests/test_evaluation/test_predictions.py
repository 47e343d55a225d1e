"""How sure, and whether right: of images and of objects, kept in a file."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from epsd_mm.evaluation import PredictionReader, Predictions
from epsd_mm.evaluation.calibration import aurc, risk_coverage


def read(*samples):
    reader = PredictionReader()
    for sample in samples:
        reader.add(sample)
    return reader.result()


def image(scores, label):
    return dict(pred_score=torch.tensor(scores), gt_label=torch.tensor(label))


def boxes(*rows, **more):
    found = torch.tensor(rows, dtype=torch.float).reshape(-1, 4)
    more = {k: torch.tensor(v) for k, v in more.items()}
    return InstanceData(bboxes=found, **more)


def detected(found, truth, ignored=None):
    ignored = ignored or boxes(labels=[])
    return dict(
        pred_instances=found, gt_instances=truth, ignored_instances=ignored
    )


def test_an_image_has_its_highest_score_and_whether_that_is_its_label():
    found = read(image([0.1, 0.7, 0.2], [1]), image([0.6, 0.3, 0.1], [2]))
    assert found.confidence == pytest.approx([0.7, 0.6])
    assert found.correct.tolist() == [True, False]
    assert (found.sought, found.of) == (2, 'images')


def test_a_detection_is_right_once_an_object_and_in_its_class():
    here, near, far = (0, 0, 9, 9), (0, 0, 9, 8), (50, 50, 59, 59)
    found = read(
        detected(
            boxes(
                *(near, here, here, far),
                scores=[0.5, 0.9, 0.8, 0.3],
                labels=[0, 0, 1, 0],
            ),
            boxes(here, (80, 80, 90, 90), labels=[0, 1]),
        )
    )
    by_score = dict(zip(found.confidence.round(3), found.correct))
    # the second one of the object, another class, no object
    assert {round(float(k), 1): bool(v) for k, v in by_score.items()} == {
        0.9: True,
        0.5: False,
        0.8: False,
        0.3: False,
    }
    assert (found.sought, found.of) == (2, 'objects')


def test_difficult_objects_do_not_count():
    here = (0, 0, 9, 9)
    found = read(
        detected(
            boxes(here, scores=[0.9], labels=[0]),
            boxes(labels=[]),
            boxes(here, labels=[0]),
        )
    )
    assert len(found.confidence) == found.sought == 0


@pytest.mark.parametrize(
    'sample, said',
    [
        (dict(pred_score=torch.ones(1)), 'gt_label'),
        (dict(pred_instances=1), 'gt_instances'),
        (dict(pred_sem_seg=1), 'pred_sem_seg'),
        (image([0.5, 0.5], [0, 1]), 'one label'),
        (image([0.9, 0.9], [0]), 'sums to'),
    ],
)
def test_what_is_no_such_task_is_said(sample, said):
    with pytest.raises(ValueError, match=said):
        read(sample)


def test_risk_is_counted_among_the_most_confident():
    found = Predictions(
        np.float32([0.5, 0.9, 0.7, 0.6]),
        np.array([False, True, False, True]),
        sought=4,
        of='images',
    )
    assert found.risk(np.array([0.25, 0.5, 0.75, 1.0])) == pytest.approx(
        [0, 1 / 2, 1 / 3, 1 / 2]
    )
    risks = risk_coverage(found.confidence, found.correct)
    assert aurc(found.confidence, found.correct) == pytest.approx(risks.mean())


def test_there_is_no_risk_beyond_what_was_predicted():
    few = Predictions(np.float32([0.9]), np.array([True]), 4, 'objects')
    assert few.risk(np.array([0.25]))[0] == 0
    assert np.isnan(few.risk(np.array([0.5]))[0])
    none = Predictions(np.float32([]), np.array([], bool), 4, 'objects')
    assert np.isnan(none.risk(np.array([0.1, 1.0]))).all()


def test_a_file_gives_back_what_was_saved(tmp_path):
    before = read(image([0.25, 0.75], [1]))
    before.save(tmp_path / 'p.npz')
    after = Predictions.load(tmp_path / 'p.npz')
    for name, value in vars(before).items():
        assert np.array_equal(getattr(after, name), value)
    assert [p.name for p in tmp_path.iterdir()] == ['p.npz']


@pytest.mark.parametrize('share', [0, 0.5, 0.99])
def test_a_damaged_file_is_named(share, tmp_path):
    path = tmp_path / 'p.npz'
    read(*[image([0.25, 0.75], [1])] * 50).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r'p\.npz holds no predictions'):
        Predictions.load(path)
