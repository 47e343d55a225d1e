"""Keeps removed weights out of a model's training."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .masks import Masks
from .optimizer_state import (
    alike,
    in_rows,
    let_run_hooks,
    starts_of,
    with_wrapped,
)


class MaskKeeper:
    """Lets a removed weight take part in nothing.

    The weight is zero after each step of the optimiser, and so is what the
    optimiser remembers of it, such as momentum. Its gradient is zero as soon
    as it is there, before anything looks at it: clipping, a trust ratio or
    a factored second moment see what a network without that weight would
    show them. Masked gradients alone would not do, since momentum and weight
    decay revive weights. Gradients that are put there by hand, and not by
    ``backward``, call for :meth:`mask_gradients` before clipping.

    Tensors are changed in place and the masks are held outside the model,
    so its names, its state dict and whatever averages or wraps it see an
    ordinary model.

    Args:
        model: The model, unwrapped. Copies of it that are made later are
            not kept: a copied weight has no hooks.
        masks: Of some or all of its weights.
        followers: Of what belongs to them, such as biases and scales and
            shifts of normalisation: kept at zero alike, and not counted.

    Raises:
        TypeError: ``masks`` are no :class:`Masks`.
        ValueError: A mask has no weight, or one of another shape.
    """

    def __init__(
        self, model: nn.Module, masks: Masks, followers: Masks | None = None
    ) -> None:
        if not isinstance(masks, Masks):
            raise TypeError(
                f'masks must be Masks, got {type(masks).__name__}: those that '
                'prune() returns, or Masks(…) of bool tensors by name'
            )
        params = dict(model.named_parameters())
        self.masks = masks
        self._kept = {}
        for each in (masks, followers or {}):
            if each:
                each.check_fits(params, partly=True)
            for name, mask in each.items():
                self._kept[params[name]] = _Kept(mask)
        self._weights = {name: params[name] for name in masks}
        self._optimizers: tuple[Optimizer, ...] = ()
        self._handles: list = []
        self._dense: dict[Tensor, Tensor] | None = None
        self.apply()

    @property
    def weights(self) -> dict[str, Tensor]:
        """The masked weights by name, without gradient."""
        return {name: w.detach() for name, w in self._weights.items()}

    @torch.no_grad()
    def apply(self) -> None:
        """Set removed weights to zero."""
        for weight, kept in self._kept.items():
            kept.clear(weight)

    def mask_gradients(self) -> None:
        """Set the gradients of removed weights to zero."""
        for weight in self._kept:
            self.clear_gradient(weight)

    @torch.no_grad()
    def clear_gradient(self, weight: Tensor) -> None:
        """The same of one masked weight."""
        # A step that is made within the backward pass has used it up.
        if weight.grad is not None:
            self._kept[weight].clear(weight.grad)

    @torch.no_grad()
    def clear_state(self, optimizer: Optimizer) -> None:
        """Let an optimiser forget the removed weights.

        Whatever it holds of a weight, however deep, and has as many entries
        is cleared where the weight is removed; but not a list of matrices
        or vectors, one for each side of the weight, which are factors of a
        preconditioner (as of Kron, SOAP and Shampoo). A history of steps of
        all weights in a row, as L-BFGS has it, is no history of the steps
        without a weight: it begins anew.
        """
        for each in with_wrapped(optimizer):
            for weight, kept in self._kept.items():
                # (the state makes an entry for whatever it is asked for)
                if weight in each.state:
                    for value in alike(each.state[weight], weight):
                        kept.clear(value)
            for state, parts in in_rows(each):
                if any(
                    weight in self._kept and self._kept[weight].misses(part)
                    for weight, part in parts
                ):
                    state.clear()

    @torch.no_grad()
    def replace(
        self, masks: Masks, averages: Iterable[nn.Module] = ()
    ) -> None:
        """Let other masks hold from now on.

        A weight that comes back is zero, and nothing of what it was is left
        in the watched optimisers or in averages of the weights: what is
        remembered of it is what they begin with. What goes leaves them as
        well.

        Args:
            masks: Of the same weights.
            averages: Models of the same names that follow this one, such as
                the moving average of an EMA.

        Raises:
            ValueError: The masks, or an average, are of other weights.
        """
        masks.check_fits(self.masks)
        averages = [dict(model.named_parameters()) for model in averages]
        for average in averages:
            masks.check_fits(average, partly=True)
        # What comes back is forgotten under the old masks, what goes under
        # the new ones.
        self._forget(averages)
        before, self.masks = self.masks, masks
        for name, mask in masks.items():
            self._kept[self._weights[name]] = _Kept(mask)
        self.apply()
        self.mask_gradients()
        self._forget(averages)
        for name, mask in masks.items():
            self._begin_anew(self._weights[name], mask & ~before[name])

    def _begin_anew(self, weight: Tensor, where: Tensor) -> None:
        """Let optimisers meet these entries as if for the first time."""
        for optimizer in self._optimizers:
            for each in with_wrapped(optimizer):
                state = each.state[weight] if weight in each.state else {}
                for key, start in starts_of(each, weight).items():
                    if key in state:
                        here = where.to(state[key].device)
                        state[key].masked_fill_(here, start)

    def _forget(self, averages: Iterable[Mapping[str, Tensor]]) -> None:
        for optimizer in self._optimizers:
            self.clear_state(optimizer)
        for average in averages:
            for name, weight in self._weights.items():
                self._kept[weight].clear(average[name])

    def collect_gradients(self) -> None:
        """Add up the gradients of the next step as if nothing were removed.

        They are copied before they are masked, those of all batches that
        accumulate, and in a distributed job before they are averaged: they
        are those of this process. What was added up before is dropped.

        Raises:
            RuntimeError: No optimiser is watched, so that no gradient is
                seen.
        """
        if not self._handles:
            raise RuntimeError(
                'no gradient is seen before an optimiser is watched: call '
                'watch(optimizer) first'
            )
        self._dense = {}

    def collected_gradients(self) -> dict[str, Tensor]:
        """What has been added up by name, and no more is from now on."""
        dense, self._dense = self._dense or {}, None
        return {n: dense[w] for n, w in self._weights.items() if w in dense}

    def watch(self, *optimizers: Optimizer) -> None:
        """Keep removed weights out of what these optimisers do.

        Works with accumulated gradients, mixed precision and
        ``DistributedDataParallel`` alike: gradients are masked where they
        accumulate, in each process, and weights after each real step.
        What an optimiser remembers of removed weights is cleared now, after
        each step, and where its state is loaded; likewise of optimisers
        that it wraps, as a Lookahead does.

        Args:
            optimizers: All that train the masked weights.

        Raises:
            TypeError: One is no optimiser.
            ValueError: The optimisers hold none of the masked weights.
        """
        for optimizer in optimizers:
            if not isinstance(optimizer, Optimizer):
                raise TypeError(
                    f'{type(optimizer).__name__} is no torch.optim.Optimizer: '
                    'give the one that trains the masked weights (of a '
                    'wrapper, such as OptimWrapper, its optimizer)'
                )
        held = {
            param
            for optimizer in optimizers
            for group in optimizer.param_groups
            for param in group['params']
        }
        if held.isdisjoint(self._kept):
            raise ValueError(
                f'the optimiser holds none of the {len(self._kept)} masked '
                'weights, so their zeros would not last: give the one that '
                'trains this very model, not a copy of it or of its weights'
            )
        for optimizer in optimizers:
            self.clear_state(optimizer)
            for each in with_wrapped(optimizer):
                let_run_hooks(each)
                self._handles += [
                    each.register_step_post_hook(self._after_step),
                    each.register_load_state_dict_post_hook(self.clear_state),
                ]
        self._optimizers += optimizers
        self.mask_gradients()
        self._handles += [
            _on_gradient(weight, self._accumulated) for weight in self._kept
        ]

    def check_watches(self, optimizer: Optimizer) -> None:
        """Raise where nothing keeps the steps of an optimiser sparse.

        Raises:
            RuntimeError: It is not watched, nor wrapped by one that is.
        """
        watched = [w for each in self._optimizers for w in with_wrapped(each)]
        if not any(optimizer is each for each in watched):
            others = 'another' if watched else 'no'
            raise RuntimeError(
                f'the keeper watches {others} optimiser, so that what '
                f'{type(optimizer).__name__} does would neither stay sparse '
                'nor change masks: call keeper.watch(optimizer) first, with '
                'this very one'
            )

    def release(self) -> None:
        """Let go of weights, gradients and optimisers."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._optimizers = [], ()

    def measured_sparsity(self) -> float:
        """Fraction of zeros among the prunable weights, as they are."""
        nonzero = torch.stack(
            [w.count_nonzero() for w in self._weights.values()]
        )
        return 1 - int(nonzero.sum()) / self.masks.total

    @torch.no_grad()
    def _accumulated(self, weight: Tensor) -> None:
        if self._dense is not None and weight.grad is not None:
            # What is kept has its sum so far in it, the rest this batch's.
            total = weight.grad.clone()
            if weight in self._dense:
                self._kept[weight].clear_kept(self._dense[weight])
                total += self._dense[weight]
            self._dense[weight] = total
        self.clear_gradient(weight)

    def _after_step(self, optimizer: Optimizer, *unused) -> None:
        self.apply()
        self.clear_state(optimizer)


class _Kept:
    """Which entries of tensors of one shape are kept."""

    def __init__(self, mask: Tensor) -> None:
        self._mask = mask
        self._bits: dict[tuple, Tensor] = {}

    def clear(self, tensor: Tensor) -> None:
        """Clear the bits of removed entries, in place.

        Zero times a NaN would be a NaN.
        """
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor)
        bits = self._like(tensor)
        tensor.view(bits.dtype).bitwise_and_(bits)

    def clear_kept(self, tensor: Tensor) -> None:
        """Clear the bits of kept entries, likewise."""
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor)
        bits = self._like(tensor)
        tensor.view(bits.dtype).bitwise_and_(~bits)

    def misses(self, tensor: Tensor) -> bool:
        """Whether any of the removed entries is there, that is, not zero."""
        return bool(tensor[~self._mask.to(tensor.device)].any())

    def _like(self, tensor: Tensor) -> Tensor:
        """All ones or all zeros for each entry, where the tensor lies."""
        key = tensor.dtype.itemsize, tensor.device, tensor.stride()
        if key not in self._bits:
            bits = torch.zeros_like(
                tensor, dtype=_INTEGERS[tensor.dtype.itemsize]
            )
            mask = self._mask.to(bits.device)
            if bits.dim() > mask.dim():  # real and imaginary parts
                mask = mask.unsqueeze(-1)
            self._bits[key] = bits.masked_fill_(mask, -1)
        return self._bits[key]


_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _on_gradient(weight: nn.Parameter, call: Callable[[Tensor], None]):
    """Call a function whenever the gradient of a weight has accumulated."""
    frozen = not weight.requires_grad
    # A hook is for weights that require a gradient, and this one may later.
    weight.requires_grad_(True)
    handle = weight.register_post_accumulate_grad_hook(call)
    weight.requires_grad_(not frozen)
    return handle
