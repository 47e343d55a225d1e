"""No damaged file is read wrong, and no kill loses work: a short form."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / 'tools/analysis_tools/try_damage.py'


@pytest.mark.parametrize('trial', ['try_masks', 'try_state'])
def test_damage_is_refused_or_without_effect(trial, tool):
    module = tool('analysis_tools/try_damage')
    counts = getattr(module, trial)(150, random.Random(1))
    assert counts.total() == 150
    assert counts['refused'] > 100
    assert not counts['raw error'] and not counts['other content']


def test_a_reader_that_is_fooled_is_counted(tool):
    """Or the counts would mean nothing."""
    module = tool('analysis_tools/try_damage')
    packed, seen = module.some_masks().pack(), []

    def careless(path):
        seen.append(path)
        if len(seen) % 3 == 0:
            raise KeyError(path)
        return 'right' if len(seen) % 3 == 1 else 'wrong'

    counts = module.try_reader(packed, careless, 'right', 6, random.Random(1))
    assert counts == {'as saved': 2, 'raw error': 2, 'other content': 2}


def test_kills_lose_nothing():
    result = subprocess.run(
        [sys.executable, str(TOOL), '--mutations', '0', '--kills', '2'],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=TOOL.parents[2],
        env=dict(os.environ, PYTHONPATH=str(TOOL.parents[2])),
    )
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    assert '2 kills' in result.stdout and ': 0 lost work' in result.stdout
