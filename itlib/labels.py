"""Names beside points, so that none lies on another one or on a point: a figure with many arms needs no legend."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from itlib.theme import GREY

WIDTH, HEIGHT = 0.58, 1.15  # of a letter and a line, in units of the font size
MARK = 3.0  # half the side of the square that a point takes, in points of the page
RADII = (6, 10, 15, 21, 28, 36, 45, 55, 66, 78, 92, 108)
ANGLES = (0, 180, 20, -20, 160, -160, 40, -40, 140, -140, 65, -65, 115, -115, 90, -90)
LEADER = 9.0  # a label farther away gets a line to its point
Box = tuple[float, float, float, float]


def place_labels(
    ax: Axes,
    x: Sequence[float],
    y: Sequence[float],
    names: Sequence[str],
    colours: Sequence[str],
    *,
    lines: Sequence[np.ndarray] = (),
    size: float = 6.0,
) -> list[Box]:
    """Write a name beside every point, as near as there is room; labels farther away get a thin line to their point.

    Call it last: limits and scales of the axes must be final. Points come in order of how crowded they are, and each
    takes the nearest free place; one without a free place takes that with the least overlap.

    Args:
        ax: Where the points are drawn.
        x: Their places, in data units.
        y: Their heights, in data units.
        names: One label per point.
        colours: Colour of every label.
        lines: What else is to stay free: lines through places in data units, each of shape (n, 2).
        size: Font size in points.

    Returns:
        The boxes of the labels in points of the page (left, bottom, right, top), in the order given.
    """
    figure = ax.figure
    figure.draw_without_rendering()  # the layout decides where the axes are
    scale = 72.0 / figure.dpi
    spots = ax.transData.transform(np.column_stack([np.asarray(x, float), np.asarray(y, float)])) * scale
    frame = ax.get_window_extent()
    room = (frame.x0 * scale, frame.y0 * scale, frame.x1 * scale, frame.y1 * scale)
    taken: list[Box] = [(px - MARK, py - MARK, px + MARK, py + MARK) for px, py in spots]
    for line in lines:
        corners = ax.transData.transform(np.asarray(line, float)) * scale
        taken += [box for start, end in itertools.pairwise(corners) for box in _dots(tuple(start), tuple(end))]
    boxes: dict[int, Box] = {}
    crowded = [sum(np.hypot(*(spots - spot).T) < 40) for spot in spots]
    for index in sorted(range(len(names)), key=lambda place: (-crowded[place], spots[place][0], spots[place][1])):
        boxes[index], end = _nearest(tuple(spots[index]), names[index], size, room, taken)
        taken.append(boxes[index])
        taken += _along(tuple(spots[index]), end)
        _write(ax, (x[index], y[index]), tuple(spots[index]), boxes[index], end, names[index], colours[index], size)
    return [boxes[index] for index in range(len(names))]


def overlap(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


def _overlaps(box: Box, others: np.ndarray) -> float:
    """Return the area that a box shares with all others, of shape (n, 4)."""
    wide = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    high = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    return float((np.clip(wide, 0, None) * np.clip(high, 0, None)).sum())


def _nearest(
    spot: tuple[float, float], name: str, size: float, room: Box, taken: Sequence[Box]
) -> tuple[Box, tuple[float, float]]:
    """Return the box of a label and the point of it that is nearest to its spot."""
    width, height = WIDTH * size * len(name), HEIGHT * size
    occupied = np.array(taken)
    best, cost = None, math.inf
    for radius in RADII:
        for angle in ANGLES:
            dx, dy = radius * math.cos(math.radians(angle)), radius * math.sin(math.radians(angle))
            end = (spot[0] + dx, spot[1] + dy)
            left = end[0] if dx >= 0 else end[0] - width
            box = (left, end[1] - height / 2, left + width, end[1] + height / 2)
            shared = width * height - overlap(box, room)  # what lies outside
            shared += sum(_overlaps(part, occupied) for part in (box, *_along(spot, end)))
            if shared < 1e-6:
                return box, end
            if 4 * shared + radius < cost:
                best, cost = (box, end), 4 * shared + radius  # a little farther away is better than a crossing
    assert best is not None
    return best


def _along(spot: tuple[float, float], end: tuple[float, float]) -> list[Box]:
    """Return small boxes along the line to a label, away from the point itself; none for a label without a line."""
    length = math.dist(spot, end)
    return [] if length <= LEADER else _dots(spot, end, skip=(MARK + 3.0) / length)


def _dots(start: tuple[float, float], end: tuple[float, float], skip: float = 0.0) -> list[Box]:
    """Return small boxes every few points of the page along a line, without its first share ``skip``."""
    steps = np.linspace(skip, 1.0, max(2, int(math.dist(start, end) // 3)), endpoint=False)
    along = [(start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])) for t in steps]
    return [(px - 0.6, py - 0.6, px + 0.6, py + 0.6) for px, py in along]


def _write(
    ax: Axes,
    place: tuple[float, float],
    spot: tuple[float, float],
    box: Box,
    end: tuple[float, float],
    name: str,
    colour: str,
    size: float,
) -> None:
    side = "left" if end[0] <= box[0] + 1e-6 else "right"
    nearer = (0.0 if side == "left" else 1.0, 0.5)  # the end of the text at which the line begins
    line = {"arrowstyle": "-", "lw": 0.4, "color": GREY, "shrinkA": 0, "shrinkB": 2, "relpos": nearer}
    text = ax.annotate(
        name,
        xy=place,
        xytext=(end[0] - spot[0], end[1] - spot[1]),
        textcoords="offset points",
        ha=side,
        va="center",
        fontsize=size,
        color=colour,
        arrowprops=line if math.dist(spot, end) > LEADER else None,
    )
    text.set_in_layout(False)  # a label never moves the axes that it was placed in
