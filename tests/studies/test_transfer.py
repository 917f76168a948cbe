"""The design of the transfer study: arms that differ in the scorer alone, one selection for two models, scores."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from itlib.errors import InputError
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.studies import selector_arena, transfer, transfer_figures, transfer_scores
from itlib.studies import transfer_tables as tables
from itlib.studies.selecting import targets_of
from itlib.studies.transfer import TransferParams
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}
OTHER = "two_hop"


def params(**changes):
    return dataclasses.replace(TransferParams(), **changes)


def cpu(study):
    return from_yaml(project_root() / "params" / "cpu" / f"{study}.yaml").params


def digests(arms):
    return {digest(resolve(spec)) for runs in arms.values() for spec in runs}


def planted(spec, status="done"):
    """Scores by arm: the small scorer loses .01 and gradients gain .2 on their targets; rounds help one model only."""
    if status != "done":
        return RunResult(resolve(spec), status, error="stopped")
    name, large = spec.data.selector, spec.base.model == "micro-4m"
    gain = {"iterative_kmq": -0.02 if large else 0.04}.get(name, 0.0) - 0.01 * (spec.data.scorer == "micro-0.2m")
    score = 0.5 + 0.1 * spec.seed + gain
    values = {family: score + 0.2 * (name == "less_sgd") for family in targets_of(spec.seed)} | {OTHER: score}
    items = [(f"{f}-0", f, "c", "latent", "", v, v, None, 1.0, 2, 4, "") for f, v in values.items()]
    start = 8 if spec.data.scorer == "micro-0.2m" else 0
    rows = list(range(start, start + spec.data.n_train))
    totals = {"n_parameters": 10, "n_tokens": 5, "selected_rows": rows, "selection_flops": 4e9}
    return RunResult(resolve(spec), status, tuple(items), totals=totals)


@pytest.fixture(scope="module")
def results():
    return transfer.run_designs(transfer.designs(params(), SETTING), lambda specs: [planted(s) for s in specs])


def examples(values, *, score="ifd_ppl", kind="redundant", seed=0):
    """Rows of single examples: values by scorer."""
    rows = [
        {"kind_of_pool": kind, "seed": seed, "digest": "d", "score": score, "scorer": scorer, "item": f"i{place}"}
        | {"noise": "none", "value": value}
        for scorer, column in values.items()
        for place, value in enumerate(column)
    ]
    return pd.DataFrame(rows)


# ---- the design ---------------------------------------------------------------------------------------------


def test_the_small_scorer_is_all_that_tells_its_arms_from_others():
    arms = transfer.designs(params(), SETTING)
    pairs = [(name, f"{name} by micro-0.2m") for name in ("redundant/ifd_ppl", "redundant/less_sgd", "noisy/less_sgd")]
    for own, small in pairs:
        for left, right in zip(arms[own], arms[small], strict=True):
            assert diff(left, right) == {"scorer": ("base", "micro-0.2m")}
        for left, right in zip(arms[own], arms[f"{own.split('/')[0]}/random"], strict=True):
            assert set(diff(left, right)) == {"selector"}


def test_the_larger_model_is_tuned_on_what_the_model_selects():
    arms = transfer.designs(params(seeds=(0, 1, 2), large_seeds=(0, 2)), SETTING)
    for name in transfer.ROUNDS:
        large = arms[f"redundant/{name} for micro-4m"]
        assert [spec.seed for spec in large] == [0, 2]
        for spec in large:
            own = arms[f"redundant/{name}"][spec.seed]
            assert set(diff(own, spec)) <= {"model", "base_seed", "scorer"}
            assert (spec.base.model, spec.base.base_seed, spec.data.scorer) == ("micro-4m", 0, "micro-1m")


def test_without_redundant_pools_or_a_larger_model_their_arms_are_left_out():
    assert set(transfer.designs(params(kinds=("noisy",)), SETTING)) == {
        "noisy/random", "noisy/less_sgd", "noisy/less_sgd by micro-0.2m",
    }  # fmt: skip
    assert not [name for name in transfer.designs(params(large=""), SETTING) if "micro-4m" in name]


def test_the_cpu_profile_costs_what_its_file_says():
    p = cpu("02e_transfer")
    arms = transfer.designs(p, SETTING)
    tested = digests(arms)
    n_large = sum(len(runs) for name, runs in arms.items() if name.endswith("for micro-4m"))
    assert (len(tested), n_large, len(tested) + 3 * n_large) == (96, 16, 144)
    arena = cpu("02b_selectors")
    shared = tested & digests(selector_arena.designs(arena, SETTING))
    assert len(shared) == 40 and len(tested) + 3 * n_large - len(shared) == 104
    dev = {digest(resolve(spec)) for spec in transfer.candidates(p)}
    assert dev == {digest(resolve(spec)) for spec in selector_arena.candidates(arena)} and len(dev) == 32
    text = (project_root() / "params" / "cpu" / "02e_transfer.yaml").read_text()
    assert "32 dev runs and 96 test runs" in text and "makes 144" in text and "40 of the test runs" in text
    assert "104 are left" in text


def test_claims_speak_of_the_models_of_the_cpu_profile():
    from itlib.claims import load_claim

    p = cpu("02e_transfer")
    for name in transfer.CLAIMS:
        claim = load_claim(name)
        given = {key: value for key, value in claim.settings.items() if key in ("model", "small", "large")}
        assert given == {key: getattr(p, key) for key in given} and given
        assert claim.minimum_seeds == (len(p.large_seeds) if name == "SE20" else len(p.seeds))
        if "share" in claim.settings:
            assert claim.settings["share"] * p.pool_size == p.n_train


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(list(specs))
        return [planted(spec) for spec in specs]

    assert len(transfer.collect(params(), run)) == 22
    assert [len(batch) for batch in asked] == [4, 22]
    assert transfer.pending(params(), []) == "22 test runs follow once dev has chosen among 2 settings"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"small": "micro-1m"}, "small: 'micro-1m' is also model"),
        ({"large": "micro-0.2m"}, "large: 'micro-0.2m' is also small"),
        ({"other_scorers": ["base"]}, "other_scorers: 'base' is also model"),
        ({"other_scorers": ["warm-9", "warm-9"]}, "other_scorers: 'warm-9' is also other_scorers"),
        ({"small": ""}, "small: empty"),
        ({"large_seeds": [7]}, r"large_seeds: \[7\] are not in seeds"),
        ({"large_seeds": []}, "large_seeds: the list is empty"),
        ({"base_seed": 1}, "base_seed: the larger model"),
        ({"n_train": 100}, "n_train: 100 leaves nothing to select"),
        ({"kinds": ["redundant", "redundant"]}, "kinds: the list repeats"),
        ({"smal": "micro-4m"}, "did you mean 'small'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(TransferParams, changes, where="test")
    assert "\n" not in str(caught.value)


def test_an_unknown_scorer_is_refused_before_any_run():
    with pytest.raises(InputError, match="^[^\n]*scorer: unknown model 'micro-2m'[^\n]*$"):
        transfer.candidates(params(small="micro-2m"))


# ---- scores of examples -------------------------------------------------------------------------------------


def test_scores_are_of_distinct_examples_under_every_scorer():
    p = params(pool_size=40, n_train=4, seeds=(0,), kinds=("redundant",), large="", other_scorers=("warm-8",))
    table = transfer_scores.example_frame(p, SETTING)
    assert list(table.columns) == list(transfer_scores.COLUMNS) and not (table["noise"] == "duplicate").any()
    asked = {
        ("ifd_ppl", "micro-0.2m"),
        ("ifd_ppl", "base"),
        ("ifd_ppl", "warm-8"),
        ("lp", "micro-0.2m"),
        ("lp", "base"),
    }
    assert set(zip(table["score"], table["scorer"], strict=True)) == asked
    sizes = table.groupby(["score", "scorer"])["item"].agg(["size", "nunique"])
    assert (sizes["size"] == sizes["nunique"]).all() and sizes["size"].nunique() == 1 and sizes["size"].iloc[0] < 40
    hardness = table.loc[table["score"] == "lp", "value"]
    assert hardness.between(0, 1, inclusive="left").all()
    (random,) = transfer.designs(p, SETTING)["redundant/random"]
    assert set(table["digest"]) == {digest(resolve(random))[:12]}
    again = transfer_scores.example_frame(p, SETTING, engine="process", workers=2)
    pd.testing.assert_frame_equal(table, again)


# ---- tables -------------------------------------------------------------------------------------------------


def test_agreement_by_hand():
    """Of four examples one pair changes places: Spearman 1 - 6 * 2 / 60, Kendall 1 - 2 * 1 / 6."""
    rows = tables.agreement(examples({"a": [1, 2, 3, 4], "b": [10, 30, 20, 40], "c": [4, 3, 2, 1]}))
    found = rows.set_index(["left", "right", "metric"])["value"]
    assert found["a", "b", "spearman"] == pytest.approx(0.8) and found["a", "b", "kendall"] == pytest.approx(2 / 3)
    assert found["a", "c", "spearman"] == pytest.approx(-1.0) and found["a", "c", "kendall"] == pytest.approx(-1.0)
    assert set(rows["arm"]) == {"redundant/scores"} and set(rows["kind"]) == {"agreement"}


def test_agreement_leaves_out_what_one_scorer_cannot_tell():
    rows = tables.agreement(examples({"a": [1, 2, 3, np.nan, 5], "b": [1, 2, 3, 0, np.inf]}))
    assert set(rows["n_items"]) == {3} and rows["value"].tolist() == pytest.approx([1.0, 1.0])
    constant = tables.agreement(examples({"a": [1, 2, 3], "b": [7, 7, 7]}))
    assert constant["value"].isna().all()


def test_means_of_agreement_are_over_seeds():
    both = [examples({"a": [1, 2, 3], "b": column}, seed=seed) for seed, column in enumerate(([1, 2, 3], [3, 2, 1]))]
    (row,) = tables.agreement_means(tables.agreement(pd.concat(both))).to_dict("records")
    assert row["spearman"] == pytest.approx(0.0) and row["kendall"] == pytest.approx(0.0) and row["seeds"] == 2
    assert row["examples"] == 3


def test_contrasts_and_points_are_paired_by_seed(results):
    frame = transfer.evidence(results, pd.DataFrame())
    table = tables.contrasts(frame, params()).set_index(["selector", "kind", "difference"])["mean"]
    assert table["ifd_ppl", "redundant", "by micro-0.2m minus by micro-1m"] == pytest.approx(-0.01)
    assert table["less_sgd", "noisy", "by micro-0.2m minus random"] == pytest.approx(0.19)
    assert table["less_sgd", "redundant", "by micro-1m minus random"] == pytest.approx(0.2)
    points = tables.by_scorer(frame, params())
    assert points.groupby("what", sort=False)["scorer"].unique().map(list).tolist() == [
        ["random", "micro-0.2m", "micro-1m"]
    ] * 3  # fmt: skip


def test_rounds_are_compared_between_models_on_shared_seeds(results):
    frame = transfer.evidence(results, pd.DataFrame())
    gains = tables.gains_of_rounds(frame, params())
    assert gains.groupby("model")["value"].mean().to_dict() == pytest.approx({"micro-1m": 0.04, "micro-4m": -0.02})
    table = tables.interaction(gains, params()).set_index("difference")
    assert table.loc["gain on micro-4m minus gain on micro-1m", "mean"] == pytest.approx(-0.06)
    assert table["seeds"].tolist() == [2, 1, 1]
    assert len(tables.interaction(tables.gains_of_rounds(frame, params(large="")), params(large=""))) == 1


def test_contents_and_overlaps(results):
    contents = tables.contents(results).set_index("arm")
    assert contents.loc["redundant/kmq", "selection_gflops"] == pytest.approx(4.0)
    same = tables.same_examples(results, params()).set_index("left")["overlap"]
    assert same["redundant/kmq"] == 1.0 and same["redundant/ifd_ppl"] == pytest.approx(8 / 24)


def test_gaps_break_no_table_and_no_figure(results):
    broken = {
        name: [planted(r.spec, "failed") for r in runs] if "ifd" in name or "iterative" in name else runs
        for name, runs in results.items()
    }
    rows = tables.agreement(examples({"a": [1, 2, 3], "b": [7, 7, 7]}))
    frame = transfer.evidence(broken, rows)
    contrasts = tables.contrasts(frame, params())
    assert contrasts.loc[contrasts["selector"] == "ifd_ppl", "mean"].isna().all()
    gains = tables.gains_of_rounds(frame, params())
    assert gains.empty and tables.interaction(gains, params())["mean"].isna().all()
    transfer_figures.rounds(gains, margin=0.03)
    transfer_figures.scorers(tables.by_scorer(frame, params()))
    transfer_figures.agreement(rows)
    assert len(tables.contents(broken)) < len(results)


# ---- figures ------------------------------------------------------------------------------------------------


def test_a_panel_per_pair_with_the_smallest_scorer_and_per_kind():
    difficulty = {"small": [0.5, 2.0, 3.0], "base": [0.4, 1.0, 5.0], "large": [1.0, 2.0, 3.0]}
    hardness = {"small": [0.1, 0.2, 0.3], "base": [0.3, 0.2, 0.1]}
    parts = [
        examples(values, score=score, kind=kind)
        for kind in ("noisy", "redundant")
        for score, values in (("ifd_ppl", difficulty), ("lp", hardness))
    ]
    axes = transfer_figures.scatter(pd.concat(parts))
    assert axes.shape == (2, 3)
    assert [ax.get_xscale() for ax in axes[0]] == ["log", "log", "linear"]
    assert axes[1, 2].get_ylabel() == "lp, base" and len(axes[0, 0].lines[0].get_xdata()) == 3


def test_each_score_shows_the_correlation_of_its_paper():
    rows = tables.agreement(
        pd.concat([examples({"a": [1, 2, 3], "b": [1, 3, 2]}, score=score) for score in ("ifd_ppl", "lp")])
    )
    (ax,) = transfer_figures.agreement(rows)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["ifd_ppl: a and b (spearman)", "lp: a and b (kendall)"]
