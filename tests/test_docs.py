"""What the pages in docs/ show works as it stands there."""

import ast
import inspect
import json
import pkgutil
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import epsd_mm
from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.registry import CRITERIA, build_criterion
from epsd_mm.runs import Run
from tests.helpers.pages import PAGES, blocks_of
from tests.helpers.runners import (
    CLASSES,
    hook_of,
    runner_of,
    tiny_detector_cfg,
)

DOCS = Path(__file__).parents[1] / 'docs'


def blocks(page):
    text = (DOCS / page).read_text()
    return re.findall(r'```python\n(.*?)```', text, re.S)


class TestAddYourOwnCriterion:
    criterion, config, call, curvature = blocks('add_your_own_criterion.md')

    @pytest.fixture(autouse=True)
    def module(self, tmp_path, monkeypatch):
        """The first block as my_criteria.py, where Python finds it."""
        (tmp_path / 'my_criteria.py').write_text(self.criterion)
        monkeypatch.syspath_prepend(tmp_path)
        yield
        sys.modules.pop('my_criteria', None)
        CRITERIA.module_dict.pop('WeightedGradient', None)

    def test_is_short(self):
        assert len(self.criterion.strip().splitlines()) <= 15

    def test_by_name_in_a_config(self, tmp_path):
        path = tmp_path / 'config.py'
        path.write_text(self.config)
        settings = dict(Config.fromfile(path).default_hooks.epsd)
        assert settings.pop('type') == 'EPSDHook'
        criterion = epsd_mm.engine.EPSDHook(**settings).settings.criterion
        assert type(criterion).__name__ == 'WeightedGradient'
        assert criterion.power == 0.5
        with pytest.raises(ValueError, match='takes power'):
            build_criterion(dict(type='WeightedGradient', exponent=2))

    def test_by_name_from_python(self, capsys):
        scope = {}
        exec(self.call, scope)
        assert scope['masks'].kept == round(0.2 * scope['masks'].total)
        assert 'all layers' in capsys.readouterr().out

    def test_with_power_one_it_is_snip(self):
        scope = {}
        exec(self.criterion + self.curvature, scope)
        model = torch.nn.Sequential(
            torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3)
        )
        batches = [torch.randn(4, 6) for _ in range(8)]

        def masks(criterion):
            return epsd_mm.prune(
                model,
                batches,
                sparsity=0.01,
                criterion=criterion,
                loss=lambda net, batch: net(batch).square().mean(),
            )

        own = masks(scope['WeightedGradient'](power=1.0))
        assert own == masks('SNIP')
        assert masks(scope['Curvature']()).total == own.total


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with a data set and a run in ``work_dir``."""
    place = tmp_path_factory.mktemp('travels')
    generate_voc(place / 'drawn', train=8, test=2, size=64, classes=CLASSES)
    cfg = tiny_detector_cfg(place / 'drawn/VOCdevkit', place / 'work_dir')
    runner = runner_of(cfg)
    runner.train()
    return place, hook_of(runner).masks


class TestHowAMaskTravels:
    module, unpack, plain, transfer = blocks('how_a_mask_travels.md')

    def test_with_a_module_of_ones_own(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        exec(self.module, {})

    def test_from_a_checkpoint(self, place, monkeypatch):
        monkeypatch.chdir(place[0])
        scope = {}
        exec(self.unpack, scope)
        assert scope['masks'] == place[1]

    def test_into_plain_mmdet(self, place, monkeypatch):
        monkeypatch.chdir(place[0])
        cfg = tiny_detector_cfg(
            place[0] / 'drawn/VOCdevkit', place[0] / 'plain', epsd=None
        )
        cfg.pop('custom_imports')
        cfg.test_dataloader = dict(dataset=dict(type='XMLDataset'))
        cfg.dump('plain.py')
        scope = {}
        exec(self.plain, scope)
        assert scope['zeros'] >= place[1].total - place[1].kept

    def test_into_another_network(self, place, monkeypatch):
        monkeypatch.chdir(place[0])
        cfg = tiny_detector_cfg(
            place[0] / 'drawn/VOCdevkit', place[0] / 'other', epsd=None
        )
        cfg.model.backbone.init_cfg = dict(
            type='Pretrained', checkpoint='torchvision://resnet18'
        )
        cfg.model.backbone.frozen_stages = 1
        # What it ends with is what it started from.
        cfg.optim_wrapper.optimizer.lr = 0.0
        cfg.merge_from_dict(Config.fromstring(self.transfer, '.py').to_dict())
        runner = runner_of(cfg)
        runner.train()
        backbone = place[1].part('backbone')
        assert hook_of(runner).masks == backbone
        before, after = (
            torch.load(f'{run}/epoch_1.pth', weights_only=False)['state_dict']
            for run in ('work_dir', 'other')
        )
        assert all(torch.equal(before[name], after[name]) for name in backbone)


def test_the_groups_of_the_page_on_channels_are_those_that_it_prints(capsys):
    (code,) = blocks('coupled_channels.md')
    exec(code, {})
    page = (DOCS / 'coupled_channels.md').read_text()
    (printed,) = re.findall(r'```text\n(.*?)```', page, re.S)
    assert capsys.readouterr().out == printed


API = (DOCS / 'api.md').read_text()
ROOMS = sorted(path.stem for path in (DOCS / 'api').glob('*.md'))


def shown_on(page):
    """What a page of the API shows, by name."""
    for kind, name, members in re.findall(
        r'\.\. auto(\w+):: (\S+)\n(?: +:members: *(.*)\n)?',
        (DOCS / 'api' / f'{page}.md').read_text(),
    ):
        yield name, kind
        if kind == 'module':
            yield from ((f'{name}.{n}', '') for n in members.split(', ') if n)


def test_every_page_of_the_api_is_in_its_table_and_its_contents():
    table, contents = API.split('```{toctree}')
    assert sorted(set(re.findall(r'api/(\w+)\.md', table))) == ROOMS
    assert sorted(re.findall(r'^api/(\w+)$', contents, re.M)) == ROOMS
    assert 'deploy' in ROOMS


@pytest.mark.parametrize('page', ROOMS)
def test_what_the_api_shows_is_there_and_says_what_it_is(page):
    names = dict(shown_on(page))
    assert names
    for name, kind in names.items():
        found = pkgutil.resolve_name(name)
        assert inspect.getdoc(found), name
        if kind != 'module':
            assert found.__module__.startswith('epsd_mm.'), name


def names_of_the_api():
    for page in ROOMS:
        for name, kind in shown_on(page):
            yield name
            if kind == 'module':
                module = pkgutil.resolve_name(name)
                listed = getattr(module, '__all__', vars(module))
                yield from (f'{name}.{each}' for each in listed)


def imported_on_pages():
    """Names of the package that readers are told to import, by page."""
    shown = {page.name: page.read_text() for page in PAGES}
    code = {
        page: '\n'.join(block.content for block in blocks_of(text, 'python'))
        for page, text in shown.items()
    }
    cells = json.loads((DOCS / 'tutorial.ipynb').read_text())['cells']
    code['tutorial.ipynb'] = '\n'.join(
        ''.join(cell['source'])
        for cell in cells
        if cell['cell_type'] == 'code'
    )
    for page, source in code.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                for each in node.names:
                    yield page, f'{node.module}.{each.name}'


def test_what_pages_import_of_the_package_is_in_the_api():
    known = {*names_of_the_api()}
    imported = {
        (page, name)
        for page, name in imported_on_pages()
        if name.startswith('epsd_mm.')
    }
    assert len(imported) > 10
    assert {each for each in imported if each[1] not in known} == set()


def test_functions_around_exported_files_say_what_they_take():
    functions = [
        found
        for name, _ in shown_on('deploy')
        if inspect.isfunction(found := pkgutil.resolve_name(name))
    ]
    assert len(functions) > 7
    for found in functions:
        for parameter in inspect.signature(found).parameters:
            assert f'    {parameter}: ' in inspect.getdoc(found), found


ROUND = next(b for b in blocks('changing_masks.md') if '_base_' in b)
# What the page says of batches with a base, and of DLB.
ROUNDS = dict(
    cub_resnet50_epsd='None',
    cifar100_resnet32_epsd='None, batch_size=64',
    voc_retinanet_epsd="dict(_delete_=True, type='AspectRatioBatchSampler')",
)


@pytest.mark.parametrize('name', ROUNDS)
def test_a_round_by_hand_has_the_batches_of_the_dense_one(name, tmp_path):
    config = epsd_mm.config_path(name)
    path = tmp_path / 'round.py'
    text = ROUND.replace('CONFIG.py', str(config))
    assert 'batch_sampler=None' in text
    path.write_text(
        text.replace('batch_sampler=None', f'batch_sampler={ROUNDS[name]}')
    )
    cfg = Config.fromfile(path)
    dense = Run(config, variant='dense').resolve()
    assert cfg.train_dataloader == dense.train_dataloader
