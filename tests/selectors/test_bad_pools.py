"""Pools, budgets, targets and scorers of which nothing can be chosen: each is one clear line, whatever the selector.

A combination is skipped only where the case cannot happen to the selector, and the reason is said.
"""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from itlib.errors import InputError, RunError
from itlib.execute import load_base
from itlib.features import Features
from itlib.models import resolve_name
from itlib.registry import selectors, sources
from itlib.resolve import resolve
from itlib.selection import BLIND, select
from itlib.selectors import Scores, ScoreSelector, gap, ifd
from itlib.spec import RunSpec, with_fields

NAMES = selectors.names()
FAMILIES = ("opposite", "colour")
SIZE, BUDGET = 24, 6
# For a pool of this size, and quick.
SETTINGS = {
    "checkpoints": 1, "epochs": 1.0, "n_anchors": 2, "n_clusters": 3, "n_judged": 6, "n_latents": 32,
    "n_per_category": 4, "n_steps": 5, "n_subsets": 14, "second_stage": 0, "subset_size": 8, "warm": 20,
}  # fmt: skip
# These tune the scorer before they look at anything, so that a broken one is a fault of the run.
TUNE_FIRST = ("codec_gap", "less_adam", "less_sgd", "lp", "lp_app", "oracle_loo")


@functools.cache
def asked(name):
    chosen = selectors.get(name)
    known = getattr(chosen, "score", getattr(chosen, "select", chosen)).__kwdefaults__ or {}
    fields = {"n_targets": 2, "target_families": FAMILIES} if name != "random" else {}
    return resolve(
        with_fields(
            RunSpec(), **resolve_name("micro-0.2m"), **fields, selector=name, pool_size=SIZE, n_train=BUDGET,
            selector_options=tuple(f"{key}={value}" for key, value in SETTINGS.items() if key in known),
        )
    )  # fmt: skip


@functools.cache
def pool():
    spec = resolve(with_fields(RunSpec(), pool_size=SIZE, n_train=BUDGET, noise_rate=0.3, families=FAMILIES))
    return tuple(sources.get("microworld").pool(spec.data, seed=0))


def choose(name, examples=None, budget=BUDGET, load=None):
    spec = asked(name)
    examples = list(pool()) if examples is None else examples
    return select(spec, examples, budget, load or (lambda: load_base(spec)))


def scorer_of(name, value):
    """A scorer whose weights are all one number."""
    model, tokenizer = load_base(asked(name))
    with torch.no_grad():
        for weights in model.parameters():
            weights.fill_(value)
    return model, tokenizer


def scored_as(monkeypatch, name, scores):
    """Let the selector give ``scores`` to every pool, or skip one that gives none."""
    chosen = selectors.get(name)
    if not isinstance(chosen, ScoreSelector):
        pytest.skip("gives no scores")
    score = functools.wraps(chosen.score)(lambda pool, context, **options: scores(len(pool)))
    monkeypatch.setitem(selectors._entries, name, ScoreSelector(score))


# ---- the cases: each does what is wrong, and returns instead of raising only where it has skipped --------------


def an_empty_pool(name, monkeypatch):
    choose(name, [], 0)


def a_budget_of_0(name, monkeypatch):
    choose(name, budget=0)


def a_budget_above_the_pool(name, monkeypatch):
    choose(name, budget=SIZE + 1)


def copies_of_one_example(name, monkeypatch):
    copies = [replace(pool()[0], id=f"copy {index}") for index in range(SIZE)]
    if name in BLIND:
        assert len(choose(name, copies).rows) == BUDGET
        pytest.skip("draws whatever examples say")
    choose(name, copies)


def all_examples_excluded(name, monkeypatch):
    """By the rule of the selector itself, where it has one that could exclude them all."""
    if name in ("ifd_loss", "ifd_ppl", "superfiltering_diverse"):
        for ratio in ("ratio_of_losses", "ratio_of_perplexities"):
            monkeypatch.setattr(ifd, ratio, lambda above, below: np.full(len(above), 2.0))
    elif name == "codec_gap":
        monkeypatch.setattr(gap, "greedy_answers", lambda features, asked, about: [one.gold for one in asked])
    else:
        scored_as(monkeypatch, name, lambda n: Scores(np.arange(n, dtype=float), np.ones(n, dtype=bool)))
    choose(name)


def all_scores_nan(name, monkeypatch):
    scored_as(monkeypatch, name, lambda n: np.full(n, np.nan))
    choose(name)


def targets_among_the_test_items(name, monkeypatch):
    asked(name)
    items = sources.get("microworld").held_out(asked(name).data, replace(asked(name).evaluate, n_eval=2))
    calls = []
    held_out = lambda self, data, evaluation: calls.append(evaluation.split) or items  # noqa: E731
    monkeypatch.setattr(type(sources.get("microworld")), "held_out", held_out)
    choose(name)
    assert not calls
    pytest.skip("asks for no targets")


def a_scorer_of_nan(name, monkeypatch):
    if "selection_flops" not in choose(name, load=lambda: scorer_of(name, float("nan"))).totals:
        pytest.skip("runs no model")


def constant_embeddings(name, monkeypatch):
    looked = []
    for door in ("embeddings", "states"):
        through = getattr(Features, door)
        monkeypatch.setattr(Features, door, lambda *args, through=through: looked.append(1) or through(*args))
    try:
        choose(name, load=lambda: scorer_of(name, 0.0))
    except InputError:
        if looked:
            raise
    assert not looked
    pytest.skip("looks at no embeddings")


CASES = {
    an_empty_pool: "selector '{name}': the pool is empty",
    a_budget_of_0: f"n_train is 0; '{{name}}' takes 1 to {SIZE} examples",
    a_budget_above_the_pool: f"n_train is {SIZE + 1}; '{{name}}' takes 1 to {SIZE} examples",
    copies_of_one_example: f"selector '{{name}}': the {SIZE} examples of the pool are copies of one",
    all_examples_excluded: f"selector '{{name}}' excludes {SIZE} of {SIZE} examples of the pool",
    all_scores_nan: f"selector '{{name}}': all {SIZE} examples of the pool have the score NaN",
    targets_among_the_test_items: "selector '{name}': .* targets are test items of this run",
    a_scorer_of_nan: "not finite|the scorer diverged",
    constant_embeddings: "embeddings are constant",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_nothing_can_be_chosen_of_is_one_clear_line(case, name, monkeypatch):
    fault_of_run = case is a_scorer_of_nan and name in TUNE_FIRST
    with pytest.raises(RunError if fault_of_run else InputError, match=CASES[case].format(name=name)) as caught:
        case(name, monkeypatch)
    assert "\n" not in str(caught.value)


def test_a_partial_exclusion_is_back_filled_and_counted(monkeypatch):
    most = lambda n: Scores(np.arange(n, dtype=float), np.arange(n) < n - 2)  # noqa: E731
    scored_as(monkeypatch, "longest", most)
    assert choose("longest").totals["n_backfilled"] == BUDGET - 2


def test_a_run_that_is_measured_on_dev_may_aim_at_its_items(monkeypatch):
    items = sources.get("microworld").held_out(asked("bm25").data, replace(asked("bm25").evaluate, n_eval=2))
    monkeypatch.setattr(type(sources.get("microworld")), "held_out", lambda self, data, evaluation: items)
    spec = with_fields(asked("bm25"), split="dev")
    assert len(select(spec, list(pool()), BUDGET, lambda: load_base(spec)).rows) == BUDGET


def test_one_example_is_a_pool():
    assert choose("longest", list(pool()[:1]), 1).rows == (0,)
