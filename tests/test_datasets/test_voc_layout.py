"""VOC put into place: complete, checked, safe, or not at all."""

import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from mmengine.config import Config

from epsd_mm.datasets import voc_layout
from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.datasets.voc_layout import check_voc, prepare_voc, require_voc

REAL = Path(__file__).parents[3] / 'shared' / 'data' / 'voc.tar'


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob('*')
        if path.is_file()
    }


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """A small VOC2007: 10 images in trainval, 4 in test."""
    root = tmp_path_factory.mktemp('drawn')
    devkit = generate_voc(root, train=10, test=4, size=32)
    (devkit / 'drawn_voc.json').unlink()
    return devkit


@pytest.fixture
def published(monkeypatch):
    """Let the drawn set be the published one."""
    counts = dict(train=8, val=2, trainval=10, test=4)
    monkeypatch.setitem(voc_layout.PUBLISHED, 'VOC2007', counts)


def pack_tar(devkit, path, keep=lambda name: True, mode='w'):
    with tarfile.open(path, mode) as archive:
        for name, content in tree(devkit).items():
            if keep(name):
                member = tarfile.TarInfo(f'VOCdevkit/{name}')
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def pack_zip(devkit, path):
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in tree(devkit).items():
            archive.writestr(f'some/where/VOCdevkit/{name}', content)
    return path


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
        'zip': lambda: pack_zip(drawn, tmp_path / 'voc.zip'),
        'tar': lambda: pack_tar(drawn, tmp_path / 'voc.tar'),
        'tar.gz': lambda: pack_tar(
            drawn, tmp_path / 'voc.tar.gz', mode='w:gz'
        ),
    }[kind]()
    counts, new = prepare_voc([source], tmp_path / 'data')
    assert tree(tmp_path / 'data' / 'VOCdevkit') == tree(drawn)
    assert new == len(tree(drawn))
    assert [c.images for c in counts] == [8, 2, 10, 4]


def test_several_archives_make_one_set(tmp_path, drawn, published):
    test = set((drawn / 'VOC2007/ImageSets/Main/test.txt').read_text().split())

    def in_test(name):
        return Path(name).stem in test | {'test'}

    first = pack_tar(drawn, tmp_path / 'a.tar', lambda n: not in_test(n))
    second = pack_tar(drawn, tmp_path / 'b.tar', in_test)
    prepare_voc([first, second], tmp_path / 'together')
    assert tree(tmp_path / 'together' / 'VOCdevkit') == tree(drawn)
    # The same, one after the other.
    counts, _ = prepare_voc([first], tmp_path / 'data')
    assert [c.split for c in counts] == ['train', 'val', 'trainval']
    counts, new = prepare_voc([second], tmp_path / 'data')
    assert len(counts) == 4 and new == 2 * 4 + 1
    assert tree(tmp_path / 'data' / 'VOCdevkit') == tree(drawn)


def test_a_second_run_does_nothing(tmp_path, drawn, published):
    source = pack_tar(drawn, tmp_path / 'voc.tar')
    prepare_voc([source], tmp_path / 'data')
    files = [p for p in (tmp_path / 'data').rglob('*') if p.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    _, new = prepare_voc([source], tmp_path / 'data')
    assert new == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert os.listdir(tmp_path / 'data') == ['VOCdevkit']


def test_a_devkit_on_another_disk_is_filled_there(tmp_path, drawn, published):
    (tmp_path / 'disk' / 'VOCdevkit').mkdir(parents=True)
    (tmp_path / 'data').mkdir()
    link = tmp_path / 'data' / 'VOCdevkit'
    link.symlink_to(tmp_path / 'disk' / 'VOCdevkit')
    prepare_voc([drawn], tmp_path / 'data')
    assert link.is_symlink()
    assert tree(tmp_path / 'disk' / 'VOCdevkit') == tree(drawn)


def test_what_voc_brings_beside_the_data_stays_out(tmp_path, drawn, published):
    devkit = tmp_path / 'VOCdevkit'
    shutil.copytree(drawn, devkit)
    (devkit / 'VOCcode').mkdir()
    (devkit / 'VOCcode' / 'VOCinit.m').write_text('code')
    (devkit / 'results' / 'VOC2007' / 'Main').mkdir(parents=True)
    (devkit / 'results' / 'VOC2007' / 'Main' / 'x.txt').write_text('result')
    source = pack_tar(devkit, tmp_path / 'voc.tar')
    prepare_voc([source], tmp_path / 'data')
    assert tree(tmp_path / 'data' / 'VOCdevkit') == tree(drawn)


def test_a_subset_is_refused_unless_allowed(tmp_path, drawn):
    with pytest.raises(
        ValueError, match='trainval has 10 .* of 5011.*--allow'
    ):
        prepare_voc([drawn], tmp_path / 'data')
    assert os.listdir(tmp_path / 'data') == []
    counts, _ = prepare_voc([drawn], tmp_path / 'data', allow_subset=True)
    assert counts[2] == ('VOC2007', 'trainval', 10, 5011)


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
    source = pack_tar(
        drawn, tmp_path / 'voc.tar', lambda name: not name.endswith(broken)
    )
    with pytest.raises(ValueError, match=words):
        prepare_voc([source], tmp_path / 'data')
    assert os.listdir(tmp_path / 'data') == []


def test_broken_xml_is_named(tmp_path, drawn):
    devkit = tmp_path / 'VOCdevkit'
    shutil.copytree(drawn, devkit)
    broken = devkit / 'VOC2007' / 'Annotations' / '000002.xml'
    broken.write_text(broken.read_text()[:100])
    with pytest.raises(ValueError, match='000002.xml: '):
        check_voc(devkit, allow_subset=True)


def test_other_content_is_never_overwritten(tmp_path, drawn, published):
    prepare_voc([drawn], tmp_path / 'data')
    other = tmp_path / 'VOCdevkit'
    shutil.copytree(drawn, other)
    (other / 'VOC2007' / 'JPEGImages' / '000001.jpg').write_bytes(b'other')
    before = tree(tmp_path / 'data')
    with pytest.raises(FileExistsError, match='000001.jpg'):
        prepare_voc([other], tmp_path / 'data')
    assert tree(tmp_path / 'data') == before


def evil_tar(path, **attributes):
    with tarfile.open(path, 'w') as archive:
        member = tarfile.TarInfo('VOCdevkit/VOC2007/JPEGImages/1.jpg')
        for name, value in attributes.items():
            setattr(member, name, value)
        archive.addfile(member)


@pytest.mark.parametrize(
    'attributes',
    [
        dict(name='../VOC2007/JPEGImages/1.jpg'),
        dict(name='VOCdevkit/VOC2007/JPEGImages/../../../../1.jpg'),
        dict(name='/VOC2007/JPEGImages/1.jpg'),
        dict(type=tarfile.SYMTYPE, linkname='/etc/passwd'),
        dict(type=tarfile.LNKTYPE, linkname='VOCdevkit/x'),
        dict(type=tarfile.FIFOTYPE),
    ],
    ids=lambda a: '-'.join(map(str, a.values())),
)
def test_unsafe_members_of_a_tar_are_refused(tmp_path, attributes):
    evil_tar(tmp_path / 'evil.tar', **attributes)
    with pytest.raises(ValueError, match='refused'):
        prepare_voc([tmp_path / 'evil.tar'], tmp_path / 'data')
    assert sorted(os.listdir(tmp_path)) == ['data', 'evil.tar']
    assert os.listdir(tmp_path / 'data') == []


@pytest.mark.parametrize(
    'name, mode',
    [
        ('../VOC2007/JPEGImages/1.jpg', 0o100644),
        ('/VOC2007/JPEGImages/1.jpg', 0o100644),
        ('VOC2007\\..\\1.jpg', 0o100644),
        ('VOCdevkit/VOC2007/JPEGImages/1.jpg', 0o120777),
    ],
)
def test_unsafe_members_of_a_zip_are_refused(tmp_path, name, mode):
    with zipfile.ZipFile(tmp_path / 'evil.zip', 'w') as archive:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        archive.writestr(member, '/etc/passwd')
    with pytest.raises(ValueError, match='refused'):
        prepare_voc([tmp_path / 'evil.zip'], tmp_path / 'data')
    assert sorted(os.listdir(tmp_path)) == ['data', 'evil.zip']
    assert os.listdir(tmp_path / 'data') == []


def test_a_link_in_a_folder_is_refused(tmp_path, drawn):
    devkit = tmp_path / 'VOCdevkit'
    shutil.copytree(drawn, devkit)
    (devkit / 'VOC2007' / 'JPEGImages' / 'x.jpg').symlink_to('/etc/passwd')
    with pytest.raises(ValueError, match='x.jpg.* is a link'):
        prepare_voc([devkit], tmp_path / 'data', allow_subset=True)


def test_an_absent_source_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.tar does not exist'):
        prepare_voc([tmp_path / 'nowhere.tar'], tmp_path / 'data')
    assert not (tmp_path / 'data').exists()


def test_a_source_without_voc_says_so(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='neither VOC2007 nor VOC2012'):
        prepare_voc([tmp_path / 'empty'], tmp_path / 'data')


@pytest.mark.parametrize('cut', [0.5, 0.98])
def test_a_damaged_archive_is_named(tmp_path, drawn, cut):
    path = pack_tar(drawn, tmp_path / 'voc.tar.gz', mode='w:gz')
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(ValueError, match='voc.tar.gz is damaged'):
        prepare_voc([path], tmp_path / 'data', allow_subset=True)
    assert os.listdir(tmp_path / 'data') == []


def test_a_text_file_is_no_archive(tmp_path):
    (tmp_path / 'voc.tar').write_text('not an archive')
    with pytest.raises(ValueError, match='neither a tar nor a zip'):
        prepare_voc([tmp_path / 'voc.tar'], tmp_path / 'data')


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
        prepare_voc([drawn], tmp_path / 'data')
    assert not list((tmp_path / 'data').rglob('*.txt'))
    monkeypatch.setattr(Path, 'replace', replace)
    monkeypatch.setattr(Path, 'rename', rename)
    prepare_voc([drawn], tmp_path / 'data')
    assert tree(tmp_path / 'data' / 'VOCdevkit') == tree(drawn)
    assert os.listdir(tmp_path / 'data') == ['VOCdevkit']


def config(root, **more):
    leaf = dict(
        type='VOCDataset',
        data_root=str(root),
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        **more,
    )
    both = dict(type='ConcatDataset', datasets=[leaf, dict(leaf)])
    return Config(
        dict(
            train_dataloader=dict(
                dataset=dict(type='RepeatDataset', times=3, dataset=both)
            ),
            val_dataloader=None,
            test_dataloader=dict(
                dataset=dict(leaf, ann_file='VOC2007/ImageSets/Main/test.txt')
            ),
        )
    )


def test_require_voc_accepts_what_is_there(drawn):
    require_voc(config(drawn))


def test_require_voc_names_the_path_and_the_command(tmp_path):
    root = tmp_path / 'there' / 'VOCdevkit'
    with pytest.raises(FileNotFoundError) as error:
        require_voc(config(f'{root}/'))
    assert str(root) in str(error.value)
    assert (
        'python tools/prepare_data.py voc --source ARCHIVE_OR_FOLDER '
        f'--data-root {root.parent}`'
    ) in str(error.value)


def test_require_voc_offers_to_draw_for_own_classes_only(tmp_path):
    root = tmp_path / 'VOCdevkit'
    with pytest.raises(FileNotFoundError) as error:
        require_voc(config(root))
    assert 'generate_voc' not in str(error.value)
    with pytest.raises(FileNotFoundError) as error:
        require_voc(config(root, metainfo=dict(classes=('disc',))))
    assert f'tools/generate_voc.py {tmp_path}' in str(error.value)


def test_require_voc_sees_an_absent_list(tmp_path, drawn):
    devkit = tmp_path / 'VOCdevkit'
    shutil.copytree(drawn, devkit)
    (devkit / 'VOC2007' / 'ImageSets' / 'Main' / 'test.txt').unlink()
    cfg = config(devkit)
    require_voc(cfg, ['train_dataloader', 'val_dataloader'])
    with pytest.raises(FileNotFoundError, match='test.txt .*test_dataloader'):
        require_voc(cfg, ['test_dataloader'])


@pytest.mark.parametrize(
    'type_', ['mmdet.XMLDataset', type('VOCDataset', (), {})]
)
def test_require_voc_knows_scoped_names_and_classes(tmp_path, type_):
    cfg = dict(
        train_dataloader=dict(
            dataset=dict(type=type_, data_root=str(tmp_path / 'VOCdevkit'))
        )
    )
    with pytest.raises(FileNotFoundError, match='VOCdevkit does not exist'):
        require_voc(cfg)


def test_require_voc_leaves_other_data_alone(tmp_path):
    cfg = config(tmp_path / 'no', backend_args=dict(backend='petrel'))
    require_voc(cfg)
    require_voc(
        dict(
            train_dataloader=dict(
                dataset=dict(type='CIFAR10', data_root='data/cifar10')
            )
        )
    )


@pytest.mark.skipif(not REAL.is_file(), reason='no ../shared/data/voc.tar')
def test_real_voc_is_put_into_place_and_read(tmp_path):
    counts, new = prepare_voc([REAL], tmp_path, allow_subset=True)
    images = {(c.year, c.split): c.images for c in counts}
    assert images['VOC2007', 'trainval'] == 172
    assert images['VOC2012', 'trainval'] == 650
    assert new == len(tree(tmp_path / 'VOCdevkit'))
    require_voc(config(tmp_path / 'VOCdevkit'))
    with pytest.raises(ValueError, match='--allow-subset'):
        prepare_voc([REAL], tmp_path)
