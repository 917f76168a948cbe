"""Errors that a user meets: one line that says what is wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ItlibError(Exception):
    """Base of every error this package raises on purpose.

    The message is one line of bounded length that a terminal can show: names and values in it come from outside.
    """

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


class InputError(ItlibError):
    """Something the user gave is wrong: parameters, data, a model, a folder. Raised before any work."""

    exit_code = 2


class RunError(ItlibError):
    """A run failed or results are missing."""

    exit_code = 1


def one_line(text: str, most: int = 1500) -> str:
    """Return a text without line ends and with control characters spelled out, cut in its middle where it is long."""
    text = "".join(c if c.isprintable() else _spelled(c) for c in " ".join(text.splitlines()))
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def _spelled(character: str) -> str:
    return " " if character == "\t" else character.encode("unicode_escape").decode()


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest option, or an empty string."""
    close = difflib.get_close_matches(str(name), list(options), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""
