"""A deployable module as an ONNX file."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from epsd_mm.families.deployable import NotExportableError, not_exportable
from epsd_mm.quiet import quiet

from .onnx_operators import OPSET, translations
from .run import KEY, Metadata

#: Sides that vary are at least so many pixels long.
SMALLEST = 64


def write_onnx(
    module: nn.Module,
    inputs: Sequence[Tensor],
    names: tuple[Sequence[str], Sequence[str]],
    metadata: Metadata,
    path: Path,
    dynamic: bool = False,
) -> None:
    """Export a module, for batches of any size.

    Args:
        module: Takes the inputs and returns the outputs.
        inputs: Examples; images are first.
        names: Of the inputs and of the outputs.
        metadata: Written into the file.
        path: Of the file.
        dynamic: Let height and width of images be others, too, of
            :data:`SMALLEST` pixels or more.

    Raises:
        ValueError: Some of the network cannot be written; says what.
    """
    batch = torch.export.Dim('batch', min=1, max=1024)
    shapes = [{0: batch} for _ in inputs]
    if dynamic:
        divisor = metadata.divisor
        for axis, side in ((2, 'height'), (3, 'width')):
            least = -(-SMALLEST // divisor)
            cells = torch.export.Dim(f'{side}_cells', min=least, max=8192)
            shapes[0][axis] = cells if divisor == 1 else divisor * cells
    # The second image: one alone would be taken for a constant.
    example = tuple(torch.cat([value, value]) for value in inputs)
    with quiet('torch.onnx', 'onnxscript', 'onnx_ir'):
        program = _trace(module, example, tuple(shapes))
        written = _translate(program, *names)
    written.model.metadata_props[KEY] = metadata.to_json()
    written.save(path)


def _trace(module: nn.Module, example: tuple, shapes: tuple) -> object:
    try:
        with torch.no_grad():
            return torch.export.export(
                module, example, dynamic_shapes=shapes, strict=False
            )
    except Exception as error:  # whatever torch says of what it cannot trace
        raise not_exportable(_model_name(module), _cause(error)) from error


def _cause(error: Exception) -> str:
    fixed = re.search(r'Constraints violated \((.*?)\)', str(error))
    if fixed is None:
        return f'{type(error).__name__}: {_first_lines(error)}'
    if 'batch' in fixed[1]:
        return 'its code is for batches of one size, which a file leaves open'
    return 'its code is for images of one size: leave out --dynamic'


def _translate(
    program: object, inputs: Sequence[str], outputs: Sequence[str]
) -> object:
    try:
        return torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            custom_translation_table=translations(),
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        cause = error.__cause__ or error
        raise NotExportableError(
            'ONNX lacks an operator of the network: '
            f'{_operator(cause) or _first_lines(cause)}'
        ) from error


def _model_name(module: nn.Module) -> str:
    return type(getattr(module, 'model', module)).__name__


def _operator(error: BaseException) -> str | None:
    """That the exporter gives the graph's whole line of."""
    called = re.search(
        r'call_function\[target=torch\.ops\.([\w.]+)', str(error)
    )
    return called and called[1]


def _first_lines(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ' '.join(lines[:3])
