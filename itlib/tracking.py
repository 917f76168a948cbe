"""Finished runs in an experiment tracker: TensorBoard, Weights & Biases, MLflow or trackio, through accelerate.

A run becomes a run of the tracker under its key: its spec as the configuration, its training curve step by step, and
its scores at the end. The store stays what counts: a tracker that fails is told about once and stops no run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from itlib.errors import InputError
from itlib.frame import run_frame
from itlib.result import RunResult
from itlib.spec import flatten, key

NONE = "none"
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
TRACKERS = (NONE, *PACKAGES)
PROJECT = "itlib"


class Tracking:
    """Reports results to one tracker; with "none" it does nothing.

    Args:
        report_to: One of ``TRACKERS``.
        folder: Where trackers that write files put them.

    Raises:
        InputError: The tracker is unknown, or its package is not installed.
    """

    def __init__(self, report_to: str, folder: Path) -> None:
        self._folder, self._failed = folder, False
        self._tracker: Any = None
        if report_to == NONE:
            return
        if report_to not in TRACKERS:
            raise InputError(f"report_to: '{report_to}' is not one of {', '.join(TRACKERS)}")
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS
        from accelerate.utils import imports

        if not getattr(imports, f"is_{report_to}_available")():
            raise InputError(f"report_to: {report_to} is not installed: pip install {PACKAGES[report_to]}")
        self._name, self._tracker = report_to, LOGGER_TYPE_TO_CLASS[report_to]

    def report(self, result: RunResult) -> None:
        """Send one result."""
        if self._tracker is None or self._failed:
            return
        try:
            tracker = self._start(key(result.spec))
            tracker.store_init_configuration({name: _plain(value) for name, value in flatten(result.spec).items()})
            for point in result.curve:
                named = {f"train/{name}": float(value) for name, value in point.items() if name != "step"}
                tracker.log(named, step=int(point["step"]))
            last = int(result.curve[-1]["step"]) if result.curve else 0
            tracker.log({"status": result.status, **scores(result)}, step=last)
            tracker.finish()
        except Exception as error:  # a service that is away must not cost a run
            self._failed = True
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            print(f"report_to: {self._name} failed and gets nothing more: {reason}", file=sys.stderr)

    def _start(self, run: str) -> Any:
        """Return a tracker with a run of its own; each names project and run in its own way."""
        folder = str(self._folder / self._name)
        if self._name == "tensorboard":
            tracker = self._tracker(run, folder)
        elif self._name == "mlflow":
            tracker = self._tracker(PROJECT, folder, run_name=run)
        else:
            tracker = self._tracker(PROJECT, name=run)
        tracker.start()
        return tracker


def scores(result: RunResult) -> dict[str, float]:
    """Return the mean of every metric of a run over its families, "test/exact_match" and the like."""
    frame = run_frame([result])
    if not len(frame):
        return {}
    means: Mapping[str, float] = frame.groupby("metric")["value"].mean().dropna().to_dict()
    return {f"test/{name}": float(value) for name, value in means.items()}


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else " ".join(map(str, value)) if value else ""
