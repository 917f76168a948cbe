"""One family after another: rounds, and what is left of the earlier ones."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import small

from itlib.continual import round_frame, transfer
from itlib.errors import InputError
from itlib.execute import execute, run_one
from itlib.frame import run_frame
from itlib.resolve import resolve
from itlib.spec import digest, with_fields
from itlib.store import Store

FAMILIES = ("plural", "past", "opposite")
RUN = {"families": FAMILIES, "n_train": 30, "selector": "stratified", "budget": 6, "n_reference": 4, "n_eval": 3}


def run(**changes):
    return execute(small.resolved(**RUN | {"rounds": "merged", "learning_rate": 2e-3} | changes))


def test_every_round_is_measured_on_all_families():
    result = run()
    assert result.status == "done" and result.totals["n_steps"] == 6
    assert [row["step"] for row in result.probes] == [2, 4, 6]
    assert all(
        {f"exact_match {name}" for name in FAMILIES} | {"step", "reference_loss"} == set(row) for row in result.probes
    )
    table = round_frame([result])
    assert len(table) == 9 and table["trained"].unique().tolist() == list(FAMILIES)


def test_the_last_round_is_what_the_run_is_scored_on():
    result = run(budget=30, learning_rate=4e-3)
    scores = run_frame([result])
    scores = scores[scores["metric"] == "exact_match"].set_index("family")["value"]
    last = {name.removeprefix("exact_match "): v for name, v in result.probes[-1].items() if name.startswith("exact")}
    assert last == pytest.approx(scores.to_dict())


def test_for_full_fine_tuning_merging_changes_nothing():
    merged, persistent = run(), run(rounds="persistent")
    assert merged.items == persistent.items and merged.probes == persistent.probes


def test_adapters_made_anew_and_kept_differ():
    merged, persistent = (run(method="lora", rank=2, rounds=rounds) for rounds in ("merged", "persistent"))
    assert merged.probes[0] == persistent.probes[0] and merged.items != persistent.items


def test_half_fine_tuning_draws_another_half_in_every_round():
    merged, persistent = (run(method="half", rounds=rounds) for rounds in ("merged", "persistent"))
    assert merged.probes[0] == persistent.probes[0] and merged.items != persistent.items


def test_a_round_is_plain_training_on_one_family():
    """The first of two rounds against a run of its own on the same examples and steps."""
    from itlib.methods import Setting, method_of
    from itlib.template import encode
    from itlib.train import train
    from itlib.training_set import training_set
    from itlib.tune import load_base

    spec = small.resolved(**RUN, rounds="merged", learning_rate=2e-3)
    model, tokenizer = load_base(spec)
    data = training_set(spec, lambda: load_base(spec))
    encoded, _ = encode(data.examples, tokenizer, max_length=128)
    own = [row for row, trait in zip(encoded, data.traits, strict=True) if trait.family == FAMILIES[0]]
    assert len(own) == 10
    tuned = method_of(spec.tuning).attach(model, spec.tuning, Setting(own))
    trace = train(
        tuned, own, replace(spec.train, budget=2.0), seed=spec.seed, pad_id=tokenizer.pad_token_id, dtype="float32"
    )
    result = execute(spec)
    assert result.curve[: len(trace.curve)] == trace.curve


def test_kept_weights_are_those_after_the_last_round(tmp_path):
    from itlib.stages import load_tuned
    from itlib.tune import load_base

    spec = replace(small.resolved(**RUN, rounds="merged", method="lora", rank=2), keep_weights=True)
    store = Store(tmp_path)
    result = run_one(spec, store)
    assert result.status == "done", result.error
    model = load_tuned(load_base(spec)[0], spec, store.weights(spec))
    base = load_base(spec)[0]
    moved = [n for (n, a), b in zip(model.named_parameters(), base.parameters(), strict=True) if not (a == b).all()]
    assert moved and all("_proj" in name for name in moved)


def test_transfer_of_a_table_by_hand():
    """a_11 = .8 -> .5, a_22 = .6 -> .7, a_33 = .9: transfer (-.3 + .1) / 2, overall (.5 + .7 + .9) / 3."""
    accuracy = {(0, 0): 0.8, (0, 1): 0.1, (0, 2): 0.0, (1, 0): 0.6, (1, 1): 0.6, (1, 2): 0.2}
    accuracy |= {(2, 0): 0.5, (2, 1): 0.7, (2, 2): 0.9}
    rows = [("run", 3, t, "", "", i, value) for (t, i), value in accuracy.items()]
    table = pd.DataFrame(rows, columns=["digest", "seed", "round", "trained", "family", "place", "accuracy"])
    found = transfer(table).iloc[0]
    assert (found["seed"], found["backward_transfer"], found["overall"]) == (3, pytest.approx(-0.1), pytest.approx(0.7))
    unfinished = transfer(table[table["round"] < 2]).iloc[0]
    assert np.isnan(unfinished["backward_transfer"]) and np.isnan(unfinished["overall"])


def test_runs_without_rounds_keep_their_digest():
    spec = small.resolved(**RUN)
    assert digest(spec) == digest(resolve(with_fields(spec, rounds="one")))
    untuned = small.resolved(**{**RUN, "n_train": 0}, rounds="merged")
    assert untuned.train.rounds == "one"


@pytest.mark.parametrize(("changes", "message"), [
    ({"families": ("plural",)}, "families: rounds need at least two"),
    ({"budget": 7}, "budget: 7 steps do not divide by 3 families"),
    ({"budget_unit": "epochs"}, "budget_unit: rounds are counted in steps"),
    ({"n_probes": 2}, "n_probes: a run in rounds is measured after each round"),
    ({"method": "prompt"}, "rounds: what method 'prompt' changes cannot be merged"),
    ({"method": "mixture"}, "rounds: what method 'mixture' changes cannot be merged"),
    ({"objective": "coin"}, "objective: rounds take 'response' alone"),
    ({"activation_checkpointing": True}, "activation_checkpointing: cannot be combined with rounds"),
    ({"first_steps": 2}, "first_steps: cannot be combined with rounds"),
    ({"trainer": "transformers"}, "trainer: rounds run in our own loop only"),
    ({"rounds": "many"}, "rounds: 'many' is not one of one, merged, persistent"),
])  # fmt: skip
def test_rounds_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        small.resolved(**{**RUN, "rounds": "merged", **changes})
    assert "\n" not in str(caught.value)
