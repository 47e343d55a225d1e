"""The term that scoring and training share."""

import pytest
import torch

from epsd_mm.distillation import CSKDLoss
from epsd_mm.engine.self_distillation import Recall, SelfDistillation
from tests.helpers.models import classification_batch, tiny_classifier
from tests.helpers.oracles import divergence


def preprocessed(model, seed=0):
    batch = classification_batch((0, 1, 2, 3), seed=seed)
    return model.data_preprocessor(batch, True)


def test_it_observes_what_the_model_predicts_and_returns_its_losses():
    model = tiny_classifier()
    distillation = SelfDistillation(model, CSKDLoss())
    data = preprocessed(model)
    losses, seen = distillation.observe(model, data)
    assert list(losses) == ['loss']
    assert seen.logits.requires_grad
    logits = model(data['inputs'], mode='tensor')
    assert torch.equal(seen.logits, logits)


def test_a_look_has_no_graph_and_shows_the_same():
    model = tiny_classifier()
    distillation = SelfDistillation(model, CSKDLoss())
    data = preprocessed(model)
    seen = distillation.look(model, data)
    assert not seen.logits.requires_grad
    assert torch.equal(
        seen.logits, distillation.observe(model, data)[1].logits
    )


def test_the_term_is_a_function_of_what_was_observed_and_recalled():
    model = tiny_classifier()
    distillation = SelfDistillation(model, CSKDLoss(temperature=2.0))
    _, seen = distillation.observe(model, preprocessed(model))
    rows = torch.randn_like(seen.logits)
    recall = Recall(rows, torch.tensor([True, False, True, True]))
    terms = [distillation.loss(seen, recall) for _ in range(2)]
    assert torch.equal(*terms)
    apart = divergence(rows, seen.logits, 2.0)[recall.found]
    want = 4 * apart.sum() / 4
    assert float(terms[0].detach()) == pytest.approx(
        float(want.detach()), rel=1e-5
    )


def test_a_forward_pass_that_raises_leaves_no_tap():
    model = tiny_classifier()
    distillation = SelfDistillation(model, CSKDLoss())

    def broken(**data):
        raise KeyError('broken')

    for watch in (distillation.observe, distillation.look):
        with pytest.raises(KeyError, match='broken'):
            watch(broken, preprocessed(model))
        assert not model.head._forward_hooks


def test_a_model_that_cannot_be_seen_is_refused_at_once():
    model = tiny_classifier(type='LinearRegressionHead')
    with pytest.raises(TypeError, match='LinearRegressionHead'):
        SelfDistillation(model, CSKDLoss())
    assert not model.head._forward_hooks
