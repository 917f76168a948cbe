"""Drawings: what a drawing function was given is kept beside what it drew, so that it is drawn again without any run.

A function marked with ``drawing`` leaves its name and arguments on the figure. A report writes them to
``drawings/<name>/``: plain values and structure as JSON, frames as parquet. Nothing there is code; reading one back
calls a function only if it is part of this package and marked.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from itlib.errors import InputError, ItlibError
from itlib.files import write_atomic
from itlib.theme import figure_of

FILE = "drawing.json"
PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Drawing:
    """A call of a drawing function: its place, "module:name", and its arguments by name."""

    function: str
    arguments: dict[str, Any]


def drawing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that draws: it returns a figure or axes, and computes nothing that the run alone knows.

    What it is given has to be frames, arrays, plain values, collections of these, or data classes of this package.
    Drawing into axes that the caller brings leaves no trace; the caller's own drawing counts.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def draw(*arguments: Any, **named: Any) -> Any:
        drawn = function(*arguments, **named)
        given = signature.bind(*arguments, **named).arguments
        if not any(isinstance(value, (Axes, Figure)) for value in given.values()):
            figure_of(drawn).itlib_drawing = Drawing(f"{function.__module__}:{function.__name__}", dict(given))
        return drawn

    draw.is_drawing = True
    return draw


def drawing_of(fig: Figure | Axes | np.ndarray) -> Drawing | None:
    """Return what drew a figure, or None where no marked function did."""
    return getattr(figure_of(fig), "itlib_drawing", None)


def write_drawing(call: Drawing, folder: Path, metadata: Mapping[str, Any]) -> list[Path]:
    """Write a drawing to a folder and return the paths of its files.

    Raises:
        TypeError: An argument is none of the kinds that ``drawing`` names.
    """
    frames: dict[str, pd.DataFrame] = {}
    arguments = {name: _encoded(value, name, frames) for name, value in call.arguments.items()}
    content = {"function": call.function, "arguments": arguments, "metadata": dict(metadata)}
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_atomic(folder / FILE, text.encode())
    paths = [folder / FILE]
    for name, frame in frames.items():
        buffer = io.BytesIO()
        frame.to_parquet(buffer)
        paths.append(folder / f"{name}.parquet")
        write_atomic(paths[-1], buffer.getvalue())
    return paths


def read_drawing(folder: Path) -> tuple[Drawing, dict[str, Any]]:
    """Read what ``write_drawing`` wrote: the drawing and its metadata.

    Raises:
        InputError: A file is missing or broken, or names something that is no drawing function of this package.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_text())
        named = content["arguments"]
        arguments = {name: _decoded(value, folder) for name, value in named.items()}
        return Drawing(str(content["function"]), arguments), content["metadata"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: is no drawing ({type(error).__name__}: {str(error)[:80]})") from None


def draw(call: Drawing) -> Figure:
    """Draw again.

    Raises:
        InputError: The function is no drawing function of this package, or cannot draw what it is given.
    """
    function = _of_package(call.function)
    if not getattr(function, "is_drawing", False):
        raise InputError(f"'{call.function}' is no drawing function of this package")
    try:
        return figure_of(function(**call.arguments))
    except ItlibError:
        raise
    except Exception as error:  # arguments come from a file, and drawing functions trust theirs
        raise InputError(f"'{call.function}' cannot draw what was kept ({type(error).__name__}: {error})") from error


# ---- values to JSON and back --------------------------------------------------------------------------------


def _encoded(value: Any, name: str, frames: dict[str, pd.DataFrame]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, pd.DataFrame):
        apart = [column for column in value.columns if any(map(_is_ours_object, value[column]))]
        kept = {"frame": _kept(value.drop(columns=apart), name, frames)}
        if not apart:
            return kept
        columns = [[c, _encoded(list(value[c]), f"{name}.{c}", frames)] for c in apart]
        return {"joined": kept, "columns": columns, "order": list(value.columns)}
    if isinstance(value, pd.Series):
        return {"series": _kept(value.to_frame("value"), name, frames), "name": _encoded(value.name, name, frames)}
    if isinstance(value, np.ndarray):
        flat = pd.DataFrame({"value": value.ravel()})
        return {"array": _kept(flat, name, frames), "shape": list(value.shape)}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_encoded(inner, f"{name}.{index}", frames) for index, inner in enumerate(value)]}
    if isinstance(value, Mapping):
        pairs = enumerate(value.items())
        return {"mapping": [[_encoded(k, name, frames), _encoded(v, f"{name}.{i}", frames)] for i, (k, v) in pairs]}
    if _is_ours_object(value):
        held = {f.name: _encoded(getattr(value, f.name), f"{name}.{f.name}", frames) for f in dataclasses.fields(value)}
        return {"object": f"{type(value).__module__}:{type(value).__name__}", "fields": held}
    raise TypeError(f"{name}: {type(value).__name__} cannot be kept for drawing again")


def _kept(frame: pd.DataFrame, name: str, frames: dict[str, pd.DataFrame]) -> str:
    frames[name] = frame
    return name


def _decoded(value: Any, folder: Path) -> Any:
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items())) if len(value) == 1 else ("", None)
    if kind == "float":
        return float(content)
    if kind == "frame":
        return _frame(folder, content)
    if kind in ("list", "tuple"):
        inner = [_decoded(item, folder) for item in content]
        return tuple(inner) if kind == "tuple" else inner
    if kind == "mapping":
        return {_decoded(key, folder): _decoded(item, folder) for key, item in content}
    if "joined" in value:
        frame = _decoded(value["joined"], folder)
        for column, content in value["columns"]:
            frame[column] = pd.Series(_decoded(content, folder), index=frame.index, dtype=object)
        return frame[value["order"]]
    if "series" in value:
        return _frame(folder, value["series"])["value"].rename(_decoded(value["name"], folder))
    if "array" in value:
        return _frame(folder, value["array"])["value"].to_numpy().reshape(value["shape"])
    cls = _of_package(value["object"])
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise InputError(f"'{value['object']}' is no data class of this package")
    return cls(**{name: _decoded(item, folder) for name, item in value["fields"].items()})


def _frame(folder: Path, name: str) -> pd.DataFrame:
    if Path(name).name != name or name.startswith("."):
        raise InputError(f"{folder / FILE}: '{name}' is no plain file name")
    return pd.read_parquet(folder / f"{name}.parquet")


def _is_ours_object(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type) and _is_ours(type(value).__module__)


def _is_ours(module: str) -> bool:
    return module == PACKAGE or module.startswith(f"{PACKAGE}.")


def _of_package(place: str) -> Any:
    module, _, name = place.partition(":")
    if not _is_ours(module) or not name.isidentifier():
        raise InputError(f"'{place}' is not part of this package")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise InputError(f"'{place}': this version of the package has no such function") from None
