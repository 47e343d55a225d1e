"""A small detection set that is drawn, not photographed, in VOC's layout.

Image ``i`` depends on ``(seed, i)`` and on how large and how many-classed the
set is, never on the images before it, so a longer set starts like a shorter
one.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image

MANIFEST = 'drawn_voc.json'
# Raised when the same arguments start to give other images.
EDITION = 1


def _regular(corners: int) -> Callable:
    """Inside test of a regular polygon on the unit circle."""

    def inside(u, v):
        angles = 2 * np.pi * np.arange(corners) / corners
        edges = [u * np.cos(a) + v * np.sin(a) for a in angles]
        return np.max(edges, axis=0) <= np.cos(np.pi / corners)

    return inside


def _star(u, v):
    # A pentagram is what lies inside at least four of its five lines.
    angles = 2 * np.pi * np.arange(5) / 5
    edges = [u * np.cos(a) + v * np.sin(a) for a in angles]
    inside = np.stack(edges) <= np.cos(2 * np.pi / 5)
    return inside.sum(axis=0) >= 4


def _cross(u, v):
    u, v = np.abs(u), np.abs(v)
    return (np.minimum(u, v) <= 0.32) & (np.maximum(u, v) <= 0.94)


def _ring(u, v):
    radius = np.hypot(u, v)
    return (radius >= 0.55) & (radius <= 1)


def _crescent(u, v):
    return (np.hypot(u, v) <= 1) & (np.hypot(u - 0.55, v) > 0.8)


# Each says which points of the plane belong to a figure of radius 1.
SHAPES = dict(
    disc=lambda u, v: np.hypot(u, v) <= 1,
    square=_regular(4),
    triangle=_regular(3),
    star=_star,
    cross=_cross,
    ring=_ring,
    crescent=_crescent,
    bar=lambda u, v: (np.abs(u) <= 0.95) & (np.abs(v) <= 0.3),
)


class DrawnObject(NamedTuple):
    """One object of a drawn image.

    Attributes:
        label: Index of its class.
        mask: Bool array (size, size), the pixels one can see.
        difficult: Drawn small and faint; not counted by VOC's metric.
        truncated: Reaches the border of the image.
    """

    label: int
    mask: np.ndarray
    difficult: bool
    truncated: bool

    @property
    def box(self) -> tuple[int, int, int, int]:
        """xmin, ymin, xmax, ymax as VOC counts: from 1, both ends inside."""
        rows = np.flatnonzero(self.mask.any(axis=1)) + 1
        columns = np.flatnonzero(self.mask.any(axis=0)) + 1
        return (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """A background: two colours mixed by blurred noise, stripes and grain."""
    cells = int(rng.integers(2, 7))
    coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    mix = np.asarray(coarse.resize((size, size), Image.BICUBIC))[..., None]
    first, second = rng.uniform(40, 215, size=(2, 3))
    image = first + (second - first) * mix
    rows, columns = np.mgrid[:size, :size]
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.05, 0.3) * size
    wave = np.cos(angle) * columns + np.sin(angle) * rows
    stripes = np.sin(2 * np.pi * wave / period)[..., None]
    image = image + rng.uniform(0, 18) * stripes
    return image + rng.normal(0, rng.uniform(2, 9), size=image.shape)


def _colour(
    rng: np.random.Generator, behind: np.ndarray, faint: bool
) -> np.ndarray:
    """A colour that stands out from the mean colour behind it, or hardly."""
    low, high = (25, 45) if faint else (100, np.inf)
    while True:
        colour = rng.uniform(0, 255, size=3)
        if low <= np.linalg.norm(colour - behind) <= high:
            return colour


def draw_scene(
    index: int, *, size: int = 128, num_classes: int = 4, seed: int = 0
) -> tuple[np.ndarray, list[DrawnObject]]:
    """Draw one image.

    Args:
        index: Number of the image in its set.
        size: Width and height in pixels. Defaults to 128.
        num_classes: Draw only the first so many of ``SHAPES``.
        seed: Seed of the set. Defaults to 0.

    Returns:
        The image, uint8 RGB of shape (size, size, 3), and its one to four
        objects.
    """
    rng = np.random.default_rng([seed, index])
    shapes = list(SHAPES.values())[:num_classes]
    image = _texture(rng, size)
    rows, columns = np.mgrid[:size, :size]
    objects: list[DrawnObject] = []
    taken = np.zeros((size, size), dtype=bool)
    wanted = int(rng.integers(1, 5))
    for _ in range(8 * wanted):
        if len(objects) == wanted:
            break
        label = int(rng.integers(len(shapes)))
        difficult = rng.random() < 0.05
        radius = size * (
            rng.uniform(0.06, 0.09) if difficult else rng.uniform(0.09, 0.24)
        )
        angle = rng.uniform(0, 2 * np.pi)
        # Up to a fifth of the radius may lie outside: real sets have objects
        # that the border cuts off.
        x, y = rng.uniform(0.8 * radius, size - 0.8 * radius, size=2)
        u = np.cos(angle) * (columns - x) + np.sin(angle) * (rows - y)
        v = np.cos(angle) * (rows - y) - np.sin(angle) * (columns - x)
        mask = shapes[label](u / radius, v / radius)
        if not mask.any() or (mask & taken).any():
            # No object hides another one, so that every box is exact. Boxes
            # may still overlap where the figures leave room.
            continue
        taken |= mask
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        colour = _colour(rng, image[mask].mean(axis=0), difficult)
        grain = rng.normal(0, 6, size=(int(mask.sum()), 3))
        shade = 18 * (u[mask] / radius)[:, None]
        image[mask] = colour + shade + grain
        objects.append(
            DrawnObject(label, mask, bool(difficult), bool(border.any()))
        )
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), objects


def _annotation(
    name: str,
    size: int,
    objects: Sequence[DrawnObject],
    classes: Sequence[str],
) -> bytes:
    root = ET.Element('annotation')

    def add(parent, tag, text=None):
        child = ET.SubElement(parent, tag)
        child.text = None if text is None else str(text)
        return child

    add(root, 'folder', 'VOC2007')
    add(root, 'filename', f'{name}.jpg')
    source = add(root, 'source')
    add(source, 'database', 'drawn objects')
    shape = add(root, 'size')
    for tag, value in zip(('width', 'height', 'depth'), (size, size, 3)):
        add(shape, tag, value)
    add(root, 'segmented', 0)
    for drawn in objects:
        element = add(root, 'object')
        add(element, 'name', classes[drawn.label])
        add(element, 'pose', 'Unspecified')
        add(element, 'truncated', int(drawn.truncated))
        add(element, 'difficult', int(drawn.difficult))
        box = add(element, 'bndbox')
        for tag, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), drawn.box):
            add(box, tag, value)
    ET.indent(root, space='\t')
    return ET.tostring(root) + b'\n'


def _digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of all files but the manifest."""
    digest = hashlib.sha256()
    files = (p for p in folder.rglob('*') if p.is_file())
    for path in sorted(files, key=lambda p: p.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix()
        if path.name != MANIFEST:
            digest.update(name.encode() + b'\0' + path.read_bytes())
    return digest.hexdigest()


def _write(devkit: Path, recipe: dict) -> None:
    voc = devkit / 'VOC2007'
    size, classes, seed = recipe['size'], recipe['classes'], recipe['seed']
    folders = ('Annotations', 'JPEGImages', 'ImageSets/Main')
    for folder in folders:
        (voc / folder).mkdir(parents=True)
    names = [f'{i + 1:06d}' for i in range(recipe['train'] + recipe['test'])]
    for index, name in enumerate(names):
        image, objects = draw_scene(
            index, size=size, num_classes=len(classes), seed=seed
        )
        Image.fromarray(image).save(
            voc / 'JPEGImages' / f'{name}.jpg', quality=92
        )
        annotation = _annotation(name, size, objects, classes)
        (voc / 'Annotations' / f'{name}.xml').write_bytes(annotation)
    trainval, test = names[: recipe['train']], names[recipe['train'] :]
    val = trainval[4::5]
    lists = dict(
        trainval=trainval,
        train=[n for n in trainval if n not in set(val)],
        val=val,
        test=test,
    )
    for split, ids in lists.items():
        path = voc / 'ImageSets' / 'Main' / f'{split}.txt'
        path.write_text(''.join(f'{name}\n' for name in ids))
    manifest = dict(recipe, sha256=_digest(devkit))
    (devkit / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')


def _is_made_by(devkit: Path, recipe: dict) -> bool:
    manifest = devkit / MANIFEST
    if not manifest.is_file():
        return False
    try:
        found = json.loads(manifest.read_text())
    except ValueError:
        return False
    return found == dict(recipe, sha256=_digest(devkit))


def generate_voc(
    root: str | Path,
    *,
    train: int = 320,
    test: int = 80,
    size: int = 128,
    classes: Sequence[str] = ('disc', 'square', 'triangle', 'star'),
    seed: int = 0,
) -> Path:
    """Draw a detection set and write it as VOC2007 is laid out.

    One to four figures of random size, colour and rotation on a textured
    background. The boxes fit exactly; a few objects are cut off by the border
    (``truncated``) or small and faint (``difficult``). The same arguments give
    the same bytes. The set is drawn beside its place and moved in when it is
    whole.

    Args:
        root: Folder that will hold ``VOCdevkit/VOC2007``. A config's
            ``data_root`` is then ``<root>/VOCdevkit/``.
        train: Images in ``trainval.txt``; every fifth of them is in
            ``val.txt``, the others in ``train.txt``. Defaults to 320.
        test: Images in ``test.txt``. Defaults to 80.
        size: Width and height of the images. Defaults to 128.
        classes: Names of the classes: the first name is given to the first
            of ``SHAPES``, and so on. Names of VOC's own make the set readable
            by a config that expects VOC.
        seed: Seed of the set. Defaults to 0.

    Returns:
        ``<root>/VOCdevkit``.

    Raises:
        FileExistsError: ``<root>/VOCdevkit`` holds something else. An
            identical set is left as it is.

    Examples:
        >>> from epsd_mm.datasets.drawn_voc import generate_voc
        >>> generate_voc('data/drawn', train=8, test=2)
        PosixPath('data/drawn/VOCdevkit')
    """
    classes = list(classes)
    if (
        not 1 <= len(classes) <= len(SHAPES)
        or len(set(classes)) != len(classes)
        or not all(classes)
    ):
        raise ValueError(
            f'classes={classes} must be 1 to {len(SHAPES)} different names, '
            'there are no more figures to draw'
        )
    if train < 1 or test < 1:
        raise ValueError(f'train={train} and test={test} must be 1 or more')
    if size < 32:
        raise ValueError(
            f'size={size} is too small to draw in, use 32 or more'
        )
    if seed < 0:
        raise ValueError(f'seed={seed} must not be negative')
    recipe = dict(
        edition=EDITION,
        train=train,
        test=test,
        size=size,
        classes=classes,
        seed=seed,
    )
    root = Path(root)
    devkit = root / 'VOCdevkit'
    if devkit.exists() and (not devkit.is_dir() or any(devkit.iterdir())):
        if _is_made_by(devkit, recipe):
            return devkit
        raise FileExistsError(
            f'{devkit} is not the set that these arguments would draw; remove '
            'it or choose another folder'
        )
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.drawing-', dir=root) as folder:
        _write(Path(folder) / 'VOCdevkit', recipe)
        os.replace(Path(folder) / 'VOCdevkit', devkit)
    return devkit
