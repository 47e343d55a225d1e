"""Train a small detector dense, with zeros and compact, and compare them."""

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# The package repairs broken environments, so it is imported first.
import with_mm  # noqa: F401

# isort: split
from rich.console import Console

import epsd_mm
from epsd_mm.analysis import read_report
from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.deploy.latency import measure
from epsd_mm.files import write_text
from epsd_mm.results import Log, read_result
from epsd_mm.run_files import REPORT
from epsd_mm.tables import text_table
from in_short import run_in_short

ROOT = Path('work_dirs/demo')
LOG = ROOT / 'demo.log'  # all that the tools say
TRAIN, TEST = 320, 80
BUDGET = 0.5  # of the multiply-adds, which go with the compact network's
ROUNDS = 20  # of timing, in turns
TOOLS = Path(__file__).resolve().parent
DENSE = epsd_mm.config_path('demo_faster_rcnn')
EPSD = epsd_mm.config_path('demo_faster_rcnn_epsd')


@dataclass(frozen=True)
class Network:
    """One of those that are compared.

    Attributes:
        name: Heading of its column.
        config: That it is trained with.
        folder: Of its training.
        scored: Folder with the report of its scores, if it was pruned.
    """

    name: str
    config: str
    folder: Path
    scored: Path | None = None

    @property
    def checkpoint(self) -> Path:
        """The one that its training ended with."""
        return Path((self.folder / 'last_checkpoint').read_text())

    @property
    def exported(self) -> Path:
        """Folder of its file."""
        return self.folder / 'exported'


PRUNED = ROOT / 'pruned'
NETWORKS = (
    Network('dense', DENSE, ROOT / 'dense'),
    Network('EPSD, zeros', EPSD, ROOT / 'epsd', ROOT / 'epsd'),
    Network(
        'EPSD, compact', str(PRUNED / 'config.py'), ROOT / 'compact', PRUNED
    ),
)


def run_tool(tool: str, *args: object) -> None:
    """Run a tool of this folder; the screen has in short what it says."""
    say(f'tools/{tool}')
    command = [sys.executable, str(TOOLS / tool), *map(str, args)]
    for line in run_in_short(command, LOG):
        say(f'    {line}')


def say(line: str) -> None:
    """Put a line on the screen, as it is and at once."""
    print(line, flush=True)


def train_and_test(network: Network) -> dict:
    """From a config to a file, and what was measured on the way."""
    # Its last validation would be the test below.
    last = ('--cfg-options', 'train_cfg.val_begin=1000')
    command = ('--work-dir', network.folder)
    run_tool('train.py', network.config, *command, *last)
    at = (network.config, network.checkpoint)
    run_tool('test.py', *at, '--work-dir', network.folder / 'test')
    run_tool('export.py', *at, '--out', network.exported)
    tested = read_result(network.folder / 'test')
    results = dict(
        mAP50=tested['metric/pascal_voc/mAP'].value,
        epoch_seconds=Log.of(network.folder).epoch_time,
        file_bytes=(network.exported / 'model.onnx').stat().st_size,
        **count(network),
    )
    say(
        f'mAP50 {results["mAP50"]:.3f}, {results["kept"]:,} weights that are '
        f'not zero, {results["file_bytes"] / 1e6:.1f} megabytes'
    )
    if network.scored is not None:
        report = read_report(network.scored / REPORT)
        results['scoring_seconds'] = report['seconds']
    return results


def count(network: Network) -> dict:
    """Weights and multiply-adds, in all and of what is not zero."""
    path = network.folder / 'flops.json'
    run_tool(
        'analysis_tools/get_flops.py',
        network.config,
        '--checkpoint',
        network.checkpoint,
        '--json',
        path,
    )
    counts = json.loads(path.read_text())['all']
    return dict(
        weights=counts['total'],
        kept=counts['kept'],
        flops=counts['multiply_adds'],
        kept_flops=counts['sparse_multiply_adds'],
    )


def milliseconds() -> list[float]:
    """An image's time in each file, as tools/latency.py takes it."""
    files = [str(network.exported / 'model.onnx') for network in NETWORKS]
    cores = os.cpu_count() or 1
    found = measure(
        files, ['onnxruntime'], batches=[1], threads=cores, rounds=ROUNDS
    )
    return [1e3 * each.median for each in found]


def result_table(results: dict[str, dict]) -> str:
    """The figures of all networks side by side."""
    all_weights = next(iter(results.values()))['weights']
    rows = []

    def row(label: str, value) -> None:
        rows.append([label, *map(value, results.values())])

    row('mAP50 on the test images', lambda r: f'{r["mAP50"]:.3f}')
    row('weights that are not zero', lambda r: f'{r["kept"]:,}')
    row('  of the dense network', lambda r: f'{r["kept"] / all_weights:.1%}')
    row('multiply-adds of an image', lambda r: f'{r["flops"] / 1e6:,.0f} M')
    row('  of them with a zero', lambda r: f'{zeros(r) / 1e6:,.0f} M')
    row('megabytes of the file', lambda r: f'{r["file_bytes"] / 1e6:.1f}')
    row('seconds of an epoch', lambda r: f'{r["epoch_seconds"]:.1f}')
    row('milliseconds of an image', lambda r: f'{r["milliseconds"]:.1f}')
    row('seconds of scoring, once', lambda r: f'{scoring(r):.1f}')
    title = 'Same data, schedule and seed; times in ONNX Runtime'
    return text_table(title, ['', *results], rows)


def zeros(result: dict) -> float:
    return result['flops'] - result['kept_flops']


def scoring(result: dict) -> float:
    return result.get('scoring_seconds', 0)


def draw_detections(out: Path, images: int = 6) -> None:
    """Truth and detections of the first test images, a PNG."""
    models = [
        argument
        for network in NETWORKS
        for argument in (network.config, network.checkpoint)
    ]
    run_tool(
        'analysis_tools/compare_detections.py',
        *models,
        '--names',
        *(network.name for network in NETWORKS),
        '--out',
        out,
        '--num',
        images,
        '--rows',
        images,
        '--score-thr',
        0.5,
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    started = time.perf_counter()
    console = Console()
    folders = [network.folder for network in NETWORKS]
    for folder in (*folders, PRUNED, ROOT / 'data'):
        shutil.rmtree(folder, ignore_errors=True)
    LOG.unlink(missing_ok=True)
    console.rule(f'1/4  Drawing {TRAIN} images to train on, {TEST} to test on')
    console.print(f'In {generate_voc(ROOT / "data", train=TRAIN, test=TEST)}')
    console.print(f'All that the tools below say is in {LOG}')
    dense, zeros, compact = NETWORKS
    results = {}
    console.rule('2/4  Dense: train, test, export')
    results[dense.name] = train_and_test(dense)
    console.rule('3/4  EPSD, zeros: score, prune single weights, and the same')
    results[zeros.name] = train_and_test(zeros)
    console.rule('4/4  EPSD, compact: score, remove channels, and the same')
    budget = ('--budget', 'multiply_adds', '--sparsity', BUDGET)
    run_tool('prune.py', EPSD, '--out', PRUNED, *budget)
    results[compact.name] = train_and_test(compact)
    console.rule('Timing the three files, and drawing what they detect')
    for result, taken in zip(results.values(), milliseconds(), strict=True):
        result['milliseconds'] = taken
    draw_detections(ROOT / 'detections')
    write_text(ROOT / 'results.json', json.dumps(results, indent=2) + '\n')
    console.rule('Done')
    console.out(result_table(results))
    console.print(
        'Single zeros make no dense runtime faster, and no file smaller; '
        'channels that are gone do, from the first step of training on.'
    )
    python = os.path.relpath(sys.executable)
    where = {
        'what they detect': ROOT / 'detections',
        'density by layer': zeros.folder / 'epsd' / 'density.png',
        'these numbers': ROOT / 'results.json',
        'a network without torch or mm': compact.exported,
        'all that the tools said': LOG,
        'to look at a run': f'{python} tools/show.py {zeros.folder}',
    }
    for what, path in where.items():
        say(f'  {what:<30}{path}')
    say(f'{time.perf_counter() - started:.0f} seconds in all')


if __name__ == '__main__':
    main()
