"""What training would cost if zeros cost nothing, counted by hand."""

import pytest
import torch
from torch import nn

from epsd_mm.benchmark.sparse_work import training_work
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.engine.settings import Settings
from epsd_mm.pruning import Masks


class Model(nn.Module):
    """Multiply-adds of an image: 4·1·9 · 64 = 2,304, and 4·10 = 40."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.fc = nn.Linear(4, 10)

    def data_preprocessor(self, data, training):
        return data

    def forward(self, inputs, mode):
        x = self.conv(inputs).mean(dim=(2, 3))
        return dict(loss=self.fc(x).mean())


RUN = Model(), dict(inputs=torch.ones(3, 1, 8, 8))
MASKS = Masks({'conv.weight': torch.arange(36).view(4, 1, 3, 3) < 9})
RIGL = Settings.build(sparsity=0.75, policy=dict(type='RigL', every=10))
QUARTER = (2304 / 4 + 40) / 2344


def sparse_share(*of):
    return training_work(*of)['training/sparse_share'].value


def test_weights_and_multiply_adds_are_those_of_an_image():
    found = training_work(*RUN, None, SavedState())
    assert found['training/weights'].value == 36 + 40
    assert found['training/multiply_adds'].value == 2304 + 40


def test_a_dense_network_has_all():
    assert sparse_share(*RUN, None, SavedState()) == 1


def test_fixed_masks_have_their_part_of_each_layer():
    settings = Settings.build(sparsity=0.75)
    share = sparse_share(*RUN, settings, SavedState(masks=MASKS))
    assert share == pytest.approx(QUARTER)


def test_masks_that_change_have_the_mean_over_steps_and_dense_gradients():
    state = dict(step=40, total=40, seed=0, policy={})
    # Half of the steps at one half, the others at one quarter.
    kept = {'conv.weight': 20 * 18 + 20 * 9}
    saved = SavedState(masks=MASKS, policy=dict(state, kept_steps=kept))
    gradual = Settings.build(
        sparsity=0.75, policy=dict(type='Gradual', every=10)
    )
    share = (2304 * 3 / 8 + 40) / 2344
    assert sparse_share(*RUN, gradual, saved) == pytest.approx(share)
    # Of 40 steps the 10th and 20th calculate every gradient.
    share += 2 / 40 * (1 - share) / 3
    assert sparse_share(*RUN, RIGL, saved) == pytest.approx(share)
