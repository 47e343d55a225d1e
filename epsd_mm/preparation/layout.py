"""What a data set on disk has to look like: the base of all of them."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_IMAGES = ('.jpeg', '.jpg', '.png')


class Archive(NamedTuple):
    """An archive as its authors publish it.

    Attributes:
        name: Its file name.
        checksum: ``'md5:…'`` or ``'sha256:…'``, None where it is packed anew
            for each download; then ``Layout.contents`` has to be given.
        url: Where it can be had, None where one has to register.
        parts: What of ``Layout.published`` it holds; nothing means all.
    """

    name: str
    checksum: str | None
    url: str | None = None
    parts: tuple[str, ...] = ()


class Count(NamedTuple):
    """How much of a part was found, and how much was published."""

    part: str
    found: int
    published: int


class Survey(NamedTuple):
    """What was found in a data set, and what is wrong with it."""

    counts: dict[str, int]
    problems: list[str]


class Overlay:
    """Folders that are read as one: what is in place, and what is to come.

    Args:
        *folders: The folders, which need not exist.
    """

    def __init__(self, *folders: str | Path) -> None:
        self.folders = [Path(folder) for folder in folders]
        self._listings: dict[PurePosixPath, set[str]] = {}

    def find(self, name: str | PurePosixPath) -> Path | None:
        """The file or folder of this name, None where there is none."""
        paths = (folder / name for folder in self.folders)
        return next((path for path in paths if path.exists()), None)

    def listing(self, name: str | PurePosixPath) -> set[str]:
        """What a folder holds; nothing where there is none."""
        name = PurePosixPath(name)
        if name not in self._listings:
            places = [folder / name for folder in self.folders]
            self._listings[name] = {
                path.name
                for place in places
                if place.is_dir()
                for path in place.iterdir()
            }
        return self._listings[name]

    def has(self, name: str | PurePosixPath) -> bool:
        """``find`` for many files of few folders."""
        name = PurePosixPath(name)
        return name.name in self.listing(name.parent)

    def rows(self, name: str | PurePosixPath) -> list[list[str]] | None:
        """The words of each line that is not empty, None without the file.

        Raises:
            ValueError: The file is no text.
        """
        path = self.find(name)
        if path is None:
            return None
        try:
            lines = path.read_text(encoding='utf-8').splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(
                f'{name} is no text file ({error}): give the published one'
            ) from error
        return [line.split() for line in lines if line.strip()]


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    return name.lower().endswith(_IMAGES)


class Layout:
    """A data set: its published form, its place and how to check it.

    A data set sets these and overrides ``place`` and ``inspect``.

    Attributes:
        name: What the command line calls it.
        title: What its authors call it.
        folder: Its place in the data root.
        config_root: The folder that ``data_root`` of a config names.
        types: Types of data sets, in configs, that read it.
        expects: What a source should hold, for the message if it does not.
        archives: As published.
        published: How much there is of each part.
        checksums: Those of files that one can check singly.
        contents: That of all files: of what ``sha256sum`` prints of them,
            sorted by name.
        nested: Whether its archives hold tar archives.
        advice: How to get it where no archive can be downloaded.
    """

    name = ''
    title = ''
    folder = ''
    config_root = ''
    types: tuple[str, ...] = ()
    expects = ''
    archives: tuple[Archive, ...] = ()
    published: Mapping[str, int] = {}
    checksums: Mapping[str, str] = {}
    contents = ''
    nested = False
    advice = ''

    def place(self, name: PurePosixPath) -> PurePosixPath | None:
        """Where a file of a source belongs, None for what is not needed."""
        raise NotImplementedError

    def inspect(self, tree: Overlay) -> Survey:
        """Count what is there and look for what is missing or contradicts."""
        raise NotImplementedError

    def arrange(self, staging: Path, target: Path) -> None:
        """Put into order what was unpacked, once all sources are.

        Args:
            staging: Holds what is new.
            target: Holds what is in place, and is not touched.
        """

    def is_of(self, leaf: Mapping, root: str) -> bool:
        """Whether a config's data set, of one of ``types``, looks like it.

        Args:
            leaf: Config of the data set.
            root: Its ``data_root``.
        """
        return self.config_root in Path(root).parts

    def needs(self, leaf: Mapping) -> list[str]:
        """What a config's data set reads, seen from its ``data_root``."""
        return []

    def alternative(self, leaf: Mapping, place: str | Path) -> str:
        """What else a user can do who lacks it, after ``', or'``."""
        return ''
