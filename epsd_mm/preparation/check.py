"""Compare a data set on disk with what was published."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath

from PIL import Image

from epsd_mm.progress import progress

from .download import checksum
from .layout import Count, Layout, Overlay, is_image


def check(
    layout: Layout,
    *folders: str | Path,
    allow_subset: bool = False,
    verify_images: bool = False,
) -> list[Count]:
    """Check a data set, which may be spread over several folders.

    Args:
        layout: The data set.
        *folders: Folders that hold it together.
        allow_subset: Accept other counts and other files than the published
            ones; what is listed has to be there all the same.
        verify_images: Decode every image.

    Returns:
        The parts found.

    Raises:
        ValueError: Something is missing, contradictory, corrupt or not as
            published.
    """
    tree = Overlay(*folders)
    found, problems = layout.inspect(tree)
    if verify_images and not problems:
        problems = corrupt_images(tree)
    _refuse(layout, problems)
    counts = [
        Count(part, found[part], published)
        for part, published in layout.published.items()
        if found.get(part)
    ]
    if not counts:
        raise ValueError(f'{layout.title} is empty: {layout.expects}')
    if not allow_subset:
        _refuse_other(layout, tree, counts)
    return counts


def corrupt_images(tree: Overlay) -> list[str]:
    """Decode all images, and name those that cannot be.

    Returns:
        A sentence for each image that is corrupt or truncated.
    """
    images, corrupt = list(_images(tree)), []
    with progress('decoding', len(images), 'images') as advance:
        for folder, name in images:
            try:
                with Image.open(folder / name) as image:
                    image.load()
            except Exception as error:
                # Decoders raise nearly everything on damaged files, and may
                # name the file by its path, where it is not going to stay.
                reason = str(error).replace(f'{folder}/', '')
                corrupt.append(f'{name} is corrupt: {reason}')
            advance(1)
    return corrupt


def _images(tree: Overlay) -> Iterator[tuple[Path, Path]]:
    """The folder of each image, and its name in there."""
    return ((f, name) for f, name in _files(tree) if is_image(name.name))


def _files(tree: Overlay) -> Iterator[tuple[Path, Path]]:
    for folder in tree.folders:
        for path in sorted(folder.rglob('*')):
            if path.is_file():
                yield folder, path.relative_to(folder)


def contents(layout: Layout, tree: Overlay) -> str:
    """The hash of all files of a data set, see ``Layout.contents``."""
    found = {
        name.as_posix(): folder / name
        for folder, name in _files(tree)
        if layout.place(PurePosixPath(name)) == PurePosixPath(name)
    }
    lines = sha256()
    with progress('checking', len(found), 'files') as advance:
        for name, path in sorted(found.items()):
            own = sha256(path.read_bytes()).hexdigest()
            lines.update(f'{own}  {name}\n'.encode())
            advance(1)
    return f'sha256:{lines.hexdigest()}'


def _refuse(layout: Layout, problems: list[str]) -> None:
    if problems:
        more = len(problems) - 5
        more = f'; and {more} more' if more > 0 else ''
        plural = 's' if len(problems) > 1 else ''
        raise ValueError(
            f'{len(problems)} problem{plural} in {layout.title}: '
            f'{"; ".join(problems[:5])}{more}'
        )


def _refuse_other(layout: Layout, tree: Overlay, counts: list[Count]) -> None:
    other = [
        f'{count.part}: {count.found:,} instead of {count.published:,}'
        for count in counts
        if count.found != count.published
    ]
    if not other:
        for name, published in layout.checksums.items():
            own = checksum(tree.find(name), published.partition(':')[0])
            if own != published:
                other.append(f'{name} has {own} instead of {published}')
    if not other and layout.contents:
        own = contents(layout, tree)
        if own != layout.contents:
            other.append(f'its files have {own} instead of {layout.contents}')
    if other:
        raise ValueError(
            f'not {layout.title} as published: {", ".join(other)}; '
            '--allow-subset accepts it'
        )
