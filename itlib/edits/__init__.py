"""Edits: a tuned model is changed by hand before it is evaluated, to see what a part of the change is good for.

A registered edit is a function ``(about, scale)`` that changes the matrices of ``about.model`` in place. The model is
plain: adapters are merged before. Training is the same for every edit, so one set of kept weights serves them all. A
``scale`` lies between 0 and 1; what it means is the edit's own.
"""

from __future__ import annotations

from dataclasses import replace

from itlib.dense import dense
from itlib.errors import InputError
from itlib.measures import Measured
from itlib.registry import edits

NONE = "none"


def edited(about: Measured) -> Measured:
    """Return the run with its model edited as the evaluation says; the model given is used up."""
    name = about.spec.evaluate.edit
    if name == NONE:
        return about
    about = replace(about, model=dense(about.model))
    edits.get(name)(about, about.spec.evaluate.edit_scale)
    return about


def check_edit(name: str, scale: float) -> None:
    """Refuse an edit that there is not, or a scale that it cannot take."""
    if name == NONE:
        return
    edits.get(name)
    if not 0 <= scale <= 1:
        raise InputError(f"edit_scale: '{name}' takes 0 to 1, got {scale:g}")
