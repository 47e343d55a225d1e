"""Curves of a log, and what is said of one that has none."""

import json

import pytest
from PIL import Image

TOOL = 'analysis_tools/plot_log'
LINES = [
    dict(loss=3.0, loss_cls=2.0, iter=10),
    dict(accuracy=0.5, step=1),
    dict(loss=1.0, loss_cls=0.5, iter=20),
]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / 'scalars.json'
    path.write_text('\n'.join(map(json.dumps, LINES)))
    return path


def test_a_curve_for_each_key_is_painted(run, log, tmp_path):
    out = tmp_path / 'out.png'
    run(TOOL, log, '--keys', 'loss', 'loss_cls', '--out', out)
    assert Image.open(out).size == (840, 600)


def test_a_key_that_no_line_has_is_answered_with_those_there(
    run, log, tmp_path
):
    out = tmp_path / 'out.png'
    with pytest.raises(SystemExit) as caught:
        run(TOOL, log, '--out', out)
    assert str(caught.value) == (
        "error: no line of the logs has 'loss_sd': give --keys some of iter, "
        'loss, loss_cls'
    )
    assert not out.exists()


@pytest.mark.parametrize(
    'text, words',
    [
        ('{"loss": 1', 'line 1 of .*scalars.json is none of a log: name'),
        ('{"loss": 1}', 'line 1 of .*scalars.json is none of a log: name'),
        ('{"accuracy": 1}', 'scalars.json: no line has a loss: name'),
        (None, 'No such file'),
    ],
)
def test_what_is_no_log_is_one_sentence(text, words, run, log, tmp_path):
    log.unlink() if text is None else log.write_text(text)
    with pytest.raises(SystemExit, match=f'error: .*{words}'):
        run(TOOL, log, '--out', tmp_path / 'out.png')
