"""Overlap of masks, beside what another choice of batches changes.

Scores the model of a config by each criterion under each objective, twice,
from two sets of independent draws, and prints |A ∩ B| / |A| of kept weights:
each way of scoring with itself on other batches (its noise floor), and the
first way with each other one. Where that is no lower than the noise floors,
the two differ in nothing that another batch would not have changed too.

Objectives are the config's self-distillation loss in four weights (task, sd):
plain (1, 0), total (1, 1), weighted (1, 10) and sd (0, 1).

    python tools/analysis_tools/mask_overlap.py CONFIG \\
        --criteria ProsPr SNIP --objectives plain total sd --draws 8
"""

import argparse  # noqa: I001  (epsd_mm repairs broken environments)
import json
import tempfile
from dataclasses import replace

import epsd_mm  # noqa: F401

from mmengine.config import DictAction
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from epsd_mm.config_file import read_config
from epsd_mm.engine import EPSDHook
from epsd_mm.engine.safe_loading import add_trust_argument, code_refused
from epsd_mm.engine.scoring_job import ScoringJob, common_layers, no_trace
from epsd_mm.engine.scoring_data import scoring_batches
from epsd_mm.engine.settings import Settings
from epsd_mm.files import write_text
from epsd_mm.pruning import Masks, score
from epsd_mm.pruning.zero_layers import check_zero_layers, find_zero_layers
from epsd_mm.registry import build_criterion, build_sd_loss
from epsd_mm.tables import text_table

OBJECTIVES = dict(
    plain=(1.0, 0.0), total=(1.0, 1.0), weighted=(1.0, 10.0), sd=(0.0, 1.0)
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config')
    parser.add_argument(
        '--criteria',
        nargs='+',
        help='names, or JSON such as \'{"type": "ProsPr", "steps": 0}\'; '
        'by default that of the config',
    )
    parser.add_argument(
        '--objectives', nargs='+', choices=OBJECTIVES, default=['plain']
    )
    parser.add_argument(
        '--sparsities', nargs='+', type=float, default=[0.8, 0.9, 0.95, 0.98]
    )
    parser.add_argument('--draws', type=int, help='draws a mask')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', help='write the figures to this JSON file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    add_trust_argument(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        with code_refused(unless=args.trust_checkpoint):
            rows = measure(args)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None
    if args.out:
        result = dict(arguments=vars(args), rows=rows)
        write_text(args.out, json.dumps(result, indent=2) + '\n')
    show(rows, args)


def measure(args: argparse.Namespace) -> list[dict]:
    """The rows of the table."""
    cfg = read_config(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    cfg.work_dir = tempfile.mkdtemp()
    cfg.log_level = 'WARNING'
    cfg.randomness = dict(seed=args.seed)
    runner = Runner.from_cfg(cfg)
    runner.model.init_weights()
    ways = {}
    for spec in args.criteria or [None]:
        for name in args.objectives:
            settings = settings_of(runner, spec, name, args)
            label = type(settings.criterion).__name__
            if spec and spec.startswith('{'):
                label = spec
            if settings.criterion.data_free:
                ways[label] = settings
            else:
                ways[f'{label}, {name}'] = settings
    found = {
        name: [masks_of(runner, way, args, half) for half in (0, 1)]
        for name, way in ways.items()
    }
    return compare(found, args.sparsities)


def settings_of(
    runner: Runner, spec: str | None, objective: str, args: argparse.Namespace
) -> Settings:
    """The hook's settings with another criterion and objective."""
    hooks = [h for h in runner.hooks if isinstance(h, EPSDHook)]
    if not hooks:
        raise SystemExit(f'{args.config} has no EPSDHook: add its lines')
    settings = hooks[0].settings
    criterion = settings.criterion
    if spec is not None:
        is_json = spec.startswith('{')
        criterion = build_criterion(json.loads(spec) if is_json else spec)
    if criterion is None:
        raise SystemExit(f'{args.config} has no criterion: say --criteria')
    task, sd = OBJECTIVES[objective]
    if sd and settings.sd_loss is None:
        raise SystemExit(
            f'objective {objective} needs an sd_loss in the config'
        )
    weights = dict(task=task, sd=sd) if settings.sd_loss else None
    draws = args.draws or settings.draws
    if criterion.data_free:
        weights, draws = None, None
    return replace(
        settings,
        criterion=criterion,
        sd_loss=build_sd_loss(settings.sd_loss),
        score_weights=weights,
        draws=draws,
        batches_per_step=1
        if criterion.data_free
        else settings.batches_per_step,
        compare_plain=False,
        seed=args.seed,
        policy=None,  # masks of the sparsities that are asked for
    )


def masks_of(
    runner: Runner, settings: Settings, args: argparse.Namespace, half: int
) -> list[Masks]:
    """Masks at each sparsity, from one half of the draws."""
    batches = scoring_batches(runner, args.seed)
    logger = MMLogger.get_current_instance()
    job = ScoringJob(runner.model, batches, settings, logger)
    objective = job.objective(settings.task, settings.sd)
    device = next(runner.model.parameters()).device
    with no_trace(device):
        if settings.criterion.schedule.rounds > 1:
            return [
                ScoringJob(
                    runner.model,
                    batches,
                    replace(settings, sparsity=sparsity),
                    logger,
                )
                .find(objective, half, comparison=True)
                .masks
                for sparsity in args.sparsities
            ]
        count = settings.draw_count
        scoring = score(
            objective,
            job.criterion,
            job.params,
            job.prunable,
            job.draws(objective),
            draws=range(half * count, (half + 1) * count),
            batches_per_step=settings.batches_per_step,
            seed=args.seed,
            unreached_is_zero=settings.zero_layers == 'dense',
        )
    zero = find_zero_layers(scoring.scores, job.prunable)
    check_zero_layers(
        zero, settings.zero_layers, job.params, len(job.prunable)
    )
    scoring.drop(zero)
    target = job.target()
    return [
        replace(target, sparsity=sparsity).without(zero).select(scoring.scores)
        for sparsity in args.sparsities
    ]


def compare(
    found: dict[str, list[list[Masks]]], sparsities: list[float]
) -> list[dict]:
    """One row a pair: overlaps by sparsity."""
    first, *others = found
    rows = []
    for name, (one, two) in found.items():
        overlaps = [overlap(a, b) for a, b in zip(one, two)]
        rows.append(dict(a=name, b=f'{name} (other batches)', of=overlaps))
    for name in others:
        # Both from other batches, as the noise floors are.
        pairs = zip(found[first][0], found[name][1])
        rows.append(
            dict(a=first, b=name, of=[overlap(a, b) for a, b in pairs])
        )
    return rows


def overlap(first: Masks, second: Masks) -> float:
    """Of the layers that both rank."""
    first, second = common_layers(first, second)
    return first.overlap(second)


def show(rows: list[dict], args: argparse.Namespace) -> None:
    shares = [f'{sparsity:.0%}' for sparsity in args.sparsities]
    table = text_table(
        'Shared kept weights, |A ∩ B| / |A|',
        ['A', 'B', *shares],
        [[r['a'], r['b'], *(f'{v:.3f}' for v in r['of'])] for r in rows],
        align='ll' + 'r' * len(shares),
    )
    print(table, end='')


if __name__ == '__main__':
    main()
