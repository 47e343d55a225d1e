"""Predictions from when each sample was last seen."""

from collections.abc import Hashable, Iterable, Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from epsd_mm.memory import check_memory

from ..needs import Past
from ..observation import Observation, at_least_float32
from .base import OtherTeacherError, Teacher, known_keys


class History(Teacher):
    """One row of probabilities a sample, for PS-KD; on the CPU.

    Rows are kept in float16. With ``top_k`` only the ``k`` largest
    probabilities are, and what is left of 1 is spread evenly over the other
    classes. With ``τ`` the probability outside of the ``k`` largest and
    ``ε = 2⁻¹¹ + C 2⁻²⁵`` the rounding of float16, a recalled row ``P̂`` obeys

        ``‖P̂ − P‖₁ ≤ 2 (τ + ε)``,

    and since rows sum to 1, ``CE(z, P̂)`` is off by at most
    ``(τ + ε) (max z − min z)``.

    Probabilities of independent classes (sigmoid) are rounded alone, and
    have no ``top_k``: nothing is known of those that are left out.

    A sample takes ``4k + 12`` bytes, or ``2C + 12`` with all classes: 272 MB
    for the 1,281,167 images of ImageNet with ``k = 50``. In memory there are
    4 more, which tell what other processes have not been told yet.

    Args:
        top_k: ``k``; all classes by default.
    """

    needs = Past()
    learns = True
    shared = True

    def __init__(self, top_k: int | None = None) -> None:
        if top_k is not None and (type(top_k) is not int or top_k < 1):
            raise ValueError(f'top_k={top_k!r} must be an integer >= 1')
        self.top_k = top_k
        self.classes: int | None = None
        # Sorted digests of the keys, and the row of each.
        self._digests = np.zeros(0, np.int64)
        self._places = np.zeros(0, np.int32)
        self._values = np.zeros((0, 0), np.float16)
        self._indices: np.ndarray | None = None
        # In which step each row was learned, from 1; 0 before the last merge.
        self._stamps = np.zeros(0, np.int32)
        self._step = 0

    def __len__(self) -> int:
        return len(self._digests)

    def remember(self, observation: Observation) -> None:
        if observation.use_sigmoid and self.top_k is not None:
            raise ValueError(
                f'top_k={self.top_k} spreads what is left of 1 over the '
                'other classes, but the probabilities of a sigmoid do not '
                'sum to 1: remove top_k'
            )
        probabilities = observation.detach().probabilities()
        digests = _digest(known_keys(observation))
        if self.classes is None:
            self._start(probabilities.shape[1])
        self._check_classes(probabilities.shape[1])
        if self._indices is not None:
            probabilities, indices = probabilities.topk(self.top_k, dim=1)
        rows = dict(values=probabilities.half().cpu().numpy())
        if self._indices is not None:
            rows['indices'] = indices.cpu().numpy()
        places = self._write(digests, rows)
        self._step += 1
        self._stamps[places] = self._step

    def recall(self, observation: Observation) -> tuple[Tensor, Tensor]:
        logits = observation.logits.detach()
        rows = torch.zeros_like(at_least_float32(logits))
        digests = _digest(known_keys(observation))
        if self.classes is not None:
            self._check_classes(logits.shape[1])
        places = self._find(digests)
        found = places >= 0
        if found.any():
            known = self._unpack(places[found], rows.dtype)
            if not observation.use_sigmoid:
                known = known / known.sum(dim=1, keepdim=True)
            rows[torch.from_numpy(found)] = known.to(rows.device)
        return rows, torch.from_numpy(found).to(logits.device)

    def state_dict(self) -> dict:
        # Sorted by key, whoever saw them first.
        state = dict(
            classes=self.classes,
            top_k=self.top_k,
            digests=torch.from_numpy(self._digests.copy()),
            places=torch.arange(len(self), dtype=torch.int32),
            values=torch.from_numpy(self._values[self._places]),
        )
        if self._indices is not None:
            state['indices'] = torch.from_numpy(self._indices[self._places])
        return state

    def load_state_dict(
        self, state: dict, rank: int = 0, world: int = 1
    ) -> None:
        self.check_state(state)
        self.classes = state['classes']
        self._digests = state['digests'].numpy().copy()
        self._places = state['places'].numpy().copy()
        self._values = state['values'].numpy().copy()
        indices = state.get('indices')
        self._indices = None if indices is None else indices.numpy().copy()
        self._stamps = np.zeros(len(self._values), np.int32)
        self._step = 0

    def news(self) -> dict:
        fresh = self._stamps[self._places] > 0
        places = self._places[fresh]
        rows = {name: table[places] for name, table in self._tables()}
        return dict(
            rows,
            classes=self.classes,
            digests=self._digests[fresh],
            steps=self._stamps[places],
        )

    def merge(self, parts: Sequence[dict]) -> None:
        """The last prediction of a sample counts, whoever made it.

        Of two in one step it is that of the last process.
        """
        parts = [part for part in parts if part['classes'] is not None]
        for part in parts:
            if self.classes is None:
                self._start(part['classes'])
            self._check_classes(part['classes'])
        if parts:
            steps = np.concatenate([part['steps'] for part in parts])
            order = steps.argsort(kind='stable')
            names = ['digests', *(name for name, _ in self._tables())]
            digests, *rows = (
                np.concatenate([part[name] for part in parts])[order]
                for name in names
            )
            self._write(digests, dict(zip(names[1:], rows)))
        self._stamps[:] = 0
        self._step = 0

    def _tables(self) -> list[tuple[str, np.ndarray]]:
        tables = dict(values=self._values, indices=self._indices)
        return [(n, table) for n, table in tables.items() if table is not None]

    def _write(
        self, digests: np.ndarray, rows: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Write rows, of which the last with a key stays; their places."""
        self._add(digests)
        places = self._find(digests)
        for name, table in self._tables():
            table[places] = rows[name]
        return places

    def check_state(self, state: dict) -> None:
        top_k = state.get('top_k')
        if top_k is not None and type(top_k) is not int:
            raise ValueError(f'top_k={top_k!r} is no number')
        if top_k != self.top_k:
            raise OtherTeacherError(
                f'the remembered predictions have top_k={top_k}, the loss '
                f'says {self.top_k}: use the same'
            )
        check_memory(state)
        try:
            wrong = self._wrong_table(**state)
        except Exception as error:  # whatever a damaged state is made of
            raise ValueError(f'{type(error).__name__}: {error}') from error
        if wrong:
            raise ValueError(f'its {wrong} are not those of a history')

    def _wrong_table(
        self,
        classes: int | None,
        top_k: int | None,
        digests: Tensor,
        places: Tensor,
        values: Tensor,
        indices: Tensor | None = None,
    ) -> str | None:
        """The name of a table that does not fit the others, if any."""
        count, width = len(digests), classes if top_k is None else top_k
        if classes is not None and (type(classes) is not int or classes < 1):
            return 'classes'
        if top_k is not None and classes is not None and top_k >= classes:
            return 'classes'
        if classes is None and count:
            return 'classes'
        if digests.dtype != torch.int64 or digests.dim() != 1:
            return 'digests'
        if not (digests[1:] > digests[:-1]).all():
            return 'digests'
        rows = torch.arange(count, dtype=torch.int32)
        if not torch.equal(places.sort().values, rows):
            return 'places'
        shape = (count, width or 0)
        if values.shape != shape or values.dtype != torch.float16:
            return 'values'
        # Comparisons of what is not a number are false.
        if not ((values >= 0) & (values <= 1)).all():
            return 'values'
        if (indices is None) != (top_k is None or classes is None):
            return 'indices'
        if indices is not None:
            if indices.shape != shape or indices.dtype not in _INDEX_TYPES:
                return 'indices'
            if not ((indices >= 0) & (indices < classes)).all():
                return 'indices'
        return None

    def _start(self, classes: int) -> None:
        if self.top_k is not None and self.top_k >= classes:
            raise ValueError(
                f'top_k={self.top_k} has no effect on predictions of '
                f'{classes} classes: remove it'
            )
        self.classes = classes
        if self.top_k is None:
            self._values = np.zeros((0, classes), np.float16)
        else:
            width = np.int16 if classes <= 2**15 else np.int32
            self._values = np.zeros((0, self.top_k), np.float16)
            self._indices = np.zeros((0, self.top_k), width)

    def _check_classes(self, classes: int) -> None:
        if classes != self.classes:
            raise ValueError(
                f'predictions of {self.classes} classes are remembered, but '
                f'the model predicts {classes}: they belong to another data '
                'set. Resume with the classes of that run, or start anew '
                '(load_from takes weights alone)'
            )

    def _find(self, digests: np.ndarray) -> np.ndarray:
        """Row of each key, -1 for an unknown one."""
        if not len(self):
            return np.full(len(digests), -1)
        order = np.searchsorted(self._digests, digests)
        order = order.clip(max=len(self) - 1)
        known = self._digests[order] == digests
        return np.where(known, self._places[order], -1)

    def _add(self, digests: np.ndarray) -> None:
        """Give a row to each key that has none."""
        new = np.unique(digests[self._find(digests) < 0])
        if not len(new):
            return
        places = len(self) + np.arange(len(new), dtype=np.int32)
        order = np.searchsorted(self._digests, new)
        self._digests = np.insert(self._digests, order, new)
        self._places = np.insert(self._places, order, places)
        self._reserve(len(self))

    def _reserve(self, count: int) -> None:
        if count <= len(self._values):
            return
        # In place, where a copy would need twice the memory for a moment.
        self._stamps.resize(count + _SPARE_ROWS, refcheck=False)
        for _, table in self._tables():
            size = (count + _SPARE_ROWS, table.shape[1])
            table.resize(size, refcheck=False)

    def _unpack(self, places: np.ndarray, dtype: torch.dtype) -> Tensor:
        values = torch.from_numpy(self._values[places]).to(dtype)
        if self._indices is None:
            return values
        total = values.sum(dim=1, keepdim=True)
        rest = (1 - total).clamp(min=0) / (self.classes - self.top_k)
        indices = torch.from_numpy(self._indices[places]).long()
        return rest.repeat(1, self.classes).scatter(1, indices, values)


_INDEX_TYPES = (torch.int16, torch.int32)
_SPARE_ROWS = 4096


def _digest(keys: Iterable[Hashable]) -> np.ndarray:
    """64 bits for each key, int64 of shape (n,)."""
    # Names of files need not be UTF-8.
    texts = (str(key).encode('utf-8', 'surrogateescape') for key in keys)
    hashed = b''.join(blake2b(t, digest_size=8).digest() for t in texts)
    return np.frombuffer(hashed, np.int64)
