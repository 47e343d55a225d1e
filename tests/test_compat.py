"""What is repaired: torchvision's operators."""

import subprocess
import sys
import textwrap

import pytest

OWN_OPERATOR = """
    import torch
    own = torch.library.Library('torchvision', 'DEF')
    own.define('nms(Tensor d, Tensor s, float t) -> Tensor')
    own.impl('nms', lambda d, s, t: s + 1, 'CPU')
"""


def run(code, *, path=None):
    """Runs code in an interpreter of its own; returns what it wrote."""
    code = textwrap.dedent(code)
    if path is not None:
        code = f'import sys; sys.path.insert(0, {str(path)!r})\n{code}'
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.fixture
def other_torchvision(tmp_path):
    """A torchvision without operators, which refers to them like the real."""
    package = tmp_path / 'torchvision'
    package.mkdir()
    (package / '__init__.py').write_text(
        'import torch\n'
        "@torch.library.register_fake('torchvision::nms')\n"
        'def nms(dets, scores, iou_threshold): return scores\n'
        "@torch.library.register_fake('torchvision::qnms')\n"
        'def qnms(dets, scores, iou_threshold): return scores\n'
    )
    return tmp_path


def test_a_torchvision_without_operators_fails_on_its_own(other_torchvision):
    code = """
        try:
            import torchvision
        except RuntimeError as error:
            print('nms' in str(error))
    """
    assert run(code, path=other_torchvision) == ['True']


def test_a_torchvision_without_operators_becomes_importable(
    other_torchvision,
):
    code = """
        import sys
        from epsd_mm import compat
        print(bool(compat._declared), 'torchvision' in sys.modules)
        import torchvision
        print(compat.repair_torchvision())
    """
    # Declared once by importing epsd_mm, and not a second time.
    assert run(code, path=other_torchvision) == ['True', 'False', 'False']


def test_a_binary_that_does_not_load_counts_as_absent(other_torchvision):
    (other_torchvision / 'torchvision' / '_C.so').write_bytes(b'no library')
    code = """
        from epsd_mm import compat
        import torchvision
        print(bool(compat._declared))
    """
    assert run(code, path=other_torchvision) == ['True']


LOADS_ITS_OWN = """
import pathlib, torch
(binary,) = pathlib.Path(__file__).parent.glob('*.so')
torch.ops.load_library(binary)
"""


@pytest.mark.parametrize('name', ['_C', '_C_stable', 'elsewhere'])
def test_nothing_is_declared_beside_operators_of_its_own(
    name, other_torchvision
):
    """Whatever torchvision calls them: twice, and the process would end."""
    package = other_torchvision / 'torchvision'
    (package / f'{name}.so').touch()
    (package / '__init__.py').write_text(LOADS_ITS_OWN)
    code = """
        import torch
        loaded = []
        def load(path):  # a second time it does nothing
            if not loaded:
                loaded.append(torch.library.Library('torchvision', 'DEF'))
                loaded[0].define(
                    'nms(Tensor dets, Tensor scores, float iou_threshold) '
                    '-> Tensor')
        torch.ops.load_library = load
        from epsd_mm import compat
        import torchvision
        print(bool(compat._declared), len(loaded))
    """
    assert run(code, path=other_torchvision) == ['False', '1']


def test_operators_that_are_there_are_left_alone():
    code = f"""{OWN_OPERATOR}
    from epsd_mm import compat
    print(bool(compat._declared))
    print(torch.ops.torchvision.nms(torch.ones(4), torch.ones(1), 0.5).item())
    """
    assert run(code) == ['False', '2.0']


def test_nothing_is_declared_without_torchvision(monkeypatch):
    from epsd_mm import compat

    def find_spec(name):
        return object() if name == 'torch' else None

    monkeypatch.setattr(compat, 'find_spec', find_spec)
    monkeypatch.setattr(compat, '_declared', [])
    assert compat.repair_torchvision() is False
    assert compat._declared == []


def test_the_installed_torchvision_can_be_imported():
    assert run('import epsd_mm, torchvision; print(torchvision.__name__)')


def test_importing_registers_everything_and_imports_no_model_library():
    code = """
        import sys
        import epsd_mm
        from mmengine.registry import HOOKS, MODELS
        print('EPSDHook' in HOOKS, 'CSKDLoss' in MODELS)
        print(*sorted({'mmdet', 'mmpretrain', 'torchvision'} & {*sys.modules}))
    """
    assert run(code) == ['True', 'True']
