"""The design of the study of tuning methods, its frame, and its tables and figures on planted numbers."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from planted_methods import frame_of

from itlib.claims import load_claim
from itlib.errors import InputError
from itlib.fairness import ledger, training_flops
from itlib.microworld.gates import recall_by_frequency
from itlib.packing import TRIMMED
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.studies import tuning_methods as study
from itlib.studies import tuning_methods_figures as draw
from itlib.studies import tuning_methods_scores as scores
from itlib.studies import tuning_methods_tables as tables
from itlib.studies.tuning_methods import SMALL, UNTUNED, UNTUNED_SMALL, TuningMethodsParams
from itlib.tune import load_base
from itlib.workspace import project_root

OF_A_METHOD = {"method", "rank", "alpha", "targets", "method_options", "n_virtual_tokens", "learning_rate"}


def params(**changes):
    return dataclasses.replace(TuningMethodsParams(), **changes)


def cpu():
    return from_yaml(project_root() / "params" / "cpu" / "04c_methods.yaml").params


def designs(p):
    return study.designs(p, study.first_rates(p))


def result(spec, value=0.5, status="done", **totals):
    items = (("i", "plural", "words", "latent", "", value, value, None, 1.0, 2, 4, ""),)
    counts = {"n_steps": 8, "n_tokens": 100, "n_response_tokens": 20, "n_parameters": 1000}
    counts |= {"n_trainable_parameters": 10, "measures": {"recall": {"frequency": [0.0, 1.0], "recall": [0.0, 0.75]}}}
    if spec.data.n_train == 0:
        counts = {"n_parameters": 1000}
    done = status == "done"
    return RunResult(resolve(spec), status, items if done else (), totals=(counts | totals) if done else {})


# ---- design -------------------------------------------------------------------------------------------------------


def test_arms_differ_in_their_method_and_rate_alone():
    found = designs(params())
    first = found["full"][0]
    for arm in params().arms:
        assert set(diff(first, found[arm][0])) <= OF_A_METHOD, arm
        assert [spec.seed for spec in found[arm]] == [0, 1]
        assert found[arm][0].evaluate.measures == ("recall",)
    assert {spec.train.trainer for runs in found.values() for spec in runs} == {"loop"}


def test_parts_of_the_data_differ_in_their_size_and_rate_alone():
    p = cpu()
    found = designs(p)
    for arm in ("full", "lora 16"):
        (spec, *_) = found[f"{arm} at 0.05"]
        assert set(diff(found[arm][0], spec)) <= {"n_train", "learning_rate"} and spec.data.n_train == 20
        assert spec.train.budget == found[arm][0].train.budget == 100


def test_the_smaller_model_is_tuned_as_the_larger_one():
    found = designs(params())
    small, full = found[SMALL], found["full"]
    assert set(diff(full[0], small[0])) <= {"model", "learning_rate"}
    assert [spec.base.base_seed for spec in small] == [0, 0] and [spec.base.base_seed for spec in full] == [0, 1]
    assert small[0].base.attention == TRIMMED
    assert SMALL not in designs(params(small_model="")) and UNTUNED_SMALL not in designs(params(small_model=""))


def test_every_base_is_evaluated_untuned_once():
    p = cpu()
    found = designs(dataclasses.replace(p, seeds=tuple(range(12))))
    assert [spec.base.base_seed for spec in found[UNTUNED]] == list(range(8)) and len(found[UNTUNED_SMALL]) == 1
    assert {spec.data.n_train for spec in found[UNTUNED] + found[UNTUNED_SMALL]} == {0}


def test_the_cpu_profile_costs_what_its_file_says():
    p = cpu()
    dev, test = study.candidates(p), designs(p)
    runs = {digest(spec) for arm in test.values() for spec in arm}
    assert (len(dev), len(runs)) == (144, 225)
    text = (project_root() / "params" / "cpu" / "04c_methods.yaml").read_text()
    assert "144 dev runs and 225 test runs of 100 steps of 32" in text
    assert len({digest(spec) for spec in dev}) == 144 and {spec.evaluate.split for spec in dev} == {"dev"}


def test_claims_name_arms_that_the_cpu_profile_has():
    names = {cell.name for cell in study.tuned(cpu())}
    for claim in study.CLAIMS:
        for value in load_claim(claim).settings.values():
            named = value if isinstance(value, (list, tuple)) else [value]
            assert {name for name in named if isinstance(name, str)} <= names, claim


def test_arms_of_equal_parameters_are_counted():
    counts = study.check_equal(cpu())
    assert counts["lora 10 attention"] == 4 * 4 * (128 + 128) * 10  # four layers of four square matrices
    assert counts["lora 7 feedforward"] == 4 * 3 * (128 + 352) * 7  # four layers of three oblong ones
    assert counts["lora 1"] == counts["lottery_ticket 1"] == 4 * (4 * 256 + 3 * 480)
    assert study.check_equal(params(equal_parameters=())) == {}


def test_unequal_arms_are_refused_before_any_run():
    arms = (*params().arms, "lora 8 feedforward")
    p = params(arms=arms, equal_parameters=("lora 7 attention as lora 8 feedforward",))
    with pytest.raises(InputError, match="equal_parameters: 'lora 7 attention' 28,672.*46,080.*60.7%"):
        study.candidates(p)
    with pytest.raises(InputError, match="equal_parameters: 'prefix 2'.*do not follow from shapes"):
        study.candidates(params(equal_parameters=("prefix 2 as lora 2",)))


def test_a_start_from_documents_needs_documents(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a", "response": "b"}\n' * 4)
    with pytest.raises(InputError, match="arms: 'corda 2' reads pretraining documents"):
        study.candidates(params(data=str(file)))


def dev_result(spec, best):
    return result(spec, float(abs(spec.train.learning_rate / best(spec) - 1) < 0.01))


def test_each_cell_gets_the_best_of_its_own_rates_and_relatives_share():
    p = params(choice_seeds=(1000, 1001))

    def best(spec):
        large = spec.data.n_train < p.n_train or spec.tuning.method == "prefix" or spec.base.model == "micro-0.2m"
        factor = {"full": 1, "prefix": 16 * 32, "grow_and_drop": 2 * 16}.get(spec.tuning.method, 4)
        return factor * (2e-3 if large else 1e-3)

    dev = study.candidates(p)
    assert len(dev) == 2 * 2 * (len(study.tuned(p)) - 1) and "corda" not in {spec.tuning.method for spec in dev}
    chosen = study.choose(p, [dev_result(spec, best) for spec in dev])
    assert list(chosen) == [cell.name for cell in study.tuned(p)]
    assert chosen["full"] == 1e-3 and chosen[SMALL] == 2e-3 and chosen["lora 2 at 0.25"] == 8e-3
    assert chosen["prefix 2"] == 1.02 and chosen["grow_and_drop"] == 0.032
    assert chosen["corda 2"] == chosen["lora 2"] == 4e-3
    assert study.trials(p)["corda 2"] == 0 and set(study.trials(p).values()) == {0, 2}


def test_one_rate_needs_no_dev():
    p = params(learning_rates=(1e-3,))
    assert study.candidates(p) == []
    assert study.choose(p, [])["corda 2"] == 4e-3


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(len(specs))
        return [result(spec) for spec in specs]

    assert len(study.collect(params(), run)) == 23 and asked == [18, 23]
    assert study.pending(params(), []) == "23 test runs follow once dev has chosen rates"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": []}, "arms: the list is empty"),
        ({"arms": ["full", "full"]}, "arms: the list repeats"),
        ({"arms": ["full", "lora"]}, "arms: arm 'lora'.*one number"),
        ({"arms": ["full", "lroa 2"]}, "arms: unknown.*did you mean 'lora'"),
        ({"equal_parameters": ["lora 2"]}, "equal_parameters: 'lora 2' must be written"),
        ({"equal_parameters": ["lora 2 as lora 3"]}, "equal_parameters: 'lora 3' is not among arms"),
        ({"equal_parameters": ["lora 2 as lora 2"]}, "names one arm twice"),
        ({"shared_rates": ["corda 2 as lora 2", "lora 2 as lora 4 qv"]}, "has none of its own"),
        ({"shared_rates": ["corda 2 as lora 2", "corda 2 as lora 4 qv"]}, "takes a rate twice"),
        ({"shared_rates": ["prefix 2 as lora 2"]}, "shared_rates: 'prefix 2' and 'lora 2' are no relatives"),
        ({"rate_factors": ["prefix 2 by 4"]}, "rate_factors: 'prefix 2 by 4' must be written"),
        ({"rate_factors": ["prefix 3 times 4"]}, "rate_factors: 'prefix 3' is not among arms"),
        ({"rate_factors": ["prefix 2 times four"]}, "rate_factors: prefix 2.*four"),
        ({"rate_factors": ["prefix 2 times 0"]}, "rate_factors: the factor of 'prefix 2' must be greater than 0"),
        ({"rate_factors": ["prefix 2 times 2", "prefix 2 times 4"]}, "rate_factors: 'prefix 2' is given twice"),
        ({"rate_factors": ["corda 2 times 2"]}, "shared_rates: 'corda 2' and 'lora 2' are no relatives"),
        ({"fractions": [0.5, 0.5]}, "fractions: the list repeats"),
        ({"fractions": [1.0]}, "fractions: 1 is not below 1"),
        ({"fractions": [0.0]}, "fractions"),
        ({"fraction_arms": ["lora 3"]}, "fraction_arms: 'lora 3' is not among arms"),
        ({"small_model": "micro-1m"}, "small_model: 'micro-1m' is the model itself"),
        ({"small_model": "micro-9m"}, "small_model:.*micro-9m"),
        ({"choice_seeds": [0]}, "choice_seeds.*also in seeds"),
        ({"armz": []}, "did you mean 'arms'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(TuningMethodsParams, changes, where="test")
    assert "\n" not in str(caught.value)


def test_placements_and_starts_are_read_off_the_arms():
    assert study.placements(cpu()) == [("lora 10 attention", "lora 7 feedforward")]
    wanted = ["pissa 16", "olora 16", "eva 16", "corda 16 keep=knowledge", "corda 16 keep=instruction"]
    assert study.starts(cpu()) == {"lora 16": wanted}
    assert study.starts(params(shared_rates=(), arms=("lora 2", "pissa 4"), equal_parameters=(), rate_factors=())) == {}


def test_every_registered_method_has_a_kind():
    assert {scores.family_of(arm) for arm in cpu().arms} == set(draw.KINDS)
    assert scores.family_of("corda 16 keep=knowledge") == "low rank" and scores.family_of("ia3") == "scales and norms"
    assert scores.family_of("last_layer") == "weights as they are" and scores.family_of("prompt 10") == "virtual tokens"


# ---- the frame ----------------------------------------------------------------------------------------------------


def evidence():
    found = {name: [result(spec) for spec in runs] for name, runs in designs(params()).items()}
    found["lora 2"][1] = result(designs(params())["lora 2"][1], status="diverged")
    return found, scores.evidence(found)


def test_the_frame_holds_scores_facts_and_costs():
    found, frame = evidence()
    assert set(frame["kind"]) == {"test", "recall", "cost"} and set(frame["arm"]) == set(found)
    told = frame[(frame["arm"] == "full") & (frame["kind"] == "recall") & (frame["seed"] == 1)]
    assert told.set_index("family")["value"].to_dict() == {"told 0": 0.0, "told 1": 0.75}
    cost = frame[(frame["arm"] == "full") & (frame["kind"] == "cost") & (frame["seed"] == 0)]
    flops = training_flops(found["full"][0]) / 1e9
    assert cost.set_index("metric")["value"].to_dict() == {"trainable": 10.0, "gflops": flops}
    assert flops == 100 * (4 * 1000 + 2 * 10) / 1e9
    gone = frame[(frame["arm"] == "lora 2") & (frame["seed"] == 1)]
    assert gone["status"].tolist() == ["diverged"] and gone["value"].isna().all()
    assert set(frame.loc[frame["arm"] == UNTUNED, "kind"]) == {"test"}  # nothing was trained, and no measure taken


def test_bases_recall_what_they_know_without_tuning():
    found, _ = evidence()
    rows = scores.base_recall({UNTUNED: found[UNTUNED][:1]})
    known = recall_by_frequency(*load_base(found[UNTUNED][0].spec))
    assert rows.set_index("frequency")["value"].to_dict() == known and known[1.0] > 0.9
    assert set(rows["arm"]) == {UNTUNED} and set(rows["kind"]) == {"recall"} and set(rows["digest"].str.len()) == {12}
    frame = scores.evidence(found, rows)
    told = np.mean([value for frequency, value in known.items() if frequency > 0])
    assert tables.bases(frame).query("base == 'untuned' and base_seed == 0")["recall"].item() == pytest.approx(told)
    assert not len(scores.base_recall({}))


def test_verdicts_are_blocked_by_budgets_that_nobody_explained():
    found, _ = evidence()
    p = params()

    def told(arm, **totals):
        changed = {**found, arm: [result(run.spec, **totals) for run in found[arm]]}
        return scores.blocked(p, ledger(changed, study.trials(p)))

    assert told("full") == ""  # trials differ, and the study says why
    assert "steps from 8 (full) to 9 (prefix 2)" in told("prefix 2", n_steps=9)
    assert "tokens" in told("prefix 2", n_tokens=120) and "supervised" in told("corda 2", n_response_tokens=40)
    assert told("lora 2 at 0.25", n_tokens=120, n_response_tokens=40) == ""
    assert "steps" in told("lora 2 at 0.25", n_steps=9)


# ---- tables -------------------------------------------------------------------------------------------------------


def planted(**changes):
    wobble = np.random.default_rng(1).normal(0, 0.01, (3, 8))
    arms = {
        "full": {"score": lambda s: 0.5 + wobble[0, s], "trainable": 8000.0, "gflops": 10.0, "drift": 0.3},
        "lora 2": {"score": lambda s: 0.45 + wobble[0, s], "recall": lambda s: 0.7 + wobble[1, s], "gflops": 7.5},
        "corda 2": {"score": lambda s: 0.46 + wobble[2, s], "recall": lambda s: 0.8 + wobble[1, s] + wobble[2, s]},
        "lora 4 qv": {"score": 0.4, "trainable": 82.0},
        "lora 7 attention": {"score": lambda s: 0.41 + wobble[1, s]},
        "lora 5 feedforward": {"score": lambda s: 0.43 + wobble[1, s]},
        "grow_and_drop": {"score": 0.44, "trainable": 80.0},
        "prefix 2": {"score": 0.2, "trainable": 20.0},
        "lora 2 at 0.25": {"score": 0.3},
        SMALL: {"score": 0.35},
    }
    return frame_of({name: {**about, **changes.get(name, {})} for name, about in arms.items()})


def seconds(p):
    return pd.DataFrame({"arm": list(p.arms), "seconds": [float(5 + place) for place in range(len(p.arms))]})


def test_methods_by_hand():
    p = params()
    table = tables.methods(planted(), list(p.arms), seconds(p)).set_index("arm")
    assert table.loc["full", ["score", "forgetting", "operations", "seconds"]].tolist() == pytest.approx(
        [0.5, 0.3, 1.0, 5.0], abs=0.01
    )
    assert np.isnan(table.loc["full", "minus_full"]) and table.loc["full", "trainable"] == 8000
    lora = table.loc["lora 2"]
    assert (lora["minus_full"], lora["operations"]) == pytest.approx((-0.05, 0.75))  # paired: the wobble is the seed's
    assert lora["interval"] == pytest.approx((-0.05, -0.05)) and lora["low"] < lora["score"] < lora["high"]
    assert lora["forgetting"] == pytest.approx(0.1) and lora["runs"] == 8
    assert table.loc["prefix 2", "seconds"] == 6.0 and table.loc["lora 2", "recall"] == pytest.approx(0.7, abs=0.01)


def test_an_arm_without_runs_is_a_row_without_numbers():
    p = params()
    table = tables.methods(planted().query("arm != 'prefix 2'"), list(p.arms), seconds(p)).set_index("arm")
    assert table.loc["prefix 2", "runs"] == 0 and np.isnan(table.loc["prefix 2", "score"])


def test_the_table_of_rates_says_where_they_come_from():
    p = params(learning_rates=(1e-3, 2e-3, 4e-3))
    chosen = study.first_rates(p) | {"lora 2": 8e-3, "corda 2": 8e-3}
    table = tables.rates(p, chosen).set_index("arm")
    assert table.loc["corda 2", ["learning_rate", "candidates", "remark"]].tolist() == ["0.008", "", "rate of lora 2"]
    assert table.loc["lora 2", ["candidates", "remark"]].tolist() == ["0.004 0.008 0.016", ""]
    assert table.loc[SMALL, "remark"] == table.loc["lora 2 at 0.25", "remark"] == "edge of the grid"


def test_the_joint_region_is_hotellings():
    """Points of its border are exactly as unlikely as the confidence says; an independent formula agrees."""
    from scipy.stats import f as distribution

    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(8, 2)) @ np.array([[1.0, 0.6], [0.0, 0.3]])
    width, height, angle = tables.joint_region(pairs)
    turn = np.radians(angle)
    inverse = np.linalg.inv(np.cov(pairs.T))
    for t in np.linspace(0, 2 * np.pi, 7):
        x, y = width / 2 * np.cos(t), height / 2 * np.sin(t)
        border = np.array([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)])
        squared = 8 * border @ inverse @ border
        assert squared * (8 - 2) / (2 * (8 - 1)) == pytest.approx(distribution.ppf(0.95, 2, 6))
    assert width >= height > 0
    assert all(np.isnan(tables.joint_region(pairs[:3])))


def test_a_trade_is_drawn_from_the_plain_adapter():
    table = tables.trade(planted(), params()).set_index("arm")
    assert table.loc["corda 2", ["recall", "score"]].tolist() == pytest.approx([0.8, 0.46], abs=0.01)
    assert np.isnan(table.loc["lora 2", "width"]) and table.loc["corda 2", "width"] > 0
    assert set(table["plain"]) == {"lora 2"} and set(table["runs"]) == {8}


def test_sparse_arms_stand_beside_low_rank_ones_of_equal_size():
    table = tables.densities(planted(), params()).set_index("arm")
    assert list(table.index) == ["grow_and_drop", "lora 4 qv"]
    assert table.loc["grow_and_drop", ["density", "trainable", "kind"]].tolist() == [0.01, 80, "grow and drop"]
    assert table.loc["lora 4 qv", ["equal_to", "kind"]].tolist() == ["grow_and_drop", "low rank"]
    assert tables.densities(frame_of({"lora 1": {}}), cpu())["density"].dropna().tolist() == [
        0.005,
        0.0123,
        0.05,
    ]


def test_placements_are_paired_by_seed():
    table = tables.placed(planted(), params())
    assert table["difference"].tolist() == pytest.approx([0.02] * 8)
    assert len(tables.placed(planted(), params(equal_parameters=()))) == 0


def test_fractions_end_with_the_arm_itself_and_the_smaller_model():
    table = tables.fractions(planted(), params())
    assert table["examples"].tolist() == [10, 40, 40] and table["model"].tolist() == ["own", "own", "small"]
    assert table["score"].tolist() == pytest.approx([0.3, 0.45, 0.35], abs=0.01)
    assert len(tables.fractions(planted(), params(fractions=(), small_model=""))) == 0


# ---- figures ------------------------------------------------------------------------------------------------------


def test_figures_name_every_arm():
    p, frame = params(), planted()
    methods = tables.methods(frame, list(p.arms), seconds(p))
    for ax in (draw.parameters(methods), draw.seconds(methods)):
        assert {text.get_text() for text in ax.texts} == {draw.short(arm) for arm in p.arms}
    trade = tables.trade(frame, p)
    ax = draw.knowledge(trade, tables.points(frame, list(trade["arm"])), 0.9)
    assert {text.get_text() for text in ax.texts} == {"lora 2", "corda 2", ""} and len(ax.patches) == 1
    ax = draw.sparsity(tables.densities(frame, p), methods)
    assert {text.get_text() for text in ax.texts} == {"density 0.01", "lora 4 qv"}
    (ax,) = draw.placement(tables.placed(frame, p))
    assert ax.get_title() == "difference +0.020 [+0.020, +0.020]"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["lora 7 attention", "lora 5 feed-forward"]
    ax = draw.fractions(tables.fractions(frame, p), p.model, p.small_model)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["25 %", "100 %"]
    (legend,) = ax.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["lora 2, micro-1m", "full, micro-0.2m, all data"]


def test_labels_are_arms_in_plain_words():
    assert draw.short("grow_and_drop density=0.05") == "grow and drop 0.05"
    assert draw.short("corda 16 keep=knowledge") == "corda 16 knowledge"


def test_figures_survive_an_empty_frame():
    p = params()
    frame = frame_of({"lora 2": {}}, untuned=False).query("kind == 'none'")
    frame = pd.concat([frame, frame_of({}, range(2))], ignore_index=True)  # untuned bases and nothing else
    methods = tables.methods(frame, list(p.arms), seconds(p))
    assert methods["score"].isna().all()
    draw.parameters(methods)
    draw.seconds(methods)
    trade = tables.trade(frame, p)
    draw.knowledge(trade, tables.points(frame, ["lora 2"]), float("nan"))
    draw.sparsity(tables.densities(frame, p), methods)
    assert draw.placement(tables.placed(frame, p))[0].get_title() == "no pair of runs"
    draw.placement(tables.placed(frame, params(equal_parameters=())))
    draw.fractions(tables.fractions(frame, p), p.model, p.small_model)
