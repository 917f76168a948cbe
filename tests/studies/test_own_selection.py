"""Selection on one's own file: arms, what is shown of scores and selections, and a file with a model of its own."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from itlib.errors import InputError
from itlib.execute import execute
from itlib.frame import measure
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff
from itlib.studies import own_selection as study
from itlib.studies import own_selection_figures as draw
from itlib.studies import own_selection_views as views
from itlib.studies.own_selection import OwnSelectionParams
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}
SCORES = {"untuned": 3.0, "random": 2.0, "full": 1.8, "longest": 1.9, "rds": 2.2}


def params(**changes):
    return dataclasses.replace(OwnSelectionParams(), **changes)


def planted(spec, status="done"):
    """Response loss by arm, a tenth less per seed; rds takes what random takes, but for half of it."""
    if status != "done":
        return RunResult(resolve(spec), status, error="stopped")
    n = spec.data.n_train
    name = {0: "untuned", spec.data.pool_size: "full"}.get(n, spec.data.selector)
    loss = 2 * (SCORES[name] - 0.1 * spec.seed)
    items = (("row-0", "rows", "", "", "", None, None, None, loss, 2, 4, ""),)
    start = 8 if name == "rds" else 0
    totals = {"n_parameters": 10, "n_tokens": 5, "selected_rows": list(range(start, start + n))} if n else {}
    return RunResult(resolve(spec), status, items, totals=totals, provenance={"wall_seconds": 2.4})


PARAMS = params(selectors=("longest", "rds"))


@pytest.fixture(scope="module")
def results():
    return study.run_designs(study.designs(PARAMS, SETTING), lambda specs: [planted(s) for s in specs])


@pytest.fixture(scope="module")
def frame(results):
    return study.evidence(results)


# ---- the design ---------------------------------------------------------------------------------------------


def test_arms_differ_in_the_selector_alone():
    arms = study.designs(params(selectors=("rds pooling=mean", "longest"), scorer="warm-8"), SETTING)
    for name, expected in (("rds pooling=mean", {"selector", "selector_options", "scorer"}), ("full", {"n_train"})):
        for left, right in zip(arms["random"], arms[name], strict=True):
            assert set(diff(left, right)) == expected
    assert arms["rds pooling=mean"][0].data.selector_options == ("pooling=mean",)


def test_an_untuned_base_is_measured_once():
    assert len(study.designs(params(), SETTING)["untuned"]) == 2
    assert len(study.designs(params(base_seed=1), SETTING)["untuned"]) == 1


def test_the_whole_pool_can_be_left_out():
    arms = study.designs(params(full_pool=False), SETTING)
    assert "full" not in arms and study.selecting_arms(params()) == ["random", *params().selectors]


def test_the_cpu_profile_costs_what_its_file_says():
    path = project_root() / "params" / "cpu" / "02f_own_data.yaml"
    p = from_yaml(path).params
    n_dev = len(study.candidates(p))
    n_test = sum(map(len, study.designs(p, SETTING).values()))
    assert (n_dev, n_test, len(p.seeds)) == (8, 20, 2) and n_dev + n_test <= 40
    assert "8 dev runs and 20 test runs" in path.read_text()


def test_the_example_asks_for_data_and_model():
    p = from_yaml(project_root() / "params" / "cpu" / "02f_own_data_alpaca.yaml").params
    with pytest.raises(InputError, match="^model: empty; [^\n]*-p model PATH$"):
        study.candidates(p)
    with pytest.raises(InputError, match="^data: empty; [^\n]*-p data PATH$"):
        study.candidates(dataclasses.replace(p, model="micro-1m"))


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(list(specs))
        return [planted(spec) for spec in specs]

    assert len(study.collect(PARAMS, run)) == 10
    assert [len(batch) for batch in asked] == [2, 10]
    assert study.pending(PARAMS, []) == "10 test runs follow once dev has chosen among 2 settings"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selectors": ["random"]}, "selectors: 'random' is always compared with"),
        ({"selectors": []}, "selectors: the list is empty"),
        ({"selectors": ["rds", "rds"]}, "selectors: the list repeats"),
        ({"selectors": ["rdss"]}, "selectors: unknown selector 'rdss'"),
        ({"selectors": ["rds pool=mean"]}, "selectors: selector_options: 'rds' has no option 'pool'"),
        ({"n_targets": 0}, "n_targets"),
        ({"selector": ["rds"]}, "did you mean 'selectors'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(OwnSelectionParams, changes, where="test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"), [({"n_train": 100}, "n_train: 100"), ({"scorer": "warn-8"}, "scorer:")]
)
def test_what_cannot_be_selected_is_refused_before_any_run(changes, message):
    with pytest.raises(InputError, match=message):
        study.candidates(params(**changes))


# ---- what is shown ------------------------------------------------------------------------------------------


def test_outcomes_are_paired_by_seed(frame):
    dots = views.points(frame, measure(frame))
    assert list(dict.fromkeys(dots["arm"])) == ["untuned", "random", "full", "longest", "rds"]
    table = views.outcome(dots).set_index("arm")
    assert table.loc["rds", "vs random"] == pytest.approx(0.2) and table.loc["rds", "vs full"] == pytest.approx(0.4)
    assert table.loc["random", "mean"] == pytest.approx(1.95) and np.isnan(table.loc["random", "vs random"])
    assert np.isnan(table.loc["untuned", "vs random"]) and table.loc["longest", "seeds"] == 2
    assert np.isnan(table.loc["rds", "vs random interval"]).all(), "two seeds bound nothing"


def test_overlaps_and_contents(results):
    shared = views.shared(PARAMS, results)
    assert shared.loc["random", "longest"] == 1.0 and shared.loc["random", "rds"] == pytest.approx(8 / 24)
    assert list(views.contents(PARAMS, results)["arm"]) == ["random", "full", "longest", "rds"]
    assert "clean_share" not in views.contents(dataclasses.replace(PARAMS, data="rows.jsonl"), results)
    assert "random 2, 2" in views.seconds(results)


def test_scores_of_the_pool_and_of_what_was_taken(results):
    """``longest`` gives scores, ``rds`` does not; every example is in a bin, every selected one in the same or less."""
    bins = views.score_bins(PARAMS, SETTING, results)
    assert set(bins["selector"]) == {"longest"}
    assert bins["pool"].sum() == 100 and bins["selected"].sum() == 16 and (bins["selected"] <= bins["pool"]).all()
    assert (bins["left"] < bins["right"]).all() and set(bins["unscored"]) == {0}


def test_first_rows_are_short(results):
    rows = views.first_rows(PARAMS, results)
    assert rows.groupby("arm", sort=False).size().to_dict() == {"random": 2, "longest": 2, "rds": 2}
    assert rows["instruction"].str.len().max() <= views.SHOWN_CHARACTERS + 3


def test_gaps_break_nothing(results):
    broken = {
        name: [planted(r.spec, "failed") for r in runs] if name in ("longest", "full") else runs
        for name, runs in results.items()
    }
    frame = study.evidence(broken)
    dots = views.points(frame, measure(frame))
    assert set(dots["arm"]) == {"untuned", "random", "rds"} and views.outcome(dots)["vs full"].isna().all()
    assert views.score_bins(PARAMS, SETTING, broken).empty
    assert np.isnan(views.shared(PARAMS, broken).loc["random", "longest"])
    draw.worth(dots, x_label="loss")
    assert set(views.first_rows(PARAMS, broken)["arm"]) == {"random", "rds"}


def test_figures_have_a_panel_per_score_and_a_row_per_arm(frame):
    rows = [("a", 0.0, 1.0, 3, 1, 0), ("a", 1.0, 2.0, 5, 2, 0), ("b", 0.0, 1.0, 8, 0, 0)]
    bins = pd.DataFrame(rows, columns=["selector", "left", "right", "pool", "selected", "unscored"])
    assert [ax.get_title() for ax in draw.spread(bins)] == ["a", "b"]
    ax = draw.worth(views.points(frame, measure(frame)), x_label="loss")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["random", "longest", "rds"]
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == [
        "before tuning", "the whole pool", "random, mean",
    ]  # fmt: skip


# ---- a file -------------------------------------------------------------------------------------------------


def test_a_file_of_rows_goes_through_selectors_and_evaluation(tmp_path):
    words = ("north", "south", "east", "west", "red", "green", "blue", "town", "river", "stone")
    rows = [
        {"instruction": f"say {a} and {b} {n}", "output": " ".join([b, a] * (n % 3 + 1))}
        for n in range(3)
        for a in words
        for b in words
        if a != b
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    p = params(data=str(path), seeds=(0,), n_train=8, budget=2, n_eval=4, selectors=("rds", "longest"), full_pool=False)
    arms = study.run_designs(study.designs(p, SETTING), lambda specs: [execute(resolve(spec)) for spec in specs])
    frame = study.evidence(arms)
    assert measure(frame).metric == "response_nll" and set(frame["status"]) == {"done"}
    contents = views.contents(p, arms).set_index("arm")
    assert contents.loc["longest", "mean_response_words"] == 6.0 and contents.loc["rds", "selection_gflops"] > 0
    assert "clean_share" not in contents.columns
    assert views.score_bins(p, SETTING, arms)["pool"].sum() == resolve(arms["random"][0].spec).data.pool_size


REAL = Path(os.environ.get("ITLIB_TEST_DATA", project_root().parent / "shared" / "data"))


@pytest.mark.skipif(not (REAL / "models" / "stories260K").is_dir(), reason=f"no real data in {REAL}")
def test_real_rows_and_a_real_model_go_through_forward_passes_and_gradients():
    p = params(
        data=str(REAL / "self_instruct" / "seed_tasks.jsonl"), model=str(REAL / "models" / "stories260K"),
        max_length=256, on_bad_rows="quarantine", embeddings=("trained",), seeds=(0,), n_train=8, budget=2, n_eval=4,
        n_targets=4, selectors=("ifd_ppl", "less_sgd checkpoints=1"), full_pool=False,
    )  # fmt: skip
    setting = {"learning_rate": 1e-3, "train_embeddings": True}
    arms = study.run_designs(study.designs(p, setting), lambda specs: [execute(resolve(spec)) for spec in specs])
    assert {run.status for runs in arms.values() for run in runs} == {"done"}
    bins = views.score_bins(p, setting, {**arms, "ifd_ppl": []})
    assert set(bins["selector"]) == {"less_sgd checkpoints=1"} and bins["selected"].sum() == 8
    assert bins["right"].max() <= 1.0, "a mean of cosines"
