"""When a claim was written down: the commit that declared it, later edits, and whether runs came after it."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from itlib.claims import FOLDER

STATES = ("declared", "amended", "undeclared", "unknown")


@dataclass(frozen=True)
class Declaration:
    """The history of a claim's file: the commit that added it and those that changed it later, oldest first."""

    commit: str
    edits: tuple[str, ...] = ()


@functools.cache
def declaration(claim_id: str, folder: Path = FOLDER) -> Declaration:
    """Return the history of a claim's file; without one (no git, not committed) the commit is empty."""
    found = _git(folder, "log", "--follow", "--format=%H", "--", f"{claim_id}.yaml").split()
    found.reverse()
    return Declaration(found[0], tuple(found[1:])) if found else Declaration("")


def state(claim_id: str, commits: Sequence[str], folder: Path = FOLDER) -> str:
    """Return how a claim stands to the commits that its runs were computed at.

    * declared: every run came after the declaration, and after every edit of it.
    * amended: every run came after the declaration; some came before an edit.
    * undeclared: a run came before the declaration.
    * unknown: a commit is missing, or is not in this repository.
    """
    known = declaration(claim_id, folder)
    if not known.commit or not commits or not all(commits):
        return "unknown"
    first = [_is_ancestor(known.commit, commit, folder) for commit in commits]
    if None in first:
        return "unknown"
    if not all(first):
        return "undeclared"
    return "declared" if all(_is_ancestor(e, c, folder) for e in known.edits for c in commits) else "amended"


@functools.cache
def _is_ancestor(earlier: str, later: str, folder: Path) -> bool | None:
    """Return whether a commit is the other one or comes before it; None if git cannot say."""
    try:
        command = ["git", "merge-base", "--is-ancestor", earlier, later]
        code = subprocess.run(command, cwd=folder, capture_output=True, timeout=20).returncode
    except (OSError, subprocess.SubprocessError):
        return None
    return {0: True, 1: False}.get(code)


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
