"""Errors that a user meets: one line that says what is wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ItlibError(Exception):
    """Base of every error this package raises on purpose. The message is one line."""

    exit_code = 1


class InputError(ItlibError):
    """Something the user gave is wrong: parameters, data, a model, a folder. Raised before any work."""

    exit_code = 2


class RunError(ItlibError):
    """A run failed or results are missing."""

    exit_code = 1


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest option, or an empty string."""
    close = difflib.get_close_matches(str(name), list(options), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""
