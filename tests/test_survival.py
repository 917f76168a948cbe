"""Right-censored steps: known answers by hand, and what must hold whatever the runs do."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib.survival import log_rank, steps_to, survival_curve

CURVE = pd.Series([0.0, 0.2, 0.5, 0.9, 0.9, 0.3], index=[0, 5, 10, 15, 20, 25])


@pytest.mark.parametrize(
    ("target", "start", "end", "expected"),
    [
        (0.5, 0, 25, (10.0, True)),
        (0.45, 0, 25, (10.0, True)),  # reached between two probes counts as the later one
        (0.5, 5, 25, (5.0, True)),
        (0.9, 15, 25, (0.0, True)),  # there already
        (0.9, 0, 10, (10.0, False)),  # cut off at the end of the window
        (0.95, 5, 25, (20.0, False)),
        (np.nan, 0, 25, (np.nan, False)),
        (0.5, 30, 40, (np.nan, False)),
    ],
)
def test_steps_to_a_target_by_hand(target, start, end, expected):
    steps, reached = steps_to(CURVE, target, start, end)
    assert (steps == expected[0] or np.isnan([steps, expected[0]]).all()) and reached == expected[1]


def test_kaplan_meier_by_hand():
    """Five runs: 2, 4, 4+, 6, 8+. At 2 one of five goes, at 4 one of four, at 6 one of two."""
    table = survival_curve([2, 4, 4, 6, 8], [True, True, False, True, False])
    shares = dict(zip(table["step"], table["share"], strict=True))
    assert shares[0] == 1 and shares[2] == pytest.approx(4 / 5) and shares[4] == pytest.approx(4 / 5 * 3 / 4)
    assert shares[6] == pytest.approx(4 / 5 * 3 / 4 / 2) == shares[8]


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=12))
def test_a_survival_curve_starts_with_everybody_and_falls(runs):
    steps, reached = zip(*runs, strict=True)
    table = survival_curve(steps, reached)
    assert table["step"].is_monotonic_increasing and table["step"].is_unique and table["step"].iloc[0] == 0
    assert table["share"].is_monotonic_decreasing and table["share"].between(0, 1).all()
    if not any(reached):
        assert (table["share"] == 1).all()


def test_runs_without_an_answer_are_left_out():
    assert survival_curve([np.nan, 3], [False, True])["share"].tolist() == [1.0, 0.0]
    assert not len(survival_curve([np.nan], [False]))


def test_the_log_rank_test_by_hand():
    """Everybody here before anybody there, five runs each: observed 5, expected 5/10 + 4/9 + 3/8 + 2/7 + 1/6."""
    expected = sum(k / (k + 5) for k in range(1, 6))
    variance = sum(5 * k / (k + 5) ** 2 for k in range(1, 6))
    from scipy.stats import norm

    p = 2 * norm.sf((5 - expected) / np.sqrt(variance))
    found = log_rank([1, 2, 3, 4, 5], [True] * 5, [6, 7, 8, 9, 10], [True] * 5)
    assert found == pytest.approx(p, rel=1e-6)
    assert log_rank([1, 2], [True, True], [1, 2], [True, True]) == pytest.approx(1.0)


def test_no_event_or_no_run_has_no_test():
    assert np.isnan(log_rank([5, 5], [False, False], [5, 5], [False, False]))
    assert np.isnan(log_rank([np.nan], [False], [5], [True]))
    assert np.isnan(log_rank([3, 3], [True, True], [3, 3], [True, True]))  # nobody is before another
