"""What a checkpoint says of a run is read whole, or not at all."""

import copy
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict

from epsd_mm.digest import digest
from epsd_mm.distillation import Observation
from epsd_mm.distillation.teachers import History, Partner, Previous
from epsd_mm.engine.checkpoints import loaded_file_named
from epsd_mm.engine.saved_state import SavedState
from epsd_mm.pruning import Masks
from epsd_mm.pruning.objective import RandomState


def observation():
    return Observation(
        logits=torch.randn(4, 5),
        labels=torch.arange(4),
        weights=torch.full((4,), 0.25),
        images=torch.arange(4),
        keys=['a', 'b', 'c', ('d', 1)],
    )


def teacher_of(kind, **options):
    teacher = kind(**options)
    teacher.remember(observation())
    return teacher


def state(teacher=None):
    return SavedState(
        random_state=RandomState.capture(),
        identity=dict(sparsity=0.9, exclude=['head.*'], lr=(0.1, None)),
        masks=Masks({'a': torch.rand(9) < 0.5, 'b': torch.rand(3, 3) < 0.5}),
        teacher=teacher and teacher.state_dict(),
        training_set=teacher and '4f1c',
    )


@pytest.mark.parametrize(
    'teacher',
    [
        lambda: None,
        lambda: teacher_of(History),
        lambda: teacher_of(History, top_k=2),
        lambda: teacher_of(Previous),
    ],
    ids=['none', 'history', 'top 2', 'previous'],
)
def test_it_survives_a_file(teacher, tmp_path):
    before = state(teacher())
    torch.save(before.pack(), tmp_path / 'a.pth')
    packed = torch.load(tmp_path / 'a.pth', weights_only=False)
    after = SavedState.unpack(packed)
    assert after.masks == before.masks
    assert after.identity == before.identity
    assert after.training_set == before.training_set
    assert digest(after.teacher) == digest(before.teacher)
    wanted = [f() for f in (random.random, np.random.rand, torch.rand(1).item)]
    after.random_state.restore()
    assert (random.random(), np.random.rand()) == tuple(wanted[:2])


def test_dicts_of_a_config_become_plain_ones():
    """A safe load knows no ConfigDict."""
    identity = dict(allocation=ConfigDict(sparsities=ConfigDict(a=0.5)))
    packed = SavedState(identity=identity).pack()
    assert packed['identity'] == identity
    assert type(packed['identity']['allocation']) is dict
    assert type(packed['identity']['allocation']['sparsities']) is dict


@pytest.mark.parametrize(
    'part, damage',
    [
        ('identity', lambda part: part.update(sparsity=0.8)),
        ('identity', lambda part: part.pop('exclude')),
        ('random_state', lambda part: part['torch'].view(-1)[-1].add_(1)),
        ('random_state', lambda part: part['numpy']['state']['key'].sort()),
        ('teacher', lambda part: part['values'].view(-1)[0].mul_(0.5)),
        ('teacher', lambda part: part.clear()),
    ],
)
def test_any_change_is_told(part, damage):
    packed = copy.deepcopy(state(teacher_of(History)).pack())
    damage(packed[part])
    with pytest.raises(ValueError, match='damaged|not what was saved'):
        SavedState.unpack(packed)


@pytest.mark.parametrize('part', ['identity', 'random_state', 'teacher'])
def test_a_lost_part_is_told(part):
    packed = state(teacher_of(Previous)).pack()
    del packed[part]
    with pytest.raises(ValueError, match='not what was saved'):
        SavedState.unpack(packed)


@pytest.mark.parametrize(
    'part, value',
    [
        ('masks', 'text'),
        ('masks', {'a': 1}),
        ('random_state', None),
        ('random_state', dict(python=(3, (), None))),
        ('identity', [1]),
        ('identity', {1: 2}),
        ('identity', dict(settings=[1])),
        ('identity', dict(sparsity=torch.ones(2))),
        ('teacher', torch.ones(3)),
        ('training_set', 5),
    ],
)
def test_other_forms_are_refused_by_the_name_of_the_part(part, value):
    """As in files of earlier versions, which have no digest."""
    packed = state(teacher_of(History)).pack()
    del packed['digest']
    packed[part] = value
    with pytest.raises(ValueError, match=f'its {part} is damaged'):
        SavedState.unpack(packed)


# No machine has so much memory: who asks for it fails, and fills none.
TOO_MANY = 1 << 45
ONE_BYTE = torch.zeros(1, dtype=torch.uint8)


@pytest.mark.parametrize(
    'part, place, claim',
    [
        ('teacher', 'x', ONE_BYTE.expand(TOO_MANY)),
        ('teacher', 'x', [dict(y=ONE_BYTE.expand(2))]),
        ('identity', 'sparsity', ONE_BYTE.expand(TOO_MANY)),
        ('random_state', 'torch', ONE_BYTE.expand(TOO_MANY)),
        ('random_state', 'cuda', [ONE_BYTE.expand(TOO_MANY)]),
        ('masks', 'a', dict(more=ONE_BYTE.expand(TOO_MANY))),
        ('teacher', 'x', torch.empty(TOO_MANY, device='meta')),
    ],
)
def test_what_claims_more_than_the_file_holds_is_refused(
    part, place, claim, tmp_path
):
    """Before it is copied: 1.5 kB took 4.4 GB in another version."""
    packed = state(teacher_of(History)).pack()
    packed[part][place] = claim
    torch.save(packed, tmp_path / 'small.pth')
    packed = torch.load(tmp_path / 'small.pth', weights_only=False)
    with pytest.raises(
        ValueError, match=f'its {part} is damaged: a tensor (of shape|is)'
    ):
        SavedState.unpack(packed)


def test_teachers_refuse_claims_by_themselves():
    history = teacher_of(History)
    wide = torch.zeros(1, 1, dtype=torch.float16).expand(1, TOO_MANY)
    claim = dict(
        classes=TOO_MANY,
        digests=torch.zeros(1, dtype=torch.int64),
        places=torch.zeros(1, dtype=torch.int32),
        values=wide,
    )
    with pytest.raises(ValueError, match='asks for'):
        history.check_state(changed(history, **claim))
    previous = teacher_of(Previous)
    with pytest.raises(ValueError, match='asks for'):
        previous.check_state(changed(previous, logits=wide.expand(4, -1)))


def test_what_earlier_versions_saved_is_read():
    packed = state(teacher_of(Previous)).pack()
    del packed['digest']
    assert SavedState.unpack(packed).masks is not None
    assert SavedState.unpack(None) == SavedState.unpack({}) == SavedState()


def changed(teacher, **changes):
    return dict(teacher.state_dict(), **changes)


@pytest.mark.parametrize(
    'kind, change',
    [
        (History, dict(classes=4)),
        (History, dict(classes=None)),
        (History, dict(digests=torch.tensor([4, 3, 2, 1]))),
        (History, dict(places=torch.tensor([0, 1, 2, 2], dtype=torch.int32))),
        (History, dict(values=torch.rand(4, 5))),
        (History, dict(values=torch.full((4, 5), torch.nan).half())),
        (History, dict(values=None)),
        (History, dict(indices=torch.zeros(4, 5, dtype=torch.int16))),
        (History, dict(more=1)),
        (Previous, dict(logits=None)),
        (Previous, dict(logits=torch.zeros(4))),
        (Previous, dict(keys=[('a', 9)])),
        (Previous, dict(keys=[('a', 0, 1)])),
        (Previous, dict(keys=[([], 0)])),
        (Previous, dict(more=1)),
        (Partner, dict(logits=torch.zeros(4, 5))),
    ],
)
def test_a_teacher_goes_on_from_states_of_its_own_alone(kind, change):
    teacher = teacher_of(kind)
    before = digest(teacher.state_dict())
    with pytest.raises(ValueError):
        teacher.check_state(changed(teacher, **change))
    if teacher.learns:
        with pytest.raises(ValueError):
            teacher.load_state_dict(changed(teacher, **change))
    assert digest(teacher.state_dict()) == before


def test_chosen_classes_beyond_the_last_are_refused():
    teacher = teacher_of(History, top_k=2)
    teacher.check_state(teacher.state_dict())
    beyond = torch.full((4, 2), 5, dtype=torch.int16)
    with pytest.raises(ValueError, match='indices'):
        teacher.check_state(changed(teacher, indices=beyond))


@pytest.mark.parametrize(
    'teacher',
    [lambda: teacher_of(History, top_k=2), lambda: Partner()],
    ids=['other top_k', 'no memory'],
)
def test_a_state_of_another_teacher_is_not_called_damaged(teacher):
    runner = SimpleNamespace(_load_from='a.pth')
    whole = teacher_of(History).state_dict()
    with pytest.raises(ValueError, match='top_k=|remembers nothing') as e:
        with loaded_file_named(runner):
            teacher().check_state(whole)
    assert 'damaged' not in str(e.value)
