"""One run: what it trains on, what it measures, and what it keeps."""

from dataclasses import replace

import pytest
import small

from itlib.errors import InputError, RunError
from itlib.execute import execute, run_one
from itlib.registry import selectors, sources
from itlib.result import ITEM_COLUMNS
from itlib.store import Store


def column(result, name):
    return [row[ITEM_COLUMNS.index(name)] for row in result.items]


def test_a_run_scores_every_family_and_the_reference_text():
    spec = small.resolved(n_eval=3, n_reference=7)
    result = execute(spec)
    families = column(result, "family")
    assert result.status == "done" and families.count("reference") == 7
    assert {families.count(name) for name in set(families) - {"reference"}} == {3}
    assert result.totals["n_steps"] == 3 and result.totals["n_examples_seen"] == 24
    audit = result.totals["audit"]
    assert audit["n_rows"] == 8 and audit["stop_token_supervised"] and not audit["n_zero_supervision"]


def test_more_training_fits_the_training_distribution_better():
    """The cheapest sign that the loop learns: loss on held-out items of the same families falls."""
    nll = []
    for budget in (1, 80):
        result = execute(small.resolved(n_train=60, budget=budget, n_eval=5, n_reference=0))
        nll.append(sum(column(result, "nll")) / sum(column(result, "n_tokens")))
    assert nll[1] < 0.7 * nll[0]


def test_without_training_examples_the_base_model_is_measured():
    untuned = execute(small.resolved(n_train=0))
    assert untuned.status == "done" and untuned.curve == () and "audit" not in untuned.totals
    assert max(column(untuned, "exact_match")[:-5]) == 0.0


def test_subsets_of_one_seed_are_nested_and_other_seeds_differ(monkeypatch):
    seen = {}
    original = selectors.get("random")

    def spy(pool, budget, context):
        rows = original(pool, budget, context)
        seen[budget, pool[0].id] = [pool[int(i)].id for i in rows]
        return rows

    monkeypatch.setitem(selectors._entries, "random", spy)
    for n in (8, 20):
        execute(small.resolved(n_train=n))
    (small_set, large_set) = (ids for (n, _), ids in sorted(seen.items()))
    assert large_set[:8] == small_set
    execute(small.resolved(n_train=8, seed=1))
    assert small_set not in list(seen.values())[2:]


def test_lora_starts_as_the_base_and_trains_few_weights():
    result = execute(small.resolved(method="lora", rank=4, learning_rate=5e-3))
    assert 0 < result.totals["n_trainable_parameters"] < 0.2 * result.totals["n_parameters"]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_kept_weights_serve_another_evaluation_with_the_same_scores(tmp_path, method, monkeypatch):
    store = Store(tmp_path)
    spec = replace(small.resolved(method=method, n_eval=2), keep_weights=True)
    first = run_one(spec, store)
    assert store.weights(spec) is not None and not list(tmp_path.rglob("*.bin"))
    monkeypatch.setattr("itlib.execute.train", lambda *a, **k: pytest.fail("trained again"))
    wider = run_one(small.resolved(method=method, n_eval=4), store)
    shared = dict(zip(column(wider, "item"), wider.items, strict=True))
    for row in first.items:
        other = shared[row[0]]
        assert row[:6] == other[:6] and row[6] == pytest.approx(other[6], abs=1e-4)
    assert wider.curve == first.curve and wider.totals == first.totals


def test_weights_are_not_kept_unless_asked_for(tmp_path):
    store = Store(tmp_path)
    run_one(small.resolved(), store)
    assert not list((tmp_path / "weights").iterdir())


def test_a_selector_that_breaks_its_promise_is_caught(monkeypatch):
    monkeypatch.setitem(selectors._entries, "random", lambda pool, budget, context: [0] * budget)
    with pytest.raises(RunError, match="1 unique rows"):
        execute(small.resolved())


def test_a_perturbation_changes_prompts_and_nothing_else():
    clean = execute(small.resolved(n_train=0, n_reference=0))
    typos = execute(small.resolved(n_train=0, n_reference=0, perturbation="typo", severity=1.0))
    assert column(clean, "item") == column(typos, "item")
    assert column(clean, "n_tokens") == column(typos, "n_tokens")
    assert column(clean, "nll") != column(typos, "nll")


def test_test_items_enter_only_the_final_evaluation(monkeypatch):
    """No held-out item is read before training has ended, and a dev run never reads a test item."""
    source, asked, trained = sources.get("microworld"), [], []
    original = type(source).held_out
    from itlib import execute as module

    real_train = module.train

    def held_out(self, data, evaluation):
        asked.append((evaluation.split, bool(trained)))
        return original(self, data, evaluation)

    def train(*arguments, **options):
        trace = real_train(*arguments, **options)
        trained.append(True)
        return trace

    monkeypatch.setattr(type(source), "held_out", held_out)
    monkeypatch.setattr(module, "train", train)
    execute(small.resolved())
    assert asked == [("test", True)]
    asked.clear()
    execute(small.resolved(split="dev"))
    assert asked == [("dev", True)]


def test_a_gpu_that_is_not_there_is_said():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="no NVIDIA GPU is visible"):
        execute(small.resolved(device="cuda"))
