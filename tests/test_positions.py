"""What a paper says, beside what was measured: agreement only where an interval allows it."""

import numpy as np
import pytest

from itlib import positions
from itlib.positions import Position

SAME = Position("slope", "A", "no effect", ((-0.03, 0.03),))
OTHER = Position("slope", "B", "an effect", ((-np.inf, -0.03), (0.03, np.inf)))


@pytest.mark.parametrize(
    ("interval", "same", "other"),
    [
        ((-0.01, 0.02), "agrees with", "speaks against"),
        ((0.05, 0.09), "speaks against", "agrees with"),
        ((-0.09, -0.05), "speaks against", "agrees with"),
        ((0.01, 0.05), "cannot decide on", "cannot decide on"),
        ((-0.05, 0.05), "cannot decide on", "cannot decide on"),
        ((-np.inf, np.inf), "cannot decide on", "cannot decide on"),
    ],
)
def test_where_an_interval_stands(interval, same, other):
    assert positions.stand(interval, SAME) == same
    assert positions.stand(interval, OTHER) == other


def test_measured_leaves_missing_seeds_out():
    table = positions.measured({"slope": np.array([0.01] * 8 + [np.nan]), "few": np.array([0.2, 0.4]), "none": []})
    rows = table.set_index("effect")
    assert rows.loc["slope", ["mean", "low", "high", "seeds"]].tolist() == pytest.approx([0.01, 0.01, 0.01, 8])
    assert rows.loc["few", "mean"] == pytest.approx(0.3) and np.isinf(rows.loc["few", "low"])
    assert rows.loc["none", "seeds"] == 0 and np.isnan(rows.loc["none", "mean"])


def test_the_sentence_is_made_of_the_numbers():
    table = positions.measured({"slope": np.array([0.05] * 8), "other": np.array([1.0] * 8)})
    said = positions.sentence(table, [SAME, OTHER])
    assert said == "slope, +0.050 [+0.050, +0.050] over 8 seeds, speaks against A, agrees with B."
    nothing = positions.sentence(positions.measured({"slope": [np.nan]}), [SAME])
    assert nothing == "slope, no number and no interval over 0 seeds, cannot decide on A."
