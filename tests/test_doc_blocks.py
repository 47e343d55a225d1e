"""What the pages show can be run, or at least read, as it stands there."""

import argparse
import ast
import importlib.util
import re
import sys
from pathlib import Path
from unittest import mock

import pytest

import epsd_mm

# isort: split
# Registers layers beside losses, and not behind what is set back below.
import mmcv.cnn  # noqa: F401
import mmcv.ops  # noqa: F401

from epsd_mm import registry
from epsd_mm.engine.settings import Settings
from tests.helpers.pages import (
    PAGES,
    ROOT,
    blocks_of,
    commands_of,
    name,
    prompted,
)

TOOLS = ROOT / 'tools'
of_pages = pytest.mark.parametrize('page', PAGES, ids=name)


@pytest.fixture(autouse=True)
def _what_a_page_registers_is_gone_behind_it():
    with (
        mock.patch.dict(registry.CRITERIA.module_dict),
        mock.patch.dict(registry.SD_LOSSES.module_dict),
        mock.patch.dict(registry.POLICIES.module_dict),
    ):
        yield


class ParsedError(Exception):
    """A tool has understood its command line, and is not run."""


@pytest.fixture
def understand(monkeypatch):
    """``understand(['tools/train.py', 'CONFIG'])`` parses, as the tool does.

    Raises:
        SystemExit: The tool has no such option, or other choices.
    """
    for folder in (TOOLS / 'analysis_tools', TOOLS):
        monkeypatch.syspath_prepend(str(folder))
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise ParsedError

    def call(words):
        path = ROOT / words[0]
        spec = importlib.util.spec_from_file_location(
            f'tool_{path.stem}', path
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, 'argv', words)
        monkeypatch.setattr(
            argparse.ArgumentParser, 'parse_args', parse_and_stop
        )
        try:
            with pytest.raises(ParsedError):
                module.main()
        finally:
            monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse)

    return call


def shown_commands(page):
    text = page.read_text()
    scripts = [block.content for block in blocks_of(text, 'bash')]
    scripts += [prompted(block.content) for block in blocks_of(text, 'text')]
    return [words for script in scripts for words in commands_of(script)]


@of_pages
def test_python_on_a_page_can_be_parsed(page):
    for block in blocks_of(page.read_text(), 'python'):
        ast.parse(block.content)


@of_pages
def test_blocks_marked_run_do(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {'__name__': 'page'}
    for block in blocks_of(page.read_text(), 'python'):
        assert set(block.marks) <= {'run'}, block.marks
        if 'run' in block.marks:
            exec(compile(block.content, name(page), 'exec'), scope)


def hooks_of(source):
    """The options of each ``dict(type='EPSDHook', ...)`` of a block."""
    calls = [c for c in ast.walk(ast.parse(source)) if isinstance(c, ast.Call)]
    for call in calls:
        kinds = [k.value for k in call.keywords if k.arg == 'type']
        if any(ast.unparse(kind) == "'EPSDHook'" for kind in kinds):
            options = eval(ast.unparse(call), {})
            yield {
                name: value
                for name, value in options.items()
                if name not in ('type', '_delete_')
            }


@of_pages
def test_hooks_on_a_page_have_the_options_they_are_shown_with(page):
    for block in blocks_of(page.read_text(), 'python'):
        if 'register_module()' in block.content:
            exec(block.content, {'__name__': 'page'})
        for options in hooks_of(block.content):
            Settings.build(**options)


@of_pages
def test_tools_take_the_commands_that_a_page_gives_them(page, understand):
    for words in shown_commands(page):
        program, *rest = words
        tools = [word for word in words if re.match(r'tools/\S+\.\w+$', word)]
        assert all((ROOT / tool).is_file() for tool in tools), words
        if Path(program).name.startswith('python') and rest[:1] == tools:
            if not any('…' in word for word in rest):
                understand(rest)


@of_pages
def test_targets_of_make_and_modules_on_a_page_exist(page):
    targets = re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.M)
    for words in shown_commands(page):
        if words[0] == 'make':
            assert words[1] in targets, words
        if '-m' in words and Path(words[0]).name == 'python':
            module = words[words.index('-m') + 1]
            assert importlib.util.find_spec(module), words


def configs_of(words):
    """Paths of configs in a command, also those inside of other words."""
    path = r'(?<![\w./*-])(?:configs|docs)/[\w./-]+\.py\b'
    return [found for word in words for found in re.findall(path, word)]


@of_pages
def test_configs_in_commands_on_a_page_exist(page):
    for words in shown_commands(page):
        missing = [c for c in configs_of(words) if not (ROOT / c).is_file()]
        assert not missing, words


@of_pages
def test_configs_that_a_page_asks_for_by_name_exist(page):
    for config in re.findall(r"config_path\('([^']+)'\)", page.read_text()):
        epsd_mm.config_path(config)


class TestThatFaultsAreSeen:
    @pytest.mark.parametrize(
        'given, message',
        [
            ('sparsities=0.9', 'no option sparsities'),
            ("sparsity=0.9, criterion='ProsPro'", 'ProsPro'),
            ("sparsity=0.9, sd_loss=dict(type='CSKDLoss', heat=4.0)", 'heat'),
            ('sparsity=90', '90'),
        ],
    )
    def test_a_hook_that_cannot_be_built(self, given, message):
        block = (
            'default_hooks = dict(\n'
            f"    epsd=dict(type='EPSDHook', {given}))\n"
            "logger = dict(type='LoggerHook')\n"
        )
        (options,) = hooks_of(block)
        with pytest.raises((TypeError, ValueError), match=message):
            Settings.build(**options)

    def test_an_option_that_a_tool_does_not_have(self, understand):
        understand(['tools/train.py', 'CONFIG', '--variant', 'dense'])
        with pytest.raises(SystemExit):
            understand(['tools/train.py', 'CONFIG', '--sparsities', '0.5'])

    def test_a_choice_that_a_tool_does_not_have(self, understand):
        with pytest.raises(SystemExit):
            understand(['tools/train.py', 'CONFIG', '--variant', 'sparse'])

    def test_configs_are_found_in_commands(self):
        script = (
            'train="python tools/train.py docs/a/b.py"\n'
            'for i in 1 2; do $train configs/c-d.py:dense/e.pth; done\n'
            'python x.py my/configs/f.py site/.mim/configs/g.py h.py\n'
        )
        found = [c for words in commands_of(script) for c in configs_of(words)]
        assert found == ['docs/a/b.py', 'configs/c-d.py']

    def test_commands_are_found_in_scripts_and_records(self):
        script = (
            'A=1 python tools/x.py \\\n    --y "1 2"  # why\n'
            'for i in 3 4; do python a.py $i ${i}x; done\n'
            'cd a && ls | wc\npython -c "\nimport a"\n'
        )
        assert commands_of(script) == [
            ['python', 'tools/x.py', '--y', '1 2'],
            ['for', 'i', 'in', '3', '4'],
            ['python', 'a.py', '3', '3x'],
            ['done'],
            ['cd', 'a'],
            ['ls'],
            ['wc'],
            ['python', '-c', '\nimport a'],
        ]
        assert prompted('$ a \\\n  b\nout\n$ c\n') == 'a \\\n  b\nc\n'


def test_launchers_are_on_a_page():
    text = ''.join(page.read_text() for page in PAGES)
    launchers = [path.name for path in TOOLS.glob('*.sh')]
    assert len(launchers) == 4
    assert [name for name in launchers if f'tools/{name}' not in text] == []


def test_make_docs_says_where_the_site_is():
    makefile = (ROOT / 'Makefile').read_text()
    (recipe,) = re.findall(r'^docs: .*\n((?:\t.*\n)+)', makefile, re.M)
    (built,) = re.findall(r'-b html docs (\S+)', recipe)
    assert re.search(rf"@echo '.*{built}/index\.html'", recipe)
