"""A ledger on the disk is whole, and the right one, or is not used."""

import logging

import pytest
import torch

from epsd_mm.engine import ledger_file
from epsd_mm.engine.ledger_file import LedgerFile, remove_ledgers
from epsd_mm.pruning import Ledger, Masks


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_file, '_SHARE', 1e9)  # write always
    return tmp_path / 'scoring' / 'scoring.pth'


KEY = dict(weights='w', settings='s', data='d')


def opened(path, key=KEY):
    """A ledger file, and what it has to say."""
    logger, lines = logging.Logger('test'), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    return LedgerFile(path, key, logger), lines


def filled():
    """A ledger in its second round."""
    masks = Masks({'w': torch.tensor([True, False, True])})
    ledger = Ledger(2, masks, [dict(losses=[0.5])])
    ledger.scoring.take(2, {'w': torch.rand(3)}, dict(losses=[1.5]))
    ledger.scoring.take(3, {'w': torch.rand(3)}, dict(losses=[2.5]))
    return ledger


def test_what_is_kept_is_found(path):
    ledger = filled()
    opened(path)[0].keep(ledger)
    file, (line,) = opened(path)
    found = file.start
    assert found.round == 2 and found.masks == ledger.masks
    assert found.notes == ledger.notes
    assert found.scoring.draws == ledger.scoring.draws
    for half in ('even', 'odd'):
        sums = getattr(found.scoring, half)
        assert torch.equal(sums['w'], getattr(ledger.scoring, half)['w'])
    assert '3 draws' in line and str(path) in line
    assert file.seconds > 0


def test_of_another_search_it_is_not_used_but_replaced(path):
    opened(path)[0].keep(filled())
    other = dict(KEY, weights='other', data='other')
    file, (line,) = opened(path, other)
    assert file.start is None and 'other weights and data,' in line
    file.keep(filled())
    assert opened(path, other)[0].start.draws == 3


def cut(content):
    return content[:-100]


def empty(content):
    return b''


def zeros(content):
    return bytes(len(content))


def text(content):
    return b'no ledger at all'


@pytest.mark.parametrize('damage', [cut, empty, zeros, text])
def test_damaged_it_is_not_used(path, damage):
    opened(path)[0].keep(filled())
    path.write_bytes(damage(path.read_bytes()))
    file, (line,) = opened(path)
    assert file.start is None and 'damaged' in line
    assert '\n' not in line


def test_sums_of_more_memory_than_the_file_has_are_not_used(path):
    opened(path)[0].keep(filled())
    content = torch.load(path, weights_only=True)
    content['ledger']['even']['w'] = torch.zeros(1).expand(1 << 45)
    torch.save(content, path)
    file, (line,) = opened(path)
    assert file.start is None and 'asks for' in line


def test_no_flipped_bit_is_taken_for_a_score(path):
    """Wherever it is: what is found is what was written, or nothing."""
    opened(path)[0].keep(filled())
    content = path.read_bytes()
    want = torch.load(path, weights_only=True)['ledger']
    for place in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        found = opened(path)[0].start
        if found is not None:
            assert repr(found.pack()) == repr(want)


def test_a_disk_that_is_full_does_not_end_the_search(path, monkeypatch):
    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(ledger_file, 'atomic_write', full)
    file, lines = opened(path)
    file.keep(filled())
    file.keep(filled())
    (line,) = lines
    assert 'No space left' in line


def test_they_are_removed_with_their_drafts_and_nothing_else(path):
    opened(path)[0].keep(filled())
    (path.parent / '.scoring.pth.0123abcd.draft').write_bytes(b'half')
    notes = path.parent / 'notes.txt'
    notes.write_text('mine')
    remove_ledgers(path.parent)
    assert list(path.parent.iterdir()) == [notes]
    notes.unlink()
    remove_ledgers(path.parent)
    assert not path.parent.exists()
    remove_ledgers(path.parent)


def test_what_a_user_keeps_there_stays(path):
    opened(path)[0].keep(filled())
    mine = path.parent / 'mine.pth'
    mine.write_text('mine')
    folder = path.parent / 'sub.pth'
    folder.mkdir()
    remove_ledgers(path.parent)
    assert sorted(path.parent.iterdir()) == [mine, folder]


def test_a_ledger_that_cannot_be_removed_does_not_end_the_run(
    path, monkeypatch
):
    """It comes after the scoring, whose masks are written already."""
    path.mkdir(parents=True)
    said = []
    logger = ledger_file.MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'warning', said.append)
    remove_ledgers(path.parent)
    (line,) = said
    assert str(path.parent) in line and 'Is a directory' in line


def test_writing_takes_a_hundredth_of_the_time(tmp_path, monkeypatch):
    now, writes = [0.0], []

    def write(self, packed, seconds):
        writes.append(now[0])
        now[0] += 0.5

    monkeypatch.setattr(LedgerFile, '_write', write)
    monkeypatch.setattr(ledger_file.time, 'perf_counter', lambda: now[0])
    file, _ = opened(tmp_path / 'scoring.pth')
    for _ in range(1000):
        now[0] += 1.0
        file.keep(Ledger())
    assert len(writes) == pytest.approx(1000 / 50, abs=2)
