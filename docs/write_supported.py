"""Write the table of README.md that says what is supported.

    python docs/write_supported.py

Names come from the registries, from docs/detector_coverage.md and from
setup.py; how they are put into words stands here. A name without words is
named as it is, and words without a name are an error, so that the table can
neither lack nor promise anything.
"""

import inspect
import re
import runpy
from collections.abc import Iterable, Mapping
from pathlib import Path
from unittest import mock

# The package repairs broken environments, so it is imported first.
import epsd_mm  # noqa: F401

# isort: split
from epsd_mm.deploy.exporting import RUNTIMES
from epsd_mm.distillation.losses import SelfDistillationLoss
from epsd_mm.files import write_text
from epsd_mm.registry import (
    ALLOCATIONS,
    CRITERIA,
    POLICIES,
    SD_LOSSES,
    STRUCTURES,
)

ROOT = Path(__file__).resolve().parents[1]
BEGIN = '<!-- written by docs/write_supported.py -->'
END = '<!-- up to here -->'

_CRITERIA = {
    'ProsPr': 'ProsPr (by an exact meta-gradient)',
    'SNIP': 'SNIP',
    'GraSP': 'GraSP',
    'SynFlow': 'SynFlow',
    'NTKSAP': 'NTKSAP',
    'IterSNIP': 'IterSNIP',
    'FORCE': 'FORCE',
    'SDMPrune': 'SDMPrune (neurons of MLPs)',
    'Magnitude': 'Magnitude',
    'Random': 'Random',
}
_LOSSES = {
    'CSKDLoss': 'CS-KD',
    'PSKDLoss': 'PS-KD',
    'DLBLoss': 'DLB',
    'KD': '[KD from a trained teacher](docs/knowledge_distillation.md)',
}
# Those that people look for; the page has all.
_DETECTORS = (
    *('Faster R-CNN', 'Cascade R-CNN', 'RetinaNet', 'SSD', 'FCOS', 'ATSS'),
    *('RTMDet', 'YOLOX', 'DINO'),
)
_STRUCTURES = {
    'weights': 'single weights',
    'nm': 'N:M',
    'rows': 'rows',
    'blocks': 'blocks',
    'channels': '[channels](docs/coupled_channels.md) and heads of attention',
    'neurons': 'neurons of MLPs',
}
_ALLOCATIONS = {
    'global': 'global',
    'uniform': 'uniform',
    'erk': 'ERK',
    'by_glob': 'by name',
}
_POLICIES = {
    'Gradual': 'gradual magnitude pruning',
    'SET': 'SET',
    'RigL': 'RigL',
}
_FILES = {'onnx': 'ONNX', 'openvino': 'OpenVINO'}
_EXTRAS = {
    'mm': '`mm` (classification)',
    'structure': '`structure` (channels)',
    'deploy': '`deploy` (files)',
    'cluster': '`cluster` (suites, by `ray` and `slurm`)',
    'optional': '`optional` (TensorBoard)',
    'docs': '`docs`',
    'tests': '`tests`',
    'all': '`all` of them but `mm`',
}
_PARTS = {'ray', 'slurm'}  # of the extra cluster


def table() -> str:
    """The table, in Markdown."""
    coverage = 'docs/detector_coverage.md'
    exact, tried = detectors()
    _refuse_gone(_DETECTORS, exact)
    rows = {
        'criteria': _listed(_ours(CRITERIA), _CRITERIA),
        'distillation': (
            f'{_listed(_ours(SD_LOSSES, SelfDistillationLoss), _LOSSES)}; of '
            f'classifiers and, object by object, of '
            f'{", ".join(_DETECTORS)}; in all '
            f'[{len(exact)} of {tried} detectors tried]({coverage})'
        ),
        'what goes': (
            f'{_listed(_ours(STRUCTURES), _STRUCTURES)}, which [compact '
            'networks](docs/compact_networks.md) lack from the first step on; '
            f'shares of layers: {_listed(_ours(ALLOCATIONS), _ALLOCATIONS)}'
        ),
        'while training': (
            # Fixed is to have none of them.
            f'{_listed(_ours(POLICIES) - {"Fixed"}, _POLICIES)}, in the [same '
            'hook](docs/changing_masks.md); lottery tickets, [round by '
            'round](docs/changing_masks.md#rounds), in suites'
        ),
        'training': (
            'AMP, EMA, several processes, resume after kills; checkpoints '
            'that plain mmdet loads'
        ),
        'files': (
            f'[{_listed(RUNTIMES, _FILES)}, int8](docs/deployment.md): '
            'classifiers, dense and two-stage detectors, DETR, compared with '
            'torch in double precision before they are written'
        ),
        'comparisons': (
            '[suites](docs/benchmark_suite.md) with paired seeds, [claims '
            'named before](docs/study/README.md), exact tests; on one '
            'machine, Ray or Slurm'
        ),
        'to look at': (
            'a page of any run by `tools/show.py WORK_DIR`; TensorBoard, '
            'W&B, MLflow; a summary in the log'
        ),
        '[extras](docs/installation.md#with-torch-alone)': _extras(),
    }
    lines = [f'| {name} | {what} |' for name, what in rows.items()]
    return '\n'.join(('| part | what there is |', '|---|---|', *lines)) + '\n'


def written(readme: str) -> str:
    """README with the table in its place.

    Raises:
        ValueError: README has not the two lines that it goes between.
    """
    before, begin, rest = readme.partition(f'{BEGIN}\n')
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f'README.md has not the lines {BEGIN!r} and, behind it, {END!r}: '
            'put both where the table is to stand'
        )
    return f'{before}{begin}{table()}{end}{after}'


def detectors() -> tuple[list[str], int]:
    """Those that are scored exactly by all objectives, and all tried."""
    text = (ROOT / 'docs/detector_coverage.md').read_text()
    verdict = '(?:exact|first order|refused|silent|failed)'
    found = re.findall(
        rf'^\| ([^|]+) \| \S+ \|((?: {verdict} \|){{4}})', text, re.M
    )
    exact = [name for name, each in found if each == ' exact |' * 4]
    return exact, len(found)


def _ours(registry, base: type = object) -> set[str]:
    """Names of the classes in a registry that are this package's own."""
    return {
        name
        for name, kind in registry.module_dict.items()
        if inspect.isclass(kind)
        and issubclass(kind, base)
        and kind.__module__.startswith('epsd_mm.')
    }


def _extras() -> str:
    with mock.patch('setuptools.setup') as called:
        runpy.run_path(str(ROOT / 'setup.py'))
    extras = called.call_args.kwargs['extras_require']
    return _listed({*extras} - _PARTS, _EXTRAS)


def _listed(names: Iterable[str], words: Mapping[str, str]) -> str:
    """Those with words in the order of these, then the others."""
    _refuse_gone(words, names)
    return ', '.join((*words.values(), *sorted({*names} - words.keys())))


def _refuse_gone(named: Iterable[str], names: Iterable[str]) -> None:
    if gone := {*named} - {*names}:
        raise ValueError(
            f'the table of README.md is to name {", ".join(sorted(gone))}, '
            f'but there are {", ".join(sorted(names))} alone: change the '
            f'words in {__file__}'
        )


if __name__ == '__main__':
    path = ROOT / 'README.md'
    write_text(path, written(path.read_text()))
