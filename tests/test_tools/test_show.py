"""tools/show.py: one page of a run, whatever became of it."""

import json
import re
import shutil

import pytest
import torch

from epsd_mm.engine.runner import complete
from epsd_mm.run_page import RunFolder, SeenImages
from tests.helpers.datasets import picture_folder
from tests.helpers.runners import (
    runner_of,
    tiny_classifier_cfg,
    tiny_detector_cfg,
)
from tests.helpers.tags import Tags

HOOK = dict(
    type='EPSDHook',
    sparsity=0.5,
    criterion='Magnitude',
    allow_empty_layers=True,
)


def with_test_set(cfg, metric):
    """The config with its training set, unchanged, as what it is tested on."""
    dataset = cfg.train_dataloader.dataset.copy()
    dataset.pipeline = [
        step for step in dataset.pipeline if step.type != 'RandomFlip'
    ]
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dataset,
    )
    if 'collate_fn' in cfg.train_dataloader:
        loader['collate_fn'] = cfg.train_dataloader.collate_fn
    cfg.test_dataloader, cfg.val_dataloader = loader, loader
    cfg.val_cfg, cfg.test_cfg = dict(), dict()
    cfg.val_evaluator = cfg.test_evaluator = metric
    return cfg


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
    """Work dir and runner of a finished training."""
    root = tmp_path_factory.mktemp('show')
    pictures = picture_folder(root / 'pictures')
    cfg = tiny_classifier_cfg(pictures, root / 'classifier', HOOK, epochs=2)
    cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
    cfg.data_preprocessor.mean = [100.0, 110.0, 120.0]
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    runner = runner_of(with_test_set(cfg, dict(type='Accuracy', topk=(1,))))
    runner.train()
    return root / 'classifier', runner


@pytest.fixture(scope='module')
def detector(tmp_path_factory, drawn):
    root = tmp_path_factory.mktemp('show') / 'detector'
    cfg = tiny_detector_cfg(drawn / 'VOCdevkit', root, HOOK)
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    load, boxes, *_ = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset.pipeline[-1].meta_keys = (
        *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    )
    cfg = with_test_set(cfg, dict(type='VOCMetric', metric='mAP'))
    resize = dict(type='Resize', scale=(64, 64), keep_ratio=True)
    cfg.test_dataloader.dataset.pipeline.insert(1, resize)
    runner = runner_of(cfg)
    runner.train()
    return root, runner


def page_of(run, folder, *options):
    run('show', folder, *options)
    page = (folder / 'run.html').read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert all(link.startswith(('#', 'data:')) for link in tags.links if link)
    return page


def titles(page):
    return re.findall(r'<h2>(.*?)</h2>', page)


def test_a_finished_classifier(classifier, run):
    page = page_of(run, classifier[0], '--num-images', 5)
    assert 'Trained to its end: 2 epochs.' in page
    assert titles(page) == [
        *('In short', 'Curves', 'Masks by layer', 'Predictions'),
        *('What it costs', 'Config in short', 'Files'),
    ]
    assert page.count('data:image/jpeg') == 5
    assert 'multiply-adds of an image of 8 x 8' in page


def test_scores_are_those_of_the_network_that_was_trained(classifier):
    folder, runner = classifier
    found = RunFolder.of(folder)
    seen = SeenImages.of(complete(found.cfg), str(found.checkpoint), 3).seen
    dataset = runner.val_dataloader.dataset
    runner.model.eval()
    for index, each in zip((0, 9, 18), seen, strict=True):
        sample = dataset[index]
        batch = dict(
            inputs=sample['inputs'][None],
            data_samples=[sample['data_samples']],
        )
        with torch.no_grad():
            (expected,) = runner.model.test_step(batch)
        assert torch.allclose(
            torch.tensor(each.found), expected.pred_score, atol=1e-6
        )
        assert each.truth == expected.gt_label.tolist()


def test_a_finished_detector(detector, run):
    folder, runner = detector
    page = page_of(run, folder, '--num-images', 2, '--score-thr', 0.0)
    assert 'Detections beside ground truth' in titles(page)
    captions = re.findall(r'(\w+)\.jpg: (\d+) objects, (\d+) found', page)
    truth = {
        info['img_path'].split('/')[-1]: len(info['instances'])
        for info in map(runner.val_dataloader.dataset.get_data_info, range(8))
    }
    assert len(captions) == 2
    assert all(truth[f'{name}.jpg'] == int(n) for name, n, _ in captions)
    assert 'pascal_voc/mAP' in page


def test_images_that_are_gone_leave_a_page_without_them(
    detector, run, tmp_path
):
    folder = tmp_path / 'elsewhere'
    shutil.copytree(detector[0], folder)
    option = f'test_dataloader.dataset.data_root={tmp_path}/gone/'
    page = page_of(run, folder, '--cfg-options', option)
    assert 'None can be shown' in page and str(tmp_path / 'gone') in page
    assert 'Trained to its end' in page


def test_a_network_that_is_not_known_here_leaves_a_page_without_it(
    classifier, run
):
    """As any detector's is where mmdet is absent."""
    page = page_of(run, classifier[0], '--cfg-options', 'model.type=Absent')
    (spent,) = re.findall('What it costs</h2>(.*?)<h2', page, re.DOTALL)
    assert 'cannot be built here' in spent and 'mmpretrain' in spent
    assert 'Absent is not in the' in spent and 'an iteration' in spent
    assert 'None can be shown' in page
    assert 'Trained to its end' in page


def test_a_stopped_run_whose_log_is_cut_off(classifier, run, tmp_path):
    folder = tmp_path / 'stopped'
    shutil.copytree(classifier[0], folder)
    (scalars,) = folder.glob('*/vis_data/scalars.json')
    lines = [
        line
        for line in scalars.read_text().splitlines()
        if json.loads(line).get('epoch') == 1 or 'scoring/kept' in line
    ]
    scalars.write_text('\n'.join(lines) + '\n{"loss": 1.0, "it')
    for path in (*folder.glob('*.pth'), folder / 'last_checkpoint'):
        path.unlink()
    page = page_of(run, folder)
    assert 'Stopped in epoch 1' in page
    assert 'no checkpoint that could look at test images' in page


def test_a_run_that_was_killed_while_it_scored(classifier, run, tmp_path):
    start = next(classifier[0].glob('*/vis_data/config.py'))
    left = tmp_path / 'killed' / '20260101_000000' / 'vis_data'
    left.mkdir(parents=True)
    shutil.copy(start, left)
    (tmp_path / 'killed' / 'scoring').mkdir()
    page = page_of(run, tmp_path / 'killed')
    assert 'Stopped while it scored' in page
    assert 'Curves' not in titles(page)


def test_what_is_no_run_is_refused_and_nothing_written(run, tmp_path):
    with pytest.raises(SystemExit, match='error: .* holds no config of a run'):
        run('show', tmp_path)
    with pytest.raises(SystemExit, match='error: .*gone is no folder'):
        run('show', tmp_path / 'gone')
    assert not list(tmp_path.iterdir())


def test_fewer_than_no_images_are_refused(classifier, run, tmp_path):
    with pytest.raises(SystemExit, match='--num-images -1 is below 0'):
        run('show', classifier[0], '--num-images', '-1')
