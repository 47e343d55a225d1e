"""SDMPrune against its formula: neurons of MLPs, in two rounds."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import epsd_mm
from epsd_mm.engine.model_units import ModelUnits
from epsd_mm.engine.settings import Settings
from epsd_mm.logs import current_logger
from epsd_mm.pruning import (
    Ledger,
    Masks,
    ModuleObjective,
    SDMPrune,
    find_masks,
)
from epsd_mm.structure import (
    Channels,
    Group,
    Groups,
    Member,
    UnitScores,
    find_groups,
)
from tests.helpers.nets import cross_entropy

WIDTH, BLOCKS = 12, 2
NEURONS = dict(type='neurons', multiple_of=1)


class Attention(nn.Module):
    """Two heads, of a width of four."""

    def __init__(self):
        super().__init__()
        self.num_heads = 2
        self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)

    def forward(self, x):
        parts = self.qkv(x).view(*x.shape[:2], 3, self.num_heads, 4)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        looks = (q @ k.transpose(-1, -2) / 2).softmax(dim=-1)
        return self.proj((looks @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = Attention()
        self.fc1, self.fc2 = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 8)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """Patches of a 4x4 image, two blocks, the mean over patches."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, stride=2)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.blocks(self.patches(x).flatten(2).transpose(1, 2))
        return self.head(self.norm(x).mean(dim=1))


@pytest.fixture(scope='module')
def vit():
    torch.manual_seed(0)
    return ViT().double()


@pytest.fixture(scope='module')
def groups(vit):
    return find_groups(vit, torch.randn(1, 3, 4, 4).double())


@pytest.fixture(scope='module')
def batches():
    generator = torch.Generator().manual_seed(3)
    return [
        (
            torch.randn(6, 3, 4, 4, generator=generator).double(),
            torch.randint(0, 5, (6,), generator=generator),
        )
        for _ in range(4)
    ]


def transcription(model, kept, batches, alpha, temperature):
    """Scores of the neurons of each block, by layers in place of masks."""
    student = copy.deepcopy(model).eval()
    for block, mask in zip(student.blocks, kept):
        block.fc1.weight.data[~mask], block.fc1.bias.data[~mask] = 0, 0
    for images, labels in batches:
        logits = student(images)
        q = torch.softmax(logits, dim=1)
        loss = (1 - alpha) * -q[range(len(labels)), labels].log().mean()
        if alpha:
            with torch.no_grad():
                p = torch.softmax(model(images) / temperature, dim=1)
            loss = loss + alpha * (p * torch.log(p / q)).sum(dim=1).mean()
        (loss / len(batches)).backward()
    scores = []
    for block in student.blocks:
        w1, b1, w2 = block.fc1.weight, block.fc1.bias, block.fc2.weight
        products = [(w1 * w1.grad).sum(dim=1), b1 * b1.grad]
        products.append((w2 * w2.grad).sum(dim=0))
        scores.append(sum(products).detach().abs())
    return scores


def top(scores, mask, count):
    """The best of those that are left."""
    order = sorted(range(len(scores)), key=lambda u: -float(scores[u]))
    kept = [u for u in order if mask[u]][:count]
    return torch.tensor([u in kept for u in range(len(scores))])


def numbers_kept(model, sparsities):
    """How many neurons leave the nearest number of weights, or one more."""
    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    for k, sparsity in enumerate(sparsities):
        gone = math.ceil(sparsity * weights / (BLOCKS * 2 * 8))
        yield WIDTH - gone + (k == 0)  # the first round keeps rather more


def test_two_rounds_are_those_that_are_written_out(vit, groups, batches):
    sparsity, first, alpha, t = 0.2, 0.06, 0.4, 0.5
    model = copy.deepcopy(vit)
    channels = epsd_mm.prune(
        model,
        batches,
        sparsity=sparsity,
        criterion=dict(
            type='SDMPrune', alpha=alpha, temperature=t, first=first
        ),
        loss=cross_entropy,
        batches_per_step=2,
        groups=groups,
        structure=NEURONS,
    )
    kept = [torch.ones(WIDTH, dtype=torch.bool)] * BLOCKS
    counts = [*numbers_kept(vit, (first, sparsity))]
    assert WIDTH > counts[0] > counts[1]
    rounds = zip(counts, (batches[:2], batches[2:]), (0, alpha))
    for count, seen, weight in rounds:
        scores = transcription(vit, kept, seen, weight, t)
        kept = [top(s, m, count) for s, m in zip(scores, kept)]
    for i, mask in enumerate(kept):
        assert torch.equal(channels[f'blocks.{i}.fc1'], mask)
    assert channels.keys() == {f'blocks.{i}.fc1' for i in range(BLOCKS)}
    assert torch.equal(
        model.blocks[0].attention.qkv.weight,
        vit.blocks[0].attention.qkv.weight,
    )


def test_killed_between_its_rounds_it_ends_as_a_whole_one(
    vit, groups, batches
):
    settings = Settings.build(
        sparsity=0.2, criterion=sdm(first=0.06), structure=NEURONS, seed=0
    )
    units = ModelUnits(vit, settings, groups)

    def search(**options):
        return find_masks(
            ModuleObjective(vit, cross_entropy),
            units.criterion,
            dict(vit.named_parameters()),
            Channels.all_of(units.groups),
            lambda draw: batches[draw:],
            units.budget(),
            **settings.search,
            **options,
        )

    kept = []
    whole = search(keep=lambda ledger: kept.append(ledger.pack()))
    assert len(kept) == 2 and 'divergence' in whole.draws[1]
    between = next(Ledger.unpack(packed) for packed in kept)
    again = search(start=between)
    assert again.masks == whole.masks
    assert again.draws == whole.draws


def one_block():
    """Four neurons that emit (1, 1, 2, 1) for an image of 1."""
    model = nn.Sequential(nn.Linear(1, 4), nn.Linear(4, 2)).double()
    rows, bias = torch.tensor([[1.0, 1, 1.5, 2], [0, 0, 0.5, -1]]).double()
    columns = [[0.5 * math.log(3), 0], [1, 0], [-0.5, 0.5], [0, -1]]
    with torch.no_grad():
        model[0].weight.copy_(rows[:, None])
        model[0].bias.copy_(bias)
        model[1].weight.copy_(torch.tensor(columns).double().T)
        model[1].bias.zero_()
    units = torch.arange(4)[:, None]
    members = (
        Member('0.weight', 0, 'producer', units),
        Member('0.bias', 0, 'producer', units),
        Member('1.weight', 1, 'consumer', units),
    )
    return model, Groups([Group('0', 4, members)])


def scored(criterion, model, groups, kept, batch, loss, k=2):
    units = UnitScores(criterion, groups).in_round(k, 0.2)
    scores = units.scores(
        ModuleObjective(model, loss),
        dict(model.named_parameters()),
        Masks({'0': torch.tensor(kept)}),
        iter([[batch]]),
    )
    return scores['0'].tolist()


def test_a_table_worked_by_hand():
    """The task's gradient by the logits is (3, 0), that of the KL (-¼, ¼).

    Neuron u emits h_u, and half of its score comes from either side: it is
    2 |h_u Σ_c w_cu (0.6 g_c + 0.4 k_c)|.
    """
    model, groups = one_block()
    image = torch.ones(1, 1).double()

    def loss(model, batch):
        return 3 * model(batch)[0, 0]

    whole = SDMPrune(0.4, 0.5)
    first = scored(whole, model, groups, [True] * 4, image, loss, k=1)
    assert first == pytest.approx([3 * math.log(3), 6, 6, 0])
    kept = [False, True, True, True]
    got = scored(whole, model, groups, kept, image, loss)
    assert got == pytest.approx([0, 3.4, 3.2, 0.2])


def test_where_teacher_and_student_agree_only_a_temperature_speaks():
    model, groups = one_block()
    model[1].weight.data[:, 0] = 0  # without it nothing changes
    image, kept = torch.ones(1, 1).double(), [False, True, True, True]

    def loss(model, batch):
        return model(batch).sum()

    same = scored(SDMPrune(1.0, 1.0), model, groups, kept, image, loss)
    assert max(same) < 1e-15
    model[1].bias.data[0] = 1.0
    same = scored(SDMPrune(1.0, 1.0), model, groups, kept, image, loss)
    assert max(same) < 1e-15
    cold = scored(SDMPrune(1.0, 0.5), model, groups, kept, image, loss)
    assert min(cold[1:]) > 1e-3


@pytest.mark.parametrize(
    'sparsity, alpha, temperature',
    [
        (0.2, 0.4, 0.2),
        (0.3, 0.42, 0.5),
        (0.4, 0.1, 0.2),
        (1 - 0.7, 0.42, 0.5),
    ],
)
def test_the_authors_settings(sparsity, alpha, temperature):
    settings = Settings.build(sparsity=sparsity, criterion='SDMPrune')
    second = settings.criterion.in_round(2, sparsity)
    assert (second.alpha, second.temperature) == (alpha, temperature)
    assert type(settings.structure).__name__ == 'Neurons'
    assert type(settings.allocation).__name__ == 'Uniform'


def sdm(**options):
    return dict(type='SDMPrune', **options)


@pytest.mark.parametrize(
    'options, said',
    [
        (dict(), r'for a sparsity of 0\.2, 0\.3, 0\.4, not for .*=0\.25'),
        (dict(sparsity=0.2, criterion=sdm(first=0.2)), r'first=0\.2 removes'),
        (dict(criterion=sdm(alpha=0.4)), 'temperature=None belong together'),
        (dict(criterion=sdm(alpha=0, temperature=1)), r'alpha=0 .*\(0, 1\]'),
        (dict(criterion=sdm(alpha=1, temperature=0)), 'temperature=0 must'),
        (dict(criterion=sdm(first=0)), r'first=0 must be in \(0, 1\)'),
        (dict(sparsity=0.2, structure='channels'), "structure='neurons'"),
        (dict(sparsity=0.2, structure='rows'), "structure='neurons'"),
        (dict(sparsity=0.2, allocation='global'), "allocation='uniform'"),
        (
            dict(sparsity=0.2, structure=dict(type='neurons', scores='gate')),
            "scores='gate' is not how SDMPrune",
        ),
    ],
)
def test_settings_that_make_no_sense(options, said):
    with pytest.raises(ValueError, match=said):
        Settings.build(
            **{'sparsity': 0.25, 'criterion': 'SDMPrune', **options}
        )


def prune(model, groups, batches, **options):
    return epsd_mm.prune(
        copy.deepcopy(model),
        batches,
        sparsity=0.2,
        loss=cross_entropy,
        groups=groups,
        **dict(criterion='SDMPrune') | options,
    )


@pytest.mark.parametrize('trained', [False, True])
def test_weights_that_were_not_trained_are_warned_of(
    trained, vit, groups, batches, caplog
):
    """Five classes: a guess has a loss of ln 5, or 1.609."""
    model = copy.deepcopy(vit)
    if trained:  # at what it answers
        model.head.weight.data *= 100
        batches = [(x, model(x).argmax(dim=1)) for x, _ in batches]
    logger = current_logger()  # mmengine's takes no part in Python's tree
    logger.addHandler(caplog.handler)
    try:
        options = dict(criterion=dict(type='SDMPrune', first=0.06))
        prune(model, groups, batches, structure=NEURONS, **options)
    finally:
        logger.removeHandler(caplog.handler)
    warned = [r.message for r in caplog.records if 'chance' in r.message]
    assert len(warned) == (not trained)
    for message in warned:
        assert 'that of a guess 1.609' in message
        assert 'load_from' in message and 'weights_of' in message


def test_a_first_round_that_removes_nothing_is_told(vit, groups, batches):
    with pytest.raises(ValueError, match=r'first=0\.016 removes no neuron'):
        prune(vit, groups, batches, structure=NEURONS)


@pytest.mark.parametrize(
    'given, said',
    [
        (dict(allocation='global'), "allocation='uniform', and .* Global"),
        (dict(structure='channels'), "structure='neurons', and .* Units"),
    ],
)
def test_what_it_is_not_defined_for_is_named(given, said):
    with pytest.raises(ValueError, match=f'is defined for {said}: set'):
        Settings.build(criterion='SDMPrune', sparsity=0.3, **given)


def test_a_network_without_mlps_is_told():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 5, 2))
    groups = find_groups(model, torch.randn(1, 3, 4, 4))
    with pytest.raises(ValueError, match='MLP, and Sequential has none'):
        prune(model, groups, [])


@pytest.mark.parametrize('criterion', ['SNIP', 'Magnitude', 'Random'])
def test_neurons_go_by_any_criterion(vit, groups, batches, criterion):
    data_free = criterion != 'SNIP'
    channels = epsd_mm.prune(
        copy.deepcopy(vit),
        None if data_free else batches,
        sparsity=0.2,
        criterion=criterion,
        loss=None if data_free else cross_entropy,
        draws=None if data_free else 1,
        groups=groups,
        structure=NEURONS,
    )
    assert all('fc1' in name for name in channels)
    assert not all(row.all() for row in channels.values())
