"""Pascal VOC on disk: put it in place, check it, miss it with good advice."""

import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple
from xml.etree import ElementTree as ET

# Images in each list as the VOC challenge published it.
PUBLISHED = {
    'VOC2007': dict(train=2501, val=2510, trainval=5011, test=4952),
    'VOC2012': dict(train=5717, val=5823, trainval=11540),
}
# What of a year is put into place; VOC's own code and results are not.
FOLDERS = (
    'Annotations',
    'ImageSets',
    'JPEGImages',
    'SegmentationClass',
    'SegmentationObject',
)
# What reading a damaged archive raises.
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
)
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class SplitCount(NamedTuple):
    """How many images a list has, and how many the published one has."""

    year: str
    split: str
    images: int
    published: int | None


def prepare_voc(
    sources: Sequence[str | Path],
    data_root: str | Path = 'data',
    *,
    allow_subset: bool = False,
) -> tuple[list[SplitCount], int]:
    """Put Pascal VOC into ``<data_root>/VOCdevkit`` and check it.

    Files are unpacked into a folder beside their place, checked together with
    what is there already, and only then moved in. The lists of images move
    last, so that an interruption never leaves a list naming absent images.

    Args:
        sources: Archives (tar, compressed tar, zip) or folders that hold
            ``VOC2007`` or ``VOC2012``, at any depth for archives.
        data_root: Folder that will hold ``VOCdevkit``. Defaults to ``data``.
        allow_subset: Accept lists of another length than the published ones.

    Returns:
        The lists found, and the number of files that were new.

    Raises:
        FileNotFoundError: A source does not exist or holds no VOC.
        FileExistsError: A file is there already with other content.
        ValueError: An archive is damaged or unsafe, or the data set is
            incomplete. Nothing was put into place.
    """
    sources = [Path(source) for source in sources]
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(
                f'{source} does not exist: name an archive or folder of '
                'Pascal VOC on this machine'
            )
    # A VOCdevkit that is a link to another disk is filled over there.
    target = (Path(data_root) / 'VOCdevkit').resolve()
    staging = target.parent / '.VOCdevkit.partial'
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        for source in sources:
            try:
                _unpack(source, staging, target)
            except _DAMAGED as error:
                raise ValueError(f'{source} is damaged: {error}') from error
        counts = check_voc(staging, target, allow_subset=allow_subset)
        new = _move(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return counts, new


def check_voc(
    *devkits: str | Path, allow_subset: bool = False
) -> list[SplitCount]:
    """Check a VOCdevkit, which may be spread over several folders.

    Every image of a main list needs a JPEG and an annotation that parses.

    Args:
        *devkits: Folders that hold ``VOC2007`` or ``VOC2012`` together.
        allow_subset: Accept lists of another length than the published ones.

    Returns:
        The lists found.

    Raises:
        ValueError: Something is missing, broken or of another length.
    """
    devkits = [Path(devkit) for devkit in devkits]

    def find(name: str) -> Path | None:
        paths = (devkit / name for devkit in devkits)
        return next((path for path in paths if path.is_file()), None)

    counts, problems, checked = [], [], set()
    for year, published in PUBLISHED.items():
        for split, length in published.items():
            path = find(f'{year}/ImageSets/Main/{split}.txt')
            if path is None:
                continue
            names = path.read_text().splitlines()
            counts.append(SplitCount(year, split, len(names), length))
            for name in names:
                if (year, name) not in checked:
                    checked.add((year, name))
                    problems += _image_problems(find, year, name)
    if not counts:
        raise ValueError(
            'no list of images was found: expected '
            'VOCdevkit/VOC2007/ImageSets/Main/trainval.txt or the like'
        )
    if problems:
        shown = '; '.join(problems[:5])
        raise ValueError(
            f'{len(problems)} problems in the data set, the first: {shown}'
        )
    short = [count for count in counts if count.images != count.published]
    if short and not allow_subset:
        shown = ', '.join(
            f'{c.year} {c.split} has {c.images} images instead of '
            f'{c.published}'
            for c in short
        )
        raise ValueError(
            f'not the published data set: {shown}; --allow-subset accepts it'
        )
    return counts


def require_voc(cfg: Mapping, loaders: Sequence[str] = LOADERS) -> None:
    """Fail early where a config needs VOC data that is not there.

    Args:
        cfg: A config (mmengine's ``Config``).
        loaders: Names of the data loaders that will be used.

    Raises:
        FileNotFoundError: ``data_root`` or ``ann_file`` of a VOC data set
            is absent.
    """
    for loader in loaders:
        dataset = (cfg.get(loader) or {}).get('dataset')
        for leaf in _leaves(dataset):
            _require_leaf(leaf, loader)


def _image_problems(find, year: str, name: str) -> list[str]:
    problems = []
    if find(f'{year}/JPEGImages/{name}.jpg') is None:
        problems.append(f'{year}/JPEGImages/{name}.jpg is missing')
    annotation = find(f'{year}/Annotations/{name}.xml')
    if annotation is None:
        problems.append(f'{year}/Annotations/{name}.xml is missing')
    else:
        try:
            ET.parse(annotation)
        except ET.ParseError as error:
            problems.append(f'{year}/Annotations/{name}.xml: {error}')
    return problems


def _unpack(source: Path, staging: Path, target: Path) -> None:
    """Write what ``target`` lacks of ``source`` into ``staging``."""
    found = False
    for name, stream in _files(source):
        inside = _inside_devkit(name)
        if inside is None:
            continue
        found = True
        for devkit in (target, staging):
            place = devkit / inside
            if place.exists():
                if not _same(place, stream):
                    raise FileExistsError(
                        f'{source} and {devkit.parent / "VOCdevkit"} hold '
                        f'different files {inside}; choose another '
                        '--data-root or remove one of them'
                    )
                break
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open('wb') as out:
                shutil.copyfileobj(stream, out, 1 << 20)
    if not found:
        raise FileNotFoundError(
            f'{source} holds neither VOC2007 nor VOC2012 with '
            'Annotations, ImageSets or JPEGImages'
        )


def _move(staging: Path, target: Path) -> int:
    """Move ``staging`` into ``target``, lists last; the number of files."""
    files = [path for path in staging.rglob('*') if path.is_file()]
    if not target.exists() and files:
        staging.rename(target)
        return len(files)
    for path in sorted(files, key=lambda p: 'ImageSets' in p.parts):
        place = target / path.relative_to(staging)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    return len(files)


def _files(source: Path) -> Iterator[tuple[str, BinaryIO]]:
    """Names and open contents of all files of an archive or folder."""
    if source.is_dir():
        yield from _folder_files(source)
    elif zipfile.is_zipfile(source):
        yield from _zip_files(source)
    elif tarfile.is_tarfile(source):
        yield from _tar_files(source)
    else:
        raise ValueError(f'{source} is neither a tar nor a zip archive')


def _folder_files(source: Path) -> Iterator[tuple[str, BinaryIO]]:
    places = [source, source / 'VOCdevkit']
    years = [place / year for place in places for year in PUBLISHED]
    if source.name in PUBLISHED:
        years.append(source)
    for year in years:
        for folder, folders, names in os.walk(year):
            for name in folders + names:
                if (Path(folder) / name).is_symlink():
                    raise _unsafe(source, f'{folder}/{name}', 'is a link')
            for name in names:
                path = Path(folder) / name
                with path.open('rb') as stream:
                    yield (
                        (year.name / path.relative_to(year)).as_posix(),
                        stream,
                    )


def _tar_files(source: Path) -> Iterator[tuple[str, BinaryIO]]:
    with tarfile.open(source) as archive:
        for member in archive:
            _refuse_unsafe_name(source, member.name)
            if member.isdir():
                continue
            if not member.isfile():
                raise _unsafe(source, member.name, 'is a link or device')
            yield member.name, archive.extractfile(member)


def _zip_files(source: Path) -> Iterator[tuple[str, BinaryIO]]:
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            _refuse_unsafe_name(source, member.filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(source, member.filename, 'is a link or device')
            if not member.is_dir():
                with archive.open(member) as stream:
                    yield member.filename, stream


def _refuse_unsafe_name(source: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or '..' in path.parts or '\\' in name:
        raise _unsafe(source, name, 'points outside the archive')


def _unsafe(source: Path, name: str, reason: str) -> ValueError:
    return ValueError(
        f'{source} is refused: {name!r} {reason}; nothing was unpacked into '
        'place'
    )


def _inside_devkit(name: str) -> PurePosixPath | None:
    """``VOC2007/JPEGImages/…`` of a longer name, None for other files."""
    parts = PurePosixPath(name).parts
    for index, part in enumerate(parts[:-2]):
        if part in PUBLISHED and parts[index + 1] in FOLDERS:
            return PurePosixPath(*parts[index:])
    return None


def _same(path: Path, stream: BinaryIO) -> bool:
    with path.open('rb') as present:
        while True:
            piece = present.read(1 << 20)
            if piece != stream.read(1 << 20):
                return False
            if not piece:
                return True


def _leaves(dataset) -> Iterator[Mapping]:
    """The innermost configs of a data set and its wrappers."""
    if not isinstance(dataset, Mapping):
        return
    inner = [dataset.get('dataset'), *(dataset.get('datasets') or [])]
    inner = [child for child in inner if child is not None]
    if not inner:
        yield dataset
    for child in inner:
        yield from _leaves(child)


def _require_leaf(leaf: Mapping, loader: str) -> None:
    kind = leaf.get('type')
    kind = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    if kind.split('.')[-1] not in ('VOCDataset', 'XMLDataset'):
        return
    root, lists = leaf.get('data_root') or '', leaf.get('ann_file') or ''
    path = os.path.join(root, lists)
    if leaf.get('backend_args') or '://' in path:
        return  # not on this disk: the file backend will tell
    parts, place, then = Path(root).parts, 'DATA_ROOT', ''
    if 'VOCdevkit' in parts:
        place = Path(*parts[: parts.index('VOCdevkit')])
    else:
        then = '; data_root is then DATA_ROOT/VOCdevkit/'
    advice = (
        'Fill it from a local copy with `python tools/prepare_data.py voc '
        f'--source ARCHIVE_OR_FOLDER --data-root {place}`'
    )
    if leaf.get('metainfo'):
        # Classes other than VOC's: perhaps those of the drawn set.
        advice += (
            f', or draw a set with `python tools/generate_voc.py {place}`'
        )
    for needed in filter(None, (root, path)):
        if not os.path.exists(needed):
            raise FileNotFoundError(
                f'{needed} does not exist, which {loader} needs. '
                f'{advice}{then}'
            )
