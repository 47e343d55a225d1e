"""What every criterion offers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..masks import Masks
from ..objective import Objective, Params
from ..schedule import Schedule


class Criterion(ABC):
    """Scores weights; those with the highest scores are kept.

    Attributes:
        steps_per_draw: Items that :meth:`scores` takes from ``batches``;
            0 for a criterion that needs no batch at all.
        evaluations: How often it evaluates the objective on a batch, for
            the progress bar.
        hessian_products: How often it multiplies a vector by the Hessian of
            a step in a draw.
        replays: How often it evaluates a step once more for that, in a draw.
        data_free: Whether scores depend on no image and no loss, so that
            neither draws nor self-distillation have an effect on them.
        takes_outputs: Whether it looks at outputs of the network, which must
            be one tensor.
        signed: Whether scores may be negative.
        regrow: Whether removed weights may come back in a later round.
        schedule: Rounds of scoring and removing.
        cost_only: Names of options that trade time for memory and change
            no score, so that a run may change them when it resumes.
        units_by: How it scores units, where that is part of its formula; see
            :class:`~epsd_mm.structure.UnitScores`.
        trained: Whether it is made for weights that were trained before.
        asks: Settings that it is defined for, by name, such as a structure.
    """

    steps_per_draw: int = 1
    evaluations: int = 1
    hessian_products: int = 0
    replays: int = 0
    data_free: bool = False
    takes_outputs: bool = False
    signed: bool = False
    regrow: bool = False
    schedule: Schedule = Schedule()
    cost_only: Sequence[str] = ()
    units_by: str | None = None
    trained: bool = False
    asks: Mapping[str, str] = {}

    def in_round(self, k: int, sparsity: float) -> 'Criterion':
        """What scores in a round: by default itself in all of them.

        Args:
            k: The round, counted from 1.
            sparsity: What is asked for in the end.

        Raises:
            ValueError: It cannot do with that sparsity.
        """
        return self

    @abstractmethod
    def scores(
        self,
        objective: Objective,
        params: Params,
        masks: Masks,
        batches: Iterator[Sequence[Any]],
    ) -> dict[str, Tensor]:
        """Score the weights that ``masks`` covers.

        Args:
            objective: The loss.
            params: Every weight that requires a gradient, by name, as it
                was initialised.
            masks: The prunable weights, and which of them are left.
            batches: Yields the list of batches of one step at a time.

        Returns:
            Scores with the shapes of the weights. A weight that the
            objective does not reach is left out.
        """


class Sensitivity(Criterion):
    """A criterion whose scores are a weight times a derivative.

    ::

        s_p = | θ_p v_p |

    or without the absolute value, if it is ``signed``. As one mask entry m
    on a single weight has the derivative θ_p v_p, one on several weights has
    the sum of theirs: so units are scored, by the products before their
    absolute value.
    """

    @abstractmethod
    def products(
        self,
        objective: Objective,
        params: Params,
        masks: Masks,
        batches: Iterator[Sequence[Any]],
    ) -> dict[str, Tensor]:
        """``θ_p v_p`` with its sign; arguments as of :meth:`scores`."""

    def scores(self, objective, params, masks, batches):
        products = self.products(objective, params, masks, batches)
        check_tensors(products, self, 'products')
        if self.signed:
            return products
        return {name: product.abs() for name, product in products.items()}


def check_tensors(result: Any, criterion: Criterion, method: str) -> None:
    """Raise unless a criterion has returned tensors by name.

    Raises:
        TypeError: It has not; names the method.
    """
    what = f'{type(criterion).__name__}.{method}() must return'
    if not isinstance(result, Mapping):
        raise TypeError(
            f'{what} a dict of tensors by the name of their weight, got '
            f'{type(result).__name__}'
        )
    for name, tensor in result.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f'{what} tensors, got {type(tensor).__name__} for {name!r}'
            )


def masked(params: Params, masks: Masks) -> dict[str, Tensor]:
    """The weights with what ``masks`` removes at zero, without gradient."""
    result = {}
    for name, param in params.items():
        param = param.detach()
        if name in masks and not masks[name].all():
            param = param * masks[name].to(param.device)
        result[name] = param
    return result
