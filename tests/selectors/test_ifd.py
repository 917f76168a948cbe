"""Instruction-following difficulty: numbers worked out by hand, filters, and the traps of the published codes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from stub import StubFeatures
from toolbox import MarkovModel, example, hand_context, hand_features, make_context

from itlib.errors import InputError
from itlib.example import Turn
from itlib.registry import selectors, sources
from itlib.resolve import resolve
from itlib.selectors import coverage, ifd
from itlib.selectors.ifd import exponential_similarity, instruction_aware, ratio_of_losses, ratio_of_perplexities
from itlib.spec import RunSpec, with_fields

LN2 = np.log(2.0)
SEPARATOR, ASK, LAST, FIRST_WORD, SECOND_WORD = range(5)


def language():
    """p(a1 | last of Q) = 1/2, p(a1 | separator) = 1/8, p(a2 | a1) = 1/4, and two bits for the prompt."""
    table = np.full((6, 6), 1 / 6)
    table[SEPARATOR] = [1 / 8, 1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 4]
    table[ASK] = [1 / 8, 1 / 8, 1 / 4, 1 / 8, 1 / 8, 1 / 4]
    table[LAST] = [1 / 8, 1 / 16, 1 / 16, 1 / 2, 1 / 8, 1 / 8]
    table[FIRST_WORD] = [1 / 4, 1 / 8, 1 / 8, 1 / 8, 1 / 4, 1 / 8]
    return MarkovModel(table)


def scored(name, *rows):
    examples, features = hand_features(language(), rows)
    context = hand_context(features)
    found = selectors.get(name).score(examples, context)
    return (found if name == "ic_ifd" else found.values), context


# ---- by hand ------------------------------------------------------------------------------------------------

HAND = {"ifd_loss": 0.6, "ifd_ppl": 0.5, "ic_ifd": 0.6 / (2 * LN2)}


@pytest.mark.parametrize("name", HAND)
def test_a_table_of_probabilities(name):
    values, _ = scored(name, ((ASK, LAST), (FIRST_WORD, SECOND_WORD)))
    assert values[0] == pytest.approx(HAND[name], rel=1e-6)
    assert round(HAND["ic_ifd"], 4) == 0.4328


def test_the_same_numbers_from_losses():
    conditional, alone, prompt = np.array([1.5 * LN2]), np.array([2.5 * LN2]), np.array([2 * LN2])
    assert ratio_of_losses(conditional, alone)[0] == pytest.approx(0.6, abs=1e-12)
    assert ratio_of_perplexities(conditional, alone)[0] == pytest.approx(0.5, abs=1e-12)
    assert instruction_aware(prompt, conditional, alone)[0] == pytest.approx(0.4328, abs=5e-5)


def test_the_two_ratios_order_examples_differently():
    conditional, alone = np.array([0.1, 2.0]), np.array([0.5, 4.0])
    assert np.diff(ratio_of_losses(conditional, alone)) > 0 > np.diff(ratio_of_perplexities(conditional, alone))


def test_a_response_of_one_token_has_a_score():
    """The code of Superfiltering averages over no token here."""
    for name, wanted in {"ifd_loss": 1 / 3, "ifd_ppl": 1 / 4, "ic_ifd": 1 / (3 * 2 * LN2)}.items():
        values, _ = scored(name, ((ASK, LAST), (FIRST_WORD,)))
        assert values[0] == pytest.approx(wanted, rel=1e-6)


def test_a_response_that_the_prompt_repeats_is_found_at_its_own_place():
    for name, wanted in {"ifd_loss": 0.6, "ifd_ppl": 0.5}.items():
        answer = (FIRST_WORD, SECOND_WORD)
        values, _ = scored(name, ((*answer, ASK, LAST), answer), ((ASK, LAST), answer))
        assert values == pytest.approx([wanted, wanted], rel=1e-6)


def test_an_instruction_that_says_nothing_gives_exactly_one():
    """Exactly 1 survives the filter of Cherry LLM and not that of Superfiltering."""
    for name, kept in {"ifd_loss": True, "ifd_ppl": False}.items():
        examples, features = hand_features(language(), [((SEPARATOR,), (FIRST_WORD, SECOND_WORD))])
        found = selectors.get(name).score(examples, hand_context(features))
        assert found.values[0] == 1.0
        assert found.excluded[0] != kept


# ---- filters ------------------------------------------------------------------------------------------------


def losses_context(pool, conditional, unconditional, *, instruction=None, vectors=None, seed=0):
    vectors = np.eye(len(pool)) if vectors is None else vectors
    features = StubFeatures(pool, vectors)
    place = {one.id: index for index, one in enumerate(pool)}

    parts = (np.ones(len(pool)) if instruction is None else instruction, conditional, unconditional)
    table = np.array(parts, dtype=float)

    def of(examples):
        return table[:, [place[one.id] for one in examples]]

    features.losses = lambda examples: SimpleNamespace(
        **dict(zip(("instruction", "conditional", "unconditional"), of(examples), strict=True))
    )
    features.response_losses = lambda examples: tuple(of(examples)[1:])
    return hand_context(features, seed=seed)


@pytest.mark.parametrize(("name", "n_filtered"), [("ifd_loss", 2), ("ifd_ppl", 3)])
def test_what_misleads_is_taken_last_and_best_first(name, n_filtered):
    pool = [example(i) for i in range(6)]
    context = losses_context(pool, [0.2, 1.5, 1.0, 3.0, 0.5, 0.9], np.ones(6))
    assert selectors.get(name)(pool, 6, context).tolist()[: 6 - n_filtered] == [2, 5, 4, 0][n_filtered - 2 :]
    assert selectors.get(name)(pool, 6, context).tolist()[6 - n_filtered :] == [3, 1, 2][:n_filtered]
    assert context.ledger.notes["n_filtered"] == n_filtered


@pytest.mark.parametrize("name", ["ifd_loss", "ifd_ppl"])
def test_a_template_that_the_scorer_does_not_know_empties_no_selection(name):
    pool = [example(i) for i in range(5)]
    context = losses_context(pool, [1.5, 1.2, 1.4, 1.1, 1.3], np.ones(5))
    assert selectors.get(name)(pool, 3, context).tolist() == [0, 2, 4]
    assert context.ledger.notes["n_filtered"] == 5


def test_what_the_scorer_is_sure_of_has_no_ratio_and_comes_last():
    pool = [example(i) for i in range(4)]
    context = losses_context(pool, [0.0, 0.5, 2.0, 0.3], [0.0, 1.0, 1.0, 1.0])
    assert selectors.get("ifd_loss")(pool, 4, context).tolist() == [1, 3, 2, 0]
    assert np.isnan(ratio_of_losses(np.array([0.0]), np.array([0.0])))[0]
    assert np.isnan(instruction_aware(np.array([0.0]), np.array([1.0]), np.array([1.0])))[0]


def test_ic_ifd_filters_nothing_and_puts_improbable_instructions_late():
    pool = [example(i) for i in range(3)]
    context = losses_context(pool, [2.0, 1.0, 1.0], [1.0, 1.0, 1.0], instruction=[1.0, 1.0, 4.0])
    assert selectors.get("ic_ifd")(pool, 3, context).tolist() == [0, 1, 2]
    assert selectors.get("ic_ifd").scores(pool, context).excluded is None


@pytest.mark.parametrize("name", ["ifd_loss", "ifd_ppl", "ic_ifd", "superfiltering_diverse"])
def test_losses_that_are_not_finite_are_an_error_and_no_score_of_zero(name):
    pool = [example(i) for i in range(3)]
    with pytest.raises(InputError, match="scorer: its losses are not finite for 1 of 3 examples"):
        selectors.get(name)(pool, 1, losses_context(pool, [0.5, np.nan, 0.5], np.ones(3)))


# ---- with a model -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool():
    spec = resolve(with_fields(RunSpec(), pool_size=60, n_train=1))
    return sources.get("microworld").pool(spec.data, seed=0)


@pytest.mark.parametrize("name", ["ifd_loss", "ifd_ppl", "ic_ifd"])
def test_batches_and_padding_change_nothing(name, pool):
    few = pool[:12]
    together = selectors.get(name).scores(few, make_context(few)).values
    alone = [selectors.get(name).scores([one], make_context([one])).values[0] for one in few]
    assert np.allclose(together, alone, atol=1e-5) and np.ptp(together) > 0.01


def test_both_passes_score_the_same_tokens(pool):
    features = make_context(pool).features
    rows = features.encoded(pool)
    for row, alone in zip(rows, [features._alone(row) for row in rows], strict=True):
        assert np.array_equal(row.input_ids[row.response_mask], alone.input_ids[alone.response_mask])
        assert not alone.response_mask[0]


@pytest.fixture(scope="module")
def warm(pool):
    """A scorer that has learned to follow instructions; the base has not."""
    return make_context(pool, selector="ifd_loss", scorer="warm-60", learning_rate=2e-3, batch_size=8)


@pytest.mark.parametrize("name", ["ifd_loss", "ifd_ppl"])
def test_instructions_of_other_examples_raise_the_median(name, pool, warm):
    shifted = [
        replace(one, turns=(Turn("user", other.instruction), one.turns[-1]))
        for one, other in zip(pool, pool[7:] + pool[:7], strict=True)
    ]
    medians = [np.median(selectors.get(name).scores(examples, warm).values) for examples in (pool, shifted)]
    assert medians[1] > 1.3 * medians[0]


@pytest.mark.parametrize("name", ["ifd_loss", "ifd_ppl"])
def test_under_an_untuned_base_most_examples_are_filtered_and_the_run_is_told(name, pool, warm):
    base = make_context(pool)
    for context in (base, warm):
        assert len(set(selectors.get(name)(pool, 20, context))) == 20
    assert base.ledger.notes["n_filtered"] > 40 > warm.ledger.notes["n_filtered"]


def test_two_passes_are_the_whole_cost(pool):
    for name in ("ifd_loss", "ifd_ppl", "ic_ifd", "superfiltering_diverse"):
        context = make_context(pool)
        selectors.get(name)(pool, 10, context)
        features = context.features
        n_tokens = sum(len(row.input_ids) + len(features._alone(row).input_ids) for row in features.encoded(pool))
        assert context.ledger.flops == 2 * n_tokens * features.n_parameters


# ---- Superfiltering.D ---------------------------------------------------------------------------------------


def clumps(n_per_clump, n_clumps, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.eye(n_clumps)
    return np.repeat(centres, n_per_clump, axis=0) + 0.01 * rng.normal(size=(n_per_clump * n_clumps, n_clumps))


def test_similarity_is_the_kernel_of_the_library_that_the_authors_use():
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    distances = np.array(
        [[0, np.sqrt(2), np.sqrt(0.8)], [np.sqrt(2), 0, np.sqrt(0.4)], [np.sqrt(0.8), np.sqrt(0.4), 0]]
    )
    assert np.allclose(exponential_similarity(vectors), np.exp(-distances / 2), atol=1e-12)
    assert (np.diag(exponential_similarity(np.random.default_rng(0).normal(size=(50, 7)))) == 1).all()


def test_candidates_are_the_best_fifth_and_spread_over_the_clumps():
    pool = [example(i) for i in range(40)]
    conditional = np.full(40, 0.3)
    best = [0, 1, 2, 3, 4, 10, 20, 30]  # five of the first clump, one of each other
    conditional[best] = 0.9 - 0.01 * np.arange(8)
    context = losses_context(pool, conditional, np.ones(40), vectors=clumps(10, 4))
    found = selectors.get("superfiltering_diverse")(pool, 4, context)
    assert set(found) <= set(best) and {row // 10 for row in found} == {0, 1, 2, 3}
    assert selectors.get("ifd_ppl")(pool, 4, context).tolist() == [0, 1, 2, 3]
    wide = selectors.get("superfiltering_diverse")(pool, 4, context, share=1.0)
    assert {row // 10 for row in wide} == {0, 1, 2, 3} and not set(wide) <= set(best)


def test_from_a_fifth_of_the_pool_on_it_is_ifd_ppl():
    pool = [example(i) for i in range(20)]
    conditional = np.random.default_rng(0).uniform(0.1, 0.9, 20)
    context = losses_context(pool, conditional, np.ones(20), vectors=clumps(5, 4))
    for budget in (4, 9, 20):
        found = selectors.get("superfiltering_diverse")(pool, budget, context)
        assert set(found) == set(selectors.get("ifd_ppl")(pool, budget, context))


def test_only_a_lack_of_examples_brings_back_what_was_filtered():
    pool = [example(i) for i in range(20)]
    conditional = np.where(np.arange(20) < 5, 0.5 + 0.01 * np.arange(20), 1.0 + 0.1 * np.arange(20))
    for budget, backfilled in ((3, 0), (5, 0), (8, 3)):
        context = losses_context(pool, conditional, np.ones(20), vectors=clumps(5, 4))
        found = selectors.get("superfiltering_diverse")(pool, budget, context, share=1.0)
        assert context.ledger.notes["n_backfilled"] == backfilled and context.ledger.notes["n_filtered"] == 15
        assert sum(row >= 5 for row in found) == backfilled
        assert {19, 18, 17} >= {row for row in found if row >= 5}


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_share_is_checked(share):
    pool = [example(i) for i in range(4)]
    with pytest.raises(InputError, match="selector_options: share: must be greater than 0 and at most 1"):
        selectors.get("superfiltering_diverse")(pool, 1, losses_context(pool, np.ones(4), np.ones(4)), share=share)


def test_embeddings_must_tell_examples_apart():
    pool = [example(i) for i in range(4)]
    context = losses_context(pool, np.full(4, 0.5), np.ones(4), vectors=np.ones((4, 2)))
    with pytest.raises(InputError, match="embeddings are constant"):
        selectors.get("superfiltering_diverse")(pool, 2, context)


def test_similarity_to_some_is_that_to_all_without_the_others(monkeypatch):
    monkeypatch.setattr(ifd, "BLOCK", 7)
    vectors, rows = np.random.default_rng(0).normal(size=(50, 7)), np.random.default_rng(1).permutation(50)[:20]
    found = exponential_similarity(vectors, rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exponential_similarity(vectors)[:, rows], rtol=1e-6)
    assert (found[rows, np.arange(20)] == 1).all()


def test_of_many_candidates_a_sample_is_covered_and_the_clumps_are_found(monkeypatch):
    """At the size of the sample nothing changes; above it, any candidate may be taken and each clump has one."""
    pool, conditional = [example(i) for i in range(80)], np.full(80, 0.5)

    def found(order=slice(None), seed=0):
        given = pool[order]
        context = losses_context(pool, conditional, np.ones(80), vectors=clumps(20, 4), seed=seed)
        return [given[row].id for row in selectors.get("superfiltering_diverse")(given, 4, context, share=1.0)]

    exact = found()
    monkeypatch.setattr(coverage, "REFERENCE", 80)
    assert found() == exact
    monkeypatch.setattr(coverage, "REFERENCE", 30)
    sampled = [found(seed=seed) for seed in range(5)]
    assert all({int(one[1:]) // 20 for one in ids} == {0, 1, 2, 3} for ids in sampled)
    assert found(slice(None, None, -1)) == sampled[0] != sampled[1]
