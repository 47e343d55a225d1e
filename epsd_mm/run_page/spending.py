"""What a run has cost, and what its network computes."""

from collections.abc import Iterator

from mmengine.config import Config
from torch import nn

from epsd_mm.analysis.image_counts import (
    Shape,
    count_images,
    padded,
    tested_shape,
)
from epsd_mm.analysis.parts import summed
from epsd_mm.config_types import scope_of
from epsd_mm.deploy.exporting import initial_model
from epsd_mm.pages import Section, Table

from .run_folder import RunFolder


def spending(run: RunFolder, shape: Shape | None) -> Section:
    """Seconds, memory and multiply-adds.

    Args:
        run: The files of the run.
        shape: Height and width of the model's images, where the config does
            not say.
    """
    rows = [*_of_scoring(run), *_of_training(run)]
    try:
        computed = _computed(run, shape)
    except (OSError, ValueError) as error:
        text = [f'Multiply-adds are not counted: {error}.']
    else:
        rows += computed
        text = [
            'Multiply-adds are counted as tools/analysis_tools/get_flops.py '
            'does: zeros make no dense runtime faster.'
        ]
    return Section('What it costs', text, [Table(('', ''), rows)])


def _of_scoring(run: RunFolder) -> Iterator[list[str]]:
    if run.report is not None:
        yield ['scoring', f'{run.report["seconds"]:.1f} s']
        yield [
            'peak memory when it had scored',
            f'{run.report["peak_memory"] / 2**30:.2f} GiB '
            f'({run.report["peak_memory_of"]})',
        ]


def _of_training(run: RunFolder) -> Iterator[list[str]]:
    if run.log is None:
        return
    lines = run.log.by_iteration
    iteration = run.log.iteration_time
    yield ['an iteration, median', f'{1e3 * iteration:.0f} ms']
    if run.log.epoch_time is not None:
        yield ['an epoch, without evaluation', f'{run.log.epoch_time:.1f} s']
    yield [
        'all iterations, by their median',
        f'{iteration * max(lines) / 60:.1f} min',
    ]
    memory = [x['memory'] for x in lines.values() if 'memory' in x]
    if memory:
        yield ['peak memory of the GPU', f'{max(memory) / 1024:.2f} GiB']


def _computed(run: RunFolder, shape: Shape | None) -> list[list[str]]:
    model = _network_of(run.cfg)
    try:
        shape = tested_shape(run.cfg)
    except ValueError:
        if shape is None:
            raise
    at = padded(model, shape)
    layers = count_images(model, {at: 1}, run.masks)
    everything = summed(layers.values())
    done, kept = (
        f'{everything[key] / 1e6:,.0f} M'
        for key in ('multiply_adds', 'sparse_multiply_adds')
    )
    rows = [
        [
            'weights of layers',
            f'{everything["total"]:,}, kept {everything["kept"]:,}',
        ],
        [f'multiply-adds of an image of {at[0]} x {at[1]}', done],
    ]
    if run.masks is not None:
        rows.append(['of them with weights that are kept', kept])
    return rows


def _network_of(cfg: Config) -> nn.Module:
    """Of a run that was perhaps made where more was installed.

    Raises:
        ValueError: It cannot be built here.
    """
    try:
        return initial_model(cfg)
    except (ImportError, KeyError, TypeError) as error:
        said = error.args[0] if isinstance(error, KeyError) else error
        raise ValueError(
            'the network cannot be built here. Make the page where '
            f'{scope_of(cfg) or "mmengine"} and what custom_imports names '
            f'are as in the training ({said})'
        ) from error
