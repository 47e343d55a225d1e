"""Lets a policy change the masks of a training, step by step."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from epsd_mm.pruning import MaskKeeper, Masks, Target
from epsd_mm.pruning.finite import is_finite
from epsd_mm.pruning.search import check_not_empty, check_room

from .base import MaskPolicy, Moment
from .steps import Steps


@dataclass(frozen=True)
class Update:
    """What a change of masks came to.

    Attributes:
        step: After which step of the optimiser.
        kept: Weights that are kept from now on.
        total: Weights that have a mask.
        dropped: Weights that went.
        grown: Weights that came.
        skipped: Why the masks stayed as they were, if they did.
    """

    step: int
    kept: int
    total: int
    dropped: int
    grown: int
    skipped: str | None = None

    def __str__(self) -> str:
        text = (
            f'masks after step {self.step}: {self.kept:,} of {self.total:,} '
            f'weights are kept, {self.dropped:,} went, {self.grown:,} came'
        )
        return f'{text}; {self.skipped}' if self.skipped else text


class MaskUpdates:
    """Changes masks after those steps of an optimiser where they are due.

    A step that is skipped, as mixed precision does where gradients
    overflow, is no step: nothing changes and nothing is counted. (Fused
    optimisers are called even so, and skip it by themselves.) The
    processes of a distributed job add up their gradients, and all take the
    masks of the first one.

    ::

        keeper = epsd_mm.MaskKeeper(model, masks)
        keeper.watch(optimizer)
        MaskUpdates(keeper, RigL(), optimizer, total=len(loader) * epochs)

    Args:
        keeper: Of the weights; it watches the optimiser already.
        policy: Says when and into which.
        optimizer: Whose steps count, also those of one that it wraps.
        total: Steps of the whole training.
        target: What is asked of the masks at the end; by default, of a
            policy that keeps as many weights, that of the masks in force.
        seed: Of what a policy draws at random.
        averages: Models that follow the weights, see
            :meth:`~epsd_mm.pruning.MaskKeeper.replace`.
        on_update: Called with each change of the masks.
        allow_empty_layers: Accept masks that remove a whole layer.

    Attributes:
        moment: Of the training.
        kept_steps: Sum over all steps of what was kept of each layer while
            they were made.

    Raises:
        TypeError: The policy is none.
        ValueError: The training is too short for the policy, the target
            is none for it or cannot be reached from the masks in force, or
            an average has other weights.
        RuntimeError: The keeper does not watch the optimiser.
    """

    def __init__(
        self,
        keeper: MaskKeeper,
        policy: MaskPolicy,
        optimizer: Optimizer,
        total: int,
        target: Target | None = None,
        seed: int = 0,
        averages: Iterable[nn.Module] = (),
        on_update: Callable[[Update], None] = lambda update: None,
        allow_empty_layers: bool = False,
    ) -> None:
        keeper.check_watches(optimizer)
        masks = keeper.masks
        self.keeper = keeper
        self.policy = _checked(policy)
        if type(total) is not int or total < 1:
            raise ValueError(f'total={total!r} must be an integer >= 1')
        policy.check_total(total)
        if target is None:
            target = _as_it_is(policy, masks)
        else:
            _check_target(policy, target, masks, allow_empty_layers)
        self.target = target
        self.averages = list(averages)
        for model in self.averages:
            masks.check_fits(dict(model.named_parameters()), partly=True)
        self.on_update = on_update
        self.allow_empty_layers = allow_empty_layers
        self.moment = Moment(0, total, seed)
        self.kept_steps = dict.fromkeys(masks, 0)
        self._count()
        self._steps = Steps(optimizer, self._after_step)
        self._prepare()

    def release(self) -> None:
        """Let go of the optimiser."""
        self._steps.release()
        self.keeper.collected_gradients()  # and of what was to be ranked

    def discard(self) -> None:
        """Forget the gradients that no step will be made of.

        To be called whenever gradients have been set to zero, in a training
        where steps are skipped, as by mixed precision, or ask for more than
        one gradient, as those of SAM and L-BFGS do.
        """
        self._prepare()

    def shortfall(self) -> str | None:
        """What a training that ends here lacks of its target, if anything.

        Steps that are skipped, or never made, take updates with them.
        """
        moment, masks, asked = self.moment, self.keeper.masks, self.target
        steps = range(moment.step + 1, moment.total + 1)
        pending = [
            s for s in steps if self.policy.due(replace(moment, step=s))
        ]
        if not pending or masks.kept <= round(
            (1 - asked.sparsity) * masks.total
        ):
            return None
        return (
            f'the masks have sparsity {masks.sparsity:.6g} at the end of '
            f'training, and {asked.sparsity:.6g} was asked for: the optimiser '
            f'has made {moment.step} of {moment.total} steps (what mixed '
            'precision skips is none), and the last update was to follow '
            f'step {pending[-1]}; let the policy end earlier (its end below '
            '1), so that steps are left to make up for those'
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs besides the masks."""
        return dict(
            step=self.moment.step,
            total=self.moment.total,
            seed=self.moment.seed,
            kept_steps=dict(self.kept_steps),
            policy=self.policy.state_dict(),
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that :meth:`state_dict` has returned.

        Raises:
            ValueError: It is of a training of another length.
        """
        if state['total'] != self.moment.total:
            raise ValueError(
                f'the masks are on their way through {state["total"]} steps, '
                f'and this training has {self.moment.total}: resume with the '
                'epochs, the images, the batch size, the accumulated batches '
                'and the number of GPUs that it began with'
            )
        self.moment = replace(
            self.moment, step=state['step'], seed=state['seed']
        )
        self.kept_steps = dict(state['kept_steps'])
        self.policy.load_state_dict(state['policy'])
        self._prepare()

    def _after_step(self, optimizer: Optimizer) -> None:
        if not _has_skipped(optimizer):
            for name, kept in self._kept.items():
                self.kept_steps[name] += kept
            self.moment = replace(self.moment, step=self.moment.step + 1)
            if self.policy.due(self.moment):
                self._update()
        self._prepare()

    def _prepare(self) -> None:
        """Have the gradients taken that the next step will ask for."""
        coming = replace(self.moment, step=self.moment.step + 1)
        if self.policy.dense_gradients and self.policy.due(coming):
            self.keeper.collect_gradients()
        else:
            self.keeper.collected_gradients()  # those of no step that is due

    def _update(self) -> None:
        self._check_weights()
        before, gradients, skipped = self.keeper.masks, {}, None
        after = before
        if self.policy.dense_gradients:
            gradients = self._gradients()
        if all(map(is_finite, gradients.values())):
            after = self.policy.next(
                before,
                self.keeper.weights,
                gradients,
                self.moment,
                self.target,
            )
            if not isinstance(after, Masks):
                raise TypeError(
                    f'{type(self.policy).__name__}.next() must return Masks, '
                    f'got {type(after).__name__}: Masks(…) of bool tensors '
                    'by name, or what target.select() returns'
                )
            after = _of_first_process(after)
            check_not_empty(
                after,
                self.target.sparsity,
                self.allow_empty_layers,
                when=f' after step {self.moment.step}',
            )
        else:
            skipped = (
                'gradients of removed weights are not finite, so that they '
                'rank nothing'
            )
        if after != before:
            self.keeper.replace(after, self.averages)
            self._count()
        kept, stayed = after.kept, (before & after).kept
        self.on_update(
            Update(
                self.moment.step,
                kept,
                after.total,
                before.kept - stayed,
                kept - stayed,
                skipped,
            )
        )

    def _check_weights(self) -> None:
        """Raise where a step has left what no number ranks."""
        weights = self.keeper.weights.items()
        wrong = [name for name, w in weights if not w.isfinite().all()]
        if wrong:
            raise FloatingPointError(
                f'after step {self.moment.step} the weights of '
                f'{", ".join(wrong)} are not finite: the training has '
                'diverged, lower its lr'
            )

    def _count(self) -> None:
        self._kept = {n: int(m.sum()) for n, m in self.keeper.masks.items()}

    def _gradients(self) -> dict[str, Tensor]:
        """Those of all processes together, where any has one."""
        own = self.keeper.collected_gradients()
        if not _in_any(bool(own)):
            raise RuntimeError(
                f'{type(self.policy).__name__} ranks gradients, and none '
                f'arose by backward() before step {self.moment.step}: '
                'those that are put into .grad by hand are not seen, nor '
                'what other MaskUpdates of the same keeper have taken'
            )
        if not _several():
            return own
        summed = {}
        for name, weight in self.keeper.weights.items():
            summed[name] = own.get(name, torch.zeros_like(weight))
            distributed.all_reduce(summed[name])
        return summed


def _checked(policy: MaskPolicy) -> MaskPolicy:
    if not isinstance(policy, MaskPolicy):
        raise TypeError(
            f'policy={policy!r} must be an object that says when masks '
            'change, such as RigL(every=100)'
        )
    return policy


def _as_it_is(policy: MaskPolicy, masks: Masks) -> Target:
    """What a policy keeps that keeps as many weights as there are.

    Raises:
        ValueError: It is no such policy, or nothing has been removed.
    """
    sparsity = masks.sparsity
    try:
        stays = policy.initial(sparsity) == sparsity
    except ValueError:  # there is no way from one to the other
        stays = False
    if not stays or not sparsity:
        raise ValueError(
            f'target=None asks for sparsity {sparsity:.6g}, which the masks '
            f'in force have, so that {type(policy).__name__} would change '
            'nothing: give target=Target.over(masks, 0.9), or what else the '
            'masks shall be at the end'
        )
    policy.check(None)
    return Target.over(masks, sparsity)


def _check_target(
    policy: MaskPolicy, target: Target, masks: Masks, allow_empty_layers: bool
) -> None:
    """Raise where a policy leads from these masks to no such target."""
    policy.check(target.structure)
    initial = policy.initial(target.sparsity)
    target.check(None if policy.regrows else masks)
    check_room(target, allow_empty_layers)
    asked = round((1 - target.sparsity) * masks.total)
    stays = policy.regrows and initial == target.sparsity
    if stays and masks.kept != asked:
        raise ValueError(
            f'{type(policy).__name__} keeps as many weights as there are, '
            f'{masks.kept:,} of {masks.total:,}, and the target asks for '
            f'{asked:,}: begin with masks of sparsity {target.sparsity:.6g}, '
            'or leave target out'
        )


def _has_skipped(optimizer: Optimizer) -> bool:
    """Whether a fused optimiser has made no step of its call.

    ``GradScaler`` tells it whether gradients overflow while it is called.
    """
    return bool(getattr(optimizer, 'found_inf', None))


def _several() -> bool:
    there = distributed.is_available() and distributed.is_initialized()
    return there and distributed.get_world_size() > 1


def _in_any(process: bool) -> bool:
    """Whether something is so in a process of the job."""
    if not _several():
        return process
    told = [None] * distributed.get_world_size()
    distributed.all_gather_object(told, process)
    return any(told)


def _of_first_process(masks: Masks) -> Masks:
    if not _several():
        return masks
    packed = [masks.pack()]
    distributed.broadcast_object_list(packed)
    return Masks.unpack(packed[0])
