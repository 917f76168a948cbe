"""What print would spoil: text over text, text beyond the edge, text too small to read."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from itlib.theme import themed

SMALLEST = 6.0  # points
DPI = 100
TOLERANCE = 1.0  # pixels by which boxes may touch; they hold the room of the tallest letters
PAGE, MARGIN = (8.27, 11.69), 0.4  # A4 in inches


@dataclass(frozen=True)
class Drawn:
    """A text as it was drawn: its words, box in pixels, size in points and angle in degrees."""

    text: str
    box: Bbox
    size: float
    angle: float


class _Recorder(RendererAgg):
    """Draws as usual and takes down every text that reaches the canvas."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.texts: list[Drawn] = []

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):  # type: ignore[no-untyped-def]  # of matplotlib
        if mtext is not None and s.strip():
            box = Text.get_window_extent(mtext, self)  # that of an annotation holds its arrow, too
            self.texts.append(Drawn(s, box, prop.get_size_in_points(), angle))
        super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)


def texts(fig: Figure) -> list[Drawn]:
    """Return every text that a figure shows; of several lines each is a text with the box of all."""
    with themed():
        fig.set_dpi(DPI)
        canvas = FigureCanvasAgg(fig)
        canvas.draw()  # lays the figure out
        recorder = _Recorder(*fig.bbox.size, DPI)
        fig.draw(recorder)
    return recorder.texts


def problems(fig: Figure) -> list[str]:
    """Return what is wrong with the text of a figure, a line per problem; empty for a figure that can be printed.

    Two texts overlap where their boxes do by more than a pixel at 100 dpi. Slanted texts have boxes much larger than
    themselves and are only compared with upright ones if they cover their middle.
    """
    found = texts(fig)
    width, height = fig.bbox.size
    lines = [f"'{text.text}' has {text.size:g} pt, less than {SMALLEST:g}" for text in found if text.size < SMALLEST]
    for text in found:
        box = text.box
        if min(box.x0, box.y0) < -TOLERANCE or box.x1 > width + TOLERANCE or box.y1 > height + TOLERANCE:
            lines.append(f"'{text.text}' is cut off at the edge")
    for left, right in itertools.combinations(found, 2):
        if left.box.bounds != right.box.bounds and _overlap(left, right):
            lines.append(f"'{left.text}' and '{right.text}' overlap")
    return lines


def _overlap(left: Drawn, right: Drawn) -> bool:
    if left.angle % 90 or right.angle % 90:
        return False
    shared = Bbox.intersection(left.box, right.box)
    return shared is not None and min(shared.width, shared.height) > TOLERANCE


def contact_sheet(images: Sequence[Path], path: Path) -> list[Path]:
    """Write images side by side at the size they have in print, on pages of A4, and return the pages.

    Args:
        images: PNG files with 300 dots per inch.
        path: Of the first page; the others get -2, -3 and so on before the suffix.
    """
    from PIL import Image

    pages: list[Figure] = []
    x = y = row = 0.0
    for file in images:
        with Image.open(file) as image:
            width, height = (side / 300 for side in image.size)
            pixels = image.convert("RGB").resize((int(width * 150), int(height * 150)))
        if x + width > PAGE[0] - MARGIN:
            x, y, row = MARGIN, y + row + 0.3, 0.0
        if not pages or y + height > PAGE[1] - MARGIN:
            pages.append(Figure(figsize=PAGE))
            x, y, row = MARGIN, MARGIN, 0.0
        fig = pages[-1]
        ax = fig.add_axes((x / PAGE[0], 1 - (y + height) / PAGE[1], width / PAGE[0], height / PAGE[1]))
        ax.imshow(pixels, aspect="auto")
        ax.axis("off")
        name = f"{file.parents[1].name}: {file.stem}"
        fig.text(x / PAGE[0], 1 - (y - 0.03) / PAGE[1], name, fontsize=6, color="0.5", va="bottom")
        x, row = x + width + 0.1, max(row, height)
    written = []
    for number, fig in enumerate(pages, start=1):
        written.append(path if number == 1 else path.with_stem(f"{path.stem}-{number}"))
        fig.savefig(written[-1], dpi=150)
    return written
