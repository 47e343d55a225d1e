"""Benchmarks run, and print a row for all that they compare."""

import json
import sys

import pytest

SMALL = ('--batch-size', '2', '--device', 'cpu')


def cells(line):
    return [cell.strip() for cell in line.split('│')[1:-1]]


def rows_of(text):
    """The rows of a table, without its header and without wrapped text."""
    rows = [cells(line) for line in text.splitlines() if line[:1] == '│']
    return {row[0]: row for row in rows if row[0]}


@pytest.fixture
def scoring(tool, monkeypatch, capsys):
    """benchmark_scoring in one process; its rows and its table."""

    def run_main(*options):
        module = tool('analysis_tools/benchmark_scoring')
        argv = ['benchmark_scoring', '--workloads', 'resnet18', *options]
        monkeypatch.setattr(sys, 'argv', [*argv, *SMALL, '--repeats', '1'])
        args = module.parse_args()
        monkeypatch.setattr(
            module, 'run_apart', lambda *what: module.measure(args, *what)
        )
        module.main()
        with open(args.out) as f:
            rows = json.load(f)['rows']
        return rows, capsys.readouterr().out

    return run_main


@pytest.mark.slow
def test_all_ways_of_scoring_are_measured_and_agree(scoring, tmp_path):
    ways = ['gradient', 'walk back', 'walk back, offload', 'walk back, kept']
    ways.append('unrolled')
    rows, table = scoring(
        *('--steps', '1', '--image', '16', '16', '--methods', *ways),
        *('--out', str(tmp_path / 'rows.json')),
    )
    assert [row['method'] for row in rows] == ways
    assert all(row['seconds'] > 0 and row['peak'] > 0 for row in rows)
    plain, *exact = (row['norm'] for row in rows)
    assert exact == pytest.approx([exact[-1]] * 4, rel=1e-4)
    assert plain != pytest.approx(exact[-1], rel=1e-4)
    weights = 11_173_962 * 4
    assert {row['weights'] for row in rows} == {weights}
    for row in rows:
        assert f'{row["norm"]:.6g}' in table
    assert f'one copy of the weights is {weights / 2**20:.1f} MiB' in table


@pytest.mark.slow
def test_scoring_is_measured_in_processes_of_its_own(run, capsys):
    run(
        'analysis_tools/benchmark_scoring',
        *('--workloads', 'resnet18', '--steps', '1', '--image', '8', '8'),
        *('--methods', 'gradient', '--repeats', '1', *SMALL),
    )
    (row,) = rows_of(capsys.readouterr().out).values()
    workload, steps, method, seconds, share, *_ = row
    assert (workload, steps, method) == ('resnet18', '1', 'gradient')
    assert float(seconds) > 0 and share == '1.00'


@pytest.mark.slow
def test_selection_is_compared_with_sorting(run, capsys):
    run('analysis_tools/benchmark_selection', '--weights', '6e4')
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith('6e+04 scores in 60 layers')
    assert [line.split(':')[0].strip() for line in lines] == ['select', 'sort']
    assert all(line.endswith(' 6,000 kept') for line in lines)


def test_masks_are_measured_on_each_workload(run, capsys):
    run(
        'analysis_tools/benchmark_masks',
        *('--workloads', 'resnet18', 'faster-rcnn'),
        *('--image', '64', '64', '--iterations', '1', *SMALL),
    )
    rows = rows_of(capsys.readouterr().out)
    assert list(rows) == ['resnet18', 'faster-rcnn']
    for _, *times, share in rows.values():
        assert len(times) == 5 and all(float(time) > 0 for time in times)
        iteration, gradients, weights, momentum, count = map(float, times)
        want = (gradients + weights + momentum + count / 50) / iteration
        assert float(share.rstrip('%')) / 100 == pytest.approx(want, abs=1e-3)


def test_a_history_is_as_large_as_arithmetic_says(run, capsys):
    options = ('--samples', '4000', '--classes', '300', '--top-k', '5', '0')
    run('analysis_tools/benchmark_history', *options)
    rows = rows_of(capsys.readouterr().out)
    assert [row[2] for row in rows.values()] == ['0', '2']
    assert all(float(time) > 0 for row in rows.values() for time in row[3:])


@pytest.mark.slow
def test_each_distillation_method_is_measured(run, capsys):
    run('analysis_tools/benchmark_distillation', '--iterations', '1', *SMALL)
    rows = rows_of(capsys.readouterr().out)
    assert list(rows) == ['plain', 'CS-KD', 'PS-KD', 'DLB']
    for _, time, median, lowest, highest in rows.values():
        assert float(time) > 0
        assert float(lowest) <= float(median) <= float(highest)
    assert rows['plain'][2:] == ['1.000'] * 3
