"""The design of the recipe study: arms that differ in their axis alone, equal samples, choices on dev."""

import dataclasses

import pytest

from itlib.errors import InputError, RunError
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.studies import data_scaling, recipe
from itlib.studies.recipe import RecipeParams
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}
RATES = {"small": 1e-3, "large": 4e-3}


def params(**changes):
    return dataclasses.replace(RecipeParams(), **changes)


def cpu(study):
    return from_yaml(project_root() / "params" / "cpu" / f"{study}.yaml").params


def digests(specs):
    return {digest(resolve(spec)) for spec in specs}


def result(spec, value, status="done"):
    items = (("f-0", "f", "words", "latent", "", value, value, None, 1.0, 2, 4, ""),)
    return RunResult(resolve(spec), status, items if status == "done" else ())


def test_plain_differs_from_default_in_its_schedule_alone():
    arms = recipe.designs(params(), SETTING, RATES)
    for plain, default in zip(arms["plain"], arms["default"], strict=True):
        assert set(diff(plain, default)) == {"warmup_fraction", "schedule"}
        assert (plain.train.warmup_fraction, plain.train.schedule) == (0.0, "constant")


def test_every_run_sees_equally_many_samples():
    p = params()
    for arm in recipe.designs(p, SETTING, RATES).values():
        assert {spec.train.budget * spec.train.batch_size for spec in arm} == {p.samples}


def test_the_grid_differs_in_batch_and_rate_alone():
    arms = recipe.designs(params(), SETTING, RATES)
    first = arms["grid"][0]
    for spec in arms["grid"]:
        assert set(diff(first, spec)) <= {"batch_size", "budget", "learning_rate", "seed", "base_seed"}
    assert len(set(arms["grid"])) == len(arms["grid"]) == 2 * 2 * 2


def test_the_chosen_batches_are_runs_of_the_grid():
    arms = recipe.designs(params(), SETTING, RATES)
    for name, size, rate in (("small batch", 8, 1e-3), ("large batch", 32, 4e-3)):
        assert set(arms[name]) < set(arms["grid"])
        assert {(s.train.batch_size, s.train.learning_rate) for s in arms[name]} == {(size, rate)}
        assert [s.seed for s in arms[name]] == [0, 1]


def test_choices_are_on_dev_with_seeds_of_their_own():
    p = params(batch_choice_seeds=(1000, 1001))
    dev = recipe.batch_choice_grid(p, SETTING)
    assert len(dev) == 8 and {spec.evaluate.split for spec in dev} == {"dev"}
    assert {spec.seed for spec in dev} == {1000, 1001}
    tested = [spec for arm in recipe.designs(p, SETTING, RATES).values() for spec in arm]
    assert {spec.evaluate.split for spec in tested} == {"test"} and {spec.seed for spec in tested} == {0, 1}


def test_each_batch_gets_the_rate_that_does_best_on_dev():
    dev = recipe.batch_choice_grid(params(), SETTING)
    best = {8: 4e-3, 32: 1e-3}
    results = [result(s, float(best[s.train.batch_size] == s.train.learning_rate)) for s in dev]
    assert recipe.best_rates(params(), results) == {"small": 4e-3, "large": 1e-3}
    with pytest.raises(RunError, match="dev items only"):
        recipe.best_rates(params(), [result(s, 1.0) for s in recipe.designs(params(), SETTING, RATES)["grid"]])


def test_one_rate_needs_no_choice():
    single = params(batch_rates=(1e-3,))
    assert recipe.batch_choice_grid(single, SETTING) == []
    assert recipe.best_rates(single, []) == {"small": 1e-3, "large": 1e-3}


def test_the_choice_and_the_default_arm_are_runs_of_data_scaling_at_cpu():
    p, first = cpu("01d_recipe"), cpu("01_data_scaling")
    assert digests(recipe.candidates(p)) == digests(data_scaling.choice_grid(first))
    shared = digests(recipe.designs(p, SETTING, RATES)["default"])
    assert shared < digests(data_scaling.scaling_grid(first, SETTING)) and len(shared) == 8


def test_the_cpu_profile_costs_what_its_file_says():
    p, first = cpu("01d_recipe"), cpu("01_data_scaling")
    arms = recipe.designs(p, SETTING, RATES)
    test = digests(spec for arm in arms.values() for spec in arm)
    new = test - digests(data_scaling.scaling_grid(first, SETTING))
    dev = recipe.batch_choice_grid(p, SETTING)
    assert (len(test), len(new), len(dev)) == (72, 64, 12)
    assert {s.train.budget * s.train.batch_size for s in dev} == {150 * 32}  # each is one run-equivalent
    text = (project_root() / "params" / "cpu" / "01d_recipe.yaml").read_text()
    assert "12 dev runs and 72 test runs" in text and "76 run-equivalents" in text
    assert len(p.seeds) == 8 and len(arms["grid"]) == 48


def test_the_probed_arm_can_be_left_out():
    assert recipe.designs(params(n_probes=0), SETTING, RATES)["probed"] == []


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(list(specs))
        return [result(spec, 1.0) for spec in specs]

    assert len(recipe.collect(params(), run)) == 14
    assert [len(batch) for batch in asked] == [2, 4, 14]
    assert recipe.pending(params(), []) == "4 dev runs that choose a rate per batch size, then 14 test runs"


def test_evidence_has_a_row_per_arm_and_no_curve_of_runs_that_failed():
    arms = recipe.designs(params(), SETTING, RATES)
    results = {name: [result(s, 0.5, "failed" if s.seed else "done") for s in arm] for name, arm in arms.items()}
    frame = recipe.evidence(results)
    assert set(frame["arm"]) == set(arms) and set(frame["kind"]) == {"test"}
    counts = frame.groupby("arm")["digest"].nunique()
    assert counts["grid"] == 8 and counts["small batch"] == 2
    assert set(frame.loc[frame["status"] == "failed", "value"].isna()) == {True}


def test_a_size_above_the_pool_is_refused_before_any_run():
    with pytest.raises(InputError, match="5000.*400"):
        recipe.candidates(params(probed_size=5000))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "seeds: the list is empty"),
        ({"seeds": [0, 0]}, "seeds: the list repeats"),
        ({"choice_seeds": [0]}, "choice_seeds.*also in seeds"),
        ({"batch_choice_seeds": [1]}, "batch_choice_seeds.*also in seeds"),
        ({"batch_choice_seeds": []}, "batch_choice_seeds: the list is empty"),
        ({"learning_rates": []}, "learning_rates: the list is empty"),
        ({"learning_rates": [0.0]}, "learning_rates"),
        ({"batch_rates": []}, "batch_rates: the list is empty"),
        ({"batch_rates": [-1.0]}, "batch_rates"),
        ({"batch_rates": [1e-3, 1e-3]}, "batch_rates: the list repeats"),
        ({"large_batch": 8}, "large_batch: 8 is not above small_batch 8"),
        ({"small_batch": 7}, "small_batch: 160 samples"),
        ({"large_batch": 33}, "large_batch: 160 samples"),
        ({"embeddings": ["cold"]}, "embeddings"),
        ({"budget": 0}, "budget"),
        ({"budget": 1.5}, "budget"),
        ({"batch_size": 0}, "batch_size"),
        ({"schedule": "cosinus"}, "cosine"),
        ({"warmup_fraction": 1.5}, "warmup_fraction"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"n_probes": -1}, "n_probes"),
        ({"probe_items": 0}, "probe_items"),
        ({"probed_size": 0}, "probed_size"),
        ({"size": 0}, "size"),
        ({"choice_size": 0}, "choice_size"),
        ({"choice_eval": 0}, "choice_eval"),
        ({"small_bach": 8}, "did you mean 'small_batch'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(RecipeParams, changes, where="test")
    assert "\n" not in str(caught.value)
