"""Results for those who collect them."""

from pathlib import Path

import pytest
import yaml

import epsd_mm
from epsd_mm.benchmark.comparison import Comparison
from epsd_mm.benchmark.report import add_to_index, write_metafile
from tests.helpers.suites import CONFIG, METRIC, compared, suite_of

ROOT = Path(epsd_mm.__file__).parents[1]
METHODS = {'dense': dict(variant='dense'), 'EPSD (ours)': dict()}


def written(folder, iterations=782.0, root=ROOT, **setup):
    suite = suite_of(folder, METHODS, seeds=2, **setup)
    comparison = compared(
        suite,
        lambda cell: {
            METRIC: 70.0 + cell.seed + cell.method.prunes,
            'metric/pascal_voc/mAP': 0.5,
            'training/iterations': iterations,
        },
    )
    path = folder / 'metafile.yml'
    write_metafile(comparison, path, root)
    return yaml.safe_load(path.read_text())


def test_a_model_is_the_mean_of_a_method(tmp_path):
    content = written(tmp_path)
    dense, epsd = content['Models']
    assert (dense['Name'], epsd['Name']) == ('a_dense', 'a_epsd-ours-_0.9')
    assert {each['Config'] for each in content['Models']} == {
        'configs/cifar100_resnet18_epsd.py'
    }
    assert epsd['Metadata'] == {
        'Seeds': 2,
        'Variant': 'epsd',
        'Criterion': 'ProsPr',
        'Self-Distillation': 'CSKDLoss',
        'Sparsity': 0.9,
        'Epochs': 200,
    }
    assert epsd['Results'] == [
        dict(
            Task='Image Classification',
            Dataset='a',
            Metrics={'Top 1 Accuracy': 71.5},
        ),
        dict(Task='Object Detection', Dataset='a', Metrics={'mAP': 50.0}),
    ]
    assert epsd['In Collection'] == content['Collections'][0]['Name']


def test_only_a_whole_data_set_has_its_name(tmp_path):
    (dense, _) = written(tmp_path, iterations=391.0 * 200)['Models']
    assert dense['Results'][0]['Dataset'] == 'CIFAR-100'


def test_a_suite_without_results_is_refused(tmp_path):
    suite = suite_of(tmp_path, METHODS)
    with pytest.raises(ValueError, match='suite.py: no cell is finished'):
        write_metafile(Comparison(suite, {}), tmp_path / 'm.yml', ROOT)
    assert not (tmp_path / 'm.yml').exists()


def test_configs_of_elsewhere_are_refused(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text(f'_base_ = {CONFIG!r}')
    with pytest.raises(ValueError, match='mine.py is not inside'):
        written(tmp_path, config=str(config))
    # Those of a project of one's own, which has no docs of this one.
    content = written(tmp_path, root=tmp_path, config=str(config))
    assert content['Models'][0]['Config'] == 'mine.py'
    assert 'README' not in content['Collections'][0]


def test_an_index_names_each_metafile_once(tmp_path):
    index = tmp_path / 'configs' / 'model-index.yml'
    index.parent.mkdir()
    for name in ('b.yml', 'a.yml', 'b.yml'):
        add_to_index(tmp_path / name, index, tmp_path)
    assert yaml.safe_load(index.read_text()) == dict(Import=['a.yml', 'b.yml'])


@pytest.mark.parametrize('text', ['- a.yml', 'Import: a.yml', 'Other: []'])
def test_another_file_is_no_index(text, tmp_path):
    (tmp_path / 'index.yml').write_text(text)
    with pytest.raises(ValueError, match='index.yml is no model-index'):
        add_to_index(tmp_path / 'a.yml', tmp_path / 'index.yml', tmp_path)
    assert (tmp_path / 'index.yml').read_text() == text
