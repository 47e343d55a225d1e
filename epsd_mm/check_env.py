"""Says what of the environment works: ``python -m epsd_mm.check_env``.

Every check returns findings; each error carries the command that mends it.
"""

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import distributions
from importlib.util import find_spec
from typing import Any

from .version import __version__


@dataclass(frozen=True)
class Part:
    """A package that epsd_mm runs on.

    Attributes:
        name (str): What is imported first when it is used.
        sources (tuple[str]): Distributions that provide it, ours first.
        install (str): What pip has to be told.
        needs (tuple[str]): Parts without which it cannot be tried.
        family (tuple[str]): Any one of these parts is enough.
        only_for (str): What alone needs it, where most uses do not.
    """

    name: str
    sources: tuple[str, ...]
    install: str
    needs: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    only_for: str = ''

    @property
    def package(self) -> str:
        return self.name.partition('.')[0]


@dataclass(frozen=True)
class Finding:
    """What a check found: level is ``ok``, ``note`` or ``error``."""

    level: str
    text: str
    remedy: str = ''


COMPILE_MMCV = 'install --no-build-isolation onedl-mmcv==2.3.6'
RECOMPILE_MMCV = COMPILE_MMCV.replace(
    'install', 'install --no-deps --no-cache-dir --force-reinstall', 1
)
HEADLESS_OPENCV = (
    'install --no-deps --force-reinstall opencv-python-headless==4.12.0.88'
)
EITHER = ('mmdet', 'mmpretrain')

#: In the order in which they have to be installed.
PARTS = (
    Part('numpy', ('numpy',), 'install numpy==2.2.6'),
    Part('torch', ('torch',), 'install torch==2.13.0', ('numpy',)),
    Part(
        'torchvision',
        ('torchvision',),
        'install torchvision==0.28.0',
        ('torch',),
    ),
    Part('rich', ('rich',), 'install rich==15.0.0'),
    Part('matplotlib', ('matplotlib',), 'install matplotlib==3.10.9'),
    Part(
        'cv2',
        (
            'opencv-python-headless',
            'opencv-python',
            'opencv-contrib-python-headless',
            'opencv-contrib-python',
        ),
        HEADLESS_OPENCV,
        ('numpy',),
    ),
    Part(
        'pycocotools',
        ('pycocotools',),
        'install pycocotools==2.0.11',
        ('numpy',),
    ),
    Part(
        'mmengine',
        ('onedl-mmengine', 'mmengine', 'mmengine-lite'),
        'install onedl-mmengine==0.10.12',
        ('torch', 'cv2'),
    ),
    Part(
        'mmcv.ops',
        ('onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full'),
        COMPILE_MMCV,
        ('mmengine',),
    ),
    Part(
        'mmdet.models',
        ('onedl-mmdetection', 'mmdet'),
        'install onedl-mmdetection==3.5.1',
        ('mmcv', 'torchvision', 'pycocotools'),
        EITHER,
    ),
    Part(
        'mmpretrain.models',
        ('onedl-mmpretrain', 'mmpretrain'),
        'install onedl-mmpretrain==1.3.6',
        ('mmcv', 'torchvision'),
        EITHER,
    ),
    Part(
        'torch_pruning',
        ('torch-pruning',),
        'install torch-pruning==1.6.1',
        ('torch',),
        only_for="structure='channels'",
    ),
    Part(
        'onnx',
        ('onnx',),
        'install onnx==1.23.2',
        ('numpy',),
        only_for='exported files',
    ),
    Part(
        'onnxscript',
        ('onnxscript',),
        'install onnxscript==0.7.2',
        ('onnx',),
        only_for='tools/export.py',
    ),
    Part(
        'onnxruntime',
        ('onnxruntime', 'onnxruntime-gpu'),
        'install onnxruntime==1.32.0',
        ('numpy',),
        only_for='exported files',
    ),
    Part(
        'openvino',
        ('openvino',),
        'install openvino==2026.4.1',
        ('numpy',),
        only_for='files of OpenVINO',
    ),
    Part(
        'nncf',
        ('nncf',),
        'install nncf==3.4.0',
        ('openvino',),
        only_for='--quantize of tools/export.py',
    ),
)


def pip(*arguments: str) -> str:
    """The commands that run pip with this very Python, as one line."""
    return ' && '.join(f'{sys.executable} -m pip {each}' for each in arguments)


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


def require(*packages: str, needed_by: str) -> None:
    """Raise unless packages are installed.

    Args:
        packages: Names as they are imported, of :data:`PARTS`.
        needed_by: What cannot work without them, for the message.

    Raises:
        ImportError: Some are absent; has the line that installs them.
    """
    parts = {part.package: part for part in PARTS}
    absent = [name for name in packages if find_spec(name) is None]
    if absent:
        pins = ' '.join(
            parts[name].install.removeprefix('install ') for name in absent
        )
        raise ImportError(
            f'{needed_by} needs {", ".join(absent)}: {pip(f"install {pins}")}'
        )


def check_python(version: Sequence[int] = sys.version_info) -> list[Finding]:
    """Whether this Python is one that the stack can run on."""
    if tuple(version[:2]) >= (3, 10):
        return []
    text = f'Python {version[0]}.{version[1]} is too old'
    return [Finding('error', text, 'make install PYTHON=python3.11')]


def check_imports(
    versions: Mapping[str, str],
    load: Callable[[str], Any] = import_module,
) -> list[Finding]:
    """Whether each part is there and can be imported."""
    findings: list[Finding] = []
    broken: set[str] = set()
    there = {
        part.package
        for part in PARTS
        if any(source in versions for source in part.sources)
    }
    for part in PARTS:
        finding = _check_import(part, there, broken, load)
        if finding.level == 'error':
            broken.add(part.package)
        findings.append(finding)
    return findings


def _check_import(
    part: Part,
    there: set[str],
    broken: set[str],
    load: Callable[[str], Any],
) -> Finding:
    package = part.package
    if package not in there and there.intersection(part.family):
        text = f'{package} is not installed; only its models need it'
        return Finding('note', text, pip(part.install))
    if package not in there and part.only_for:
        text = f'{package} is not installed; only {part.only_for} needs it'
        return Finding('note', text, pip(part.install))
    if package not in there:
        text = f'{package} is not installed'
        return Finding('error', text, pip(part.install))
    missing = [need for need in part.needs if need in broken]
    if missing:
        text = f'{package} was not tried: it needs {", ".join(missing)}'
        return Finding('error', text)
    try:
        load(part.name)
    except Exception as error:  # whatever it is, it is the finding
        text = f'{package} is installed but fails: {_first_line(error)}'
        return Finding('error', text, _reinstall(part))
    return Finding('ok', f'{package} works')


def _reinstall(part: Part) -> str:
    if part.package == 'mmcv':
        return pip(RECOMPILE_MMCV)
    if part.package == 'cv2':
        everything = 'uninstall -y ' + ' '.join(part.sources)
        return pip(everything, HEADLESS_OPENCV)
    return pip(part.install.replace('install', 'install --force-reinstall', 1))


def check_families(versions: Mapping[str, str]) -> list[Finding]:
    """Whether two distributions overwrite each other's files."""
    findings = []
    for part in PARTS:
        found = [source for source in part.sources if source in versions]
        if len(found) > 1:
            level = 'note' if part.package == 'cv2' else 'error'
            text = f'{" and ".join(found)} both provide {part.package}'
            remedy = pip(f'uninstall -y {" ".join(found)}', part.install)
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
                'error',
                f'mmengine {upstream} cannot resume from its own checkpoints '
                f'with torch {versions["torch"]}',
                'export TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1',
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


def check_mmcv_operators(ops: Any, gpu: bool) -> list[Finding]:
    """Whether mmcv's compiled operators run, and on the GPU if there is one.

    Args:
        ops (Any): The module ``mmcv.ops``.
        gpu (bool): Whether torch sees a CUDA device.
    """
    import torch

    device = 'cuda' if gpu else 'cpu'
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.9]])
    if gpu and ops.get_compiling_cuda_version() == 'not available':
        text = 'mmcv was compiled without CUDA, and torch uses a GPU'
        return [Finding('error', text, pip(RECOMPILE_MMCV))]
    try:
        scores = torch.tensor([0.9, 0.8], device=device)
        kept = ops.nms(boxes.to(device), scores, 0.5)[1].tolist()
    except Exception as error:  # whatever it is, it is the finding
        text = f"mmcv's operators fail: {_first_line(error)}"
        return [Finding('error', text, pip(RECOMPILE_MMCV))]
    if kept != [0]:
        text = f"mmcv's nms kept the boxes {kept} where [0] is right"
        return [Finding('error', text, pip(RECOMPILE_MMCV))]
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
            ops = import_module('mmcv.ops')
            findings += check_mmcv_operators(ops, torch.cuda.is_available())
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
        return [Finding('error', text, 'make install')]
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
