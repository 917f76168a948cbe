"""Orders: the same visits in another arrangement, for every budget; two stages that see what they should."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from itlib.errors import InputError
from itlib.microworld.families import FAMILIARITIES
from itlib.ordering import DOCUMENT, FIRST, ORDERS, SECOND, Traits, _traded, training_steps
from itlib.spec import TrainSpec

PERMUTATIONS = [name for name in ORDERS if name not in ("mixed", "dual_stage")]
BUDGETS = {"steps": 7, "epochs": 2.5, "tokens": 900}


def data(n_first=14, n_second=6, n_documents=3, seed=0):
    rng = np.random.default_rng(seed)
    parts = [FIRST] * n_first + [SECOND] * n_second + [DOCUMENT] * n_documents
    traits = [
        Traits(f"id{rng.integers(10**9)}", part, f"family{rng.integers(4)}", str(rng.choice(FAMILIARITIES)))
        for part in parts
    ]
    return tiny.rows(len(parts), seed=seed), traits


def steps(order, unit="epochs", seed=0, **changes):
    rows, traits = data(**changes.pop("data", {}))
    fields = {"budget": BUDGETS[unit], "budget_unit": unit, "batch_size": 5} | changes
    spec = TrainSpec(order=order, **fields)
    return training_steps(rows, spec, seed=seed, traits=traits), rows, traits


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(PERMUTATIONS),
    st.sampled_from(sorted(BUDGETS)),
    st.integers(0, 3),
    st.fixed_dictionaries({"n_first": st.integers(1, 20), "n_second": st.integers(0, 9), "seed": st.integers(0, 9)}),
)
def test_an_order_only_rearranges_the_visits(order, unit, seed, sizes):
    plain = steps("mixed", unit, seed, data=dict(sizes))[0]
    other, _, traits = steps(order, unit, seed, data=dict(sizes))
    assert [len(batch) for batch in plain] == [len(batch) for batch in other]
    visits, moved = np.concatenate(plain), np.concatenate(other)
    assert Counter(visits.tolist()) == Counter(moved.tolist())
    documents = [place for place, row in enumerate(visits) if traits[row].part == DOCUMENT]
    assert (visits[documents] == moved[documents]).all()


def instructions(batches, traits):
    return [row for row in np.concatenate(batches).tolist() if traits[row].part != DOCUMENT]


@pytest.mark.parametrize("unit", BUDGETS)
def test_sequential_sees_the_first_part_and_then_the_second(unit):
    batches, _, traits = steps("sequential", unit)
    parts = [traits[row].part for row in instructions(batches, traits)]
    assert parts == sorted(parts) and set(parts) == {FIRST, SECOND}


def test_phases_go_from_the_familiar_to_the_unknown_in_proportion_to_their_examples():
    batches, _, traits = steps("phased")
    seen = [FAMILIARITIES.index(traits[row].familiarity) for row in instructions(batches, traits)]
    assert seen == sorted(seen)
    whole, _, traits = steps("phased", data={"n_documents": 0})
    held = Counter(trait.familiarity for trait in traits)
    visits = Counter(traits[row].familiarity for row in np.concatenate(whole).tolist())
    assert all(2 * n <= visits[name] <= 3 * n for name, n in held.items())


@pytest.mark.parametrize(("order", "sign"), [("curriculum", 1), ("reverse", -1)])
def test_difficulty_rises_or_falls_and_equals_take_turns(order, sign):
    batches, rows, traits = steps(order)
    seen = instructions(batches, traits)
    lengths = [sign * int(rows[row].response_mask.sum()) for row in seen]
    assert lengths == sorted(lengths)
    for length in set(lengths):
        equals = [row for row, mine in zip(seen, lengths, strict=True) if mine == length]
        n = len(set(equals))
        for start in range(0, len(equals), n):
            turn = equals[start : start + n]
            ids = [traits[row].id for row in turn]
            assert len(set(turn)) == len(turn) and ids == sorted(ids)


def test_interleaving_by_hand():
    """Family a has lengths 1, 2, 3, 4, family b 5, 1: a at 1/8, 3/8, 5/8, 7/8, b at 1/4, 3/4."""
    lengths = (3, 1, 4, 2, 5, 1)
    rows = [
        replace(row, input_ids=np.arange(6), response_mask=np.arange(6) < length)
        for row, length in zip(tiny.rows(6), lengths, strict=True)
    ]
    traits = [Traits(str(i), FIRST, "aaaabb"[i], "latent") for i in range(6)]
    spec = TrainSpec(order="interleaved", budget=1, budget_unit="epochs", batch_size=6)
    assert training_steps(rows, spec, seed=0, traits=traits)[0].tolist() == [1, 5, 3, 0, 4, 2]


def test_as_given_is_the_order_of_the_examples_pass_by_pass():
    batches, rows, traits = steps("as_given", data={"n_documents": 0}, budget=2)
    assert np.concatenate(batches).tolist() == [*range(len(rows))] * 2
    cut = np.concatenate(steps("as_given", data={"n_documents": 0}, budget=1.5)[0]).tolist()
    assert cut[:20] == [*range(20)] and cut[20:] == sorted(cut[20:]) and len(set(cut[20:])) == 10


@pytest.mark.parametrize("fraction", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("unit", BUDGETS)
def test_two_stages_see_what_they_should(fraction, unit):
    batches, _, traits = steps("dual_stage", unit, kept_fraction=fraction)
    seen = instructions(batches, traits)
    begin = next(place for place, row in enumerate(seen) if traits[row].part == SECOND)
    n_first, n_kept = 14, round(fraction * 14)
    stage_two = 6 + n_kept
    # the first stage ends where its share of the visits is spent; passes over both stages are cut by at most one
    before, after = Counter(seen[:begin]), Counter(seen[begin:])
    kept = {row for row in after if traits[row].part == FIRST}
    if unit != "steps":
        assert set(before) == set(range(n_first)) and len(kept) == n_kept
    assert len(kept) <= n_kept
    assert abs(len(seen) * stage_two / (n_first + stage_two) - len(seen[begin:])) <= stage_two


def test_one_epoch_of_two_stages_sees_everything_once_and_what_is_kept_twice():
    batches, _, traits = steps("dual_stage", budget=1, kept_fraction=0.3, data={"n_documents": 0})
    seen = np.concatenate(batches).tolist()
    n_first, n_second, n_kept = 14, 6, 4
    stage_one, stage_two = Counter(seen[:n_first]), Counter(seen[n_first:])
    assert stage_one == dict.fromkeys(range(n_first), 1) and len(seen) == n_first + n_second + n_kept
    assert set(stage_two.values()) == {1}
    assert Counter(traits[row].part for row in stage_two) == {FIRST: n_kept, SECOND: n_second}


def test_keeping_less_than_one_example_is_refused():
    with pytest.raises(InputError, match="kept_fraction: 0.02 of 14 examples is not one example"):
        steps("dual_stage", kept_fraction=0.02)


def test_what_two_stages_keep_nests_and_does_not_depend_on_the_second_part():
    def kept(fraction, n_second, seed=0):
        batches, _, traits = steps(
            "dual_stage", seed=seed, kept_fraction=fraction, data={"n_second": n_second, "n_documents": 0}
        )
        seen = np.concatenate(batches).tolist()
        first = next(place for place, row in enumerate(seen) if traits[row].part == SECOND)
        return {row for row in seen[first:] if traits[row].part == FIRST}

    assert kept(0.25, 6) < kept(0.5, 6) and len(kept(0.5, 6)) == 7
    assert kept(0.5, 6) == kept(0.5, 9) != kept(0.5, 6, seed=1)


def test_mixed_needs_no_traits_and_documents_are_as_mixed_as_anything():
    rows, traits = data()
    spec = TrainSpec(budget=4, batch_size=5)
    plain = training_steps(rows, spec, seed=0)
    with_traits = training_steps(rows, spec, seed=0, traits=traits)
    assert all((a == b).all() for a, b in zip(plain, with_traits, strict=True))


def test_dependency_by_hand():
    """Thirty visits, ten composed ones first and ten latent ones last: one of each third trades places."""
    kinds = ["composed"] * 10 + ["flat"] * 10 + ["latent"] * 10
    traits = [Traits(str(row), FIRST, "family", kind) for row, kind in enumerate(kinds)]
    moved = _traded([trait.familiarity for trait in traits], 0)
    early, middle, late = moved[:10], moved[10:20], moved[20:]
    assert (early >= 20).sum() == (late < 10).sum() == 1 and (middle == np.arange(10, 20)).all()
    assert (moved[moved] == np.arange(30)).all(), "two visits swap, nothing else moves"
    assert any((_traded(kinds, seed) != moved).any() for seed in range(1, 6))


@pytest.mark.parametrize(("first", "last"), [("latent", "composed"), ("composed", "composed"), ("flat", "latent")])
def test_dependency_moves_nothing_that_is_not_early_and_dependent_or_late_and_a_base(first, last):
    kinds = [first] * 40 + [last] * 20
    assert (_traded(kinds, 0) == np.arange(60)).all()


def test_dependency_trades_a_tenth_of_the_early_dependent_visits_for_late_bases():
    rows, traits = data(n_first=200, n_second=0, n_documents=20)
    how = {"budget": 30, "batch_size": 20}
    plain = np.concatenate(training_steps(rows, TrainSpec(**how), seed=1, traits=traits))
    moved = np.concatenate(training_steps(rows, TrainSpec(order="dependency", **how), seed=1, traits=traits))
    examples = [place for place, row in enumerate(plain) if traits[row].part != DOCUMENT]
    third = len(examples) // 3
    changed = [place for place, index in enumerate(examples) if plain[index] != moved[index]]
    composed = sum(traits[row].familiarity == "composed" for row in plain[examples[:third]])
    early = [place for place in changed if place < third]
    late = [place for place in changed if place >= len(examples) - third]
    assert len(early) == len(late) == len(changed) / 2 == round(0.1 * composed) > 0
    assert {traits[plain[examples[place]]].familiarity for place in early} == {"composed"}
    assert {traits[plain[examples[place]]].familiarity for place in late} <= {"latent", "weak"}
