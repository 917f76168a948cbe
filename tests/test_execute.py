"""One run: what it trains on, what it measures, and what it keeps."""

from dataclasses import replace

import pytest
import small

from itlib.errors import InputError, RunError
from itlib.execute import execute, run_one
from itlib.registry import selectors, sources
from itlib.result import ITEM_COLUMNS
from itlib.spec import digest
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
    monkeypatch.setattr("itlib.tune.train", lambda *a, **k: pytest.fail("trained again"))
    wider = run_one(small.resolved(method=method, n_eval=4), store)
    shared = dict(zip(column(wider, "item"), wider.items, strict=True))
    for row in first.items:
        other = shared[row[0]]
        nll = ITEM_COLUMNS.index("nll")
        assert row[:nll] == other[:nll] and row[nll] == pytest.approx(other[nll], abs=1e-4)
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
    from itlib import tune as module

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


@pytest.mark.fault(21)
def test_a_gpu_that_is_not_there_is_said():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="no NVIDIA GPU is visible"):
        execute(small.resolved(device="cuda"))


@pytest.mark.fault(22)
def test_a_diverged_run_is_stored_as_such_and_stops_nothing(tmp_path):
    store = Store(tmp_path)
    result = run_one(small.resolved(learning_rate=1e38, gradient_clip=1e30), store)
    assert result.status == "diverged" and result.items == ()
    assert store.get(result.spec) == result


def test_a_diverged_run_has_no_weights_to_wait_for(tmp_path, monkeypatch):
    store = Store(tmp_path)
    spec = replace(small.resolved(learning_rate=1e38, gradient_clip=1e30), keep_weights=True)
    first = run_one(spec, store)
    monkeypatch.setattr("itlib.execute.execute", lambda *a: pytest.fail("computed again"))
    assert first.status == "diverged" and run_one(spec, store) == first


def test_weights_asked_for_later_are_made_later(tmp_path):
    store = Store(tmp_path)
    first = run_one(small.resolved(), store)
    spec = replace(small.resolved(), keep_weights=True)
    assert store.weights(spec) is None
    assert small.scores(run_one(spec, store))[1:] == small.scores(first)[1:]
    assert store.weights(spec) is not None


@pytest.mark.parametrize("attention", ["sdpa", "eager", "packed", "trimmed"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_kept_weights_give_the_same_bits(tmp_path, attention, method):
    store = Store(tmp_path)
    spec = replace(small.resolved(attention=attention, method=method), keep_weights=True)
    cold = run_one(spec, store)
    warm = execute(spec, store)
    assert small.scores(warm)[2:4] == small.scores(cold)[2:4]


def test_a_selector_cannot_change_what_arms_share(monkeypatch):
    import torch

    original = selectors.get("random")

    def noisy(pool, budget, context):
        torch.rand(17)
        return original(pool, budget, context)

    quiet = execute(small.resolved(method="lora"))
    monkeypatch.setitem(selectors._entries, "random", noisy)
    assert small.scores(execute(small.resolved(method="lora"))) == small.scores(quiet)


def test_n_counts_what_is_trained_on_when_rows_are_too_long():
    """Some rows have more than 16 tokens; the selector sees only rows that fit."""
    result = execute(small.resolved(n_train=10, max_length=16))
    assert result.totals["audit"]["n_rows"] == 10 and result.totals["audit"]["n_pool_too_long"] > 0
    assert result.totals["audit"]["longest"] <= 16
    with pytest.raises(InputError, match="fit max_length 16"):
        execute(small.resolved(n_train=59, max_length=16))


def test_models_above_the_limit_go_through_the_library_trainer(monkeypatch):
    from itlib import resolve as module

    assert small.resolved().train.trainer == "loop"
    monkeypatch.setattr(module, "LOOP_LIMIT", {"cpu": 1000, "cuda": 10**9})
    assert small.resolved(device="cuda").train.trainer == "loop"
    resolved = small.resolved()
    assert resolved.train.trainer == "transformers"
    assert execute(resolved).status == "done"


def test_pool_dev_and_test_share_no_entity_no_template_and_no_operands():
    source = sources.get("microworld")
    spec = small.resolved(pool_size=2000)
    parts = [
        source.pool(spec.data, seed=0),
        source.held_out(spec.data, replace(spec.evaluate, split="dev", eval_phrasing_set="dev", n_eval=20)),
        source.held_out(spec.data, replace(spec.evaluate, n_eval=50)),
    ]
    for what in (
        lambda e: {(e.family, e.phrasing)},
        lambda e: {(e.family, entity) for entity in e.entities},
        lambda e: {(e.family, e.entities)},
    ):
        pool, dev, test = (set().union(*map(what, part)) for part in parts)
        assert not pool & dev and not pool & test and not dev & test


@pytest.mark.parametrize(
    "changes", [{}, {"method": "lora", "rank": 4}, {"trainer": "transformers"}, {"n_train": 0}], ids=str
)
def test_open_ended_items_are_graded_and_come_back_from_the_store_as_they_were(tmp_path, monkeypatch, changes):
    source = sources.get("microworld")
    original = type(source).held_out

    def held_out(self, data, evaluation):
        every = original(self, data, evaluation)
        return [replace(e, constraints=("at_least 1", "at_most 32", "distinct")) for e in every[:4]] + every[4:]

    monkeypatch.setattr(type(source), "held_out", held_out)
    spec = small.resolved(**changes)
    fresh = execute(spec)
    assert None not in column(fresh, "graded")[:4] and set(column(fresh, "graded")[4:]) == {None}
    assert all(column(fresh, "generated")[:4]) and set(column(fresh, "generated")[4:]) == {""}
    assert column(fresh, "exact_match")[:4] == [None] * 4 and column(fresh, "exact_match")[4] is not None
    assert max(column(fresh, "graded")[:4]) >= 2 / 3 - 1e-8
    store = Store(tmp_path)
    run_one(spec, store)
    assert store.get(spec).items == fresh.items


@pytest.mark.parametrize("method", ["full", "lora"])
def test_activation_checkpointing_changes_no_number(method):
    """Blocks are computed again in the backward pass, bit for bit; a run is found again with or without it."""
    plain = small.resolved(method=method, learning_rate=2e-3)
    saving = small.resolved(method=method, learning_rate=2e-3, activation_checkpointing=True)
    assert digest(plain) == digest(saving)
    first, second = execute(plain), execute(saving)
    assert (first.items, first.curve) == (second.items, second.curve)


def test_activation_checkpointing_holds_less_for_the_backward_pass():
    """Counted in tensors that the forward pass saves."""
    import tiny
    import torch

    from itlib.train import response_logits
    from itlib.tune import checkpointed

    saved = {}
    for on in (False, True):
        model = tiny.llama().train()
        if on:
            checkpointed(model, on=True)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):
            response_logits(model, tiny.rows(8), 0)
        saved[on] = sum(kept)
    assert saved[True] < 0.6 * saved[False]


@pytest.mark.parametrize(
    ("error", "hint"),
    [(MemoryError(), True), (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
     (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True), (RuntimeError("shapes differ"), False)],
)  # fmt: skip
@pytest.mark.fault(21)
def test_a_run_out_of_memory_is_a_row_that_says_what_may_fit(tmp_path, monkeypatch, error, hint):
    def fails(*arguments):
        raise error

    monkeypatch.setattr("itlib.execute.execute", fails)
    result = run_one(small.resolved(n_train=8, micro_batch_tokens=512), Store(tmp_path))
    assert result.status == "failed" and type(error).__name__ in result.error
    assert ("micro_batch_tokens is 512; a run with 256 may fit" in result.error) == hint
