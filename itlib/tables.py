"""Tables: a frame becomes Markdown, LaTeX (booktabs) and CSV with one number format.

Floats have a fixed number of decimals; smaller non-zero ones, and ones of a million or more, are written as 2.0e-05.
Integers stay integers, missing values are "n/a", and pairs of numbers are intervals.
"""

from __future__ import annotations

import csv
import io
import math
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from itlib.files import write_atomic

MISSING = "n/a"
ROUNDING = 1e-12  # what is left of sums that are zero on paper

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
_MARKDOWN = {character: f"\\{character}" for character in "\\`*_{}[]<>|#~$"}


def format_value(value: Any, digits: int = 3) -> str:
    """Return one cell as text, in the format of the module."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list, np.ndarray)):
        return "[" + ", ".join(format_value(item, digits) for item in value) + "]"
    if value is None or value is pd.NA or value is pd.NaT:
        return MISSING
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return _format_float(float(value), digits)
    return " ".join(str(value).split())


def format_table(frame: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Return the frame with every cell as text; column names become words."""
    cells = {
        str(name).replace("_", " "): [format_value(value, digits) for value in frame[name]] for name in frame.columns
    }
    if len(cells) < frame.shape[1]:
        raise ValueError("two columns have the same name")
    return pd.DataFrame(cells, index=range(len(frame)), dtype=object)


def to_markdown(frame: pd.DataFrame, digits: int = 3) -> str:
    """Return a pipe table, numbers aligned right. Characters with a meaning in Markdown are escaped."""
    text = format_table(frame, digits)
    lines = [[_escape(str(name), _MARKDOWN) for name in text.columns]]
    lines.append(["---:" if _is_numeric(frame[name]) else ":---" for name in frame.columns])
    lines += [[_escape(cell, _MARKDOWN) for cell in row] for row in text.itertuples(index=False)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def to_latex(frame: pd.DataFrame, digits: int = 3) -> str:
    """Return a booktabs ``tabular`` without a float around it. All special characters are escaped."""
    text = format_table(frame, digits)
    columns = "".join("r" if _is_numeric(frame[name]) else "l" for name in frame.columns)
    rows = [" & ".join(_escape(cell, _LATEX) for cell in row) + r" \\" for row in text.itertuples(index=False)]
    header = " & ".join(_escape(str(name), _LATEX) for name in text.columns) + r" \\"
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", header, r"\midrule", *rows, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}", ""])


def to_csv(frame: pd.DataFrame, digits: int = 3) -> str:
    """Return comma-separated text in the same number format. Unrounded numbers stand in the study's frame.csv."""
    text = format_table(frame, digits)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(text.columns)
    writer.writerows(text.itertuples(index=False))
    return buffer.getvalue()


def write_table(frame: pd.DataFrame, folder: Path, name: str, *, caption: str = "", digits: int = 3) -> list[Path]:
    """Write ``<name>.md`` and ``<name>.tex`` (with the caption) and ``<name>.csv``; return the three paths."""
    line = " ".join(caption.split())
    markdown = to_markdown(frame, digits) + (f"\n{_escape(line, _MARKDOWN)}\n" if line else "")
    latex = (f"\\caption{{{_escape(line, _LATEX)}}}\n" if line else "") + to_latex(frame, digits)
    contents = {"md": markdown, "tex": latex, "csv": to_csv(frame, digits)}
    paths = []
    for suffix, content in contents.items():
        paths.append(folder / f"{name}.{suffix}")
        write_atomic(paths[-1], content.encode())
    return paths


def _format_float(value: float, digits: int) -> str:
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if abs(value) < ROUNDING:
        value = 0.0
    if value != 0 and (abs(value) < 0.5 * 10**-digits or abs(value) >= 1e6):
        return f"{value:.1e}"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _escape(text: str, table: dict[str, str]) -> str:
    return "".join(table.get(character, character) for character in text)
