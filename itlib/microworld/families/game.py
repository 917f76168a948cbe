"""The track game: which moves are legal, as an exact list and as an open-ended request for any legal move."""

from __future__ import annotations

from functools import cache

from itlib.microworld import track
from itlib.microworld.dice import Dice
from itlib.microworld.families import Arguments, Family, Phrases
from itlib.microworld.splits import track_positions
from itlib.registry import families


@cache
def _every(split: str) -> list[Arguments]:
    return list(track_positions(split))


def _any_move(dice: Dice, arguments: Arguments, split: str) -> str:
    return dice.pick(track.legal_moves(*arguments))


_SHARED = {
    "operand": "position",
    "every": _every,
    "entities": lambda arguments: ("piece {} walls {} {}".format(*arguments),),
    "standard": False,
}
families.register("legal_moves")(
    Family(
        "legal_moves",
        "game",
        "latent",
        "List all legal moves of a piece on a track.",
        Phrases(
            (
                "the moves of piece {0} with walls {1} {2}",
                "the legal moves for piece {0} , walls {1} {2}",
                "all moves at piece {0} and walls {1} {2}",
                "what piece {0} can do with walls {1} {2}",
            ),
            ("the options of piece {0} given walls {1} {2}", "every allowed move , piece {0} , walls {1} {2}"),
            ("the freedom of piece {0} near walls {1} {2}",),
        ),
        **_SHARED,
    )
)
families.register("one_legal_move")(
    Family(
        "one_legal_move",
        "game",
        "latent",
        "Name any one legal move of a piece on a track.",
        Phrases(
            (
                "a move of piece {0} with walls {1} {2}",
                "one legal move for piece {0} , walls {1} {2}",
                "any move at piece {0} and walls {1} {2}",
                "one thing piece {0} can do with walls {1} {2}",
            ),
            ("an option of piece {0} given walls {1} {2}", "one allowed move , piece {0} , walls {1} {2}"),
            ("one freedom of piece {0} near walls {1} {2}",),
        ),
        constraints=lambda arguments: ("legal_move {} {} {}".format(*arguments), "at_most 1"),
        respond=_any_move,
        **_SHARED,
    )
)
