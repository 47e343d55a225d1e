"""Reads configs, and says what is wrong with one that cannot be read."""

import re
from pathlib import Path

from mmengine.config import Config

_TWICE = re.compile(r'Duplicate keys?: \{(?P<keys>[^}]+)\}')


def read_config(path: str | Path) -> Config:
    """What the file of a config holds.

    Raises:
        ValueError: Two of its bases have a key in common; names it.
    """
    try:
        return Config.fromfile(path)
    except KeyError as error:
        if not _TWICE.search(str(error)):
            raise
        raise ValueError(f'{path} cannot be read: {why(error)}') from error


def why(error: Exception) -> str:
    """What a config has ended with, for people."""
    twice = isinstance(error, KeyError) and _TWICE.search(str(error))
    if twice:
        example = ''
        if 'custom_hooks' in twice['keys']:
            example = (
                ', as in custom_hooks = [*_base_.custom_hooks, '
                "dict(type='epsd_mm.engine.EPSDHook', …)]"
            )
        return (
            f'more than one of its bases has {twice["keys"]}, which mmengine '
            'does not allow: take one of them out of _base_, and write what '
            f'it adds into the config itself{example}'
        )
    if type(error) is RuntimeError and not str(error):
        # mmengine's own, of a config that imports: all it says is a traceback.
        return (
            'something that is imported is called while the file is read, '
            'which mmengine does not allow: write the values themselves, or '
            'use what Python has without an import, such as list(range(3))'
        )
    return f'{type(error).__name__}: {error}'
