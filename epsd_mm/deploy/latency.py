"""Time, memory and size of networks, measured in turn on one machine."""

import json
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from epsd_mm.check_env import BY_PACKAGE, pip
from epsd_mm.processors import processor, processor_flags
from epsd_mm.tables import text_table

from . import run

RUNTIMES = dict(
    torch='torch',
    onnxruntime='ONNX Runtime',
    openvino='OpenVINO',
    openvino_bf16='OpenVINO bf16',
    tensorrt='TensorRT',
)
_READ_BY = {
    '.onnx': ['onnxruntime', 'openvino', 'openvino_bf16', 'tensorrt'],
    '.xml': ['openvino', 'openvino_bf16'],
}
_SCRIPT = Path(__file__).with_name('timed_process.py')
#: Flags of /proc/cpuinfo: units that multiply and add whole numbers of 8 bits.
_INT8_UNITS = dict(
    amx_int8='AMX-INT8',
    avx512_vnni='AVX-512 VNNI',
    avx_vnni='AVX-VNNI',
    avx_vnni_int8='AVX-VNNI-INT8',
    i8mm='I8MM',
    asimddp='DOTPROD',
)


@dataclass(frozen=True)
class Measurement:
    """One network in one runtime at one batch size.

    Attributes:
        target (str): What was measured, as it was named.
        runtime (str): Of :data:`RUNTIMES`.
        kind (str): ``dense``, ``zeros``, ``compact``, with ``int8``.
        model (str): Its class.
        size (tuple[int, int]): Width and height of images.
        batch (int): How many at a time.
        sparsity (float): Share of zeros, None where it is not known.
        seconds (list[float]): Of each run.
        memory (int): Most bytes of its process so far, runtime included.
        bytes (int): Of the file, or of the weights.
    """

    target: str
    runtime: str
    kind: str
    model: str
    size: tuple[int, int]
    batch: int
    sparsity: float | None
    seconds: Sequence[float]
    memory: int | None
    bytes: int

    @property
    def median(self) -> float:
        """Seconds of a run."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The middle half of the runs lies between them."""
        if len(self.seconds) < 2:
            return self.seconds[0], self.seconds[0]
        cuts = statistics.quantiles(self.seconds, n=4, method='inclusive')
        return cuts[0], cuts[2]


def measure(
    targets: Sequence[str],
    runtimes: Sequence[str] | None = None,
    batches: Sequence[int] = (1, 8),
    threads: int = 1,
    rounds: int = 10,
    warm_up: int = 2,
    size: tuple[int, int] | None = None,
) -> list[Measurement]:
    """Measure networks in turn, one run of each a round.

    A machine that becomes slower or faster meanwhile does so for all of
    them. Each has a process of its own, of which one works at a time; their
    order changes from round to round.

    Args:
        targets: ``.onnx`` and ``.xml`` files, configs, or
            ``CONFIG:CHECKPOINT``.
        runtimes: Keys of :data:`RUNTIMES`; those installed by default.
        batches: How many images at a time.
        threads: Of each process.
        rounds: How many runs count.
        warm_up: How many come before them and do not.
        size: Width and height of images, where the target leaves them open.

    Raises:
        ValueError: A target cannot be measured; says why.
    """
    for name, value in dict(threads=threads, rounds=rounds).items():
        if value < 1:
            raise ValueError(f'{name} is {value} and must be at least 1')
    if min(batches) < 1 or warm_up < 0:
        raise ValueError(
            f'batches {list(batches)} must be at least 1, and warm-up '
            f'{warm_up} at least 0'
        )
    pairs = [
        (target, runtime)
        for target in targets
        for runtime in _runtimes_of(target, runtimes)
    ]
    known = {target: _metadata(target) for target in targets}
    measurements = []
    order = random.Random(0)
    with ExitStack() as stack:
        processes = []
        for target, runtime in pairs:
            task = dict(target=target, runtime=runtime, threads=threads)
            task.update(size=size, known=known[target])
            processes.append(stack.enter_context(_started(task)))
        for batch in batches:
            for process in processes * warm_up:
                process.seconds(batch)
            runs = [_one_round(processes, batch, order) for _ in range(rounds)]
            for index, (target, runtime) in enumerate(pairs):
                about = processes[index].known
                measurements.append(
                    Measurement(
                        target,
                        runtime,
                        kind_of(about),
                        about.get('model', ''),
                        (about['width'], about['height']),
                        batch,
                        about.get('sparsity'),
                        [turn[index]['seconds'] for turn in runs],
                        runs[-1][index]['memory'],
                        about['bytes'],
                    )
                )
    return measurements


def _one_round(
    processes: Sequence['_Process'], batch: int, order: random.Random
) -> list[dict]:
    """A run of each, in an order of its own: what runs before one matters."""
    answers: list = [None] * len(processes)
    for index in order.sample(range(len(processes)), len(processes)):
        answers[index] = processes[index].seconds(batch)
    return answers


def _metadata(target: str) -> dict:
    """What a file says of itself; nothing for others."""
    if Path(target).suffix not in _READ_BY:
        return {}
    metadata = run.open_file(target).metadata
    return {} if metadata is None else json.loads(metadata)


def _runtimes_of(target: str, asked: Sequence[str] | None) -> list[str]:
    able = _READ_BY.get(Path(target).suffix, ['torch'])
    chosen = [r for r in able if (installed(r) if not asked else r in asked)]
    if chosen:
        return chosen
    told = f'{target} is measured by {", ".join(able)}'
    if asked:
        raise ValueError(f'{told}, and not by {asked}')
    line = pip(BY_PACKAGE[able[0]].install)
    raise ValueError(f'{told}, and none is installed: {line}')


def installed(runtime: str) -> bool:
    """Whether a runtime of :data:`RUNTIMES` can be used here."""
    if runtime == 'openvino_bf16':
        return find_spec('openvino') is not None and _has_bf16()
    if runtime != 'tensorrt':
        return find_spec(runtime) is not None
    if find_spec('onnxruntime') is None:
        return False
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    return (
        'TensorrtExecutionProvider' in providers
        and find_spec('tensorrt') is not None
    )


class _Process:
    """A network that waits in a process of its own."""

    def __init__(self, process: subprocess.Popen, task: Mapping) -> None:
        self._process = process
        self._task = task
        self.known = self._ask(task)

    def seconds(self, batch: int) -> dict:
        """Seconds of one run, and the memory so far."""
        return self._ask(batch)

    def _ask(self, request: Any) -> dict:
        try:
            self._process.stdin.write(json.dumps(request) + '\n')
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ''
        answer = json.loads(line) if line else dict(error='it has died')
        if 'error' in answer:
            raise ValueError(
                f'{self._task["target"]} in {self._task["runtime"]}: '
                f'{answer["error"]}'
            )
        return answer


@contextmanager
def _started(task: Mapping) -> Iterator[_Process]:
    process = subprocess.Popen(
        [sys.executable, str(_SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            yield _Process(process, task)
        finally:
            process.kill()


def kind_of(known: Mapping) -> str:
    """Dense, zeros or compact, and whether it is int8."""
    zeros = (known.get('sparsity') or 0) >= 0.1
    kind = 'zeros' if zeros else 'dense'
    if known.get('compaction'):
        kind = 'compact'
    return f'{kind} int8' if known.get('precision') == 'int8' else kind


def table(measurements: Sequence[Measurement], threads: int) -> str:
    """All figures as text, with the machine that they are of."""
    rows = []
    for each in measurements:
        low, high = each.quartiles
        memory = '' if each.memory is None else f'{each.memory / 2**20:.0f}'
        share = '' if each.sparsity is None else f'{each.sparsity:.2f}'
        rows.append(
            [
                each.target,
                each.kind,
                share,
                RUNTIMES[each.runtime],
                '{} x {}'.format(*each.size),
                str(each.batch),
                f'{1e3 * each.median:.1f}',
                f'{1e3 * low:.1f} – {1e3 * high:.1f}',
                memory,
                f'{each.bytes / 2**20:.1f}',
            ]
        )
    return text_table(
        f'{processor()}, int8 units: {", ".join(int8_units()) or "none"}, '
        f'threads: {threads}',
        (
            *('network', 'kind', 'zeros', 'runtime', 'image', 'batch'),
            *('ms', 'middle half', 'MiB', 'file MiB'),
        ),
        rows,
        align='llrllrrrrr',
        width=160,
    )


def what_zeros_gave(measurements: Sequence[Measurement]) -> list[str]:
    """A sentence for each dense network that there is one with zeros of."""
    sentences = []
    for zeros in measurements:
        if zeros.kind != 'zeros':
            continue
        for dense in measurements:
            if dense.kind == 'dense' and _alike(dense, zeros):
                ratio = zeros.median / dense.median
                sentences.append(
                    f'{zeros.sparsity:.0%} zeros alone: {ratio:.2f} of the '
                    f'time of dense in {RUNTIMES[zeros.runtime]} at batch '
                    f'{zeros.batch}.'
                )
    return sentences


def _alike(one: Measurement, other: Measurement) -> bool:
    """Whether two networks differ in their weights alone."""
    names = ('runtime', 'batch', 'size', 'model')
    same = all(getattr(one, n) == getattr(other, n) for n in names)
    large = abs(one.bytes - other.bytes) < 0.01 * max(one.bytes, other.bytes)
    return same and large and _ending(one) == _ending(other)


def _ending(measurement: Measurement) -> str:
    """Of a file; a config has none that matters."""
    suffix = Path(measurement.target).suffix
    return suffix if suffix in _READ_BY else ''


def as_json(measurements: Sequence[Measurement], threads: int) -> str:
    """All figures, each run among them."""
    machine = dict(
        processor=processor(), int8_units=int8_units(), threads=threads
    )
    runs = [asdict(each) for each in measurements]
    return json.dumps(dict(version=1, machine=machine, runs=runs), indent=1)


def int8_units() -> list[str]:
    """The instructions of the processor that int8 needs to be fast."""
    flags = processor_flags()
    return [name for flag, name in _INT8_UNITS.items() if flag in flags]


def _has_bf16() -> bool:
    """Whether the processor computes with 16 bits, which OpenVINO prefers."""
    return not {'avx512_bf16', 'amx_bf16', 'bf16'}.isdisjoint(
        processor_flags()
    )
