"""The last evaluation leaves its predictions, and never a failure."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import IterBasedTrainLoop
from mmpretrain.structures import DataSample

from epsd_mm.benchmark.predictions_hook import PREDICTIONS, PredictionsHook
from epsd_mm.evaluation import Predictions


def runner_at(step, folder, by_epoch=True):
    loop = None if by_epoch else IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    at = dict(epoch=step, max_epochs=3) if by_epoch else {}
    at |= dict(iter=step, max_iters=3)
    return SimpleNamespace(
        train_loop=loop, work_dir=folder, logger=logging.getLogger(), **at
    )


def evaluated(runner, *batches):
    hook = PredictionsHook()
    hook.before_val_epoch(runner)
    for index, batch in enumerate(batches):
        hook.after_val_iter(runner, index, outputs=batch)
    hook.after_val_epoch(runner)


def sample(score, label):
    scores = torch.tensor([1 - score, score])
    return DataSample().set_pred_score(scores).set_gt_label(label)


@pytest.mark.parametrize('by_epoch', [True, False])
def test_all_batches_of_the_last_evaluation_are_kept(by_epoch, tmp_path):
    batches = [sample(0.9, 1), sample(0.8, 0)], [sample(0.7, 1)]
    evaluated(runner_at(2, tmp_path, by_epoch), *batches)
    assert not list(tmp_path.iterdir())
    evaluated(runner_at(3, tmp_path, by_epoch), *batches)
    found = Predictions.load(tmp_path / PREDICTIONS)
    assert found.confidence == pytest.approx([0.9, 0.8, 0.7])
    assert found.correct.tolist() == [True, False, True]


def test_a_task_without_such_predictions_is_told_in_the_log(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for odd in (DataSample(), 'no sample'):
        evaluated(runner_at(3, tmp_path), [sample(0.9, 1), odd], [odd])
    assert not list(tmp_path.iterdir())
    assert [PREDICTIONS in each.message for each in caplog.records] == [
        True
    ] * 2
