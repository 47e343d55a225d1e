"""Scoring of a runner's model, where it does not go as usual."""

import pytest
import torch

from epsd_mm.analysis import read_report
from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.engine.identity import check_identity, identity
from epsd_mm.engine.scoring_job import score_model, scoring_copy
from epsd_mm.engine.settings import Settings
from epsd_mm.logs import current_logger
from epsd_mm.pruning import SNIP, Criterion
from epsd_mm.pruning.second_order import SecondOrderError
from tests.helpers.models import (
    classification_batch,
    tiny_classifier,
    tiny_faster_rcnn,
)
from tests.helpers.runners import (
    CLASSES,
    EPSD,
    hook_of,
    prepared,
    tiny_detector_cfg,
)


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    return generate_voc(root, train=12, test=2, size=64, classes=CLASSES)


def scored(runner, criterion=None):
    """Let the hook score, with a criterion of the test's own."""
    hook = hook_of(runner)
    if criterion is not None:
        object.__setattr__(hook.settings, 'criterion', criterion)
    hook.before_train(runner)
    return hook.masks


def report_of(folder):
    return read_report(folder / 'epsd' / 'report.json')


class Noting(Criterion):
    """Holds a tensor and notes something other than losses."""

    def __init__(self):
        self.table = torch.ones(2)

    def scores(self, objective, params, masks, batches):
        next(batches)
        objective.note(temperature=3.0)
        return {name: params[name].detach().abs() for name in masks}


def test_reports_what_any_criterion_notes(data_root, tmp_path):
    runner = prepared(tiny_detector_cfg(data_root, tmp_path))
    scored(runner, Noting())
    report = report_of(tmp_path)
    assert report['version'] == 1
    assert report['steps'] == [dict(temperature=3.0)]
    assert report['criterion'] == 'Noting'
    # What JSON has no form for is said to be such.
    assert report['settings']['table']['type'] == 'Tensor'


def test_a_run_goes_on_with_tensors_in_its_settings_but_not_with_others():
    first, again, other = (
        Settings.build(sparsity=0.5, criterion=Noting()) for _ in range(3)
    )
    other.criterion.table += 1
    check_identity(again, identity(first))
    with pytest.raises(ValueError, match='trained with settings='):
        check_identity(other, identity(first))


class Interrupted(SNIP):
    """The user presses Ctrl-C while the first draw is evaluated."""

    def scores(self, objective, params, masks, batches):
        super().scores(objective, params, masks, batches)
        raise KeyboardInterrupt


def test_interruption_leaves_weights_and_folder_alone(data_root, tmp_path):
    runner = prepared(tiny_detector_cfg(data_root, tmp_path))
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt):
        scored(runner, Interrupted())
    after = runner.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not list(tmp_path.glob('*epsd*'))


def test_a_model_in_half_precision_is_scored_in_float32():
    model = tiny_faster_rcnn().bfloat16()
    twin = scoring_copy(model)
    assert {p.dtype for p in twin.parameters()} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_an_evaluation_is_of_one_batch():
    """The report has one entry for each, which costs are counted by."""
    taken = []

    def batches(draw):
        while True:
            taken.append(draw)
            yield classification_batch(seed=len(taken))

    settings = Settings.build(
        sparsity=0.5, criterion='SNIP', draws=3, batches_per_step=2, seed=0
    )
    logger = current_logger()
    _, report = score_model(tiny_classifier(), batches, settings, logger)
    assert len(report['terms']) == len(taken) == 6


def test_comparison_may_empty_a_layer_that_the_mask_keeps(
    data_root, tmp_path, monkeypatch
):
    """Only the masks that are applied can be refused."""
    monkeypatch.setattr(
        'epsd_mm.pruning.Masks.empty_layers',
        lambda masks: [] if masks is calls.setdefault('own', masks) else ['x'],
    )
    calls = {}
    options = dict(EPSD, compare_plain=True, allow_empty_layers=False)
    scored(prepared(tiny_detector_cfg(data_root, tmp_path, options)))
    assert 'overlap_with_plain' in report_of(tmp_path)


def test_few_scores_above_zero_are_warned_of(data_root, tmp_path):
    class OneEach(Criterion):
        steps_per_draw = 1

        def scores(self, objective, params, masks, batches):
            next(batches)
            result = {n: torch.zeros(masks[n].shape) for n in masks}
            for tensor in result.values():
                tensor.view(-1)[-1] = 1
            return result

    runner = prepared(tiny_detector_cfg(data_root, tmp_path))
    warnings = []
    monkey = runner.logger.warning
    runner.logger.warning = warnings.append
    try:
        scored(runner, OneEach())
    finally:
        runner.logger.warning = monkey
    (text,) = [w for w in warnings if 'other than zero' in w]
    layers = len(hook_of(runner).masks)
    assert f'only {layers} weights' in text


def test_first_order_scoring_takes_any_roi_align(data_root, tmp_path):
    options = dict(EPSD, criterion='SNIP', draws=1)
    cfg = tiny_detector_cfg(data_root, tmp_path, options)
    layer = cfg.model.roi_head.bbox_roi_extractor.roi_layer
    layer.update(pool_mode='max')
    assert scored(prepared(cfg)).kept > 0


def test_second_order_scoring_refuses_pooling_by_maximum(data_root, tmp_path):
    cfg = tiny_detector_cfg(data_root, tmp_path)
    layer = cfg.model.roi_head.bbox_roi_extractor.roi_layer
    layer.update(pool_mode='max')
    with pytest.raises(SecondOrderError, match='RoIAlign.*first_order=True'):
        scored(prepared(cfg))
