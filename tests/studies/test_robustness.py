"""The design of the robustness study: arms differ in their axis alone, and what tuning showed is known per run."""

import dataclasses
from collections import Counter

import pytest

from itlib.errors import InputError
from itlib.microworld import world
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.studies import robustness, robustness_figures, robustness_tables
from itlib.studies.robustness import RobustnessParams
from itlib.training_set import selectors_pool
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}


def params(**changes):
    return dataclasses.replace(RobustnessParams(), **changes)


def profile(name):
    return from_yaml(project_root() / "params" / name / "03_robustness.yaml").params


def answered(spec, right=lambda example: 1.0):
    """A result whose scores we made up, on the items that the run really asks."""
    from itlib.execute import _asked

    spec = resolve(spec)
    rows = []
    for e in _asked(spec):
        value = right(e)
        about = (e.id, e.family, e.category, e.familiarity, e.phrasing)
        rows.append((*about, value, value, None, 1.0, 2, 4, ""))
    return RunResult(spec, "done", tuple(rows))


def test_numbers_of_phrasings_differ_in_them_alone():
    arms = robustness.designs(params(), SETTING)
    for few, many in zip(arms["k=1"], arms["k=4"], strict=True):
        assert set(diff(few, many)) == {"n_phrasings", "eval_phrasing_set"}
        assert many.evaluate.eval_phrasing_set.startswith(few.evaluate.eval_phrasing_set + "+")


def test_adversarial_sets_are_asked_before_and_after_tuning_alone():
    arms = robustness.designs(params(), SETTING)
    asked = {name for name, runs in arms.items() for run in runs if "negated" in run.evaluate.eval_phrasing_set}
    assert asked == {"k=4", "untuned"}


def test_sizes_and_unequal_families_differ_in_their_axis_and_in_what_they_are_asked():
    arms = robustness.designs(params(), SETTING)
    for name, fields in (("micro-0.2m", {"model", "base_seed"}), ("imbalanced", {"imbalance"})):
        for spec, many in zip(arms[name], arms["k=4"], strict=True):
            assert set(diff(spec, many)) <= fields | {"eval_phrasing_set"}, name


def test_every_base_is_asked_untuned_once():
    arms = robustness.designs(params(seeds=(0, 1, 8, 9)), SETTING)
    assert [spec.base.base_seed for spec in arms["untuned"]] == [0, 1]
    assert all(spec.data.n_train == 0 for spec in arms["untuned"])


def test_the_cpu_profile_is_what_its_file_says():
    p = profile("cpu")
    arms = robustness.designs(p, SETTING)
    test = {digest(resolve(spec)) for runs in arms.values() for spec in runs}
    assert (len(test), len(robustness.candidates(p))) == (72, 16)
    assert len([name for name in arms if name.startswith("k=")]) == 5 and len(p.seeds) == 8
    assert p.items * len(p.asked) == 160
    counts = Counter(e.phrasing.split("/")[0] for e in _items(arms["k=16"][0]))
    assert {name: n // 160 for name, n in counts.items()} == {
        "observed": 16, "unobserved": 8, "unobserved_wrapper": 16, "negated": 16, "wrong_task": 16,
        "wrong_task_literal": 16, "random": 8,
    }  # fmt: skip
    assert "16 dev runs and 72 test runs" in (project_root() / "params/cpu/03_robustness.yaml").read_text()


def test_the_gpu_micro_profile_can_be_planned():
    assert len(robustness.candidates(dataclasses.replace(profile("gpu-micro"), device="cpu"))) == 24


def _items(spec):
    from itlib.execute import _asked

    return _asked(resolve(spec))


@pytest.mark.parametrize("k", [1, 4])
def test_trained_phrasings_are_those_of_the_pool(k):
    spec = robustness.designs(params(n_train=200), SETTING)[f"k={k}"][1]
    frame = robustness.evidence({f"k={k}": [answered(spec)]})
    trained = frame[frame["trained"]].groupby("family")["instruction"].unique().map(set)
    seen: dict[str, set[str]] = {}
    for example in selectors_pool(resolve(spec)):
        seen.setdefault(example.family, set()).add(example.phrasing)
    for family in params().asked:
        assert trained[family] == seen[family] and len(trained[family]) == k
    assert set(frame.loc[frame["trained"], "set"]) == {"observed"}


def test_evidence_keeps_a_run_that_did_not_finish_and_knows_the_untuned():
    arms = robustness.designs(params(), SETTING)
    failed = RunResult(resolve(arms["k=4"][0]), "failed", error="out of memory")
    frame = robustness.evidence({"k=4": [failed], "untuned": [answered(arms["untuned"][0])]})
    assert frame.loc[frame["arm"] == "k=4", "value"].isna().all() and len(frame[frame["arm"] == "k=4"]) == 1
    assert not frame.loc[frame["arm"] == "untuned", "trained"].any()
    assert set(frame.loc[frame["arm"] == "untuned", "k"]) == {0}


def test_items_are_the_same_in_every_instruction():
    spec = robustness.designs(params(), SETTING)["k=4"][0]
    frame = robustness.evidence({"k=4": [answered(spec)]})
    per_instruction = frame.groupby(["family", "set", "instruction"])["item"].apply(frozenset)
    assert (per_instruction.groupby("family").nunique() == 1).all()
    assert (per_instruction.map(len) == params().items).all()


def test_accuracy_and_robustness_of_every_arm_are_in_points():
    """Right where the answer stands first: no robustness to the order of arguments, whatever tuning showed."""
    arms = robustness.designs(params(), SETTING)
    pair = "alphabetical"
    results = {
        name: [answered(spec, lambda e: float(e.family != pair or e.response == e.entities[0])) for spec in arms[name]]
        for name in ("untuned", "k=4")
    }
    table = robustness_tables.lmentry(robustness.evidence(results))
    assert table["arm"].tolist() == ["untuned"] * 2 + ["k=4"] * 2
    assert (table["argument order"] == 0).all() and (table["adjacent tasks"] == 100).all()
    assert table["robustness"].between(0, 100).all() and table["sigma"].notna().all()
    assert robustness_figures.lmentry(table).get_xlabel() == "accuracy (points)"


def test_counts_of_training_examples_are_those_of_the_run():
    spec = resolve(robustness.designs(params(n_train=100), SETTING)["imbalanced"][0])
    counts = robustness.training_counts(spec)
    assert sum(counts.values()) == 100 and set(counts) <= set(world.default_families())
    assert max(counts.values()) > 3 * min(counts.values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"phrasings": [1, 8]}, "asked_phrasings: 4 is below the 8"),
        ({"asked": ["some_members"]}, "'some_members' is open-ended"),
        ({"asked": ["color"]}, "unknown task family 'color'"),
        ({"sizes": ["micro-1m"]}, "sizes: 'micro-1m' is named twice"),
        ({"sizes": ["micro-9m"]}, "unknown model 'micro-9m'"),
        ({"data": "rows.jsonl"}, "this study needs microworld"),
        ({"phrasings": []}, "phrasings: the list is empty"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(changes, words):
    with pytest.raises(InputError, match=words) as caught:
        build(RobustnessParams, changes, where="params.yaml")
    assert "\n" not in str(caught.value)


def test_more_items_than_a_family_has_are_refused_before_any_run():
    with pytest.raises(InputError, match="n_eval is 100000"):
        robustness.candidates(params(items=100_000))
