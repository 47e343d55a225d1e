"""What scoring has found reaches every backend of the visualizer."""

import json
from itertools import count

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend

from epsd_mm.engine.tracking import track_narrowed, track_scoring
from epsd_mm.results import Log, scoring_of
from tests.helpers.reports import REPORT
from tests.helpers.small_runs import PRUNED, small_runner

_NUMBERS = count()


class Recording(BaseVisBackend):
    """Keeps what it is told."""

    def __init__(self, save_dir=None, fails=False):
        super().__init__(save_dir or '.')
        self.scalars, self.images, self.fails = [], {}, fails

    def _init_env(self):
        pass

    @property
    def experiment(self):
        return self

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        if self.fails:
            raise ConnectionError('nobody listens')
        self.scalars.append((step, dict(scalar_dict)))

    def add_image(self, name, image, step=0, **kwargs):
        self.images[name] = image


class Failing(Recording):
    """Takes nothing."""

    def __init__(self, save_dir=None):
        super().__init__(save_dir, fails=True)


@pytest.fixture(autouse=True, scope='module')
def registered():
    for backend in (Recording, Failing):
        VISBACKENDS.register_module(module=backend, force=True)
    yield
    for backend in (Recording, Failing):
        VISBACKENDS.module_dict.pop(backend.__name__)


def run_of(tmp_path, hook=PRUNED, backends=('Recording',), **changes):
    backends = [b if isinstance(b, dict) else dict(type=b) for b in backends]
    # Or it would be the visualizer of an earlier run.
    name = f'tracking-{next(_NUMBERS)}'
    visualizer = dict(type='Visualizer', name=name, vis_backends=backends)
    return small_runner(tmp_path, hook=hook, visualizer=visualizer, **changes)


def recorded(runner):
    return runner.visualizer.get_backend('Recording')


def test_figures_of_the_scoring_come_before_those_of_training(tmp_path):
    runner = run_of(tmp_path)
    runner.train()
    report = json.loads((tmp_path / 'epsd/report.json').read_text())
    backend = recorded(runner)
    (step, found), *rest = backend.scalars
    assert step == 0
    assert found == {n: q.value for n, q in scoring_of(report).items()}
    trained = [x for _, x in rest if 'loss' in x]
    assert all('sparsity_all' in x for x in trained)


def test_losses_that_a_scoring_saw_are_curves(tmp_path):
    runner = run_of(tmp_path, None)
    track_scoring(runner, REPORT)
    _, *terms = recorded(runner).scalars
    assert terms == [
        (0, {'scoring/loss_task': 2.0, 'scoring/loss_sd': 0.25}),
        (1, {'scoring/loss_task': 2.0, 'scoring/loss_sd': -0.75}),
    ]


def test_layers_are_drawn(tmp_path):
    runner = run_of(tmp_path)
    runner.train()
    images = recorded(runner).images
    assert set(images) == {'density.png', 'score_mass.png'}
    for image in images.values():
        assert image.dtype == np.uint8 and image.shape[2] == 3
        assert image.min() < 128 < image.max()


def test_names_of_drawings_are_those_of_files(tmp_path):
    """By which MLflow tells how to write them."""
    runner = run_of(tmp_path)
    runner.train()
    assert all(name.endswith('.png') for name in recorded(runner).images)


def test_given_masks_are_drawn_too(tmp_path):
    run_of(tmp_path / 'first').train()
    masks = str(tmp_path / 'first/epsd/masks.pth')
    given = dict(type='EPSDHook', masks=masks, criterion=None)
    runner = run_of(tmp_path / 'second', given)
    runner.train()
    assert set(recorded(runner).images) == {'density.png'}
    assert recorded(runner).scalars[0][1]['scoring/sparsity'] == 0.5


def test_units_are_what_is_drawn_where_whole_ones_go(tmp_path):
    runner = run_of(tmp_path, None)
    unit = dict(kept=1, total=2, density=0.5, mass=1.0, mass_kept=0.5)
    track_scoring(runner, dict(REPORT, channels=dict(conv=unit)))
    images = recorded(runner).images
    assert set(images) == {'density.png', 'units_kept.png', 'score_mass.png'}


def test_what_is_left_of_a_compact_network_is_drawn(tmp_path):
    runner = run_of(tmp_path, None)
    track_narrowed(runner)
    assert recorded(runner).images == {}
    layers = dict(conv=dict(out_channels=[8, 4]))
    channels = dict(version=1, layers=layers)
    runner.cfg = Config(dict(model=dict(type='Compact', channels=channels)))
    track_narrowed(runner)
    assert set(recorded(runner).images) == {'outputs_left.png'}


def test_a_backend_that_fails_stops_no_training(tmp_path, caplog):
    failing = dict(type='Recording', fails=True)
    runner = run_of(tmp_path, None, [failing])
    runner.logger.addHandler(caplog.handler)
    track_scoring(runner, REPORT)
    (said,) = [m for m in caplog.messages if 'do not reach' in m]
    assert 'nobody listens' in said


@pytest.mark.parametrize('first', ['failing', 'recording'])
def test_a_backend_that_fails_silences_no_other(tmp_path, caplog, first):
    pair = [dict(type='Failing'), dict(type='Recording')]
    runner = run_of(tmp_path, None, pair if first == 'failing' else pair[::-1])
    runner.logger.addHandler(caplog.handler)
    track_scoring(runner, REPORT)
    (said,) = [m for m in caplog.messages if 'do not reach' in m]
    assert 'Failing' in said
    assert [step for step, _ in recorded(runner).scalars] == [0, 0, 1]
    assert set(recorded(runner).images) == {'density.png'}


def test_a_scalar_that_is_not_taken_costs_no_other(tmp_path):
    """As of a tracker that refuses characters of a name."""
    runner = run_of(tmp_path, None)
    backend, taken = recorded(runner), []

    def refuse_the_first(values, step=0):
        taken.append(step)
        if len(taken) == 1:
            raise ValueError('name')

    backend.add_scalars = refuse_the_first
    track_scoring(runner, REPORT)
    assert taken == [0, 0, 1]
    assert set(backend.images) == {'density.png'}


def test_a_resumed_run_says_it_once(tmp_path):
    run_of(tmp_path).train()
    runner = run_of(tmp_path, epochs=2, resume=True)
    runner.train()
    assert recorded(runner).images == {}
    assert all('scoring/kept' not in x for _, x in recorded(runner).scalars)


def test_the_log_of_a_run_tells_scoring_from_evaluations(tmp_path):
    run_of(tmp_path, PRUNED, ['LocalVisBackend']).train()
    (scalars,) = tmp_path.glob('*/vis_data/scalars.json')
    assert 'scoring/kept' in scalars.read_text()
    log = Log.of(tmp_path)
    assert log.evaluations == []
    assert all('loss' in line for line in log.training)


def test_tensorboard_has_figures_and_scalars(tmp_path):
    accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator'
    )
    run_of(tmp_path, PRUNED, ['TensorboardVisBackend']).train()
    (events,) = tmp_path.rglob('events.out.tfevents.*')
    reader = accumulator.EventAccumulator(str(events))
    reader.Reload()
    tags = reader.Tags()
    assert set(tags['images']) == {'density.png', 'score_mass.png'}
    wanted = {'scoring/time', 'scoring/sparsity', 'sparsity_all', 'loss'}
    assert wanted <= set(tags['scalars'])
