"""The track game against a search that knows only the rules in words."""

import pytest

from itlib.microworld import track


def landing(piece, move):
    """Move a piece on the track drawn as a row of cells; None when it falls off."""
    row = list("123456789")
    at = row.index(piece)
    if move == "back":
        return row[at - 1] if at else None
    ahead = row[at + 1 :]
    return {"step": ahead[:1], "leap": ahead[1:2]}[move][0] if len(ahead) > (move == "leap") else None


@pytest.mark.parametrize("piece", list("123456789"))
def test_legal_moves_are_those_that_land_on_a_free_cell(piece):
    for wall in "123456789":
        for other in "123456789":
            if piece in (wall, other):
                continue
            legal = [m for m in ("step", "leap", "back") if landing(piece, m) not in (None, wall, other)]
            assert track.legal_moves(piece, wall, other) == tuple(legal or ["stuck"])


def test_positions_are_all_and_each_once():
    every = track.positions()
    assert len(set(every)) == len(every) == 9 * 8 * 7 // 2
    assert all(low < high and piece not in (low, high) for piece, low, high in every)


def test_every_kind_of_answer_occurs():
    answers = {track.legal_moves(*position) for position in track.positions()}
    assert {("stuck",), ("step", "leap", "back"), ("leap", "back"), ("back",)} <= answers
