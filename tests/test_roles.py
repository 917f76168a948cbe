"""Means by role: hand-computed, complete or absent, and never over other families than meant."""

import numpy as np
import pandas as pd
import pytest
from planted_roles import fail, frame, line, rows

from itlib import roles
from itlib.errors import InputError
from itlib.roles import ALWAYS, HELD_OUT, TUNED, doublings, role_curve, role_points, role_table


def two_arms():
    unequal = {"a/x": 0.0, "a/y": 0.3, "b/z": 0.9}
    more = {"a/x": 0.2, "a/y": 0.4, "b/z": 0.9}
    tuned = rows("families", ALWAYS, 4, 0, {"c/u": 0.5}) + rows("families", TUNED, 4, 0, {"c/v": 0.7})
    return frame([*rows("families", HELD_OUT, 2, 0, unequal), *rows("families", HELD_OUT, 4, 0, more), *tuned])


def test_families_or_categories_have_equal_weight():
    assert role_points(two_arms(), "families", HELD_OUT)["value"].to_list() == pytest.approx([0.4, 0.5])
    per_category = role_points(two_arms(), "families", HELD_OUT, per_category=True)
    assert per_category["value"].to_list() == pytest.approx([(0.15 + 0.9) / 2, (0.3 + 0.9) / 2])


def test_several_roles_make_one_mean():
    assert role_points(two_arms(), "families", (ALWAYS, TUNED))["value"].to_list() == pytest.approx([0.6])


def test_a_run_without_one_of_the_families_gives_no_point():
    data = two_arms()
    short = data[~((data["level"] == 4) & (data["family"] == "a/x"))]
    assert role_points(short, "families", HELD_OUT)["level"].to_list() == [2]
    hole = data.assign(value=data["value"].where(~((data["level"] == 4) & (data["family"] == "a/x"))))
    assert role_points(hole, "families", HELD_OUT)["level"].to_list() == [2]


def test_a_failed_run_is_a_gap_in_the_table():
    data = fail(frame(line("families", HELD_OUT, (2, 4), lambda seed, level: 0.1 * level)), "families", 4, 3)
    table = role_table(role_points(data, "families", HELD_OUT), range(8))
    assert np.isnan(table.loc[3, 4]) and table.loc[3, 2] == pytest.approx(0.2)
    assert np.isnan(doublings(table)[3]) and np.isfinite(doublings(table)).sum() == 7


def test_held_out_families_may_change_from_seed_to_seed():
    cells = [
        *rows("categories", HELD_OUT, 1, 0, {"a/x": 0.2}),
        *rows("categories", HELD_OUT, 1, 1, {"b/y": 0.4, "b/z": 0.6}),
    ]
    assert role_points(frame(cells), "categories", HELD_OUT)["value"].to_list() == pytest.approx([0.2, 0.5])


def test_gain_per_doubling_by_hand():
    """Levels 2, 4, 16 are 1, 2 and 4 doublings: deviations -4/3, -1/3, 5/3 of their mean, sum of squares 14/3."""
    table = pd.DataFrame([[0.1, 0.2, 0.4], [0.0, 0.3, 0.0]], columns=[2.0, 4.0, 16.0])
    assert doublings(table) == pytest.approx([0.1, -0.1 / (14 / 3)])
    with pytest.raises(LookupError, match="two levels"):
        doublings(table[[2.0]])


def test_a_curve_counts_its_seeds():
    data = fail(frame(line("tasks", HELD_OUT, (2, 3), lambda seed, level: seed / 10)), "tasks", 3, 7)
    curve = role_curve(role_points(data, "tasks", HELD_OUT))
    assert curve["n_seeds"].to_list() == [8, 7] and curve["mean"].to_list() == pytest.approx([0.35, 0.3])
    assert (curve["low"] < curve["mean"]).all() and (curve["mean"] < curve["high"]).all()


def test_what_a_frame_cannot_answer_is_said_in_one_line():
    with pytest.raises(LookupError, match="no column 'axis'"):
        role_points(pd.DataFrame({"seed": [0], "metric": ["exact_match"]}), "families", HELD_OUT)
    with pytest.raises(LookupError, match="axis 'tasks'.*held out"):
        role_points(two_arms(), "tasks", HELD_OUT)
    with pytest.raises(LookupError, match="no graded row"):
        role_points(two_arms(), "families", HELD_OUT, metric="graded")


def test_two_runs_at_one_place_are_refused():
    both = pd.concat([two_arms(), two_arms().assign(digest="other")])
    with pytest.raises(InputError, match="several runs of axis 'families'"):
        role_points(both, "families", HELD_OUT)


def test_roles_are_told_apart():
    assert len({roles.HELD_OUT, roles.ALWAYS, roles.TUNED, ""}) == 4
