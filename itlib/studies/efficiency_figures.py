"""The disagreement figure of ``01e_efficiency``: what two papers say, over the curves of one model."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.drawing import drawing
from itlib.figures import new_figure, scaling_curves
from itlib.theme import GREY, TWO_COLUMN, themed

PANELS = (
    (
        "Is a small set enough?",
        "familiarity",
        ("latent", "composed"),
        "arXiv:2310.05492: general ability is there\nat about a thousand examples",
        "arXiv:2303.14742: extraction and classification\nrise to two million",
    ),
    (
        "Does mathematics grow?",
        "family",
        ("addition", "two_digit_addition"),
        "arXiv:2310.05492: grows with data\n(12.7 to 49.1, 256 times the data)",
        "arXiv:2303.14742: stays flat\n(pattern only)",
    ),
)


@drawing
def disagreement(curves: dict[str, pd.DataFrame], *, y_label: str) -> np.ndarray:
    """Draw the curves that two papers' positions speak about, with both positions as text in each panel.

    Args:
        curves: Grouping column to mean curves of one model, from ``stats.mean_curve``: "familiarity" and "family".
        y_label: Name of the metric and its unit.

    Returns:
        Axes of shape (2,).
    """
    with themed():
        axes = new_figure(TWO_COLUMN, 3.0).subplots(1, 2, sharey=True)
        for ax, (title, column, names, first, second) in zip(axes, PANELS, strict=True):
            curve = curves[column]
            shown = curve[curve[column].isin(names)]
            if len(shown):
                scaling_curves(shown, by=column, x="examples", y_label=y_label, ax=ax)
            ax.set_title(title, pad=20)
            ax.set_ylim(-0.03, 1.4)
            ax.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
            _position(ax, 0.99, "^", first)
            _position(ax, 0.86, "v", second)
        axes[1].set_ylabel("")
    return axes


def _position(ax: Axes, height: float, marker: str, text: str) -> None:
    place = ax.transAxes
    ax.plot([0.03], [height - 0.05], marker, ms=4, color=GREY, transform=place, clip_on=False)
    ax.text(0.07, height, text, transform=place, va="top", fontsize=6, color="#444444")
