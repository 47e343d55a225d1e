"""A user sees how far it is, at a terminal and in a log."""

import io
import sys

import pytest

from epsd_mm.progress import duration, progress


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
    with progress('fetching a{0}[b].tar', 8000, unit) as advance:
        advance(1500)
        advance(2500)
    assert 'fetching a{0}[b].tar' in stream.getvalue()
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


@pytest.mark.parametrize(
    'seconds, text',
    [
        (0.4, '0 s'),
        (89, '89 s'),
        (91, '2 min'),
        (45 * 60, '45 min'),
        (3600 * 25 + 120, '25 h 2 min'),
    ],
)
def test_durations_read_as_one_says_them(seconds, text):
    assert duration(seconds) == text
