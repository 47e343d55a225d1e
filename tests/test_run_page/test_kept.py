"""What a page says of masks and of channels that are gone."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import torch
from mmengine.config import Config

from epsd_mm.pruning import Masks
from epsd_mm.run_page.kept import smaller, units_kept, weights_kept
from tests.helpers.reports import REPORT

from .test_in_words import IN_FORCE, NOTHING, changing

LAYERS = {
    'a.conv.weight': dict(
        kept=2, total=4, density=0.5, mass=0.75, mass_kept=0.5
    ),
    'b.fc.weight': dict(
        kept=0, total=6, density=0.0, mass=0.25, mass_kept=0.0
    ),
}


def words(figure):
    return ' '.join(ElementTree.fromstring(figure.svg).itertext())


def test_layers_are_drawn_and_listed_and_empty_ones_named():
    report = dict(REPORT, layers=LAYERS)
    section = weights_kept(replace(NOTHING, report=report))
    figure, parts, layers = section.blocks
    assert 'share in the sum of all scores' in words(figure)
    assert 'a.conv' in words(figure) and 'b.fc' in words(figure)
    assert parts.rows[0] == ['a', '4', '2', '0.5000', '75.00%', '50.00%']
    assert [row[0] for row in layers.rows] == ['a.conv', 'b.fc']
    assert 'Empty: b.fc.weight' in section.text


def test_what_scored_and_at_what_cost_is_said_first():
    said = weights_kept(replace(NOTHING, report=REPORT)).text[0]
    assert said == 'Scored by ProsPr with CSKDLoss, 2 draws, in 12.5 s.'
    one = dict(REPORT, draws=1, sd_loss=None)
    said = weights_kept(replace(NOTHING, report=one)).text[0]
    assert said == 'Scored by ProsPr, 1 draw, in 12.5 s.'


def test_masks_that_were_given_are_shown_without_scores():
    masks = Masks({'a.weight': torch.tensor([True, False])})
    figure, parts, _ = weights_kept(replace(NOTHING, masks=masks)).blocks
    assert parts.rows == [['a', '2', '1', '0.5000']]
    assert 'scores' not in words(figure)


def test_masks_that_a_policy_has_changed_are_shown():
    run = replace(NOTHING, cfg=changing('RigL'), report=REPORT, masks=IN_FORCE)
    section = weights_kept(run)
    assert section.blocks[1].rows == [['a', '4', '1', '0.2500']]
    assert section.text == [
        'Scored by ProsPr with CSKDLoss, 2 draws, in 12.5 s.',
        'Masks of the two halves of the draws share 0.750 of their weights.',
        'Left dense, because all their scores are exactly zero: c',
        'By policy RigL, as of the newest checkpoint: the scores are those '
        'of the start.',
    ]
    section = weights_kept(replace(run, report=None))
    assert section.text == ['By policy RigL, as of the newest checkpoint.']


def test_a_dense_run_has_none_of_it():
    assert weights_kept(NOTHING) is None
    assert units_kept(NOTHING) is None
    assert smaller(NOTHING) is None


def test_units_are_shown_with_what_stays_whole():
    report = dict(REPORT, channels=LAYERS, whole=dict(head='it is the output'))
    *_, whole = units_kept(replace(NOTHING, report=report)).blocks
    assert whole.rows == [['head', 'it is the output']]


def test_outputs_that_are_gone_are_counted():
    layers = {
        'conv1': dict(out_channels=[8, 4]),
        'conv2': dict(in_channels=[8, 4], out_channels=[16, 8]),
        'bn': dict(num_features=[8, 4]),
        'fc': dict(in_features=[16, 8]),
    }
    cfg = Config(
        dict(
            model=dict(
                type='Compact', of='X', channels=dict(version=1, layers=layers)
            )
        )
    )
    section = smaller(replace(NOTHING, cfg=cfg))
    assert section.title == 'A smaller network'
    assert 'of 24 outputs of 2 layers 12 are left' in section.text[0]
    assert section.blocks[1].rows == [
        ['conv1', '8', '4'],
        ['conv2', '16', '8'],
    ]


def test_a_file_of_a_network_with_zeros_is_not_called_smaller():
    report = dict(file='model.onnx', bytes=47_100_000, comparison={})
    exported = {Path('exported'): dict(report, metadata={})}
    section = smaller(replace(NOTHING, exported=exported))
    assert section.title == 'Exported files'
    assert section.blocks[0].rows == [['exported/model.onnx', '', '47.1', '']]
