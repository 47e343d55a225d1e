"""What a tool says, in short: epochs, scoring and warnings.

mmengine begins each run with some hundred lines of config, environment, hooks
and initialisation, which belong into a file.
"""

import os
import re
import shlex
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_RECORD = re.compile(r'[\d/]+ [\d:]+ - mmengine - (?P<level>\w+) - ')
_EPOCH = re.compile(
    r'Epoch\(train\) +\[(?P<epoch>\d+)\]\[ *(?P<step>\d+)/(?P<steps>\d+)\]'
    r'.* eta: (?P<left>.+?)  .* loss: (?P<loss>\S+)'
)
_COLOUR = re.compile(r'\x1b\[[\d;]*m')
_END = 20  # lines, of what a tool says before it fails


def run_in_short(command: Sequence[str], log: Path) -> Iterator[str]:
    """Run a command; all that it says goes to the end of a file.

    Args:
        command: The program and its arguments.
        log: That file, which gets the command, too.

    Yields:
        What is worth a line on a screen, as soon as it is said.

    Raises:
        SystemExit: The command failed; says how its output ends.
    """
    end: deque[str] = deque(maxlen=_END)

    def kept(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            line = _COLOUR.sub('', line)
            file.write(line)
            file.flush()
            end.append(line)
            yield line

    with (
        log.open('a', encoding='utf-8') as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding='utf-8',
            errors='replace',
            env=os.environ | {'PYTHONUNBUFFERED': '1'},
        ) as process,
    ):
        file.write(f'\n$ {shlex.join(command)}\n')
        yield from in_short(kept(process.stdout))
    if process.returncode:
        raise SystemExit(
            f'{"".join(end)}\nerror: {shlex.join(command)} ended with exit '
            f'code {process.returncode}; above is the end of what it said, '
            f'all of which is in {log}'
        )


def in_short(lines: Iterable[str]) -> Iterator[str]:
    """Of a tool's output: the end of each epoch, scoring, and warnings."""
    warns = False
    for line in lines:
        record = _RECORD.match(line)
        if not record:
            if warns:  # the rest of its message
                yield line.rstrip()
            continue
        message = line[record.end() :].strip()
        warns = record['level'] != 'INFO' and 'deprecated' not in message
        if warns or message.startswith('scoring:'):
            yield message
        elif (done := _EPOCH.match(message)) and done['step'] == done['steps']:
            yield (
                f'epoch {done["epoch"]}: loss {done["loss"]}, '
                f'{done["left"]} to go'
            )
