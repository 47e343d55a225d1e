"""Files that are whole or not there: written so, and checked."""

import os
import re
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A new file that takes its place when the block ends without error.

    Until then what was there stays; where writing fails, or the process
    dies, it stays for good. The new content is on the disk before its name
    is. A process that is killed leaves a draft, see :func:`remove_drafts`.

    Args:
        path: Where the file shall be; its folder must exist.

    Yields:
        A file that is open for writing bytes.

    Raises:
        OSError: The file cannot be written; names it.
    """
    path = Path(path)
    draft = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.draft')
    try:
        with open(draft, 'xb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        _discard(draft)
        if error.errno is None or error.filename not in (None, str(draft)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        _discard(draft)
        raise
    _sync_folder(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8 with :func:`atomic_write`."""
    with atomic_write(path) as file:
        file.write(text.encode())


def remove_drafts(folder: str | Path) -> None:
    """Remove what killed processes have left of :func:`atomic_write`.

    What cannot be removed stays: it is in nobody's way.

    Args:
        folder: One that no other process writes to.
    """
    for path in Path(folder).glob('.*.draft'):
        if re.fullmatch(r'\..+\.[0-9a-f]{8}\.draft', path.name):
            _discard(path)


def check_saved(path: str | Path) -> None:
    """Compare each byte of what ``torch.save`` wrote with its checksum.

    ``torch.load`` does not, and loads most flipped bits as other values.
    Nothing is unpickled, and nothing is allocated by what the file claims.

    Args:
        path: A zip archive as ``torch.save`` writes it, or a pickle as it
            did before version 1.6, which has no checksums.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, or torch has not written it.
    """
    with open(path, 'rb') as file:
        start = file.read(4)
        if start[:1] == b'\x80':
            return
        if not start:
            raise ValueError(f'{path} is empty')
        if start != b'PK\x03\x04':
            raise ValueError(f'{path} is damaged, or torch did not save it')
        try:
            damaged = _damaged_record(file)
        except Exception as error:  # zipfile has many for a broken archive
            raise ValueError(
                f'{path} is damaged, or was not written to its end: {error}'
            ) from error
    if damaged:
        raise ValueError(
            f'{path} is damaged: its record {damaged!r} does not have the '
            'checksum that it was saved with'
        )


def _damaged_record(file: BinaryIO) -> str | None:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        for record in records:
            # A compressed record may be a thousand times its size.
            if record.compress_type != zipfile.ZIP_STORED:
                return record.filename
        # torch.serialization.set_crc32_options(False) writes zeros.
        if any(record.CRC for record in records):
            return archive.testzip()
    return None


def _discard(draft: Path) -> None:
    with suppress(OSError):
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk, where the file system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
