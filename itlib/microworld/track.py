"""A small rule game, independent of words and facts: a piece on a track of nine cells, two of them walled.

The piece may step (one cell on), leap (two cells on, over a wall) or go back (one cell), and must land on a free cell.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

CELLS = 9
MOVES = {"step": 1, "leap": 2, "back": -1}


def legal_moves(piece: str, wall: str, other_wall: str) -> tuple[str, ...]:
    """Return the legal moves in the order of ``MOVES``, or ("stuck",) when there is none. Cells are "1" to "9"."""
    taken = {int(wall), int(other_wall)}
    landings = {move: int(piece) + distance for move, distance in MOVES.items()}
    legal = tuple(move for move, cell in landings.items() if 1 <= cell <= CELLS and cell not in taken)
    return legal or ("stuck",)


@cache
def positions() -> list[tuple[str, str, str]]:
    """Return all positions (piece, lower wall, upper wall), 252 in number."""
    cells = range(1, CELLS + 1)
    return [
        (str(piece), str(low), str(high))
        for piece in cells
        for low, high in combinations(cells, 2)
        if piece not in (low, high)
    ]
