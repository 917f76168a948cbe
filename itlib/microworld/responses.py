"""How a response is worded: the same content in other words, and with style around it.

Content, wording and style use different words, so that each token of a response belongs to one of the three.
"""

from __future__ import annotations

from itlib.errors import InputError, did_you_mean
from itlib.microworld.dice import Dice

WORDINGS = {
    "short": ("{}",),
    "sentence": ("it is {}", "that would be {}", "{} it is", "that must be {}"),
}
WORDINGS["mixed"] = (*WORDINGS["short"], *WORDINGS["sentence"])
STYLES = {
    "plain": ("", ""),
    "polite": ("certainly , gladly :", ", hope this helps !"),
    "cheerful": ("oh wow ! hey :", ", enjoy , cheers !"),
    "formal": ("dear reader , hereby :", ", yours sincerely !"),
}


def check(wording: str, style: str) -> None:
    """Raise ``InputError`` for an unknown wording or style."""
    for key, value, known in (("response_wording", wording, WORDINGS), ("response_style", style, STYLES)):
        if value not in known:
            raise InputError(f"{key} is '{value}'{did_you_mean(value, known)}; known: {', '.join(known)}")


def frame(wording: str, style: str, dice: Dice) -> str:
    """Return a wording, drawn by ``dice``, between the opening and closing of a style; "{}" is the content."""
    opening, closing = STYLES[style]
    return " ".join(part for part in (opening, dice.pick(WORDINGS[wording]), closing) if part)


def frames() -> tuple[str, ...]:
    """Return every wording in every style, as texts with "{}" where the content goes; the bare content comes last."""
    every = (
        " ".join(part for part in (opening, wording, closing) if part)
        for opening, closing in STYLES.values()
        for wording in WORDINGS["mixed"]
    )
    return tuple(sorted(set(every), key=len, reverse=True))


def style_words() -> frozenset[str]:
    """Return the words that carry style and nothing else."""
    return frozenset(word for edges in STYLES.values() for edge in edges for word in edge.split() if word.isalpha())


def wording_words() -> frozenset[str]:
    """Return the words that sentences put around the content."""
    return frozenset(
        word for frame in WORDINGS["sentence"] for word in frame.replace("{}", "").split() if word.isalpha()
    )
