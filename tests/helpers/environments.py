"""Environments that lack something which is installed here."""

import os
import subprocess
import sys
import textwrap
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]

#: What `pip install .` brings, and what its tests take beside that.
TORCH_ONLY = ('epsd_mm', 'torch-pruning', 'torchvision', 'timm', 'pytest')
TORCH_ONLY += ('packaging',)


def distributions(*names):
    """Distributions and all that they require, as far as it is installed."""
    found, waiting = {}, [*names]
    while waiting:
        name = waiting.pop().lower().replace('_', '-')
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        for line in found[name].requires or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or marker.evaluate({'extra': ''}):
                waiting.append(requirement.name)
    return found.values()


def site(folder, *names):
    """A folder of packages: these, and what they require, and no others.

    They are links to those that are installed here, so that it costs
    nothing; an interpreter with `-S` sees no others.
    """
    for each in distributions(*names):
        tops = {file.parts[0] for file in each.files or ()}
        for top in tops - {'..', '__pycache__'}:
            link, target = folder / top, Path(each.locate_file(top))
            if not link.exists() and target.suffix != '.pth':
                link.symlink_to(target)
    return folder


def run(folder, *arguments, **options):
    """Runs Python with the packages of a folder, and those of the project."""
    environment = {**os.environ, 'PYTHONPATH': f'{folder}:{ROOT}'}
    return subprocess.run(
        [sys.executable, '-S', *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        **options,
    )


def written(folder, code):
    """What code writes there, word by word."""
    result = run(folder, '-c', textwrap.dedent(code))
    assert result.returncode == 0, result.stderr
    return result.stdout.split()
