"""The design of the decoding study: one model per seed, evaluations that differ in their intervention alone."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from itlib.errors import InputError
from itlib.params import from_yaml
from itlib.perturbations.sentence import MOST_SENTENCES
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest, train_digest
from itlib.studies import data_scaling, decoding, decoding_figures, decoding_tables
from itlib.studies.decoding import DecodingParams
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}
FAMILIES = ("f", "g", "h", "i")


def params(**changes):
    return dataclasses.replace(DecodingParams(), **changes)


def cpu(study):
    return from_yaml(project_root() / "params" / "cpu" / f"{study}.yaml").params


def specs(arms):
    return [resolve(spec) for arm in arms.values() for spec in arm]


def scored(spec):
    """What a planted model scores: half right, a point for every tenth of weight or steering, no negation."""
    evaluate = spec.evaluate
    value = 0.5 - evaluate.contrast_weight / 10 + evaluate.steering / 10 - 0.03 * evaluate.severity
    value -= {"none": 0.0, "opposite": 0.3, "null": 0.4, "random": 0.2, "truncated": 0.1}[evaluate.noisy_prompt]
    return value * (evaluate.eval_phrasing_set != "negated") + 0.001 * spec.seed


def result(spec):
    spec = resolve(spec)
    items = tuple(
        (f"{name}-0", name, "words", "latent", "", scored(spec) + 0.01 * place, None, None, 1.0, 2, 4, "")
        for place, name in enumerate(FAMILIES)
    )
    return RunResult(spec, "done", items)


@pytest.fixture(scope="module")
def planted():
    p = params(seeds=(0, 1, 2), contrast_weights=(-0.1, -0.3, -0.5), distractors=(0, 1, 3))
    results = decoding.run_designs(decoding.designs(p, SETTING), lambda some: [result(spec) for spec in some])
    return p, decoding.evidence(results)


def test_every_evaluation_of_a_seed_is_of_one_model():
    arms = decoding.designs(params(), SETTING)
    for seed in (0, 1):
        assert len({train_digest(spec) for spec in specs(arms) if spec.seed == seed}) == 1
    assert all(spec.keep_weights for spec in arms["tuned"])
    assert len({digest(spec) for spec in specs(arms)}) == sum(map(len, arms.values()))


def test_evaluations_differ_in_their_intervention_alone():
    arms = decoding.designs(params(), SETTING)
    allowed = {
        "plain": {"eval_phrasing_set"},
        "contrast": {"eval_phrasing_set", "contrast", "contrast_weight"},
        "noisy": {"eval_phrasing_set", "noisy_prompt"},
        "negated": {"eval_phrasing_set", "contrast", "contrast_weight", "steering"},
        "steering": {"steering", "perturbation", "severity"},
    }
    for name, fields in allowed.items():
        for spec in arms[name]:
            tuned = next(other for other in arms["tuned"] if other.seed == spec.seed)
            assert set(diff(spec, tuned)) <= fields | {"n_reference", "keep_weights"}


def test_the_models_are_tuned_before_they_are_asked_again():
    asked = []

    def run(some):
        asked.append(list(some))
        return [result(spec) for spec in some]

    assert len(decoding.collect(params(), run)) == 58
    assert [len(batch) for batch in asked] == [2, 2, 58]
    assert all(spec.keep_weights for spec in asked[1])
    assert decoding.pending(params(), []) == (
        "2 models to tune once dev has chosen, and 56 further evaluations of them"
    )


def test_the_choice_is_that_of_data_scaling_at_cpu():
    p, first = cpu("03c_decoding"), cpu("01_data_scaling")
    chosen = {digest(resolve(spec)) for spec in data_scaling.choice_grid(first)}
    assert {digest(resolve(spec)) for spec in decoding.candidates(p)} == chosen


def test_the_cpu_profile_costs_what_its_file_says():
    arms = decoding.designs(cpu("03c_decoding"), SETTING)
    n_models, n_all = len(arms["tuned"]), sum(map(len, arms.values()))
    text = (project_root() / "params" / "cpu" / "03c_decoding.yaml").read_text()
    assert f"{n_models} models of 150 steps and {n_all - n_models} further evaluations" in text
    assert {spec.base.attention for spec in specs(arms)} == {"trimmed"}


def test_no_dose_is_asked_twice():
    arms = decoding.designs(params(eval_phrasing_set="observed", distractors=(0, 1, 3)), SETTING)
    assert len({digest(spec) for spec in specs(arms)}) == sum(map(len, arms.values()))
    doses = {(s.evaluate.steering, round(s.evaluate.severity * MOST_SENTENCES)) for s in arms["steering"]}
    assert doses == {(t, n) for t in (0.0, 0.2, 0.5) for n in (0, 1, 3)} - {(0.0, 0)}


def test_doses_of_a_contrast_start_at_plain_decoding(planted):
    p, frame = planted
    table = decoding_tables.weights(frame, p)
    means = table.groupby(["phrasings", "kind", "weight"])["value"].mean()
    assert means["observed", "null", -0.5] - means["observed", "null", 0.0] == pytest.approx(0.05)
    assert len(table) == 2 * 4 * 4 * 3
    axes = decoding_figures.weights(table, y_label="exact match")
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == [
        "0\n1.00",
        "-0.1\n1.11",
        "-0.3\n1.43",
        "-0.5\n2.00",
    ]
    assert axes[0].get_xlim()[0] > axes[0].get_xlim()[1]


def test_costs_and_gains_are_in_points_and_wins_are_of_families(planted):
    p, frame = planted
    table = decoding_tables.gains(frame, p).set_index(["phrasings", "kind"])
    row = table.loc["unobserved_wrapper", "null"]
    assert (row["cost"], row["gain"], row["families won"], row["seeds"]) == pytest.approx((40, 3, 1.0, 3))


def test_the_correlation_over_dots_has_an_interval_from_families():
    generator = np.random.default_rng(0)
    rows = [
        {"kind": kind, "family": f"f{i}", "cost": (cost := float(generator.random())), "gain": cost + noise}
        for kind in ("a", "b", "c") for i in range(12) for noise in [0.3 * float(generator.random())]
    ]  # fmt: skip
    dots = pd.DataFrame(rows)
    value, low, high = decoding_tables.correlation(dots)
    assert low < value < high and low > 0.5 and decoding_tables.correlation(dots) == (value, low, high)
    assert decoding_tables.correlation(dots, seed=1)[1:] != (low, high)
    assert np.isnan(decoding_tables.correlation(dots.assign(gain=0.0))[0])
    few = decoding_tables.correlation(dots[dots["family"].isin(["f0", "f1"])])
    assert np.isnan(few[1]) and np.isfinite(few[0])


def test_dots_carry_their_correlation(planted):
    p, frame = planted
    dots = decoding_tables.points(frame, p)
    assert len(dots) == 4 * len(FAMILIES)
    ax = decoding_figures.degradation(dots, (0.5, 0.2, 0.7))
    assert ax.get_title() == "rank correlation 0.50 [0.20, 0.70]"
    drawn = [line for line in ax.lines if len(line.get_xdata()) == len(FAMILIES)]
    assert len(drawn) == 4 and max(line.get_xdata().max() for line in drawn) == pytest.approx(40)


def test_remedies_are_compared_with_none_on_the_same_instructions(planted):
    p, frame = planted
    runs = decoding_tables.compliance(frame, p)
    assert runs.groupby("asked")["remedy"].nunique().to_dict() == {"as asked": 6, "negated": 6}
    table = decoding_tables.changes(runs).set_index(["asked", "remedy"])
    assert table.loc[("as asked", "contrast, null"), "change"] == pytest.approx(3)
    assert table.loc[("as asked", "steering to 0.2"), "change"] == pytest.approx(2)
    assert table.loc[("negated", "contrast, null"), "change"] == pytest.approx(0)
    assert (table["holm"] >= table["p"]).all()


def test_the_sentence_names_the_remedy_that_does_least_for_negations():
    rows = [
        {"remedy": name, "asked": asked, "seed": seed, "value": 0.5 + change + 0.001 * seed}
        for asked in ("as asked", "negated")
        for name, change in (("none", 0.0), ("a", 0.1), ("b", -0.1 if asked == "negated" else 0.1))
        for seed in range(8)
    ]
    text = decoding_tables.sentence(decoding_tables.changes(pd.DataFrame(rows)))
    assert "'b' does least" in text and "-10.0 points from 50.3, beyond chance" in text
    nothing = decoding_tables.changes(pd.DataFrame(rows).assign(value=np.nan))
    assert decoding_tables.sentence(nothing) == "No remedy could be compared on negated instructions."


def test_steering_has_a_line_per_number_of_sentences(planted):
    p, frame = planted
    runs = decoding_tables.steering(frame, p)
    means = runs.groupby(["sentences", "target"])["value"].mean()
    assert means[0, 0.5] - means[0, 0.0] == pytest.approx(0.05) and means[3, 0.2] < means[0, 0.2]
    ax = decoding_figures.steering(runs, y_label="exact match")
    labels = [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]
    assert labels == ["0 sentences", "1 sentence", "3 sentences"]
    table = decoding_tables.steering_changes(runs)
    assert len(table) == 6 and table["change"].max() == pytest.approx(5)


def test_a_study_that_cannot_run_is_refused_before_any_run():
    with pytest.raises(InputError, match="5000.*400"):
        decoding.candidates(params(n_train=5000))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "seeds: the list is empty"),
        ({"choice_seeds": [0]}, "choice_seeds.*also in seeds"),
        ({"contrast_weights": []}, "contrast_weights: the list is empty"),
        ({"contrast_weights": [-0.3, -0.3]}, "contrast_weights: the list repeats"),
        ({"contrast_weights": [-1.0]}, "contrast_weights"),
        ({"contrast_weights": [-0.3, 0.0]}, "contrast_weights: 0 is plain decoding"),
        ({"judged_weight": -0.2}, "judged_weight: -0.2 is not one of contrast_weights"),
        ({"steering_targets": [0.0, 0.2]}, "steering_targets"),
        ({"steering_targets": [0.2, 1.0]}, "steering_targets"),
        ({"judged_target": 0.4}, "judged_target: 0.4 is not one of steering_targets"),
        ({"distractors": [1, 3]}, "distractors: 0 is missing"),
        ({"distractors": [0, 4]}, "distractors"),
        ({"n_train": 0}, "n_train"),
        ({"data": "rows.jsonl"}, "data: 'rows.jsonl' has no phrasings"),
        ({"contrast_wieghts": [-0.3]}, "did you mean 'contrast_weights'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(DecodingParams, changes, where="test")
    assert "\n" not in str(caught.value)


def answered(spec, right):
    """A run that got these items of two families right, by family and number."""
    items = tuple(
        (f"{name}-{i}", name, "words", "latent", "", float(i in right[name]), None, None, 1.0, 2, 4, "")
        for name in ("f", "g")
        for i in range(20)
    )
    return RunResult(resolve(spec), "done", items)


def test_mcnemar_by_task_by_hand():
    """Family f gains eight items and loses none: p is 2 / 2^8. Family g gains one and loses one: p is 1."""
    p = params(seeds=(0,), contrast_weights=(-0.3,))
    arms = decoding.designs(p, SETTING)
    plain = answered(arms["tuned"][0], {"f": range(5), "g": range(5)})
    after = {"f": range(13), "g": [0, 1, 2, 3, 10]}
    contrast = [answered(spec, after) for spec in arms["contrast"]]
    rows = decoding_tables.by_task({"tuned": [plain], "contrast": contrast}, p)
    assert set(rows["kind"]) == {"opposite", "null", "random", "truncated"} and len(rows) == 8
    table = rows[rows["kind"] == "opposite"].set_index("family")
    assert table.loc["f", ["gained", "lost"]].tolist() == [8, 0] and table.loc["f", "p"] == pytest.approx(2 / 2**8)
    assert table.loc["g", ["gained", "lost"]].tolist() == [1, 1] and table.loc["g", "p"] == 1.0
    assert table.loc["f", "log_odds"] == pytest.approx(np.log(8.5 / 0.5)) and table.loc["g", "log_odds"] == 0.0
    pooled = decoding_tables.over_tasks(rows).set_index("kind").loc["opposite"]
    assert pooled["families"] == 2 and pooled["better"] == 1 and pooled["worse"] == 0
    low, high = pooled["interval"]
    assert low < pooled["odds"] < high and 1 < pooled["odds"] < 17


def test_equal_effects_pool_as_inverse_variances():
    rows = pd.DataFrame({"kind": "null", "family": list("abc"), "gained": [9, 9, 9], "lost": [4, 4, 4], "p": 0.3})
    rows = rows.assign(log_odds=np.log(2.0), variance=0.3)
    found = decoding_tables.over_tasks(rows).iloc[0]
    assert found["odds"] == pytest.approx(2.0) and found["spread"] == pytest.approx(0.0, abs=1e-6)
    assert found["interval"] == pytest.approx(tuple(np.exp(np.log(2.0) + np.array([-1, 1]) * 1.959964 * np.sqrt(0.1))))


def test_without_any_change_there_is_no_interval():
    rows = pd.DataFrame({"kind": "null", "family": ["a"], "gained": [0], "lost": [0], "p": [1.0]})
    found = decoding_tables.over_tasks(rows.assign(log_odds=0.0, variance=4.0)).iloc[0]
    assert found["families"] == 0 and np.isnan(found["odds"])
