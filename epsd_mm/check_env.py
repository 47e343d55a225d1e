"""Says what of the environment works: ``python -m epsd_mm.check_env``.

Every check returns findings; each error carries the command that mends it.
"""

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import distributions
from importlib.util import find_spec
from typing import Any

from . import shipped
from .version import __version__


@dataclass(frozen=True)
class Part:
    """A package that epsd_mm runs on.

    Attributes:
        name (str): What is imported first when it is used.
        sources (tuple[str]): Distributions that provide it, ours first.
        needs (tuple[str]): Parts without which it cannot be tried.
        family (tuple[str]): Any one of these parts is enough.
        only_for (str): What alone needs it, where most uses do not; parts
            that need it count among the uses where they are there.
        of_mm (bool): Models of OpenMMLab alone need it.
        options (str): What pip has to be told beside its name.
        beside (tuple[str]): Distributions that have to be there first, where
            pip must not install all that it asks for: OpenCV comes under
            several names, which overwrite each other's files.
        upstream (str): The versions of its second source, for which the
            packages of OpenMMLab itself are meant.
    """

    name: str
    sources: tuple[str, ...]
    needs: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    only_for: str = ''
    of_mm: bool = False
    options: str = ''
    beside: tuple[str, ...] = ()
    upstream: str = ''

    @property
    def package(self) -> str:
        return self.name.partition('.')[0]

    @property
    def pin(self) -> str:
        """The version that was run together with the others."""
        return pins()[self.sources[0]]

    @property
    def install(self) -> str:
        """What pip has to be told to install it."""
        return self.install_as(self.sources[0])

    def install_as(self, source: str, *options: str) -> str:
        """Likewise from one of its sources."""
        is_ours = source == self.sources[0]
        what = self.pin if is_ours else f"'{source}{self.upstream}'"
        words = ['install', *options, self.options, what]
        return ' '.join(filter(None, words))


@dataclass(frozen=True)
class Finding:
    """What a check found: level is ``ok``, ``note`` or ``error``."""

    level: str
    text: str
    remedy: str = ''


@cache
def pins() -> dict[str, str]:
    """All versions that were run together, by name of the distribution."""
    files = sorted(shipped('requirements').glob('*.txt'))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return {line.partition('==')[0]: line for line in lines if '==' in line}


EITHER = ('mmdet', 'mmpretrain')

#: In the order in which they have to be installed.
PARTS = (
    Part('numpy', ('numpy',)),
    Part('torch', ('torch',), ('numpy',)),
    Part('torchvision', ('torchvision',), ('torch',), of_mm=True),
    Part('scipy', ('scipy',), ('numpy',)),
    Part('rich', ('rich',)),
    Part('matplotlib', ('matplotlib',)),
    Part(
        'cv2',
        (
            'opencv-python-headless',
            'opencv-python',
            'opencv-contrib-python-headless',
            'opencv-contrib-python',
        ),
        ('numpy',),
        of_mm=True,
        options='--no-deps --force-reinstall',
    ),
    Part('pycocotools', ('pycocotools',), ('numpy',), only_for='mmdet'),
    Part(
        'mmengine',
        ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
        ('torch', 'cv2'),
        of_mm=True,
        options='--no-deps',
        beside=(
            *('addict', 'matplotlib', 'packaging', 'pyyaml', 'rich'),
            *('termcolor', 'yapf'),
        ),
        upstream='>=0.10',
    ),
    Part(
        'mmcv',
        ('onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full'),
        ('mmengine',),
        of_mm=True,
        options='--no-deps --no-build-isolation',
        beside=(
            *('setuptools', 'wheel', 'ninja'),
            *('addict', 'packaging', 'pillow', 'pyyaml', 'yapf'),
        ),
        upstream='>=2.1,<2.2',  # mmdet 3.3 refuses newer ones
    ),
    Part(
        'mmdet.models',
        ('onedl-mmdetection', 'mmdet'),
        ('mmcv', 'torchvision', 'pycocotools'),
        EITHER,
        of_mm=True,
        options='--no-deps',
        beside=(
            *('matplotlib', 'pycocotools', 'scipy', 'shapely', 'six'),
            *('terminaltables', 'tqdm'),
        ),
        upstream='>=3.3',
    ),
    Part(
        'mmpretrain.models',
        ('onedl-mmpretrain', 'mmpretrain'),
        ('mmcv', 'torchvision'),
        EITHER,
        of_mm=True,
        upstream='>=1.2',
    ),
    Part(
        'torch_pruning',
        ('torch-pruning',),
        ('torch',),
        only_for="structure='channels'",
    ),
    Part('onnx', ('onnx',), ('numpy',), only_for='exported files'),
    Part('onnxscript', ('onnxscript',), ('onnx',), only_for='tools/export.py'),
    Part(
        'onnxruntime',
        ('onnxruntime', 'onnxruntime-gpu'),
        ('numpy',),
        only_for='exported files',
    ),
    Part('openvino', ('openvino',), ('numpy',), only_for='files of OpenVINO'),
    Part(
        'nncf',
        ('nncf',),
        ('openvino',),
        only_for='--quantize of tools/export.py',
    ),
)
BY_PACKAGE = {part.package: part for part in PARTS}

#: Where none of them is there, nobody wants models of OpenMMLab.
MM = ('mmengine', 'mmcv', *EITHER)


def pip(*arguments: str) -> str:
    """The commands that run pip with this very Python, as one line."""
    return ' && '.join(f'{sys.executable} -m pip {each}' for each in arguments)


def installation(
    part: Part, versions: Mapping[str, str], *options: str
) -> str:
    """The commands that install a part beside what is there.

    Args:
        part: One of :data:`PARTS`.
        versions: As of :func:`installed_versions`.
        *options: Of pip, beside those of the part.
    """
    source = _source(part, versions)
    others = [s for s in part.sources if s in versions and s != source]
    absent = [pins()[name] for name in part.beside if name not in versions]
    steps = [['uninstall', '-y', *others]] if others else []
    steps += [['install', *absent]] if absent else []
    return pip(*map(' '.join, steps), part.install_as(source, *options))


def recompile_mmcv(versions: Mapping[str, str]) -> str:
    """The commands that compile mmcv's operators, whatever pip has kept."""
    options = ('--no-cache-dir', '--force-reinstall')
    return installation(BY_PACKAGE['mmcv'], versions, *options)


def _source(part: Part, versions: Mapping[str, str]) -> str:
    """What to install a part from: the family that is there, else ours."""
    ours, *theirs = part.sources
    if not part.upstream or ours in versions:
        return ours
    if any(source in versions for source in theirs):
        return theirs[0]
    family = [each.sources for each in PARTS if each.upstream]
    has_ours = any(sources[0] in versions for sources in family)
    has_theirs = any(s in versions for sources in family for s in sources[1:])
    return theirs[0] if has_theirs and not has_ours else ours


def installed_versions() -> dict[str, str]:
    """Versions of all installed distributions by lower-case name."""
    found = {}
    for distribution in distributions():
        name = distribution.metadata['Name']
        # Of two on the path the first is the one that is imported.
        if name:
            found.setdefault(
                name.lower().replace('_', '-'), distribution.version
            )
    return found


def version_of(package: str, versions: Mapping[str, str]) -> str | None:
    """Version of a package, whatever its distribution is called.

    Args:
        package: Name as it is imported, such as ``mmdet``.
        versions: As of :func:`installed_versions`.
    """
    sources = (
        source
        for part in PARTS
        if part.package.partition('.')[0] == package
        for source in part.sources
    )
    return next((versions[s] for s in sources if s in versions), None)


def require(*packages: str, needed_by: str) -> None:
    """Raise unless packages are installed.

    Args:
        packages: Names as they are imported, of :data:`PARTS`.
        needed_by: What cannot work without them, for the message.

    Raises:
        ImportError: Some are absent; has the line that installs them.
    """
    absent = [name for name in packages if find_spec(name) is None]
    if absent:
        line = ' '.join(['install', *(BY_PACKAGE[n].pin for n in absent)])
        raise ImportError(
            f'{needed_by} needs {", ".join(absent)}: {pip(line)}'
        )


def check_python(version: Sequence[int] = sys.version_info) -> list[Finding]:
    """Whether this Python is one that the stack can run on."""
    if tuple(version[:2]) >= (3, 10):
        return []
    text = f'Python {version[0]}.{version[1]} is too old'
    remedy = _in_clone(
        'make install PYTHON=python3.11',
        'python3.11 -m venv .venv && .venv/bin/python -m pip install '
        'WHEEL_OR_FOLDER, which epsd_mm came from',
    )
    return [Finding('error', text, remedy)]


def _in_clone(remedy: str, elsewhere: str) -> str:
    """What goes by make, where there is the Makefile of the repository."""
    has_makefile = (shipped('requirements').parent / 'Makefile').is_file()
    return remedy if has_makefile else elsewhere


def check_imports(
    versions: Mapping[str, str],
    load: Callable[[str], Any] = import_module,
) -> list[Finding]:
    """Whether each part is there and can be imported."""
    findings: list[Finding] = []
    broken: set[str] = set()
    for part in PARTS:
        finding = _check_import(part, versions, broken, load)
        if finding.level == 'error':
            broken.add(part.package)
        findings.append(finding)
    return findings


def _check_import(
    part: Part,
    versions: Mapping[str, str],
    broken: set[str],
    load: Callable[[str], Any],
) -> Finding:
    package = part.package
    there = _there(versions)
    if package not in there:
        text, level = f'{package} is not installed', 'note'
        if there.intersection(part.family):
            text += '; only its models need it'
        elif part.only_for and not _needed(package, there):
            text += f'; needed only for {part.only_for}'
        elif part.of_mm and not there.intersection(MM):
            text += '; only models of OpenMMLab need it'
        else:
            level = 'error'
        return Finding(level, text, installation(part, versions))
    missing = [need for need in part.needs if need in broken]
    if missing:
        text = f'{package} was not tried: it needs {", ".join(missing)}'
        return Finding('error', text)
    try:
        load(part.name)
    except Exception as error:  # whatever it is, it is the finding
        text = f'{package} is installed but fails: {_first_line(error)}'
        return Finding('error', text, _reinstall(part, versions, error))
    return Finding('ok', f'{package} works')


def _there(versions: Mapping[str, str]) -> set[str]:
    """The packages that are installed, whatever they are called."""
    return {
        part.package
        for part in PARTS
        if any(source in versions for source in part.sources)
    }


def _needed(package: str, there: set[str]) -> bool:
    """Whether one of the parts that are there cannot do without it."""
    return any(
        package in part.needs for part in PARTS if part.package in there
    )


def _reinstall(
    part: Part, versions: Mapping[str, str], error: Exception
) -> str:
    if part.package == 'mmcv' or 'mmcv._ext' in str(error):
        return recompile_mmcv(versions)
    if part.package == 'cv2':
        return pip('uninstall -y ' + ' '.join(part.sources), part.install)
    again = installation(part, versions, '--force-reinstall')
    if 'MMCV==' in str(error):  # what refuses it may be right
        return f'{recompile_mmcv(versions)} && {again}'
    return again


def check_families(versions: Mapping[str, str]) -> list[Finding]:
    """Whether two distributions overwrite each other's files."""
    findings = []
    for part in PARTS:
        found = [source for source in part.sources if source in versions]
        if len(found) > 1:
            level = 'note' if part.package == 'cv2' else 'error'
            text = f'{" and ".join(found)} both provide {part.package}'
            install = part.install_as(_source(part, versions))
            remedy = pip(f'uninstall -y {" ".join(found)}', install)
            findings.append(Finding(level, text, remedy))
    return findings


def check_upstream(
    versions: Mapping[str, str],
    has_pkg_resources: bool,
    environ: Mapping[str, str] = os.environ,
) -> list[Finding]:
    """What the frozen upstream mmengine cannot do with newer packages."""
    upstream = versions.get('mmengine', versions.get('mmengine-lite'))
    if upstream is None:
        return []
    findings = []
    torch = tuple(map(int, versions.get('torch', '0.0').split('.')[:2]))
    if torch >= (2, 6) and 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in environ:
        findings.append(
            Finding(
                'note',
                f'by itself mmengine {upstream} cannot resume from its own '
                f'checkpoints with torch {versions["torch"]}; tools/train.py '
                'of epsd_mm can',
                'for other programs, and for checkpoints of people you trust '
                'alone: TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python ...',
            )
        )
    if not has_pkg_resources:
        findings.append(
            Finding(
                'error',
                f'mmengine {upstream} needs pkg_resources for configs such '
                'as mmdet::..., and newer setuptools come without it',
                pip("install 'setuptools<81'"),
            )
        )
    return findings


def check_mmcv_operators(
    gpu: bool,
    versions: Mapping[str, str],
    load: Callable[[str], Any] = import_module,
) -> list[Finding]:
    """Whether mmcv's compiled operators run, and on the GPU if there is one.

    Args:
        gpu (bool): Whether torch sees a CUDA device.
        versions (Mapping): As of :func:`installed_versions`; mmdet alone
            needs the operators.
        load (Callable): Imports a module.
    """
    import torch

    remedy = recompile_mmcv(versions)
    try:
        ops = load('mmcv.ops')
    except Exception as error:  # whatever it is, it is the finding
        if 'mmdet' in _there(versions):
            text = f"mmcv's operators fail: {_first_line(error)}"
            return [Finding('error', text, remedy)]
        text = (
            'mmcv is here without its compiled operators; only detection '
            'needs them, and a C++ compiler to make them'
        )
        return [Finding('note', text, remedy)]
    device = 'cuda' if gpu else 'cpu'
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.9]])
    if gpu and ops.get_compiling_cuda_version() == 'not available':
        text = 'mmcv was compiled without CUDA, and torch uses a GPU'
        return [Finding('error', text, remedy)]
    try:
        scores = torch.tensor([0.9, 0.8], device=device)
        kept = ops.nms(boxes.to(device), scores, 0.5)[1].tolist()
    except Exception as error:  # whatever it is, it is the finding
        text = f"mmcv's operators fail: {_first_line(error)}"
        return [Finding('error', text, remedy)]
    if kept != [0]:
        text = f"mmcv's nms kept the boxes {kept} where [0] is right"
        return [Finding('error', text, remedy)]
    return [Finding('ok', f"mmcv's operators run on {device}")]


def check_torchvision_operators(nms: Callable[..., Any]) -> list[Finding]:
    """Whether torchvision's own operators run; nothing here needs them."""
    import torch

    try:
        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (RuntimeError, NotImplementedError):
        text = (
            "torchvision's operators do not load: it was built for another "
            'torch (nothing in epsd_mm needs them)'
        )
        return [Finding('note', text)]
    return [Finding('ok', "torchvision's operators load")]


def check_accelerators(torch: Any) -> list[Finding]:
    """Which devices torch can use."""
    found = [
        f'{torch.cuda.get_device_name(index)} (cuda:{index})'
        for index in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        found.append('Apple GPU (mps)')
    for kind in ('xpu', 'npu', 'mlu', 'musa'):
        module = getattr(torch, kind, None)
        if module is not None and module.is_available():
            found.append(f'{kind} ({module.device_count()})')
    threads = f'CPU with {torch.get_num_threads()} threads'
    return [Finding('ok', f'devices: {", ".join([*found, threads])}')]


def check_all(versions: Mapping[str, str]) -> list[Finding]:
    """Every check, as far as what is installed allows it."""
    findings = check_python() + check_families(versions)
    imports = check_imports(versions)
    findings += imports
    working = {
        part.package
        for part, finding in zip(PARTS, imports, strict=True)
        if finding.level == 'ok'
    }
    has_pkg_resources = find_spec('pkg_resources') is not None
    findings += check_upstream(versions, has_pkg_resources)
    if 'torch' in working:
        torch = import_module('torch')
        findings += check_accelerators(torch)
        if 'mmcv' in working:
            gpu = torch.cuda.is_available()
            findings += check_mmcv_operators(gpu, versions)
        if 'torchvision' in working:
            nms = import_module('torchvision.ops').nms
            findings += check_torchvision_operators(nms)
    if not any(finding.level == 'error' for finding in findings):
        findings += check_self()
    return findings


def check_self(load: Callable[[str], Any] = import_module) -> list[Finding]:
    """Whether what ``import epsd_mm`` registers can be registered."""
    try:
        load('epsd_mm.engine')
        load('epsd_mm.registry')
    except Exception as error:  # whatever it is, it is the finding
        text = f'epsd_mm itself fails: {_first_line(error)}'
        again = pip('install --no-deps --force-reinstall')
        remedy = f'{again} WHEEL_OR_FOLDER, which epsd_mm came from'
        return [Finding('error', text, _in_clone('make install', remedy))]
    return [Finding('ok', 'epsd_mm works')]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[0]}'


def version_table(versions: Mapping[str, str]) -> str:
    """What is installed, one line a part."""
    rows = [
        ('epsd_mm', __version__, ''),
        ('python', platform.python_version(), sys.executable),
    ]
    for part in PARTS:
        found = [source for source in part.sources if source in versions]
        for source in found or ['']:
            version = versions[source] if source else 'not installed'
            shown = '' if source == part.package else source
            rows.append((part.package, version, shown))
    return '\n'.join(
        f'{name:<12} {version:<14} {source}'.rstrip()
        for name, version, source in rows
    )


def report(findings: Sequence[Finding]) -> str:
    """The findings in words, each with what mends it."""
    lines = []
    for finding in findings:
        lines.append(f'{finding.level + ":":<6} {finding.text}')
        if finding.remedy:
            lines.append(f'       to mend it: {finding.remedy}')
    return '\n'.join(lines)


def main() -> int:
    """Writes the report; 1 when something needed is broken."""
    versions = installed_versions()
    sys.stdout.write(version_table(versions) + '\n\n')
    sys.stdout.flush()
    findings = check_all(versions)
    sys.stdout.write(report(findings) + '\n')
    return int(any(finding.level == 'error' for finding in findings))


if __name__ == '__main__':
    sys.exit(main())
