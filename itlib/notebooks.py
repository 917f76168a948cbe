"""Executing a study's notebook through papermill, from our command line."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from itlib.errors import InputError, RunError
from itlib.studies import STUDIES
from itlib.workspace import project_root, results_root, study_folder

STALE_SECONDS = 24 * 3600


def notebook_path(study: str) -> Path:
    """Return the source notebook of a study. Raises ``InputError`` when it is not there."""
    path = project_root() / "notebooks" / f"{study}.ipynb"
    if not path.is_file():
        raise InputError(f"{path}: no such notebook; run from the project folder")
    return path


def study_module(study: str) -> Any:
    """Return the module in which a study's design is written."""
    return importlib.import_module(STUDIES[study].partition(":")[0])


def report_folder(study: str, params: Any) -> Path:
    """Return where a study's report goes; one on the user's own data has a folder of its own."""
    variant = getattr(study_module(study), "variant", lambda params: "")(params)
    return study_folder(params.results, params.profile, study, variant)


def execute_notebook(study: str, params: Any) -> Path:
    """Execute a study's notebook with typed params and return the executed copy.

    The copy is written beside its final name and renamed, so that a reader never sees half a notebook; of a notebook
    that stops with an error the copy is kept as ``notebook-failed.ipynb``.

    Raises:
        RunError: A cell failed, or the kernel died twice; the line names the error.
        InputError: The ``python3`` kernel is missing.
    """
    _papermill()  # before nbclient, which brings the same grammar in
    from nbclient.exceptions import DeadKernelError

    try:
        return _attempt(study, params)
    except DeadKernelError:
        print(f"{study}.ipynb: the kernel died; once more, with the runs that are finished", file=sys.stderr)
    try:
        return _attempt(study, params)
    except DeadKernelError:
        lost = "the kernel died twice, perhaps for want of memory; finished runs are kept"
        raise RunError(f"{study}.ipynb: {lost}") from None


def _attempt(study: str, params: Any) -> Path:
    """Execute the notebook once; the death of its kernel passes through."""
    papermill = _papermill()
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError

    source = notebook_path(study)
    folder = report_folder(study, params)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    partial = folder / f".notebook-{os.getpid()}-{uuid.uuid4().hex[:8]}.ipynb"
    try:
        papermill.execute_notebook(
            # papermill fills {placeholders} in paths; ours are literal
            str(source).replace("{", "{{").replace("}", "}}"),
            str(partial).replace("{", "{{").replace("}", "}}"),
            parameters={"study": study, **_plain(params), **_absolute_results(params)},
            kernel_name="python3",
            cwd=str(project_root()),
            progress_bar=False,
            extra_arguments=["--log-level=ERROR"],  # the kernel warns of its own default transport at every start
        )
    except NoSuchKernel:
        raise InputError("the python3 kernel is missing; `make setup` or `pip install ipykernel` installs it") from None
    except papermill.PapermillExecutionError as error:
        _keep_failed(partial)
        line = next(iter(str(error.evalue).strip().splitlines()), "")
        raise RunError(f"{source.name}: {error.ename}: {line}".removesuffix(": ")) from None
    except DeadKernelError:
        _keep_failed(partial)
        raise
    else:
        return partial.replace(folder / "notebook.ipynb")
    finally:
        partial.unlink(missing_ok=True)


def _papermill() -> Any:
    """Return papermill, imported without the grammar of IRIs that a library below it builds for a second.

    It checks a format of addresses that no notebook has; where the grammar is missing, the format is not checked.
    """
    hidden = "rfc3987_syntax" not in sys.modules
    if hidden:
        sys.modules["rfc3987_syntax"] = None
    try:
        import papermill

        return papermill
    finally:
        if hidden:
            del sys.modules["rfc3987_syntax"]


def _keep_failed(partial: Path) -> None:
    if partial.exists():
        partial.replace(partial.with_name("notebook-failed.ipynb"))


def _remove_leftovers(folder: Path) -> None:
    """Remove copies that killed executions left; a fresh one may belong to an execution that goes on now."""
    for path in folder.glob(".notebook-*.ipynb"):
        if time.time() - path.stat().st_mtime > STALE_SECONDS:
            path.unlink(missing_ok=True)


def _absolute_results(params: Any) -> dict[str, str]:
    """Return the results folder for a notebook where it is named from the current one, which the notebook leaves."""
    named = getattr(params, "results", "") or os.environ.get("ITLIB_RESULTS", "")
    return {"results": str(results_root(named))} if named and not Path(named).expanduser().is_absolute() else {}


def _plain(params: Any) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(params).items()}
