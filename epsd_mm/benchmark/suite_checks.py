"""What a suite says that cannot be meant, told when it is read."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from epsd_mm.engine.variants import VARIANTS
from epsd_mm.registry import build_sd_loss

from .suite_parts import NAMES, Claim, Method, Setup

#: So many claims may be tested; everything else is descriptive.
MOST_CLAIMS = 3
# What trains by the plain loss, and what prunes alike with another one.
_PLAIN = {'prune-only': 'simple-combination', 'dense': 'sd-only'}


def check_parts(
    setups: Mapping[str, Setup],
    methods: Mapping[str, Method],
    sparsities: Sequence[float],
    seeds: Sequence[int],
    claims: Sequence[Claim],
) -> None:
    """Raise where what a suite lists is not there, twice, or in a circle.

    Args:
        setups: By name.
        methods: By name.
        sparsities: Of the methods that prune.
        seeds: Of all cells.
        claims: What is to be tested.

    Raises:
        ValueError: Says what, and what there is.
    """
    grid = dict(setups=setups, methods=methods, seeds=seeds)
    for name, listed in grid.items():
        if not listed:
            raise ValueError(f'{name} is empty: give at least one')
    pruned = [m.name for m in methods.values() if m.prunes]
    if pruned and not sparsities:
        raise ValueError(
            'sparsities is empty, so that there is no cell of '
            f'{", ".join(pruned)}: give at least one'
        )
    for name, values in dict(seeds=seeds, sparsities=sparsities).items():
        twice = {value for value in values if values.count(value) > 1}
        if twice:
            raise ValueError(
                f'{name} has {sorted(twice)} more than once: leave the '
                'others out'
            )
    if len(claims) > MOST_CLAIMS:
        raise ValueError(
            f'{len(claims)} claims, but at most {MOST_CLAIMS} are tested; '
            'the others are in the report as descriptions'
        )
    for method in methods.values():
        if method.variant not in VARIANTS:
            raise ValueError(
                f'method {method.name!r} has the variant {method.variant!r}; '
                f'known are {", ".join(VARIANTS)}'
            )
        _check_loss(method)
        _check_lender(method, methods)
        _check_earlier(method, methods)
        _check_rounds(method, sparsities)
    for claim in claims:
        _check_claim(claim, setups, methods, sparsities)
    for one, other in combinations(claims, 2):
        _check_apart(one, other)


def _check_loss(method: Method) -> None:
    """Raise where what trains by the plain loss is told of another one."""
    other = _PLAIN.get(method.variant)
    idle = [
        f'{name}={value!r}'
        for name, value in (
            ('sd_loss', method.sd_loss),
            ('teacher', method.teacher),
        )
        if value is not None
    ]
    if not other or not idle:
        return
    if method.teacher is None and _halves_batches(method.sd_loss):
        return
    them = 'them' if idle[1:] else 'it'
    raise ValueError(
        f'method {method.name!r}: variant={method.variant!r} trains by the '
        f'plain loss, so that {" and ".join(idle)} cannot stand beside: '
        f'leave {them} out, or take variant={other!r}'
    )


def _halves_batches(name: str) -> bool:
    """Whether the plain run has other batches for the sake of a loss.

    Also where it is not known: a config may import it yet.
    """
    try:
        needs = build_sd_loss(name).needs
    except ValueError:
        return True
    return needs.plain_size(2) != 2


def _check_lender(method: Method, methods: Mapping[str, Method]) -> None:
    if method.masks_of is None:
        return
    if not method.prunes:
        raise ValueError(
            f'method {method.name!r}: variant={method.variant!r} prunes '
            'nothing, so that masks_of would have no effect: leave it out'
        )
    lender = methods.get(method.masks_of)
    if lender is None or lender.masks_of is not None:
        others = [name for name, m in methods.items() if m.lends]
        itself = ' itself' if lender is method else ''
        raise ValueError(
            f'method {method.name!r} has masks_of={method.masks_of!r}'
            f'{itself}; methods with masks of their own are '
            + (', '.join(others) or 'none')
        )


def _check_earlier(method: Method, methods: Mapping[str, Method]) -> None:
    """Raise where what it comes after is not there, or comes after it."""
    for name in ('weights_of', 'teacher', 'student_of'):
        other = getattr(method, name)
        if other is not None and other not in methods:
            raise ValueError(
                f'method {method.name!r} has {name}={other!r}; the suite has '
                + ', '.join(methods)
            )
        if other is None or method.prunes:
            continue
        if methods[other].prunes:
            raise ValueError(
                f'method {method.name!r} prunes nothing, and '
                f'{name}={other!r} does, at each sparsity: name one that does '
                'not'
            )
    seen, waiting = set(), [method.name]
    while waiting:
        found = methods[waiting.pop()]
        others = {getattr(found, name) for name in NAMES} - {None}
        if method.name in others:
            raise ValueError(
                f'method {method.name!r} comes after {found.name!r}, which '
                'comes after it: one must be first'
            )
        waiting += [o for o in others - seen if o in methods]
        seen |= others


def _check_rounds(method: Method, sparsities: Sequence[float]) -> None:
    if method.rounds is None:
        return
    for sparsity in sparsities:
        try:
            method.rounds.check(sparsity)
        except ValueError as error:
            raise ValueError(f'method {method.name!r}: {error}') from error


def _check_claim(
    claim: Claim,
    setups: Mapping[str, Setup],
    methods: Mapping[str, Method],
    sparsities: Sequence[float],
) -> None:
    known = dict(setup=setups, first=methods, second=methods)
    for name, values in known.items():
        value = getattr(claim, name)
        if value not in values:
            raise ValueError(
                f'claim {claim.name!r} names {name}={value!r}; the suite has '
                + ', '.join(values)
            )
    if claim.first == claim.second:
        raise ValueError(
            f'claim {claim.name!r} compares {claim.first!r} with itself'
        )
    sides = claim.first, claim.second
    if not any(methods[name].prunes for name in sides):
        if claim.sparsity is not None:
            raise ValueError(
                f'claim {claim.name!r} compares networks that are not '
                f'pruned, so that sparsity={claim.sparsity} has no effect: '
                'leave it out'
            )
    elif claim.sparsity is None:
        raise ValueError(
            f'claim {claim.name!r} lacks sparsity, at which {claim.first!r} '
            f'and {claim.second!r} are compared: add one of {sparsities}'
        )
    elif claim.sparsity not in sparsities:
        raise ValueError(
            f'claim {claim.name!r} is about sparsity {claim.sparsity}; the '
            f'suite has {sparsities}'
        )


def _check_apart(one: Claim, other: Claim) -> None:
    """Raise where two claims are one test, or cannot be told apart."""
    if one.name == other.name:
        raise ValueError(
            f'two claims have the name {one.name!r}, {one.first!r} against '
            f'{one.second!r} and {other.first!r} against {other.second!r}: '
            'give each a name of its own'
        )
    if _compared(one) == _compared(other):
        raise ValueError(
            f'claim {one.name!r} ({one.first!r} against {one.second!r}) and '
            f'claim {other.name!r} ({other.first!r} against '
            f'{other.second!r}) are one comparison, and its test is '
            'two-sided: leave one of them out'
        )


def _compared(claim: Claim) -> tuple:
    """What the test of a claim compares, whichever does better."""
    return claim.setup, claim.sparsity, {claim.first, claim.second}
