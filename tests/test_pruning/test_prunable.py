"""Weights of convolution and linear layers; what else there is, is told."""

import pytest
import torch
from mmcv import ops
from mmcv.cnn.bricks.conv_ws import ConvAWS2d, ConvWS2d
from mmdet.models.backbones.trident_resnet import TridentConv
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm
from torchvision.ops import DeformConv2d as TorchvisionDeformConv2d

from epsd_mm.pruning import Prunability, prunable_parameters, weight_count
from tests.helpers.layers import CHANGING, TwoInputLinear, kind_of


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Sequential(
            nn.ConvTranspose2d(4, 4, 2), nn.LayerNorm(4), nn.Conv1d(4, 4, 1)
        )
        self.table = nn.Embedding(5, 4)
        self.scale = nn.Parameter(torch.ones(2, 2))
        self.head = nn.Linear(4, 2)


def names(*args, **kwargs):
    return list(prunable_parameters(*args, **kwargs))


ALL = ['stem.weight', 'body.0.weight', 'body.2.weight', 'head.weight']


def test_weights_of_convolutions_and_linear_layers():
    model = Net()
    result = prunable_parameters(model)
    assert list(result) == ALL
    assert result['head.weight'] is model.head.weight


def test_frozen_weights_are_left_out():
    model = Net()
    model.stem.requires_grad_(False)
    assert names(model) == ALL[1:]


def test_a_shared_weight_appears_once():
    model = Net()
    model.copy = nn.Conv2d(3, 4, 3)
    model.copy.weight = model.stem.weight
    assert names(model) == ALL


def test_a_weight_that_a_table_shares_with_a_layer_is_prunable():
    model = nn.ModuleDict(dict(table=nn.Embedding(5, 4), out=nn.Linear(4, 5)))
    model['out'].weight = model['table'].weight
    assert names(model) == ['table.weight']


class Attention(nn.Module):
    """Queries, keys and values of one width, and of three."""

    def __init__(self):
        super().__init__()
        self.own = nn.MultiheadAttention(4, 2)
        self.cross = nn.MultiheadAttention(
            4, 2, kdim=6, vdim=5, add_bias_kv=True
        )


ATTENTION = {
    'own.in_proj_weight': (12, 4),
    'own.out_proj.weight': (4, 4),
    'cross.q_proj_weight': (4, 4),
    'cross.k_proj_weight': (4, 6),
    'cross.v_proj_weight': (4, 5),
    'cross.out_proj.weight': (4, 4),
}


def test_the_projections_of_attention_are_weights_of_linear_layers():
    found = prunable_parameters(Attention())
    assert {name: tuple(p.shape) for name, p in found.items()} == ATTENTION
    assert list(found) == list(ATTENTION)


def test_projections_go_by_globs():
    model, all_names = Attention(), list(ATTENTION)
    assert names(model, include=['*.in_proj_weight']) == all_names[:1]
    assert names(model, exclude=['cross.?_proj_weight']) == [
        *all_names[:2],
        all_names[-1],
    ]
    for bias in ('own.in_proj_bias', 'cross.bias_k'):
        assert bias in dict(model.named_parameters())
        with pytest.raises(ValueError, match='matches no prunable weight'):
            prunable_parameters(model, include=[bias])


def test_frozen_and_shared_projections():
    model = Attention()
    model.cross.requires_grad_(False)
    assert names(model) == list(ATTENTION)[:2]
    model.again = nn.MultiheadAttention(4, 2)
    model.again.in_proj_weight = model.own.in_proj_weight
    assert names(model) == [*list(ATTENTION)[:2], 'again.out_proj.weight']


def test_globs():
    assert names(Net(), include=['body.*']) == ALL[1:3]
    assert names(Net(), exclude=['stem.*', 'head.*']) == ALL[1:3]
    both = names(Net(), include=['body.*', 'stem.*'], exclude=['*.0.*'])
    assert both == ['stem.weight', 'body.2.weight']
    assert names(Net(), include=('*.weight',)) == ALL


@pytest.mark.parametrize('option', ['include', 'exclude'])
def test_a_glob_that_matches_nothing_is_an_error(option):
    with pytest.raises(ValueError, match=f"{option}.*'neck.*'.*stem.weight"):
        prunable_parameters(Net(), **{option: ['stem.*', 'neck.*']})


@pytest.mark.parametrize('option', ['include', 'exclude'])
def test_near_names_are_offered_for_such_a_glob(option):
    model = nn.ModuleDict(dict(neck=nn.Sequential(Net())))
    with pytest.raises(ValueError, match=r"mean 'neck\.0\.body\.\*'"):
        prunable_parameters(model, **{option: ['neck.body']})


@pytest.mark.parametrize('option', ['include', 'exclude'])
def test_a_glob_of_frozen_weights_alone_is_told_so(option):
    model = Net()
    model.stem.requires_grad_(False)
    with pytest.raises(ValueError, match='stem.weight, which is frozen'):
        prunable_parameters(model, **{option: ['stem.*']})


@pytest.mark.parametrize('name', ['norm.weight', 'stem.bias', 'scale'])
def test_what_is_never_prunable_cannot_be_included(name):
    with pytest.raises(ValueError, match='matches no prunable weight'):
        prunable_parameters(Net(), include=[name])


@pytest.mark.parametrize('option', ['include', 'exclude'])
def test_a_string_instead_of_a_list_is_an_error(option):
    with pytest.raises(TypeError, match=r"\['stem.\*'\]"):
        prunable_parameters(Net(), **{option: 'stem.*'})


def test_nothing_left_is_an_error():
    remedy = 'nothing is prunable.*Let include and exclude leave some'
    with pytest.raises(ValueError, match=remedy):
        prunable_parameters(Net(), exclude=['*'])
    with pytest.raises(ValueError, match='nothing is prunable: of 0 '):
        prunable_parameters(nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match='nothing is prunable'):
        prunable_parameters(Net(), include=['stem.*'], exclude=['stem.*'])


class ProjectDeformConv(ops.ModulatedDeformConv2dPack):
    """A subclass in somebody's project."""


class ModulatedDeformConv(nn.Module):
    """As projects copied it before mmcv had it."""

    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        shape = outputs, inputs, kernel, kernel
        self.weight = nn.Parameter(torch.randn(shape))


@pytest.mark.parametrize(
    'kind',
    [
        ops.DeformConv2d,
        ops.ModulatedDeformConv2d,
        TorchvisionDeformConv2d,
        ModulatedDeformConv,
    ],
)
def test_deformable_convolutions_are_convolutions(kind):
    model = nn.Sequential(kind(4, 6, 3))
    assert names(model) == ['0.weight']
    assert Prunability(model).unpruned() == []


@pytest.mark.parametrize(
    'kind',
    [
        ops.DeformConv2dPack,
        ops.ModulatedDeformConv2dPack,
        ProjectDeformConv,
    ],
)
def test_their_offsets_are_an_ordinary_convolution(kind):
    model = nn.Sequential(kind(4, 6, 3))
    assert names(model) == ['0.weight', '0.conv_offset.weight']
    assert names(model, exclude=['*.conv_offset.*']) == ['0.weight']


def listed(model, **globs):
    """Class, names and number of what is said to stay whole."""
    found = Prunability(model, **globs).unpruned()
    total = sum(p.numel() for p in model.parameters())
    for entry in found:
        assert entry.share == pytest.approx(entry.weights / total)
    return [(entry.layer, entry.names, entry.weights) for entry in found]


def sequential(layer):
    return nn.Sequential(layer, nn.Linear(16, 4))


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def watched(layer):
    """A layer with a hook that does nothing to it, as profilers have."""
    layer.register_forward_pre_hook(lambda *unused: None)
    return layer


def parametrized():
    layer = nn.Conv2d(3, 16, 3)
    parametrize.register_parametrization(layer, 'weight', Doubled())
    return layer


@pytest.mark.parametrize(
    'layer, kind, parameters, weights',
    [
        (
            parametrizations.weight_norm(nn.Conv2d(3, 16, 3)),
            'ParametrizedConv2d',
            ['0.parametrizations.weight.original1'],
            432,
        ),
        (
            parametrizations.spectral_norm(nn.Conv2d(3, 16, 3)),
            'ParametrizedConv2d',
            ['0.parametrizations.weight.original'],
            432,
        ),
        (
            parametrized(),
            'ParametrizedConv2d',
            ['0.parametrizations.weight.original'],
            432,
        ),
        (
            prune.random_unstructured(nn.Conv2d(3, 16, 3), 'weight', 0.5),
            'Conv2d',
            ['0.weight_orig'],
            432,
        ),
        (
            watched(
                prune.random_unstructured(nn.Conv2d(3, 16, 3), 'weight', 0.5)
            ),
            'Conv2d',
            ['0.weight_orig'],
            432,
        ),
        (
            nn.LSTM(3, 4, num_layers=1),
            'LSTM',
            ['0.weight_ih_l0', '0.weight_hh_l0'],
            16 * 3 + 16 * 4,
        ),
        (nn.GRUCell(3, 4), 'GRUCell', ['0.weight_ih', '0.weight_hh'], 84),
        (nn.Bilinear(2, 3, 4), 'Bilinear', ['0.weight'], 24),
        (nn.Embedding(5, 4), 'Embedding', ['0.weight'], 20),
        (TridentConv(3, 16, 3), 'TridentConv', ['0.weight'], 432),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_other_kernels_and_matrices_are_listed(
    layer, kind, parameters, weights
):
    model = sequential(layer)
    assert names(model) == ['1.weight']
    assert listed(model) == [(kind, parameters, weights)]
    assert names(model, exclude=['0.*']) == ['1.weight']
    assert listed(model, exclude=['0.*']) == []
    assert listed(model, include=['1.*']) == []


def test_listed_by_class_in_the_order_of_the_model():
    model = nn.Sequential(
        nn.GRU(2, 3), nn.Embedding(3, 2), nn.GRU(3, 2), nn.Linear(2, 2)
    )
    assert [entry[:2] for entry in listed(model)] == [
        ('GRU', [f'{i}.weight_{g}h_l0' for i in (0, 2) for g in 'ih']),
        ('Embedding', ['1.weight']),
    ]


def test_a_matrix_of_the_model_itself_is_listed():
    assert listed(Net()) == [
        ('Net', ['scale'], 4),
        ('Embedding', ['table.weight'], 20),
    ]


class Vectors(nn.Module):
    """Scales, tokens and norms, in the shapes that projects give them."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, 8, 1, 1))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.heads = nn.Parameter(torch.ones(4, 1, 1))
        self.bias = nn.Parameter(torch.zeros(8))
        self.norms = nn.Sequential(
            nn.LayerNorm((4, 5)), nn.GroupNorm(2, 4), nn.BatchNorm3d(4)
        )
        self.slope = nn.PReLU(4)
        self.head = nn.Linear(8, 2)


def test_scales_and_normalisation_are_no_matrices():
    assert listed(Vectors()) == []


def test_frozen_matrices_are_not_listed_but_counted_among_all_weights():
    model = sequential(nn.LSTM(3, 4))
    model[0].requires_grad_(False)
    assert listed(model) == []
    # Four gates of three and four inputs and two biases; five by four.
    assert weight_count(model) == 4 * 4 * (3 + 4 + 2) + 17 * 4


def test_what_is_shared_counts_once_among_all_weights():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert weight_count(model) == 20


REFUSED = [
    *CHANGING,
    lambda: ConvWS2d(3, 4, 3),
    lambda: ConvAWS2d(3, 4, 3),
    lambda: old_weight_norm(nn.Conv2d(3, 4, 3)),
    lambda: old_spectral_norm(nn.Conv2d(3, 4, 3)),
    lambda: old_weight_norm(nn.Linear(3, 4)),
]


@pytest.mark.filterwarnings('ignore:.*weight_norm:FutureWarning')
@pytest.mark.parametrize('build', REFUSED, ids=kind_of)
def test_changed_stored_weights_are_refused_unless_excluded(build):
    model = sequential(build())
    with pytest.raises(ValueError) as error:
        prunable_parameters(model)
    text = str(error.value)
    (name,) = Prunability(model).candidates.keys() - {'1.weight'}
    assert f'{name} ({kind_of(build)}' in text
    assert text.endswith(f'leave them dense: exclude={[name]}')
    assert names(model, exclude=[name]) == ['1.weight']
    assert names(model, include=['1.*']) == ['1.weight']
    model[0].requires_grad_(False)
    assert names(model) == ['1.weight']


def test_both_weights_of_a_switchable_atrous_convolution_are_told():
    model = nn.Sequential(ops.SAConv2d(4, 6, 3, padding=1))
    with pytest.raises(ValueError, match=r'0\.weight \(SAConv2d: .*Mean'):
        prunable_parameters(model)
    left = names(model, exclude=['0.weight'])
    assert left and '0.weight' not in left and '0.weight_diff' not in left
    assert listed(model, exclude=['0.weight']) == [
        ('SAConv2d', ['0.weight_diff'], 6 * 4 * 9)
    ]


def test_many_refused_layers_are_excluded_by_few_globs():
    standardised = nn.Sequential(*(ConvWS2d(4, 4, 3) for _ in range(9)))
    model = nn.ModuleDict(dict(body=standardised, head=nn.Linear(4, 2)))
    with pytest.raises(ValueError, match='some layers') as error:
        prunable_parameters(model)
    text = str(error.value)
    assert ': body.*.weight (ConvWS2d: ' in text
    assert text.endswith("exclude=['body.*.weight']")
    assert names(model, exclude=['body.*.weight']) == ['head.weight']


def test_a_hook_that_is_no_weight_norm_counts_too():
    layer = nn.Linear(3, 4)
    layer.raw = nn.Parameter(layer.weight.detach().clone())
    del layer.weight
    layer.weight = layer.raw.detach()

    def centre(layer, inputs):
        layer.weight = layer.raw - layer.raw.mean()

    layer.register_forward_pre_hook(centre)
    with pytest.raises(ValueError, match='0.raw .*hook function'):
        prunable_parameters(sequential(layer))


def test_a_hook_that_looks_at_inputs_is_no_matter():
    model = Net()
    model.stem.register_forward_pre_hook(lambda layer, inputs: None)
    model.stem.memory = torch.zeros_like(model.stem.weight)
    assert names(model) == ALL


def test_a_shared_weight_is_refused_where_one_layer_changes_it():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), ConvWS2d(3, 4, 3))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match=r'0.weight \(ConvWS2d'):
        prunable_parameters(model)


def test_masks_on_changed_weights_are_refused_frozen_or_not():
    model = sequential(ConvWS2d(3, 4, 3))
    model[0].requires_grad_(False)
    prunability = Prunability(model)
    prunability.check_stored(['1.weight', '1.bias'], 'remove ')
    with pytest.raises(ValueError, match=r"Remedy: remove \['0\.weight'\]"):
        prunability.check_stored(['0.weight', '1.weight'], 'remove ')


def test_what_cannot_be_tried_is_prunable_but_told():
    model = sequential(TwoInputLinear(3, 4))
    assert names(model) == ['0.weight', '1.weight']
    (name,) = (unchecked := Prunability(model).unchecked())
    assert name == '0.weight' and "'y'" in unchecked[name]
    assert Prunability(model, exclude=['0.*']).unchecked() == {}


def test_a_weight_without_a_shape_is_an_error():
    with pytest.raises(ValueError, match='1.weight has no shape yet'):
        prunable_parameters(nn.Sequential(nn.ReLU(), nn.LazyLinear(3)))


def test_a_model_of_parametrised_layers_alone_says_why():
    with pytest.raises(ValueError, match='weights of ParametrizedConv2d'):
        prunable_parameters(parametrized())


def test_a_layer_without_weights_is_not_prunable():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 0))
    assert list(prunable_parameters(model)) == ['0.weight']
