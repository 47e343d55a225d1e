"""tools/make_student.py: students of pruned teachers train by themselves."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from epsd_mm.engine.settings import settings_of
from epsd_mm.pruning import weight_count

from ..helpers.datasets import picture_folder
from ..helpers.runners import tiny_classifier_cfg, tiny_detector_cfg

# Half of each layer goes.
PRUNED = dict(type='EPSDHook', sparsity=0.5, allocation='uniform')
GRADUAL = dict(
    PRUNED,
    criterion=None,
    policy=dict(type='Gradual', every=1, end=0.5),
)


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
    """Config and checkpoint of a classifier that was pruned in training."""
    folder = tmp_path_factory.mktemp('teacher')
    pictures = picture_folder(folder / 'pictures')
    cfg = tiny_classifier_cfg(pictures, folder / 'run', GRADUAL)
    cfg.train_dataloader.batch_sampler = None
    return written(cfg, folder)


def written(cfg, folder):
    for name in ('work_dir', 'experiment_name', 'visualizer'):
        cfg.pop(name)
    cfg.dump(folder / 'tiny.py')
    return folder / 'tiny.py', folder / 'run' / 'epoch_1.pth'


def built(path, scope):
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
    return model


@pytest.fixture
def student(teacher, run):
    """The folder of its student, written once."""
    config, checkpoint = teacher
    folder = config.parent / 'student'
    if not checkpoint.exists():
        options = ('--cfg-options', f'experiment_name={folder.parent.name}')
        run('train', config, '--work-dir', checkpoint.parent, *options)
    if not folder.exists():
        run('make_student', config, checkpoint, '--out', folder)
    return folder


def test_the_student_is_as_large_as_what_the_teacher_keeps(student, teacher):
    """Half of each layer: 108 r + 4 · 144 r² = 54 + 4 · 72, r = .683."""
    state = torch.load(teacher[1], weights_only=False)['state_dict']
    model = built(student / 'config.py', 'mmpretrain')
    assert type(model).__name__ == 'ImageClassifier'
    got = dict(model.named_parameters())
    stem = 'backbone.conv1.weight'
    assert int((state[stem] != 0).sum()) == 54
    assert tuple(got[stem].shape) == (3, 3, 3, 3)
    for block in ('layer1.0', 'layer1.1'):
        shape = got[f'backbone.{block}.conv1.weight'].shape
        assert tuple(shape) == (3, 3, 3, 3)
    kept = sum(
        int((state[n] != 0).sum()) for n, p in got.items() if p.dim() > 1
    )
    assert sum(p.numel() for p in got.values() if p.dim() > 1) == (
        pytest.approx(kept, rel=0.15)
    )
    assert got['head.fc.weight'].shape[0] == 4


def test_it_starts_from_weights_of_its_own(student, teacher):
    """Drawn at its own widths, also where no config says how."""
    model = built(student / 'config.py', 'mmpretrain')
    state = torch.load(teacher[1], weights_only=False)['state_dict']
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            assert (weight != 0).all(), name
            part = state[name][tuple(map(slice, weight.shape))]
            assert not torch.equal(weight, part), name


def test_the_pruned_network_teaches_it_from_the_folder(student, run, tmp_path):
    moved = student.rename(tmp_path / 'moved')
    settings = settings_of(Config.fromfile(moved / 'config.py'))
    assert type(settings.sd_loss).__name__ == 'KD'
    assert settings.criterion is None and settings.sparsity == 0
    options = ('--cfg-options', f'experiment_name={tmp_path.name}')
    work_dir = tmp_path / 'trained'
    run('train', moved / 'config.py', '--work-dir', work_dir, *options)
    state = torch.load(work_dir / 'epoch_1.pth', weights_only=False)
    assert state['state_dict']['backbone.conv1.weight'].shape[0] == 3
    moved.rename(student)


def test_a_detector_has_a_student_too(drawn, run, tmp_path):
    cfg = tiny_detector_cfg(
        drawn / 'VOCdevkit', tmp_path / 'run', dict(PRUNED, criterion='Random')
    )
    path, checkpoint = written(cfg, tmp_path)
    options = ('--cfg-options', f'experiment_name={tmp_path.name}')
    run('train', path, '--work-dir', tmp_path / 'run', *options)
    run('make_student', path, checkpoint, '--out', tmp_path / 'student')
    model = built(tmp_path / 'student' / 'config.py', 'mmdet')
    state = torch.load(checkpoint, weights_only=False)['state_dict']
    whole = sum(v.numel() for n, v in state.items() if n.endswith('weight'))
    assert weight_count(model) < 0.8 * whole
    run(
        'train',
        tmp_path / 'student' / 'config.py',
        '--work-dir',
        tmp_path / 'trained',
        '--cfg-options',
        f'experiment_name={tmp_path.name}-2',
    )
    assert (tmp_path / 'trained' / 'epoch_1.pth').exists()


@pytest.mark.parametrize(
    'name, words',
    [
        ('gone.pth', 'gone.pth does not exist: name the checkpoint of a'),
        ('dense.pth', 'dense.pth keeps every weight.*of a pruned network'),
        ('other.pth', 'is not of the network of the config'),
    ],
)
def test_what_is_no_pruned_teacher_is_one_sentence(
    name, words, student, teacher, run, tmp_path
):
    config, checkpoint = teacher
    saved = torch.load(checkpoint, weights_only=False)
    state = saved['state_dict']
    torch.save(
        dict(state_dict={n: v.float() + 5 for n, v in state.items()}),
        tmp_path / 'dense.pth',
    )
    torch.save(dict(state_dict={}), tmp_path / 'other.pth')
    with pytest.raises(SystemExit, match=words):
        run('make_student', config, tmp_path / name, '--out', tmp_path / 'out')
    assert not list((tmp_path / 'out').glob('*.py'))


def test_layers_that_would_never_be_trained_are_named(
    student, teacher, run, tmp_path
):
    config, checkpoint = teacher
    option = 'model.backbone.frozen_stages=1'
    with pytest.raises(SystemExit, match='frozen_stages=-1'):
        run(
            *('make_student', config, checkpoint, '--out', tmp_path / 'out'),
            *('--cfg-options', option),
        )


def test_the_folder_of_another_is_left_alone(student, teacher, run):
    before = (student / 'config.py').read_text()
    with pytest.raises(SystemExit, match='is there already'):
        run('make_student', *teacher, '--out', student)
    assert (student / 'config.py').read_text() == before
