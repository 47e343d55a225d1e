"""VOC put into place: complete, checked, safe, or not at all."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.preparation import LAYOUTS, prepare
from epsd_mm.preparation.check import check
from tests.helpers.archives import pack, tree
from tests.helpers.real_data import FOLDER, needs

VOC = LAYOUTS['voc']


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """A small VOC2007: 10 images in trainval, 4 in test."""
    root = tmp_path_factory.mktemp('drawn')
    devkit = generate_voc(root, train=10, test=4, size=32)
    (devkit / 'drawn_voc.json').unlink()
    return devkit


@pytest.fixture
def published(monkeypatch):
    """Let the drawn set be the published VOC2007."""
    counts = dict(train=8, val=2, trainval=10, test=4)
    counts = {f'VOC2007 {split}': count for split, count in counts.items()}
    monkeypatch.setattr(VOC, 'published', VOC.published | counts)


def packed(devkit, path, keep=lambda name: True):
    files = {f'some/VOCdevkit/{n}': c for n, c in tree(devkit).items()}
    return pack({n: c for n, c in files.items() if keep(n)}, path)


@pytest.mark.parametrize(
    'kind', ['tar', 'tar.gz', 'zip', 'devkit', 'parent', 'year']
)
def test_every_kind_of_source_ends_as_the_same_tree(
    tmp_path, drawn, published, kind
):
    source = {
        'devkit': lambda: drawn,
        'parent': lambda: drawn.parent,
        'year': lambda: drawn / 'VOC2007',
        'zip': lambda: packed(drawn, tmp_path / 'voc.zip'),
        'tar': lambda: packed(drawn, tmp_path / 'voc.tar'),
        'tar.gz': lambda: packed(drawn, tmp_path / 'voc.tar.gz'),
    }[kind]()
    counts, new = prepare(VOC, [source], tmp_path / 'data')
    assert tree(tmp_path / 'data' / 'VOCdevkit') == tree(drawn)
    assert new == len(tree(drawn))
    assert [c.found for c in counts] == [8, 2, 10, 4]


def test_several_archives_make_one_set(tmp_path, drawn, published):
    test = set((drawn / 'VOC2007/ImageSets/Main/test.txt').read_text().split())

    def in_test(name):
        return Path(name).stem in test | {'test'}

    first = packed(drawn, tmp_path / 'a.tar', lambda n: not in_test(n))
    second = packed(drawn, tmp_path / 'b.tar', in_test)
    prepare(VOC, [first, second], tmp_path / 'together')
    assert tree(tmp_path / 'together' / 'VOCdevkit') == tree(drawn)
    # The same, one after the other.
    counts, _ = prepare(VOC, [first], tmp_path / 'data')
    assert [c.part.split()[1] for c in counts] == ['train', 'val', 'trainval']
    counts, new = prepare(VOC, [second], tmp_path / 'data')
    assert len(counts) == 4 and new == 2 * 4 + 1
    assert tree(tmp_path / 'data' / 'VOCdevkit') == tree(drawn)


def test_only_absent_lists_are_downloaded(
    tmp_path, drawn, published, monkeypatch
):
    asked = []

    def download(archive, folder):
        asked.append((archive.name, folder))
        raise OSError('no network')

    module = sys.modules[prepare.__module__]
    monkeypatch.setattr(module, 'download', download)
    prepare(VOC, [drawn], tmp_path)
    with pytest.raises(OSError, match='no network'):
        prepare(VOC, data_root=tmp_path)
    name = 'VOCtrainval_11-May-2012.tar'
    assert asked == [(name, tmp_path / 'downloads')]


def test_a_second_run_does_nothing(tmp_path, drawn, published):
    source = packed(drawn, tmp_path / 'voc.tar')
    prepare(VOC, [source], tmp_path / 'data')
    files = [p for p in (tmp_path / 'data').rglob('*') if p.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    _, new = prepare(VOC, [source], tmp_path / 'data')
    assert new == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert os.listdir(tmp_path / 'data') == ['VOCdevkit']


def test_a_devkit_on_another_disk_is_filled_there(tmp_path, drawn, published):
    (tmp_path / 'disk' / 'VOCdevkit').mkdir(parents=True)
    (tmp_path / 'data').mkdir()
    link = tmp_path / 'data' / 'VOCdevkit'
    link.symlink_to(tmp_path / 'disk' / 'VOCdevkit')
    prepare(VOC, [drawn], tmp_path / 'data')
    assert link.is_symlink()
    assert tree(tmp_path / 'disk' / 'VOCdevkit') == tree(drawn)


def test_what_voc_brings_beside_the_data_stays_out(tmp_path, drawn, published):
    devkit = tmp_path / 'VOCdevkit'
    shutil.copytree(drawn, devkit)
    (devkit / 'VOCcode').mkdir()
    (devkit / 'VOCcode' / 'VOCinit.m').write_text('code')
    (devkit / 'results' / 'VOC2007' / 'Main').mkdir(parents=True)
    (devkit / 'results' / 'VOC2007' / 'Main' / 'x.txt').write_text('result')
    source = packed(devkit, tmp_path / 'voc.tar')
    prepare(VOC, [source], tmp_path / 'data')
    assert tree(tmp_path / 'data' / 'VOCdevkit') == tree(drawn)


def test_a_subset_is_refused_unless_allowed(tmp_path, drawn):
    with pytest.raises(
        ValueError, match='trainval: 10 instead of 5,011.*--allow'
    ):
        prepare(VOC, [drawn], tmp_path / 'data')
    assert os.listdir(tmp_path / 'data') == []
    counts, _ = prepare(VOC, [drawn], tmp_path / 'data', allow_subset=True)
    assert counts[2] == ('VOC2007 trainval', 10, 5011)


@pytest.mark.parametrize(
    'broken, words',
    [
        ('JPEGImages/000003.jpg', '000003.jpg is missing'),
        ('Annotations/000003.xml', '000003.xml is missing'),
    ],
)
def test_a_hole_is_named_and_nothing_is_put_into_place(
    tmp_path, drawn, published, broken, words
):
    source = packed(
        drawn, tmp_path / 'voc.tar', lambda name: not name.endswith(broken)
    )
    with pytest.raises(ValueError, match=words):
        prepare(VOC, [source], tmp_path / 'data')
    assert os.listdir(tmp_path / 'data') == []


def test_broken_xml_is_named(tmp_path, drawn):
    devkit = tmp_path / 'VOCdevkit'
    shutil.copytree(drawn, devkit)
    broken = devkit / 'VOC2007' / 'Annotations' / '000002.xml'
    broken.write_text(broken.read_text()[:100])
    with pytest.raises(ValueError, match='000002.xml: '):
        check(VOC, devkit, allow_subset=True)


def test_other_content_is_never_overwritten(tmp_path, drawn, published):
    prepare(VOC, [drawn], tmp_path / 'data')
    other = tmp_path / 'VOCdevkit'
    shutil.copytree(drawn, other)
    (other / 'VOC2007' / 'JPEGImages' / '000001.jpg').write_bytes(b'other')
    before = tree(tmp_path / 'data')
    with pytest.raises(FileExistsError, match='000001.jpg'):
        prepare(VOC, [other], tmp_path / 'data')
    assert tree(tmp_path / 'data') == before


def test_an_absent_source_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.tar does not exist'):
        prepare(VOC, [tmp_path / 'nowhere.tar'], tmp_path / 'data')
    assert not (tmp_path / 'data').exists()


def test_a_source_without_voc_says_so(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='expected VOC2007 or VOC2012'):
        prepare(VOC, [tmp_path / 'empty'], tmp_path / 'data')


@pytest.mark.parametrize('present', ['nothing', 'images'])
def test_interrupted_while_moving_no_list_names_absent_images(
    tmp_path, drawn, published, monkeypatch, present
):
    if present == 'images':
        (tmp_path / 'data' / 'VOCdevkit').mkdir(parents=True)
    moved = []
    replace, rename = Path.replace, Path.rename

    def stop_after_five(self, target, move=replace):
        if len(moved) == 5:
            raise KeyboardInterrupt
        moved.append(target)
        return move(self, target)

    def stop(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, 'replace', stop_after_five)
    monkeypatch.setattr(Path, 'rename', stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(VOC, [drawn], tmp_path / 'data')
    assert not list((tmp_path / 'data').rglob('*.txt'))
    monkeypatch.setattr(Path, 'replace', replace)
    monkeypatch.setattr(Path, 'rename', rename)
    prepare(VOC, [drawn], tmp_path / 'data')
    assert tree(tmp_path / 'data' / 'VOCdevkit') == tree(drawn)
    assert os.listdir(tmp_path / 'data') == ['VOCdevkit']


@needs('voc.tar')
def test_real_voc_is_put_into_place(tmp_path):
    source = FOLDER / 'voc.tar'
    counts, new = prepare(VOC, [source], tmp_path, allow_subset=True)
    images = {count.part: count.found for count in counts}
    assert images['VOC2007 trainval'] == 172
    assert images['VOC2012 trainval'] == 650
    assert new == len(tree(tmp_path / 'VOCdevkit'))
    with pytest.raises(ValueError, match='--allow-subset'):
        prepare(VOC, [source], tmp_path)
