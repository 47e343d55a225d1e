"""Say where training revives weights that an earlier run has removed."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from epsd_mm.config_types import PRETRAINED, type_name
from epsd_mm.engine.checkpoints import (
    guard_checkpoints,
    load_what_was_chosen,
    loaded_file_named,
    look_before_loading,
)
from epsd_mm.engine.checks import unwrapped
from epsd_mm.engine.safe_loading import CheckpointError, load_values
from epsd_mm.engine.saved_state import saved_masks
from epsd_mm.engine.tracking import track_narrowed
from epsd_mm.families.ssd import repair_ssd_head
from epsd_mm.pruning import Masks


@HOOKS.register_module()
class RevivalHook(Hook):
    """Warns where a run trains weights that its checkpoint had removed.

    A pruned checkpoint is one of a plain model with zeros in it: whoever
    loads it without its masks gets a dense network, and nothing else would
    say so. ``load_from``, ``resume`` and ``init_cfg`` of type
    ``Pretrained`` are looked at.
    """

    #: Masks in force in this run.
    masks: Masks | None = None

    _loaded: Masks | None = None

    def before_run(self, runner: Runner) -> None:
        """Let the model validate and test; lose no checkpoint."""
        _refuse_several(runner)
        repair_ssd_head(runner.model)
        look_before_loading(runner)
        load_what_was_chosen(runner)
        guard_checkpoints(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember which weights a checkpoint has removed."""
        with loaded_file_named(runner):
            self._loaded = saved_masks(checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Count what training will revive; show what is gone for good."""
        if not runner._resume:
            track_narrowed(runner)
        model = unwrapped(runner)
        removed = [*_initial_masks(model)]
        if self._loaded is not None:
            removed = [self._loaded]  # loaded last, over all else
        count = sum(self._revived(model, masks) for masks in removed)
        if count:
            runner.logger.warning(
                f'training revives {count:,} weights that a checkpoint it '
                'starts from had removed, since no mask of this run keeps '
                'them at zero: to keep them, give EPSDHook the masks of that '
                "run, masks='…/epsd/masks.pth' with criterion=None, or resume "
                'with the config it was trained with'
            )

    def _revived(self, model: nn.Module, removed: Masks) -> int:
        weights = dict(model.named_parameters())
        count = 0
        for name, mask in removed.items():
            weight = weights.get(name)
            if weight is None or not weight.requires_grad:
                continue
            if weight.shape == mask.shape:
                # What was loaded over the zeros of a file revives none.
                trained = ~mask & (weight.detach() == 0).cpu()
                if self.masks is not None and name in self.masks:
                    trained &= self.masks[name]
                count += int(trained.sum())
        return count


def _refuse_several(runner: Runner) -> None:
    """Each would have its say on masks and on ``checkpoint['epsd']``."""
    found = [h for h in runner.hooks if isinstance(h, RevivalHook)]
    if len(found) > 1:
        names = ' and '.join(type(hook).__name__ for hook in found)
        raise ValueError(
            f'a run is pruned, or kept dense, by one hook, but it has {names}:'
            ' leave one of them in default_hooks and custom_hooks (that of a '
            "base goes by _base_.default_hooks.pop('epsd'))"
        )


def _initial_masks(model: nn.Module) -> Iterator[Masks]:
    """Masks in the files that parts of a model were initialised from."""
    for name, module in model.named_modules():
        init = getattr(module, 'init_cfg', None)
        for each in init if isinstance(init, (list, tuple)) else [init]:
            if not isinstance(each, Mapping):
                continue
            path = each.get('checkpoint')
            if type_name(each) not in PRETRAINED or not isinstance(path, str):
                continue
            masks = _masks_of_file(path)
            prefix = (each.get('prefix') or '').rstrip('.')
            covered = f'{prefix}.' if prefix else ''
            if masks and any(key.startswith(covered) for key in masks):
                yield masks.part(prefix, to=name)


def _masks_of_file(path: str) -> Masks | None:
    if not Path(path).is_file():  # or weights from the network: not ours
        return None
    try:
        checkpoint = load_values(path, 'cpu', mmap=True)
    except CheckpointError:
        return None  # not from a run with EPSDHook
    try:
        return saved_masks(checkpoint)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
