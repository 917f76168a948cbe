"""Claims about variety of tasks: each verdict on frames whose truth we planted."""

import numpy as np
import pytest
from planted_roles import fail, frame, in_context, line, noise, rows

from itlib.claims import judge, load_claim, variety
from itlib.roles import ALWAYS, HELD_OUT
from itlib.studies.variety import CLAIMS

LEVELS = (2, 4, 8, 12)
HELD = ("words/x", "people/y")
FAMILIES = tuple(f"words/f{index:02d}" for index in range(12))


def verdict(claim_id, cells):
    return judge(load_claim(claim_id), frame(cells))


def families_arms(held_slope, seen_slope, start=0.1):
    return [
        *line("families", HELD_OUT, LEVELS, lambda s, k: start + held_slope * np.log2(k) + noise(s, k), HELD),
        *line("families", ALWAYS, LEVELS, lambda s, k: 0.7 + seen_slope * np.log2(k) + noise(s, k), ("lists/z",)),
    ]


@pytest.mark.parametrize(
    ("held", "seen", "expected", "deciding"),
    [
        (0.05, 0.0, "reproduced", None),
        (0.05, 0.02, "reproduced", None),
        (-0.02, 0.0, "contradicted", "held_out_slope"),
        (0.05, -0.08, "contradicted", "seen_slope"),
        (0.0, 0.0, "inconclusive", "held_out_slope"),
    ],
)
def test_sc10_wants_both_parts(held, seen, expected, deciding):
    found = verdict("SC10", families_arms(held, seen))
    assert found.verdict == expected
    assert deciding is None or found.deciding_part == deciding
    effects = {part.name: part.effect for part in found.parts}
    assert effects["held_out_slope"] == pytest.approx(held, abs=0.002)
    assert effects["seen_slope"] == pytest.approx(seen, abs=0.002)


@pytest.mark.parametrize(
    ("claim_id", "axis", "levels"), [("SC13", "categories", (1, 2, 4, 5)), ("S119", "tasks", (2, 3, 5))]
)
@pytest.mark.parametrize(("slope", "expected"), [(0.03, "reproduced"), (-0.03, "contradicted"), (0.0, "inconclusive")])
def test_slopes_of_held_out_accuracy(claim_id, axis, levels, slope, expected):
    cells = line(axis, HELD_OUT, levels, lambda s, c: 0.2 + slope * np.log2(c) + 0.02 * (-1) ** s * (c > 2), HELD)
    found = verdict(claim_id, cells)
    assert found.verdict == expected and found.n_seeds == 8
    assert found.effect == pytest.approx(slope, abs=1e-9)  # the scatter cancels over eight seeds


def test_sc13_gives_categories_equal_weight():
    """Three flat families of one category and a rising one of another: a slope of half the rise, not a quarter."""
    cells = []
    for seed in range(8):
        for level in (1, 2, 4):
            flat = dict.fromkeys(("letters/a", "letters/b", "letters/c"), 0.0)
            cells += rows("categories", HELD_OUT, level, seed, flat | {"words/x": 0.1 * np.log2(level)})
    assert variety.category_slope(frame(cells))["held_out_slope"] == pytest.approx([0.05] * 8)


@pytest.mark.parametrize(("known", "expected"), [(0.9, "reproduced"), (0.1, "contradicted")])
def test_sc14_compares_the_widest_arm_with_the_same_families_in_context(known, expected):
    cells = families_arms(0.05, 0.0) + in_context(dict.fromkeys(HELD, known) | {"words/other": 0.0})
    found = verdict("SC14", cells)
    assert found.verdict == expected
    assert found.effect == pytest.approx(0.1 + 0.05 * np.log2(12) - known, abs=0.002)


def test_sc14_without_a_base_in_context_or_without_one_family_is_not_run():
    assert "in context" in verdict("SC14", families_arms(0.05, 0.0)).reason
    partly = verdict("SC14", families_arms(0.05, 0.0) + in_context({HELD[0]: 0.9}))
    assert (partly.verdict, partly.n_seeds) == ("not_run", 0)


def templates(natural, name, none):
    cells = []
    for which, value in (("observed", natural), ("name", name), ("none", none)):
        cells += line(
            "phrasings", HELD_OUT, (12,), lambda s, k, v=value, w=which: v + noise(s, w), HELD, phrasing_set=which
        )
    return cells


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.4, 0.1, 0.05), "reproduced"),
        ((0.4, 0.1, 0.11), "reproduced"),  # a point below nothing is inside the margin
        ((0.1, 0.4, 0.0), "contradicted"),
        ((0.4, 0.1, 0.2), "contradicted"),
    ],
)
def test_sc15_orders_the_kinds_of_instruction(scores, expected):
    found = verdict("SC15", templates(*scores))
    assert found.verdict == expected
    effects = {part.name: part.effect for part in found.parts}
    assert effects["natural_minus_name"] == pytest.approx(scores[0] - scores[1], abs=0.01)
    assert effects["name_minus_none"] == pytest.approx(scores[1] - scores[2], abs=0.01)


def test_sc15_without_one_kind_is_not_run():
    cells = [cell for cell in templates(0.4, 0.1, 0.0) if cell["phrasing_set"] != "none"]
    assert "'none'" in verdict("SC15", cells).reason


def ranks(after, before):
    cells = in_context(dict(zip(FAMILIES, before, strict=True)))
    for seed in range(8):
        cells += rows("all families", ALWAYS, 1600, seed, dict(zip(FAMILIES, after, strict=True)))
    return cells


def test_sc29_rank_correlation_by_hand():
    """One swap of neighbours among 12: 1 - 6 * 2 / (12 * 143)."""
    before = np.arange(12) / 12
    swapped = before[[1, 0, *range(2, 12)]]
    found = variety.rank_correlation(frame(ranks(swapped, before)), minimum_families=10)
    assert found["rank_correlation"] == pytest.approx([1 - 12 / (12 * 143)] * 8)
    assert verdict("SC29", ranks(swapped, before)).verdict == "reproduced"
    assert verdict("SC29", ranks(before[::-1], before)).verdict == "contradicted"


def test_sc29_has_no_answer_without_ranks():
    constant = verdict("SC29", ranks(np.arange(12) / 12, np.ones(12)))
    assert (constant.verdict, constant.n_seeds) == ("not_run", 0)
    few = [cell for cell in ranks(np.arange(12), np.arange(12)) if cell["family"] in FAMILIES[:5]]
    assert "5 families" in verdict("SC29", few).reason


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_other_frames_and_few_seeds_are_not_run(claim_id):
    import planted

    assert "no column 'axis'" in judge(load_claim(claim_id), planted.frame()).reason
    cells = families_arms(0.05, 0.0) + templates(0.4, 0.1, 0.0) + ranks(np.arange(12) / 12, np.arange(12) / 12)
    cells += in_context(dict.fromkeys(HELD, 0.9))
    cells += line("tasks", HELD_OUT, (2, 3), lambda s, c: 0.1 * c, HELD)
    cells += line("categories", HELD_OUT, (1, 2), lambda s, c: 0.1 * c, HELD)
    few = judge(load_claim(claim_id), frame(cells).query("seed < 5"))
    assert few.verdict == "not_run" and "5 seeds, at least 8" in few.reason


def test_a_failed_run_takes_its_seed_out():
    data = fail(frame(families_arms(0.05, 0.0)), "families", 8, 2)
    effects = variety.family_slopes(data)
    assert [np.isnan(values).tolist().index(True) for values in effects.values()] == [2, 2]
    found = judge(load_claim("SC10"), data)
    assert found.verdict == "not_run" and "7 of 8 seeds" in found.reason


def test_only_complete_seeds_count_also_where_one_arm_would_do():
    cells = families_arms(0.05, 0.0) + in_context(dict.fromkeys(HELD, 0.9))
    effects = variety.tuned_minus_in_context(fail(frame(cells), "families", 2, 5))["tuned_minus_in_context"]
    assert np.isnan(effects).tolist() == [False] * 5 + [True] + [False] * 2
