"""Reads the Python config that a suite is."""

import ast
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from epsd_mm.config_file import why


def read_suite_file(path: Path) -> dict:
    """What a suite file says, but for names that start with ``_``.

    Those are parts that files have in common.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no config, or two entries have one name, of which
            Python would keep one.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f'no suite {path}: configs/benchmarks/ has those that are shipped'
        )
    try:
        tree = ast.parse(path.read_text(), str(path))
        content = Config.fromfile(path).to_dict()
    except Exception as error:  # it is a program: anything may go wrong
        raise ValueError(f'{path} cannot be read: {why(error)}') from error
    for line, name in _named_twice(tree):
        raise ValueError(
            f'{path}, line {line}: {name!r} is named twice, and the first of '
            'the two would be lost: give one of them another name'
        )
    return {k: v for k, v in content.items() if not k.startswith('_')}


def _named_twice(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            seen = set()
            for key in node.keys:
                if isinstance(key, ast.Constant):
                    if key.value in seen:
                        yield key.lineno, key.value
                    seen.add(key.value)
