"""The design of the study of pools: arms that differ in one thing, shared runs, costs, refused mistakes."""

import dataclasses

import numpy as np
import pytest

from itlib.errors import InputError
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.studies import data_selection, pools, selecting, selector_arena
from itlib.studies.pools import PoolsParams
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}
HOW = {"selector", "selector_options", "selection_band", "scorer"}


def params(**changes):
    return dataclasses.replace(PoolsParams(), **changes)


def profile(name, study="02c_pools"):
    return from_yaml(project_root() / "params" / name / f"{study}.yaml").params


def three_seeds(**changes):
    return params(**{"seeds": (0, 1, 2), "sweep_seeds": (0, 1), "rate_seeds": (0, 1), **changes})


def result(spec, value, status="done", **totals):
    items = (("f-0", "opposite", "words", "latent", "", value, value, None, 1.0, 2, 4, ""),)
    facts = {"n_steps": 10, "n_examples_seen": 160, "n_response_tokens": 400, "clean_share": 0.5, **totals}
    return RunResult(resolve(spec), status, items if status == "done" else (), totals=facts)


def results_of(p, score=lambda arm, spec: 0.5, **totals):
    arms = pools.designs(p, SETTING)
    return {arm: [result(spec, score(arm, spec), **totals) for spec in runs] for arm, runs in arms.items()}


def changed(arms, left, right):
    """The fields in which the runs of two arms differ, over the seeds that both have."""
    of_right = {run.seed: run for run in arms[right]}
    pairs = [(run, of_right[run.seed]) for run in arms[left] if run.seed in of_right]
    assert pairs
    return {name for a, b in pairs for name in diff(a, b)}


def test_arms_of_a_part_differ_in_their_selector_alone():
    p = profile("cpu")
    arms = pools.designs(p, SETTING)
    for places in (pools.sweep(p), pools.sizes(p)):
        for name, by_place in places.items():
            for place, arm in by_place.items():
                assert changed(arms, arm, places["random"][place]) <= HOW, name
    for part in (pools.regimes(p), pools.rates(p)):
        for by_name in (names for by_place in part.values() for names in by_place.values()):
            for arm in by_name.values():
                assert changed(arms, arm, by_name["random"]) <= HOW


def test_every_part_changes_its_axis_alone():
    p = profile("cpu")
    arms = pools.designs(p, SETTING)
    for by_rate in pools.sweep(p).values():
        assert changed(arms, by_rate[0.5], by_rate[0.75]) == {"noise_rate"}
        assert changed(arms, by_rate[0.0], by_rate[0.5]) == {"noise_rate", "noise_kinds"}
        assert {spec.data.noise_rate for spec in arms[by_rate[0.75]]} == {0.75}
    for by_size in pools.sizes(p).values():
        assert changed(arms, by_size[500], by_size[8000]) == {"pool_size"}
    for arm in pools.clusters(p).values():
        assert changed(arms, arm, "redundant/kmq n_clusters=2") <= {"selector_options"}
    for by_regime in pools.regimes(p).values():
        steps, epochs, tokens = by_regime.values()
        for name in steps:
            assert changed(arms, steps[name], epochs[name]) == {"budget", "budget_unit"}
            assert changed(arms, steps[name], tokens[name]) == {"budget", "budget_unit"}
    for by_rate in pools.rates(p).values():
        chosen, high, low = by_rate.values()
        for name in chosen:
            for other in (high, low):
                assert changed(arms, chosen[name], other[name]) == {"learning_rate"}
    for by_name in pools.quotas(p).values():
        for without, quota in by_name.values():
            assert changed(arms, without, quota) == {"stratified"}


def test_the_kinds_of_pools_are_those_of_the_other_studies():
    arms = pools.designs(params(), SETTING)
    for kind in ("noisy", "redundant"):
        mine = arms[f"{kind}/random"]
        assert mine == selecting.arm(params(), SETTING, kind, "random")
    assert {spec.data.noise_kinds for spec in arms["noisy/random (noise 0)"]} == {()}
    assert {spec.data.imbalance for spec in arms["redundant/rds (pool 50)"]} == {1.0}


def test_rates_epochs_and_tokens_are_what_their_arms_say():
    arms = pools.designs(params(), SETTING)
    assert arms["noisy/ifd_loss (rate x3)"][0].train.learning_rate == pytest.approx(6e-3)
    assert arms["noisy/ifd_loss (rate /3)"][0].train.learning_rate == pytest.approx(2e-3 / 3)
    of = {name: arms[f"redundant/longest ({name})"][0].train for name in (pools.EPOCHS, pools.TOKENS)}
    assert (of[pools.EPOCHS].budget, of[pools.EPOCHS].budget_unit) == (3.0, "epochs")
    assert (of[pools.TOKENS].budget, of[pools.TOKENS].budget_unit) == (410.0, "response_tokens")


def test_difficulty_goes_by_a_warm_scorer_and_nothing_else_does():
    arms = pools.designs(profile("cpu"), SETTING)
    for name, runs in arms.items():
        assert {spec.data.scorer for spec in runs} == {"warm-100" if "/ifd" in name else "base"}, name


def test_an_arm_that_two_parts_need_is_run_once_with_the_seeds_of_both():
    p = three_seeds()
    arms = pools.designs(p, SETTING)
    assert [spec.seed for spec in arms["noisy/random"]] == [0, 1, 2]
    assert [spec.seed for spec in arms["noisy/random (noise 0)"]] == [0, 1]
    assert [spec.seed for spec in arms["noisy/random (rate x3)"]] == [0, 1]
    digests = [digest(resolve(spec)) for runs in arms.values() for spec in runs]
    assert len(set(digests)) == len(digests)


def test_the_cpu_profile_costs_what_its_file_says():
    p = profile("cpu")
    specs = {digest(resolve(spec)): spec for runs in pools.designs(p, SETTING).values() for spec in runs}
    short = {key for key, spec in specs.items() if spec.train.budget_unit == "epochs"}
    siblings = set()
    for study, name in ((selector_arena, "02b_selectors"), (data_selection, "02_data_selection")):
        theirs = study.designs(profile("cpu", name), SETTING)
        siblings |= {digest(resolve(spec)) for runs in theirs.values() for spec in runs}
    left = set(specs) - siblings - short
    assert (len(specs), len(short), len(left), len(selecting.candidates(p))) == (376, 48, 260, 32)
    assert len(left) < 380
    text = (project_root() / "params" / "cpu" / "02c_pools.yaml").read_text()
    for said in ("32 dev runs and 376 test runs", "328 of about 75 steps", "260 runs of 75 steps", "80 are also those"):
        assert said in text


@pytest.mark.parametrize(("name", "n_test"), [("smoke", 33), ("gpu-micro", 930)])
def test_other_profiles_cost_what_their_files_say(name, n_test):
    p = dataclasses.replace(profile(name), device="cpu")
    assert sum(len(runs) for runs in pools.designs(p, SETTING).values()) == n_test
    text = (project_root() / "params" / name / "02c_pools.yaml").read_text()
    assert f"{len(selecting.settings(p)) * 2 * len(p.choice_seeds)} dev runs and {n_test} test runs" in text


def test_the_cpu_profile_is_the_shared_design():
    p, sibling = profile("cpu"), profile("cpu", "02b_selectors")
    shared = {item.name for item in dataclasses.fields(selecting.SelectingParams)}
    assert {name for name in shared if getattr(p, name) != getattr(sibling, name)} == set()
    assert {digest(resolve(s)) for s in pools.candidates(p)} == {digest(resolve(s)) for s in selecting.candidates(p)}


def test_equal_tokens_are_those_of_random_examples_on_average():
    from itlib.registry import models
    from itlib.template import encode
    from itlib.training_set import selectors_pool

    p = profile("cpu")
    specs = [resolve(run) for kind in p.kinds for run in selecting.arm(p, SETTING, kind, "random")]
    tokenizer = models.get(specs[0].base.model).load(specs[0].base)[1]
    encoded = [encode(selectors_pool(spec)[:400], tokenizer, max_length=p.max_length)[0] for spec in specs]
    mean = np.mean([row.response_mask[1:].sum() for rows in encoded for row in rows])
    assert p.response_tokens == pytest.approx(mean * p.budget * p.batch_size, rel=0.03)


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(list(specs))
        return [result(spec, 1.0) for spec in specs]

    assert len(pools.collect(params(), run)) == 33
    assert [len(batch) for batch in asked] == [4, 33]
    assert pools.pending(params(), []) == "33 test runs follow once dev has chosen among 2 settings"


def test_silhouettes_are_rows_of_their_arm():
    p = three_seeds()
    results = results_of(p)
    runs = pools.designs(p, SETTING)["redundant/kmq n_clusters=4"]
    results["redundant/kmq n_clusters=4"] = [result(spec, 0.5, silhouette=0.1 * spec.seed) for spec in runs]
    frame = pools.evidence(results)
    notes = frame[frame["kind"] == "note"]
    assert notes[["arm", "seed", "metric", "value"]].to_numpy().tolist() == [
        ["redundant/kmq n_clusters=4", seed, "silhouette", 0.1 * seed] for seed in range(3)
    ]
    assert len(pools.evidence(results_of(p))) == len(frame) - 3


def test_a_design_that_cannot_run_is_refused_before_any_run():
    with pytest.raises(InputError, match="n_eval"):
        pools.candidates(params(n_eval=90_000))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_rates": []}, "noise_rates: the list is empty"),
        ({"noise_rates": [1.5]}, "noise_rates"),
        ({"noise_rates": [0.5, 0.5]}, "noise_rates: the list repeats"),
        ({"sweep_arms": ["ifd_loss"]}, "sweep_arms: 'random' is missing"),
        ({"sweep_arms": ["random", "ifd_los"]}, "sweep_arms: 'ifd_los' is no arm.*did you mean 'ifd_loss'"),
        ({"size_arms": ["rds"]}, "size_arms: 'random' is missing"),
        ({"regime_arms": ["longest"]}, "regime_arms: 'random' is missing"),
        ({"rate_arms": []}, "rate_arms: the list is empty"),
        ({"quota_arms": ["rds"]}, "quota_arms: 'rds' gives no scores"),
        ({"quota_arms": ["random"]}, "quota_arms: 'random' gives no scores"),
        ({"sweep_seeds": [7]}, r"sweep_seeds: \[7\] are not in seeds"),
        ({"rate_seeds": [7]}, r"rate_seeds: \[7\] are not in seeds"),
        ({"pool_sizes": [16]}, "pool_sizes: 16 leaves nothing to select; it must be above n_train 16"),
        ({"pool_size": 16}, "pool_size: 16 leaves nothing to select"),
        ({"clusters": [2, 101]}, "clusters: 101 are more than the 100 examples"),
        ({"clusters": [1]}, "clusters"),
        ({"kinds": ["noisy"]}, r"kinds: this study compares noisy with redundant pools, and kinds is \['noisy'\]"),
        ({"kinds": ["noisy", "redundant", "clean"]}, "kinds: this study compares"),
        ({"noise_rate": 0.0}, "noise_rate: 0 makes no pool that is partly corrupted"),
        ({"ifd_scorer": "hot-3"}, "ifd_scorer: 'hot-3' is neither base nor warm-N"),
        ({"epochs": 0}, "epochs"),
        ({"response_tokens": 0}, "response_tokens"),
        ({"rate_factor": 1.0}, "rate_factor"),
        ({"data": "my.jsonl"}, "data: 'my.jsonl' has no known noise"),
        ({"choice_seeds": [0]}, "choice_seeds.*also in seeds"),
        ({"pool_siz": 3}, "did you mean 'pool_size'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(PoolsParams, changes, where="test")
    assert "\n" not in str(caught.value)
