"""What a run is and how far it came, in words and short tables."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from epsd_mm.config_types import epsd_hook, setting, type_name
from epsd_mm.pages import Section, Table
from epsd_mm.quantities import kind_of
from epsd_mm.results import scores_of

from .run_folder import RunFolder


def in_short(run: RunFolder) -> Section:
    """How far it came, and what it has reached."""
    rows = [*_reached(run), *_removed(run)]
    return Section(
        'In short',
        [state_of(run)],
        [Table(('', ''), rows)] if rows else [],
    )


def state_of(run: RunFolder) -> str:
    """How far a run came, in sentences."""
    unit, goal = _goal(run.cfg)
    if run.log is None:
        if run.scores:
            return (
                'Stopped while it scored, or still at it: nothing was '
                'trained. Started again with the same config, it goes on '
                'with its next draw.'
            )
        scored = 'Pruned and not' if run.report else 'Not'
        return f'{scored} trained: no iteration was logged.'
    done, last = _done(run, unit), run.log.training[-1]
    iteration = max(run.log.by_iteration)
    if goal is not None and done >= goal:
        return f'Trained to its end: {goal:,} {unit}s.'
    where = f'iteration {iteration:,}'
    if unit == 'epoch' and 'epoch' in last:
        where = f'epoch {last["epoch"]}, {where}'
    whole = f' of {goal:,} {unit}s' if goal else ''
    saved = 'No checkpoint is there.'
    if run.checkpoint is not None:
        saved = f'{run.checkpoint.name} is the last checkpoint; --resume goes '
        saved += 'on from there.'
    return f'Stopped in {where}{whole}, or still at it. {saved}'


def config_in_short(run: RunFolder) -> Section:
    """What someone asks of a config first."""
    rows = [[name, shown] for name, shown in _settings(run.cfg) if shown]
    rows += [
        [f'EPSDHook: {name}', _plain(value)]
        for name, value in (epsd_hook(run.cfg) or {}).items()
        if name != 'type'
    ]
    return Section('Config in short', (), [Table(('', ''), rows)])


def _reached(run: RunFolder) -> Iterator[list[str]]:
    """Each metric, of the last evaluation and of a test."""
    last = run.log.evaluations[-1] if run.log and run.log.evaluations else {}
    unit, _ = _goal(run.cfg)
    for name, value in scores_of(last).items():
        yield [name, f'{_score(name, value)} ({unit} {last["step"]:,})']
    for name, value in scores_of(run.tested).items():
        if not name.startswith('sparsity/'):
            yield [name, f'{_score(name, value)} (test)']


def _removed(run: RunFolder) -> Iterator[list[str]]:
    """Weights that are gone: of the masks in force, by whom."""
    report, masks = run.report, run.masks
    by = '' if report else ', by given masks'
    if run.policy is not None and masks is not None:
        kept, total, by = masks.kept, masks.total, f', by policy {run.policy}'
    elif report is not None:
        kept, total = report['kept'], report['total']
    elif masks is not None:
        kept, total = masks.kept, masks.total
    else:
        return
    yield [
        'weights removed',
        f'{1 - kept / total:.2%} of {total:,} prunable ones, '
        f'{kept:,} are left{by}',
    ]
    if report is not None and 'sparsity_all' in report:
        share, of = report['sparsity_all'], report['all_weights']['total']
        share += (report['kept'] - kept) / of  # since it scored
        yield ['of all weights', f'{share:.2%} of {of:,}']


def _score(name: str, value: float) -> str:
    unit = kind_of(name)[0]
    return f'{value:.2f} %' if unit == '%' else f'{value:.4g}'


def _goal(cfg: Config) -> tuple[str, int | None]:
    """What a training counts, and to how many."""
    train = cfg.get('train_cfg') or {}
    if train.get('by_epoch', True) and train.get('max_iters') is None:
        return 'epoch', train.get('max_epochs')
    return 'iteration', train.get('max_iters')


def _done(run: RunFolder, unit: str) -> int:
    """Epochs or iterations that are over: of a checkpoint or a test."""
    done = [line.get('step', 0) for line in run.log.evaluations]
    if unit == 'iteration':
        done += run.log.by_iteration
    if run.checkpoint is not None:
        done += map(int, re.findall(r'_(\d+)$', run.checkpoint.stem))
    return max(done, default=0)


def _settings(cfg: Config) -> Iterator[tuple[str, str]]:
    model = cfg.get('model') or {}
    kind = type_name(model)
    if kind == 'Compact':
        kind = f'{model["of"]}, without the channels that were removed'
    backbone = model.get('backbone') or {}
    depth = backbone.get('depth')
    yield 'model', kind
    yield (
        'backbone',
        type_name(backbone) + (f', depth {depth}' if depth else ''),
    )
    for what in ('train', 'test'):
        loader = cfg.get(f'{what}_dataloader') or {}
        dataset = loader.get('dataset') or {}
        root = dataset.get('data_root') or ''
        shown = ', '.join(filter(None, (type_name(dataset), root)))
        yield f'images to {what}', shown
    batch = setting(cfg, 'train_dataloader.batch_size')
    yield 'batch size', f'{batch} a process' if batch else ''
    unit, goal = _goal(cfg)
    yield f'{unit}s', f'{goal:,}' if goal else ''
    optimizer = setting(cfg, 'optim_wrapper.optimizer') or {}
    yield (
        'optimizer',
        ', '.join(
            [type_name(optimizer)]
            + [f'{k} {_plain(v)}' for k, v in optimizer.items() if k != 'type']
        ),
    )
    schedule = cfg.get('param_scheduler') or []
    schedule = schedule if isinstance(schedule, list) else [schedule]
    yield 'learning rate', ', '.join(map(type_name, schedule)) or 'constant'
    seed = setting(cfg, 'randomness.seed')
    drawn = 'drawn at random, see the log'
    yield 'seed', drawn if seed is None else str(seed)
    yield 'starts from', str(cfg.get('load_from') or '')


def _plain(value: Any) -> str:
    """A setting as it is written, without the quotes of its names."""
    if isinstance(value, Mapping):
        inner = ', '.join(
            f'{k}={_plain(v)}' for k, v in value.items() if k != 'type'
        )
        kind = type_name(value)
        return f'{kind}({inner})' if kind else inner
    if isinstance(value, (list, tuple)):
        return ', '.join(map(_plain, value))
    return str(value)
