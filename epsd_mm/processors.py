"""The processor of this machine, as it calls itself."""

import platform
import subprocess
from pathlib import Path


def processor() -> str:
    """What the processor is called.

    On ARM, Linux has the numbers of its maker and kind.
    """
    said = dict(_fields())
    if 'model name' in said:
        return said['model name']
    if 'CPU part' in said:
        maker = said.get('CPU implementer', '')
        return f'{platform.machine()} {maker} {said["CPU part"]}'
    if platform.system() == 'Darwin':
        return _of_apple()
    return platform.processor() or platform.machine()


def processor_flags() -> set[str]:
    """What it can do beyond the least of its kind; empty if unknown."""
    return {
        flag
        for name, value in _fields()
        if name.lower() in ('flags', 'features')
        for flag in value.split()
    }


def _fields() -> list[tuple[str, str]]:
    lines = (line.partition(':') for line in _cpuinfo())
    return [(name.strip(), value.strip()) for name, _, value in lines]


def _of_apple() -> str:
    try:
        found = subprocess.run(
            ['sysctl', '-n', 'machdep.cpu.brand_string'],
            capture_output=True,
            text=True,
        )
    except OSError:
        return platform.machine()
    return found.stdout.strip() or platform.machine()


def _cpuinfo() -> list[str]:
    try:
        return Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return []
