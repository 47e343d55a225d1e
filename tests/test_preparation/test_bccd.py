"""BCCD, which has no archive of a lasting hash, is checked by its files."""

import hashlib
import os
import subprocess

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

import epsd_mm
from epsd_mm.datasets.bad_boxes import drop_bad_boxes
from epsd_mm.preparation import LAYOUTS, prepare, require_data
from epsd_mm.preparation.layout import Archive
from tests.helpers.archives import pack, picture, tree
from tests.helpers.real_data import FOLDER, needs
from tests.helpers.servers import serving

BCCD = LAYOUTS['bccd']
LISTS = dict(train=[0, 3], val=[1], trainval=[0, 1, 3], test=[2])
XML = '<annotation><filename>{}</filename></annotation>'


def small_set():
    """What is put into place of a small set of the same form."""
    files = {}
    for number in LISTS['trainval'] + LISTS['test']:
        name = f'BloodImage_{number:05d}'
        files[f'Annotations/{name}.xml'] = XML.format(name).encode()
        files[f'JPEGImages/{name}.jpg'] = picture(number)
    for split, numbers in LISTS.items():
        lines = ''.join(f'BloodImage_{n:05d}\n' for n in numbers)
        files[f'ImageSets/Main/{split}.txt'] = lines.encode()
    return files


FILES = small_set()


def repository(files=FILES):
    """The repository as GitHub packs it, with what is not needed."""
    top = 'BCCD_Dataset-0123abcd'
    beside = ('README.md', 'LICENSE', 'example.jpg', 'BCCD/.DS_Store')
    return {f'{top}/{name}': b'x' for name in beside} | {
        f'{top}/BCCD/{name}': content for name, content in files.items()
    }


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Let the small set be the published one, as the shell sees it."""
    folder = pack(FILES, tmp_path / 'published')
    names = subprocess.run(
        'find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum',
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    counts = {f'{split} images': len(of) for split, of in LISTS.items()}
    monkeypatch.setattr(BCCD, 'published', counts)
    monkeypatch.setattr(BCCD, 'contents', f'sha256:{names[0]}')


@pytest.mark.parametrize('kind', ['tar.gz', 'zip', 'folder'])
def test_the_repository_ends_as_a_voc_layout(tmp_path, published, kind):
    source = pack(repository(), tmp_path / f'bccd.{kind}')
    counts, new = prepare(BCCD, [source], tmp_path / 'data')
    assert tree(tmp_path / 'data' / 'bccd') == FILES
    assert new == len(FILES)
    assert [c.found for c in counts] == [2, 1, 3, 1]
    assert prepare(BCCD, [source], tmp_path / 'data').new == 0


@pytest.mark.parametrize(
    'name',
    [
        'JPEGImages/BloodImage_00002.jpg',
        'Annotations/BloodImage_00002.xml',
        'ImageSets/Main/test.txt',
    ],
)
def test_a_file_with_other_bytes_is_refused(tmp_path, published, name):
    files = FILES | {name: FILES[name] + b'\n'}
    source = pack(repository(files), tmp_path / 'bccd.tar')
    with pytest.raises(ValueError, match='its files have sha256.*--allow-sub'):
        prepare(BCCD, [source], tmp_path / 'data')
    assert os.listdir(tmp_path / 'data') == []
    prepare(BCCD, [source], tmp_path / 'data', allow_subset=True)
    with pytest.raises(ValueError, match='its files have sha256'):
        prepare(BCCD, data_root=tmp_path / 'data')


def test_exchanged_files_are_refused(tmp_path, published):
    one, other = (f'JPEGImages/BloodImage_0000{i}.jpg' for i in (0, 1))
    files = FILES | {one: FILES[other], other: FILES[one]}
    with pytest.raises(ValueError, match='its files have sha256'):
        prepare(BCCD, [pack(files, tmp_path / 'own')], tmp_path / 'data')


def test_files_of_ones_own_beside_it_do_not_matter(tmp_path, published):
    prepare(BCCD, [pack(FILES, tmp_path / 'own')], tmp_path / 'data')
    (tmp_path / 'data' / 'bccd' / 'coco.json').write_text('{}')
    assert prepare(BCCD, data_root=tmp_path / 'data').new == 0


def test_a_missing_image_is_named(tmp_path, published):
    name = 'JPEGImages/BloodImage_00001.jpg'
    files = {n: c for n, c in FILES.items() if n != name}
    with pytest.raises(ValueError, match=f'{name} is missing'):
        prepare(BCCD, [pack(files, tmp_path / 'own')], tmp_path / 'data')


def served(monkeypatch, content):
    """Publish an archive on this machine."""
    monkeypatch.setenv('no_proxy', '*')
    server = serving({'bccd.tar.gz': content})

    def publish(server):
        url = f'{server.url}/bccd.tar.gz'
        archive = Archive('bccd.tar.gz', None, url)
        monkeypatch.setattr(BCCD, 'archives', (archive,))

    return server, publish


def test_archives_of_different_bytes_are_the_same_set(
    tmp_path, published, monkeypatch
):
    contents = set()
    for number, files in enumerate(
        (repository(), dict(reversed(repository().items())))
    ):
        packed = pack(files, tmp_path / f'{number}.tar.gz').read_bytes()
        contents.add(hashlib.sha256(packed).hexdigest())
        server, publish = served(monkeypatch, packed)
        with server as running:
            publish(running)
            root = tmp_path / f'data{number}'
            assert prepare(BCCD, data_root=root).new == len(FILES)
        assert tree(root) == {f'bccd/{n}': c for n, c in FILES.items()}
    assert len(contents) == 2


@pytest.mark.parametrize('wrong', ['page', 'cut off', 'other', 'empty'])
def test_what_was_fetched_and_is_wrong_is_fetched_anew(
    tmp_path, published, monkeypatch, wrong
):
    whole = pack(repository(), tmp_path / 'a.tar.gz').read_bytes()
    name = 'Annotations/BloodImage_00000.xml'
    other = repository(FILES | {name: XML.format('other').encode()})
    content = {
        'page': b'<html>Too many requests</html>',
        'cut off': whole[:-700],
        'other': pack(other, tmp_path / 'b.tar.gz').read_bytes(),
        'empty': pack({'x/README.md': b''}, tmp_path / 'c.tgz').read_bytes(),
    }[wrong]
    server, publish = served(monkeypatch, content)
    with server as running:
        publish(running)
        with pytest.raises((ValueError, FileNotFoundError)):
            prepare(BCCD, data_root=tmp_path / 'data')
        assert tree(tmp_path / 'data') == {}
        running.files['bccd.tar.gz'] = whole
        prepare(BCCD, data_root=tmp_path / 'data')
    assert tree(tmp_path / 'data' / 'bccd') == FILES


def test_an_archive_without_a_hash_is_of_a_set_with_one():
    for layout in LAYOUTS.values():
        if any(archive.checksum is None for archive in layout.archives):
            assert layout.contents, layout.name


@needs('bccd.tar')
def test_real_bccd_is_the_published_one_and_is_read(tmp_path, monkeypatch):
    counts, _ = prepare(BCCD, [FOLDER / 'bccd.tar'], tmp_path / 'data')
    assert [count.found for count in counts] == [205, 87, 292, 72]
    cfg = Config.fromfile(epsd_mm.config_path('_base_/datasets/bccd'))
    monkeypatch.chdir(tmp_path)
    require_data(cfg)
    with DefaultScope.overwrite_default_scope('mmdet'):
        train = DATASETS.build(cfg.train_dataloader.dataset)
        test = DATASETS.build(cfg.val_dataloader.dataset)
    assert (len(train), len(test)) == (292, 72)
    assert len(train[0]['data_samples'].gt_instances)
    # The two objects without an area are in the images to train on.
    assert drop_bad_boxes(train) == 2
    assert drop_bad_boxes(test) == 0
