"""Globs that match nothing are answered with those that were meant."""

import time

import pytest

from epsd_mm.pruning.names import matching, near_globs, summary

NAMES = [
    'backbone.conv1.weight',
    *(f'backbone.layer{i}.0.conv1.weight' for i in range(1, 5)),
    'neck.0.lateral_convs.0.conv.weight',
    *(f'neck.0.fpn_convs.{i}.conv.weight' for i in range(4)),
    'rpn_head.rpn_conv.weight',
    'roi_head.bbox_head.0.fc_cls.weight',
    'roi_head.bbox_head.0.fc_reg.weight',
]


@pytest.mark.parametrize(
    'glob, meant',
    [
        ('neck.fpn_convs', 'neck.0.fpn_convs.*'),
        ('neck.fpn_convs.*', 'neck.0.fpn_convs.*'),
        ('neck.0.fpn_convs', 'neck.0.fpn_convs.*'),
        ('fpn_convs.*', 'neck.0.fpn_convs.*'),
        ('bakcbone.conv1.weight', 'backbone.conv1.weight'),
        ('Backbone.*', 'backbone.*'),
        ('backbone.layer5.*', 'backbone.layer1.*'),
        ('*.fc_clss.*', '*.fc_cls.*'),
        ('roi_head.fc_cls.*', 'roi_head.bbox_head.0.fc_cls.*'),
        ('module.rpn_head.rpn_conv.weight', 'rpn_head.rpn_conv.weight'),
    ],
)
def test_the_nearest_comes_first(glob, meant):
    assert near_globs(glob, NAMES)[0] == meant


def test_none_is_offered_within_another():
    assert near_globs('neck.fpn_convs', NAMES, most=2) == [
        'neck.0.fpn_convs.*',
        'neck.0.lateral_convs.*',
    ]


@pytest.mark.parametrize('glob', ['*', '*.*', 'zzz', 'a?c.*', ''])
def test_what_is_like_nothing_has_no_neighbour(glob):
    assert near_globs(glob, NAMES) == []


def test_all_that_is_offered_matches():
    for glob in ('neck.*.convs.*', '*.conv2.*', 'backbone.[ab].conv.*'):
        for near in near_globs(glob, NAMES):
            assert matching(NAMES, [near], 'exclude', {})


def test_a_thousand_names_are_searched_in_seconds():
    names = [
        f'stages.{i}.blocks.{j}.attn.{p}.weight'
        for i in range(4)
        for j in range(50)
        for p in ('qkv', 'proj', 'fc1', 'fc2', 'dw')
    ]
    started = time.process_time()
    assert near_globs('blocks.*.atn.qkv.weight', names)
    assert time.process_time() - started < 5


def test_the_message_has_the_neighbours():
    with pytest.raises(ValueError) as error:
        matching(NAMES, ['rpn_head.*', 'neck.fpn_convs'], 'exclude', {})
    text = str(error.value)
    assert "exclude glob 'neck.fpn_convs' matches no prunable" in text
    assert "did you mean 'neck.0.fpn_convs.*'" in text


def test_what_cannot_be_matched_is_named_with_the_reason():
    never = {'backbone.bn1.weight': 'is never pruned'}
    with pytest.raises(
        ValueError, match='only backbone.bn1.weight, which is never pruned'
    ):
        matching(NAMES, ['*.bn1.*'], 'include', never)


def test_names_that_differ_in_numbers_share_a_glob():
    names = [n for n in NAMES if 'fpn_convs' in n]
    assert summary(names, NAMES) == ['neck.*.fpn_convs.*.conv.weight']
    assert summary(NAMES[:1], NAMES) == NAMES[:1]


def test_a_glob_that_would_match_another_name_is_not_given():
    names = ['a.0.w', 'a.1.w']
    assert summary(names, names) == ['a.*.w']
    assert summary(names, [*names, 'a.b.w']) == names
