"""The design of the efficiency study: arms that differ in their axis alone, and runs shared with data scaling."""

import dataclasses

import pandas as pd
import pytest

from itlib.errors import InputError
from itlib.microworld import world
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.studies import data_scaling, efficiency, efficiency_tables
from itlib.studies.efficiency import EfficiencyParams
from itlib.training_set import training_set
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}
REPLICATE = {"seed", "base_seed"}
COST = {"micro-0.2m": 0.4, "micro-1m": 1.0, "micro-4m": 4.0}  # of a run, in runs of the middle model


def params(**changes):
    return dataclasses.replace(EfficiencyParams(), **changes)


def cpu(study):
    return from_yaml(project_root() / "params" / "cpu" / f"{study}.yaml").params


def digests(specs):
    return {digest(resolve(spec)) for spec in specs}


def result(spec, value, status="done"):
    items = (("f-0", "addition", "arithmetic", "weak", "", value, value, None, 1.0, 2, 4, ""),)
    return RunResult(resolve(spec), status, items if status == "done" else ())


def run_equivalents(spec):
    visits = spec.train.budget * spec.train.batch_size
    if spec.train.budget_unit == "epochs":
        visits = spec.train.budget * (spec.data.n_train + spec.data.n_mix)
    return COST[spec.base.model] * visits / (150 * 32)


@pytest.mark.parametrize("arm", ["smaller model", "larger model"])
def test_models_differ_in_the_model_and_its_base_alone(arm):
    arms = efficiency.designs(params(seeds=(0, 3)), SETTING)
    middle = {(s.data.n_train, s.seed): s for s in arms["middle model"]}
    for spec in arms[arm]:
        assert set(diff(spec, middle[spec.data.n_train, spec.seed])) <= {"model", "base_seed"}
    assert {spec.base.base_seed for spec in arms[arm]} == {0}
    assert {(spec.seed, spec.base.base_seed) for spec in arms["middle model"]} == {(0, 0), (3, 3)}


def test_lengths_differ_in_size_steps_and_weights_alone():
    arms = efficiency.designs(params(), SETTING)
    first = arms["length"][0]
    axes = {"n_train", "budget", "initialisation"}
    assert {name for spec in arms["length"] for name in diff(first, spec)} == axes | REPLICATE
    assert len(set(arms["length"])) == 2 * 2 * 2 * 2


def test_the_prior_tuning_holds_the_new_families_out():
    p = params()
    arms = efficiency.designs(p, SETTING)
    for spec in arms["new, tuned"]:
        assert not set(spec.data.families) & set(p.new_families)
        assert set(spec.data.families) | set(spec.data.mix_families) == set(world.default_families())
        assert spec.data.mix_families == spec.evaluate.eval_families == p.new_families
        assert (spec.train.order, spec.data.n_train) == ("sequential", p.prior_size)
    fields = {"families", "mix_families", "n_train", "n_mix", "pool_size", "order"}
    for base, tuned in zip(arms["new, base"], arms["new, tuned"], strict=True):
        assert set(diff(base, tuned)) == fields
        assert base.data.n_train == tuned.data.n_mix and base.train.schedule == "constant"


def test_both_arms_on_new_families_train_on_the_same_new_examples():
    arms = efficiency.designs(params(), SETTING)
    for base, tuned in zip(arms["new, base"], arms["new, tuned"], strict=True):
        alone = training_set(resolve(base), lambda: None).examples
        after = training_set(resolve(tuned), lambda: None)
        second = [e.id for e, t in zip(after.examples, after.traits, strict=True) if t.part == 2]
        assert sorted(e.id for e in alone) == sorted(second) and len(second) == base.data.n_train
        assert base.train.budget == tuned.train.budget and base.train.budget_unit == "epochs"


def test_shared_runs_are_those_of_data_scaling_at_cpu():
    p, first = cpu("01e_efficiency"), cpu("01_data_scaling")
    assert digests(efficiency.candidates(p)) == digests(data_scaling.choice_grid(first))
    known = digests(data_scaling.scaling_grid(first, SETTING))
    arms = efficiency.designs(p, SETTING)
    assert digests(arms["middle model"]) < known and len(digests(arms["middle model"])) == 56
    longest = [s for s in arms["length"] if (s.train.budget, s.base.initialisation) == (150, "pretrained")]
    assert len(longest) == 24 and digests(longest) < known


def test_the_cpu_profile_costs_what_its_file_says():
    p, first = cpu("01e_efficiency"), cpu("01_data_scaling")
    known = digests(data_scaling.scaling_grid(first, SETTING))
    arms = efficiency.designs(p, SETTING)
    cost = {name: sum(run_equivalents(s) for s in arm if digest(resolve(s)) not in known) for name, arm in arms.items()}
    rounded = {name: round(value) for name, value in cost.items()}
    new = round(cost["new, base"] + cost["new, tuned"])
    assert rounded["middle model"] == 0 and (rounded["smaller model"], rounded["larger model"]) == (10, 64)
    assert (rounded["length"], new, round(sum(cost.values()))) == (40, 69, 183)
    assert len(digests(spec for arm in arms.values() for spec in arm)) == 216
    text = (project_root() / "params" / "cpu" / "01e_efficiency.yaml").read_text()
    for words in (
        "216 test runs",
        "183 run-equivalents",
        "10 smaller model, 64 larger model",
        "40 other lengths",
        "69 new",
    ):
        assert words in text


def test_twelve_passes_give_the_largest_new_set_the_length_of_the_study():
    p = cpu("01e_efficiency")
    assert p.passes * max(p.new_sizes) == p.budget * p.batch_size


def test_new_families_follow_the_declared_rule():
    """The last standard family of each category of at least three, comparisons (half right by chance) left out."""
    last: dict[str, list[str]] = {}
    for name in world.default_families():
        last.setdefault(world.category(name), []).append(name)
    rule = {names[-1] for category, names in last.items() if len(names) >= 3 and category != "comparisons"}
    assert set(EfficiencyParams().new_families) == rule


def test_arms_can_be_left_out():
    arms = efficiency.designs(params(smaller_model="", larger_model="", new_families=()), SETTING)
    assert {name for name, arm in arms.items() if not arm} == {
        "smaller model", "larger model", "new, base", "new, tuned"
    }  # fmt: skip


def test_collect_is_the_whole_study_and_runs_nothing_twice():
    asked = []

    def run(specs):
        asked.append(list(specs))
        return [result(spec, 1.0) for spec in specs]

    assert len(efficiency.collect(params(), run)) == 32
    assert [len(batch) for batch in asked] == [2, 32] and len(set(asked[1])) == 32
    assert efficiency.pending(params(), []) == "32 test runs follow once dev has chosen a setting"


def test_evidence_counts_the_new_examples_of_the_tuned_arm():
    arms = efficiency.designs(params(), SETTING)
    frame = efficiency.evidence({name: [result(s, 0.5) for s in arm] for name, arm in arms.items()})
    assert set(frame.loc[frame["arm"] == "new, tuned", "examples"]) == {8, 16}
    assert set(frame.loc[frame["arm"] == "new, base", "examples"]) == {8, 16}
    assert frame.groupby("arm")["digest"].nunique()["middle model"] == 4


def test_what_the_disagreement_sentence_says_by_hand():
    """From .2 at 25 to .6 at 1 600 over .5 at 200, which is their geometric mean: three quarters of the gain."""
    rows = [
        {"arm": "middle model", "metric": "exact_match", "status": "done", "seed": seed, "examples": n, "value": value}
        | {"family": "opposite", "familiarity": "latent", "digest": f"{seed} {n}"}
        for seed in range(3)
        for n, value in ((25, 0.2), (200, 0.5), (400, 0.5), (1600, 0.6))
    ]
    table = efficiency_tables.positions(pd.DataFrame(rows))
    assert list(table["group"]) == ["latent"] and table["middle"].iloc[0] == 200
    assert table["share"].iloc[0] == pytest.approx(0.75) and table["last_gain"].iloc[0] == pytest.approx(0.1)
    assert "latent 75% (0.20 to 0.60 over the range)" in efficiency_tables.sentence(table)
    assert "nothing can be said" in efficiency_tables.sentence(table.iloc[:0])


def test_a_size_above_the_pool_is_refused_before_any_run():
    for changes in ({"sizes": (5000,)}, {"length_sizes": (5000,)}, {"larger_sizes": (5000,)}):
        with pytest.raises(InputError, match="5000.*400"):
            efficiency.candidates(params(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": []}, "sizes: the list is empty"),
        ({"sizes": [0]}, "sizes"),
        ({"smaller_sizes": [5, 5]}, "smaller_sizes: the list repeats"),
        ({"larger_sizes": []}, "larger_sizes: the list is empty"),
        ({"length_sizes": [-1]}, "length_sizes"),
        ({"budgets": [0]}, "budgets"),
        ({"budgets": [10, 10]}, "budgets: the list repeats"),
        ({"initialisations": ["trained"]}, "initialisations"),
        ({"initialisations": []}, "initialisations: the list is empty"),
        ({"new_families": ["plurl"]}, "new_families.*did you mean 'plural'"),
        ({"new_families": ["plural", "plural"]}, "new_families: the list repeats"),
        ({"new_families": list(world.default_families())}, "new_families: none of the standard families is left"),
        ({"new_sizes": []}, "new_sizes: the list is empty"),
        ({"new_sizes": [0]}, "new_sizes"),
        ({"prior_size": 0}, "prior_size"),
        ({"passes": 0}, "passes"),
        ({"seeds": [1000]}, "choice_seeds.*also in seeds"),
        ({"smaler_model": "micro-0.2m"}, "did you mean 'smaller_model'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(EfficiencyParams, changes, where="test")
    assert "\n" not in str(caught.value)


def test_data_without_families_refuses_new_ones(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"instruction": "say {i}", "output": "{i}"}}\n' for i in range(40)))
    with pytest.raises(InputError, match="new_families: data .* has no task families; leave the list empty"):
        efficiency.candidates(params(data=str(rows)))


@pytest.mark.parametrize("key", ["smaller_model", "larger_model"])
def test_an_unknown_model_is_refused_before_any_run(key):
    with pytest.raises(InputError, match="micro-2m"):
        efficiency.candidates(params(**{key: "micro-2m"}))
