"""The tidy frame: one row per family and metric that the family has, and none made up."""

import numpy as np
import pytest

from itlib import stats
from itlib.frame import COLUMNS, item_frame, measure, run_frame
from itlib.result import ITEM_COLUMNS, RunResult
from itlib.spec import RunSpec, with_fields


def item(name, family, exact=None, graded=None, nll=1.0, category="words", familiarity="latent"):
    values = {
        "item": name, "family": family, "category": category, "familiarity": familiarity, "phrasing": "",
        "exact_match": exact, "exact_match_lenient": exact, "graded": graded, "nll": nll, "n_tokens": 2, "n_bytes": 4,
        "generated": "" if graded is None else "wolf , bear",
    }  # fmt: skip
    return tuple(values[column] for column in ITEM_COLUMNS)


def run(*items, **fields):
    return RunResult(with_fields(RunSpec(), **fields), "done", items)


MIXED = (
    item("a1", "past", exact=1.0),
    item("a2", "past", exact=0.0, nll=3.0),
    item("b1", "three_animals", graded=0.5, category="lists", familiarity="weak"),
    item("b2", "three_animals", graded=1.0, category="lists", familiarity="weak"),
    item("r1", "reference", nll=5.0, category="reference", familiarity="reference"),
)


def values(frame):
    return {(row.family, row.metric): (row.value, row.n_items) for row in frame.itertuples()}


def test_each_family_has_the_metrics_its_items_have():
    frame = run_frame([run(*MIXED)])
    found = values(frame)
    assert found["past", "exact_match"] == (0.5, 2) and found["past", "response_nll"] == (1.0, 2)
    assert found["past", "bits_per_byte"][0] == pytest.approx(4 / np.log(2) / 8)
    assert found["three_animals", "graded"] == (0.75, 2) and found["three_animals", "response_nll"] == (0.5, 2)
    assert found["reference", "reference_loss"] == (2.5, 1)
    assert ("past", "graded") not in found and ("three_animals", "exact_match") not in found
    assert ("reference", "response_nll") not in found
    assert set(COLUMNS) <= set(frame.columns)
    lists = frame[frame["family"] == "three_animals"]
    assert set(lists["category"]) == {"lists"} and set(lists["familiarity"]) == {"weak"}


def test_a_family_of_both_kinds_counts_the_items_behind_each_metric():
    found = values(run_frame([run(item("a", "f", exact=1.0), item("b", "f", graded=0.0), item("c", "f", graded=0.5))]))
    assert found["f", "exact_match"] == (1.0, 1) and found["f", "graded"] == (0.25, 2)
    assert found["f", "response_nll"] == (0.5, 3)


def test_means_over_families_are_over_those_that_have_the_metric():
    frame = run_frame([run(*MIXED, item("c", "plural", exact=1.0), seed=seed, n_train=8) for seed in (0, 1)])
    assert stats.run_points(frame, "exact_match", by=())["value"].tolist() == [0.75, 0.75]
    assert stats.run_points(frame, "graded", by=())["value"].tolist() == [0.75, 0.75]
    points = stats.run_points(frame, "response_nll")
    assert points[points["seed"] == 0].set_index("familiarity")["value"].to_dict() == {"latent": 0.75, "weak": 0.5}


def test_the_measure_is_the_best_defined_one():
    assert measure(run_frame([run(*MIXED)])).metric == "exact_match"
    assert measure(run_frame([run(*MIXED[2:])])).metric == "graded"
    assert measure(run_frame([run(item("a", "all"))])).metric == "response_nll"


def test_a_run_without_scores_is_one_row_without_a_value():
    frame = run_frame([run(*MIXED), RunResult(RunSpec(), "failed", error="out of memory")])
    row = frame.iloc[-1]
    assert (row["family"], row["category"], row["familiarity"], row["metric"]) == ("", "", "", "")
    assert np.isnan(row["value"]) and row["error"] == "out of memory" and row["n_items"] == 0


def test_items_keep_what_was_generated():
    items = item_frame([run(*MIXED, seed=3)])
    assert items["generated"].tolist() == ["", "", "wolf , bear", "wolf , bear", ""]
    assert items.loc[2, "graded"] == 0.5 and items["graded"].isna().sum() == 3 and set(items["seed"]) == {3}
    columns = list(items.columns)
    assert columns.index("familiarity") == columns.index("category") + 1
