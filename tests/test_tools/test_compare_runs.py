"""Finished runs side by side."""

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.reports import REPORT

DOCS = Path(__file__).parents[2] / 'docs'
ANIMALS = ('cat', 'cow', 'dog', 'horse', 'person', 'sheep')


def finished(folder, top1, report=None, logs=1):
    """A work dir with the logs that a run leaves; earlier epochs differ."""
    for part in range(logs):
        path = folder / f'2026010{part}' / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        epoch, first = 1 + 2 * part, 10 + 20 * part  # where it went on
        lines = [
            dict(loss=2.0 - part, time=0.5, epoch=epoch, iter=first),
            {'accuracy/top1': 99.0, 'calibration/ece': 0.5, 'step': epoch},
            dict(loss=1.0 - part, time=0.25, epoch=epoch + 1, iter=first + 10),
            {
                'accuracy/top1': top1,
                'calibration/ece': 0.125,
                'step': epoch + 1,
            },
        ]
        path.write_text('\n'.join(map(json.dumps, lines)))
    if report:
        (folder / 'epsd').mkdir()
        (folder / 'epsd' / 'report.json').write_text(json.dumps(report))
    return folder


COMPARED = dict(REPORT, overlap_with_plain=0.8, overlap_noise_floor=0.7)


def table(text):
    """Rows of a Markdown table by the first cell."""
    head, _, *rows = [
        [cell.strip() for cell in line.strip('| \n').split(' | ')]
        for line in text.splitlines()
    ]
    return {row[0]: dict(zip(head, row)) for row in rows}


def test_the_last_evaluation_counts_not_the_best(run, tmp_path, capsys):
    sparse = finished(tmp_path / 'set' / 'epsd', 50.0, COMPARED)
    dense = finished(tmp_path / 'set' / 'dense', 60.0, logs=2)
    run('analysis_tools/compare_runs', sparse, dense)
    rows = table(capsys.readouterr().out)
    assert rows['set/epsd']['top-1'] == '50'
    assert rows['set/dense']['top-1'] == '60'
    assert rows['set/epsd']['ECE'] == '0.125'
    assert rows['set/epsd']['last loss'] == '1.500'
    assert rows['set/dense']['last loss'] == '1.000'
    assert rows['set/epsd']['largest growth'] == '1.5'
    assert rows['set/epsd']['mean size of SD at scoring'] == '0.5'
    assert rows['set/epsd']['plain with plain'] == '0.7'
    assert not rows['set/dense'].get('sparsity')


def test_a_run_without_evaluation_is_named(run, tmp_path):
    with pytest.raises(SystemExit, match='error: .*nothing holds no log'):
        run('analysis_tools/compare_runs', tmp_path / 'nothing')


def test_average_precision_of_chosen_classes(run, tmp_path, capsys):
    folder = finished(tmp_path / 'voc' / 'epsd', 50.0)
    (log,) = folder.glob('*/vis_data/scalars.json')
    found = {f'pascal_voc/AP50_{n}': v for n, v in (('cat', 0.25), ('cow', 1))}
    with log.open('a') as file:
        file.write('\n' + json.dumps({**found, 'step': 2}))
    run('analysis_tools/compare_runs', folder, '--classes', 'cat', 'cow')
    row = table(capsys.readouterr().out)['voc/epsd']
    assert row['cat'] == '0.250' and row['cow'] == '1.000'
    assert row['mean of these'] == '0.625'


def test_a_class_that_was_not_evaluated_is_named(run, tmp_path):
    folder = finished(tmp_path / 'voc' / 'epsd', 50.0)
    with pytest.raises(SystemExit, match='error: .*no AP50 of dgo'):
        run('analysis_tools/compare_runs', folder, '--classes', 'dgo')


@pytest.mark.parametrize(
    'page, runs, classes',
    [
        (
            'classification_subsets',
            {
                f'{config}/{variant}': f'{config}_{variant}'
                for config in (
                    'cifar10_jpeg_dlb',
                    'cub_cs_kd',
                    'tiny_imagenet_ps_kd',
                )
                for variant in ('epsd', 'simple-combination')
            },
            (),
        ),
        (
            'voc_detectors',
            {
                f'{detector}/{loss}': f'{detector}_{loss}'
                for detector in ('faster_rcnn', 'retinanet', 'ssd300')
                for loss in ('CSKDLoss', 'DLBLoss', 'PSKDLoss')
            },
            ANIMALS,
        ),
        ('transfer', {'transfer/cub': 'cub'}, ()),
    ],
)
def test_tables_in_the_docs_come_from_the_logs_beside_them(
    page, runs, classes, run, tmp_path, capsys
):
    logs = DOCS / page / 'logs'
    for name, stem in runs.items():
        for part, place in (
            ('scalars', '20260101_000000/vis_data/scalars.json'),
            ('report', 'epsd/report.json'),
        ):
            source = logs / f'{stem}_{part}.json'
            if source.is_file():
                (tmp_path / name / place).parent.mkdir(parents=True)
                shutil.copy(source, tmp_path / name / place)
    options = ['--classes', *classes] if classes else []
    folders = [tmp_path / name for name in runs]
    run('analysis_tools/compare_runs', *folders, *options)
    printed = capsys.readouterr().out
    assert printed in (DOCS / page / 'README.md').read_text()
