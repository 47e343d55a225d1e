"""What the pages for readers show: blocks of code, and commands in them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'))
    if '_build' not in path.parts
)
_FENCE = re.compile(r'^( *)```(\w+)(.*?)\n(.*?)^\1```', re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what stands beside it, and its lines."""

    language: str
    marks: tuple[str, ...]
    content: str


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(text: str, language: str) -> list[Block]:
    found = []
    for indent, kind, marks, content in _FENCE.findall(text):
        if kind == language:
            lines = content.splitlines(keepends=True)
            content = ''.join(line.removeprefix(indent) for line in lines)
            found.append(Block(kind, tuple(marks.split()), content))
    return found


def commands_of(script: str) -> list[list[str]]:
    """The words of each command, without pipes, redirections, comments.

    Those of a loop are given once, with its first value.
    """
    for variable, value in re.findall(r'\bfor (\w+) in (\S+)', script):
        script = re.sub(rf'\$(?:{variable}\b|{{{variable}}})', value, script)
    commands, waiting = [], ''
    for line in script.replace('\\\n', ' ').splitlines(keepends=True):
        waiting += line
        lexer = shlex.shlex(waiting, posix=True, punctuation_chars='|&;>')
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # a quotation that goes on in the next line
            continue
        waiting, command = '', []
        for word in [*words, ';']:
            if word in ('|', '&&', '||', ';', '&', '>', '>>'):
                commands.append(command)
                command = []
            else:
                command.append(word)
    assert not waiting, f'a quotation has no end: {waiting}'
    return [without_settings(command) for command in commands if command]


def without_settings(words: list[str]) -> list[str]:
    """A command without what a shell keeps for itself in front of it."""
    while len(words) > 1 and re.fullmatch(r'do|[A-Z_]+=.*', words[0]):
        words = words[1:]
    return words


def prompted(text: str) -> str:
    """The commands in a record of a terminal, which stand behind ``$``."""
    lines = re.findall(r'^\$ ((?:.*\\\n)*.*)$', text, re.M)
    return ''.join(f'{line}\n' for line in lines)
