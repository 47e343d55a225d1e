"""A tool's output in short loses nothing, and waits for nothing."""

import sys

import pytest

import epsd_mm

SAID = """\
11/27 02:57:10 - mmengine - INFO -
------------------------------------------------------------
System environment:
    sys.platform: linux
11/27 02:57:10 - mmengine - INFO - Config:
auto_scale_lr = dict(base_batch_size=16, enable=False)
backend_args = None

11/27 02:57:11 - mmengine - INFO - scoring: draw 0, step 1 of 7, loss 2.6395
11/27 02:57:11 - mmengine - WARNING - growth of 9.1: take
a smaller lr
11/27 02:57:12 - mmengine - INFO - Exp name: demo
11/27 02:57:12 - mmengine - WARNING - "FileClient" will be deprecated
11/27 02:57:13 - mmengine - INFO - Epoch(train)  [1][60/80]  lr: 3.0e-04  \
eta: 0:02:06  time: 0.1623  grad_norm: 8.0080  loss: 1.5760  loss_cls: 0.5993
11/27 02:57:14 - mmengine - INFO - Epoch(train)  [1][80/80]  lr: 2.7e-04  \
eta: 0:01:56  time: 0.1623  grad_norm: 8.0080  loss: 1.3760  loss_cls: 0.5993
11/27 02:57:15 - mmengine - INFO - Saving checkpoint at 1 epochs
""".replace('INFO -\n', 'INFO - \n')


@pytest.fixture
def in_short(tool):
    return tool('in_short')


def test_dumps_and_steps_are_left_out_and_warnings_are_whole(in_short):
    assert [*in_short.in_short(SAID.splitlines(keepends=True))] == [
        'scoring: draw 0, step 1 of 7, loss 2.6395',
        'growth of 9.1: take',
        'a smaller lr',
        'epoch 1: loss 1.3760, 0:01:56 to go',
    ]


def test_of_a_training_the_epochs_are_left(
    in_short, run, demo_options, tmp_path, capfd
):
    config = epsd_mm.config_path('demo_faster_rcnn')
    run('train', config, '--work-dir', tmp_path / 'run', *demo_options)
    said = capfd.readouterr().out.splitlines()
    # What stood between a newcomer and the first step.
    assert len(said) > 400
    shown = [*in_short.in_short(said)]
    epochs = [line for line in shown if line.startswith('epoch 1: loss ')]
    assert len(epochs) == 1 and 'to go' in epochs[0]
    assert len(shown) < 10


def python(code):
    return [sys.executable, '-c', code]


def test_the_file_has_all_that_was_said_in_its_order(in_short, tmp_path):
    log = tmp_path / 'log'
    log.write_text('before\n')
    code = (
        "import sys; print('a\\x1b[31m red'); print('b', file=sys.stderr); "
        "print('c')"
    )
    assert [*in_short.run_in_short(python(code), log)] == []
    lines = log.read_text().splitlines()
    assert lines[0] == 'before' and lines[2].startswith(f'$ {sys.executable}')
    assert lines[3:] == ['a red', 'b', 'c']


def test_a_line_is_shown_before_the_tool_goes_on(in_short, tmp_path):
    line = '11/27 02:57:11 - mmengine - INFO - scoring: so far'
    code = (
        f'import pathlib, time; print({line!r})\n'
        f'while not pathlib.Path({str(tmp_path / "seen")!r}).exists(): '
        'time.sleep(0.01)'
    )
    for shown in in_short.run_in_short(python(code), tmp_path / 'log'):
        assert shown == 'scoring: so far'
        (tmp_path / 'seen').touch()
    assert (tmp_path / 'seen').exists()


def test_of_a_tool_that_fails_the_end_is_told(in_short, tmp_path):
    code = "print('long ago\\n' * 30); raise SystemExit('error: no such data')"
    log = tmp_path / 'log'
    with pytest.raises(SystemExit) as ended:
        list(in_short.run_in_short(python(code), log))
    told = str(ended.value)
    assert 'error: no such data' in told and 'exit code 1' in told
    assert str(log) in told and len(told.splitlines()) < 30
