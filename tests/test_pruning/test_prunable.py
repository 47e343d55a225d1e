"""Weights of convolution and linear layers, and nothing else."""

import pytest
import torch
from torch import nn

from epsd_mm.pruning import prunable_parameters


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


def test_projections_go_by_patterns():
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


def test_patterns():
    assert names(Net(), include=['body.*']) == ALL[1:3]
    assert names(Net(), exclude=['stem.*', 'head.*']) == ALL[1:3]
    both = names(Net(), include=['body.*', 'stem.*'], exclude=['*.0.*'])
    assert both == ['stem.weight', 'body.2.weight']
    assert names(Net(), include=('*.weight',)) == ALL


@pytest.mark.parametrize('option', ['include', 'exclude'])
def test_a_pattern_that_matches_nothing_is_an_error(option):
    with pytest.raises(ValueError, match=f"{option}.*'neck.*'.*stem.weight"):
        prunable_parameters(Net(), **{option: ['stem.*', 'neck.*']})


@pytest.mark.parametrize('name', ['norm.weight', 'stem.bias', 'scale'])
def test_what_is_never_prunable_cannot_be_included(name):
    with pytest.raises(ValueError, match='matches no prunable weight'):
        prunable_parameters(Net(), include=[name])


@pytest.mark.parametrize('option', ['include', 'exclude'])
def test_a_string_instead_of_a_list_is_an_error(option):
    with pytest.raises(TypeError, match=r"\['stem.\*'\]"):
        prunable_parameters(Net(), **{option: 'stem.*'})


def test_nothing_left_is_an_error():
    with pytest.raises(ValueError, match='nothing is prunable'):
        prunable_parameters(Net(), exclude=['*'])
    with pytest.raises(ValueError, match='nothing is prunable: of 0 '):
        prunable_parameters(nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match='nothing is prunable'):
        prunable_parameters(Net(), include=['stem.*'], exclude=['stem.*'])
