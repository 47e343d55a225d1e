"""Masks: which weights of a network are kept."""

import math
import pickle
from collections.abc import Collection, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epsd_mm.files import atomic_write, check_saved
from epsd_mm.versions import check_version

#: Of a file of masks: 0 had no digest, 1 no version.
VERSION = 2


class Masks(Mapping[str, Tensor]):
    """A read-only mapping from parameter name to a bool tensor.

    ``True`` keeps a weight, ``False`` removes it. Tensors are held on the
    CPU and have the shapes of their parameters. They are not to be changed
    in place: masks are shared freely.

    Args:
        masks: One bool tensor per parameter name.

    Raises:
        TypeError: This is no mapping, or an entry no bool tensor.
        ValueError: There is no entry at all, or one without a weight.
    """

    # What they are called in messages, in a checkpoint and on the disk.
    _things = 'layers'
    _key = 'masks'

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        if not isinstance(masks, Mapping):
            raise TypeError(
                'masks are bool tensors by the name of their weight, got '
                f'{type(masks).__name__}'
            )
        if not masks:
            raise ValueError(
                'masks are empty: nothing is prunable. Give a bool tensor '
                'for each weight by its name, as prune() and '
                'Masks.ones_like(prunable_parameters(model)) do'
            )
        for name, mask in masks.items():
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
                kind = getattr(mask, 'dtype', type(mask).__name__)
                raise TypeError(
                    f'the mask of {name!r} must be a bool tensor, got {kind}'
                )
            if not mask.numel():
                raise ValueError(
                    f'the mask of {name!r} has the shape '
                    f'{tuple(mask.shape)}, which no weight has: leave it out'
                )
        self._masks = {
            name: mask.detach()
            .cpu()
            .clone(memory_format=torch.contiguous_format)
            for name, mask in masks.items()
        }

    @classmethod
    def ones_like(cls, params: Mapping[str, Tensor]) -> 'Masks':
        """Masks that keep every weight of ``params``."""
        return cls(
            {
                name: torch.ones(param.shape, dtype=torch.bool)
                for name, param in params.items()
            }
        )

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Masks)
            and self.keys() == other.keys()
            and all(torch.equal(self[name], other[name]) for name in self)
        )

    __hash__ = None

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}({len(self)} {self._things}, kept '
            f'{self.kept:,} of {self.total:,}, sparsity '
            f'{self.sparsity:.4f})'
        )

    @property
    def kept(self) -> int:
        """int: Number of weights kept."""
        return sum(int(mask.sum()) for mask in self.values())

    @property
    def total(self) -> int:
        """int: Number of weights masked or kept."""
        return sum(mask.numel() for mask in self.values())

    @property
    def sparsity(self) -> float:
        """float: Fraction of weights removed."""
        return 1 - self.kept / self.total

    def layers(self) -> dict[str, dict]:
        """``kept``, ``total`` and ``density`` of each layer, by name."""
        layers = {}
        for name, mask in self.items():
            kept, total = int(mask.sum()), mask.numel()
            layers[name] = dict(kept=kept, total=total, density=kept / total)
        return layers

    def empty_layers(self) -> list[str]:
        """Names of the layers of which nothing is kept."""
        return [name for name, mask in self.items() if not mask.any()]

    def overlap(self, other: 'Masks') -> float:
        """Shared kept weights over kept weights, ``|A ∩ B| / |A|``.

        Raises:
            ValueError: The two do not cover the same parameters, or this
                one keeps nothing.
        """
        self.check_fits(other)
        if not self.kept:
            raise ValueError(
                f'a mask that keeps nothing (0 of {self.total:,}) has no '
                'overlap: compare masks that keep something'
            )
        shared = sum(int((self[name] & other[name]).sum()) for name in self)
        return shared / self.kept

    def jaccard(self, other: 'Masks') -> float:
        """Shared kept weights over all kept ones, ``|A ∩ B| / |A ∪ B|``.

        Raises:
            ValueError: The two do not cover the same parameters, or
                neither keeps anything.
        """
        either = (self | other).kept
        if not either:
            raise ValueError(
                f'two masks that keep nothing (0 of {self.total:,}) have no '
                'overlap: compare masks that keep something'
            )
        return (self & other).kept / either

    def __and__(self, other: 'Masks') -> 'Masks':
        self.check_fits(other)
        return type(self)({name: self[name] & other[name] for name in self})

    def __or__(self, other: 'Masks') -> 'Masks':
        self.check_fits(other)
        return type(self)({name: self[name] | other[name] for name in self})

    def shuffled(self, seed: int) -> 'Masks':
        """The same number of weights in each layer, at random places.

        A method whose masks do no better than their shuffled form finds
        densities of layers, not weights (Frankle et al., ICLR 2021).
        """
        generator = torch.Generator().manual_seed(seed)
        return type(self)(
            {
                name: mask.view(-1)[
                    torch.randperm(mask.numel(), generator=generator)
                ].view(mask.shape)
                for name, mask in self.items()
            }
        )

    def part(self, prefix: str, to: str | None = None) -> 'Masks':
        """The masks of one part of a network, such as ``'backbone'``.

        Args:
            prefix: Name of the part; ``''`` is the whole network.
            to: Its name in another network, if that differs.

        Raises:
            ValueError: There is no mask of that part.
        """
        start = f'{prefix}.' if prefix else ''
        target = start if to is None else f'{to}.' if to else ''
        found = {
            target + name[len(start) :]: mask
            for name, mask in self.items()
            if name.startswith(start)
        }
        if not found:
            raise ValueError(
                f'no mask has a name that starts with {start!r}; names look '
                f'like {", ".join(list(self)[:3])}'
            )
        return type(self)(found)

    def check_fits(
        self, params: Mapping[str, Tensor], partly: bool = False
    ) -> None:
        """Raise unless names and shapes are those of ``params``.

        Args:
            params: Weights, or other masks, by name.
            partly: Some of them may have no mask.

        Raises:
            ValueError: Names every parameter that differs.
        """
        wrong = [
            f'{name}: mask {tuple(self[name].shape)}, weight '
            f'{tuple(params[name].shape)}'
            for name in self
            if name in params and self[name].shape != params[name].shape
        ]
        strange = self.keys() - params.keys()
        wrong += [f'{name}: no such weight' for name in strange]
        if not partly:
            wrong += [f'{name}: no mask' for name in params.keys() - self]
        if wrong:
            what = 'the model (was it built from the same config, with the '
            what += 'same include and exclude?)'
            if isinstance(params, Masks):
                what = 'the others, which are of another network'
            raise ValueError(
                f'the masks do not fit {what}: {"; ".join(sorted(wrong))}'
                + _other_prefix(strange, params)
            )

    @property
    def digest(self) -> str:
        """str: The same for equal masks, another for any other ones."""
        digest = blake2b(digest_size=16)
        for name, mask in sorted(self.items()):
            layer = repr((name, *mask.shape))
            digest.update(layer.encode('utf-8', 'surrogatepass'))
            digest.update(_bits(mask))
        return digest.hexdigest()

    def pack(self) -> dict[str, dict]:
        """Eight weights a byte, as plain tensors and lists.

        Each layer has its number of kept weights, and the digest of all
        layers together: a change, or a layer too few, does not go unseen.
        The result survives ``torch.save`` and
        ``torch.load(weights_only=True)``; :meth:`unpack` inverts it.
        """
        digest = self.digest
        return {
            name: dict(
                bits=torch.from_numpy(_bits(mask)),
                shape=list(mask.shape),
                kept=int(mask.sum()),
                digest=digest,
            )
            for name, mask in self.items()
        }

    def save(self, path: str | Path) -> None:
        """Write packed masks to a file, complete or not at all."""
        with atomic_write(path) as file:
            torch.save(self._stored(), file)

    def _stored(self) -> dict[str, Any]:
        # Beside the digest in each layer, where versions before look past
        # it; not in pack(), which keys of scorings are made of.
        return {
            name: dict(entry, version=VERSION)
            for name, entry in self.pack().items()
        }

    @staticmethod
    def _looks_packed(saved: Mapping) -> bool:
        return bool(saved) and all(
            isinstance(entry, Mapping) and 'bits' in entry
            for entry in saved.values()
        )

    @classmethod
    def load(cls, path: str | Path) -> 'Masks':
        """Masks from a file of :meth:`save`.

        Nothing but tensors and plain values is unpickled.

        Raises:
            OSError: The file cannot be opened.
            ValueError: It holds no masks, or is damaged.
        """
        remedy = f'name the {cls._key}.pth of a run, in work_dir/epsd'
        try:
            check_saved(path)
        except ValueError as e:
            raise ValueError(f'{e}: {remedy}') from e
        try:
            with open(path, 'rb') as file:
                saved = torch.load(file, map_location='cpu', weights_only=True)
        except pickle.UnpicklingError as e:
            raise ValueError(
                f'{path} holds more than tensors and plain values, so it is '
                f'not read: {remedy}'
            ) from e
        except OSError:
            raise
        except Exception as e:  # torch has many for a file it did not write
            raise ValueError(
                f'{path} is no file of {cls._key}, or damaged: {remedy}'
            ) from e
        if isinstance(saved, dict) and isinstance(saved.get('epsd'), dict):
            saved = saved['epsd'].get(cls._key)
        if not isinstance(saved, dict) or not cls._looks_packed(saved):
            raise ValueError(f'{path} holds no {cls._key}: {remedy}')
        try:
            return cls.unpack(saved)
        except ValueError as e:  # with a remedy of its own
            raise ValueError(f'{path}: {e}') from e

    def report(self) -> str:
        """Kept weights by layer and in total, a line each."""
        width = max(map(len, [*self, f'all {self._things}']))
        rows = [*self.layers().items()]
        rows.append(
            (
                f'all {self._things}',
                dict(
                    kept=self.kept,
                    total=self.total,
                    density=1 - self.sparsity,
                ),
            )
        )
        return '\n'.join(
            f'{name:<{width}}  {row["kept"]:>12,} of {row["total"]:>12,}'
            f'  {row["density"]:8.3%}'
            for name, row in rows
        )

    @classmethod
    def unpack(cls, packed: Mapping[str, Mapping]) -> 'Masks':
        """Masks from what :meth:`pack` returned, now or in earlier versions.

        Those of earlier versions have no digest to be checked.

        Raises:
            ValueError: They are of a version that is not known here, an
                entry has not the form that :meth:`pack` writes,
                or they are not those that it wrote.
        """
        remedy = (
            'take them from another checkpoint of the run, or from '
            f'{cls._key}.pth in its work_dir/epsd'
        )
        if not isinstance(packed, Mapping) or not packed:
            raise ValueError(
                f'the packed masks are damaged: there are none; {remedy}'
            )
        _check_version(packed)
        masks, digests, seen = {}, [], set()
        for name, entry in packed.items():
            try:
                masks[name] = _unpacked(name, entry, seen)
                digests.append(entry.get('digest'))
            except Exception as e:  # whatever the entry is made of
                raise ValueError(
                    f'the packed mask of {name!r} is damaged: {e}; {remedy}'
                ) from e
        masks = cls(masks)
        known = [digest for digest in digests if digest is not None]
        if known and digests != [masks.digest] * len(masks):
            raise ValueError(
                'the packed masks are damaged: they are not those that were '
                f'packed; {remedy}'
            )
        return masks


def _other_prefix(strange: Collection[str], known: Collection[str]) -> str:
    """The remedy, where a prefix is all that sets names apart."""
    for prefix in _prefixes(strange):
        if all(name.removeprefix(f'{prefix}.') in known for name in strange):
            return (
                f'. Their names begin with {prefix!r}, as of a wrapped model, '
                'and those of the weights do not: take '
                f"masks.part({prefix!r}, to='')"
            )
    for prefix in _prefixes(known):
        if strange and all(f'{prefix}.{name}' in known for name in strange):
            return (
                f'. The names of the weights begin with {prefix!r}, as of a '
                'wrapped model, and those of the masks do not: give the '
                f"model unwrapped, or take masks.part('', to={prefix!r})"
            )
    return ''


def _prefixes(names: Collection[str]) -> list[str]:
    """Names of modules that one of them begins with, the shortest first."""
    parts = next(iter(names), '').split('.')
    return ['.'.join(parts[:count]) for count in range(1, len(parts))]


# Of what numpy knows, which packs bits.
_MOST_SIDES = 32


def _check_version(packed: Mapping[str, Any]) -> None:
    for entry in packed.values():
        version = entry.get('version') if isinstance(entry, Mapping) else None
        if version is not None:
            remedy = 'read them with the version of epsd_mm that wrote them'
            check_version(version, VERSION, 'the packed masks are', remedy)


def _bits(mask: Tensor) -> np.ndarray:
    return np.packbits(mask.numpy())


def _unpacked(name: Any, entry: Mapping, seen: set) -> Tensor:
    """One mask, if there are as many bits as its shape asks for.

    Args:
        name: Of the layer.
        entry: Its packed mask.
        seen: The memory of other layers' bits; that of this one joins it.
    """
    bits, shape = entry['bits'], entry['shape']
    if not isinstance(name, str):
        raise TypeError('its name is not a string')
    if not isinstance(shape, (list, tuple)) or any(
        type(side) is not int or side < 0 for side in shape
    ):
        raise ValueError(f'shape {shape}')
    if bits.dtype != torch.uint8 or bits.dim() != 1:
        raise ValueError(f'bits of {bits.dtype} and shape {tuple(bits.shape)}')
    count = math.prod(shape)
    if not count or len(shape) > _MOST_SIDES:
        raise ValueError(f'no weight has the shape {shape}')
    # numpy fills missing bits with zeros and drops spare ones.
    if len(bits) != -(-count // 8):
        raise ValueError(f'{len(bits)} bytes for shape {shape}')
    memory = bits.untyped_storage().data_ptr()
    # A byte that is shared claims more weights than the file has bits.
    if not bits.is_contiguous() or (len(bits) and memory in seen):
        raise ValueError('its bits are not its own')
    seen.add(memory)
    flat = np.unpackbits(bits.cpu().numpy(), count=count).view(bool)
    kept = entry.get('kept')
    if kept is not None and (type(kept) is not int or kept != flat.sum()):
        raise ValueError(f'it keeps {flat.sum()} weights and kept {kept!r}')
    return torch.from_numpy(flat).reshape(shape)
