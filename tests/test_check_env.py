"""The environment check, shown environments that are broken."""

import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from epsd_mm import check_env
from epsd_mm.check_env import PARTS, Finding, version_of

REQUIREMENTS = Path(__file__).parent.parent / 'requirements'
HEALTHY = {part.sources[0]: '1.0' for part in PARTS}
# And what those of OpenMMLab ask for, beside other parts.
HEALTHY |= {name: '1.0' for part in PARTS for name in part.beside}
UPSTREAM = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain')
OURS = {part.sources[0] for part in PARTS if part.package in UPSTREAM}
WITH_UPSTREAM = {
    **{name: '1.0' for name in HEALTHY if name not in OURS},
    **dict.fromkeys(UPSTREAM, '1.0'),
}
NO_LIBGL = ImportError('libGL.so.1: no such file')


def load_all_but(*broken, error=NO_LIBGL):
    """An import that fails for these packages."""

    def load(name):
        if name.partition('.')[0] in broken:
            raise error

    return load


def errors(findings):
    return [each for each in findings if each.level == 'error']


def test_a_healthy_environment_has_no_errors():
    findings = check_env.check_imports(HEALTHY, load_all_but())
    assert {finding.level for finding in findings} == {'ok'}
    assert len(findings) == len(PARTS)


@pytest.mark.parametrize(
    'part',
    [part for part in PARTS if not part.family and not part.only_for],
    ids=lambda part: part.package,
)
def test_a_missing_part_is_an_error_with_its_install_line(part):
    versions = dict(HEALTHY)
    del versions[part.sources[0]]
    found = errors(check_env.check_imports(versions, load_all_but()))
    assert found[0].text == f'{part.package} is not installed'
    assert found[0].remedy == f'{sys.executable} -m pip {part.install}'


def test_install_lines_are_those_that_were_run_together():
    pins = set()
    for file in ('runtime', 'mminstall', 'structure', 'deploy'):
        lines = (REQUIREMENTS / f'{file}.txt').read_text().split()
        pins |= {line for line in lines if '==' in line}
    for part in PARTS:
        (pin,) = re.findall(r'\S+==\S+', part.install)
        assert pin in pins, f'{part.package} is installed as {pin}'
    assert 'onedl-mmcv==' in check_env.recompile_mmcv(HEALTHY)


def test_versions_stand_in_the_requirements_alone():
    assert not re.search(r'==\s?[0-9]', Path(check_env.__file__).read_text())


@pytest.mark.parametrize('package', ['mmengine', 'mmcv', 'mmdet'])
def test_what_asks_for_another_opencv_comes_without_what_it_asks_for(package):
    part = check_env.BY_PACKAGE[package]
    lacking = ('termcolor', 'ninja', 'shapely', part.sources[0])
    versions = {n: v for n, v in HEALTHY.items() if n not in lacking}
    line = check_env.installation(part, versions)
    before, itself = line.split(' && ')
    assert '--no-deps' in itself.split() and itself.endswith(part.pin)
    needed = dict(mmengine='termcolor', mmcv='ninja', mmdet='shapely')
    pattern = rf'.* -m pip install {needed[package]}==[\d.]+'
    assert re.fullmatch(pattern, before)


@pytest.mark.parametrize('package', ['mmengine', 'mmcv', 'mmdet'])
def test_what_a_package_asks_for_is_named_beside_it(package):
    part = check_env.BY_PACKAGE[package]
    asked = {
        re.match(r'[\w-]+', line)[0].lower()
        for line in distribution(part.sources[0]).requires
        if ';' not in line
    }
    others = {'imaug', 'numpy', 'onedl-mmengine', 'opencv-python'}
    assert 'numpy' in asked
    assert asked - others <= {*part.beside}
    assert not any('opencv' in name for name in part.beside)


def test_where_upstream_packages_are_they_are_what_is_installed():
    ours = re.compile('onedl')
    for package in UPSTREAM:
        part = check_env.BY_PACKAGE[package]
        others = {n: v for n, v in WITH_UPSTREAM.items() if n != package}
        for versions in (WITH_UPSTREAM, others):
            line = check_env.installation(part, versions)
            assert re.search(rf"install .*'{package}>=[^']*'$", line)
            assert not ours.search(line)
        line = check_env.installation(part, {})
        assert f'{part.sources[0]}==' in line
    load = load_all_but('mmengine')
    found = check_env.check_imports(WITH_UPSTREAM, load)
    found += check_env.check_mmcv_operators(
        False, WITH_UPSTREAM, load_all_but('mmcv')
    )
    assert len(errors(found)) > 1
    assert not ours.search(check_env.report(found))


def test_a_package_of_the_same_files_goes_first():
    versions = dict(WITH_UPSTREAM)
    versions['mmcv-lite'] = versions.pop('mmcv')
    removal, compiling = check_env.recompile_mmcv(versions).split(' && ')
    assert removal.endswith('-m pip uninstall -y mmcv-lite')
    assert compiling.endswith("--no-build-isolation 'mmcv>=2.1,<2.2'")


def test_a_family_of_two_is_mended_by_what_is_pinned():
    # Each half goes by the name that it has, what is absent by ours.
    versions = {**WITH_UPSTREAM, 'onedl-mmcv': '1.0'}
    del versions['mmcv'], versions['mmpretrain']
    lines = [
        check_env.installation(check_env.BY_PACKAGE[package], versions)
        for package in UPSTREAM
    ]
    names = [re.findall(r'([\w-]+)[=>]=[^ ]+$', line)[0] for line in lines]
    assert names == ['mmengine', 'onedl-mmcv', 'mmdet', 'onedl-mmpretrain']


@pytest.mark.parametrize('package', ['torch', 'mmengine', 'mmcv', 'mmdet'])
def test_a_version_is_what_the_package_says_of_itself(package):
    installed = check_env.installed_versions()
    known = version_of(package, installed)
    assert known == import_module(package).__version__


def test_what_is_not_installed_has_no_version():
    assert version_of('mmdet', {}) is None


def test_without_any_package_of_mm_nothing_of_it_is_an_error():
    of_mm = {part.sources[0] for part in PARTS if part.of_mm}
    assert {'onedl-mmcv', 'opencv-python-headless', 'torchvision'} <= of_mm
    versions = {name: v for name, v in HEALTHY.items() if name not in of_mm}
    findings = check_env.check_imports(versions, load_all_but())
    assert errors(findings) == []
    notes = [each for each in findings if each.level == 'note']
    assert len(notes) == len(of_mm)
    for note in notes:
        assert 'only models of OpenMMLab need it' in note.text
        assert '==' in note.remedy


def test_one_model_library_is_enough():
    versions = dict(HEALTHY)
    del versions['onedl-mmpretrain']
    findings = check_env.check_imports(versions, load_all_but())
    assert errors(findings) == []
    notes = [each for each in findings if each.level == 'note']
    assert len(notes) == 1
    assert 'onedl-mmpretrain==' in notes[0].remedy


def test_what_few_uses_need_may_be_absent_and_is_named():
    rare = [part for part in PARTS if part.only_for]
    assert {'onnx', 'onnxruntime', 'openvino', 'nncf'} <= {
        part.package for part in rare
    }
    versions = dict(HEALTHY)
    del versions['onedl-mmdetection']  # whose models all need pycocotools
    for part in rare:
        del versions[part.sources[0]]
    findings = check_env.check_imports(versions, load_all_but())
    assert errors(findings) == []
    notes = {each.text.split()[0]: each for each in findings}
    for part in rare:
        note = notes[part.package]
        assert note.level == 'note' and part.only_for in note.text
        assert note.remedy == f'{sys.executable} -m pip {part.install}'


def test_what_few_uses_need_is_an_error_beside_one_of_them():
    versions = {n: v for n, v in HEALTHY.items() if n != 'pycocotools'}
    first, *_ = errors(check_env.check_imports(versions, load_all_but()))
    assert first.text == 'pycocotools is not installed'
    del versions['onedl-mmdetection']
    assert errors(check_env.check_imports(versions, load_all_but())) == []


def test_a_tool_names_all_that_it_lacks_with_one_install_line(monkeypatch):
    lacking = {'onnxruntime', 'nncf'}
    monkeypatch.setattr(
        check_env, 'find_spec', lambda name: None if name in lacking else name
    )
    check_env.require('onnx', 'openvino', needed_by='a tool')
    with pytest.raises(ImportError) as caught:
        check_env.require('onnx', 'onnxruntime', 'nncf', needed_by='a tool')
    message = str(caught.value)
    assert message.startswith('a tool needs onnxruntime, nncf: ')
    (line,) = re.findall(r'pip install (.*)', message)
    assert set(line.split()) == {'onnxruntime==1.32.0', 'nncf==3.4.0'}


def test_no_model_library_at_all_is_an_error():
    versions = dict(HEALTHY)
    del versions['onedl-mmpretrain'], versions['onedl-mmdetection']
    found = errors(check_env.check_imports(versions, load_all_but()))
    assert [each.text for each in found] == [
        'mmdet is not installed',
        'mmpretrain is not installed',
    ]


def test_what_needs_a_broken_part_is_not_blamed():
    load = load_all_but('cv2', 'mmengine', 'mmcv', 'mmdet')
    found = errors(check_env.check_imports(HEALTHY, load))
    assert 'libGL' in found[0].text
    assert [each.text for each in found[1:]] == [
        'mmengine was not tried: it needs cv2',
        'mmcv was not tried: it needs mmengine',
        'mmdet was not tried: it needs mmcv',
        'mmpretrain was not tried: it needs mmcv',
    ]
    assert not any(each.remedy for each in found[1:])


def test_a_broken_opencv_is_replaced_by_the_headless_one():
    (found, *_) = errors(check_env.check_imports(HEALTHY, load_all_but('cv2')))
    removal, installation = found.remedy.split(' && ')
    assert {'opencv-python', 'opencv-python-headless'} < {*removal.split()}
    assert 'opencv-python-headless==' in installation


def test_mmcv_without_operators_is_compiled_without_the_kept_wheel():
    error = ModuleNotFoundError("No module named 'mmcv._ext'")
    found = errors(
        check_env.check_mmcv_operators(False, HEALTHY, load_all_but('mmcv'))
        + check_env.check_mmcv_operators(
            False, HEALTHY, load_all_but('mmcv', error=error)
        )
        # What of mmdet does not load without them is no fault of mmdet.
        + check_env.check_imports(HEALTHY, load_all_but('mmdet', error=error))
    )
    assert len(found) == 3 and 'mmcv._ext' in found[1].text
    for each in found:
        assert 'onedl-mmcv==' in each.remedy
        for option in (
            '--no-build-isolation',
            '--no-cache-dir',
            '--force-reinstall',
        ):
            assert option in each.remedy


def test_classification_does_without_operators():
    load = load_all_but('mmcv')
    versions = {n: v for n, v in HEALTHY.items() if n != 'onedl-mmdetection'}
    (found,) = check_env.check_mmcv_operators(False, versions, load)
    assert found.level == 'note' and 'only detection' in found.text
    assert found.remedy == check_env.recompile_mmcv(HEALTHY)


def test_an_assertion_about_versions_is_reported():
    error = AssertionError('MMCV==2.2.0 is used but incompatible.\nInstall')
    load = load_all_but('mmdet', error=error)
    (found,) = errors(check_env.check_imports(HEALTHY, load))
    assert found.text.endswith('Error: MMCV==2.2.0 is used but incompatible.')
    (found,) = errors(check_env.check_imports(WITH_UPSTREAM, load))
    mmcv, mmdet = found.remedy.split(' && ')
    assert mmcv.endswith("'mmcv>=2.1,<2.2'") and mmdet.endswith("'mmdet>=3.3'")


@pytest.mark.parametrize(
    ('ours', 'upstream'),
    [
        ('onedl-mmengine', 'mmengine'),
        ('onedl-mmcv', 'mmcv'),
        ('onedl-mmcv', 'mmcv-lite'),
        ('onedl-mmdetection', 'mmdet'),
        ('onedl-mmpretrain', 'mmpretrain'),
    ],
)
def test_both_mm_families_at_once_are_an_error(ours, upstream):
    versions = {**HEALTHY, upstream: '1.0'}
    (found,) = check_env.check_families(versions)
    assert found.level == 'error'
    removal, installation = found.remedy.split(' && ')
    assert {ours, upstream} <= {*removal.split()}
    assert f'{ours}==' in installation


def test_either_mm_family_alone_is_fine():
    assert check_env.check_families(HEALTHY) == []
    upstream = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain')
    assert check_env.check_families(dict.fromkeys(upstream, '1.0')) == []


def test_both_opencv_families_are_worth_a_note():
    versions = {**HEALTHY, 'opencv-python': '4.12'}
    (found,) = check_env.check_families(versions)
    assert found.level == 'note'


def test_upstream_mmengine_on_a_newer_torch_resumes_by_our_tools_alone():
    versions = {'mmengine': '0.10.7', 'torch': '2.13.0+cpu'}
    (found,) = check_env.check_upstream(versions, True, {})
    assert found.level == 'note' and 'tools/train.py' in found.text
    # Of one command: what a shell exports holds for all that runs in it.
    assert 'export' not in found.remedy
    ((name, value),) = re.findall(r'(TORCH\w+)=(\S+) python', found.remedy)
    assert check_env.check_upstream(versions, True, {name: value}) == []
    versions['torch'] = '2.5.1'
    assert check_env.check_upstream(versions, True, {}) == []


def test_upstream_mmengine_needs_pkg_resources():
    versions = {'mmengine': '0.10.7', 'torch': '2.5.1'}
    (found,) = check_env.check_upstream(versions, False, {})
    assert "'setuptools<81'" in found.remedy
    maintained = {'onedl-mmengine': '0.10.12', 'torch': '2.13.0'}
    assert check_env.check_upstream(maintained, False, {}) == []


def test_an_old_python_is_an_error():
    assert errors(check_env.check_python((3, 9, 18)))
    assert check_env.check_python((3, 10, 0)) == []


def test_make_is_named_where_there_is_a_makefile(monkeypatch, tmp_path):
    def remedies():
        old = check_env.check_python((3, 9, 18))
        return old + check_env.check_self(load_all_but('epsd_mm'))

    assert all(each.remedy.startswith('make ') for each in remedies())
    # A wheel has the folders, and no Makefile beside them.
    monkeypatch.setattr(check_env, 'shipped', lambda name: tmp_path / name)
    for each in remedies():
        assert 'make' not in each.remedy and 'pip install' in each.remedy


def test_mmcv_compiled_without_cuda_on_a_gpu_machine_is_an_error():
    ops = SimpleNamespace(get_compiling_cuda_version=lambda: 'not available')
    (found,) = check_env.check_mmcv_operators(True, HEALTHY, lambda _: ops)
    assert found.level == 'error'
    assert found.remedy == check_env.recompile_mmcv(HEALTHY)


def test_mmcv_operators_that_fail_or_lie_are_errors():
    def crash(boxes, scores, threshold):
        raise RuntimeError('nms_impl: undefined symbol')

    def keep_all(boxes, scores, threshold):
        return boxes, torch.arange(len(boxes))

    for nms in (crash, keep_all):
        ops = SimpleNamespace(nms=nms)
        (found,) = check_env.check_mmcv_operators(
            False, HEALTHY, lambda _, ops=ops: ops
        )
        assert found.level == 'error'


def test_the_installed_mmcv_operators_run():
    (found,) = check_env.check_mmcv_operators(False, HEALTHY)
    assert found.level == 'ok', found.text


def test_missing_torchvision_operators_are_only_a_note():
    def missing(boxes, scores, threshold):
        raise RuntimeError("Couldn't load custom C++ ops")

    (found,) = check_env.check_torchvision_operators(missing)
    assert found.level == 'note'
    (found,) = check_env.check_torchvision_operators(lambda *_: None)
    assert found.level == 'ok'


def test_every_device_is_named():
    cuda = SimpleNamespace(
        device_count=lambda: 2, get_device_name=lambda index: f'Card {index}'
    )
    none = SimpleNamespace(is_available=lambda: False)
    module = SimpleNamespace(
        cuda=cuda,
        backends=SimpleNamespace(mps=none),
        xpu=none,
        get_num_threads=lambda: 4,
    )
    (found,) = check_env.check_accelerators(module)
    assert found.text == (
        'devices: Card 0 (cuda:0), Card 1 (cuda:1), CPU with 4 threads'
    )


def test_a_package_that_cannot_register_itself_is_an_error():
    (found,) = check_env.check_self(load_all_but('epsd_mm'))
    assert found.level == 'error'


def test_the_report_says_how_to_mend_each_error():
    finding = Finding('error', 'x is not installed', 'pip install x')
    assert 'pip install x' in check_env.report([finding])


@pytest.mark.slow
def test_the_command_accepts_this_environment():
    result = run_check(os.environ)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r'^mmcv +\d', result.stdout, re.MULTILINE)
    assert 'error:' not in result.stdout


def test_the_command_starts_in_a_broken_environment(tmp_path):
    message = 'libmm.so: cannot open shared object file'
    (tmp_path / 'mmengine.py').write_text(f'raise ImportError({message!r})')
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path)}

    result = run_check(environment)
    assert result.returncode == 1
    assert message in result.stdout
    assert (
        'install --force-reinstall --no-deps onedl-mmengine==' in result.stdout
    )

    used = subprocess.run(
        [sys.executable, '-c', 'import epsd_mm'],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert used.returncode == 1
    assert message in used.stderr
    assert 'python -m epsd_mm.check_env' in used.stderr


def run_check(environment):
    return subprocess.run(
        [sys.executable, '-m', 'epsd_mm.check_env'],
        env=environment,
        capture_output=True,
        text=True,
    )
