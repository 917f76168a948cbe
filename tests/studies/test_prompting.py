"""The design of prompting against tuning: arms differ in their axis alone, roles are the same in all of them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from itlib.claims.prompting import accuracies
from itlib.errors import InputError
from itlib.execute import scored_items
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest, train_digest
from itlib.studies import prompting, prompting_figures, prompting_layers, prompting_tables
from itlib.studies.prompting import PromptingParams
from itlib.training_set import selectors_pool
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}


def params(**changes):
    return dataclasses.replace(PromptingParams(), **changes)


def answered(spec, right=lambda example: 1.0):
    """A result whose scores we made up, on the items that the run really asks."""
    spec = resolve(spec)
    rows = []
    for e in scored_items(spec):
        about = (e.id, e.family, e.category, e.familiarity, e.phrasing)
        rows.append((*about, right(e), right(e), None, 1.0, 2, 4, ""))
    return RunResult(spec, "done", tuple(rows))


@pytest.fixture(scope="module")
def arms():
    return prompting.designs(params(), SETTING)


@pytest.fixture(scope="module")
def results(arms):
    return {
        name: [answered(spec, lambda e: float("observed/" in e.id)) for spec in runs] for name, runs in arms.items()
    }


def test_arms_differ_in_examples_and_demonstrations_alone(arms):
    first = arms["base, 0 shots"]
    for name, runs in arms.items():
        for spec, base in zip(runs, first, strict=True):
            assert set(diff(spec, base)) <= {"n_train", "n_shots", "shot_form", "keep_weights"}, name
    assert list(arms) == [
        "base, 0 shots", "base, 2 shots", "base in chat, 0 shots", "base in chat, 2 shots", "16 examples, 0 shots",
        "16 examples, 2 shots", "64 examples, 0 shots", "64 examples, 2 shots",
    ]  # fmt: skip


def test_a_tuned_model_is_trained_once_for_both_of_its_arms(arms):
    for plain, shown in zip(arms["64 examples, 0 shots"], arms["64 examples, 2 shots"], strict=True):
        assert (
            train_digest(resolve(plain)) == train_digest(resolve(shown)) and plain.keep_weights and shown.keep_weights
        )
    assert not any(spec.keep_weights for spec in arms["16 examples, 0 shots"])


def test_all_arms_get_the_same_items_and_demonstrations(arms):
    asked = {name: scored_items(resolve(runs[1])) for name, runs in arms.items()}
    last = {tuple((item.id, item.turns[-2:]) for item in items) for items in asked.values()}
    assert len(last) == 1
    assert asked["base, 2 shots"] == asked["16 examples, 2 shots"] == asked["64 examples, 2 shots"]


def test_tuning_never_shows_a_family_held_out_nor_a_new_wrapper(arms):
    pool = selectors_pool(resolve(arms["64 examples, 0 shots"][0]))
    assert not {example.family for example in pool} & set(params().held_out)
    assert set(params().asked) <= {example.family for example in pool}
    items = scored_items(resolve(arms["64 examples, 0 shots"][0]))
    new = {item.phrasing.split("/")[1] for item in items if item.phrasing.startswith("unobserved_wrapper/")}
    assert new and not new & {example.phrasing for example in pool}


def test_the_cpu_profile_is_what_its_file_says():
    p = from_yaml(project_root() / "params/cpu/03f_prompting.yaml").params
    cells = prompting.designs(p, SETTING)
    test = [resolve(spec) for runs in cells.values() for spec in runs]
    assert (len({digest(spec) for spec in test}), len(prompting.candidates(p))) == (128, 16)
    assert len({train_digest(spec) for spec in test if spec.data.n_train}) == 24
    text = (project_root() / "params/cpu/03f_prompting.yaml").read_text()
    assert "16 dev runs, those of 03_robustness, and 128 test runs on 8 seeds: 24 trainings" in text
    other = from_yaml(project_root() / "params/cpu/03_robustness.yaml").params
    from itlib.studies import robustness

    assert {digest(resolve(s)) for s in prompting.candidates(p)} == {
        digest(resolve(s)) for s in robustness.candidates(other)
    }
    named = {"400 examples, 0 shots", "base, 4 shots"}
    assert named <= set(prompting.compared(p)) <= set(cells)


def test_the_gpu_micro_profile_can_be_planned():
    p = from_yaml(project_root() / "params/gpu-micro/03f_prompting.yaml").params
    assert len(prompting.candidates(dataclasses.replace(p, device="cpu"))) == 24


def test_compared_prompts_fit_into_what_bases_read_in_pretraining():
    """With four demonstrations they do; with eight about half do not, as the files and the notebook say."""
    from itlib.microworld import tokenizer
    from itlib.microworld.recipes import CONTEXT
    from itlib.template import encode

    p = from_yaml(project_root() / "params/cpu/03f_prompting.yaml").params
    cells, words = prompting.designs(dataclasses.replace(p, items=5, seeds=(0,)), SETTING), tokenizer.build()
    share = {}
    for k in (4, 8):
        spec = resolve(cells[f"base in chat, {k} shots"][0])
        rows, _ = encode(scored_items(spec), words, max_length=256, last_only=True)
        share[k] = np.mean([len(row.input_ids) > CONTEXT for row in rows])
    assert share[4] == 0 and 0.3 < share[8] < 0.7


def test_evidence_knows_roles_and_keeps_a_run_that_did_not_finish(results):
    failed = RunResult(results["base, 2 shots"][0].spec, "failed", error="out of memory")
    frame = prompting.evidence(results | {"base, 2 shots": [failed]})
    rows = frame[frame["arm"] == "64 examples, 0 shots"]
    assert dict(zip(rows["family"], rows["role"], strict=True)) == {
        "colour": "tuned", "swap": "tuned", "plural": "held out", "longer": "held out",
    }  # fmt: skip
    assert (frame[frame["arm"] == "base, 0 shots"].groupby("family")["role"].nunique() == 1).all()
    lost = frame[frame["arm"] == "base, 2 shots"]
    assert len(lost) == 1 and lost["value"].isna().all() and set(lost["status"]) == {"failed"}
    assert set(frame.loc[frame["set"] == "observed", "value"]) == {1.0}
    assert accuracies(frame, "64 examples, 0 shots", "tuned", "unobserved_wrapper").tolist() == [0.0, 0.0]


def test_layers_are_compared_on_the_same_operands(results, monkeypatch):
    """States that we made up: the same for equal operands whatever the wrapper, scaled by how much tuning there was."""
    words: dict[str, np.ndarray] = {}

    def states(spec, store):
        rows = [item[0].split("/")[3] for item in answered(spec).items]
        for word in rows:
            words.setdefault(word, np.random.default_rng(len(words)).normal(size=(2, 6)))
        return np.stack([words[word] for word in rows], axis=1) * (1 + spec.data.n_train)

    monkeypatch.setattr(prompting_layers, "run_states", states)
    found = prompting_layers.similarities(params(), results, store=None)
    assert found["value"].to_numpy() == pytest.approx(np.ones(len(found)))
    # two seeds, two layers, six pairs in two sets and four arms against themselves
    assert len(found) == 2 * 2 * (6 * 2 + 4)
    assert not len(prompting_layers.similarities(params(compare_layers=False), results, store=None))
    failed = {**results, "base, 2 shots": [dataclasses.replace(results["base, 2 shots"][0], status="diverged")] * 2}
    assert not len(prompting_layers.similarities(params(), failed, store=None))


def similar():
    arms = prompting.compared(params())
    pairs = [(a, b) for a in arms for b in arms if a <= b]
    rows = [
        (seed, a, b, "observed", "unobserved_wrapper" if a == b else "observed", layer, 0.5)
        for seed in (0, 1) for a, b in pairs for layer in (1, 2)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(prompting_layers.COLUMNS))


def test_tables_and_figures_show_every_arm(results):
    frame = prompting.evidence(results, similar())
    cells = prompting_tables.cells(frame)
    assert len(cells) == 8 * 2 * 4 and set(cells["cell"]) == set(prompting_tables.CELLS.values())
    summary = prompting_tables.summary(frame)
    assert summary[["model", "n_shots"]].to_numpy().tolist() == [
        ["base", 0], ["base", 2], ["base in chat", 0], ["base in chat", 2],
        ["16 examples", 0], ["16 examples", 2], ["64 examples", 0], ["64 examples", 2],
    ]  # fmt: skip
    assert (summary["lost"] == 1.0).all() and (summary["seeds"] == 2).all()
    assert len(prompting_figures.accuracy(cells)) == 4
    layers, stability = prompting_tables.layers(frame), prompting_tables.stability(frame)
    assert layers["pair"].nunique() == 6 and stability["arm"].nunique() == 4
    assert len(prompting_figures.layers(layers)) == 1 and prompting_figures.stability(stability).get_ylabel()
    assert not len(prompting_tables.layers(prompting.evidence(results)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shots": [0, 4]}, r"shots: \[0, 4\] must hold 0 and the 2"),
        ({"shots": [1, 2]}, r"must hold 0"),
        ({"held_out": ["swap"]}, "held_out: 'swap' is in asked too"),
        ({"asked": ["some_members"]}, "'some_members' is open-ended"),
        ({"asked": ["color"]}, "unknown task family 'color'"),
        ({"asked": ["rare_home"]}, "asked: 'rare_home' is not part of the pool"),
        ({"asked_phrasings": 17}, "asked_phrasings: 'colour' has 16 in each set"),
        ({"data": "rows.jsonl"}, "this study needs microworld"),
        ({"sizes": []}, "sizes: the list is empty"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(changes, words):
    with pytest.raises(InputError, match=words) as caught:
        build(PromptingParams, changes, where="params.yaml")
    assert "\n" not in str(caught.value)


def test_more_items_than_a_family_has_are_refused_before_any_run():
    with pytest.raises(InputError, match="n_eval is 100000"):
        prompting.candidates(params(items=100_000))
