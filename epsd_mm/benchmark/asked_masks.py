"""Whether masks can be as configs ask, before anything trains."""

from mmengine.config import Config
from torch import nn

from epsd_mm.engine.changing_masks import check_reachable
from epsd_mm.engine.checks import check_outputs
from epsd_mm.engine.model_units import ModelUnits
from epsd_mm.engine.settings import Settings, settings_of

from .asked_networks import Networks
from .configured_steps import configured_steps


class AskedMasks:
    """Checks the masks of many configs; what they share is counted once.

    Args:
        networks: Those that were built already.
        read_data: Whether training sets may be read: an epoch is as long as
            they are.
    """

    def __init__(self, networks: Networks, read_data: bool) -> None:
        self._networks, self._read_data = networks, read_data
        self._steps: dict[str, int | None] = {}

    def check(self, cfg: Config) -> None:
        """Raise where masks cannot be, or change, as a config asks.

        Of masks that another run has, those of that one. Masks in a file are
        left to the run.

        Raises:
            ValueError: As a training by that config would.
            TypeError: Likewise.
            ImportError: A package is absent that units take.
        """
        lender = cfg.get('masks_of')
        if lender is not None:
            self.check(lender.run)
        settings = settings_of(cfg)
        if settings is None or not settings.sparsity:
            return
        check_outputs(self._networks.of(cfg), settings.criterion)
        if settings.units:
            self._check_units(settings, self._networks.of(cfg))
            return
        if settings.masks is not None:
            return
        check_reachable(settings, self._networks.of(cfg))
        steps = self._steps_of(cfg) if settings.changes else None
        if steps is not None:
            settings.policy.check_total(steps)

    def _check_units(self, settings: Settings, network: nn.Module) -> None:
        groups = self._networks.groups_of(network)
        units = ModelUnits(network, settings, groups)
        # What multiplies how often is known once there is an image.
        if settings.units.of == 'weights':
            units.budget().check()

    def _steps_of(self, cfg: Config) -> int | None:
        text = repr((cfg.train_cfg, cfg.optim_wrapper, cfg.train_dataloader))
        if text not in self._steps:
            self._steps[text] = configured_steps(cfg, self._read_data)
        return self._steps[text]
