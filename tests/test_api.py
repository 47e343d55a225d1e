"""Pruning from Python: plain modules and OpenMMLab models."""

import copy
import functools
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import VisionTransformer, resnet18

import epsd_mm
from epsd_mm.distillation import CSKDLoss
from epsd_mm.pruning import Criterion, prunable_parameters
from tests.helpers.models import (
    classification_batch,
    detection_batch,
    tiny_classifier,
    tiny_faster_rcnn,
    trainable,
)
from tests.helpers.nets import (
    ConvNeXt,
    InvertedResidual,
    Net,
    Tied,
    cross_entropy,
)
from tests.helpers.oracles import (
    best,
    classifier_loss,
    gradient_at,
    synaptic_flow,
)
from tests.helpers.selections import erdos_renyi_kernel, groups

EVERY = [
    'Random',
    'Magnitude',
    'SNIP',
    'GraSP',
    dict(type='SynFlow', rounds=3),
    dict(type='ProsPr', steps=1),
    dict(type='IterSNIP', rounds=3),
    dict(type='FORCE', rounds=3),
    dict(type='NTKSAP', rounds=2, samples=1),
]
SYNFLOW = EVERY[4]
NO_BATCHES = ('Random', 'Magnitude')
DATA_FREE = (*NO_BATCHES, 'SynFlow', 'NTKSAP')


def name_of(criterion):
    if isinstance(criterion, dict):
        return criterion['type']
    return criterion if isinstance(criterion, str) else 'an object'


every_criterion = pytest.mark.parametrize('criterion', EVERY, ids=name_of)


def pictures(count=4, size=6):
    return [
        (torch.randn(size, 2, 6, 6), torch.randint(0, 3, (size,)))
        for _ in range(count)
    ]


def prune(model, batches, criterion, **options):
    """With the loss and the batches where the criterion looks at some."""
    if name_of(criterion) in NO_BATCHES:
        batches = None
    plain = not hasattr(model, 'data_preprocessor')
    if plain and name_of(criterion) not in DATA_FREE:
        options.setdefault('loss', cross_entropy)
    options = {'sparsity': 0.6, 'allow_empty_layers': True} | options
    return epsd_mm.prune(model, batches, criterion=criterion, **options)


class Everything:
    """What pruning leaves as it is, and what it does not."""

    def __init__(self, model):
        self.model = model
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        self.state = copy.deepcopy(model.state_dict())
        self.gradients = [p.grad.clone() for p in model.parameters()]
        self.weights = list(model.parameters())
        self.modes = [module.training for module in model.modules()]
        self.hooks = [len(m._forward_hooks) for m in model.modules()]
        self.random = random.getstate()
        self.numpy = np.random.get_state()
        self.torch = torch.get_rng_state()

    def differs_by(self, masks):
        """Nothing differs but removed weights, which are zero."""
        assert random.getstate() == self.random
        assert all(map(np.array_equal, np.random.get_state(), self.numpy))
        assert torch.equal(torch.get_rng_state(), self.torch)
        assert [m.training for m in self.model.modules()] == self.modes
        hooks = [len(m._forward_hooks) for m in self.model.modules()]
        assert hooks == self.hooks
        for p, same in zip(self.model.parameters(), self.weights):
            assert p is same
        for p, gradient in zip(self.model.parameters(), self.gradients):
            assert torch.equal(p.grad, gradient)
        after = self.model.state_dict()
        assert after.keys() == self.state.keys()
        for name, tensor in self.state.items():
            want = tensor
            if name in masks:
                want = tensor.masked_fill(~masks[name], 0)
                assert (tensor != 0).all()
            assert torch.equal(after[name], want), name


@every_criterion
def test_weights_go_where_the_masks_say_and_nothing_else_changes(criterion):
    model = Net()
    model.norm.eval()
    images, labels = map(torch.cat, zip(*pictures()))
    loader = DataLoader(TensorDataset(images, labels), 6, shuffle=True)
    before = Everything(model)
    masks = prune(model, loader, criterion)
    before.differs_by(masks)
    assert list(masks) == list(prunable_parameters(model))
    assert masks.kept == round(0.4 * masks.total)


@pytest.mark.parametrize(
    'criterion', ['Random', 'SNIP', 'GraSP', SYNFLOW, EVERY[-1]], ids=name_of
)
def test_an_openmmlab_model_stays_as_it_is_too(criterion):
    model = tiny_classifier()
    before = Everything(model)
    masks = prune(model, [classification_batch()], criterion, draws=None)
    before.differs_by(masks)
    assert masks.kept == round(0.4 * masks.total)


def test_masks_hold_through_momentum_and_weight_decay():
    model, data = Net(), pictures()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1
    )
    for batch in data:  # the momentum knows weights that are removed later
        cross_entropy(model, batch).backward()
        optimizer.step()
    masks = prune(model, data, 'SNIP', draws=1)
    keeper = epsd_mm.MaskKeeper(model, masks)
    keeper.watch(optimizer)
    start = copy.deepcopy(model.state_dict())
    for batch in data:
        optimizer.zero_grad()
        cross_entropy(model, batch).backward()
        optimizer.step()
        assert keeper.measured_sparsity() == masks.sparsity
    for name, p in model.named_parameters():
        if name in masks:
            assert not p[~masks[name]].any()
            moved = (p != start[name])[masks[name]]
            assert moved.all()


def by_oracle(model, *parts, sparsity=0.8):
    """Masks of one draw of SNIP, from the loss written out."""
    twin = copy.deepcopy(model).double()
    theta = trainable(twin)
    gradient = gradient_at(lambda t: classifier_loss(twin, t, *parts), theta)
    scores = {
        n: (theta[n] * gradient[n]).detach().abs()
        for n in prunable_parameters(model)
    }
    total = sum(s.numel() for s in scores.values())
    return best(scores, round((1 - sparsity) * total))


def equal(masks, want):
    assert masks.keys() == want.keys()
    return all(torch.equal(masks[name], want[name]) for name in want)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_a_large_layer_in_half_precision_is_ranked_as_it_is(dtype):
    """A share of 160,000 weights is too small a number for float16."""
    model = nn.Sequential(nn.Linear(400, 400), nn.Linear(400, 2)).to(dtype)
    full = copy.deepcopy(model).float()
    masks = prune(model, None, 'Magnitude')
    assert masks == prune(full, None, 'Magnitude')


def test_an_openmmlab_model_has_a_loss_of_its_own():
    model, batch = tiny_classifier(), classification_batch()
    want = by_oracle(model, batch)
    assert equal(prune(model, [batch], 'SNIP', sparsity=0.8, draws=1), want)


@pytest.mark.parametrize(
    'sd_loss',
    ['CSKDLoss', dict(type='CSKDLoss', temperature=4.0), CSKDLoss()],
    ids=['name', 'config', 'object'],
)
def test_self_distillation_takes_the_second_half_as_partners(sd_loss):
    model = tiny_classifier()
    main, partners = classification_batch(), classification_batch(seed=1)
    together = {name: main[name] + partners[name] for name in main}
    plain, want = by_oracle(model, main), by_oracle(model, main, partners)
    assert not equal(plain, want)
    options = dict(sparsity=0.8, draws=1, sd_loss=sd_loss)
    before = Everything(model)
    masks = prune(model, [together], 'SNIP', **options)
    before.differs_by(masks)
    assert equal(masks, want)
    weights = dict(task=1.0, sd=0.0)
    masks = prune(
        tiny_classifier(), [together], 'SNIP', **options, score_weights=weights
    )
    assert equal(masks, plain)


def test_half_a_pair_is_refused():
    batch = classification_batch((0, 1, 2))
    with pytest.raises(ValueError, match='3 samples is no set of pairs'):
        prune(tiny_classifier(), [batch], 'SNIP', sd_loss='CSKDLoss', draws=1)


class Refusing(nn.Module):
    """Whoever asks for its outputs has gone too far."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)


@pytest.mark.parametrize(
    'options, said',
    [
        (dict(criterion='SNIP'), 'SNIP needs loss='),
        (dict(), 'ProsPr needs loss='),
        (
            dict(criterion='Magnitude', batches=None, loss=cross_entropy),
            'Magnitude looks at no loss: remove loss',
        ),
        (
            dict(criterion='SynFlow', loss=cross_entropy),
            'SynFlow looks at no loss: remove loss',
        ),
        (
            dict(loss=cross_entropy, sd_loss='CSKDLoss'),
            'sd_loss=CSKDLoss needs an OpenMMLab model.*add the term to loss',
        ),
    ],
)
def test_a_loss_that_is_missing_or_out_of_place(options, said):
    options = dict(batches=pictures(), sparsity=0.5) | options
    with pytest.raises(TypeError, match=said):
        epsd_mm.prune(Refusing(), **options)


@pytest.mark.parametrize(
    'loss, said',
    [
        (torch.nn.CrossEntropyLoss(), 'loss=CrossEntropyLoss is called with'),
        (torch.nn.functional.mse_loss, 'loss=mse_loss is called with'),
        (lambda model: 0, r'loss\(model, batch\): too many'),
        (lambda model, images, labels: 0, "missing.* 'labels'"),
    ],
)
def test_a_loss_of_predictions_is_told_how_to_become_one(loss, said):
    model, data = Net(), pictures()
    before = Everything(model)
    with pytest.raises(TypeError, match=f'{said}.*lambda model, batch'):
        epsd_mm.prune(model, data, sparsity=0.5, loss=loss)
    before.differs_by({})


def test_a_loss_may_have_more_arguments_or_be_an_object():
    class Loss(torch.nn.Module):
        def forward(self, model, batch, scale=2.0):
            return scale * cross_entropy(model, batch)

    for loss in (Loss(), functools.partial(Loss(), scale=1.0)):
        masks = epsd_mm.prune(
            Net(), pictures(), sparsity=0.5, criterion='SNIP', loss=loss
        )
        assert masks.kept == round(0.5 * masks.total)


@pytest.mark.parametrize('model', [len, Net, None])
def test_what_is_no_module_is_refused(model):
    with pytest.raises(TypeError, match='model must be a torch.nn.Module'):
        epsd_mm.prune(model, pictures(), sparsity=0.5, loss=cross_entropy)


def test_a_loss_beside_an_openmmlab_model():
    with pytest.raises(TypeError, match='ImageClassifier has a loss of its'):
        prune(
            tiny_classifier(),
            [classification_batch()],
            'SNIP',
            loss=cross_entropy,
        )


def test_no_criterion_is_refused_in_words_of_its_own():
    """There is no hook here to remove."""
    with pytest.raises(ValueError, match='name a criterion') as error:
        epsd_mm.prune(Net(), pictures(), sparsity=0.5, criterion=None)
    assert 'hook' not in str(error.value)


def test_self_distillation_without_effect_is_refused():
    with pytest.raises(ValueError, match='sd_loss=.*no effect'):
        prune(tiny_classifier(), None, 'Magnitude', sd_loss='CSKDLoss')


@pytest.mark.parametrize(
    'options, said',
    [
        (dict(sparsity=0), r'sparsity=0 removes nothing: give one in \(0, 1'),
        (dict(structure='nm'), "missing .*'n', such as '2:4'"),
        (dict(sparsity=1.0), r'sparsity=1.0 must be a number in \[0, 1\)'),
        (dict(seed='a'), "seed='a' must be an integer"),
        (dict(seed=0.5), 'seed=0.5 must be an integer'),
        (dict(draws=0), 'draws=0 must be an integer >= 1'),
        (dict(batches_per_step=1.5), 'batches_per_step=1.5'),
        (dict(exclude=['neck.*']), "'neck.*' matches no prunable weight"),
        (dict(score_weights=dict(sd=2.0)), 'there is no sd_loss'),
        (dict(batches=None), 'SNIP needs batches: give a data loader'),
        (
            dict(allocation={'*': 0.9}, structure='2:4'),
            r"density 0.5, so that '\*': 0.9 cannot be met",
        ),
    ],
)
def test_options_that_make_no_sense(options, said):
    options = dict(batches=pictures()) | options
    model = Net()
    before = Everything(model)
    with pytest.raises(ValueError, match=said):
        prune(model, criterion='SNIP', **options)
    before.differs_by({})


@pytest.mark.parametrize('option', ['draws', 'batches_per_step'])
def test_draws_of_nothing_are_refused(option):
    with pytest.raises(ValueError, match=f'{option}=3.* no effect'):
        prune(Net(), None, 'Magnitude', **{option: 3})


@pytest.mark.parametrize('criterion', NO_BATCHES)
@pytest.mark.parametrize('build', [Net, tiny_classifier])
def test_batches_that_nothing_looks_at_are_refused(criterion, build):
    model = build()
    data = iter([1, 2])
    with pytest.raises(ValueError, match=f'no effect: {criterion} looks at'):
        epsd_mm.prune(model, data, sparsity=0.5, criterion=criterion)
    assert next(data) == 1
    options = dict(sparsity=0.5, allow_empty_layers=True)
    masks = epsd_mm.prune(model, criterion=criterion, **options)
    assert masks.kept == round(0.5 * masks.total)


@pytest.mark.parametrize('count', [0, 1, 2])
@pytest.mark.parametrize('kind', [list, iter])
def test_too_few_batches_are_an_error_with_numbers(count, kind):
    """Repeating some would make i + 1 batches of fewer."""
    model, data = Net(), kind(pictures(count))
    before = Everything(model)
    with pytest.raises(ValueError) as error:
        prune(model, data, dict(type='ProsPr', steps=2), draws=1)
    assert 'draw 0 needs 3 batches (3 steps of 1)' in str(error.value)
    assert f'the data ended after {count}: give more' in str(error.value)
    before.differs_by({})


def test_an_empty_loader():
    loader = DataLoader(TensorDataset(torch.zeros(3, 2)), batch_size=4)
    empty = DataLoader(loader.dataset, batch_size=4, drop_last=True)
    with pytest.raises(ValueError, match='the data ended after 0'):
        prune(Net(), empty, 'SNIP')


def seen_by(data, **options):
    """Which items the loss sees, in their order."""
    model, seen = nn.Linear(2, 2), []

    def loss(model, batch):
        seen.append(batch)
        return model(torch.full((1, 2), 1.0 + batch)).square().sum()

    prune(model, data, 'SNIP', loss=loss, **options)
    return seen


def test_draws_take_the_next_items_of_a_list_which_starts_again():
    assert seen_by([0, 1, 2], draws=4) == [0, 1, 2, 0]
    per_step = dict(batches_per_step=2)
    assert seen_by(range(5), draws=3, **per_step) == [0, 1, 2, 3, 4, 0]
    assert seen_by(range(4), draws=3, **per_step) == [0, 1, 2, 3, 0, 1]
    assert len(seen_by([7])) == 8


@pytest.mark.parametrize('items', [3, 4, 5, 7])
def test_no_draw_sees_an_item_twice(items):
    seen = seen_by(range(items), draws=6, batches_per_step=3)
    draws = [seen[k : k + 3] for k in range(0, 18, 3)]
    assert all(len(set(draw)) == 3 for draw in draws)
    counts = [seen.count(item) for item in range(items)]
    assert max(counts) - min(counts) <= 1


def test_a_loader_is_shuffled_anew_each_time():
    loader = DataLoader(range(8), batch_size=None, shuffle=True)
    seen = seen_by(loader, draws=16)
    assert sorted(map(int, seen[:8])) == sorted(map(int, seen[8:]))
    assert seen[:8] != seen[8:]
    assert seen == seen_by(loader, draws=16)


def test_a_generator_is_taken_as_far_as_it_goes():
    assert seen_by((n for n in range(9)), draws=4) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match='draw 3 needs 1 .*draws'):
        seen_by((n for n in range(3)), draws=4)


def test_synflow_takes_the_shape_from_a_loader_of_pairs():
    model = Net()
    images = torch.randn(8, 2, 6, 6).double()
    labels = torch.zeros(8, dtype=torch.long)
    loader = DataLoader(TensorDataset(images, labels), batch_size=4)
    shapes = {n: p.shape for n, p in prunable_parameters(model).items()}
    masks = {n: torch.ones(shape).bool() for n, shape in shapes.items()}
    total = sum(shape.numel() for shape in shapes.values())
    scores = synaptic_flow(model, masks, (1, 2, 6, 6))
    want = best(scores, round(0.4 * total))
    once = dict(type='SynFlow', rounds=1)
    assert equal(prune(copy.deepcopy(model), loader, once), want)
    assert equal(prune(model, [images[:1]], once), want)


def test_synflow_of_an_openmmlab_classifier():
    model = tiny_classifier()
    masks = prune(model, [classification_batch()], SYNFLOW, sparsity=0.9)
    assert masks.kept == round(0.1 * masks.total)
    assert not masks.empty_layers()


@pytest.mark.parametrize('criterion', [SYNFLOW, 'NTKSAP'], ids=name_of)
def test_what_sees_outputs_alone_refuses_a_detector_by_name(criterion):
    model = tiny_faster_rcnn()
    before = Everything(model)
    with pytest.raises(TypeError, match='FasterRCNN is a detector'):
        prune(model, [detection_batch()], criterion)
    assert torch.equal(torch.get_rng_state(), before.torch)


class Pair(Net):
    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize(
    'model, data, said',
    [
        (Pair(), pictures(), 'Pair gives a tuple'),
        (Net(), [dict(x=1)], 'must be a tensor.*got dict'),
        (Net(), [([1, 2], 3)], 'must be a tensor.*got list'),
    ],
)
@pytest.mark.parametrize('criterion', [SYNFLOW, 'NTKSAP'], ids=name_of)
def test_outputs_that_are_no_tensor_and_no_images(
    model, data, said, criterion
):
    modes = [module.training for module in model.modules()]
    with pytest.raises(TypeError, match=said):
        prune(model, data, criterion)
    assert [module.training for module in model.modules()] == modes


@every_criterion
def test_tied_weights_count_once_and_go_together(criterion):
    model = Tied()
    data = [(torch.randn(6, 4), torch.randint(0, 3, (6,)))] * 4
    masks = prune(model, data, criterion, sparsity=0.5)
    assert list(masks) == ['one.weight', 'out.weight']
    assert (masks.kept, masks.total) == (14, 28)
    assert model.two.weight is model.one.weight
    assert torch.equal(model.two.weight == 0, ~masks['one.weight'])


class NotFinite(Criterion):
    steps_per_draw = 0

    def scores(self, objective, params, masks, batches):
        scores = {n: params[n].detach().abs() for n in masks}
        scores['body.weight'].view(-1)[3] = float('nan')
        return scores


def test_scores_that_are_not_finite_name_the_layer():
    model = Net()
    before = Everything(model)
    with pytest.raises(FloatingPointError, match="'body.weight'"):
        epsd_mm.prune(
            model,
            None,
            sparsity=0.5,
            criterion=NotFinite(),
            loss=cross_entropy,
        )
    before.differs_by({})
    model.head.weight.data[0, 0] = float('inf')
    with pytest.raises(FloatingPointError, match="'head.weight'"):
        prune(model, None, 'Magnitude')


def test_a_loss_that_is_not_finite_says_so():
    def loss(model, batch):
        return cross_entropy(model, batch) * float('nan')

    with pytest.raises(FloatingPointError, match='draw 0: the loss is nan'):
        prune(Net(), pictures(), 'SNIP', loss=loss)


def test_layers_that_would_be_emptied_are_named_and_nothing_is_pruned():
    model = Net()
    model.stem.weight.data *= 1e-3
    before = Everything(model)
    options = dict(sparsity=0.5, allow_empty_layers=False)
    with pytest.raises(ValueError, match='nothing of 1 of 3 .*stem.weight'):
        prune(model, None, 'Magnitude', **options)
    before.differs_by({})
    floor = dict(type='global', min_density=0.1)
    masks = prune(model, None, 'Magnitude', **options, allocation=floor)
    assert masks.layers()['stem.weight']['kept'] == 11


@every_criterion
def test_layers_left_out_stay_dense_and_do_not_count(criterion):
    model = Net()
    stem = model.stem.weight.detach().clone()
    masks = prune(model, pictures(), criterion, exclude=['stem.*'])
    assert list(masks) == ['body.weight', 'head.weight']
    assert masks.kept == round(0.4 * masks.total)
    assert torch.equal(model.stem.weight, stem)
    masks = prune(model, pictures(), criterion, include=['body.*'])
    assert list(masks) == ['body.weight']


def test_the_seed_settles_the_masks():
    model = Net()

    def masks(seed):
        return prune(copy.deepcopy(model), None, 'Random', seed=seed)

    assert masks(0) == masks(0)
    assert masks(0) != masks(1)


@pytest.mark.parametrize('build', [Net, tiny_classifier])
def test_a_round_starts_from_the_masks_of_the_one_before(build):
    """What is removed stays so, though it is the largest again."""
    model = build()
    first = prune(model, None, 'Magnitude', sparsity=0.2)
    with torch.no_grad():
        for name, weight in prunable_parameters(model).items():
            weight.normal_()
            weight[~first[name]] = 100.0
    sizes = {
        name: weight.detach().abs() * first[name]
        for name, weight in prunable_parameters(model).items()
    }
    second = prune(model, None, 'Magnitude', sparsity=0.36, start=first)
    assert equal(second, best(sizes, round(0.64 * first.total)))
    for name, weight in prunable_parameters(model).items():
        assert not weight[~second[name]].any()


def test_scores_are_of_what_the_start_leaves():
    """The product of the weights on the two ways: 3 · 1, and 2 · 2."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0], [2.0]]))
        model[1].weight.copy_(torch.tensor([[1.0, 2.0]]))
    start = epsd_mm.Masks(
        {
            '0.weight': torch.tensor([[True], [True]]),
            '1.weight': torch.tensor([[True, False]]),
        }
    )
    criterion = dict(type='SynFlow', rounds=1)
    options = dict(criterion=criterion, sparsity=0.5, start=start)
    masks = epsd_mm.prune(model, [torch.ones(1, 1)], **options)
    kept = {name: mask.flatten().tolist() for name, mask in masks.items()}
    assert kept == {'0.weight': [True, False], '1.weight': [True, False]}


def test_a_start_that_cuts_a_layer_off_is_told_what_to_do():
    """Of the first unit all weights in are left, of the second those out."""
    model = nn.Sequential(nn.Linear(2, 2, False), nn.Linear(2, 2, False))
    start = epsd_mm.Masks(
        {
            '0.weight': torch.tensor([[True, True], [False, False]]),
            '1.weight': torch.tensor([[False, True], [False, True]]),
        }
    )
    with pytest.raises(ValueError, match='masks of start leave') as error:
        epsd_mm.prune(
            model,
            [torch.ones(1, 2)],
            criterion='SNIP',
            sparsity=0.75,
            start=start,
            loss=lambda model, batch: model(batch).square().sum(),
        )
    said = str(error.value)
    assert 'zero in 2 of 2 layers: 0.weight, 1.weight.' in said
    assert 'zero_layers' not in said


def test_a_start_below_what_a_layer_shall_keep_is_told_before_scoring():
    """8 of its 16 weights, of which 4 are left."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    left = torch.arange(16).view(4, 4) < 4
    start = epsd_mm.Masks(
        {'0.weight': left, '1.weight': torch.ones_like(left)}
    )

    def loss(model, batch):
        raise AssertionError('something is scored')

    with pytest.raises(ValueError, match='earlier masks .* 0.625 at least'):
        epsd_mm.prune(
            model,
            [None],
            criterion='SNIP',
            sparsity=0.5,
            allocation={'0*': 0.5, '1*': 0.5},
            start=start,
            loss=loss,
        )


@pytest.mark.parametrize(
    'options, error, said',
    [
        (dict(start='masks.pth'), TypeError, 'start must be Masks, got str'),
        (dict(sparsity=0.4), ValueError, 'and sparsity=0.4 keeps more'),
        (dict(exclude=['head.*']), ValueError, 'do not fit the model'),
        (dict(criterion='FORCE'), ValueError, 'that start removes would'),
        (dict(zero_layers='dense'), ValueError, 'not to be left whole'),
    ],
)
def test_a_start_that_is_none_is_refused(options, error, said):
    model = Net()
    start = prune(model, None, 'Magnitude', sparsity=0.5)
    before = copy.deepcopy(model.state_dict())
    options = dict(
        dict(criterion='Magnitude', sparsity=0.8, start=start), **options
    )
    loss, batches = None, None
    if options['criterion'] == 'FORCE':
        loss, batches = cross_entropy, pictures()
    with pytest.raises(error, match=said):
        epsd_mm.prune(model, batches, loss=loss, **options)
    after = model.state_dict()
    assert all(torch.equal(after[name], v) for name, v in before.items())


def test_a_distributed_job_is_refused(monkeypatch):
    monkeypatch.setattr('epsd_mm.api._world_size', lambda: 2)
    with pytest.raises(RuntimeError, match='works in one process'):
        prune(Net(), None, 'Magnitude')


def test_a_loss_without_a_gradient_is_refused():
    def detached(model, batch):
        return cross_entropy(model, batch).detach()

    with pytest.raises(TypeError, match='has no gradient'):
        epsd_mm.prune(
            Net(), pictures(), sparsity=0.5, criterion='SNIP', loss=detached
        )


def test_gradients_are_computed_where_they_are_switched_off():
    masks = []
    for grad in (True, False):
        torch.manual_seed(0)
        model = Net()
        with torch.set_grad_enabled(grad):
            masks.append(prune(model, pictures(), 'SNIP'))
    assert equal(*masks)


def transformer():
    """torchvision's, with 8 channels, and a classifier that is not zero."""
    model = VisionTransformer(8, 4, 2, 2, 8, 16, num_classes=3)
    nn.init.normal_(model.heads.head.weight)
    return model


LAYER = 'encoder.layers.encoder_layer_'
BUILDERS = {
    ConvNeXt: ['stem', 'depthwise', 'widen', 'narrow', 'head'],
    InvertedResidual: ['widen', 'depthwise', 'narrow', 'head'],
    transformer: [
        'conv_proj',
        f'{LAYER}0.self_attention.in_proj',
        f'{LAYER}0.self_attention.out_proj',
        f'{LAYER}0.mlp.0',
        f'{LAYER}0.mlp.3',
        f'{LAYER}1.self_attention.in_proj',
        f'{LAYER}1.self_attention.out_proj',
        f'{LAYER}1.mlp.0',
        f'{LAYER}1.mlp.3',
        'heads.head',
    ],
}


def colours(count=4, size=8):
    """Batches of six images with three channels, and labels."""
    return [
        (torch.randn(6, 3, size, size), torch.randint(0, 3, (6,)))
        for _ in range(count)
    ]


@every_criterion
@pytest.mark.parametrize('build', BUILDERS)
def test_nets_of_other_libraries_are_pruned_as_a_whole(build, criterion):
    """Depthwise layers and attention too; norms and layer scale stay."""
    model, data = build(), colours()
    before = Everything(model)
    masks = prune(model, data, criterion)
    before.differs_by(masks)
    layers = [name.replace('_weight', '.weight') for name in masks]
    assert layers == [f'{layer}.weight' for layer in BUILDERS[build]]
    assert masks.kept == round(0.4 * masks.total)


def test_torchvisions_own_resnet_is_pruned():
    model, data = resnet18(num_classes=3), colours(1, 32)
    before = Everything(model)
    masks = prune(model, data, 'SNIP', sparsity=0.9, draws=1)
    before.differs_by(masks)
    assert len(masks) == 21
    assert masks.kept == round(0.1 * masks.total)
    assert masks.total == sum(
        p.numel() for p in model.parameters() if p.ndim > 1
    )


def test_attention_is_ranked_by_the_formula():
    model, (batch,) = transformer().double(), colours(1)
    batch = batch[0].double(), batch[1]
    twin = copy.deepcopy(model)
    cross_entropy(twin, batch).backward()
    scores = {
        name: (p * p.grad).detach().abs()
        for name, p in twin.named_parameters()
        if name in prunable_parameters(twin)
    }
    assert sum('in_proj_weight' in name for name in scores) == 2
    total = sum(score.numel() for score in scores.values())
    want = best(scores, round(0.2 * total))
    assert equal(prune(model, [batch], 'SNIP', sparsity=0.8, draws=1), want)


def test_attention_stays_masked_while_it_trains():
    model = transformer()
    masks = prune(model, None, 'Magnitude')
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    epsd_mm.MaskKeeper(model, masks).watch(optimizer)
    before = copy.deepcopy(model.state_dict())
    for batch in colours():
        optimizer.zero_grad()
        cross_entropy(model, batch).backward()
        optimizer.step()
    name = f'{LAYER}0.self_attention.in_proj_weight'
    weight = model.state_dict()[name]
    assert not weight[~masks[name]].any()
    assert (weight != before[name])[masks[name]].all()


@pytest.mark.parametrize(
    'option',
    [dict(allocation='erk'), dict(structure='rows'), dict(structure='2:4')],
    ids=str,
)
def test_attention_takes_allocations_and_structures(option):
    model = transformer()
    options = dict(sparsity=0.5, exclude=['conv_proj.*'])
    masks = prune(model, colours(1), 'SNIP', draws=1, **options, **option)
    shapes = {name: mask.shape for name, mask in masks.items()}
    densities = erdos_renyi_kernel(shapes, masks.kept)
    attention = {n: m for n, m in masks.items() if 'in_proj' in n}
    assert {mask.shape for mask in attention.values()} == {(24, 8)}
    for name, mask in attention.items():
        if 'allocation' in option:
            wanted = densities[name] * mask.numel()
            assert abs(int(mask.sum()) - wanted) < 1 + 1e-6
        elif option['structure'] == 'rows':
            assert torch.equal(mask.all(dim=1), mask.any(dim=1))
        else:
            assert {sum(group) for group in groups(mask, 4)} == {2}


def test_a_classifier_that_starts_at_zero_is_named():
    """As torchvision's transformer has it: no gradient passes."""
    model = VisionTransformer(8, 4, 2, 2, 8, 16, num_classes=3)
    with pytest.raises(ValueError, match='in 10 of 10 layers.*heads.head'):
        prune(model, colours(), 'SNIP')
