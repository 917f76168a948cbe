"""The design of the selection study: arms that differ in the selector alone, one rate for all, curves that meet."""

import dataclasses

import pytest

from itlib.errors import InputError, RunError
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.studies import data_selection as study
from itlib.studies.data_selection import DataSelectionParams
from itlib.studies.selecting import target_categories
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}
POOL = {"noise_kinds", "imbalance"}


def params(**changes):
    return dataclasses.replace(DataSelectionParams(), **changes)


def cpu():
    return from_yaml(project_root() / "params" / "cpu" / "02_data_selection.yaml").params


def result(spec, value, status="done"):
    items = (("f-0", "f", "words", "latent", "", value, value, None, 1.0, 2, 4, ""),)
    return RunResult(resolve(spec), status, items if status == "done" else ())


def pairs(arms, left, right):
    return zip(arms[left], arms[right], strict=True)


def test_the_scorer_of_difficulty_is_base_or_warm():
    assert params(ifd_scorer="base") and params(ifd_scorer="warm-5")
    with pytest.raises(InputError, match="^ifd_scorer: 'warm' is neither base nor warm-N"):
        params(ifd_scorer="warm")


def test_selectors_differ_from_random_in_the_selector_alone():
    p = params(arms=("ifd_loss", "less_adam checkpoints=1", "rds"))
    arms = study.designs(p, SETTING)
    for kind in p.kinds:
        for name, fields in (("ifd_loss", {"selector", "scorer"}), ("rds", {"selector"})):
            assert all(set(diff(a, b)) == fields for a, b in pairs(arms, f"{kind}/{name}", f"{kind}/random"))
        for a, b in pairs(arms, f"{kind}/less_adam checkpoints=1", f"{kind}/random"):
            assert set(diff(a, b)) == {"selector", "selector_options"}
            assert a.data.selector_options == ("checkpoints=1",)


def test_the_whole_pool_and_other_budgets_differ_in_their_size_alone():
    p = params()
    arms = study.designs(p, SETTING)
    for kind in p.kinds:
        for a, b in pairs(arms, f"{kind}/full", f"{kind}/random"):
            assert diff(a, b) == {"n_train": (p.pool_size, p.n_train)}
        for name in p.curve:
            for a, b in pairs(arms, f"{kind}/{name} (32)", f"{kind}/{name}"):
                assert diff(a, b) == {"n_train": (32, 16)}


def test_kinds_of_pools_differ_in_the_pool_alone():
    arms = study.designs(params(), SETTING)
    for name in ("full", "random", "rds"):
        assert all(set(diff(a, b)) == POOL for a, b in pairs(arms, f"noisy/{name}", f"redundant/{name}"))


def test_targets_take_turns_by_seed_and_are_the_same_for_every_arm():
    p = params(seeds=(0, 1, 2), curve_seeds=(0, 1))
    by_seed = {}
    for runs in study.designs(p, SETTING).values():
        for spec in runs:
            by_seed.setdefault(spec.seed, set()).add(spec.data.target_families)
    assert all(len(found) == 1 for found in by_seed.values())
    assert len({next(iter(found)) for found in by_seed.values()}) == min(3, len(target_categories()))


def test_dev_chooses_with_random_selections_of_every_kind():
    p = params(choice_seeds=(1000, 1001))
    dev = study.candidates(p)
    assert len(dev) == 2 * 2 * 2  # rates, kinds, seeds
    assert {spec.data.selector for spec in dev} == {"random"}
    assert {spec.evaluate.split for spec in dev} == {"dev"} and {spec.seed for spec in dev} == {1000, 1001}
    assert {spec.evaluate.split for runs in study.designs(p, SETTING).values() for spec in runs} == {"test"}
    with pytest.raises(RunError, match="dev items only"):
        study.choose(p, [result(spec, 1.0) for spec in study.designs(p, SETTING)["noisy/rds"]])


def test_the_rate_that_does_best_on_dev_is_taken():
    dev = study.candidates(params())
    results = [result(spec, float(spec.train.learning_rate == 2e-3)) for spec in dev]
    assert study.choose(params(), results) == SETTING
    assert study.candidates(params(learning_rates=(1e-3,))) == []


def test_curves_share_both_ends_and_twice_n_train_has_all_seeds():
    p = params(seeds=(0, 1, 2), curve_seeds=(1,), budgets=(64, 8, 32))
    arms = study.designs(p, SETTING)
    curves = study.curve_arms(p)
    assert set(curves) == {(kind, name) for kind in p.kinds for name in p.curve}
    assert list(curves["noisy", "rds"].items()) == [
        (8, "noisy/rds (8)"), (16, "noisy/rds"), (32, "noisy/rds (32)"), (64, "noisy/rds (64)"), (100, "noisy/full")
    ]  # fmt: skip
    seeds = {size: [spec.seed for spec in arms[name]] for size, name in curves["noisy", "rds"].items()}
    assert seeds == {8: [1], 16: [0, 1, 2], 32: [0, 1, 2], 64: [1], 100: [0, 1, 2]}


def test_an_arena_without_a_curve():
    p = params(budgets=())
    assert set(study.designs(p, SETTING)) == {f"{kind}/{name}" for kind in p.kinds for name in study.arena(p)}


def test_the_cpu_profile_costs_what_its_file_says():
    p = cpu()
    arms = study.designs(p, SETTING)
    arena = [spec for kind in p.kinds for name in study.arena(p)[1:] for spec in arms[f"{kind}/{name}"]]
    whole = [spec for kind in p.kinds for spec in arms[f"{kind}/full"]]
    test = {digest(resolve(spec)) for runs in arms.values() for spec in runs}
    assert (len(set(arena)), len(set(whole)), len(test), len(study.candidates(p))) == (100, 20, 234, 32)
    text = (project_root() / "params" / "cpu" / "02_data_selection.yaml").read_text()
    assert "32 dev runs and 234 test runs" in text and "the headline part alone is 100 runs" in text


def test_the_cpu_profile_is_the_shared_design():
    p = cpu()
    assert (p.pool_size, p.n_train, p.n_targets, p.budget, p.batch_size) == (2000, 100, 8, 75, 32)
    assert p.choice_size == p.n_train == 0.05 * p.pool_size and 2 * p.n_train in p.budgets
    assert (p.noise_rate, p.imbalance, p.n_eval, p.n_reference) == (0.5, 1.0, 40, 100)
    assert p.seeds == tuple(range(10)) and p.curve_seeds == tuple(range(3)) and p.embeddings == ("frozen",)


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(list(specs))
        return [result(spec, 1.0) for spec in specs]

    n_test = 2 * (5 + 2) * 2  # kinds; arms of the arena and of the curve; seeds
    assert len(study.collect(params(), run)) == n_test
    assert [len(batch) for batch in asked] == [4, n_test]
    assert study.pending(params(), []) == "28 test runs follow once dev has chosen among 2 settings"


def test_a_design_that_cannot_run_is_refused_before_any_run():
    with pytest.raises(InputError, match="n_eval"):
        study.candidates(params(n_eval=90_000))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": []}, "arms: the list is empty"),
        ({"arms": ["rds", "rds"]}, "arms: the list repeats"),
        ({"arms": ["random"]}, "arms: 'random' is always compared with"),
        ({"arms": ["rdss"]}, "arms: unknown selector 'rdss'.*did you mean 'rds'"),
        ({"arms": ["rds colour=red"]}, "arms: .*no option 'colour'"),
        ({"arms": ["less_adam checkpoints=many"]}, "arms: .*checkpoints"),
        ({"curve": ["ifd_los"]}, "curve: 'ifd_los' is neither random nor one of arms.*did you mean 'ifd_loss'"),
        ({"curve": []}, "curve: the list is empty"),
        ({"curve_seeds": [5]}, r"curve_seeds: \[5\] are not in seeds"),
        ({"curve_seeds": []}, "curve_seeds: the list is empty"),
        ({"budgets": [100]}, "budgets: 100 leaves nothing to select; it must be below pool_size 100"),
        ({"budgets": [16]}, "budgets: 16 is n_train"),
        ({"budgets": [8, 8]}, "budgets: the list repeats"),
        ({"budgets": [0]}, "budgets"),
        ({"n_train": 100}, "n_train: 100 leaves nothing to select"),
        ({"n_train": 0}, "n_train"),
        ({"n_targets": 0}, "n_targets"),
        ({"kinds": ["dirty"]}, "kinds"),
        ({"kinds": []}, "kinds: the list is empty"),
        ({"data": "my.jsonl"}, "data: 'my.jsonl' has no known noise"),
        ({"seeds": [0, 0]}, "seeds: the list repeats"),
        ({"choice_seeds": [0]}, "choice_seeds.*also in seeds"),
        ({"learning_rates": [0.0]}, "learning_rates"),
        ({"budget": 1.5}, "budget"),
        ({"arm": ["rds"]}, "did you mean 'arms'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(DataSelectionParams, changes, where="test")
    assert "\n" not in str(caught.value)
