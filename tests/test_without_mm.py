"""Where OpenMMLab is absent, what takes torch alone works."""

import pytest
from PIL import Image

from .helpers.environments import ROOT, TORCH_ONLY, run, site, written

MM = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain')


@pytest.fixture(scope='module')
def torch_only(tmp_path_factory):
    return site(tmp_path_factory.mktemp('torch_only'), *TORCH_ONLY)


def test_the_environment_has_no_mm(torch_only):
    assert not {path.name for path in torch_only.iterdir()} & {*MM}


@pytest.mark.slow
def test_every_room_of_plain_torch_is_there_and_the_hook_names_the_extra(
    torch_only,
):
    code = f"""
        import sys
        import epsd_mm
        import epsd_mm.compaction, epsd_mm.distillation, epsd_mm.pruning
        import epsd_mm.registry, epsd_mm.structure
        from epsd_mm.engine import EPSDHook
        print(epsd_mm.config_path('voc_faster_rcnn_epsd'))
        print(*{{*{MM!r}}} & {{*sys.modules}})
        try:
            EPSDHook(sparsity=0.9)
        except ImportError as error:
            print(error)
    """
    config, *message = written(torch_only, code)
    assert config.endswith('configs/voc_faster_rcnn_epsd.py')
    assert ' '.join(message) == (
        'EPSDHook needs OpenMMLab, and mmengine and mmcv cannot be found '
        'here: pip install ".[mm]" in a clone of epsd_mm for classification; '
        '`python -m epsd_mm.check_env` has the commands for detection'
    )


@pytest.mark.slow
def test_each_package_that_needs_mm_says_so(torch_only):
    code = """
        from importlib import import_module
        from pkgutil import walk_packages
        import epsd_mm
        folder = epsd_mm.__path__
        for each in walk_packages(folder, 'epsd_mm.', onerror=str):
            if each.ispkg and '.mim' not in each.name:
                try:
                    import_module(each.name)
                except ImportError as error:
                    told = ' needs OpenMMLab, and mmengine and mmcv cannot'
                    print(each.name, told in str(error))
    """
    words = written(torch_only, code)
    told = dict(zip(words[::2], words[1::2], strict=True))
    rooms = ('analysis', 'benchmark', 'engine.hooks', 'evaluation', 'models')
    assert {f'epsd_mm.{room}' for room in (*rooms, 'run_page')} <= {*told}
    assert {*told.values()} == {'True'}


@pytest.mark.slow
def test_plain_torch_does_there_what_it_does_here(torch_only):
    tests = ('tests/test_plain_torch.py', 'tests/test_channel_api.py')
    tests += (
        'tests/test_docstrings.py',
        'tests/test_structure/test_networks.py',
    )
    options = ('--noconftest', '-q', '-p', 'no:cacheprovider')
    result = run(torch_only, '-m', 'pytest', *options, *tests)
    assert result.returncode == 0, result.stdout + result.stderr
    assert ' passed' in result.stdout and 'skipped' not in result.stdout


@pytest.mark.slow
def test_a_broken_mm_is_not_taken_for_an_absent_one(torch_only, tmp_path):
    for name in ('mmengine', 'mmcv'):
        (tmp_path / name).mkdir()
        text = 'raise ImportError("libGL.so.1: no such file")'
        (tmp_path / name / '__init__.py').write_text(text)
    result = run(f'{torch_only}:{tmp_path}', '-c', 'import epsd_mm')
    *_, last = result.stderr.strip().splitlines()
    assert last.startswith('ImportError: libGL.so.1: no such file (`python -m')
    assert 'epsd_mm.check_env' in last


@pytest.mark.slow
def test_a_config_without_mmcv_is_told_by_the_hook(tmp_path):
    folder = site(tmp_path, *TORCH_ONLY, 'onedl-mmengine', 'mmengine')
    assert not (folder / 'mmcv').exists()
    code = """
        import epsd_mm
        from mmengine.registry import HOOKS
        try:
            HOOKS.build(dict(type='EPSDHook', sparsity=0.9))
        except ImportError as error:
            print(error)
    """
    message = ' '.join(written(folder, code))
    assert 'EPSDHook needs OpenMMLab, and mmcv cannot be found' in message


CLASSIFY = """
    import torch
    import epsd_mm
    from mmengine.registry import MODELS, DefaultScope
    from mmpretrain.structures import DataSample
    from mmpretrain.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    backbone = dict(type='ResNet', depth=18, stem_channels=4, base_channels=4,
                    zero_init_residual=False)
    head = dict(type='LinearClsHead', in_channels=32, num_classes=4)
    cfg = dict(type='ImageClassifier', backbone=backbone, head=head,
               neck=dict(type='GlobalAveragePooling'),
               data_preprocessor=dict(num_classes=4))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg)
    samples = [DataSample().set_gt_label(i % 2) for i in range(4)]
    batches = [dict(inputs=torch.randn(4, 3, 16, 16), data_samples=samples)]
    masks = epsd_mm.prune(
        model, batches, sparsity=0.5, sd_loss='CSKDLoss', draws=1,
        criterion=dict(type='ProsPr', steps=0))
    print(masks.sparsity)
"""


@pytest.fixture(scope='module')
def classification(tmp_path_factory):
    """What `pip install ".[mm]"` brings where no torch was at hand."""
    names = ('onedl-mmpretrain', 'onedl-mmcv', 'onedl-mmengine')
    names += ('opencv-python-headless',)
    folder = tmp_path_factory.mktemp('classification')
    site(folder, *TORCH_ONLY, *names)
    mmcv = folder / 'mmcv'
    whole = mmcv.resolve()
    mmcv.unlink()
    mmcv.mkdir()
    for path in whole.iterdir():
        if not path.name.startswith(('_ext', '__pycache__')):
            (mmcv / path.name).symlink_to(path)
    absent = run(folder, '-c', 'import mmcv._ext')
    assert "No module named 'mmcv._ext'" in absent.stderr
    assert not (folder / 'mmdet').exists()
    return folder


@pytest.mark.slow
def test_classification_does_without_the_operators_of_mmcv(classification):
    assert written(classification, CLASSIFY)[-1] == '0.5'


CONFIG = """
_base_ = {method!r}
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=4, base_channels=4,
                  zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=32, num_classes=2,
              topk=(1,)))
data_preprocessor = dict(num_classes=2, mean=[127.5] * 3, std=[127.5] * 3)
train_dataloader = dict(
    batch_size=4, num_workers=0,
    batch_sampler=dict(type='ClassPairBatchSampler'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={images!r},
                 pipeline=[dict(type='LoadImageFromFile'),
                           dict(type='PackInputs')]))
val_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=train_dataloader['dataset'])
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
default_hooks = dict(
    epsd=dict(sparsity=0.5, draws=1, criterion=dict(steps=1)))
"""


@pytest.mark.slow
def test_a_classifier_is_trained_tested_and_shown_without_them(
    classification, tmp_path
):
    for name in ('dark', 'light'):
        (tmp_path / 'images' / name).mkdir(parents=True)
        for number in range(4):
            shade = (40 if name == 'dark' else 200) + number
            path = tmp_path / 'images' / name / f'{number}.png'
            Image.new('RGB', (16, 16), (shade, 90, shade)).save(path)
    config, work_dir = tmp_path / 'tiny.py', tmp_path / 'run'
    method = str(ROOT / 'configs' / '_base_' / 'methods' / 'cs_kd.py')
    images = str(tmp_path / 'images')
    config.write_text(CONFIG.format(method=method, images=images))

    def finished(*arguments):
        result = run(classification, *map(str, arguments))
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    finished('tools/train.py', config, '--work-dir', work_dir)
    checkpoint = work_dir / 'epoch_1.pth'
    said = finished(
        *('tools/test.py', config, checkpoint),
        *('--work-dir', tmp_path / 'tested'),
    )
    assert 'accuracy/top1' in said and 'sparsity' in said
    finished('tools/show.py', work_dir)
    page = (work_dir / 'run.html').read_text()
    assert 'Trained to its end' in page and '50.00% of' in page
    assert page.count('data:image/jpeg') == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    'tool',
    [
        path.name
        for path in (ROOT / 'tools').glob('*.py')
        if 'argparse' in path.read_text()
        and path.name not in ('common.py', 'generate_voc.py')
    ],
)
def test_a_tool_says_in_a_sentence_what_it_needs(tool, torch_only):
    result = run(torch_only, f'tools/{tool}', '--help')
    assert result.returncode == 1 and not result.stdout
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith(f'error: {tool} needs OpenMMLab, and mmengine')
