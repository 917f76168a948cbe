"""Robustness along four axes: a constant predictor, a perfect model, planted differences, and what chance gives."""

import itertools

import numpy as np
import pandas as pd
import pytest

from itlib.claims import judge, load_claim
from itlib.claims.robustness import hidden_fragility
from itlib.lmentry import AXES, axis_items, scores
from itlib.microworld import world
from itlib.robustness import axis_robustness
from itlib.studies.robustness_axes import difference, traits

PAIRS, NOUNS = ("bigger", "longer"), ("colour", "plural")
N_ITEMS, N_INSTRUCTIONS = 20, 6


def items(right, arm="k=4", seeds=range(8)):
    """Rows of a balanced binary task: ten items whose answer stands first, ten second, half of each easy."""
    rows = []
    for seed, family, i, item in itertools.product(seeds, PAIRS + NOUNS, range(N_INSTRUCTIONS), range(N_ITEMS)):
        pair = family in PAIRS
        order, content = (("first", "second")[item % 2], ("easy", "hard")[item // 2 % 2]) if pair else ("", "")
        about = {"arm": arm, "seed": seed, "family": family, "instruction": f"i{i}", "item": f"item{item}"}
        about |= {"order": order, "content": content, "operand": f"{family} pair" if pair else "noun"}
        rows.append(about | {"set": "observed", "trained": True, "status": "done", "model": "micro-1m"})
        rows[-1]["value"] = float(right(rows[-1], item))
    return pd.DataFrame(rows)


def test_a_constant_predictor_has_no_robustness_to_the_order_of_arguments():
    """It names the first operand whatever is asked: 100 and 0, on balanced binary tasks."""
    found = scores(items(lambda row, _: row["order"] == "first"))
    assert (found["argument order"] == 0).all()
    assert (found["argument content"] == 100).all() and (found["template"] == 100).all()


def test_a_perfect_model_scores_100():
    found = scores(items(lambda *_: 1.0))
    assert (found[[*AXES, "accuracy", "robustness", "chance", "score"]] == 100).all().all()


def test_a_model_that_is_always_wrong_is_robust_and_scores_0():
    found = scores(items(lambda *_: 0.0))
    assert (found["robustness"] == 100).all() and (found["score"] == 0).all()


def test_planted_differences_are_the_robustness_of_their_axis():
    hard = scores(items(lambda row, _: row["content"] != "hard"))
    assert (hard["argument content"] == 0).all() and (hard["argument order"] == 100).all()
    template = scores(items(lambda row, item: row["instruction"] != "i0" or item < 5))
    assert template["template"].to_numpy() == pytest.approx(25.0)
    related = scores(items(lambda row, item: row["family"] != "plural" or item < 8))
    assert related["adjacent tasks"].to_numpy() == pytest.approx(40.0)
    assert related["robustness"].to_numpy() == pytest.approx((300 + 40) / 4)
    assert related["accuracy"].to_numpy() == pytest.approx(100 * (3 + 0.4) / 4)
    assert related["score"].to_numpy() == pytest.approx(85.0 * 85.0 / 100)


def coin(row, item, rate=0.8):
    key = abs(hash_of(row["seed"], row["family"], row["instruction"], item)) % 1000
    return key < 1000 * rate


def hash_of(*parts):
    import hashlib

    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def test_chance_makes_a_model_look_brittle_and_shuffling_says_so():
    """Right answers that depend on nothing: robustness far below 100, and just as far when members are shuffled."""
    found = scores(items(coin))
    assert found["robustness"].mean() < 92
    assert found["chance"].mean() == pytest.approx(found["robustness"].mean(), abs=2.0)


def test_axes_are_those_of_the_library_function():
    rows = items(coin, seeds=range(3))
    cells = axis_items(rows).groupby(["arm", "seed", "axis", "set", "member"])["value"].mean()
    wanted = axis_robustness(cells.rename("accuracy").reset_index())
    found = scores(rows).set_index("seed")
    for row in wanted.itertuples():
        assert found.loc[row.seed, row.axis] == pytest.approx(row.robustness)


def test_shuffles_depend_on_their_seed_alone():
    rows = items(coin, seeds=range(2))
    first = scores(rows, seed=3)
    np.random.seed(1)
    pd.testing.assert_frame_equal(scores(rows, seed=3), first)
    assert (scores(rows, seed=4)["chance"] != first["chance"]).any()


def test_shuffling_templates_keeps_what_every_item_scored():
    """An item is a block: an instruction-blind model has robust templates, shuffled or not."""
    rows = items(lambda row, item: item % 3 == 0)
    found = axis_items(rows)
    template = found[found["axis"] == "template"]
    assert (template.groupby(["seed", "set", "block"])["value"].nunique() == 1).all()
    assert (scores(rows)["template"] == 100).all()


def test_an_axis_without_a_set_of_two_gives_no_robustness():
    rows = items(coin, seeds=(0,))
    assert (
        scores(rows[rows["family"] != "plural"])[["adjacent tasks", "robustness", "chance", "score"]].isna().all().all()
    )
    one_sided = scores(rows[rows["order"] != "second"])
    assert one_sided["argument order"].isna().all() and one_sided["template"].notna().all()


def test_the_claim_holds_for_a_brittle_model_only():
    def verdict(right, **how):
        return judge(load_claim("R13"), items(right, **how))

    def fails_at(row, item):
        return row["instruction"] == "i0" or (row["order"], row["content"]) == ("second", "hard")

    def noise(row, item):
        return coin(row, item, rate=0.98 + 0.002 * row["seed"])

    brittle = verdict(lambda row, item: noise(row, item) and not fails_at(row, item))
    assert brittle.verdict == "reproduced", brittle
    assert verdict(noise).verdict == "contradicted"
    assert verdict(coin).verdict in ("contradicted", "inconclusive"), "chance is no brittleness"
    assert verdict(coin, seeds=range(3)).verdict == "not_run"


def test_frames_without_pairs_or_of_other_studies_are_not_run():
    rows = items(coin)
    assert "ask pairs in both orders" in judge(load_claim("R13"), rows[rows["order"] == ""]).reason
    with pytest.raises(LookupError, match="where right answers stand"):
        hidden_fragility(rows.drop(columns="order"))


@pytest.mark.parametrize("family", ["bigger", "alphabetical", "longer"])
def test_traits_are_those_of_the_items_and_both_kinds_occur(family):
    found = set()
    for example in world.crossed("test", 10, families=(family,), phrasing_sets=("observed",), n_phrasings=1, seed=0):
        first, second = example.entities
        kind, order, content = traits(family, example.id.split("/")[3])
        assert (example.response == first) == (order == "first") and kind == f"{family} pair"
        assert difference(family, first, second) == difference(family, second, first) > 0
        found |= {order, content}
    assert found == {"first", "second", "easy", "hard"}


def test_families_without_a_pair_have_a_kind_of_operand_only():
    assert traits("colour", "dog") == traits("plural", "apple") == ("noun", "", "")
    assert traits("swap", "dog_apple") == ("two nouns", "", "")
