"""What the package computes, written out plainly from the formulas."""

import copy
from unittest import mock

import torch
from torch.func import functional_call


def unrolled_gradient(losses, params, lr, momentum=0.0):
    """Gradient of the last loss by the first weights, through one graph.

    Args:
        losses: Functions of the weights, one a step; SGD with momentum
            follows the gradient of all but the last.
        params: The first weights by name.
    """
    start = {n: p.detach().clone().requires_grad_() for n, p in params.items()}
    theta, velocity = dict(start), {}
    for loss in losses[:-1]:
        gradient = torch.autograd.grad(
            loss(theta),
            list(theta.values()),
            create_graph=True,
            allow_unused=True,
        )
        for name, g in zip(start, gradient):
            if g is not None:
                velocity[name] = momentum * velocity.get(name, 0) + g
                theta[name] = theta[name] - lr * velocity[name]
    final = torch.autograd.grad(
        losses[-1](theta), list(start.values()), allow_unused=True
    )
    return {n: g for n, g in zip(start, final) if g is not None}


def relative_error(got, want):
    """Norm of the difference over the norm of ``want``."""
    assert got.keys() == want.keys()
    difference = torch.cat([(got[n] - want[n]).ravel() for n in want])
    return float(difference.detach().norm() / flat(want).detach().norm())


def flat(tensors):
    """All entries in one vector."""
    return torch.cat([t.ravel() for t in tensors.values()])


def divergence(teacher, student, temperature):
    """``Σ_c p log(p / q)`` of each row of two matrices of logits."""
    p = torch.softmax(teacher / temperature, dim=1)
    q = torch.softmax(student / temperature, dim=1)
    return (p * torch.log(p / q)).sum(dim=1)


def call(model, theta, *args, **kwargs):
    """A model at other weights, its buffers untouched."""
    state = {n: b.clone() for n, b in model.named_buffers()}
    return functional_call(model, {**state, **theta}, args, kwargs)


def classifier_loss(model, theta, main, partners=None, sd=1.0, temperature=4):
    """Cross-entropy of a classifier, and CS-KD where there are partners.

    The i-th partner belongs to the i-th image and shares its label.
    """
    logits = _classifier_logits(model, theta, main)
    labels = [int(sample.gt_label) for sample in main['data_samples']]
    chosen = torch.log(torch.softmax(logits, dim=1))[
        range(len(labels)), labels
    ]
    loss = -chosen.mean()
    if partners is not None:
        with torch.no_grad():
            other = _classifier_logits(model, theta, partners)
        kl = divergence(other, logits, temperature)
        loss = loss + sd * temperature**2 * kl.mean()
    return loss


def _classifier_logits(model, theta, batch):
    preprocessor = model.data_preprocessor
    pictures = torch.stack(batch['inputs']).to(preprocessor.mean)
    pictures = (pictures - preprocessor.mean) / preprocessor.std
    return call(model, theta, pictures, mode='tensor')


def detector_loss(model, theta, main, partners=None, temperature=4):
    """Sum of a detector's losses, and CS-KD where there are partners.

    Every picture shows each class at most once, so that an object has one
    natural partner: in its own picture's partner, else in the other one.
    """
    if partners is not None:
        with torch.no_grad():
            _, others, _ = observed(model, theta, partners)
    losses, objects, sampled = observed(model, theta, main)
    loss = total(losses)
    if partners is None:
        return loss
    for (image, _), (logits, label, positives) in objects.items():
        candidates = [
            (other_image != image, row)
            for (other_image, _), (row, other_label, _) in others.items()
            if other_label == label
        ]
        if candidates:
            row = min(candidates, key=lambda candidate: candidate[0])[1]
            kl = divergence(row[None], logits[None], temperature)[0]
            loss = loss + positives / sampled * temperature**2 * kl
    return loss


def total(losses):
    """The scalar that mmengine minimises."""
    parts = []
    for name, value in losses.items():
        if 'loss' in name:
            values = value if isinstance(value, (list, tuple)) else [value]
            parts.extend(v.mean() for v in values)
    return sum(parts)


def observed(model, theta, batch):
    """Losses of a two-stage detector and what it predicts for its objects.

    Returns:
        The losses; for each (image, object) the mean logits of its
        positives, its label and their number; the number of proposals.
    """
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    bbox_head = model.roi_head.bbox_head
    with mock.patch.object(
        bbox_head, 'loss_and_target', wraps=bbox_head.loss_and_target
    ) as recorder:
        losses = call(model, theta, **data, mode='loss')
    arguments = recorder.call_args.kwargs
    return losses, *object_rows(
        arguments['cls_score'], arguments['sampling_results']
    )


def object_rows(cls_score, sampling_results):
    """One entry an object, by plain loops over the sampled proposals."""
    collected, sampled = {}, 0
    for image, result in enumerate(sampling_results):
        for place, (index, label) in enumerate(
            zip(
                result.pos_assigned_gt_inds.tolist(),
                result.pos_gt_labels.tolist(),
            )
        ):
            rows, _ = collected.setdefault((image, index), ([], label))
            rows.append(cls_score[sampled + place])
        sampled += len(result.pos_inds) + len(result.neg_inds)
    assert sampled == len(cls_score)
    objects = {
        key: (torch.stack(rows).mean(dim=0), label, len(rows))
        for key, (rows, label) in collected.items()
    }
    return objects, sampled


def gradient_at(loss, theta):
    """Gradient by every weight that a function of the weights reaches."""
    leaves = {n: p.detach().clone().requires_grad_() for n, p in theta.items()}
    gradient = torch.autograd.grad(
        loss(leaves), list(leaves.values()), allow_unused=True
    )
    return {n: g for n, g in zip(leaves, gradient) if g is not None}


def hessian_of(loss, theta, names):
    """The matrix of second derivatives by the named weights in one vector."""
    shapes = [theta[n].shape for n in names]
    start = torch.cat([theta[n].detach().ravel() for n in names])

    def of_vector(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        chosen = {n: p.view(s) for n, p, s in zip(names, parts, shapes)}
        return loss({**theta, **chosen})

    return torch.autograd.functional.hessian(of_vector, start)


def synaptic_flow(model, masks, shape):
    """``|θ ∂R/∂θ|`` of a copy whose state is made positive in place.

    Args:
        masks: What is left of the weights, by name.
        shape: That of the inputs, the batch included.
    """
    twin = copy.deepcopy(model).double().eval()
    for tensor in twin.state_dict().values():
        tensor.abs_()
    params = dict(twin.named_parameters())
    for name, mask in masks.items():
        params[name].data *= mask
    twin(torch.ones(shape, dtype=torch.float64)).sum().backward()
    return {n: (params[n].detach() * params[n].grad).abs() for n in masks}


def in_rounds(scores_of, shapes, sparsity, rounds, kind, regrow=False):
    """Masks after each round of scoring and keeping the best.

    Args:
        scores_of: Scores for the masks so far and the number of the round.
        shapes: Of the prunable weights, by name.
    """
    total = sum(shape.numel() for shape in shapes.values())
    masks = {n: torch.ones(s, dtype=torch.bool) for n, s in shapes.items()}
    trail = []
    for k in range(1, rounds + 1):
        scores = scores_of(masks, k - 1)
        density = {
            'exponential': (1 - sparsity) ** (k / rounds),
            'linear': 1 - sparsity * k / rounds,
        }[kind]
        allowed = None if regrow else masks
        masks = best(scores, round(density * total), allowed)
        trail.append(masks)
    return trail


def best(scores, count, allowed=None):
    """Masks of the highest scores, by sorting a list of all of them."""
    rows = sorted(
        (-score, name, place)
        for name, tensor in scores.items()
        for place, score in enumerate(tensor.ravel().tolist())
        if allowed is None or allowed[name].ravel()[place]
    )
    masks = {
        n: torch.zeros(s.shape, dtype=torch.bool) for n, s in scores.items()
    }
    for _, name, place in rows[:count]:
        masks[name].view(-1)[place] = True
    return masks


def normalised_sum(draws):
    """Sum of the scores of several draws, each over its own total size."""
    result = {}
    for scores in draws:
        size = sum(float(s.abs().sum()) for s in scores.values())
        for name, tensor in scores.items():
            result[name] = result.get(name, 0) + tensor.double() / size
    return result
