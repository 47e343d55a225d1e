"""Score, prune, train and test a small detector, beside its dense twin."""

import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

# The package repairs broken environments, so it is imported first.
import epsd_mm  # noqa: F401

# isort: split
import numpy as np
import torch
from rich.console import Console

from epsd_mm.analysis import read_report
from epsd_mm.datasets.drawn_voc import generate_voc
from epsd_mm.engine.safe_loading import code_refused, load_values
from epsd_mm.evaluation.sparsity import layer_sparsity
from epsd_mm.files import write_text
from epsd_mm.results import Log, read_result
from epsd_mm.tables import text_table

ROOT = Path('work_dirs/demo')
TRAIN, TEST = 320, 80
TOOLS = Path(__file__).resolve().parent
CONFIGS = dict(
    EPSD=epsd_mm.config_path('demo_faster_rcnn_epsd'),
    dense=epsd_mm.config_path('demo_faster_rcnn'),
)


def run_tool(tool: str, *args: object) -> None:
    """Run a tool of this folder; its output is the demo's output."""
    command = [sys.executable, str(TOOLS / tool), *map(str, args)]
    code = subprocess.run(command).returncode
    if code:
        raise SystemExit(f'error: {tool} ended with exit code {code}')


def train_and_test(name: str, folder: Path) -> dict:
    """Run both tools for a config and read what they wrote."""
    # Its last validation would be the test below.
    run_tool(
        'train.py',
        CONFIGS[name],
        '--work-dir',
        folder,
        '--cfg-options',
        'train_cfg.val_begin=1000',
    )
    checkpoint = last_checkpoint(folder)
    run_tool(
        'test.py',
        CONFIGS[name],
        checkpoint,
        '--work-dir',
        folder / 'test',
    )
    tested = read_result(folder / 'test')
    results = measure(CONFIGS[name], checkpoint)
    results['mAP50'] = tested['metric/pascal_voc/mAP'].value
    results['epoch_seconds'] = Log.of(folder).epoch_time
    report = folder / 'epsd' / 'report.json'
    if report.exists():
        results['scoring_seconds'] = read_report(report)['seconds']
    return results


def count(folder: Path) -> dict:
    """Multiply-adds of the pruned network: all, and those of kept weights."""
    run_tool(
        'analysis_tools/get_flops.py',
        CONFIGS['EPSD'],
        '--checkpoint',
        last_checkpoint(folder),
        '--json',
        folder / 'flops.json',
    )
    counts = json.loads((folder / 'flops.json').read_text())['all']
    return dict(
        flops=counts['multiply_adds'],
        kept_flops=counts['sparse_multiply_adds'],
    )


def last_checkpoint(folder: Path) -> Path:
    """The checkpoint that a training ended with."""
    return Path((folder / 'last_checkpoint').read_text())


def measure(config: str, checkpoint: Path) -> dict:
    """Weights and bytes of a trained model."""
    from mmdet.apis import init_detector

    with code_refused():
        model = init_detector(config, str(checkpoint), device='cpu')
        state = load_values(checkpoint, 'cpu')['state_dict']
    layers = layer_sparsity(model)
    return dict(
        kept=sum(kept for kept, _ in layers.values()),
        total=sum(total for _, total in layers.values()),
        weight_bytes=saved_bytes(state),
        packed_bytes=saved_bytes(pack_zeros(state)),
    )


def pack_zeros(state: dict) -> dict:
    """Half-empty tensors as one bit a weight and the values that are left."""
    packed = {}
    for name, value in state.items():
        mask = value != 0
        if value.is_floating_point() and mask.float().mean() < 0.5:
            bits = np.packbits(mask.numpy())
            packed[name] = (value.shape, torch.tensor(bits), value[mask])
        else:
            packed[name] = value.clone()
    return packed


def saved_bytes(content: dict) -> int:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.tell()


def result_table(dense: dict, pruned: dict) -> str:
    rows = []

    def row(label: str, value) -> None:
        rows.append([label, value(dense), value(pruned)])

    row('mAP50 on the test images', lambda r: f'{r["mAP50"]:.3f}')
    row('convolution and linear weights kept', lambda r: f'{r["kept"]:,}')
    row('  of all', lambda r: f'{r["kept"] / r["total"]:.1%}')
    row(
        'multiply-adds of kept weights, one image',
        lambda r: f'{r["kept_flops"] / 1e6:,.0f} M',
    )
    row(
        'multiply-adds a dense runtime does',
        lambda r: f'{r["flops"] / 1e6:,.0f} M',
    )
    row('bytes of its state_dict', lambda r: f'{r["weight_bytes"]:,}')
    row('  with zeros packed', lambda r: f'{r["packed_bytes"]:,}')
    row('seconds of an epoch', lambda r: f'{r["epoch_seconds"]:.1f}')
    row(
        'seconds of scoring, once',
        lambda r: f'{r.get("scoring_seconds", 0):.1f}',
    )
    title = 'Dense twin and EPSD, same seed'
    return text_table(title, ['', 'dense', 'EPSD'], rows)


def draw_detections(folders: dict, out: Path, images: int = 6) -> None:
    """Truth, dense and EPSD detections of the first test images, a PNG."""
    models = [
        argument
        for name in ('dense', 'EPSD')
        for argument in (CONFIGS[name], last_checkpoint(folders[name]))
    ]
    run_tool(
        'analysis_tools/compare_detections.py',
        *models,
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
    started = time.perf_counter()
    console = Console()
    folders = dict(dense=ROOT / 'dense', EPSD=ROOT / 'epsd')
    for folder in (*folders.values(), ROOT / 'data'):
        shutil.rmtree(folder, ignore_errors=True)
    console.rule(f'1/3  Drawing {TRAIN} images to train on, {TEST} to test on')
    console.print(str(generate_voc(ROOT / 'data', train=TRAIN, test=TEST)))
    results = {}
    console.rule('2/3  EPSD: score, prune to 10 % of the weights, train, test')
    results['EPSD'] = train_and_test('EPSD', folders['EPSD'])
    console.rule('3/3  The dense twin: train, test')
    results['dense'] = train_and_test('dense', folders['dense'])
    counts = count(folders['EPSD'])
    results['EPSD'] |= counts
    # The twin is the same network, of which all is kept.
    results['dense'] |= counts | dict(kept_flops=counts['flops'])
    draw_detections(folders, ROOT / 'detections')
    write_text(ROOT / 'results.json', json.dumps(results, indent=2) + '\n')
    console.rule('Done')
    console.out(result_table(results['dense'], results['EPSD']))
    console.print(
        'Single zeros make no dense runtime faster: the multiply-adds of '
        'kept weights say what a sparse one could save.'
    )
    console.print(
        f'Detections: {ROOT / "detections"}; density by layer: '
        f'{folders["EPSD"] / "epsd" / "density.png"}; numbers: '
        f'{ROOT / "results.json"}'
    )
    console.print(f'{time.perf_counter() - started:.0f} seconds in all')


if __name__ == '__main__':
    main()
