"""The one door to the Hugging Face Hub: a repository at a revision becomes a local folder and a commit."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from itlib.errors import InputError

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

_COMMIT = re.compile(r"[0-9a-f]{40}")


def snapshot(
    repository: str, revision: str, *, kind: str, allow: Sequence[str], ignore: Sequence[str] = ()
) -> tuple[Path, str]:
    """Download a repository, or find it in the cache, and return its folder and commit.

    Args:
        repository: ``org/name``.
        revision: Branch, tag or commit; empty means ``main``. What comes back is always a commit.
        kind: "model" or "dataset".
        allow: Patterns of the files wanted.
        ignore: Patterns of files left out even if wanted.

    Raises:
        InputError: Malformed id; repository or revision missing, private or gated; offline and not in the cache.
    """
    if not REPOSITORY.fullmatch(repository):
        raise InputError(f"'{repository}' is not a hub id; write org/name or org/name@revision")
    fetch = _fetch_once if _COMMIT.fullmatch(revision) else _fetch
    return fetch(repository, revision or "main", kind, tuple(allow), tuple(ignore))


def _fetch(
    repository: str, revision: str, kind: str, allow: tuple[str, ...], ignore: tuple[str, ...]
) -> tuple[Path, str]:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub
    from huggingface_hub import errors

    wanted = f"{kind} {repository}@{revision}"
    try:
        folder = huggingface_hub.snapshot_download(
            repository,
            revision=revision,
            repo_type=kind,
            allow_patterns=list(allow),
            ignore_patterns=list(ignore) or None,
        )
    except errors.GatedRepoError:
        raise InputError(f"{wanted} is gated: accept its terms on the hub and log in with `hf auth login`") from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{wanted}: no such revision; name a branch, a tag or a full commit") from None
    except errors.RepositoryNotFoundError:
        raise InputError(f"{wanted} not found: misspelt, or private and you are not logged in") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise InputError(f"{wanted} is not in the cache and the hub cannot be reached; fetch it while online") from None
    except (errors.HfHubHTTPError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{wanted}: the hub did not deliver ({reason}); try again, or fetch it beforehand") from None
    commit = Path(folder).name
    if not _COMMIT.fullmatch(commit):
        raise InputError(f"{wanted}: the hub gave no commit (folder '{commit}')")
    return Path(folder), commit


# A commit never changes, so one answer of the hub is enough for all runs of a process.
_fetch_once = functools.lru_cache(maxsize=16)(_fetch)
