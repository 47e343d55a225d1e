"""Files that are written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A new file that takes its place when the block ends without error.

    Until then what was there stays; where writing fails, or the process
    dies, it stays for good. The new content is on the disk before its name
    is.

    Args:
        path: Where the file shall be; its folder must exist.

    Yields:
        A file that is open for writing bytes.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f'.{path.name}-', delete=False
    ) as draft:
        try:
            yield draft
            draft.flush()
            os.fsync(draft.fileno())
            os.chmod(draft.name, 0o644)
            os.replace(draft.name, path)
        except BaseException:
            os.unlink(draft.name)
            raise
