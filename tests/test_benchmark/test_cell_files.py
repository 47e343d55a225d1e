"""What a report reads of cells goes from one machine to another."""

import io
import tarfile

import pytest

from epsd_mm.benchmark.cell_files import pack_cells, unpack_cells
from epsd_mm.benchmark.store import Store
from epsd_mm.benchmark.suite_folder import STORE, SuiteFolder

KEYS = 'a1', 'b2', 'c3'
FILES = {
    'epsd/masks.pth': 'masks',
    'epsd/report.json': 'report',
    'pruned/epsd/report.json': 'units',
    'predictions.npz': 'predictions',
    '20260101_000000/vis_data/scalars.json': 'first',
    '20260102_000000/vis_data/scalars.json': 'second',
}
OTHER = 'epoch_6.pth', 'result.json', 'log.txt', '20260101_000000/a.log'


class Listed:
    """A suite of these cells."""

    def __init__(self, keys):
        self.cells = [type('Cell', (), dict(key=key)) for key in keys]


def suite(folder, finished=KEYS):
    """Cells without folders, some of which have results."""
    store = Store(folder / STORE)
    store.add((key, f'cell {key}', dict(seed=0)) for key in KEYS)
    for key in finished:
        store.claim([key], 'one')
        store.finish(key, 'one', {'x': (1.0, '1')}, {})
    return SuiteFolder(Listed(KEYS), folder)


def lay(folder, key):
    for name in (*FILES, *OTHER):
        path = folder.work_dir(key) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{key} {FILES.get(name)}')


def files_of(folder):
    """Content by path, of all that is below the cells."""
    cells = folder.folder / 'cells'
    paths = [path for path in cells.rglob('*') if path.is_file()]
    return {str(p.relative_to(cells)): p.read_text() for p in paths}


@pytest.fixture
def archive(tmp_path):
    """Of two finished cells, and one that has left nothing."""
    origin = suite(tmp_path / 'origin', finished=KEYS[:2])
    lay(origin, 'a1')
    lay(origin, 'c3')  # still runs
    path = tmp_path / 'cells.tar.gz'
    assert pack_cells(origin, path) == 1
    return path


def test_a_report_finds_the_files_elsewhere(archive, tmp_path):
    there = suite(tmp_path / 'there')
    assert unpack_cells(there, archive) == (1, 0, 0)
    expected = {f'a1/{name}': f'a1 {text}' for name, text in FILES.items()}
    assert files_of(there) == expected
    assert unpack_cells(there, archive) == (0, 1, 0)


def test_the_same_files_make_the_same_archive(archive, tmp_path):
    there = suite(tmp_path / 'there', finished=KEYS[:2])
    unpack_cells(there, archive)
    pack_cells(there, tmp_path / 'again.tar.gz')
    assert (tmp_path / 'again.tar.gz').read_bytes() == archive.read_bytes()


def test_a_folder_that_is_there_stays_as_it_is(archive, tmp_path):
    there = suite(tmp_path / 'there')
    there.work_dir('a1').mkdir(parents=True)
    assert unpack_cells(there, archive) == (0, 1, 0)
    assert files_of(there) == {}


def test_cells_without_a_result_get_no_files(archive, tmp_path):
    there = suite(tmp_path / 'there', finished=['b2'])
    assert unpack_cells(there, archive) == (0, 0, 1)
    assert files_of(there) == {}


def test_cells_of_another_suite_are_refused(archive, tmp_path):
    there = suite(tmp_path / 'there')
    there.suite = Listed(['d4'])
    with pytest.raises(ValueError, match='none of the 1 cells of .*the suite'):
        unpack_cells(there, archive)
    assert files_of(there) == {}


def member(name, **changed):
    found = tarfile.TarInfo(name)
    found.size = 2
    for attribute, value in changed.items():
        setattr(found, attribute, value)
    return found


@pytest.mark.parametrize(
    'foreign',
    [
        member('a1/../../masks.pth'),
        member('/a1/epsd/masks.pth'),
        member('a1/../vis_data/scalars.json'),
        member('a1/epoch_6.pth'),
        member('a1/epsd/masks.pth', type=tarfile.SYMTYPE, linkname='/etc'),
        member('a1/epsd/masks.pth', type=tarfile.GNUTYPE_SPARSE),
    ],
    ids=['outside', 'absolute', 'above', 'weights', 'link', 'sparse'],
)
def test_what_no_report_reads_is_refused(foreign, tmp_path):
    path = tmp_path / 'cells.tar.gz'
    with tarfile.open(path, 'w:gz') as archive:
        archive.addfile(member('a1/predictions.npz'), io.BytesIO(b'ok'))
        archive.addfile(foreign, io.BytesIO(b'no'))
    there = suite(tmp_path / 'there')
    with pytest.raises(ValueError, match=f'holds .*{foreign.name}.* name a'):
        unpack_cells(there, path)
    assert files_of(there) == {}
    assert list((tmp_path / 'there' / 'cells').iterdir()) == []


@pytest.mark.parametrize('damage', ['cut', 'flipped', 'another'])
def test_a_damaged_archive_leaves_nothing(damage, archive, tmp_path):
    content = bytearray(archive.read_bytes())
    if damage == 'cut':
        del content[-40:]
    elif damage == 'flipped':
        content[-7] ^= 8  # of the checksum
    else:
        content = b'{"format": 1}'
    archive.write_bytes(content)
    there = suite(tmp_path / 'there')
    with pytest.raises(ValueError, match=r'cells\.tar\.gz is damaged, or not'):
        unpack_cells(there, archive)
    assert files_of(there) == {}
