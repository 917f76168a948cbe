"""itlib: reproducible experiments on instruction tuning.

The public names below are imported on first use, so that ``import itlib`` loads neither torch nor matplotlib.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

# Widgets are an extra: without them progress is a line of text, which is no fault that a notebook should open with.
warnings.filterwarnings("ignore", message="IProgress not found")

__version__ = "0.1.0"

_HOMES = {
    "InputError": "itlib.errors",
    "Report": "itlib.report",
    "RunSpec": "itlib.spec",
    "Store": "itlib.store",
    "audit_frame": "itlib.frame",
    "budgets": "itlib.fairness",
    "grouped": "itlib.fairness",
    "item_frame": "itlib.frame",
    "ledger": "itlib.fairness",
    "measure": "itlib.frame",
    "open_store": "itlib.workspace",
    "origins": "itlib.frame",
    "plan": "itlib.engines",
    "results_root": "itlib.workspace",
    "run_all": "itlib.engines",
    "run_frame": "itlib.frame",
    "undeclared": "itlib.fairness",
    "with_fields": "itlib.spec",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'itlib' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
