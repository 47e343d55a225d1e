"""What earlier versions called otherwise."""

from collections.abc import Mapping
from typing import Any

from .logs import current_logger

#: Names of classes, and how configs call them.
_CLASSES, _TYPES = {'Channels': 'Rows'}, {'channels': 'rows'}


def in_present_words(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a config, by their present names; warns of an old one.

    ``pattern`` is ``structure`` now, and its ``'channels'`` are ``'rows'``:
    they are the rows of single weights, and no channels of a network.

    Raises:
        TypeError: One has both names.
    """
    options = dict(options)
    if 'pattern' not in options:
        return options
    if options.get('structure') is not None:
        raise TypeError(
            f'structure={options["structure"]!r} and pattern='
            f'{options["pattern"]!r} are two names of one option, and '
            'pattern is the old one: remove it'
        )
    old = options.pop('pattern')
    options['structure'] = _renamed(old, _TYPES)
    current_logger().warning(
        f'pattern={old!r} is an old name: say structure='
        f'{options["structure"]!r}'
    )
    return options


def described_in_present_words(description: Mapping[str, Any]) -> dict:
    """What a checkpoint or report of an earlier version says of its run."""
    description = dict(description)
    if 'pattern' in description:
        old = description.pop('pattern')
        description['structure'] = _renamed(old, _CLASSES)
    return description


def _renamed(spec: Any, names: Mapping[str, str]) -> Any:
    if isinstance(spec, Mapping) and spec.get('type') in names:
        return {**spec, 'type': names[spec['type']]}
    return names.get(spec, spec) if isinstance(spec, str) else spec
