"""From a config to its network, without what it was trained with."""

import copy

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from epsd_mm.config_types import scope_of

from .pretrained import without_pretrained


def model_config(cfg: Config) -> ConfigDict:
    """The config of the model that a runner builds.

    mmpretrain's have the preprocessor beside the model, and a runner puts
    it in: without it a network would see pixels that are not normalised.
    """
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return model


def build_untrained(cfg: Config) -> nn.Module:
    """The network of a config; nothing is downloaded."""
    with DefaultScope.overwrite_default_scope(scope_of(cfg) or 'mmengine'):
        return MODELS.build(without_pretrained(model_config(cfg)))
