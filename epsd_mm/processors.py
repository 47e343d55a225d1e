"""The processor of this machine, as it calls itself."""

import platform
from pathlib import Path


def processor() -> str:
    """What the processor is called."""
    for line in _cpuinfo():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def processor_flags() -> set[str]:
    """What it can do beyond the least of its kind; empty if unknown."""
    return {
        flag
        for line in _cpuinfo()
        if line.lower().startswith(('flags', 'features'))
        for flag in line.partition(':')[2].split()
    }


def _cpuinfo() -> list[str]:
    try:
        return Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return []
