"""How small a student is beside its teacher, counted by hand."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS

from epsd_mm.benchmark import student_cell
from epsd_mm.benchmark.student_cell import student_figures
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.pruning import Masks

WIDE, NARROW = 4, 2


@MODELS.register_module()
class CountedStudent(BaseModel):
    """Of an image of 8x8: 9·w multiply-adds at 64 places, and 10·w."""

    def __init__(self, width):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, width, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(width)
        self.fc = torch.nn.Linear(width, 10)

    def data_preprocessor(self, data, training):
        return data

    def forward(self, inputs, mode):
        x = self.norm(self.conv(inputs)).mean(dim=(2, 3))
        return dict(loss=self.fc(x).mean())


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """Of a student half as wide as a teacher that ends with some masks."""

    def of(masks):
        config, checkpoint = tmp_path / 'teacher.py', tmp_path / 'epoch.pth'
        model = dict(type='CountedStudent', width=WIDE)
        Config(dict(model=model)).dump(config)
        state = dict(state_dict=CountedStudent(WIDE).state_dict())
        if masks is not None:
            state['epsd'] = SavedState(masks=Masks(masks)).pack()
        torch.save(state, checkpoint)
        teacher = dict(config=str(config), checkpoint=str(checkpoint))
        loss = dict(type='KD', teacher=teacher)
        hook = dict(type='EPSDHook', criterion=None, sd_loss=loss)
        cfg = Config(dict(default_hooks=dict(epsd=hook)))
        batch = dict(inputs=torch.ones(3, 1, 8, 8))
        monkeypatch.setattr(
            student_cell,
            'scoring_batches',
            lambda runner, seed: lambda draw: iter([batch]),
        )
        runner = SimpleNamespace(model=CountedStudent(NARROW))
        found = student_figures(cfg, runner)
        return {name: each.value for name, each in found.items()}

    return of


def test_weights_and_multiply_adds_are_those_of_both_networks(figures):
    """Batch normalisation, which multiplies by no matrix, is left out."""
    found = figures(None)
    assert found['saved/multiply_adds'] == 18 * 64 + 20
    assert found['saved/dense_multiply_adds'] == 36 * 64 + 40
    assert found['saved/sparsity'] == 1 - (18 + 20) / (36 + 40)
    assert found['teacher/sparse_share'] == 1  # nothing of it is gone


def test_a_teacher_multiplies_by_what_it_has_left_at_its_end(figures):
    """A quarter of the convolution, and all of what has no mask."""
    mask = torch.arange(36).view(WIDE, 1, 3, 3) < 9
    found = figures({'conv.weight': mask})
    left = 9 * 64 + 40
    assert found['teacher/sparse_share'] == pytest.approx(left / 2344)
    assert found['saved/dense_multiply_adds'] == 2344


def test_each_layer_of_a_teacher_has_masks_of_its_own(figures):
    """As many weights are left, of which some multiply more often."""
    masks = {
        'conv.weight': torch.arange(36).view(WIDE, 1, 3, 3) < 20,
        'fc.weight': torch.arange(40).view(10, WIDE) < 29,
    }
    found = figures(masks)
    left = 20 * 64 + 29
    assert found['teacher/sparse_share'] == pytest.approx(left / 2344)
