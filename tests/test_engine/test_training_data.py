"""What a run trains on: as it must be at its start, and ever after."""

import json
import logging
import shutil
from contextlib import contextmanager
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import LOOPS, MODELS, DefaultScope
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader

from epsd_mm.datasets.annotations import check_configured_annotations
from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.datasets.image_table import image_table
from epsd_mm.datasets.leaves import leaf_datasets
from epsd_mm.engine.checks import check_loader
from epsd_mm.engine.loaders import check_loader_config
from epsd_mm.families.kinds import is_detector
from tests.helpers.datasets import picture_folder
from tests.helpers.models import shipped
from tests.helpers.real_data import extracted, needs
from tests.helpers.runners import (
    CLASSES,
    PAIRS,
    hook_of,
    prepared,
    runner_of,
    tiny_classifier_cfg,
    tiny_detector_cfg,
)

ASPECT = dict(type='AspectRatioBatchSampler')
OVERLAP = dict(type='OverlapBatchSampler', base=ASPECT)
RANDOM = dict(type='EPSDHook', sparsity=0.5, criterion='Random')


def only(loss, **options):
    """Plain self-distillation, which scores nothing."""
    return dict(
        type='EPSDHook', criterion=None, sd_loss=dict(type=loss, **options)
    )


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    return generate_voc(root, train=8, test=2, size=64, classes=CLASSES)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp('pictures') / 'set')


@pytest.fixture
def warnings(caplog):
    """What is logged as a warning, also by a runner of the test."""

    def read(runner):
        runner.logger.addHandler(caplog.handler)
        return lambda: [
            record.getMessage()
            for record in caplog.records
            if record.levelno >= logging.WARNING
        ]

    return read


def stop_workers(runner):
    """Garbage collection would wait for each of them, for seconds."""
    runner.train_dataloader._iterator = None
    if hasattr(runner.train_loop, 'dataloader_iterator'):
        runner.train_loop.dataloader_iterator._iterator = None


class Witness(Hook):
    """Keeps the keys that objects of training batches have, by epoch."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.numbered = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        samples = data_batch['data_samples']
        self.numbered.append(
            all('object_ids' in sample.gt_instances for sample in samples)
        )


class TestSeveralLabels:
    def cfg(self, folder, tmp_path, epsd, head):
        cfg = tiny_classifier_cfg(folder, tmp_path, epsd)
        labels = [[0], [1, 2], [], [3, 0], [2], [1]]
        content = dict(
            metainfo=dict(classes=list('abcd')),
            data_list=[
                dict(img_path=f'class_{i % 4}/{i}.png', gt_label=own)
                for i, own in enumerate(labels)
            ],
        )
        (tmp_path / 'labels.json').write_text(json.dumps(content))
        dataset = cfg.train_dataloader.dataset
        dataset.type = 'MultiLabelDataset'
        dataset.ann_file = str(tmp_path / 'labels.json')
        cfg.train_dataloader.batch_size = 3
        cfg.model.head = dict(num_classes=4, in_channels=8, **head)
        if head['type'] == 'CSRAClsHead':
            cfg.model.neck = None
        return cfg

    HEADS = [
        dict(type='MultiLabelLinearClsHead'),
        dict(type='CSRAClsHead', num_heads=1, lam=0.1),
    ]

    @pytest.mark.parametrize('head', HEADS)
    def test_they_are_pruned_without_self_distillation(
        self, folder, tmp_path, head
    ):
        epsd = dict(type='EPSDHook', sparsity=0.5, criterion='SNIP', draws=1)
        runner = runner_of(self.cfg(folder, tmp_path, epsd, head))
        runner.train()
        assert hook_of(runner).masks.sparsity == pytest.approx(0.5, abs=0.01)

    def test_a_loss_that_compares_classes_says_why_not(self, folder, tmp_path):
        cfg = self.cfg(folder, tmp_path, only('CSKDLoss'), self.HEADS[0])
        cfg.train_dataloader.batch_sampler = dict(type=PAIRS['type'])
        with pytest.raises(
            ValueError,
            match=r'CSKDLoss .*3 of 6 .*image 1 .*\[1, 2\].*PSKDLoss.*None',
        ):
            runner_of(cfg).train()

    def test_a_head_for_one_class_says_why_not(self, folder, tmp_path):
        head = dict(type='LinearClsHead')
        cfg = self.cfg(folder, tmp_path, only('PSKDLoss'), head)
        with pytest.raises(
            ValueError, match=r'PSKDLoss .*3 of 6 .*: set sd_loss=None'
        ):
            runner_of(cfg).train()

    @pytest.mark.parametrize('loss', ['PSKDLoss', 'DLBLoss'])
    @pytest.mark.parametrize('head', HEADS)
    def test_losses_that_ask_for_no_class_train_and_are_scored(
        self, folder, tmp_path, head, loss
    ):
        criterion = dict(type='ProsPr', steps=1, lr=0.01)
        epsd = dict(only(loss), criterion=criterion, sparsity=0.5, draws=1)
        cfg = self.cfg(folder, tmp_path, epsd, head)
        cfg.train_dataloader.batch_size = 2
        cfg.train_cfg.max_epochs = 2
        if loss == 'DLBLoss':
            cfg.train_dataloader.batch_sampler = dict(type=OVERLAP['type'])
        runner = runner_of(cfg)
        runner.train()
        terms, _ = runner.message_hub.get_scalar('train/loss_sd').data
        assert terms[-1] > 0

    def test_a_label_beyond_the_head_is_refused(self, folder, tmp_path):
        cfg = self.cfg(folder, tmp_path, RANDOM, self.HEADS[0])
        cfg.model.head.num_classes = 3
        with pytest.raises(ValueError, match='label 3, .* num_classes=3'):
            runner_of(cfg).train()


PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackDetInputs'),
]
MOSAIC = [*PIPELINE[:2], dict(type='Mosaic', img_scale=(64, 64)), PIPELINE[-1]]
MIXUP = dict(augments=dict(type='Mixup', alpha=0.8))


def detector_cfg(data_root, folder, epsd, sampler=ASPECT):
    cfg = tiny_detector_cfg(data_root, folder, epsd, epochs=2)
    cfg.train_dataloader.batch_sampler = sampler
    # Serializing collects garbage, which takes long.
    cfg.train_dataloader.dataset.serialize_data = False
    return cfg


def switch_recipe(*recipes):
    return dict(
        type='mmpretrain.SwitchRecipeHook',
        schedule=[
            dict(action_epoch=epoch, **recipe) for epoch, recipe in recipes
        ],
    )


SWITCHES = [
    dict(type='PipelineSwitchHook', switch_epoch=1, switch_pipeline=PIPELINE),
    switch_recipe((2, dict(train_pipeline=PIPELINE))),
]


class TestReplacedLater:
    @pytest.mark.parametrize('switch', SWITCHES, ids=lambda s: s['type'])
    @pytest.mark.parametrize('workers', [0, 1])
    def test_objects_keep_their_numbers(
        self, data_root, tmp_path, switch, workers
    ):
        cfg = detector_cfg(data_root, tmp_path, only('PSKDLoss'))
        cfg.train_dataloader.update(
            num_workers=workers, persistent_workers=bool(workers)
        )
        cfg.custom_hooks = [switch]
        runner = runner_of(cfg)
        witness = Witness()
        runner.register_hook(witness)
        runner.train()
        stop_workers(runner)
        assert len(witness.numbered) == 4 and all(witness.numbered)
        (leaf,) = leaf_datasets(runner.train_dataloader.dataset)
        kinds = [type(t).__name__ for t in leaf.pipeline.transforms]
        assert kinds == [
            'LoadCheckedImage',
            'LoadAnnotations',
            'NumberObjects',
            'Resize',
            'PackDetInputs',
            'UnpackObjectNumbers',
        ]

    def test_parts_that_get_one_pipeline_are_numbered_once(
        self, data_root, tmp_path
    ):
        cfg = detector_cfg(data_root, tmp_path, only('PSKDLoss'))
        part = cfg.train_dataloader.dataset
        other = dict(part, ann_file='VOC2007/ImageSets/Main/test.txt')
        cfg.train_dataloader.dataset = dict(
            type='ConcatDataset', datasets=[part, other]
        )
        cfg.custom_hooks = [SWITCHES[1]]
        runner = runner_of(cfg)
        runner.train()
        for leaf in leaf_datasets(runner.train_dataloader.dataset):
            kinds = [type(t).__name__ for t in leaf.pipeline.transforms]
            assert kinds.count('NumberObjects') == 1

    @pytest.mark.parametrize(
        'switch, named',
        [
            (dict(SWITCHES[0], switch_pipeline=MOSAIC), 'Mosaic .*Pipeline'),
            (switch_recipe((2, dict(train_pipeline=MOSAIC))), 'Mosaic .*Swit'),
            (
                dict(SWITCHES[0], switch_pipeline=PIPELINE[:3]),
                'PipelineSwitchHook .*no PackDetInputs',
            ),
        ],
    )
    def test_a_later_pipeline_that_mixes_is_refused_at_the_start(
        self, data_root, tmp_path, switch, named
    ):
        cfg = detector_cfg(data_root, tmp_path, only('PSKDLoss'))
        cfg.custom_hooks = [switch]
        runner = runner_of(cfg)
        with pytest.raises(ValueError, match=named):
            runner.train()
        assert runner.iter == 0

    @pytest.mark.parametrize('loss', ['PSKDLoss', 'DLBLoss', None])
    def test_mixup_from_the_third_epoch_on(self, folder, tmp_path, loss):
        epsd = only(loss) if loss else RANDOM
        cfg = tiny_classifier_cfg(folder, tmp_path, epsd, epochs=3)
        cfg.custom_hooks = [switch_recipe((3, dict(batch_augments=MIXUP)))]
        if loss == 'DLBLoss':
            cfg.train_dataloader.batch_sampler = dict(type=OVERLAP['type'])
        runner = runner_of(cfg)
        if loss is None:
            runner.train()
            assert runner.model.data_preprocessor.batch_augments is not None
            return
        with pytest.raises(ValueError, match=f'{loss} .*action_epoch=3'):
            runner.train()
        assert runner.iter == 0

    @pytest.mark.parametrize('hook', ['EPSDHook', 'DenseHook'])
    def test_one_option_turns_it_off_now_and_later(
        self, folder, tmp_path, hook
    ):
        seen = []

        class Looks(Hook):
            def before_train_iter(self, runner, *_, **__):
                preprocessor = runner.model.data_preprocessor
                seen.append(preprocessor.batch_augments)

        epsd = only('PSKDLoss') if hook == 'EPSDHook' else dict(type=hook)
        epsd['batch_augments'] = 'off'
        cfg = tiny_classifier_cfg(folder, tmp_path, epsd, epochs=3)
        cfg.model.train_cfg = MIXUP
        cfg.model.data_preprocessor.num_classes = 4
        later = dict(augments=dict(type='CutMix', alpha=1.0))
        cfg.custom_hooks = [switch_recipe((2, dict(batch_augments=later)))]
        runner = runner_of(cfg)
        runner.register_hook(Looks())
        with self.logged(runner) as said:
            runner.train()
        assert seen and set(seen) == {None}
        (told,) = [text for text in said if 'are off' in text]
        assert told.startswith('Mixup, CutMix of the config')

    @contextmanager
    def logged(self, runner):
        said = []
        handler = logging.Handler(logging.INFO)
        handler.emit = lambda record: said.append(record.getMessage())
        runner.logger.addHandler(handler)
        yield said
        runner.logger.removeHandler(handler)

    def test_turning_off_what_is_not_there_is_an_error(self, folder, tmp_path):
        epsd = dict(only('PSKDLoss'), batch_augments='off')
        cfg = tiny_classifier_cfg(folder, tmp_path, epsd)
        with pytest.raises(ValueError, match='has no effect.*remove it'):
            runner_of(cfg).train()

    def test_it_is_off_or_an_error(self, folder, tmp_path):
        epsd = dict(only('PSKDLoss'), batch_augments=False)
        with pytest.raises(ValueError, match='batch_augments=False must be'):
            runner_of(tiny_classifier_cfg(folder, tmp_path, epsd))

    def test_a_recipe_that_mixes_nothing_is_welcome(self, folder, tmp_path):
        recipe = dict(batch_augments=None)
        cfg = tiny_classifier_cfg(folder, tmp_path, only('PSKDLoss'), 2)
        cfg.custom_hooks = [switch_recipe((2, recipe))]
        runner_of(cfg).train()

    def test_what_nobody_announced_is_refused_when_it_comes(
        self, folder, tmp_path
    ):
        class Mixes(Hook):
            def before_train_epoch(self, runner):
                if runner.epoch == 1:
                    runner.model.data_preprocessor.batch_augments = MIXUP

        cfg = tiny_classifier_cfg(folder, tmp_path, only('PSKDLoss'), 2)
        runner = runner_of(cfg)
        runner.register_hook(Mixes(), priority='VERY_LOW')
        with pytest.raises(ValueError, match='PSKDLoss compares'):
            runner.train()
        assert runner.epoch == 1

    def test_a_pipeline_changed_between_two_steps(self, data_root, tmp_path):
        class Changes(Hook):
            def after_train_iter(self, runner, batch_idx, *_, **__):
                if batch_idx == 0:
                    leaf = runner.train_dataloader.dataset
                    transforms = leaf.pipeline.transforms
                    leaf.pipeline = type(leaf.pipeline)([])
                    leaf.pipeline.transforms = [
                        t for t in transforms if 'Number' not in str(type(t))
                    ]

        cfg = detector_cfg(data_root, tmp_path, only('PSKDLoss'))
        runner = runner_of(cfg)
        runner.register_hook(Changes(), priority='VERY_HIGH')
        runner.register_hook(witness := Witness())
        runner.train()
        assert witness.numbered == 4 * [True]

    def test_a_head_may_get_another_loss(self, folder, tmp_path):
        """From a distribution over the classes to independent ones."""
        later = dict(type='LabelSmoothLoss', label_smooth_val=0.1)
        later.update(mode='multi_label', num_classes=4)
        cfg = tiny_classifier_cfg(folder, tmp_path, only('PSKDLoss'), 2)
        cfg.custom_hooks = [switch_recipe((2, dict(loss=later)))]
        runner = runner_of(cfg)
        observer = []

        class Looks(Hook):
            def after_train_epoch(self, runner):
                tap = hook_of(runner)._distillation
                observer.append(tap.distillation.observer.use_sigmoid)

        runner.register_hook(Looks())
        runner.train()
        assert observer == [False, True]


@LOOPS.register_module()
class EagerLoop(IterBasedTrainLoop):
    """Starts its workers when it is built, as most versions of mmengine."""

    def __init__(self, runner, dataloader, **options):
        super().__init__(runner, dataloader, **options)
        iterator = self.dataloader_iterator
        if iterator._iterator is None:
            iterator._iterator = iter(self.dataloader)


def by_iterations(cfg, count=4, loop='EagerLoop'):
    cfg.train_cfg = dict(type=loop, max_iters=count)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=2
    )
    return cfg


class Paths(Hook):
    """The images of each batch."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.batches = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        samples = data_batch['data_samples']
        self.batches.append([sample.img_path for sample in samples])


class TestLoopsOfIterations:
    @pytest.mark.parametrize(
        'loss, sampler', [('PSKDLoss', ASPECT), ('DLBLoss', OVERLAP)]
    )
    def test_workers_that_were_started_early_number_objects(
        self, data_root, tmp_path, loss, sampler
    ):
        cfg = detector_cfg(data_root, tmp_path, only(loss), sampler)
        cfg.train_dataloader.update(num_workers=1, persistent_workers=True)
        runner = runner_of(by_iterations(cfg))
        runner.register_hook(witness := Witness())
        runner.train()
        stop_workers(runner)
        assert witness.numbered == 4 * [True]
        logged = runner.message_hub.get_scalar('train/loss_sd').data[0]
        assert any(logged), 'nothing was remembered'

    def test_the_order_of_images_is_that_of_a_plain_run(
        self, data_root, tmp_path
    ):
        def order(loss, resume=None):
            epsd = only(loss) if loss else dict(type='DenseHook')
            cfg = detector_cfg(data_root, tmp_path / str(loss), epsd)
            cfg.train_dataloader.update(num_workers=1)
            by_iterations(cfg, 6 if resume else 4)
            if resume:
                cfg.load_from = str(tmp_path / str(loss) / resume)
                cfg.resume = True
            runner = runner_of(cfg)
            runner.register_hook(paths := Paths())
            runner.train()
            stop_workers(runner)
            return paths.batches

        first = order('PSKDLoss')
        assert first == order(None)
        assert order('PSKDLoss', 'iter_2.pth')[:2] == first[2:]


def semi_supervised(cfg, sampler):
    """Make it a SoftTeacher with labelled and unlabelled images."""
    labelled = cfg.train_dataloader.dataset
    branches = ['sup', 'unsup_teacher', 'unsup_student']
    pack = dict(
        type='PackDetInputs',
        meta_keys=(
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'flip',
            'flip_direction',
            'homography_matrix',
        ),
    )
    load, annotations = PIPELINE[:2]
    resize = dict(type='RandomResize', scale=[(64, 48), (64, 64)])
    many = dict(type='MultiBranch', branch_field=branches)
    free = dict(
        labelled,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        filter_cfg=None,
        pipeline=[
            load,
            dict(type='LoadEmptyAnnotations'),
            dict(
                many,
                unsup_teacher=[resize, pack],
                unsup_student=[resize, pack],
            ),
        ],
    )
    labelled = dict(
        labelled, pipeline=[load, annotations, dict(many, sup=PIPELINE[-1:])]
    )
    cfg.train_dataloader = dict(
        dataset=dict(type='ConcatDataset', datasets=[labelled, free]),
        batch_size=3,
        num_workers=0,
        sampler=dict(type=sampler, batch_size=3, source_ratio=[1, 2]),
    )
    cfg.model = dict(
        type='SoftTeacher',
        detector=cfg.model,
        data_preprocessor=dict(
            type='MultiBranchDataPreprocessor',
            data_preprocessor=cfg.model.data_preprocessor,
        ),
        semi_train_cfg=dict(
            freeze_teacher=True,
            sup_weight=1.0,
            unsup_weight=4.0,
            pseudo_label_initial_score_thr=0.5,
            rpn_pseudo_thr=0.9,
            cls_pseudo_thr=0.9,
            reg_pseudo_thr=0.02,
            jitter_times=1,
            jitter_scale=0.06,
            min_pseudo_bbox_wh=(1e-2, 1e-2),
        ),
        semi_test_cfg=dict(predict_on='teacher'),
    )
    cfg.custom_hooks = [dict(type='MeanTeacherHook')]


@pytest.mark.parametrize(
    'sampler', ['MultiSourceSampler', 'GroupMultiSourceSampler']
)
def test_a_semi_supervised_detector_is_pruned(data_root, tmp_path, sampler):
    epsd = dict(
        type='EPSDHook',
        sparsity=0.5,
        criterion=dict(type='SNIP'),
        draws=2,
        allow_empty_layers=True,
    )
    cfg = detector_cfg(data_root, tmp_path, epsd)
    cfg = by_iterations(cfg, 1, 'IterBasedTrainLoop')
    semi_supervised(cfg, sampler)
    runner = runner_of(cfg)
    runner.train()
    masks = hook_of(runner).masks
    assert masks.sparsity == pytest.approx(0.5, abs=0.01)
    assert {name.partition('.')[0] for name in masks} == {'student'}
    state = runner.model.state_dict()
    for name, mask in masks.items():
        for part in ('student', 'teacher'):
            weight = state[name.replace('student', part)]
            assert not weight[~mask].any()


def test_classes_that_are_a_string_are_one_sentence(data_root, tmp_path):
    cfg = detector_cfg(data_root, tmp_path, RANDOM)
    cfg.train_dataloader.dataset.metainfo = dict(classes='disc')
    sentence = r"classes='disc', a string, .*classes=\('disc',\)"
    with pytest.raises(ValueError, match=sentence):
        check_configured_annotations(cfg)


def test_as_many_letters_as_folders_are_no_classes(folder, tmp_path):
    """The only string that mmpretrain takes."""
    cfg = tiny_classifier_cfg(folder, tmp_path, RANDOM)
    cfg.train_dataloader.dataset.metainfo = dict(classes='abcd')
    with pytest.raises(ValueError, match="classes='abcd', a string"):
        runner_of(cfg).train()


class TestLoader:
    def test_precise_statistics_beside_pairs_are_refused(
        self, folder, tmp_path
    ):
        cfg = tiny_classifier_cfg(
            folder, tmp_path, only('CSKDLoss'), sampler=PAIRS['type']
        )
        cfg.custom_hooks = [dict(type='PreciseBNHook', num_samples=8)]
        with pytest.raises(
            ValueError, match='PreciseBNHook .*ClassPair.*PSKDLoss'
        ):
            runner_of(cfg).train()

    def test_no_loss_is_offered_to_plain_pruning(self, data_root, tmp_path):
        cfg = detector_cfg(data_root, tmp_path, RANDOM, ASPECT)
        cfg.custom_hooks = [
            dict(type='mmpretrain.PreciseBNHook', num_samples=8)
        ]
        with pytest.raises(ValueError, match='remove .* or batch_sampler fr'):
            runner_of(cfg).train()

    def test_no_batch_is_said_of_samplers_that_tell_no_size(self):
        class Fixed(BatchSampler):
            def __init__(self):
                pass

            def __len__(self):
                return 0

        loader = DataLoader([1, 2], batch_sampler=Fixed())
        with pytest.raises(ValueError, match='2 images .* no batch of Fixed'):
            check_loader(SimpleNamespace(train_dataloader=loader), None)

    def test_without_a_batch_sampler_they_are_counted(self, folder, tmp_path):
        cfg = tiny_classifier_cfg(folder, tmp_path, only('PSKDLoss'))
        cfg.custom_hooks = [dict(type='PreciseBNHook', num_samples=8)]
        runner_of(cfg).train()

    @pytest.mark.parametrize(
        'sampler, place',
        [
            (dict(type=PAIRS['type']), 'batch_sampler.drop_last=True'),
            (PAIRS, 'batch_sampler.base.drop_last=True'),
            (ASPECT, 'batch_sampler.drop_last=True'),
        ],
    )
    def test_drop_last_beside_a_batch_sampler(
        self, data_root, tmp_path, sampler, place
    ):
        cfg = detector_cfg(data_root, tmp_path, RANDOM, sampler)
        check_loader_config(cfg)
        cfg.train_dataloader.drop_last = True
        with pytest.raises(ValueError, match=f'drop_last=False .*{place}$'):
            check_loader_config(cfg)
        cfg.merge_from_dict(
            {
                'train_dataloader.drop_last': False,
                f'train_dataloader.{place.partition("=")[0]}': True,
            }
        )
        check_loader_config(cfg)
        with DefaultScope.overwrite_default_scope('mmdet'):
            loader = Runner.build_dataloader(cfg.train_dataloader)
        assert loader.batch_sampler.drop_last

    @pytest.mark.parametrize(
        'loader, lines',
        [
            (dict(drop_last=True), ['drop_last=False', 'drop_last=True']),
            (dict(batch_sampler=None), ['_delete_=True']),
            (dict(), ["type='ClassPairBatchSampler'"]),
        ],
    )
    def test_the_lines_that_a_message_gives_work(
        self, folder, tmp_path, loader, lines
    ):
        """In a config that inherits from the one that was refused."""
        cfg = tiny_classifier_cfg(folder, tmp_path / 'a', only('CSKDLoss'))
        cfg.train_dataloader.update(loader)
        with pytest.raises(ValueError, match='Add to the config') as refused:
            runner_of(cfg).train()
        addition = str(refused.value).partition('Add to the config: ')[2]
        assert all(line in addition for line in lines)
        base = tmp_path / 'base.py'
        Config(dict(train_dataloader=cfg.train_dataloader)).dump(base)
        child = tmp_path / 'child.py'
        child.write_text(f"_base_ = '{base}'\n{addition}\n")
        cfg.train_dataloader = Config.fromfile(child).train_dataloader
        cfg.work_dir = str(tmp_path / 'b')
        runner = runner_of(cfg)
        runner.train()
        sampler = runner.train_dataloader.batch_sampler
        assert type(sampler).__name__ == PAIRS['type']
        assert sampler.drop_last == bool(loader.get('drop_last'))


@pytest.fixture
def spoilt(data_root, tmp_path):
    """A copy of the drawn set with boxes without area; their places."""
    root = tmp_path / 'spoilt'
    shutil.copytree(data_root, root)
    names = root / 'VOC2007/ImageSets/Main/trainval.txt'
    first, second = names.read_text().split()[:2]
    for name in (first, second):
        path = root / f'VOC2007/Annotations/{name}.xml'
        tree = ElementTree.parse(path)
        thing = ElementTree.fromstring(
            '<object><name>star</name><difficult>0</difficult><bndbox>'
            '<xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>30</ymax>'
            '</bndbox></object>'
        )
        # The first object, before those that are good.
        place = next(
            i for i, e in enumerate(tree.getroot()) if e.tag == 'object'
        )
        tree.getroot().insert(place, thing)
        tree.write(path)
    return root


def annotated(runner):
    """Labels and boxes of all images of the training set, by path."""
    dataset = runner.train_dataloader.dataset
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {
        info['img_path'].rpartition('/')[2]: [
            (one['bbox_label'], tuple(one['bbox']))
            for one in info['instances']
        ]
        for info in infos
    }


class TestBadBoxes:
    @pytest.mark.parametrize(
        'epsd, serialize',
        [(RANDOM, True), (dict(type='DenseHook'), False)],
        ids=['EPSDHook', 'DenseHook'],
    )
    def test_they_are_dropped_and_named(
        self, data_root, spoilt, tmp_path, epsd, serialize, warnings
    ):
        epsd = dict(epsd, bad_boxes='drop')
        cfg = detector_cfg(spoilt, tmp_path / 'run', epsd)
        cfg.train_dataloader.dataset.serialize_data = serialize
        runner = prepared(cfg)
        told = warnings(runner)
        (hook,) = [h for h in runner.hooks if type(h).__name__ == epsd['type']]
        hook.before_train(runner)
        (message,) = [m for m in told() if 'dropped' in m]
        assert message.startswith("2 bad boxes are dropped (bad_boxes='drop')")
        assert message.count('.xml, object 1 of') == 2
        good = prepared(detector_cfg(data_root, tmp_path / 'good', RANDOM))
        assert annotated(runner) == annotated(good)
        loaded = [
            sample
            for batch in runner.train_dataloader
            for sample in batch['data_samples']
        ]
        boxes = [sample.gt_instances.bboxes.tensor for sample in loaded]
        assert all((box[:, 2:] > box[:, :2]).all() for box in boxes)

    def test_samplers_and_early_workers_know_of_it(self, spoilt, tmp_path):
        """The only star of an image is gone: it is no partner for stars."""
        epsd = dict(only('CSKDLoss'), bad_boxes='drop')
        cfg = detector_cfg(spoilt, tmp_path / 'run', epsd, PAIRS)
        cfg.train_dataloader.update(num_workers=1)
        runner = prepared(by_iterations(cfg))
        hook_of(runner).before_train(runner)
        table = runner.train_dataloader.batch_sampler._table
        dataset = runner.train_dataloader.dataset
        assert table.classes == image_table(dataset).classes
        batch = next(runner.train_loop.dataloader_iterator)
        stop_workers(runner)
        for sample in batch['data_samples']:
            box = sample.gt_instances.bboxes.tensor
            assert (box[:, 2:] > box[:, :2]).all()

    def test_a_set_that_is_cut_short_is_cut_once(self, spoilt, tmp_path):
        epsd = dict(type='DenseHook', bad_boxes='drop')
        cfg = detector_cfg(spoilt, tmp_path / 'run', epsd)
        cfg.train_dataloader.num_batch_per_epoch = 1
        runner = runner_of(cfg)
        runner.train()
        assert runner.iter == 2
        assert len(runner.train_dataloader.dataset) == 4

    def test_the_error_offers_it(self, spoilt, tmp_path):
        cfg = detector_cfg(spoilt, tmp_path / 'run', RANDOM)
        with pytest.raises(
            ValueError, match="(?s)2 bad .*bad_boxes='drop' of EPSDHook"
        ):
            runner_of(cfg).train()

    @pytest.mark.parametrize('kind', ['EPSDHook', 'DenseHook'])
    def test_any_other_choice_is_refused(self, data_root, tmp_path, kind):
        epsd = dict(RANDOM) if kind == 'EPSDHook' else dict(type=kind)
        cfg = detector_cfg(data_root, tmp_path, dict(epsd, bad_boxes='ignore'))
        with pytest.raises(ValueError, match="bad_boxes='ignore' must be"):
            runner_of(cfg)

    @pytest.mark.parametrize('kind', ['EPSDHook', 'DenseHook'])
    def test_it_has_no_effect_on_a_classifier(self, folder, tmp_path, kind):
        epsd = dict(RANDOM) if kind == 'EPSDHook' else dict(type=kind)
        epsd['bad_boxes'] = 'drop'
        cfg = tiny_classifier_cfg(folder, tmp_path, epsd)
        with pytest.raises(ValueError, match='no effect on ImageClassifier'):
            runner_of(cfg).train()

    @pytest.mark.parametrize(
        'name',
        [
            'solo/solo_r50_fpn_1x_coco.py',
            'maskformer/maskformer_r50_ms-16xb1-75e_coco.py',
        ],
    )
    def test_detectors_with_heads_for_masks_are_looked_at(self, name):
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build(shipped(name))
        assert is_detector(model)


@needs('bccd.tar')
class TestBCCD:
    def cfg(self, tmp_path, **epsd):
        extracted('bccd.tar', tmp_path)
        (lists,) = tmp_path.rglob('ImageSets/Main')
        root = lists.parents[1]
        cfg = detector_cfg(root, tmp_path / 'run', dict(RANDOM, **epsd))
        cfg.train_dataloader.dataset.update(
            metainfo=dict(classes=('RBC', 'WBC', 'Platelets')),
            data_prefix=dict(sub_data_root=''),
            ann_file='ImageSets/Main/trainval.txt',
            data_root=f'{root}/',
        )
        cfg.model.roi_head.bbox_head.num_classes = 3
        return cfg

    def test_it_is_refused_with_the_way_out(self, tmp_path):
        with pytest.raises(ValueError, match="bad_boxes='drop'"):
            runner = prepared(self.cfg(tmp_path))
            hook_of(runner).before_train(runner)

    def test_it_trains_without_the_boxes_that_have_no_area(
        self, tmp_path, warnings
    ):
        runner = prepared(self.cfg(tmp_path, bad_boxes='drop'))
        before = sum(map(len, annotated(runner).values()))
        told = warnings(runner)
        hook_of(runner).before_train(runner)
        after = sum(map(len, annotated(runner).values()))
        (message,) = [m for m in told() if 'dropped' in m]
        assert int(message.split()[0]) == before - after in (1, 2)
        batch = next(iter(runner.train_dataloader))
        runner.model.train()
        losses = runner.model.train_step(batch, runner.optim_wrapper)
        assert all(torch.isfinite(loss) for loss in losses.values())


def spoil_picture(path, how):
    content = path.read_bytes()
    if how == 'truncated':
        content = content[: len(content) // 2]
    elif how == 'empty':
        content = b''
    else:
        content = b'<html>404</html>'
    path.write_bytes(content)


@pytest.mark.parametrize(
    'epsd, how',
    [
        (RANDOM, 'truncated'),
        (dict(type='DenseHook'), 'empty'),
        (dict(type='DenseHook'), 'no image'),
    ],
)
def test_a_damaged_picture_does_not_end_a_detectors_run(
    data_root, tmp_path, epsd, how, warnings
):
    root = tmp_path / 'copy'
    shutil.copytree(data_root, root)
    name = (root / 'VOC2007/ImageSets/Main/trainval.txt').read_text().split()
    spoil_picture(root / f'VOC2007/JPEGImages/{name[3]}.jpg', how)
    runner = runner_of(detector_cfg(root, tmp_path / 'run', epsd))
    told = warnings(runner)
    runner.train()
    skipped = [message for message in told() if 'skipped' in message]
    # The image that is drawn instead may be the same one.
    assert len(skipped) >= 2
    for number, message in enumerate(skipped, 1):
        assert f'{name[3]}.jpg' in message
        assert f' {number} skipped so far' in message


def test_a_damaged_picture_does_not_end_a_classifiers_run(
    folder, tmp_path, warnings
):
    root = tmp_path / 'copy'
    shutil.copytree(folder, root)
    spoil_picture(root / 'class_1/3.png', 'truncated')
    cfg = tiny_classifier_cfg(root, tmp_path / 'run', only('PSKDLoss'))
    runner = runner_of(cfg)
    told = warnings(runner)
    runner.train()
    (message,) = [message for message in told() if 'skipped' in message]
    assert 'class_1/3.png' in message
