"""From a config and a checkpoint to a folder that runs anywhere."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from PIL import Image
from torch import nn

from epsd_mm.check_env import require
from epsd_mm.config_types import type_name
from epsd_mm.datasets.class_names import configured_classes
from epsd_mm.early_pruning import channels_of
from epsd_mm.engine.fitting_state import fitting_state
from epsd_mm.engine.initial_model import build_untrained
from epsd_mm.engine.safe_loading import CheckpointError, load_values
from epsd_mm.evaluation.sparsity import network_sparsity
from epsd_mm.families.deployable import (
    NotExportableError,
    as_deployed,
    as_predicted,
)
from epsd_mm.families.ssd import repair_ssd_head
from epsd_mm.files import write_text
from epsd_mm.version import __version__

from . import run
from .canvas import Canvas, canvas_of
from .equivalence import Comparison, compare, found_again
from .export_report import REPORT, VERSION, ExportReport, is_export
from .onnx_file import write_onnx
from .openvino_operators import extensions
from .quantize import check_calibration, quantize
from .run import Metadata, last_line

RUNTIMES = ('onnx', 'openvino')
_TRACED = (512, 640)  # height and width of no image in particular


def export(
    cfg: Config,
    checkpoint: str,
    folder: Path,
    to: str = 'onnx',
    size: tuple[int, int] | None = None,
    dynamic: bool = False,
    pictures: Sequence[Image.Image] = (),
    keep_zeros: bool = False,
    calibration: Sequence[Image.Image] | None = None,
) -> Metadata:
    """Write a network that needs neither torch nor mm, and compare it.

    Args:
        cfg: Complete config of a classifier or detector.
        checkpoint: Path of its weights.
        folder: That is made: ``model.onnx``, or ``model.xml`` and
            ``model.bin``, ``run.py`` and ``report.json``. One of an earlier
            export is replaced.
        to: ``onnx`` or ``openvino``.
        size: Width and height of images in place of the config's.
        dynamic: Let width and height of images vary.
        pictures: Real ones, on which the file is compared with the network.
        keep_zeros: Export a checkpoint with whole channels at zero as it is.
        calibration: Pictures of the training data, by which the file becomes
            int8 once it was compared in float32; None leaves it.

    Returns:
        What the file says of itself.

    Raises:
        ImportError: What the export needs is not installed.
        ValueError: The network cannot be exported, or its file computes
            something else; nothing is written.
        CheckpointError: The checkpoint is not one of this network.
        FileExistsError: The folder holds something else.
    """
    needed = ['onnx', 'onnxscript', 'onnxruntime']
    needed += ['openvino'] if to == 'openvino' else []
    require(*needed, needed_by=f'an export to {to}')
    if calibration is not None:
        check_calibration(calibration)
    if not pictures:
        raise ValueError(
            'there is no picture to compare the file with the network on: '
            'name some with --images, or put the test set of the config into '
            'place'
        )
    _refuse_foreign(folder)
    model, content = build_model(cfg, checkpoint, keep_zeros)
    with _others_named():
        module, metadata = deployable(cfg, model, _classes(cfg, content), size)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        _others_named(),
        tempfile.TemporaryDirectory(
            prefix=f'.{folder.name}.', dir=folder.parent
        ) as draft,
    ):
        new = Path(draft) / 'new'
        new.mkdir()
        file, comparison = write_compared(
            model, module, metadata, new, pictures, to, dynamic
        )
        logger = MMLogger.get_current_instance()
        logger.info(comparison.summary())
        kept = None
        if calibration is not None:
            kept = _to_int8(new / 'model.onnx', file, calibration, pictures)
            metadata = run.load(new / 'model.onnx').metadata
            logger.info(
                f'{file.name} is int8 by {len(calibration)} pictures: '
                f'{kept[0]} of {kept[1]} answers are those of float32; '
                'tools/test.py --file says what that costs'
            )
        if to == 'openvino':
            os.remove(new / 'model.onnx')
        shutil.copy(run.__file__, new / 'run.py')
        report = ExportReport(
            version=VERSION,
            epsd_mm=__version__,
            torch=torch.__version__,
            config=str(cfg.filename),
            checkpoint=str(checkpoint),
            file=file.name,
            bytes=sum(
                path.stat().st_size for path in new.glob(f'{file.stem}.*')
            ),
            metadata=json.loads(metadata.to_json()),
            calibrated_by=len(calibration) if calibration else None,
            found_again_in_int8=kept,
            comparison=comparison.figures(),
        )
        write_text(new / REPORT, json.dumps(report, indent=2) + '\n')
        _replace(new, folder)
    return metadata


@contextmanager
def _others_named() -> Iterator[None]:
    """Say of a network without a form as a file where others are listed."""
    try:
        yield
    except NotExportableError as error:
        raise NotExportableError(
            f'{error}. Networks that can be exported are listed in '
            'docs/exportable.md'
        ) from error


def deployable(
    cfg: Config,
    model: nn.Module,
    classes: Sequence[str],
    size: tuple[int, int] | None = None,
) -> tuple[nn.Module, Metadata]:
    """What is exported of a model, and what its file will say of itself.

    Raises:
        ValueError: The network, or what its config does to images, has no
            form in a file.
    """
    canvas = canvas_of(cfg, size, _divisor(model))
    module = as_deployed(model, canvas.order)
    return module, _metadata(cfg, model, module, classes, canvas)


def write_compared(
    model: nn.Module,
    module: nn.Module,
    metadata: Metadata,
    folder: Path,
    pictures: Sequence[Image.Image],
    to: str = 'onnx',
    dynamic: bool = False,
) -> tuple[Path, Comparison]:
    """Write the file of a model, and compare it on pictures.

    Raises:
        ValueError: It cannot be written, or computes something else.
    """
    file = _write(module, metadata, folder, to, dynamic)
    predict = partial(as_predicted, model, module)
    comparison = compare(module, run.load(file), pictures, predict)
    faults = comparison.faults()
    if faults:
        raise ValueError(
            'the file does not compute what the network does: '
            f'{"; ".join(faults)}. Nothing was written; use the checkpoint '
            'itself, and report the config'
        )
    return file, comparison


def _to_int8(
    source: Path,
    file: Path,
    calibration: Sequence[Image.Image],
    pictures: Sequence[Image.Image],
) -> tuple[int, int]:
    """Quantize a file of ONNX in its place, and what is made from it.

    Returns:
        How many answers are found again, and of how many.

    Raises:
        ValueError: OpenVINO finds something else in it than ONNX Runtime.
    """
    before = run.load(source)
    quantize(source, calibration, source)
    after = run.load(source)
    kept = found_again(before, after, pictures)
    if file != source:
        _as_openvino(source, after.metadata)
        found, of = found_again(after, run.load(file), pictures)
        if 2 * found < of:
            raise ValueError(
                'OpenVINO computes the int8 file otherwise than ONNX Runtime: '
                f'it gives {found} of {of} answers. Nothing was written; '
                'quantize with --to onnx'
            )
    return kept


def build_model(
    cfg: Config, checkpoint: str, keep_zeros: bool = False
) -> tuple[nn.Module, Mapping]:
    """The trained network, in evaluation mode, and its checkpoint.

    Raises:
        CheckpointError: The checkpoint is damaged, of another network, or
            of one that should be made compact first.
    """
    content = load_values(checkpoint, 'cpu')
    if not keep_zeros and channels_of(checkpoint, content) is not None:
        raise CheckpointError(
            f'{checkpoint} has whole channels at zero, which are still '
            'computed. Remove them first: tools/prune.py CONFIG --checkpoint '
            f'{checkpoint} --out DIR, and export DIR/config.py with '
            'DIR/init.pth; or export it as it is with --keep-zeros'
        )
    model = initial_model(cfg)
    model.load_state_dict(fitting_state(model, content, checkpoint))
    return model, content


def initial_model(cfg: Config) -> nn.Module:
    """The network of a config, in evaluation mode; nothing is downloaded."""
    model = build_untrained(cfg)
    repair_ssd_head(model)
    return model.eval()


def _metadata(
    cfg: Config,
    model: nn.Module,
    module: nn.Module,
    classes: Sequence[str],
    canvas: Canvas,
) -> Metadata:
    detects = hasattr(module, 'count')
    padded = module.pixels.padding_pixel()
    return Metadata(
        task='detection' if detects else 'classification',
        classes=list(classes),
        resize=canvas.resize,
        width=canvas.width,
        height=canvas.height,
        divisor=_divisor(model),
        pad=list(canvas.pad or padded),
        score_threshold=module.score_threshold if detects else 0.0,
        model=type(model).__name__,
        sparsity=network_sparsity(model),
        compaction=compaction_of(cfg),
    )


def compaction_of(cfg: Config) -> str | None:
    """What was removed of the network of a config, in words."""
    is_compact = type_name(cfg.model) == 'Compact'
    return 'channels removed' if is_compact else None


def _divisor(model: nn.Module) -> int:
    """Of what the width and height of a batch are multiples."""
    return int(getattr(model.data_preprocessor, 'pad_size_divisor', 1) or 1)


def _classes(cfg: Config, content: Mapping) -> Sequence[str]:
    """Names by label: of the checkpoint, or of the config's test set."""
    meta = content.get('meta')
    known = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    names = (known or {}).get('classes') or (known or {}).get('CLASSES')
    names = names or configured_classes(cfg, 'test_dataloader')
    if not names:
        raise ValueError(
            'neither the checkpoint nor the config says what the classes are '
            "called: add metainfo=dict(classes=('…',)) to the test set"
        )
    return tuple(map(str, names))


def _write(
    module: nn.Module, metadata: Metadata, folder: Path, to: str, dynamic: bool
) -> Path:
    shape = (1, 3, metadata.height, metadata.width)
    if dynamic:
        # Where a level had a height of one, torch would take it for fixed.
        shape = (
            1,
            3,
            *(-(-n // metadata.divisor) * metadata.divisor for n in _TRACED),
        )
    inputs = [torch.full(shape, 127.0)]
    names: tuple[list, list] = (['image'], ['probabilities'])
    if metadata.task == 'detection':
        inputs.append(torch.tensor([shape[2:]], dtype=torch.float32))
        names = (['image', 'size'], ['boxes', 'scores', 'labels'])
    path = folder / 'model.onnx'
    write_onnx(module, inputs, names, metadata, path, dynamic)
    return path if to == 'onnx' else _as_openvino(path, metadata)


def _as_openvino(path: Path, metadata: Metadata) -> Path:
    import openvino

    try:
        network = openvino.convert_model(path, extension=extensions())
    except RuntimeError as error:
        raise ValueError(
            f'OpenVINO lacks an operator of the network: {last_line(error)}. '
            'Nothing was written; --to onnx does without OpenVINO'
        ) from error
    network.set_rt_info(metadata.to_json(), [run.KEY])
    openvino.save_model(
        network, path.with_suffix('.xml'), compress_to_fp16=False
    )
    return path.with_suffix('.xml')


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f'{folder} is a file: name a folder with --out')
    if any(folder.iterdir()) and not is_export(folder):
        raise FileExistsError(
            f'{folder} holds something else than an earlier export: name '
            'another folder with --out'
        )


def _replace(new: Path, folder: Path) -> None:
    """Put a folder in the place of what was there before."""
    if folder.exists():
        os.rename(folder, new.with_name('old'))
    os.rename(new, folder)
