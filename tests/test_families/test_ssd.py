"""The head of mmdet's SSD, repaired."""

from unittest.mock import MagicMock

import pytest

from epsd_mm.engine import EPSDHook
from epsd_mm.engine.hooks import DenseHook
from epsd_mm.families.ssd import repair_ssd_head
from tests.helpers.models import detection_batch, tiny_retinanet, tiny_ssd


def test_the_head_of_ssd_predicts_once_it_is_repaired():
    model = tiny_ssd().eval()
    data = model.data_preprocessor(detection_batch(1, 300))
    names = list(model.state_dict())
    with pytest.raises(AttributeError, match='loss_cls'):
        model(**data, mode='predict')
    repair_ssd_head(model)
    (sample,) = model(**data, mode='predict')
    assert sample.pred_instances.bboxes.shape[1] == 4
    assert list(model.state_dict()) == names


@pytest.mark.parametrize(
    'hook', [EPSDHook(sparsity=0.5, criterion='SNIP'), DenseHook()]
)
def test_hooks_repair_the_head_before_a_run(hook):
    model = tiny_ssd()
    hook.before_run(MagicMock(model=model, _load_from=None, _resume=False))
    assert model.bbox_head.loss_cls is None


def test_other_heads_keep_their_loss():
    model = tiny_retinanet()
    loss = model.bbox_head.loss_cls
    repair_ssd_head(model)
    assert model.bbox_head.loss_cls is loss
