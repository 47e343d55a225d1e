"""Plain torch: in an environment without OpenMMLab too."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import epsd_mm
from epsd_mm.compaction import shrink
from epsd_mm.logs import current_logger
from epsd_mm.pruning import Criterion, Masks
from epsd_mm.registry import CRITERIA, build_criterion, build_sd_loss
from epsd_mm.structure import find_groups

README = (Path(__file__).parents[1] / 'README.md').read_text()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.body = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        return self.head(self.body(x).relu().mean((2, 3)))


def pictures(count=6):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(8, 3, 8, 8, generator=generator), torch.arange(8) % 4)
        for _ in range(count)
    ]


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize(
    'criterion',
    [name for name, kind in CRITERIA.module_dict.items() if not kind.asks],
)
def test_every_criterion_of_single_weights_prunes(criterion):
    data_free = build_criterion(criterion).data_free
    looks = not data_free or criterion in ('SynFlow', 'NTKSAP')
    model = Net()
    masks = epsd_mm.prune(
        model,
        pictures() if looks else None,
        sparsity=0.5,
        criterion=criterion,
        loss=None if data_free else loss,
    )
    zeros = sum(int((model.get_parameter(n) == 0).sum()) for n in masks)
    assert zeros == masks.total - masks.kept == round(0.5 * masks.total)


def test_channels_are_scored_removed_and_cut_out():
    model = Net()
    images = pictures()[0][0]
    groups = find_groups(model, images)
    channels = epsd_mm.prune(
        model,
        pictures(),
        sparsity=0.5,
        criterion=dict(type='ProsPr', steps=1),
        loss=loss,
        structure='channels',
        groups=groups,
    )
    narrow = copy.deepcopy(model).double().eval()
    shrink(narrow, groups, channels)
    zeros = model.double().eval()(images.double())
    assert narrow.body.out_channels == 8
    assert (zeros - narrow(images.double())).abs().max() < 1e-9


def test_masks_are_written_and_read(tmp_path):
    masks = epsd_mm.prune(Net(), sparsity=0.5, criterion='Magnitude')
    masks.save(tmp_path / 'masks.pth')
    assert Masks.load(tmp_path / 'masks.pth') == masks
    assert 'stem.weight' in masks.report()


def test_a_criterion_of_ones_own_is_known_by_its_name():
    @CRITERIA.register_module()
    class Mine(Criterion):
        data_free, steps_per_draw = True, 0

        def scores(self, objective, params, masks, batches):
            return {n: params[n].detach().abs() for n in masks}

    try:
        one = epsd_mm.prune(Net(), sparsity=0.5, criterion='Mine')
    finally:
        del CRITERIA.module_dict['Mine']
    assert one == epsd_mm.prune(Net(), sparsity=0.5, criterion='Magnitude')


@pytest.mark.parametrize('name', ['CSKDLoss', 'PSKDLoss', 'DLBLoss', 'KD'])
def test_every_loss_is_built_by_its_name(name):
    assert type(build_sd_loss(dict(type=name, loss_weight=2))).__name__ == name


def test_a_warning_is_logged(caplog):
    logger = current_logger()  # mmengine's takes no part in Python's tree
    logger.addHandler(caplog.handler)
    try:
        epsd_mm.prune(
            Net(), sparsity=0.5, criterion='Magnitude', pattern='rows'
        )
    finally:
        logger.removeHandler(caplog.handler)
    assert "pattern='rows' is an old name" in caplog.text


def test_the_lines_of_the_readme_run_as_they_are_copied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (lines,) = re.findall(
        r'## Any PyTorch module\n.*?```python run\n(.*?)```', README, re.S
    )
    names = {}
    exec(lines, names)
    masks = Masks.load('masks.pth')
    assert masks.sparsity == pytest.approx(0.9, abs=0.01)
    model = names['model']
    names['loss'](model, names['loader'][0]).backward()
    names['optimizer'].step()
    for name, weight in model.named_parameters():
        if name in masks:
            assert not weight[~masks[name]].any()
            assert weight[masks[name]].any()
