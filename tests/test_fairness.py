"""Budgets of arms, and verdicts that they block."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from itlib.claims import judge, load_claim
from itlib.fairness import budgets, grouped, ledger, training_flops, undeclared
from itlib.result import RunResult
from itlib.spec import RunSpec, with_fields

TOTALS = {"n_steps": 10, "n_tokens": 1000, "n_response_tokens": 100, "n_parameters": 50, "n_trainable_parameters": 50}


def run(*, status="done", seconds=2.0, totals=None, **fields):
    provenance = {"wall_seconds": seconds, "peak_memory": 2**20}
    return RunResult(with_fields(RunSpec(), **fields), status, totals=TOTALS | (totals or {}), provenance=provenance)


def test_means_over_finished_runs_by_hand():
    arms = {"a": [run(), run(totals={"n_tokens": 3000}), run(status="diverged", totals={"n_tokens": 9})], "none": []}
    table = ledger(arms, {"a": 4})
    assert table["arm"].tolist() == ["a"]
    row = table.iloc[0]
    assert (row["runs"], row["steps"], row["tokens"], row["supervised"], row["trials"]) == (2, 10, 2000, 100, 4)
    assert (row["seconds"], row["peak_mib"]) == (2.0, 1.0)


def test_operations_of_full_and_partial_tuning():
    """1000 tokens and 50 parameters: 6 each where all move; 4 each and 2 per moving one where 5 do."""
    assert training_flops(run()) == 6 * 50 * 1000
    assert training_flops(run(totals={"n_trainable_parameters": 5})) == (4 * 50 + 2 * 5) * 1000
    sparse = run(method="grow_and_drop", totals={"n_trainable_parameters": 5})
    assert training_flops(sparse) == 6 * 50 * 1000  # it looks at all gradients


def test_searches_calibration_and_selection_count():
    plain = training_flops(run())
    assert training_flops(run(totals={"search_n_tokens": 100})) == plain + 6 * 50 * 100
    assert training_flops(run(totals={"calibration_n_tokens": 100})) == plain + 2 * 50 * 100
    assert training_flops(run(totals={"selection_flops": 7.0})) == plain + 7


def table(**columns):
    base = {"arm": ["a", "b"], "steps": [10, 10], "tokens": [1000, 1000], "supervised": [100, 100], "trials": [4, 4]}
    return pd.DataFrame(base | columns)


def test_equal_budgets_and_declared_ones_block_nothing():
    assert undeclared(table(), {}) == ""
    assert undeclared(table(tokens=[1000, 1029]), {}) == ""  # what random samples differ by
    assert undeclared(table(tokens=[1000, 2000]), {"tokens": "texts of one arm are longer"}) == ""


@pytest.mark.parametrize("name", ["steps", "tokens", "supervised", "trials"])
def test_a_difference_without_a_reason_is_told(name):
    told = undeclared(table(**{name: [100, 200]}), {})
    assert told == f"budgets differ and the study does not say why: {name} from 100 (a) to 200 (b)"
    assert undeclared(table(**{name: [100, 200]}), {"other": "x"}) == told


def test_one_trial_against_several_is_a_difference():
    arms = {"a": [run()], "b": [run(learning_rate=2e-3)]}
    assert "trials from 1 (a) to 3 (b)" in undeclared(ledger(arms, {"a": 1, "b": 3}), {})


def test_the_summary_names_reasons():
    found = budgets(table(tokens=[1000, 2000], steps=[5, 10]), {"tokens": "longer texts"}).set_index("budget")
    assert found["reason"].to_dict() == {
        "steps": "not declared", "tokens": "longer texts", "supervised": "equal", "trials": "equal",
    }  # fmt: skip
    assert found.loc["tokens", ["least", "most"]].tolist() == [1000, 2000]


def test_runs_are_grouped_by_what_they_differ_in_and_seeds_are_not():
    runs = [run(seed=s, base_seed=s, n_train=n) for n in (10, 20) for s in (0, 1)] + [run(n_train=0)]
    found = grouped(runs)
    assert {name: len(part) for name, part in found.items()} == {"n_train 10": 2, "n_train 20": 2}
    assert list(grouped([run(seed=s) for s in (0, 1)])) == ["all runs"]
    assert grouped([]) == {}


def test_a_blocked_claim_is_not_run_and_says_why():
    claim = load_claim("SC1")
    verdict = judge(claim, pd.DataFrame(), blocked="budgets differ and the study does not say why: steps from 1 to 2")
    assert verdict.verdict == "not_run" and "steps from 1 to 2" in verdict.reason
    assert np.isnan(verdict.effect)


def test_untuned_runs_and_provenance_without_memory_do_no_harm():
    untuned = RunResult(replace(RunSpec()), "done", totals={"n_parameters": 5})
    old = RunResult(RunSpec(), "done", totals=TOTALS, provenance={"wall_seconds": 1.0})
    found = ledger({"untuned": [untuned], "old": [old]})
    assert found["arm"].tolist() == ["old"] and np.isnan(found["peak_mib"].iloc[0])
