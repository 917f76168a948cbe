"""Measuring during training: at the right steps, the right numbers, and without any trace in the weights."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import worldly

from itlib import generate, probes, trainer
from itlib import tune as module
from itlib.early_stopping import stopping_index, stopping_steps
from itlib.execute import execute, load_base, run_one
from itlib.frame import curve_frame, probe_frame, run_frame
from itlib.probes import Prober, probe_steps
from itlib.registry import sources
from itlib.store import Store
from itlib.template import stop_token_id

FEW = {"eval_families": ["opposite", "copy"], "n_eval": 2, "probe_items": 3, "n_reference": 4}
METRICS = {
    "instruction_following", "instruction_following_full", "instruction_following_truncated", "exact_match",
    "reference_loss",
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return worldly.folder(tmp_path_factory.mktemp("model"))


def test_steps_are_log_spaced_with_both_ends():
    assert probe_steps(100, 2) == {0, 1, 10, 100}
    assert probe_steps(1000, 3) == {0, 1, 10, 100, 1000}
    assert probe_steps(3, 20) == {0, 1, 2, 3} and probe_steps(1, 5) == {0, 1}


def trained_weights(spec, monkeypatch, name):
    kept = {}
    original = getattr(module, name)

    def fit(model, *arguments, **options):
        trace = original(model, *arguments, **options)
        kept.update({key: value.detach().clone() for key, value in model.state_dict().items()}, mode=model.training)
        return trace

    monkeypatch.setattr(module, name, fit)
    result = execute(spec)
    monkeypatch.setattr(module, name, original)
    return kept, result


@pytest.mark.parametrize("changes", [{}, {"method": "lora"}, {"trainer": "transformers"}], ids=str)
def test_probing_changes_no_bit_of_training(base, monkeypatch, changes):
    if changes.get("trainer"):
        monkeypatch.setattr(module, "_transformers_trainer", lambda: module.library)
        monkeypatch.setattr(module, "library", trainer.train_with_transformers, raising=False)
    name = "library" if changes.get("trainer") else "train"
    fields = {"budget": 6, "order": "curriculum", **FEW, **changes}
    plain, quiet = trained_weights(worldly.resolved(base, **fields), monkeypatch, name)
    probed, told = trained_weights(worldly.resolved(base, n_probes=3, **fields), monkeypatch, name)
    assert plain.pop("mode") is probed.pop("mode") is False
    assert plain.keys() == probed.keys() and all(torch.equal(plain[key], probed[key]) for key in plain)
    assert (quiet.curve, quiet.items, quiet.totals, quiet.probes) == (told.curve, told.items, told.totals, ())
    assert [row["step"] for row in told.probes] == [0, 1, 2, 3, 6]


def test_the_last_probe_agrees_with_the_evaluation_of_the_same_items(base):
    same = {**FEW, "n_eval": 3, "split": "dev", "eval_phrasing_set": "observed", "n_train": 40, "budget": 30}
    result = execute(worldly.resolved(base, n_probes=1, learning_rate=5e-3, **same))
    last = {name: value for name, value in result.probes[-1].items()}
    frame = run_frame([result])
    reference = frame.loc[frame["metric"] == "reference_loss", "value"].item()
    assert last["reference_loss"] == pytest.approx(reference, rel=1e-6)
    assert last["exact_match"] == pytest.approx(frame.loc[frame["metric"] == "exact_match", "value"].mean())
    assert METRICS | {"step"} == set(last)


def test_a_probe_of_the_untouched_base_is_step_zero(base):
    spec = worldly.resolved(base, n_probes=1, **FEW)
    model, tokenizer = load_base(spec)
    prober = Prober(spec, tokenizer, pad_id=0, context_length=256)
    prober(model, 0, 3)
    assert execute(spec).probes[0] == prober.rows[0]
    assert prober.rows[0]["instruction_following"] == 0.0


def test_instruction_following_counts_answers_that_end_by_themselves(base, monkeypatch):
    spec = worldly.resolved(base, n_probes=1, **FEW)
    model, tokenizer = load_base(spec)
    said = [("hot", True)] * 4 + [("hot", False), ("hot ?", True)] + [("cold", True)] * 3 + [("the", True)] * 3
    monkeypatch.setattr(probes, "finished_responses", lambda *a, **k: said)
    prober = Prober(spec, tokenizer, pad_id=0, context_length=256)
    prober(model, 0, 3)
    row = prober.rows[0]
    assert row["instruction_following_full"] == pytest.approx(4 / 6)
    assert row["instruction_following_truncated"] == pytest.approx(3 / 6)
    assert row["instruction_following"] == pytest.approx(7 / 12)


def test_an_answer_is_finished_when_the_stop_token_came(base, monkeypatch):
    spec = worldly.resolved(base, **FEW)
    model, tokenizer = load_base(spec)
    stop, word = stop_token_id(tokenizer), tokenizer.convert_tokens_to_ids("hot")
    items = sources.get("microworld").held_out(spec.data, spec.evaluate)[:3]
    lengths = iter([1, 31, 32])
    answers = [[word] * next(lengths) for _ in items]
    monkeypatch.setattr(generate, "greedy", lambda *a, stop_ids, **k: answers if stop in stop_ids else None)
    how = {"pad_id": 0, "dtype": "float32", "context_length": 256}
    told = generate.finished_responses(model, tokenizer, items, **how)
    assert [finished for _, finished in told] == [True, True, False] and told[0][0] == "hot"


def test_probes_come_back_from_the_store_as_they_were(base, tmp_path):
    spec = worldly.resolved(base, n_probes=2, **FEW)
    fresh = execute(spec)
    stored = run_one(spec, Store(tmp_path))
    assert stored.probes == fresh.probes == Store(tmp_path).get(spec).probes
    frame = probe_frame([fresh, execute(worldly.resolved(base, **FEW))])
    assert set(frame["metric"]) == METRICS and set(frame["n_probes"]) == {2}
    assert len(frame) == len(METRICS) * len(fresh.probes) and frame["value"].notna().all()
    assert list(probe_frame([]).columns) == ["digest", "step", "metric", "value"]


def test_a_run_that_probes_trains_even_where_weights_are_kept(base, tmp_path):
    store = Store(tmp_path)
    run_one(replace(worldly.resolved(base, **FEW), keep_weights=True), store)
    assert run_one(worldly.resolved(base, n_probes=1, **FEW), store).probes


def test_a_diverging_run_has_finite_probes_only(base):
    spec = worldly.resolved(base, n_probes=3, budget=6, learning_rate=1e38, gradient_clip=1e30, **FEW)
    result = execute(spec)
    assert result.status == "diverged"
    assert all(np.isfinite(list(row.values())).all() for row in result.probes)


def test_the_early_curve_is_a_frame(base):
    result = execute(worldly.resolved(base, budget=6, curve_points=3, **FEW))
    frame = curve_frame([result])
    assert frame["step"].tolist() == [point["step"] for point in result.curve] and frame["step"].iloc[0] == 1
    assert frame["loss"].tolist() == [point["loss"] for point in result.curve]
    assert (frame["gradient_norm"] > 0).all() and set(frame["batch_size"]) == {8}
    assert list(curve_frame([]).columns) == ["digest", "step", "loss", "gradient_norm"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.5, 0.9, 0.92, 0.925, 0.93], 5),  # rises by .4, .21, .0125 per evaluation, then by .005
        ([0.95, 0.95, 0.95], 2),
        ([0.95, 0.95], None),
        ([0.5, 0.5, 0.5, 0.5], None),
        ([0.88, 0.89, 0.9], None),  # rises by just .01
        ([0.885, 0.895, 0.9], 2),
        ([1.0, 0.99, 0.9], 2),
        ([0.2, 0.99, 0.89, 0.9, 0.9], 3),
        ([], None),
    ],
)
def test_the_stopping_rule_by_hand(scores, expected):
    assert stopping_index(scores) == expected


def test_the_rule_reads_a_probe_frame():
    steps = [0, 1, 10, 100, 1000]
    curves = {"a": [0, 0.5, 0.95, 0.95, 0.95], "b": [0, 0.1, 0.2, 0.3, 0.4]}
    rows = [
        {"digest": run, "step": step, "metric": metric, "value": value}
        for run, values in curves.items()
        for step, value in reversed(list(zip(steps, values, strict=True)))
        for metric in ("instruction_following", "exact_match")
    ]
    told = stopping_steps(pd.DataFrame(rows))
    assert told["digest"].tolist() == ["a", "b"] and told["last"].tolist() == [1000, 1000]
    assert told["stop"].iloc[0] == 1000 and np.isnan(told["stop"].iloc[1])
    assert stopping_steps(pd.DataFrame(rows), threshold=0.3, slope=0.2)["stop"].tolist() == [1000, 100]


def test_random_weights_come_from_the_seed_and_keep_the_architecture(base):
    spec = worldly.resolved(base, initialisation="random")
    drawn, pretrained = load_base(spec)[0], load_base(worldly.resolved(base))[0]
    again, other = load_base(spec)[0], load_base(replace(spec, seed=1))[0]
    state, first = drawn.state_dict(), pretrained.state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in first.items()}
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in state.items())
    changed = [key for key, value in state.items() if not torch.equal(value, first[key])]
    assert set(state) - set(changed) == {key for key in state if "norm" in key}  # norms start at one
    assert not torch.equal(state["lm_head.weight"], other.state_dict()["lm_head.weight"])
    assert drawn.config.to_dict() == pretrained.config.to_dict() and not drawn.training
    assert drawn.lm_head.weight is drawn.model.embed_tokens.weight
    deviation = float(state["model.embed_tokens.weight"].std())
    assert deviation == pytest.approx(drawn.config.initializer_range, rel=0.05)


def test_kept_weights_of_a_random_start_serve_again_and_name_no_base_on_the_disk(base, tmp_path):
    for method in ("full", "lora"):
        store = Store(tmp_path / method)
        spec = replace(worldly.resolved(base, initialisation="random", method=method, **FEW), keep_weights=True)
        first = run_one(spec, store)
        again = execute(spec, store)
        assert again.items == first.items
    recorded = json.loads((store.weights(spec) / "itlib_base.json").read_text())["base_fingerprint"]
    assert recorded != spec.base.model_fingerprint and recorded.endswith(spec.base.model_fingerprint)
