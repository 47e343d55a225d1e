"""Configs and tools of this package, wherever it is installed."""

import shlex
from pathlib import Path


def shipped(folder: str) -> Path:
    """Where ``configs``, ``tools`` or ``requirements`` are.

    Wheels hold them inside; in the repository they lie beside the package.

    Args:
        folder: One of these names.

    Returns:
        Path: The absolute path.
    """
    package = Path(__file__).resolve().parent
    inside = package / '.mim' / folder
    found = inside if inside.is_dir() else package.parent / folder
    return found.resolve()


def command_of(tool: str, *arguments: str | Path) -> str:
    """What runs a tool from the working folder, quoted for a shell.

    Args:
        tool: Path inside ``tools/``, such as ``'show.py'``.
        *arguments: Of the tool.

    Returns:
        str: ``python tools/show.py RUN`` in a clone of the repository.
    """
    path = shipped('tools') / tool
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return shlex.join(map(str, ['python', path, *arguments]))
