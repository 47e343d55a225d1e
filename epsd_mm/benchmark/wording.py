"""Words for numbers."""


def cell_count(count: int, kind: str = '') -> str:
    """A number of cells, such as ``1 cell`` or ``3 finished cells``."""
    cells = 'cell' if count == 1 else 'cells'
    return f'{count} {kind} {cells}' if kind else f'{count} {cells}'


def pair_count(count: int) -> str:
    """A number of pairs, such as ``1 pair``."""
    return f'{count} pair' if count == 1 else f'{count} pairs'
