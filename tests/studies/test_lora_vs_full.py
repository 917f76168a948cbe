"""The study of low-rank and full fine-tuning: arms, frontier and frame, tables and figures on planted runs."""

import dataclasses
import json

import numpy as np
import planted_arms
import pytest
import worldly

from itlib import run_all
from itlib.claims import judge, load_claim
from itlib.errors import InputError
from itlib.fairness import ledger, undeclared
from itlib.measures.recall import base_recall
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.store import Store
from itlib.studies import lora_vs_full as study
from itlib.studies import lora_vs_full_figures as figures
from itlib.studies import lora_vs_full_tables as tables
from itlib.studies.lora_vs_full import LoraVsFullParams
from itlib.studies.tuned_arms import first_rates, rates_of, trials
from itlib.theme import figure_of
from itlib.workspace import project_root

ARMS = list(planted_arms.ARMS)
FILE = project_root() / "params" / "cpu" / "04_lora_vs_full.yaml"


def params(**changes):
    return dataclasses.replace(LoraVsFullParams(), **changes)


def cpu():
    return from_yaml(FILE).params


def rates(p):
    return first_rates(p, p.arms)


def n_runs(designs):
    return len({digest(resolve(spec)) for runs in designs.values() for spec in runs})


def result(spec, status="done", right=0.5):
    spec = resolve(spec)
    items = (
        ("f-0", "f", "words", "latent", "", right, right, None, 1.0, 2, 4, ""),
        ("d-0", "reference", "", "", "", None, None, None, 2.0 + spec.train.learning_rate, 2, 4, ""),
    )
    recall = {"frequency": [0.0, 1.0], "recall": [0.0, 0.75]}
    spectra = {
        "matrix": ["a", "a", "b", "b", "c"], "similarity": [0.9, 0.4, 0.3, 0.2, 1.0],
        "noise": [0.9, 0.9, 0.9, 0.1, 1.0], "turned": [0.9] * 4 + [1.0],
        "change": [3.0, 3.0, 4.0, 4.0, 0.0], "effective_rank": [2.0, 2.0, 4.0, 4.0, 0.0],
    }  # fmt: skip
    totals = {"measures": {name: {"recall": recall, "spectra": spectra}[name] for name in spec.evaluate.measures}}
    return RunResult(spec, status, items if status == "done" else (), totals=totals if status == "done" else {})


# ---- the design -----------------------------------------------------------------------------------------------


def test_arms_differ_in_their_method_and_rate_alone():
    p = params(arms=("full", "lora 16", "lora 16 qv", "half"))
    arms = study.designs(p, rates(p))
    differing = {"method", "rank", "alpha", "targets", "learning_rate"}
    for arm in p.arms:
        assert set(diff(arms["full"][0], arms[arm][0])) <= differing
        assert [spec.seed for spec in arms[arm]] == [0, 1]
    assert arms["lora 16 qv"][0].tuning.targets == "q_proj,v_proj"
    assert {spec.data.n_train for spec in arms["untuned"]} == {0} and len(arms["untuned"]) == 2


def test_one_base_is_measured_once():
    p = params(base_seed=3, seeds=(0, 1, 2))
    assert len(study.designs(p, rates(p))["untuned"]) == 1


def test_the_frontier_is_every_setting_but_the_chosen_one():
    p = params(learning_rates=(1e-3, 2e-3, 4e-3), more_steps=(4, 16))
    chosen = {arm: rates_of(p, arm)[1] for arm in p.arms}
    tested, others = study.designs(p, chosen), study.frontier_designs(p, chosen)
    for arm in p.arms:
        settings = [(spec.train.learning_rate, spec.train.budget) for spec in others[arm] if spec.seed == 0]
        assert len(settings) == len(set(settings)) == 3 * 3 - 1 and (chosen[arm], 8) not in settings
        assert {spec.train.learning_rate for spec in others[arm]} == set(rates_of(p, arm))
        assert set(diff(tested[arm][0], others[arm][0])) <= {"learning_rate", "budget", "measures"}
    assert study.frontier_designs(params(frontier=False), chosen) == {}


def test_the_cpu_profile_costs_what_its_file_says():
    p, text = cpu(), FILE.read_text()
    assert len(study.candidates(p)) == 32 and "32 dev runs of 100 steps" in text
    assert n_runs(study.designs(p, rates(p))) == 40 and "32 test runs at the chosen rates and 8 untuned bases" in text
    assert n_runs(study.frontier_designs(p, rates(p))) == 96 and "96 test runs at the other rates" in text
    assert study.pending(p, []) == "40 test runs follow once dev has chosen rates, and 96 at the other rates"


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(len(specs))
        return [result(spec, right=0.75 if spec.train.learning_rate in (1e-3, 4e-3) else 0.5) for spec in specs]

    found = study.collect(params(), run)
    assert asked == [6, 8, 6] and len(found) == 14
    own = {r.spec.train.learning_rate for r in found if r.spec.tuning.method == "lora" and r.spec.evaluate.measures}
    assert own == {4e-3}, "the better rate of low rank on dev"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": []}, "arms: the list is empty"),
        ({"arms": ["full", "full"]}, "arms: the list repeats"),
        ({"arms": ["lora 16", "lora 16 alpha=32"]}, "arms: 'lora 16' and 'lora 16 alpha=32' are the same arm"),
        ({"arms": ["full", "lora"]}, "arms: arm 'lora': 'lora' takes one number, its rank"),
        ({"arms": ["ful"]}, "did you mean 'full'"),
        ({"more_steps": [8]}, "more_steps: 8 is the budget"),
        ({"more_steps": [4, 4]}, "more_steps: the list repeats"),
        ({"more_steps": [0]}, "more_steps"),
        ({"more_steps": [4], "frontier": False}, "more_steps: lengths of the frontier"),
        ({"choice_seeds": [1]}, "choice_seeds: \\[1\\] are also in seeds"),
        ({"frontiers": True}, "did you mean 'frontier'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(LoraVsFullParams, changes, where="test")
    assert "\n" not in str(caught.value)


def test_what_cannot_run_is_refused_before_any_run():
    with pytest.raises(InputError, match="n_train"):
        study.candidates(params(n_train=5000))


def test_an_arm_without_a_change_of_weights_has_no_spectra():
    p = params(arms=("full", "prompt 4"))
    arms = study.designs(p, rates(p))
    assert arms["full"][0].evaluate.measures == ("recall", "spectra")
    assert arms["prompt 4"][0].evaluate.measures == ("recall",)
    without = params(spectra=False)
    assert study.designs(without, rates(without))["full"][0].evaluate.measures == ("recall",)


# ---- the frame ------------------------------------------------------------------------------------------------


def evidence(stopped="done"):
    p = params()
    tested, others = study.designs(p, rates(p)), study.frontier_designs(p, rates(p))
    results = {arm: [result(spec, stopped if arm == "full" and spec.seed else "done") for spec in runs]
               for arm, runs in tested.items()}  # fmt: skip
    more = {arm: [result(spec) for spec in runs] for arm, runs in others.items()}
    before = base_recall([])
    before = before.reindex(range(2)).assign(base_seed=[0, 1], frequency=1.0, recall=[1.0, 0.5])
    return study.evidence(results, more, before)


def test_the_frame_holds_runs_facts_and_weights():
    frame = evidence()
    kinds = frame.groupby(["kind", "point"])["digest"].nunique().to_dict()
    assert kinds == {
        ("test", "own rate"): 6, ("test", "another rate"): 6, ("test", "untuned"): 2,
        ("recall", "own rate"): 6, ("recall", "untuned"): 2, ("weights", "own rate"): 6,
    }  # fmt: skip
    assert not frame[["kind", "arm", "point", "seed", "digest", "status", "metric", "family"]].isna().any(axis=None)
    weights = tables.weights(frame, ["lora 16"]).iloc[0].to_dict()
    # matrix c did not move: lengths 3 and 4 make 5, and of the two that moved one has one new direction, one has two
    assert weights.pop("arm") == "lora 16"
    assert weights == {"change": 5.0, "effective_rank": 3.0, "new": 1.5, "new_noise": 0.5, "new_turned": 0.0}
    facts = tables.recall(frame, ["full"]).set_index(["arm", "seed", "frequency"])
    assert facts.loc[("full", 0, 1.0), ["recall", "drop"]].tolist() == [0.75, 0.25]
    assert facts.loc[("full", 1, 1.0), "drop"] == -0.25 and np.isnan(facts.loc[("full", 0, 0.0), "drop"])


def test_forgetting_is_the_rise_over_the_base():
    """The loss of a run is (2 + its rate) / 2, that of an untuned base by the default rate of 1e-3."""
    table = tables.scores(evidence())
    own = table[table["point"] == "own rate"].groupby("arm")["forgetting"].mean()
    assert own.to_dict() == pytest.approx({"full": 0.0, "lora 16": 1.5e-3, "lora 16 qv": 1.5e-3})


def test_a_diverged_run_is_a_row_without_a_value():
    frame = evidence("diverged")
    assert (frame[(frame["arm"] == "full") & (frame["kind"] == "test")]["status"] == "diverged").sum() == 1
    assert tables.summary(frame, ARMS).set_index("arm")["runs"].to_dict() == {
        "untuned": 2, "full": 1, "lora 16": 2, "lora 16 qv": 2,
    }  # fmt: skip
    assert tables.own(tables.scores(frame), ["full"])["learning"].isna().sum() == 1


# ---- tables and figures on planted runs -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted():
    frame = planted_arms.frame()
    scores = tables.scores(frame)
    compared = tables.comparisons(scores, ARMS)
    return frame, scores, compared, tables.differences(compared)


def test_differences_are_those_of_the_claims(planted):
    frame, _, _, differences = planted
    by = differences.set_index(["arm", "what"])["mean"]
    parts = {part.name: part.effect for name in study.CLAIMS for part in judge(load_claim(name), frame).parts}
    assert by[("lora 16", tables.LEARNED)] == pytest.approx(parts["learns_less"])
    assert by[("lora 16", tables.FORGOT)] == pytest.approx(parts["forgets_less"])
    assert by[("lora 16", tables.BELOW)] == pytest.approx(parts["forgets_less_at_equal_accuracy"])
    assert by[("lora 16 qv", tables.MATCHED)] == pytest.approx(parts["low_rank_minus_full_at_equal_accuracy"])
    levels = differences.set_index(["arm", "what"])["level"]
    assert levels[("lora 16 qv", tables.MATCHED)] == pytest.approx(0.3)


def test_frontiers_go_through_the_means(planted):
    lines = tables.mean_frontiers(planted[1], ARMS)
    full = lines[lines["arm"] == "full"]
    for learning, forgetting in ((0.0, 0.0), (0.4, 0.016), (0.8, 0.064)):
        near = full.iloc[(full["learning"] - learning).abs().argmin()]
        assert near[["learning", "forgetting"]].tolist() == pytest.approx([learning, forgetting], abs=1e-9)
    stopped = tables.scores(planted_arms.fail(planted[0], "full", 0.004, 0, "diverged"))
    assert tables.mean_frontiers(stopped, ["full"])["learning"].max() == pytest.approx(0.6)
    assert not len(tables.mean_frontiers(tables.scores(planted_arms.frame(frontier=False)), ARMS))


def test_the_sentence_says_whose_side_the_numbers_are_on(planted):
    text = tables.sides(planted[3], low_rank="lora 16", narrow="lora 16 qv", first="full")
    first, second, third = text.split(": the side of ")[0], text.split(". ")[1], text.split(". ")[-1]
    assert first.startswith("lora 16 forgets less than full at its own rate (-0.0259")
    assert second.startswith("lora 16 forgets less than full at equal accuracy") and "arXiv:2405.09673" in second
    assert third.startswith("lora 16 qv forgets more than full at equal accuracy (+0.0080") and "peft" in third
    few = tables.differences(tables.comparisons(tables.scores(planted_arms.frame(seeds=range(2))), ARMS))
    assert "neither side" in tables.sides(few, low_rank="lora 16", narrow="lora 16 qv", first="full")
    none = tables.differences(tables.comparisons(tables.scores(planted_arms.frame(reference=False)), ARMS))
    assert "on no side" in tables.sides(none, low_rank="lora 16", narrow="lora 16 qv", first="full")


def test_every_part_has_its_p_corrected(planted):
    found = tables.parts([judge(load_claim(name), planted[0]) for name in study.CLAIMS])
    assert found["claim"].tolist() == ["L1", "L8", "L8", "L8", "L9"]
    four = found[found["claim"] != "L1"]
    assert four["p"].tolist() == pytest.approx([2 / 2**8] * 4) and (four["p_holm"] >= 4 * four["p"] - 1e-12).all()
    assert found["verdict"].tolist() == ["contradicted", *["reproduced"] * 4]


def test_choices_at_an_edge_are_marked():
    found = tables.choice({"full": 1e-3, "half": 2e-3}, {"full": True, "half": False})
    assert found["edge of the grid"].tolist() == [True, False]


def drawn(frame, arms):
    scores = tables.scores(frame)
    compared = tables.comparisons(scores, arms)
    differences = tables.differences(compared)
    metric = scores["metric"].iloc[0]
    return {
        "own": figures.own_rates(tables.own(scores, arms), metric),
        "frontiers": figures.frontiers(scores, tables.mean_frontiers(scores, arms), arms, metric),
        "matched": figures.matched(compared, differences, first=arms[0]),
        "positions": figures.positions(compared, differences, first=arms[0]),
        "recall": figures.recall(tables.recall(frame, arms)),
    }


def texts(axes):
    return {text.get_text() for ax in axes for text in ax.texts}


def test_figures_show_every_run_of_every_arm(planted):
    axes = drawn(planted[0], ARMS)
    assert [ax.get_title(loc="left") for ax in axes["frontiers"]] == [*ARMS, "all frontiers"]
    dots = [line for line in axes["frontiers"][0].lines if line.get_marker() in ("o", "^")]
    assert sum(len(line.get_xdata()) for line in dots) == 32
    own = [y for line in dots if line.get_markerfacecolor() != "white" for y in line.get_ydata()]
    assert own == pytest.approx([0.036] * 8), "filled dots are the chosen rate"
    assert texts(axes["frontiers"]) == set(ARMS)
    diamonds = [line for line in axes["positions"][1].lines if line.get_marker() == "D" and line.get_mfc() == "none"]
    assert [float(np.ravel(line.get_ydata())[0]) for line in diamonds] == [pytest.approx(0.02)]
    assert "forgets more: peft's comparison" in texts(axes["positions"])
    assert {"learns less, forgets less: arXiv:2405.09673", "forgets less"} <= texts(axes["positions"])
    assert len(axes["recall"]) == 3
    for found in axes.values():
        figure_of(found).canvas.draw()


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (planted_arms.frame(seeds=range(2), frontier=False), "one rate per arm: no frontier"),
        (planted_arms.frame(seeds=range(2), reference=False), "forgetting not measured"),
        (planted_arms.frame(seeds=range(1)), ""),
    ],
)
def test_figures_survive_what_is_missing(frame, said):
    axes = drawn(frame, ARMS)
    assert not said or said in texts(axes["frontiers"])
    nothing = figures.recall(tables.recall(frame[frame["kind"] != "recall"], ARMS))
    assert any("not measured" in text for text in texts(nothing))
    for found in axes.values():
        figure_of(found).canvas.draw()


# ---- a model and a file of one's own --------------------------------------------------------------------------


def test_a_model_and_a_file_of_ones_own(tmp_path):
    """No facts and no documents: responses are compared, and what needs more is not_run."""
    words = ("red", "green", "blue", "small", "large", "old")
    rows = [{"instruction": f"name the colour number {i}", "output": words[i % 6]} for i in range(60)]
    file = tmp_path / "own.json"
    file.write_text(json.dumps(rows))
    own = {"data": str(file), "model": worldly.folder(tmp_path), "n_eval": 4, "n_train": 12, "batch_size": 4}
    p = params(arms=("full", "lora 2", "half"), seeds=(0,), budget=2, choice_eval=2, **own)
    store = Store(tmp_path / "store")

    def run(specs):
        return run_all(specs, store, engine="serial", progress=False)

    chosen = study.choose(p, run(study.candidates(p)))
    results = study.run_designs(study.designs(p, chosen), run)
    more = study.run_designs(study.frontier_designs(p, chosen), run)
    assert all(r.status == "done" for runs in [*results.values(), *more.values()] for r in runs)
    assert len(results["untuned"]) == 1
    frame = study.evidence(results, more, study.known_before(results))
    assert set(frame["kind"]) == {"test", "weights"} and "reference_loss" not in set(frame["metric"])
    given = ledger({arm: results[arm] for arm in p.arms}, trials(p, p.arms))
    assert undeclared(given, study.UNEQUAL) == ""
    assert given.set_index("arm")["trainable"]["lora 2"] < given.set_index("arm")["trainable"]["half"]
    assert {judge(load_claim(name), frame).verdict for name in study.CLAIMS} == {"not_run"}
    summary = tables.summary(frame, p.arms).set_index("arm")
    assert summary.loc[list(p.arms), "response_nll"].notna().all() and summary["forgetting"].isna().all()
    assert "forgetting not measured" in texts(drawn(frame, list(p.arms))["frontiers"])
