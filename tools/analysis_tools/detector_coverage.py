"""Which detectors of mmdet are scored, and how: a table in Markdown.

Each of sixty detectors is built as its config says, and ProsPr with one inner
step scores it on drawn batches: by the plain loss, and by the objective with
each of the self-distillation losses.

- exact: the meta-gradient has all its second-order terms;
- first order: an operator, which is named, has no second derivative, and
  `first_order=True` scores;
- refused: one sentence of ours says why;
- silent: it is scored, but the self-distillation term is zero in every step;
- failed: anything else, a fault.

    python tools/analysis_tools/coverage.py --families RetinaNet DINO

Each detector has a process and a time limit of its own.
"""

import argparse
import multiprocessing
import sys
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from detector_families import FAMILIES, build_detector, detection_batch

OBJECTIVES = dict(
    plain=None, **{'CS-KD': 'CSKDLoss', 'PS-KD': 'PSKDLoss', 'DLB': 'DLBLoss'}
)
EXACT, FIRST, REFUSED, SILENT, FAILED = (
    'exact',
    'first order',
    'refused',
    'silent',
    'failed',
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--families', nargs='+', choices=FAMILIES, default=[*FAMILIES]
    )
    parser.add_argument(
        '--limit', type=float, default=900, help='seconds a detector has'
    )
    parser.add_argument('--out', help='write the table to this file')
    return parser.parse_args()


def main() -> None:
    from mmdet.utils import register_all_modules

    args = parse_args()
    # Once, for all processes.
    register_all_modules(init_default_scope=False)
    results = {}
    for name in args.families:
        results[name] = run_apart(name, args.limit)
        print(f'{name}: {results[name]}', file=sys.stderr, flush=True)
    text = table(results)
    if args.out:
        from epsd_mm.files import write_text

        write_text(args.out, text)
    print(text, end='')


def run_apart(name: str, limit: float) -> dict[str, list[str]]:
    """What became of each objective, and why: in a process of its own."""
    fork = multiprocessing.get_context('fork')
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=send_outcomes, args=(name, theirs))
    process.start()
    theirs.close()
    process.join(limit)
    reason = f'not done in {limit:.0f} s'
    if process.is_alive():
        process.kill()
        process.join()
    else:
        reason = f'the process ended with status {process.exitcode}'
    found = {}
    try:
        while ours.poll():
            found.update(ours.recv())
    except EOFError:
        pass
    return {
        objective: found.get(objective, [FAILED, reason])
        for objective in OBJECTIVES
    }


def send_outcomes(name: str, connection: Connection) -> None:
    """Tell what becomes of each objective, one after another."""
    try:
        model = build_detector(name)
    except Exception as error:
        connection.send({k: failure(error) for k in OBJECTIVES})
        return
    for objective, loss in OBJECTIVES.items():
        connection.send({objective: try_to_score(name, model, loss)})


def try_to_score(name, model, loss) -> list[str]:
    from epsd_mm.pruning.second_order import SecondOrderError

    try:
        return score(name, model, loss)
    except SecondOrderError as error:
        dropped = str(error).split(':')[0]
        outcome, *reasons = try_first_order(name, model, loss)
        return [FIRST if outcome == EXACT else outcome, dropped, *reasons]
    except Exception as error:
        return failure(error)


def try_first_order(name, model, loss) -> list[str]:
    try:
        return score(name, model, loss, first_order=True)
    except Exception as error:
        return failure(error)


def score(name, model, loss, first_order: bool = False) -> list[str]:
    from mmengine.logging import MMLogger

    from epsd_mm.engine.scoring_job import score_model
    from epsd_mm.engine.settings import Settings
    from epsd_mm.families.kinds import num_classes

    logger = MMLogger.get_instance('coverage', log_level='ERROR')
    settings = Settings.build(
        sparsity=0.5,
        criterion=dict(
            type='ProsPr', steps=1, lr=1e-4, first_order=first_order
        ),
        sd_loss=loss,
        draws=1,
        seed=0,
        zero_layers='dense',
        allow_empty_layers=True,
    )
    # Partners for CS-KD; for the others the same images again and again.
    images, classes = 4 if loss == 'CSKDLoss' else 2, num_classes(model)
    batches = [
        detection_batch(name, images, seed, classes) for seed in range(3)
    ]
    _, report = score_model(model, lambda draw: batches, settings, logger)
    if loss and not any(terms.get('sd') for terms in report['terms']):
        return [SILENT, 'no term in any step']
    return [EXACT]


def failure(error: Exception) -> list[str]:
    """Refused, where a sentence of this package says so; failed otherwise."""
    import epsd_mm

    last = traceback.extract_tb(error.__traceback__)[-1]
    ours = Path(epsd_mm.__file__).parent in Path(last.filename).parents
    sentence = ' '.join(str(error).split())
    if ours and last.line.startswith('raise'):
        return [REFUSED, sentence.split('. ')[0]]
    where = f'{Path(last.filename).name}:{last.lineno}'
    return [FAILED, f'{type(error).__name__} in {where}: {sentence[:200]}']


def table(results: dict[str, dict[str, list[str]]]) -> str:
    """The table, and what its columns add up to."""
    from epsd_mm.tables import markdown_table

    rows = []
    for name, found in results.items():
        reasons = dict.fromkeys(
            # What cannot be seen is told by its head.
            reason.partition(' with head ')[2] or reason
            for _, *why in found.values()
            for reason in why
        )
        config = FAMILIES[name].rpartition('/')[2].removesuffix('.py')
        outcomes = [outcome for outcome, *_ in found.values()]
        rows.append([name, config, *outcomes, '; '.join(reasons)])
    text = markdown_table(['detector', 'config', *OBJECTIVES, 'why'], rows)
    lines = [f'\nOf {len(results)} detectors:\n']
    for objective in OBJECTIVES:
        counts = Counter(found[objective][0] for found in results.values())
        parts = [f'{counts[k]} {k}' for k in _KINDS if counts[k]]
        lines.append(f'- {objective}: {", ".join(parts)}')
    all_exact = [
        name
        for name, found in results.items()
        if all(outcome == EXACT for outcome, *_ in found.values())
    ]
    lines.append(f'- all four: {len(all_exact)} exact')
    return text + '\n'.join(lines) + '\n'


_KINDS = (EXACT, FIRST, REFUSED, SILENT, FAILED)
