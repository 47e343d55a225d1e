"""What the package computes, written out plainly from the formulas."""

import copy
import math
from contextlib import ExitStack, nullcontext
from functools import partial
from unittest import mock

import torch
from mmengine.structures import InstanceData
from torch.func import functional_call

from .double import assigns_by_predictions, double_targets


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


def by_plain_operators(model):
    """The same model, changed in place, of what torch derives twice."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, torch.nn.Hardsigmoid):
                setattr(parent, name, _ByRelu6())
    return model


class _ByRelu6(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.relu6(x + 3) / 6


def relative_error(got, want):
    """Norm of the difference over the norm of ``want``."""
    assert got.keys() == want.keys()
    difference = torch.cat([(got[n] - want[n]).ravel() for n in want])
    return float(difference.detach().norm() / flat(want).detach().norm())


def flat(tensors):
    """All entries in one vector."""
    return torch.cat([t.ravel() for t in tensors.values()])


def divergence(teacher, student, temperature, sigmoid=False):
    """``Σ_c p log(p / q)`` of each row of two matrices of logits.

    With ``sigmoid`` the sum over classes of the same for a yes and a no.
    """
    teacher, student = teacher / temperature, student / temperature
    if sigmoid:
        return sum(
            (log_yes(t).exp() * (log_yes(t) - log_yes(s))).sum(dim=1)
            for t, s in ((teacher, student), (-teacher, -student))
        )
    p = torch.softmax(teacher, dim=1)
    q = torch.softmax(student, dim=1)
    return (p * torch.log(p / q)).sum(dim=1)


def log_yes(logits):
    """Logarithm of the logistic function, for moderate logits."""
    return -torch.log1p(torch.exp(-logits))


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
            others = observed(model, theta, partners)[1]
    losses, objects, _ = observed(model, theta, main)
    loss = total(losses)
    if partners is None:
        return loss
    for (stage, image, _), seen in objects.items():
        candidates = [
            (other[1] != image, others[other].mean)
            for other in others
            if other[0] == stage and others[other].label == seen.label
        ]
        if candidates:
            row = min(candidates, key=lambda candidate: candidate[0])[1]
            kl = row_divergence(model, row, seen.mean, temperature)
            loss = loss + seen.weight * temperature**2 * kl
    return loss


def detector_dlb_losses(model, batches, start, seeds, T=3.0):
    """A detector's losses and DLB of every batch but the first.

    The first is predicted for by the weights ``start``.
    """
    last = {}

    def observe(theta, batch, seed):
        torch.manual_seed(seed)
        losses, objects, _ = observed(model, theta, batch)
        before = dict(last)
        last.clear()
        found = {}
        for key, seen in named(objects, batch).items():
            last[key] = seen.mean.detach()
            if key in before:
                found[key] = seen, before[key]
        everything = sum(seen.weight for seen in objects.values())
        return total(losses), found, everything

    with torch.no_grad():
        observe(start, batches[0], seeds[0])

    def at_step(batch, seed):
        def loss(theta):
            task, found, everything = observe(theta, batch, seed)
            shared = sum(seen.weight for seen, _ in found.values())
            for seen, row in found.values():
                weight = seen.weight * everything / shared
                kl = row_divergence(model, row, seen.mean, T)
                task = task + weight * T**2 * kl
            return task

        return loss

    return [at_step(b, s) for b, s in zip(batches[1:], seeds[1:])]


def detector_ps_kd_losses(model, batches, start, seeds, alpha=0.8):
    """A detector's losses and PS-KD, the past being what ``start`` says."""

    def at_step(batch, seed):
        def loss(theta):
            torch.manual_seed(seed)
            with torch.no_grad():
                past = observed(model, start, batch)[1]
            losses, objects, _ = observed(model, theta, batch)
            loss = total(losses)
            for key, seen in objects.items():
                if key in past:
                    term = past_term(model, past[key].mean, seen)
                    loss = loss + alpha * seen.weight * term
            return loss

        return loss

    return [at_step(b, s) for b, s in zip(batches, seeds)]


def past_term(model, past_logits, seen):
    """What the remembered prediction adds for one object, ``α`` aside.

    Beside a softmax the paper's difference of two cross-entropies, beside
    independent classes a divergence. Remembered in half precision.
    """
    if independent(model):
        p = past_logits.sigmoid().half().to(past_logits)
        yes, no = log_yes(seen.mean), log_yes(-seen.mean)
        entropy = torch.special.entr(p) + torch.special.entr(1 - p)
        return -(entropy + p * yes + (1 - p) * no).sum()
    p = past_logits.softmax(dim=0).half().to(past_logits)
    log_q = torch.log(seen.mean.softmax(dim=0))
    return log_q[seen.label] - (p / p.sum() * log_q).sum()


def row_divergence(model, teacher, student, temperature):
    """The divergence of two single predictions."""
    sigmoid = independent(model)
    return divergence(teacher[None], student[None], temperature, sigmoid)[0]


def independent(model):
    """Whether the classes of a detector are."""
    kind = type(model).__name__
    if kind in ('SparseRCNN', 'QueryInst'):
        return True
    softmax = kind == 'DETR' or hasattr(model, 'roi_head')
    return not (softmax or hasattr(model.neck, 'l2_norm'))


def named(objects, batch):
    """By the path of the picture, the object's number and the stage."""
    samples = batch['data_samples']
    return {
        (
            samples[image].img_path,
            int(samples[image].gt_instances.object_ids[place]),
            stage,
        ): seen
        for (stage, image, place), seen in objects.items()
    }


def total(losses):
    """The scalar that mmengine minimises."""
    parts = []
    for name, value in losses.items():
        if 'loss' in name:
            values = value if isinstance(value, (list, tuple)) else [value]
            parts.extend(v.mean() for v in values)
    return sum(parts)


class Seen:
    """What a detector predicts for one object.

    Attributes:
        rows: Logits of each proposal or anchor that is assigned to it.
        label: Its class.
        share: What one of them counts in the classification loss.
        qualities: How much of its class each of them is to predict, where
            that is asked.
    """

    def __init__(self, label, share):
        self.rows, self.label, self.share = [], label, share
        self.qualities = []

    @property
    def mean(self):
        return torch.stack(self.rows).mean(dim=0)

    @property
    def weight(self):
        return self.share * len(self.rows)


_WITH_PRIORS = ('RetinaHead', 'SSDHead', 'FCOSHead', 'ATSSHead')


def observed(model, theta, batch):
    """Losses of a detector and what it predicts, by plain loops.

    Returns:
        The losses; what is seen of each (stage, image, object); and, stage
        after stage and image after image, functions that give the logits of
        each row of the background, with their share in the classification
        loss.
    """
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    if hasattr(model, 'num_queries'):
        return _observed_queries(model, theta, data)
    if type(model).__name__ in ('SparseRCNN', 'QueryInst'):
        return _observed_learned(model, theta, data)
    if hasattr(model, 'roi_head'):
        return _observed_proposals(model, theta, data)
    if assigns_by_predictions(model.bbox_head):
        return _observed_matches(model, theta, data)
    if type(model.bbox_head).__name__ in _WITH_PRIORS:
        return _observed_anchors(model, theta, data)
    return observed_in_loss(model, theta, data)


def _observed_proposals(model, theta, data):
    heads = model.roi_head.bbox_head
    cascade = isinstance(heads, torch.nn.ModuleList)
    heads = list(heads) if cascade else [heads]
    with ExitStack() as patches:
        recorders = [
            patches.enter_context(
                mock.patch.object(
                    head, 'loss_and_target', wraps=head.loss_and_target
                )
            )
            for head in heads
        ]
        losses = call(model, theta, **data, mode='loss')
    objects, others = {}, []
    for stage, recorder in enumerate(recorders):
        arguments = recorder.call_args.kwargs
        logits = arguments['cls_score']
        share = 1 / len(logits)
        if cascade:
            share *= (1.0, 0.5, 0.25)[stage]
        position = 0
        for image, result in enumerate(arguments['sampling_results']):
            for index, label in zip(
                result.pos_assigned_gt_inds.tolist(),
                result.pos_gt_labels.tolist(),
            ):
                key = stage, image, index
                seen = objects.setdefault(key, Seen(label, share))
                seen.rows.append(logits[position])
                position += 1
            end = position + len(result.neg_inds)
            rows = logits[position:end]
            others.append(([lambda row=row: row for row in rows], share))
            position = end
        assert position == len(logits)
    return losses, objects, others


def observed_in_loss(model, theta, data):
    """Of one picture: what the head's classification loss is told.

    Its objects are of different classes, which tell them apart. That loss
    sees the final positives, whoever has chosen them.
    """
    head = model.bbox_head
    by_gradient = type(head).__name__ in ('FSAFHead', 'FreeAnchorRetinaHead')
    if by_gradient and not torch.is_grad_enabled():
        # What counts is told by its gradient.
        leaves = {n: t.detach().requires_grad_() for n, t in theta.items()}
        with torch.enable_grad():
            return observed_in_loss(model, leaves, data)
    if hasattr(head, 'pre_anchor_topk'):
        return _observed_bags(model, theta, data)
    (sample,) = data['data_samples']
    labels = sample.gt_instances.labels.tolist()
    assert len(set(labels)) == len(labels)
    told, raw = [], []
    losses = [
        getattr(head, name)
        for name in ('loss_cls', 'initial_loss_cls', 'loss_center_heatmap')
        if hasattr(head, name)
    ]
    with ExitStack() as hooks:
        for loss in losses:
            handle = loss.register_forward_pre_hook(
                lambda m, args, kwargs: told.append(
                    dict(zip(('pred', 'target', 'weight'), args), **kwargs)
                ),
                with_kwargs=True,
            )
            hooks.callback(handle.remove)
        for name in ('tood_cls', 'heatmap_head', 'cls_score'):
            if hasattr(head, name):
                handle = getattr(head, name).register_forward_hook(
                    lambda m, args, out: raw.append(out)
                )
                hooks.callback(handle.remove)
        counts = {
            name: list(value)
            for name, value in vars(head).items()
            if name.endswith('samples_per_level')
        }
        result = call(model, theta, **data, mode='loss')
        vars(head).update(counts)  # DDOD counts from step to step
    told = [one for one in told if not one.get('reduction_override')]
    rows = []
    for number, one in enumerate(told):
        logits, classes, weights, counts = _rows_told(head, one, result)
        if raw:
            # Before the sigmoid, or a product with something else.
            level = raw[number].permute(0, 2, 3, 1)
            logits = level.reshape(-1, logits.shape[1])
        rows += [r for r in zip(logits, classes, weights, counts) if r[-1]]
    divisor = _divisor_told(head, told, len(rows))
    objects = {}
    for row, of_class, weight, _ in rows:
        key = 0, 0, labels.index(of_class)
        seen = objects.setdefault(key, Seen(of_class, weight / divisor))
        seen.rows.append(row)
    return result, objects, []


def _observed_bags(model, theta, data):
    """Of FreeAnchor: whose probability of its class an object's loss knows.

    These are the anchors that overlap it most (Zhang et al., NeurIPS 2019,
    section 3.3); which of those that overlap alike, the gradient says.
    """
    head, told, scores = model.bbox_head, [], []
    ask, size = head.positive_loss_single, head.pre_anchor_topk

    def tap(*args):
        told.append((args, ask(*args)))
        return told[-1][1]

    handle = head.register_forward_hook(lambda m, a, out: scores.append(out))
    with mock.patch.object(head, 'positive_loss_single', tap):
        result = call(model, theta, **data, mode='loss')
    handle.remove()
    (((probabilities, _, anchors, truth), (_, terms, _)),) = told
    rows = torch.cat(
        [
            level[0].permute(1, 2, 0).reshape(-1, head.num_classes)
            for level in scores[0][0]
        ]
    )
    objects = {}
    for place, (box, label) in enumerate(
        zip(truth.bboxes, truth.labels.tolist())
    ):
        (slope,) = torch.autograd.grad(
            terms[place], probabilities, retain_graph=True
        )
        bag = slope[:, label].nonzero()[:, 0].tolist()
        overlaps = [_overlap(box.tolist(), one) for one in anchors.tolist()]
        most = sorted(overlaps)[-size:]
        in_bag = sorted(overlaps[anchor] for anchor in bag)
        assert max(abs(a - b) for a, b in zip(most, in_bag)) < 1e-6
        assert len(bag) == size
        seen = objects[0, 0, place] = Seen(label, 1 / size / len(terms))
        seen.rows += [rows[anchor] for anchor in bag]
    return result, objects, []


def _overlap(one, other):
    """Intersection over union of two boxes."""
    sides = [
        max(0.0, min(one[i + 2], other[i + 2]) - max(one[i], other[i]))
        for i in (0, 1)
    ]
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    shared = sides[0] * sides[1]
    return shared / (sum(areas) - shared)


# Their weights of single anchors are left out of an object's.
_WEIGH_ANCHORS = ('FSAFHead', 'PISARetinaHead')


def _rows_told(head, one, result):
    """Logits, class, weight, and whether it is a positive, of each row."""
    logits, target, weights = one['pred'], one['target'], one.get('weight')
    columns = logits.shape[1 if logits.dim() == 4 else -1]
    if isinstance(target, tuple):  # with the qualities
        target = target[0]
    if logits.dim() == 4:  # of heat maps, one at the very centres
        logits, target = (x.permute(0, 2, 3, 1) for x in (logits, target))
        target = target * (target == 1)
    if target.dtype != torch.long:
        target = target.reshape(-1, columns)
        background = ~target.any(dim=1)
        target = target.argmax(dim=1).masked_fill(background, columns)
    if weights is None or type(head).__name__ in _WEIGH_ANCHORS:
        weights = torch.ones(len(target))
    weights = weights.reshape(-1)
    counts = (target < columns) & (weights > 0)
    if type(head).__name__ == 'FSAFHead':
        counts = counts.clone()
        (slope,) = torch.autograd.grad(
            sum(result['loss_cls']), one['pred'], retain_graph=True
        )
        for row in counts.nonzero()[:, 0]:
            counts[row] = slope[row, target[row]] != 0
    parts = (target, weights, counts)
    return logits.reshape(-1, columns), *(part.tolist() for part in parts)


def _divisor_told(head, told, positives):
    """What all rows are divided by, in the loss or afterwards."""
    last = told[-1]
    if type(head).__name__ == 'FSAFHead':
        return positives
    if last.get('avg_factor') == 1.0:  # divided afterwards
        aligned = isinstance(last['target'], tuple)
        total = sum(one['target'][1].sum() for one in told) if aligned else 0
        return max(float(total) if aligned else positives, 1)
    return float(last.get('avg_factor', 1.0))


def _observed_learned(model, theta, data):
    """Of learned proposals, in the stages of a Sparse R-CNN."""
    heads = model.roi_head.bbox_head
    with ExitStack() as patches:
        recorders = [
            patches.enter_context(
                mock.patch.object(
                    head, 'loss_and_target', wraps=head.loss_and_target
                )
            )
            for head in heads
        ]
        losses = call(model, theta, **data, mode='loss')
    objects, others = {}, []
    samples = data['data_samples']
    for stage, recorder in enumerate(recorders):
        logits, boxes, results, *_ = recorder.call_args.args
        logits = logits.view(len(samples), -1, logits.shape[-1])
        boxes = boxes.view(len(samples), -1, 4)
        pairs = [
            _matched(model.roi_head.bbox_assigner[stage], *of_image)
            for of_image in zip(logits, boxes, samples)
        ]
        share = (1.0, 0.5)[stage] / max(sum(map(len, pairs)), 1)
        _sort_queries(
            objects, others, stage, logits, pairs, samples, share, share
        )
    return losses, objects, others


def _observed_queries(model, theta, data):
    """Of DETR and its kin: layer after layer, and DINO's encoder."""
    head, samples = model.bbox_head, data['data_samples']
    with mock.patch.object(
        head, 'loss_by_feat', wraps=head.loss_by_feat
    ) as recorder:
        losses = call(model, theta, **data, mode='loss')
    scores, boxes, *more = recorder.call_args.args
    layers = list(zip(scores, boxes))
    if type(model).__name__ in ('DINO', 'DDQDETR'):
        noise = more[-1]['num_denoising_queries']
        end = noise + model.num_queries
        layers = [(s[:, noise:end], b[:, noise:end]) for s, b in layers]
        layers.append((more[0], more[1]))
    objects, others = {}, []
    kept = _distinct(head, layers, len(samples))
    for layer, (logits, boxes) in enumerate(layers):
        rows = [x[k] for x, k in zip(logits, kept[layer])]
        corners = [
            _corners(x[k], sample.img_shape)
            for x, k, sample in zip(boxes, kept[layer], samples)
        ]
        pairs = [
            _matched(head.assigner, *of_image)
            for of_image in zip(rows, corners, samples)
        ]
        positive = sum(map(len, pairs))
        # DETR's softmax has a tenth for what is no object.
        rest = 0.0 if independent(model) else 0.1
        negative = sum(map(len, rows)) - positive
        share = 1 / max(positive + rest * negative, 1)
        background = share if independent(model) else share * rest
        _sort_queries(
            objects, others, layer, rows, pairs, samples, share, background
        )
    return losses, objects, others


def _distinct(head, layers, images):
    """DDQ leaves out queries that are too much alike, from layer to layer."""
    every = [[slice(None)] * images for _ in layers]
    masks = getattr(head, 'cache_dict', {}).get('distinct_query_mask', ())
    for layer, mask in enumerate(masks, start=1):
        if layer < len(layers) - 1:
            heads = len(mask) // images
            every[layer] = [mask[i * heads][0] for i in range(images)]
    return every


def _corners(boxes, shape):
    """Of centres, widths and heights in shares of an image."""
    height, width = shape
    x, y, w, h = (boxes * boxes.new_tensor([width, height] * 2)).T
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1)


def _matched(assigner, logits, boxes, sample):
    """Pairs of a query and an object."""
    result = assigner.assign(
        InstanceData(scores=logits.detach(), bboxes=boxes.detach()),
        sample.gt_instances,
        img_meta=sample.metainfo,
    )
    return [(q, i - 1) for q, i in enumerate(result.gt_inds.tolist()) if i > 0]


def _sort_queries(
    objects, others, stage, logits, pairs, samples, share, background
):
    for image, of_image in enumerate(pairs):
        labels = samples[image].gt_instances.labels
        for query, index in of_image:
            seen = Seen(int(labels[index]), share)
            seen.rows.append(logits[image][query])
            objects[stage, image, index] = seen
        matched = {query for query, _ in of_image}
        rest = [q for q in range(len(logits[image])) if q not in matched]
        rows = [partial(logits[image].__getitem__, q) for q in rest]
        others.append((rows, background))


def _observed_anchors(model, theta, data):
    head = model.bbox_head
    with mock.patch.object(
        head, 'loss_by_feat', wraps=head.loss_by_feat
    ) as recorder:
        losses = call(model, theta, **data, mode='loss')
    levels = recorder.call_args.args[0]
    sizes = [tuple(level.shape[-2:]) for level in levels]
    anchors = torch.cat(head.prior_generator.grid_priors(sizes, device='cpu'))
    points = type(head).__name__ == 'FCOSHead'
    assign = _assigned_points if points else _assigned
    assigned = [
        assign(head, anchors, sizes, sample) for sample in data['data_samples']
    ]
    if points:
        share = 1 / max(sum(len(pairs) for pairs, _ in assigned), 1)
    else:
        share = 1 / sum(max(len(pairs), 1) for pairs, _ in assigned)
    objects, others = {}, []
    for image, (pairs, negatives) in enumerate(assigned):
        labels = data['data_samples'][image].gt_instances.labels
        rows = [level[image] for level in levels]
        for anchor, index in pairs:
            key = 0, image, index
            label = int(labels[index])
            seen = objects.setdefault(key, Seen(label, share))
            seen.rows.append(_row(head, rows, anchor))
        background = [partial(_row, head, rows, a) for a in negatives]
        others.append((background, share))
    return losses, objects, others


def _observed_matches(model, theta, data):
    """Of heads that match predictions with objects, as they are predicted."""
    head = model.bbox_head
    with mock.patch.object(
        head, 'loss_by_feat', wraps=head.loss_by_feat
    ) as recorder:
        losses = call(model, theta, **data, mode='loss')
    levels, boxes, *objectness = recorder.call_args.args[:3]
    yolox = type(head).__name__ == 'YOLOXHead'
    priors = [
        (column * stride, row * stride, stride)
        for level, (stride, _) in zip(levels, head.prior_generator.strides)
        for row in range(level.shape[2])
        for column in range(level.shape[3])
    ]
    matches = []
    for image, sample in enumerate(data['data_samples']):
        rows = _flat(levels, image)
        outputs, scores = _flat(boxes, image).tolist(), rows
        predicted = []
        for (x, y, stride), (a, b, c, d) in zip(priors, outputs):
            if yolox:
                x, y = x + a * stride, y + b * stride
                a = c = math.exp(c) * stride / 2
                b = d = math.exp(d) * stride / 2
            # RTMDet's are distances in pixels already.
            predicted.append((x - a, y - b, x + c, y + d))
        if yolox:
            quality = _flat(objectness[0], image).sigmoid()
            scores = (rows.sigmoid() * quality).sqrt()
        centre = 0.5 if yolox else 0.0
        exact = rows.dtype == torch.float64
        with double_targets(head) if exact else nullcontext():
            result = head.assigner.assign(
                InstanceData(
                    bboxes=rows.new_tensor(predicted),
                    scores=scores.detach(),
                    priors=rows.new_tensor(
                        [
                            (x + centre * s, y + centre * s, s, s)
                            for x, y, s in priors
                        ]
                    ),
                ),
                sample.gt_instances,
            )
        matches.append((rows, result))
    qualities = [
        float(quality)
        for _, result in matches
        for quality, index in zip(result.max_overlaps, result.gt_inds)
        if index > 0
    ]
    share = 1 / max(len(qualities) if yolox else sum(qualities), 1)
    objects, others = {}, []
    for image, (rows, result) in enumerate(matches):
        labels = data['data_samples'][image].gt_instances.labels
        background = []
        for number, index in enumerate(result.gt_inds.tolist()):
            if index > 0:
                key = 0, image, index - 1
                label = int(labels[index - 1])
                seen = objects.setdefault(key, Seen(label, share))
                seen.rows.append(rows[number])
                seen.qualities.append(float(result.max_overlaps[number]))
            elif not yolox:
                background.append(lambda row=rows[number]: row)
        others.append((background, share))
    return losses, objects, others


def _flat(levels, image):
    """Of the cells of all levels, row by row, shape (N, C)."""
    return torch.cat([level[image].flatten(1).t() for level in levels])


def _assigned(head, anchors, sizes, sample):
    """Pairs of an anchor and its object; anchors of the background.

    Anchors of padded cells take no part, nor do those which leave the image
    by more than the head allows.
    """
    valid = torch.cat(
        head.prior_generator.valid_flags(sizes, sample.pad_shape, 'cpu')
    )
    border = head.train_cfg.allowed_border
    height, width = sample.img_shape
    taken = []
    for number, (left, top, right, bottom) in enumerate(anchors.tolist()):
        inside = (
            min(left, top) >= -border
            and right < width + border
            and bottom < height + border
        )
        if valid[number] and (inside or border < 0):
            taken.append(number)
    # Adaptive selection asks how many there are of each level.
    levels = [_of_levels(head, taken, sizes)]
    adaptive = type(head).__name__ == 'ATSSHead'
    result = head.assigner.assign(
        InstanceData(priors=anchors[taken]),
        *(levels if adaptive else ()),
        sample.gt_instances,
        sample.ignored_instances,
    )
    pairs, negatives = [], []
    for number, index in zip(taken, result.gt_inds.tolist()):
        if index > 0:
            pairs.append((number, index - 1))
        elif index == 0:
            negatives.append(number)
    return pairs, negatives


def _of_levels(head, taken, sizes):
    """How many of these numbers are anchors of each level."""
    counts = head.prior_generator.num_base_priors
    levels = [
        level
        for level, (count, (rows, columns)) in enumerate(zip(counts, sizes))
        for _ in range(count * rows * columns)
    ]
    of_taken = [levels[number] for number in taken]
    return [of_taken.count(level) for level in range(len(counts))]


def _assigned_points(head, points, sizes, sample):
    """Of a point the smallest object that it lies in and is large enough for.

    Tian et al., ICCV 2019, section 3.1 and 3.2; the sizes of a level are
    those of its longest side to the point.
    """
    ranges = [
        limits
        for limits, (rows, columns) in zip(head.regress_ranges, sizes)
        for _ in range(rows * columns)
    ]
    strides = [
        stride
        for stride, (rows, columns) in zip(head.strides, sizes)
        for _ in range(rows * columns)
    ]
    pairs, negatives = [], []
    for number, (x, y) in enumerate(points.tolist()):
        fitting = []
        low, high = ranges[number]
        boxes = sample.gt_instances.bboxes.tolist()
        for index, (left, top, right, bottom) in enumerate(boxes):
            sides = x - left, y - top, right - x, bottom - y
            inside = min(sides) > 0
            if head.center_sampling:
                reach = head.center_sample_radius * strides[number]
                inside &= abs(x - (left + right) / 2) < reach
                inside &= abs(y - (top + bottom) / 2) < reach
            if inside and low <= max(sides) <= high:
                area = (right - left) * (bottom - top)
                fitting.append((area, index))
        if fitting:
            pairs.append((number, min(fitting)[1]))
        else:
            negatives.append(number)
    return pairs, negatives


def _row(head, levels, anchor):
    """Logits of the anchor of this number; levels have shape (A C, H, W)."""
    counts = head.prior_generator.num_base_priors
    for level, count in zip(levels, counts):
        channels, height, width = level.shape
        if anchor < count * height * width:
            cell, kind = divmod(anchor, count)
            logits = level.view(count, channels // count, height, width)
            return logits[kind, :, cell // width, cell % width]
        anchor -= count * height * width
    raise AssertionError(f'{anchor} anchors too many')


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
