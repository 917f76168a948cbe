"""Labels lie beside their points and on nothing else."""

from itertools import combinations

import numpy as np
import pytest

from itlib.labels import overlap, place_labels
from itlib.theme import new_figure, themed


def drawn(x, y, names, **how):
    with themed():
        ax = new_figure(6.8, 4.2).subplots()
        ax.plot(x, y, "o")
        ax.margins(0.12)
        return ax, place_labels(ax, x, y, names, ["black"] * len(names), **how)


@pytest.mark.parametrize("seed", range(5))
def test_no_label_lies_on_another_or_on_a_point(seed):
    """Twenty-six points, eight of which lie on one vertical."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 1, 26), rng.normal(size=26)
    x[:8] = 0.5
    ax, boxes = drawn(list(x), list(y), [f"method {i} with words" for i in range(26)])
    assert not any(overlap(one, other) > 0 for one, other in combinations(boxes, 2))
    spots = ax.transData.transform(np.column_stack([x, y])) * 72 / ax.figure.dpi
    points = [(px - 2, py - 2, px + 2, py + 2) for px, py in spots]
    assert not any(overlap(box, point) > 0 for box in boxes for point in points)


def test_a_lone_label_is_next_to_its_point_and_needs_no_line():
    ax, _ = drawn([0.0, 1.0], [0.0, 1.0], ["first", "second"])
    assert [text.get_text() for text in ax.texts] == ["first", "second"]
    assert all(text.arrow_patch is None for text in ax.texts)


def test_lines_are_left_free():
    line = np.array([[-1.0, 0.0], [3.0, 0.0]])  # longer than the axes
    ax, boxes = drawn([0.0, 1.0, 2.0], [0.0, 0.0, 0.0], ["first", "second", "third"], lines=[line])
    height = (ax.transData.transform((0, 0)) * 72 / ax.figure.dpi)[1]
    assert all(bottom > height or top < height for _, bottom, _, top in boxes)
    assert any(text.arrow_patch is not None for text in ax.texts)


def test_more_labels_than_room_are_all_written():
    ax, boxes = drawn([0.0] * 30, [0.0] * 30, ["a rather long name" * 4] * 30)
    assert len(boxes) == len(ax.texts) == 30
