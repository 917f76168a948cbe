"""Whole runs of tuning methods on the shipped base: done, counted, and the same again from stored weights."""

from dataclasses import replace

import pytest
import small
import torch

from itlib.execute import execute, run_one
from itlib.resolve import resolve
from itlib.spec import train_digest, with_fields
from itlib.stages import load_tuned
from itlib.store import Store
from itlib.tune import load_base

# The shipped base: four blocks of width 128, feed-forward width 352, four heads of 32; 2488 words, tied.
LOW_RANK = 4 * 4 * (4 * (128 + 128) + 3 * (128 + 352))
N_TRAINED = {
    "dora": LOW_RANK + 4 * (4 * 128 + 2 * 352 + 128),
    "eva": LOW_RANK,
    "grow_and_drop": 4 * (4 * 164 + 3 * 451),
    "head": 2488 * 128,
    "ia3": 4 * (128 + 128 + 352),
    "last_layer": 4 * 128 * 128 + 3 * 128 * 352 + 2 * 128,
    "lottery_ticket": LOW_RANK,
    "mixture": 4 * (4 * 4 * 3 * (128 + 352) + 4 * (128 + 128 + 352)),
    "pissa": LOW_RANK,
    "prefix": 6 * 4 * 2 * 128,
}
RUN = {"rank": 4, "n_virtual_tokens": 6, "families": ["plural", "past"], "learning_rate": 1e-2}


@pytest.mark.parametrize("name", N_TRAINED)
def test_a_run_is_done_and_scored_again_from_its_weights(name, tmp_path, monkeypatch):
    """A second evaluation finds the weights, trains nothing and gives the scores of a run that trains."""
    store, spec = Store(tmp_path), replace(small.resolved(method=name, **RUN), keep_weights=True)
    first = run_one(spec, store)
    assert first.status == "done", first.error
    assert first.totals["n_trainable_parameters"] == N_TRAINED[name] and first.totals["n_steps"] == 3
    again = resolve(with_fields(spec, perturbation="typo", severity=1.0))
    assert train_digest(again) == train_digest(spec)
    trained = execute(again)
    monkeypatch.setattr("itlib.execute.tune", None)  # nothing is tuned any more
    loaded = run_one(again, store)
    assert loaded.items == trained.items != first.items
    assert loaded.totals == trained.totals


def test_runs_of_different_methods_are_different():
    found = [execute(small.resolved(method=name, **RUN)).items for name in ("lora", "dora", "rslora", "norms", "half")]
    assert len(set(found)) == 5


@pytest.mark.parametrize("options", [[], ["keep=instruction"]])
def test_documents_or_examples_are_read_before_a_run(options):
    result = execute(small.resolved(method="corda", method_options=options, **RUN))
    assert result.status == "done" and result.totals["n_trainable_parameters"] == LOW_RANK
    seen = 8 * result.totals["n_tokens"] // result.totals["n_examples_seen"]
    assert (result.totals["calibration_n_tokens"] > 10 * seen) == (options == [])


def test_what_a_search_costs_is_among_the_totals():
    totals = execute(small.resolved(method="lottery_ticket", **RUN)).totals
    assert totals["search_n_steps"] == totals["n_steps"] == 3
    assert totals["search_n_tokens"] == totals["n_tokens"] > 100


ROUNDS = {"budget": 4, "learning_rate": 1e-2, "families": ["plural", "past"], "rank": 4, "n_virtual_tokens": 4}


@pytest.mark.parametrize("name", ["mixture", "prefix", "prompt"])
def test_what_is_kept_of_rounds_comes_back_also_where_no_weights_changed(name, tmp_path):
    store = Store(tmp_path)
    spec = replace(small.resolved(method=name, rounds="persistent", **ROUNDS), keep_weights=True)
    result = run_one(spec, store)
    assert result.status == "done", result.error
    base, tokenizer = load_base(spec)
    model = load_tuned(base, spec, store.weights(spec))
    again = _scores(model, tokenizer, spec)
    assert again == result.items != execute(small.resolved(n_train=0, families=ROUNDS["families"])).items


def _scores(model, tokenizer, spec):
    from itlib.execute import _evaluate, fixed_threads

    with fixed_threads(spec.threads):
        return _evaluate(model, tokenizer, spec)[0]


def test_searches_of_all_rounds_are_counted():
    totals = execute(small.resolved(method="lottery_ticket", rounds="merged", **ROUNDS)).totals
    assert totals["search_n_steps"] == totals["n_steps"] == 4
    assert totals["search_n_tokens"] == totals["n_tokens"]


def test_equal_specs_give_equal_scores_whatever_ran_before():
    for name in ("lora", "mixture", "grow_and_drop"):
        spec = small.resolved(method=name, **RUN)
        first = execute(spec)
        torch.manual_seed(99)
        assert small.scores(execute(spec)) == small.scores(first)
