"""Executing a study's notebook through papermill, from our command line."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from itlib.errors import InputError, RunError
from itlib.studies import STUDIES
from itlib.workspace import project_root, study_folder


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
        RunError: A cell failed; the line names the error.
        InputError: The ``python3`` kernel is missing.
    """
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel

    source = notebook_path(study)
    folder = report_folder(study, params)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".notebook-{os.getpid()}-{uuid.uuid4().hex[:8]}.ipynb"
    try:
        papermill.execute_notebook(
            # papermill fills {placeholders} in paths; ours are literal
            str(source).replace("{", "{{").replace("}", "}}"),
            str(partial).replace("{", "{{").replace("}", "}}"),
            parameters={"study": study, **_plain(params)},
            kernel_name="python3",
            cwd=str(project_root()),
            progress_bar=False,
            extra_arguments=["--log-level=ERROR"],  # the kernel warns of its own default transport at every start
        )
    except NoSuchKernel:
        raise InputError("the python3 kernel is missing; `make setup` or `pip install ipykernel` installs it") from None
    except papermill.PapermillExecutionError as error:
        partial.replace(folder / "notebook-failed.ipynb")
        raise RunError(f"{source.name}: {error.ename}: {str(error.evalue).splitlines()[0]}") from None
    finally:
        if partial.exists() and not _complete(partial):
            partial.unlink()
    final = folder / "notebook.ipynb"
    partial.replace(final)
    return final


def _complete(path: Path) -> bool:
    """Return whether papermill recorded an end of the execution."""
    metadata = json.loads(path.read_text()).get("metadata", {}).get("papermill", {})
    return bool(metadata.get("end_time")) and not metadata.get("exception")


def _plain(params: Any) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(params).items()}
