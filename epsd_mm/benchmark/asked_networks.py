"""Whether networks fit those that they come after, before anything trains."""

from collections.abc import Iterable, Mapping

from mmengine.config import Config
from torch import Tensor, nn

from epsd_mm.engine.initial_model import build_untrained, model_config
from epsd_mm.engine.model_units import find_model_groups
from epsd_mm.engine.settings import settings_of
from epsd_mm.engine.trained_network import check_teaches
from epsd_mm.prune_then_distill import groups_of_teacher
from epsd_mm.pruning import prunable_parameters
from epsd_mm.structure import Groups

from .suite_parts import Cell

_Tensors = Mapping[str, Tensor]


class Networks:
    """Untrained networks of configs; one that several share is built once."""

    def __init__(self) -> None:
        self._built: dict[str, nn.Module] = {}
        self._groups: dict[int, Groups] = {}

    def of(self, cfg: Config) -> nn.Module:
        """The network of a config, which nobody may change."""
        text = repr(model_config(cfg))
        if text not in self._built:
            self._built[text] = build_untrained(cfg)
        return self._built[text]

    def groups_of(self, network: nn.Module) -> Groups:
        """Which channels of one of these networks go together.

        Raises:
            ValueError: It cannot be traced.
            ImportError: torch-pruning is not installed.
        """
        if id(network) not in self._groups:
            self._groups[id(network)] = find_model_groups(network)
        return self._groups[id(network)]


class AskedNetworks:
    """Checks cells that take weights, masks or widths of others.

    Args:
        networks: Those that were built already.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._followed: set[int] = set()  # whose channels are known

    def check(self, cell: Cell, cfg: Config) -> None:
        """Raise where a cell could not take what another one ends with.

        Args:
            cell: Of a suite.
            cfg: Its config.

        Raises:
            ValueError: Names what does not fit.
            TypeError: The predictions of a teacher or student are not seen.
            ImportError: A package is absent that makes a student narrow.
        """
        if cell.run.narrow:
            self._check_student_of(cell.teacher)
            return
        network = self._networks.of(cfg)
        if cell.teacher is not None:
            teacher = self._networks.of(cell.teacher.config)
            check_teaches(teacher, network)
        own = network.state_dict()
        for origin in (cell.first, cell.previous):
            if origin is not None:
                other = self._networks.of(origin.config).state_dict()
                _check_alike(own, own, other, 'weights_of', origin)
        if cell.lender is not None:
            lender = cfg.masks_of.run
            scored, settings = self._networks.of(lender), settings_of(lender)
            masked = prunable_parameters(
                scored, settings.include, settings.exclude
            )
            other = scored.state_dict()
            _check_alike(masked, own, other, 'masks_of', cell.lender)

    def _check_student_of(self, teacher: Cell) -> None:
        network = self._networks.of(teacher.config)
        if id(network) not in self._followed:
            groups_of_teacher(network)
            self._followed.add(id(network))


def _check_alike(
    names: Iterable[str], own: _Tensors, other: _Tensors, word: str, cell: Cell
) -> None:
    """Raise unless tensors of these names are in both, in the same shapes."""
    wrong = [n for n in names if _shape(own, n) != _shape(other, n)]
    if not wrong:
        return
    more = f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''
    raise ValueError(
        f'{word} names {cell.name!r}, whose network is another one '
        f'({wrong[0]}: {_shape(other, wrong[0])} there, '
        f'{_shape(own, wrong[0])} here{more}): name a method whose options '
        'leave it as it is here'
    )


def _shape(tensors: _Tensors, name: str) -> tuple | str:
    return tuple(tensors[name].shape) if name in tensors else 'not'
