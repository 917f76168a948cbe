"""The study of spectra: its design, what it counts, and its tables and figures on planted runs."""

import dataclasses

import numpy as np
import pandas as pd
import planted_spectra as planted
import pytest
from planted_spectra import MICRO, OTHER_MICRO, each, run

from itlib import spectra
from itlib.claims.spectra_study import run_table
from itlib.errors import InputError
from itlib.fairness import undeclared
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest, train_digest
from itlib.studies import spectra_study as study
from itlib.studies import spectra_study_figures as draw
from itlib.studies import spectra_study_scores as scores
from itlib.studies import spectra_study_tables as tables
from itlib.studies.spectra_study import SpectraParams
from itlib.studies.tuned_arms import first_rates
from itlib.workspace import project_root

RATES = {"full": 0.002, "lora 1": 0.004, "lora 4": 0.008, "rslora 4": 0.004}
OF_METHODS = {"method", "rank", "alpha", "method_options", "learning_rate"}


def params(**changes):
    return dataclasses.replace(SpectraParams(), **changes)


def cpu():
    return from_yaml(project_root() / "params" / "cpu" / "04b_spectra.yaml").params


def vectors(similarity=(1.0, 0.4), exponent=0.3):
    """Two matrices with two vectors each; the second one did not move."""
    return {
        "matrix": ["a", "a", "b", "b"], "rows": [8, 8, 4, 4], "columns": [6, 6, 4, 4], "index": [0, 1, 0, 1],
        "similarity": [*similarity, 1.0, 1.0], "noise": [0.9, 0.6, 1.0, 1.0], "turned": [0.3, 0.45, 1.0, 1.0],
        "span": [1.0, 0.09, 1.0, 1.0], "share": [0.5, 0.2, 0.6, 0.3], "change": [3.0, 3.0, 4.0, 4.0],
        "effective_rank": [2.0, 2.0, 8.0, 8.0], "exponent": [exponent, exponent, 0.1, 0.1],
    }  # fmt: skip


def result(spec, status="done", score=0.5):
    """A run with two families, a document and the vectors of ``vectors``."""
    spec = resolve(spec)
    items = [
        (f"{family}-0", family, "words", "latent", "", hit, hit, None, 1.0, 2, 4, "")
        for family, hit in (("plural", score + 0.1), ("past", score - 0.1))
    ]
    loss = 2.0 if spec.data.n_train == 0 else 2.3
    items.append(("reference-0", "reference", "", "", "", None, None, None, 10 * loss, 10, 40, ""))
    measured = {"measures": {"spectra": vectors()}} if spec.evaluate.measures else {}
    totals = {"n_steps": 8, "n_tokens": 100, "n_response_tokens": 20, "n_parameters": 1000}
    totals |= {"n_trainable_parameters": 10, **measured}
    return RunResult(spec, status, tuple(items) if status == "done" else (), totals=totals if spec.data.n_train else {})


@pytest.fixture(scope="module")
def stored():
    designs = study.designs(params(), RATES)
    return {
        name: [result(spec) for spec in specs] for name, specs in (designs | study.edited(params(), designs)).items()
    }


# ---- the design -------------------------------------------------------------------------------------------------


def test_arms_differ_in_their_method_and_rate_alone():
    designs = study.designs(params(), RATES)
    first = designs["test/full"][0]
    for arm in params().arms:
        assert set(diff(first, designs[f"test/{arm}"][0])) <= OF_METHODS | {"keep_weights"}
        assert [spec.seed for spec in designs[f"test/{arm}"]] == [0, 1]
        assert [spec.base.base_seed for spec in designs[f"test/{arm}"]] == [0, 1]
        assert {spec.train.learning_rate for spec in designs[f"test/{arm}"]} == {RATES[arm]}
        assert all(spec.evaluate.measures == ("spectra",) for spec in designs[f"test/{arm}"])
    other = designs["other/lora 1"]
    assert {(spec.base.model, spec.base.base_seed) for spec in other} == {(OTHER_MICRO, 0)}
    assert set(diff(designs["test/lora 1"][0], other[0])) == {"model", "keep_weights"}


def test_the_sweep_holds_every_rate_and_shares_the_chosen_one():
    designs = study.designs(params(), RATES)
    swept = designs["sweep/lora 4"]
    assert [spec.train.learning_rate for spec in swept] == [0.004, 0.004, 0.008, 0.008]
    assert set(designs["test/lora 4"]) <= set(swept)
    assert set(designs["test/lora 1"]) <= set(designs["sweep/lora 1"])  # with weights kept in both


def test_edits_stand_on_the_stored_weights_of_one_arm():
    designs = study.designs(params(), RATES)
    again = study.edited(params(), designs)
    kept = [spec for runs in designs.values() for spec in runs if spec.keep_weights]
    assert set(kept) == set(designs["test/lora 1"])
    trained = {train_digest(resolve(spec)) for spec in kept}
    for edit, specs in again.items():
        assert {train_digest(resolve(spec)) for spec in specs} == trained and not any(s.keep_weights for s in specs)
        assert {(s.evaluate.edit, s.evaluate.edit_scale) for s in specs} == {
            (edit.split("/")[1], x) for x in (0.5, 1.0)
        }


def test_every_base_is_measured_untuned_once():
    designs = study.designs(params(seeds=(0, 1, 8, 9)), RATES)
    assert [spec.base.base_seed for spec in designs[f"untuned/{MICRO}"]] == [0, 1]
    assert [spec.base.base_seed for spec in designs[f"untuned/{OTHER_MICRO}"]] == [0]


def test_the_cpu_profile_costs_what_its_file_says():
    p = cpu()
    designs = study.designs(p, first_rates(p, p.arms))
    found = {digest(resolve(spec)) for specs in designs.values() for spec in specs}
    edits = {digest(resolve(spec)) for specs in study.edited(p, designs).values() for spec in specs}
    untuned = sum(len(specs) for name, specs in designs.items() if name.startswith("untuned/"))
    dev = study.candidates(p)
    assert (len(dev), len(found), len(edits), untuned) == (60, 201, 144, 9)
    assert len(dev) + len(found) - untuned == 252
    text = (project_root() / "params" / "cpu" / "04b_spectra.yaml").read_text()
    assert "60 dev runs, 201 test runs and 144 evaluations" in text and "9 of the test runs are untuned" in text


def test_collect_is_the_whole_study():
    asked = []

    def run_all(specs):
        asked.append(list(specs))
        return [result(spec) for spec in specs]

    assert len(study.collect(params(), run_all)) == 19 + 12
    assert [len(batch) for batch in asked] == [8, 19, 12]
    told = "19 test runs follow once dev has chosen rates, and 12 evaluations of stored weights"
    assert study.pending(params(), []) == told


def test_rules_of_scale_meet_where_their_scales_are_equal():
    table = study.rules(cpu().arms)
    found = {rule: dict(zip(rows["rank"], rows["arm"], strict=True)) for rule, rows in table.groupby("rule")}
    assert found["alpha = 2 x rank"] == {rank: f"lora {rank}" for rank in (1, 4, 16, 64)}
    fixed = {rank: f"lora {rank} alpha=8" for rank in (16, 64)} | {4: "lora 4"}
    assert found["alpha = 8"] == fixed
    assert found["rank-stabilised, alpha = 4"] == {rank: f"rslora {rank} alpha=4" for rank in (16, 64)} | {4: "lora 4"}
    assert found["full"] == {0: "full"} and found["lora 16 inner=orthonormal"] == {16: "lora 16 inner=orthonormal"}


@pytest.mark.parametrize(
    ("arm", "scale"),
    [("lora 4", 2.0), ("lora 16 alpha=8", 0.5), ("rslora 16 alpha=4", 1.0), ("full", None), ("lora 4 attention", None)],
)
def test_the_scale_of_an_arm(arm, scale):
    assert study.scale_of(arm) == scale


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ["lora 4", "lora 4 alpha=8"]}, "arms: 'lora 4' and 'lora 4 alpha=8' are the same"),
        ({"arms": ["full", "lora"]}, "arms: arm 'lora': 'lora' takes one number, its rank"),
        ({"arms": ["full", "lora 1", "lora 4", "prompt 4"]}, "arms: 'prompt 4' changes no weights"),
        ({"sweep_arms": ["lora 2"]}, "sweep_arms: 'lora 2' is not in arms"),
        ({"other_arms": ["lora 2"]}, "other_arms: 'lora 2' is not in arms"),
        ({"other_arms": ["full", "full"]}, "other_arms: the list repeats"),
        ({"other_arms": []}, "other_arms: name arms where there is an other_model"),
        ({"other_model": ""}, "other_arms: name arms where there is an other_model"),
        ({"other_model": "micro-1m"}, "other_model: 'micro-1m' is also model"),
        ({"edit_arm": "lora 2"}, "edit_arm: 'lora 2' is not in arms"),
        ({"edits": ["intruders"]}, "intruder"),
        ({"edit_scales": [0.5]}, "edit_scales: 1 is missing"),
        ({"edit_scales": [1.0, 1.5]}, "edit_scales"),
        ({"seeds": [1000]}, "choice_seeds"),
        ({"edit_scale": 1.0}, "did you mean 'edit_scales'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(SpectraParams, changes, where="test")
    assert "\n" not in str(caught.value)


def test_an_unknown_other_base_is_refused_before_any_run():
    with pytest.raises(InputError, match="other_model: .*micro-1m-adamq"):
        study.candidates(params(other_model="micro-1m-adamq"))


# ---- what is counted --------------------------------------------------------------------------------------------


def test_counts_by_hand():
    table = scores.counts(pd.DataFrame(vectors()))
    count = table[table["metric"] == "intruders"].set_index(["variant", "epsilon"])["value"]
    at_half = {variant: count[variant, 0.5] for variant in ("tuned", "noise", "turned", "span")}
    assert at_half == {"tuned": 0.5, "noise": 0.0, "turned": 1.0, "span": 0.5}  # per matrix, of two
    assert count["noise", 0.65] == 0.5 and count["tuned", 0.4] == 0.0  # below, not at, the threshold
    energy = table[(table["metric"] == "intruder_energy") & (table["epsilon"] == 0.5)]
    assert energy["value"].item() == pytest.approx(0.2 / 2)
    single = table.set_index("metric")["value"]
    assert single["change"] == 5.0 and single["effective_rank"] == pytest.approx(4.0)
    assert (
        set(table.loc[table["epsilon"].notna(), "k"]) == {10} and table.loc[table["epsilon"].isna(), "k"].isna().all()
    )


def test_an_exchange_of_neighbours_is_forgiven_and_a_change_of_strength_makes_nothing_new():
    table = pd.DataFrame(vectors())
    exchanged = scores.counts(table.assign(span=[1.0, 0.81, 1.0, 1.0]))
    stronger = scores.counts(table.assign(similarity=1.0, span=[0.0, 0.0, 1.0, 1.0]))
    for found in (exchanged, stronger):
        count = found[(found["variant"] == "span") & (found["epsilon"] == 0.5)]["value"]
        assert count.tolist()[0] == 0.0


def test_a_network_that_did_not_move_has_no_effective_rank():
    still = pd.DataFrame(vectors((1.0, 1.0))).assign(change=0.0, effective_rank=0.0)
    found = scores.counts(still).set_index("metric")["value"]
    assert found["change"] == 0.0 and np.isnan(found["effective_rank"])


def test_evidence_names_kind_arm_and_base_of_every_run(stored):
    frame = scores.evidence(params(), stored)
    names = frame[["kind", "arm", "base"]].drop_duplicates().apply(tuple, axis=1).tolist()
    assert set(names) == {
        *(("test", arm, MICRO) for arm in params().arms),
        *(("sweep", arm, MICRO) for arm in params().sweep_arms),
        *(("other", arm, OTHER_MICRO) for arm in params().other_arms),
        ("edited", "lora 1", MICRO), ("untuned", "untuned", MICRO), ("untuned", "untuned", OTHER_MICRO),
    }  # fmt: skip
    table = run_table(frame, epsilon=0.5, k=10)
    assert len(table) == 8 + 8 + 4 + 12 + 3
    tuned = table[table["kind"] != "untuned"]
    assert tuned["forgetting"].to_numpy() == pytest.approx(0.3) and tuned["score"].to_numpy() == pytest.approx(0.5)
    assert tuned.loc[tuned["kind"] != "edited", "tuned"].eq(0.5).all()
    assert tuned.loc[tuned["kind"] == "edited", "tuned"].isna().all()


def test_a_failed_run_is_a_row_without_counts():
    designs = study.designs(params(), RATES)
    results = {name: [result(s, "failed" if s.seed else "done") for s in specs] for name, specs in designs.items()}
    for name in ("test/lora 1", "sweep/lora 1"):
        results[name] = [dataclasses.replace(r, totals={}) if r.status == "failed" else r for r in results[name]]
    table = run_table(scores.evidence(params(), results), epsilon=0.5, k=10)
    rows = table[(table["kind"] == "test") & (table["arm"] == "lora 1")].set_index("seed")
    assert rows.loc[0, "tuned"] == 0.5 and np.isnan(rows.loc[1, ["tuned", "score", "forgetting"]].astype(float)).all()


def test_the_ledger_says_what_differs_and_why(stored):
    given = study.given(params(), stored).set_index("arm")
    assert given["trials"].to_dict() == dict.fromkeys(params().arms, 2) | {
        f"full ({OTHER_MICRO})": 0, f"lora 1 ({OTHER_MICRO})": 0,
    }  # fmt: skip
    table = given.reset_index()
    assert undeclared(table, study.UNEQUAL) == "" and "trials from 0" in undeclared(table, {})
    assert "steps from 8" in undeclared(table.assign(steps=[8, 8, 8, 16, 8, 8]), study.UNEQUAL)


# ---- tables -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole():
    return planted.study()


@pytest.fixture(scope="module")
def band():
    return tables.null_band(planted.matrices())


def test_bases_and_their_warning(stored):
    matrices = scores.base_matrices(params(), stored)
    assert len(matrices) == 3 * 2 and set(matrices["base"]) == {MICRO, OTHER_MICRO}
    table = tables.bases(matrices)
    assert table["networks"].tolist() == [2, 1] and table["matrices"].tolist() == [2, 2]
    assert table["exponent"].tolist() == pytest.approx([0.2, 0.2]) and table["flat"].tolist() == [0.5, 0.5]
    assert table["sizes"].tolist() == ["8 x 6, 4 x 4"] * 2
    lines = tables.warning(table).splitlines()
    assert len(lines) == 2 and all(line.startswith("WARNING: base") and "50%" in line for line in lines)
    steep = tables.warning(table.assign(flat=0.0, exponent=0.4))
    assert "WARNING" not in steep and "can be told apart" in steep
    assert "WARNING" in tables.warning(table.assign(flat=0.0, exponent=spectra.FLAT - 0.01))
    assert "No base has a finished run" in tables.warning(table.iloc[:0])


def test_the_null_band_counts_every_matrix_at_its_own_width(band):
    """Of 28 matrices 20 have 128 rows and 8 have 352, with 128 vectors each, and ten of each are counted."""
    here = band[band["base"] == MICRO].set_index("epsilon")
    assert here.loc[0.95, ["mean", "low", "high"]].tolist() == [10.0] * 3
    assert here.loc[0.05, "mean"] < 0.01 and here["mean"].is_monotonic_increasing
    square = (spectra.null_similarities(128, 128, n_draws=20_000, seed=9) < 0.2).mean()
    tall = (spectra.null_similarities(352, 128, n_draws=20_000, seed=9) < 0.2).mean()
    assert here.loc[0.2, "mean"] == pytest.approx(10 * (20 * square + 8 * tall) / 28, rel=0.05)
    assert here.loc[0.2, "low"] < here.loc[0.2, "mean"] < here.loc[0.2, "high"]
    again = tables.null_band(planted.matrices())
    assert again.equals(band) and not tables.null_band(planted.matrices(), seed=1).equals(band)


def test_narrow_matrices_count_no_more_vectors_than_they_have():
    narrow = pd.DataFrame(
        {"base": ["x"], "base_seed": [0], "matrix": ["a"], "rows": [4], "columns": [3], "exponent": [1]}
    )
    assert tables.null_band(narrow, [1.1])["mean"].tolist() == [3.0]


def test_arms_and_curves_are_means_over_seeds(band):
    data = planted.frame(
        each("lora 1", count=lambda s: 0.5 + 0.1 * (s % 2), noise=0.2, forgetting=lambda s: 0.1 * (s % 2)),
        each("full", kind="other", base=OTHER_MICRO, change=4.0),
    )
    table = tables.arms(data, band).set_index(["base", "arm"])
    row = table.loc[(MICRO, "lora 1")]
    wanted = {"new": 0.55, "noise": 0.2, "forgetting": 0.05, "score": 0.5, "random": 10.0, "runs": 8}
    assert row[list(wanted)].to_dict() == pytest.approx(wanted)
    assert table.loc[(OTHER_MICRO, "full"), "change"] == 4.0
    curve = tables.curves(data, band)
    at = curve[(curve["arm"] == "lora 1") & (curve["variant"] == "tuned")].set_index("epsilon")
    assert at.loc[0.25, "mean"] == pytest.approx(0.55 / 8) and at.loc[0.25, "seeds"] == 8
    assert at.loc[0.95, "random"] == 10.0


def test_points_of_one_arm_stand_under_every_rule_it_shows(whole):
    points = tables.by_rank(whole, study.rules(planted.TESTED))
    here = points[(points["base"] == MICRO) & (points["rank"] == 4)]
    assert set(here["rule"]) == {"alpha = 2 x rank", "alpha = 8", "rank-stabilised, alpha = 4"}
    assert set(here["arm"]) == {"lora 4"} and len(here) == 3 * 8
    assert set(points.loc[points["base"] == OTHER_MICRO, "arm"]) == set(planted.OTHERS)


def test_correlations_of_counts_controls_and_sizes():
    rows = []
    for seed in planted.SEEDS:
        for i, arm in enumerate(("lora 1", "lora 4")):
            for j, rate in enumerate((0.004, 0.008, 0.016)):
                count, size = 1.0 + i + 2 * j, 9.0 - i - 2 * j
                how = {"kind": "sweep", "learning_rate": rate, "count": count, "noise": 8 - count, "change": size}
                rows += run(arm, seed, **how, forgetting=0.1 * count)
    table = tables.correlation_table(planted.frame(rows), ["lora 1", "lora 4"]).set_index(
        ["what", "goes_with", "given"]
    )
    assert table.loc[("new directions", "forgetting", "nothing"), "mean"] == pytest.approx(1.0)
    assert table.loc[("those of noise of the same size", "forgetting", "nothing"), "mean"] == pytest.approx(-1.0)
    assert table.loc[("size of the change", "forgetting", "nothing"), "mean"] == pytest.approx(-1.0)
    assert table.loc[("new directions", "forgetting", "size of the change"), "seeds"] == 0
    assert table.loc[("new directions", "forgetting", "learning rate"), "mean"] == pytest.approx(1.0)
    assert np.isnan(table.loc[("new directions", "score", "nothing"), "mean"])  # every run scores the same


def test_doses_are_against_the_same_weights_unchanged():
    rows = []
    for scale, loss, score in ((1.0, 0.4, 0.6), (0.5, 0.3, 0.58)):
        for seed in planted.SEEDS:
            how = {"kind": "edited", "edit": "intruder", "edit_scale": scale}
            rows += run("lora 1", seed, **how, forgetting=loss + 0.01 * seed, score=score)
    doses = tables.dose(planted.frame(rows, each("lora 1", count=1.0)))
    means = tables.dose_means(doses).set_index("scale")
    forgot = 0.4 + 0.01 * 3.5
    assert means.loc[0.5, ["loss", "percent", "score"]].tolist() == pytest.approx([-0.1, -10 / forgot, -0.02])
    assert means.loc[1.0, ["loss", "percent", "score"]].tolist() == [0.0] * 3
    nothing = tables.dose_means(doses.assign(forgetting=-0.1))
    assert nothing["percent"].isna().all()


def test_rates_at_the_edge():
    table = tables.rates({"full": 0.001, "lora 1": 0.008}, {"full": True, "lora 1": False})
    assert table["at_the_edge"].tolist() == [True, False]


# ---- figures ----------------------------------------------------------------------------------------------------


def heights(ax, label):
    """The values of the lines that have a colour and more than one point."""
    return [list(line.get_ydata()) for line in ax.lines if line.get_color() == label and len(line.get_ydata()) > 1]


def test_the_figure_of_curves_has_a_panel_per_arm_and_base(whole, band):
    axes = draw.curves(tables.curves(whole, band))
    titles = [ax.get_title(loc="left") for ax in axes]
    assert len(titles) == len(planted.TESTED) + len(planted.OTHERS) and titles[0] == f"full\n{MICRO}"
    panel = axes[titles.index(f"lora 1\n{MICRO}")]
    tuned = heights(panel, draw.LINES["tuned"][0])[0]
    curve = tables.curves(whole, band).query("base == @MICRO and arm == 'lora 1' and variant == 'tuned'")
    assert tuned == curve["mean"].tolist() and panel.get_yscale() == "log"
    assert max(heights(panel, "0.6")[0]) == 10.0  # the null


def test_the_figure_of_ranks_draws_rules_noise_and_the_null(whole, band):
    points = tables.by_rank(whole, study.rules(planted.TESTED))
    axes = draw.ranks(points, band)
    assert len(axes) == 2
    texts = [text.get_text() for text in axes[0].texts]
    for name in ("all directions random", "alpha = 2 x rank", "alpha = 8", "rank-stabilised,\nalpha = 4"):
        assert name in texts
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["1", "4", "16", "64", "full"]
    dashed = [line for line in axes[0].lines if line.get_linestyle() == "--"]
    assert len(dashed) >= 3
    means = points.query("base == @MICRO and rule == 'alpha = 8'").groupby("rank")["intruders"].mean()
    assert any(np.allclose(line.get_ydata(), means) for line in axes[0].lines if len(line.get_ydata()) == 4)
    ranks = draw.effective_ranks(points)
    assert (ranks[0].get_xscale(), ranks[0].get_yscale()) == ("log", "log")


def test_labels_at_the_right_do_not_overlap(whole, band):
    figure = draw.ranks(tables.by_rank(whole, study.rules(planted.TESTED)), band)[0].figure
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_the_figure_of_forgetting_prints_both_correlations(whole):
    low_rank = [arm for arm in planted.SWEPT if study.scale_of(arm) is not None]
    together = tables.correlation_table(whole, low_rank)
    axes = draw.forgetting(tables.sweep(whole), together)
    mean = together.iloc[0]["mean"]
    assert f"rank correlation {mean:.2f}" in axes[0].get_title(loc="left") and "given the size" in axes[0].get_title(
        loc="left"
    )
    n_drawn = sum(len(line.get_xdata()) for line in axes[1].lines)
    assert n_drawn == len(tables.sweep(whole)) == 5 * 3 * 8


def test_the_figure_of_the_intervention_draws_every_edit_and_the_paper(whole):
    doses = tables.dose(whole)
    axes = draw.intervention(tables.dose_means(doses), doses)
    assert {text.get_text() for text in axes[0].texts} == {"intruder", "neighbour", "random direction"}
    diamonds = [line for line in axes[2].lines if line.get_marker() == "D" and line.get_linestyle() == "None"]
    assert len(diamonds) == 1 and len(diamonds[0].get_xdata()) == len(draw.PAPER)
    assert axes[0].get_xlim()[0] > axes[0].get_xlim()[1]  # shrinking goes to the right


def test_figures_survive_what_is_missing(band):
    data = planted.frame(run("lora 1", 0, count=0.0), run("lora 1", 0, kind="sweep"))
    data = data[data["metric"] != "reference_loss"]
    points = tables.by_rank(data, study.rules(["lora 1"]))
    assert len(draw.ranks(points, band)) == 1 and len(draw.effective_ranks(points)) == 1
    axes = draw.forgetting(tables.sweep(data), tables.correlation_table(data, ["lora 1"]))
    assert "none" in axes[0].get_title(loc="left")
    doses = tables.dose(data)
    assert len(doses) == 0 and len(draw.intervention(tables.dose_means(doses), doses)) == 3
