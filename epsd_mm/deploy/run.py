"""Run an exported network on images: ``python run.py IMAGE``.

Takes numpy, Pillow (10.1 or newer) and ONNX Runtime or OpenVINO, nothing
else. This file is copied beside every network that epsd_mm exports.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

#: The name of the metadata in a file.
KEY = 'epsd_mm'
VERSION = 1
PRECISIONS = ('float32', 'int8')
TASKS = ('detection', 'classification')
MODES = ('keep_ratio', 'stretch', 'short_edge_then_crop')
_BACKENDS = ('cv2', 'pillow')
_FILTERS = {
    'nearest': Image.Resampling.NEAREST,
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
    'lanczos': Image.Resampling.LANCZOS,
}
_OF_CV2 = ('bilinear', 'bicubic')


@dataclass(frozen=True)
class Resize:
    """How images were resized when the network was tested.

    Attributes:
        mode (str): ``keep_ratio`` makes an image as large as ``scale``
            allows, ``stretch`` exactly as large as the canvas,
            ``short_edge_then_crop`` makes its shorter edge ``edge`` long and
            crops the middle.
        scale (list[int]): Of ``keep_ratio``: how long the longer and the
            shorter edge may be, in any order.
        edge (int): Of ``short_edge_then_crop``.
        interpolation (str): ``nearest``, ``bilinear``, ``bicubic`` or
            ``lanczos``.
        backend (str): Whose: ``cv2``, which has no antialiasing, or
            ``pillow``.
    """

    mode: str
    scale: Sequence[int] | None = None
    edge: int | None = None
    interpolation: str = 'bilinear'
    backend: str = 'cv2'

    def __post_init__(self) -> None:
        _check_one_of('resize.mode', self.mode, MODES)
        _check_one_of('resize.backend', self.backend, _BACKENDS)
        known = _OF_CV2 if self.backend == 'cv2' else tuple(_FILTERS)
        _check_one_of('resize.interpolation', self.interpolation, known)
        keep = self.mode == 'keep_ratio'
        scale = self.scale if keep else [1, 1]
        if not isinstance(scale, (list, tuple)) or len(scale) != 2:
            raise ValueError(f'resize.scale is {scale!r}, not two lengths')
        for length in scale:
            _check_length('resize.scale', length)
        if self.mode == 'short_edge_then_crop':
            _check_length('resize.edge', self.edge)


@dataclass(frozen=True)
class Metadata:
    """What a file says of itself.

    Attributes:
        task (str): ``detection`` or ``classification``.
        classes (list[str]): By label.
        resize (Resize): What comes before the network.
        width (int): Of the canvas; of a network that takes any size, that
            of the images it was made for.
        height (int): Likewise.
        divisor (int): Width and height of a canvas are multiples of it.
        pad (list[float]): RGB of a canvas where there is no image.
        score_threshold (float): Of a detector: below it there are no boxes.
        model (str): What the network is called.
        sparsity (float): Share of its weights that is zero, where counted.
        compaction (str): What was removed, in words.
        precision (str): ``float32``, or ``int8`` of a quantized one.
        version (int): Of this form.
    """

    task: str
    classes: Sequence[str]
    resize: Resize
    width: int
    height: int
    divisor: int = 1
    pad: Sequence[float] = (0.0, 0.0, 0.0)
    score_threshold: float = 0.0
    model: str = ''
    sparsity: float | None = None
    compaction: str | None = None
    precision: str = 'float32'
    version: int = field(default=VERSION, kw_only=True)

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(
                f'its metadata has version {self.version!r} and this reader '
                f'knows {VERSION}: use the run.py that came with it'
            )
        _check_one_of('task', self.task, TASKS)
        _check_one_of('precision', self.precision, PRECISIONS)
        texts = isinstance(self.classes, (list, tuple)) and all(
            isinstance(name, str) for name in self.classes
        )
        if not texts or not self.classes:
            raise ValueError(f'classes are {self.classes!r:.80}, not names')
        for name in ('width', 'height', 'divisor'):
            _check_length(name, getattr(self, name))
        if len(self.pad) != 3 or not all(map(_is_number, self.pad)):
            raise ValueError(f'pad is {self.pad!r}, not three numbers')
        if not _is_number(self.score_threshold):
            raise ValueError(
                f'score_threshold is {self.score_threshold!r}, not a number'
            )

    @classmethod
    def from_json(cls, text: str) -> 'Metadata':
        """Read and check what :meth:`to_json` has written.

        Raises:
            ValueError: Something is missing, unknown or of another kind.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ValueError(f'its metadata is no JSON: {error}') from error
        version = isinstance(content, dict) and content.get('version')
        if version != VERSION:
            raise ValueError(
                f'its metadata has version {version!r} and this reader knows '
                f'{VERSION}: use the run.py that came with it'
            )
        try:
            resize = Resize(**_known(Resize, content.get('resize'), 'resize'))
            content = _known(cls, content, 'metadata')
            return cls(**content | dict(resize=resize))
        except TypeError as error:  # an argument is missing
            raise ValueError(f'its metadata is incomplete: {error}') from error

    def to_json(self) -> str:
        """As it stands in a file."""
        return json.dumps(asdict(self))


def _known(kind: type, content: Any, place: str) -> dict:
    if not isinstance(content, dict):
        raise ValueError(f'{place} is {content!r:.60}, not names and values')
    unknown = set(content) - {each.name for each in fields(kind)}
    if unknown:
        raise ValueError(f'{place} has {sorted(unknown)}, which is not known')
    return content


def _check_one_of(place: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f'{place} is {value!r}, not one of {choices}')


def _check_length(place: str, value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f'{place} is {value!r}, not a whole number above 0')


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


class Session(NamedTuple):
    """An open file.

    Attributes:
        shapes: Of its inputs, by name; None where any length will do.
        metadata: As text, None where it has none.
        run: Takes arrays by name of the input, returns those of outputs.
    """

    shapes: Mapping[str, tuple[int | None, ...]]
    metadata: str | None
    run: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def open_file(
    file: str | Path, threads: int | None = None, runtime: str | None = None
) -> Session:
    """Open a file with ONNX Runtime (``.onnx``) or OpenVINO (``.xml``).

    Args:
        file: The network.
        threads: That compute; as many as there are cores by default.
        runtime: Another one that reads ``.onnx``: ``openvino``,
            ``openvino_bf16`` (16 bits), or ``tensorrt`` where ONNX Runtime
            has it.

    Raises:
        ImportError: The runtime is not installed.
        OSError: There is no such file.
        ValueError: It is of another kind, or damaged.
    """
    file = Path(file)
    if file.suffix not in _READERS:
        raise ValueError(f'{file} is neither a .onnx nor a .xml file')
    if not file.is_file():
        raise FileNotFoundError(f'there is no file {file}')
    if file.suffix == '.xml' and not file.with_suffix('.bin').is_file():
        raise FileNotFoundError(
            f'there is no {file.with_suffix(".bin")}, where the weights of '
            f'{file.name} are'
        )
    readers = _READERS[file.suffix]
    if runtime is None:
        runtime = next(iter(readers))
    _check_one_of(f'the runtime of {file.name}', runtime, tuple(readers))
    return readers[runtime](file, threads)


def _open_tensorrt(file: Path, threads: int | None) -> Session:
    return _open_onnx(file, threads, ['TensorrtExecutionProvider'])


def _open_onnx(
    file: Path, threads: int | None, providers: Sequence[str] | None = None
) -> Session:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(_absent('onnxruntime', file)) from error
    options = onnxruntime.SessionOptions()
    # Of its warnings a user can act on none.
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            str(file),
            options,
            providers=providers or _without_tensorrt(onnxruntime),
        )
    except Exception as error:  # it has a class for every cause
        raise ValueError(_unreadable(file, 'ONNX Runtime', error)) from error
    shapes = {
        each.name: tuple(n if type(n) is int else None for n in each.shape)
        for each in session.get_inputs()
    }
    names = [each.name for each in session.get_outputs()]

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, dict(feed))))

    stored = session.get_modelmeta().custom_metadata_map
    return Session(shapes, stored.get(KEY), run)


def _without_tensorrt(onnxruntime: Any) -> list[str]:
    """What is used unasked: TensorRT takes minutes to start."""
    slow = 'TensorrtExecutionProvider'
    return [p for p in onnxruntime.get_available_providers() if p != slow]


def _open_openvino_bf16(file: Path, threads: int | None) -> Session:
    return _open_openvino(file, threads, 'bf16')


def _open_openvino(
    file: Path, threads: int | None, precision: str = 'f32'
) -> Session:
    try:
        import openvino
    except ImportError as error:
        raise ImportError(_absent('openvino', file)) from error
    # Where a processor can, the default is bf16: three digits, not seven.
    options: dict[str, Any] = dict(INFERENCE_PRECISION_HINT=precision)
    if threads is not None:
        options['INFERENCE_NUM_THREADS'] = threads
    try:
        core = openvino.Core()
        network = core.read_model(file)
        compiled = core.compile_model(network, 'CPU', options)
    except Exception as error:  # RuntimeErrors of several lines
        raise ValueError(_unreadable(file, 'OpenVINO', error)) from error
    shapes = {
        each.get_any_name(): tuple(
            n.get_length() if n.is_static else None
            for n in each.get_partial_shape()
        )
        for each in compiled.inputs
    }
    request = compiled.create_infer_request()

    def run(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = request.infer(dict(feed))
        return {
            output.get_any_name(): np.array(value)
            for output, value in found.items()
        }

    known = network.has_rt_info([KEY])
    metadata = network.get_rt_info([KEY]).astype(str) if known else None
    return Session(shapes, metadata, run)


_READERS: dict[str, dict[str, Callable[[Path, int | None], Session]]] = {
    '.onnx': dict(
        onnxruntime=_open_onnx,
        openvino=_open_openvino,
        openvino_bf16=_open_openvino_bf16,
        tensorrt=_open_tensorrt,
    ),
    '.xml': dict(openvino=_open_openvino, openvino_bf16=_open_openvino_bf16),
}


def _absent(package: str, file: Path) -> str:
    return (
        f'{file.name} needs {package}, which is not installed: '
        f'{sys.executable} -m pip install {package}'
    )


def _unreadable(file: Path, runtime: str, error: Exception) -> str:
    return f'{file}: {runtime} cannot read it: {last_line(error)}'


def last_line(error: Exception) -> str:
    """Of what a runtime says: the cause, behind places in its own code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class Network:
    """An exported network, which :func:`load` opens.

    Attributes:
        metadata (Metadata): What the file says of itself.
        canvas (tuple[int, int]): Height and width that it takes, None where
            it takes any that are multiples of ``metadata.divisor``.
    """

    def __init__(self, session: Session, metadata: Metadata) -> None:
        self.metadata = metadata
        height, width = session.shapes['image'][2:]
        fixed = height is not None and width is not None
        self.canvas = (height, width) if fixed else None
        self._takes_size = 'size' in session.shapes
        self._run = session.run

    def __call__(
        self, image: np.ndarray, size: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """The outputs for a batch, by name.

        Args:
            image: Of shape (N, 3, H, W), RGB of 0 to 255.
            size: Height and width of each image within the canvas, of shape
                (N, 2); all of it by default.
        """
        return self._run(self._feed(image, size))

    def feed_of(self, picture: Image.Image) -> dict[str, np.ndarray]:
        """The inputs of the file for one picture, by name."""
        prepared = prepare(picture, self)
        batch = self.on_canvas([prepared.image])
        return self._feed(batch, np.array([prepared.size]))

    def _feed(
        self, image: np.ndarray, size: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        image = np.ascontiguousarray(image, np.float32)
        feed = dict(image=image)
        if self._takes_size:
            if size is None:
                size = np.tile(image.shape[2:], (len(image), 1))
            feed['size'] = np.ascontiguousarray(size, np.float32)
        return feed

    def on_canvas(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Images of any sizes as a batch, padded at the right and below.

        Args:
            images: Resized, each of shape (3, H, W).

        Returns:
            Of shape (N, 3, H, W).

        Raises:
            ValueError: One is larger than the canvas.
        """
        height, width = self._canvas_of(images)
        pixel = np.asarray(self.metadata.pad, np.float32)[:, None, None]
        batch = np.empty((len(images), 3, height, width), np.float32)
        batch[:] = pixel
        for row, image in zip(batch, images, strict=True):
            row[:, : image.shape[1], : image.shape[2]] = image
        return batch

    def _canvas_of(self, images: Sequence[np.ndarray]) -> tuple[int, int]:
        height, width = (max(i.shape[n] for i in images) for n in (1, 2))
        if self.canvas is None:
            step = self.metadata.divisor
            return -(-height // step) * step, -(-width // step) * step
        if height > self.canvas[0] or width > self.canvas[1]:
            raise ValueError(
                f'an image is {width} x {height} after resizing and the file '
                f'takes {self.canvas[1]} x {self.canvas[0]}: export it with '
                '--dynamic, or with a larger --size'
            )
        return self.canvas


def load(file: str | Path, threads: int | None = None) -> Network:
    """Open an exported network.

    Example:
        >>> network = load('exported/model.onnx')
        >>> picture = open_image('IMAGE.jpg')
        >>> found = detect(network, picture, threshold=0.3)
        >>> draw(picture, found, network.metadata.classes).save('found.png')

    Args:
        file: With the ending ``.onnx`` or ``.xml``.
        threads: That compute; as many as there are cores by default.

    Raises:
        ImportError: The runtime is not installed.
        OSError: There is no such file.
        ValueError: It is damaged, or epsd_mm has not exported it.
    """
    session = open_file(file, threads)
    if session.metadata is None or 'image' not in session.shapes:
        raise ValueError(
            f'{file} has no metadata of epsd_mm: export the network with '
            'tools/export.py'
        )
    try:
        metadata = Metadata.from_json(session.metadata)
    except ValueError as error:
        raise ValueError(
            f'{file}: {error}; the network can be exported again'
        ) from error
    return Network(session, metadata)


def open_image(file: str | Path) -> Image.Image:
    """An image file in RGB, the right way up.

    Grey, palette and 16-bit images are converted; what is transparent is
    shown as it is stored, as cv2 does. Of an animation it is the first one.

    Args:
        file: In any format that Pillow reads.

    Raises:
        OSError: There is no such file.
        ValueError: It is no image, or a broken one.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(f'there is no image {file}')
    try:
        with Image.open(file) as image:
            image.load()
    except UnidentifiedImageError as error:
        raise ValueError(
            f'{file} is not an image that Pillow reads'
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f'{file} is damaged: {error}') from error
    except Image.DecompressionBombError as error:
        raise ValueError(f'{file} is too large: {error}') from error
    try:
        return as_rgb(image)
    except ValueError as error:
        raise ValueError(f'{file}: {error}') from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Any image as RGB with 8 bits, turned as its EXIF data say.

    Raises:
        ValueError: Its pixels have no known range.
    """
    # Pillow makes 32 bits of the 16 in a PPM, and older ones in a PNG.
    wide = image.mode == 'I' and image.format not in ('PNG', 'PPM')
    image = ImageOps.exif_transpose(image)
    if image.mode == 'F' or wide:
        raise ValueError(
            'its pixels have 32 bits, of which nobody knows what is white: '
            'save it with 8 or 16'
        )
    if image.mode.startswith('I'):
        values = np.asarray(image)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert('RGB')
    if image.mode in ('LA', 'La'):
        return image.convert('LA').getchannel('L').convert('RGB')
    if image.mode in ('P', 'PA', 'RGBa'):
        image = image.convert('RGBA')
    return image.convert('RGB')


class Prepared(NamedTuple):
    """An image as a network takes it.

    Attributes:
        image: Of shape (3, H, W), RGB of 0 to 255, not padded yet.
        size: Its height and width.
        scale: By how much width and height were multiplied.
    """

    image: np.ndarray
    size: tuple[int, int]
    scale: tuple[float, float]


def prepare(picture: Image.Image, network: Network) -> Prepared:
    """Resize a picture as the images of the network's test were.

    Where the canvas is fixed and the picture would not fit, it is made as
    large as fits.

    Args:
        picture: In any mode.
        network: That it is for.
    """
    picture = as_rgb(picture)
    metadata = network.metadata
    size = resized_size(picture.size, metadata, network.canvas)
    pixels = resize(np.asarray(picture), size, metadata.resize)
    if metadata.resize.mode == 'short_edge_then_crop':
        pixels = _middle(pixels, metadata.width, metadata.height)
    height, width = pixels.shape[:2]
    scale = size[0] / picture.width, size[1] / picture.height
    return Prepared(pixels.transpose(2, 0, 1), (height, width), scale)


def resized_size(
    size: tuple[int, int],
    metadata: Metadata,
    canvas: tuple[int, int] | None,
) -> tuple[int, int]:
    """Width and height of a picture once it is resized, before any crop.

    Args:
        size: Its width and height.
        metadata: Of the network.
        canvas: Height and width, where they are fixed.
    """
    width, height = size
    mode = metadata.resize.mode
    if mode == 'stretch':
        return metadata.width, metadata.height
    if mode == 'short_edge_then_crop':
        edge = metadata.resize.edge
        if width < height:
            return edge, int(edge * height / width)
        return int(edge * width / height), edge
    long, short = max(metadata.resize.scale), min(metadata.resize.scale)
    factor = min(long / max(size), short / min(size))
    resized = int(width * factor + 0.5), int(height * factor + 0.5)
    if canvas and (resized[0] > canvas[1] or resized[1] > canvas[0]):
        factor = min(canvas[1] / width, canvas[0] / height)
        resized = (
            min(int(width * factor + 0.5), canvas[1]),
            min(int(height * factor + 0.5), canvas[0]),
        )
    # A line of one pixel is a picture, too.
    return max(resized[0], 1), max(resized[1], 1)


def _middle(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    top = max(0, round((pixels.shape[0] - height) / 2))
    left = max(0, round((pixels.shape[1] - width) / 2))
    return pixels[top : top + height, left : left + width]


def resize(
    pixels: np.ndarray, size: tuple[int, int], how: Resize
) -> np.ndarray:
    """Resize an image as cv2 or Pillow does.

    Args:
        pixels: Of shape (H, W, 3) and type uint8.
        size: Width and height of the result.
        how: Whose interpolation.
    """
    if pixels.shape[1::-1] == tuple(size):
        return pixels
    if how.backend == 'pillow':
        image = Image.fromarray(pixels)
        return np.asarray(image.resize(size, _FILTERS[how.interpolation]))
    width, height = size
    if how.interpolation == 'bilinear':
        return _resize_bilinear(pixels, width, height)
    rows = _cubic_weights(pixels.shape[0], height)
    columns = _cubic_weights(pixels.shape[1], width)
    result = _mix(_mix(pixels.astype(float), *columns, 1), *rows, 0)
    return np.rint(result).clip(0, 255).astype(np.uint8)


def _positions(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixel at or before the middle of each new one, and the rest."""
    middle = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(middle).astype(np.int64)
    return first, middle - first


def _resize_bilinear(
    pixels: np.ndarray, width: int, height: int
) -> np.ndarray:
    """cv2's ``INTER_LINEAR``, in its whole numbers of 11 bits."""
    left, right, x = _linear_weights(pixels.shape[1], width)
    above, below, y = _linear_weights(pixels.shape[0], height)
    # Each row is needed by one or two others, so it is mixed once.
    rows, inverse = np.unique([above, below], return_inverse=True)
    wide = pixels[rows].astype(np.int32)
    near, far = x[:, None], 2048 - x[:, None]
    wide = (wide[:, left] * far + wide[:, right] * near) >> 4
    above, below = inverse.reshape(2, height)
    near, far = y[:, None, None], 2048 - y[:, None, None]
    mixed = (wide[above] * far >> 16) + (wide[below] * near >> 16)
    return ((mixed + 2) >> 2).clip(0, 255).astype(np.uint8)


def _linear_weights(old: int, new: int) -> tuple[np.ndarray, ...]:
    """Of each new pixel both neighbours, and of 2048 how much the second."""
    first, rest = _positions(old, new)
    share = np.rint(rest * 2048).astype(np.int32)
    return first.clip(0, old - 1), (first + 1).clip(0, old - 1), share


def _cubic_weights(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Four neighbours of each new pixel and cv2's weights of them."""
    first, t = _positions(old, new)
    a = -0.75
    s = 1 - t
    outer = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a
    inner = ((a + 2) * t - (a + 3)) * t * t + 1
    following = ((a + 2) * s - (a + 3)) * s * s + 1
    weights = np.stack(
        [outer, inner, following, 1 - outer - inner - following]
    )
    neighbours = first + np.arange(-1, 3)[:, None]
    return neighbours.clip(0, old - 1), np.rint(weights * 2048) / 2048


def _mix(
    pixels: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, axis: int
) -> np.ndarray:
    shape = [1, 1, 1]
    shape[axis] = -1
    return sum(
        pixels.take(index, axis) * weight.reshape(shape)
        for index, weight in zip(neighbours, weights, strict=True)
    )


class Detections(NamedTuple):
    """What was found in an image, by falling score.

    Attributes:
        boxes: Corners in pixels of the image, of shape (K, 4).
        scores: Of shape (K,).
        labels: Of shape (K,).
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def detect(
    network: Network, picture: Image.Image, threshold: float = 0.0
) -> Detections:
    """Find objects in a picture.

    Args:
        network: A detector.
        picture: In any mode.
        threshold: Objects with a lower score are left out.

    Returns:
        Those that are left, in pixels of the picture.
    """
    picture = as_rgb(picture)
    prepared = prepare(picture, network)
    batch = network.on_canvas([prepared.image])
    found = network(batch, np.array([prepared.size]))
    boxes, scores, labels = (
        found[name][0] for name in ('boxes', 'scores', 'labels')
    )
    kept = (labels >= 0) & (scores >= threshold)
    corners = boxes[kept] / np.tile(prepared.scale, 2)
    corners = corners.clip(0, np.tile(picture.size, 2))
    return Detections(corners, scores[kept], labels[kept])


def classify(network: Network, picture: Image.Image) -> np.ndarray:
    """The probability of each class, of shape (C,).

    Args:
        network: A classifier.
        picture: In any mode.
    """
    prepared = prepare(picture, network)
    batch = network.on_canvas([prepared.image])
    return network(batch)['probabilities'][0]


def draw(
    picture: Image.Image, found: Detections, classes: Sequence[str]
) -> Image.Image:
    """A copy of a picture with its objects framed and named.

    Args:
        picture: In any mode.
        found: What :func:`detect` returned.
        classes: Names by label.
    """
    picture = as_rgb(picture).copy()
    pen = ImageDraw.Draw(picture)
    line = max(1, round(min(picture.size) / 200))
    font = ImageFont.load_default(size=max(10, 6 * line))
    for box, score, label in list(zip(*found, strict=True))[::-1]:
        colour = _colour(int(label), len(classes))
        corners = [float(value) for value in box]
        pen.rectangle(corners, outline=colour, width=line)
        text = f'{classes[label]} {score:.2f}'
        ink = pen.textbbox((0, 0), text, font=font)
        left = max(0, min(corners[0], picture.width - ink[2]))
        top = max(0, corners[1] - ink[3] - line)
        area = [left, top, left + ink[2] + line, top + ink[3] + line]
        pen.rectangle(area, fill=colour)
        pen.text((left, top), text, fill='white', font=font)
    return picture


def _colour(label: int, classes: int) -> str:
    return f'hsl({round(360 * label / classes)}, 80%, 40%)'


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; see its ``--help``."""
    args = _parser().parse_args(argv)
    try:
        _run(args)
    except (ImportError, OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Run the exported network beside this file on an image: '
        'draw what a detector finds, or print the most probable classes.'
    )
    parser.add_argument('image', help='path of the image')
    parser.add_argument(
        '--file', help='the network; model.onnx or model.xml beside this file'
    )
    parser.add_argument(
        '--out', help='of a detector: the picture; IMAGE_detections.png here'
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        help='of a detector: lowest score that is shown (0.3)',
    )
    parser.add_argument('--threads', type=int, help='that compute')
    return parser


def _check(args: argparse.Namespace) -> None:
    if args.threads is not None and args.threads < 1:
        raise ValueError(f'--threads {args.threads} must be at least 1')
    threshold = args.score_thr
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f'--score-thr {threshold} is not between 0 and 1')


def _run(args: argparse.Namespace) -> None:
    _check(args)
    picture = open_image(args.image)
    network = load(args.file or _beside(), args.threads)
    metadata = network.metadata
    if metadata.task == 'classification':
        for option in ('out', 'score_thr'):
            if getattr(args, option) is not None:
                raise ValueError(
                    f'--{option.replace("_", "-")} is for detectors, and '
                    f'{metadata.model or "this network"} is a classifier'
                )
        _tell_classes(classify(network, picture), metadata.classes)
        return
    out = Path(args.out or f'{Path(args.image).stem}_detections.png')
    _check_out(out, args.image)
    threshold = 0.3 if args.score_thr is None else args.score_thr
    found = detect(network, picture, threshold)
    _tell_objects(found, metadata.classes)
    draw(picture, found, metadata.classes).save(out)
    _say(f'{len(found.scores)} objects with a score of {threshold:g}: {out}')


def _beside() -> Path:
    folder = Path(__file__).resolve().parent
    for name in ('model.onnx', 'model.xml'):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f'there is no model.onnx or model.xml in {folder}: name one with '
        '--file'
    )


def _check_out(out: Path, image: str) -> None:
    kind = Image.registered_extensions().get(out.suffix.lower())
    if kind not in Image.SAVE:
        raise ValueError(f'--out {out}: end it in .png or .jpg')
    if not out.parent.is_dir():
        raise FileNotFoundError(f'there is no folder {out.parent} for --out')
    if out.exists() and out.samefile(image):
        raise ValueError(f'--out {out} is the image itself')


def _tell_objects(found: Detections, classes: Sequence[str]) -> None:
    for box, score, label in zip(*found, strict=True):
        corners = ' '.join(f'{value:7.1f}' for value in box)
        _say(f'{score:.3f} {corners}  {classes[label]}')


def _tell_classes(probabilities: np.ndarray, classes: Sequence[str]) -> None:
    for label in np.argsort(-probabilities, kind='stable')[:5]:
        _say(f'{probabilities[label]:.4f}  {classes[label]}')


def _say(line: str) -> None:
    sys.stdout.write(line + '\n')


if __name__ == '__main__':
    main()
