"""A user sees how far it is, at a terminal and in a log."""

import io
import sys

import pytest

from epsd_mm.progress import progress


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize(
    'unit, words', [('bytes', '4.0/8.0 kB'), ('files', '4000/8000 files')]
)
def test_a_terminal_shows_a_bar(monkeypatch, unit, words):
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, 'stderr', stream)
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '200')
    monkeypatch.setenv('NO_COLOR', '1')
    with progress('fetching a.tar', 8000, unit) as advance:
        advance(1500)
        advance(2500)
    assert 'fetching a.tar' in stream.getvalue()
    assert words in stream.getvalue()


def logged(monkeypatch, total, steps):
    lines = []
    logger = type(
        'Logger', (), dict(info=lambda self, text: lines.append(text))
    )
    monkeypatch.setattr(
        'epsd_mm.progress.MMLogger.get_current_instance',
        logger,
    )
    monkeypatch.setattr(sys, 'stderr', Stream(terminal=False))
    with progress('fetching a.tar', total, 'bytes') as advance:
        for step in steps:
            advance(step)
    return lines


def test_a_log_gets_a_line_each_tenth(monkeypatch):
    lines = logged(monkeypatch, 2000, [1] * 2000)
    assert len(lines) == 11
    assert lines[0] == 'fetching a.tar: 2,000 bytes'
    assert lines[1] == 'fetching a.tar: 200 of 2,000 bytes'
    assert lines[-1] == 'fetching a.tar: 2,000 of 2,000 bytes'


def test_an_unknown_total_is_one_line(monkeypatch):
    assert logged(monkeypatch, None, [5, 5]) == ['fetching a.tar']
