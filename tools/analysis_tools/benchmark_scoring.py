"""Time and memory of the meta-gradient, three ways, in one run.

For each workload and number of inner steps:

- gradient: steps + 1 plain training gradients, the least any score costs;
- walk back: epsd_mm's meta_gradient, exact; with ", kept" the graphs of all
  inner steps are kept (kept_graphs), with ", offload" the weights of the inner
  steps wait on the CPU;
- unrolled: the same through one graph of all inner steps and torch's own
  operators, as the authors of ProsPr compute it, written out here from the
  formula.

Times are medians of runs that take turns in one process. Memory is the peak
above the loaded model, in a process of its own: resident memory on the CPU,
where freed memory then goes back to the system at once (a fixed threshold of
malloc's), or fragments of the heap would be counted with it; allocated memory
on a GPU.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time

import resident_memory
import torch
import workloads


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--workloads',
        nargs='+',
        choices=workloads.WORKLOADS,
        default=['resnet18', 'faster-rcnn'],
    )
    parser.add_argument('--steps', nargs='+', type=int, default=[1, 3, 8])
    parser.add_argument(
        '--methods',
        nargs='+',
        choices=METHODS,
        default=['gradient', 'walk back', 'walk back, kept', 'unrolled'],
    )
    parser.add_argument('--batch-size', type=int, help='images a batch')
    parser.add_argument('--image', nargs=2, type=int, metavar=('H', 'W'))
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--lr', type=float, default=1e-4)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--out', help='write the figures to this JSON file')
    # What a process of its own is told: workload, steps, and a method whose
    # memory it measures, or none to take times.
    parser.add_argument('--measure', nargs='+', help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.measure:
        name, steps, *method = args.measure
        print(json.dumps(measure(args, name, int(steps), *method)))
        return
    rows = []
    for name in args.workloads:
        for steps in args.steps:
            rows += run(args, name, steps)
    if args.out:
        from epsd_mm.files import write_text

        result = dict(settings=vars(args), rows=rows)
        write_text(args.out, json.dumps(result, indent=2) + '\n')
    show(rows)


def run(args: argparse.Namespace, name: str, steps: int) -> list[dict]:
    """Times and memory of all methods, in fresh processes."""
    rows = []
    times = run_apart(name, steps)
    for method in args.methods:
        row = dict(workload=name, steps=steps, method=method)
        row.update(times.get(method, times))
        row.update(run_apart(name, steps, method))
        show_progress(row)
        rows.append(row)
    return rows


def run_apart(name: str, steps: int, *method: str) -> dict:
    environment = dict(os.environ)
    if method:
        environment['MALLOC_MMAP_THRESHOLD_'] = '65536'
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:]]
        + ['--measure', name, str(steps), *method],
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ['killed']
        return dict(error=f'{reason[0]} (exit status {done.returncode})')
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    args: argparse.Namespace, name: str, steps: int, method: str | None = None
) -> dict:
    """Peak memory of a method, or the times of all."""
    from mmengine.logging import MMLogger

    from epsd_mm.engine.model_objective import ModelObjective
    from epsd_mm.engine.scoring_job import scoring_copy

    MMLogger.get_instance('benchmark', log_level='ERROR')
    model = scoring_copy(workloads.build_model(name, args.device))
    image = tuple(args.image or workloads.default_image(name))
    size = args.batch_size or workloads.default_batch_size(name)
    batches = [
        [workloads.make_batch(name, size, image, seed)]
        for seed in range(steps + 1)
    ]
    objective = ModelObjective(model)
    params = {n: p for n, p in model.named_parameters() if p.requires_grad}
    arguments = (objective, params, batches, steps, args.lr)
    if method:
        before = reset_peak(args.device)
        METHODS[method](*arguments)
        weights = sum(p.numel() * p.element_size() for p in params.values())
        return dict(peak=peak(args.device) - before, weights=weights)
    seconds, norms = {m: [] for m in args.methods}, {}
    for _ in range(args.repeats):
        for name, taken in seconds.items():
            torch.manual_seed(0)
            synchronize(args.device)
            started = time.perf_counter()
            norms[name] = METHODS[name](*arguments)
            synchronize(args.device)
            taken.append(time.perf_counter() - started)
    return {
        name: dict(
            seconds=statistics.median(taken),
            seconds_of_runs=taken,
            norm=norms[name],
        )
        for name, taken in seconds.items()
    }


def plain(objective, params, batches, steps, lr) -> float:
    from epsd_mm.pruning.gradients import record_gradient

    for batch in batches:
        _, gradient, _ = record_gradient(objective, params, batch)
    return norm_of(gradient.values())


def walk(objective, params, batches, steps, lr, **options) -> float:
    from epsd_mm.pruning import meta_gradient

    result = meta_gradient(
        objective, params, iter(batches), steps=steps, lr=lr, **options
    )
    return norm_of(result.gradient.values())


def walk_offloaded(objective, params, batches, steps, lr) -> float:
    return walk(objective, params, batches, steps, lr, offload=True)


def walk_kept(objective, params, batches, steps, lr) -> float:
    return walk(objective, params, batches, steps, lr, kept_graphs=steps)


def unrolled(objective, params, batches, steps, lr) -> float:
    first = {n: p.detach().requires_grad_() for n, p in params.items()}
    theta = first
    for (batch,) in batches[:-1]:
        loss, _ = objective.record(theta, batch)
        gradient = torch.autograd.grad(
            loss, list(theta.values()), create_graph=True
        )
        theta = {n: p - lr * g for (n, p), g in zip(theta.items(), gradient)}
    loss, _ = objective.record(theta, batches[-1][0])
    return norm_of(torch.autograd.grad(loss, list(first.values())))


METHODS = {
    'gradient': plain,
    'walk back': walk,
    'walk back, offload': walk_offloaded,
    'walk back, kept': walk_kept,
    'unrolled': unrolled,
}


def norm_of(tensors) -> float:
    return sum(float(t.double().pow(2).sum()) for t in tensors) ** 0.5


def synchronize(device: str) -> None:
    if device != 'cpu':
        torch.cuda.synchronize()


def reset_peak(device: str) -> int:
    """Forget earlier peaks; the memory in use now, in bytes."""
    if device != 'cpu':
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    ctypes.CDLL(None).malloc_trim(0)
    return resident_memory.reset_peak()


def peak(device: str) -> int:
    if device != 'cpu':
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return resident_memory.peak()


def show_progress(row: dict) -> None:
    what = f'{row["workload"]}, i = {row["steps"]}, {row["method"]}'
    if 'error' in row:
        print(f'{what}: failed: {row["error"]}', file=sys.stderr)
        return
    print(
        f'{what}: {row["seconds"]:.2f} s, {row["peak"] / 2**20:.0f} MiB',
        file=sys.stderr,
    )


def show(rows: list[dict]) -> None:
    from epsd_mm.tables import text_table

    of_each = ['x gradient', 'x unrolled']
    headings = ['workload', 'i', 'method', 's', *of_each, 'MiB', *of_each]
    table = []
    by_key = {(r['workload'], r['steps'], r['method']): r for r in rows}
    for row in rows:
        cells = [row['workload'], str(row['steps']), row['method']]
        if 'error' in row:
            table.append([*cells, f'failed: {row["error"]}'])
            continue
        for field, unit, digits in (('seconds', 1, 2), ('peak', 2**20, 0)):
            cells.append(f'{row[field] / unit:.{digits}f}')
            for other in ('gradient', 'unrolled'):
                base = by_key.get((row['workload'], row['steps'], other), {})
                ratio = row[field] / base[field] if field in base else None
                cells.append('' if ratio is None else f'{ratio:.2f}')
        table.append([*cells, f'{row["norm"]:.6g}'])
    text = text_table(
        'Meta-gradient: time and peak memory',
        [*headings, 'norm'],
        table,
        align='lllrrrrrrr',
    )
    print(text, end='')
    weights = {r['workload']: r['weights'] for r in rows if 'weights' in r}
    for name, size in weights.items():
        print(
            f'{name}: one copy of the weights is {size / 2**20:.1f} MiB; the '
            'walk keeps i + 1 of them, with offload on the CPU'
        )


if __name__ == '__main__':
    main()
