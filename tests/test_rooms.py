"""The rooms of the package: names of their own, arrows one way."""

import ast
from collections import Counter
from pathlib import Path

import epsd_mm

PACKAGE = Path(epsd_mm.__file__).parent
MODULES = sorted(
    path.relative_to(PACKAGE)
    for path in PACKAGE.rglob('*.py')
    if '.mim' not in path.relative_to(PACKAGE).parts
)
ROOMS = {path.parts[0] for path in MODULES if len(path.parts) > 1}


def imported(module):
    """Absolute names of what a module imports of the package."""
    tree = ast.parse((PACKAGE / module).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            up = module.parts[: -node.level] if node.level else ()
            start = ('epsd_mm', *up) if node.level else ()
            name = '.'.join((*start, *filter(None, [node.module])))
            yield from (f'{name}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def importers(room):
    """The modules outside of a room that import something of it."""
    return [
        str(module)
        for module in MODULES
        if module.parts[0] != room
        and any(
            f'{n}.'.startswith(f'epsd_mm.{room}.') for n in imported(module)
        )
    ]


def test_no_two_rooms_have_a_file_of_one_name():
    names = [path.stem for path in MODULES if path.stem != '__init__']
    names += [path.parent.name for path in MODULES if path.stem == '__init__']
    twice = [name for name, count in Counter(names).items() if count > 1]
    assert set(twice) <= {'base'}


def test_pruning_knows_of_no_other_room_and_not_of_mm():
    of_pruning = [path for path in MODULES if path.parts[0] == 'pruning']
    assert len(of_pruning) > 20
    for module in of_pruning:
        for name in imported(module):
            assert not name.startswith('mm'), module
            for room in ROOMS - {'pruning'}:
                assert not name.startswith(f'epsd_mm.{room}.'), module


def test_only_what_starts_trainings_looks_for_prepared_data():
    assert importers('datasets')
    starters = ('training.py', 'benchmark/')
    assert all(name.startswith(starters) for name in importers('preparation'))


def test_rooms_of_plain_torch_know_nothing_of_mm():
    rooms = {'pruning', 'policies', 'distillation', 'structure', 'compaction'}
    for module in MODULES:
        # A registered function, which only mm's registry takes.
        if module.parts[0] in rooms and module.name != 'compact.py':
            for name in imported(module):
                assert not name.startswith('mm'), module
