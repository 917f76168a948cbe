"""How every figure looks and is written: one theme, colours keyed by role, byte-reproducible files.

Figures are built without pyplot, so no display is needed and no global state is touched. Widths are those of a
one-column (3.3 in) and a two-column (6.8 in) page.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import matplotlib.colors
import matplotlib.style
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from itlib.files import write_atomic

ONE_COLUMN = 3.3
TWO_COLUMN = 6.8
GREY = "#767676"
DPI = 300  # of bitmaps

# Roles keep their colour and marker across all figures; the palette is seaborn's colour-blind one.
PALETTE = [matplotlib.colors.to_hex(colour) for colour in seaborn.color_palette("colorblind")]
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "*", "h")
ROLES = {"latent": 0, "composed": 1, "weak": 2, "flat": 7, "rare": 5, "unknown": 9, "all": 0, "reference": 4}
ROLES |= {"full": 4, "lora": 3}
OTHER_ROLES = (3, 0, 1, 2, 4, 5, 7, 9, 6, 8)

THEME = {
    **seaborn.axes_style("ticks"),
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.formatter.use_locale": False,
    "axes.unicode_minus": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "svg.hashsalt": "itlib",
    "pdf.fonttype": 42,
    "savefig.dpi": DPI,
    "figure.dpi": 150,
}


def themed() -> AbstractContextManager[None]:
    """Return a context in which only this theme holds, whatever the user's matplotlib settings are."""
    return matplotlib.style.context(["default", THEME])


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return one colour per name: the role's own, or the next free one in the order given."""
    return {name: PALETTE[slot] for name, slot in _slots(names).items()}


def markers(names: Sequence[str]) -> dict[str, str]:
    """Return one marker per name, so that colours are never the only difference."""
    return {name: _MARKERS[slot] for name, slot in _slots(names).items()}


def in_order(values: pd.Series) -> list[str]:
    """Return distinct values: roles in their own order first, others as they come."""
    names, order = list(values.unique()), list(ROLES)
    return sorted(names, key=lambda name: order.index(name) if name in ROLES else len(order))


def new_figure(width: float = ONE_COLUMN, height: float = 2.3) -> Figure:
    """Return an empty figure of the given size in inches, under the theme, with a layout that clips nothing."""
    with themed():
        return Figure(figsize=(width, height), layout="constrained")


def save_figure(
    fig: Figure | Axes | np.ndarray, folder: Path, name: str, *, data: pd.DataFrame, metadata: Mapping[str, Any]
) -> list[Path]:
    """Write ``<name>.png`` (300 dpi), ``.svg``, ``.pdf`` and the drawn numbers as ``.csv``; equal input, equal bytes.

    Args:
        fig: The figure, or axes in it.
        folder: Where to write; made if needed.
        name: File name without suffix.
        data: What the figure shows, for the CSV twin.
        metadata: Run keys, profile and canonical command; embedded as JSON in every image. No dates.

    Returns:
        The four paths.
    """
    paths = save_images(fig, folder, name, metadata=metadata)
    paths.append(folder / f"{name}.csv")
    write_atomic(paths[-1], data.to_csv(index=False, lineterminator="\n").encode())
    return paths


def save_images(fig: Figure | Axes | np.ndarray, folder: Path, name: str, *, metadata: Mapping[str, Any]) -> list[Path]:
    """Write the three images of ``save_figure`` and return their paths."""
    figure = figure_of(fig)
    text = json.dumps(dict(metadata), sort_keys=True, allow_nan=False)
    embedded = {
        "png": {"Software": "itlib", "Title": name, "Description": text},
        "svg": {"Date": None, "Creator": "itlib", "Title": name, "Description": text},
        "pdf": {"CreationDate": None, "ModDate": None, "Creator": "itlib", "Title": name, "Subject": text},
    }
    paths = []
    with themed(), _laid_out(figure, dpi=DPI):
        for suffix, entries in embedded.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, metadata=entries, dpi=DPI)
            paths.append(folder / f"{name}.{suffix}")
            write_atomic(paths[-1], buffer.getvalue())
    return paths


@contextmanager
def _laid_out(figure: Figure, *, dpi: float) -> Iterator[None]:
    """Lay a figure out once for all its images, which then have one layout and take two thirds of the time."""
    engine, before = figure.get_layout_engine(), figure.dpi
    if engine is None:
        yield
        return
    figure.dpi = dpi
    try:
        engine.execute(figure)
        figure.set_layout_engine(None)  # what is left is drawn where the engine has put it
        yield
    finally:
        figure.set_layout_engine(engine)
        figure.dpi = before


def figure_of(target: Figure | Axes | np.ndarray) -> Figure:
    """Return the figure behind a figure, axes or an array of axes."""
    if isinstance(target, Figure):
        return target
    axes = target if isinstance(target, Axes) else np.ravel(target)[0]
    return cast(Figure, axes.get_figure(root=True))


def _slots(names: Sequence[str]) -> dict[str, int]:
    taken = {ROLES[name] for name in names if name in ROLES}
    free = [slot for slot in OTHER_ROLES if slot not in taken]
    slots: dict[str, int] = {}
    for name in names:
        others = len([known for known in slots if known not in ROLES])
        slots[name] = ROLES[name] if name in ROLES else free[others % len(free)]
    return slots
