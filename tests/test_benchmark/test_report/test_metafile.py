"""Results for those who collect them."""

from pathlib import Path

import pytest
import yaml

import epsd_mm
from epsd_mm.benchmark.comparison import Comparison
from epsd_mm.benchmark.report import write_metafile
from tests.helpers.suites import CONFIG, METRIC, compared, suite_of

ROOT = Path(epsd_mm.__file__).parents[1]
METHODS = {'dense': dict(variant='dense'), 'EPSD (ours)': dict()}


def written(
    folder,
    iterations=782.0,
    root=ROOT,
    name='metafile.yml',
    index=None,
    **setup,
):
    suite = suite_of(folder, METHODS, seeds=2, **setup)
    comparison = compared(
        suite,
        lambda cell: {
            METRIC: 70.0 + cell.seed + cell.method.prunes,
            'metric/pascal_voc/mAP': 0.5,
            'training/iterations': iterations,
        },
    )
    path = folder / name
    write_metafile(comparison, path, root, index)
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


def test_what_comes_after_others_tells_of_how_many_trainings(tmp_path):
    """Rounds of 20 % to 36 %: of the dense network, and two more."""
    methods = {
        'dense': dict(variant='dense'),
        'EPSD': dict(),
        'IMP': dict(variant='prune-only', rounds='IMP'),
        'twin': dict(sd_loss='KD', masks_of='EPSD', teacher='dense'),
    }
    suite = suite_of(tmp_path, methods, 1, (0.36,))
    found = compared(suite, lambda cell: {METRIC: 70.0})
    write_metafile(found, tmp_path / 'm.yml', ROOT)
    models = yaml.safe_load((tmp_path / 'm.yml').read_text())['Models']
    told = {m['Name']: m['Metadata'].get('Trainings') for m in models}
    assert told == {
        'a_dense': None,
        'a_epsd_0.36': None,
        'a_imp_0.36': 3,
        'a_twin_0.36': 2,
    }


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
    with pytest.raises(ValueError, match='mine.py is not inside .* by --root'):
        written(tmp_path, config=str(config))
    # Those of a project of one's own, which has no docs of this one.
    content = written(tmp_path, root=tmp_path, config=str(config))
    assert content['Models'][0]['Config'] == 'mine.py'
    assert 'README' not in content['Collections'][0]


@pytest.fixture
def project(tmp_path):
    """A project that has nothing but a config."""
    root = tmp_path / 'project'
    root.mkdir()
    (root / 'mine.py').write_text(f'_base_ = {CONFIG!r}')
    return root


def indexed(project, index, name='metafile.yml', folder=None):
    """Writes a metafile that an index of the project names."""
    return written(
        folder or project,
        root=project,
        config=str(project / 'mine.py'),
        name=name,
        index=project / index,
    )


def test_an_index_names_each_metafile_once(project):
    for name in ('b.yml', 'a.yml', 'b.yml'):
        assert indexed(project, 'index.yml', name)['Models']
    content = yaml.safe_load((project / 'index.yml').read_text())
    assert content == dict(Import=['a.yml', 'b.yml'])


def refused(project, index, match, folder=None):
    """What is asked for is refused, and no metafile is left behind."""
    with pytest.raises(ValueError, match=match):
        indexed(project, index, folder=folder)
    assert not [*project.parent.rglob('metafile.yml')]


@pytest.mark.parametrize('text', ['- a.yml', 'Import: a.yml', 'Other: []'])
def test_another_file_is_no_index(text, project):
    (project / 'index.yml').write_text(text)
    refused(project, 'index.yml', 'index.yml is no model-index')
    assert (project / 'index.yml').read_text() == text


def test_a_metafile_of_elsewhere_is_not_written_for_an_index(
    project, tmp_path
):
    refused(project, 'index.yml', 'metafile.yml is not inside', tmp_path)
    assert not (project / 'index.yml').exists()


def test_an_index_without_a_folder_or_in_place_of_the_metafile(project):
    refused(project, 'none/index.yml', 'there is no folder')
    refused(project, 'metafile.yml', 'both the metafile and its index')
