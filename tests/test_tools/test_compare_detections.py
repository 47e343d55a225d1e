"""Ground truth, dense and pruned detections in one picture."""

from xml.etree import ElementTree

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

import epsd_mm

DEMO = epsd_mm.config_path('demo_faster_rcnn')
TOOL = 'analysis_tools/compare_detections'


@pytest.fixture
def models(tool, tmp_path, demo_options):
    """A detector that sees stars everywhere; half of one that sees none."""
    options = tool('train').parse_args([DEMO, *demo_options]).cfg_options
    cfg = Config.fromfile(DEMO)
    cfg.merge_from_dict(options)
    cfg.model.test_cfg.rpn.update(nms_pre=50, max_per_img=20)
    config = tmp_path / 'config.py'
    cfg.dump(config)
    model = MODELS.build(cfg.model)
    bias = model.roi_head.bbox_head.fc_cls.bias.data
    meta = dict(dataset_meta=dict(classes=cfg.classes))

    def save(name):
        state = dict(meta=meta, state_dict=model.state_dict())
        torch.save(state, tmp_path / name)
        return tmp_path / name

    bias[cfg.classes.index('star')] = 50
    dense = save('dense.pth')
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            flat = module.weight.data.view(-1)
            flat[: len(flat) // 2] = 0
    # The last is the background.
    bias[-1] = 100
    return [config, dense, config, save('pruned.pth')]


@pytest.fixture
def painted(tool, run, models, tmp_path, monkeypatch):
    """``painted('--num', 2)``: rows and titles of each picture, by name."""
    module, pictures = tool(TOOL), {}

    def run_main(*options, more=()):
        pictures.clear()
        arguments = [TOOL, *models, *more, '--out', tmp_path / 'out']
        arguments += ['--device', 'cpu', *options]
        monkeypatch.setattr('sys.argv', [*map(str, arguments)])
        module.main()
        return pictures

    def save(rows, titles, path):
        pictures[path.name] = rows, titles
        write(rows, titles, path)

    write = module.save
    monkeypatch.setattr(module, 'save', save)
    return run_main


def difference(one, two):
    return np.abs(one - two.astype(float)).mean()


def test_ground_truth_dense_and_pruned_in_a_row(painted, tmp_path, drawn):
    pictures = painted('--index', 2)
    ((rows, titles),) = pictures.values()
    assert titles == [
        'ground truth',
        'dense, 100.0% of the weights',
        'pruned, 50.0% of the weights',
    ]
    ((name, (truth, dense, pruned)),) = rows.items()
    folder = drawn / 'VOCdevkit' / 'VOC2007'
    listed = (folder / 'ImageSets' / 'Main' / 'test.txt').read_text().split()
    assert name == listed[2]
    image = mmcv.imread(folder / 'JPEGImages' / f'{name}.jpg')[..., ::-1]
    # Small images are enlarged, and blurred a little by the canvas.
    assert difference(pruned, np.kron(image, np.ones((6, 6, 1)))) < 3
    assert difference(dense, pruned) > 3
    annotation = ElementTree.parse(folder / 'Annotations' / f'{name}.xml')
    changed = np.abs(truth.astype(int) - pruned).max(axis=-1) > 40
    for box in annotation.iter('bndbox'):
        x1, y1, x2, y2 = (6 * (int(side.text) - 1) for side in box)
        for x, y in ((x1, (y1 + y2) // 2), ((x1 + x2) // 2, y2)):
            assert changed[y - 3 : y + 4, x - 3 : x + 4].any()
    assert changed.mean() < 0.2
    written = mmcv.imread(tmp_path / 'out' / '00002.png')
    height, width = written.shape[:2]
    assert width > 2.5 * height


def test_several_images_and_a_threshold_that_nothing_reaches(painted):
    pictures = painted('--num', 3, '--rows', 2, '--score-thr', 1)
    assert list(pictures) == ['00000.png', '00002.png']
    assert [len(rows) for rows, _ in pictures.values()] == [2, 1]
    for rows, _ in pictures.values():
        for truth, dense, pruned in rows.values():
            assert np.array_equal(dense, pruned)
            assert not np.array_equal(truth, pruned)


def test_images_that_are_not_there(painted):
    with pytest.raises(SystemExit, match=r'--index \[4\]: .* of 0 to 3'):
        painted('--index', 0, 4)


def test_difficult_objects_are_told_apart(tool):
    box = [1.0, 2.0, 3.0, 4.0]
    info = dict(
        instances=[
            dict(bbox=box, bbox_label=1, ignore_flag=1),
            dict(bbox=box, bbox_label=0, ignore_flag=0),
        ]
    )
    truth = tool(TOOL).truth_of(info, ('cat', 'dog')).gt_instances
    assert truth.label_names == ['dog (difficult)', 'cat']
    assert truth.labels.tolist() == [1, 0]
    assert truth.bboxes.tolist() == [box, box]


def test_an_image_without_objects(tool):
    truth = tool(TOOL).truth_of(dict(instances=[]), ('cat',)).gt_instances
    assert truth.bboxes.shape == (0, 4)


def test_more_models_get_a_column_and_a_name_each(painted, models):
    names = ['one', 'two', 'three']
    pictures = painted('--index', 2, '--names', *names, more=models[2:])
    ((rows, titles),) = pictures.values()
    assert [title.split(',')[0] for title in titles[1:]] == names
    (row,) = rows.values()
    assert difference(row[2], row[3]) == 0 < difference(row[1], row[3])


def test_of_a_compact_network_titles_tell_what_is_left_of_the_whole(
    painted, models, tmp_path
):
    cfg = Config.fromfile(models[0])
    whole = MODELS.build(cfg.model)
    first, second = whole.roi_head.bbox_head.shared_fcs
    width, gone = first.out_features, first.out_features // 4
    layers = {
        'roi_head.bbox_head.shared_fcs.0': dict(
            out_features=[width, width - gone]
        ),
        'roi_head.bbox_head.shared_fcs.1': dict(
            in_features=[width, width - gone]
        ),
    }
    kind = cfg.model.pop('type')
    cfg.model = dict(
        type='Compact',
        of=kind,
        channels=dict(version=1, layers=layers),
        **cfg.model,
    )
    cfg.dump(tmp_path / 'compact.py')
    state = dict(
        meta=dict(dataset_meta=dict(classes=cfg.classes)),
        state_dict=MODELS.build(cfg.model).state_dict(),
    )
    torch.save(state, tmp_path / 'compact.pth')
    more = [tmp_path / 'compact.py', tmp_path / 'compact.pth']
    ((_, titles),) = painted('--index', 2, more=more).values()
    total = sum(
        module.weight.numel()
        for module in whole.modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    )
    removed = gone * (first.in_features + second.out_features)
    left = 100 * (total - removed) / total
    assert 1 < left < 99
    assert titles[-1] == f'compact, {left:.1f}% of the weights'


def test_counts_below_one_are_told_with_their_values(painted):
    with pytest.raises(SystemExit, match='--rows 0 and --num 8 must be'):
        painted('--rows', 0)


@pytest.mark.parametrize(
    'more, names, told',
    [
        (
            ['lonely.py'],
            [],
            'lonely.py has no checkpoint beside it: name models in pairs',
        ),
        ([], ['a', 'a'], '--names a a: 2 different names are needed'),
    ],
)
def test_models_without_a_pair_or_a_name_are_told(painted, more, names, told):
    options = ['--names', *names] if names else []
    with pytest.raises(SystemExit, match=told):
        painted(*options, more=more)
