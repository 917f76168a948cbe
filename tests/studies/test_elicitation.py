"""The arms differ in what they are about, and in nothing else."""

import pandas as pd
import pytest

from itlib.errors import InputError
from itlib.microworld import world
from itlib.spec import diff
from itlib.studies import elicitation


@pytest.fixture(scope="module")
def designs():
    return elicitation.arms(elicitation.ElicitationParams(seeds=(0, 1)))


def test_every_skill_has_every_arm_on_every_seed(designs):
    assert list(designs) == [(skill, arm) for skill in elicitation.SKILLS for arm in elicitation.ARMS]
    assert all([spec.seed for spec in specs] == [0, 1] for specs in designs.values())


def test_all_arms_are_asked_new_operands_of_the_skill_on_dev(designs):
    for (skill, _), specs in designs.items():
        for spec in specs:
            assert spec.evaluate.eval_families == (skill,) and spec.evaluate.split == "dev"
            assert spec.data.phrasing_set == spec.evaluate.eval_phrasing_set == "observed"


@pytest.mark.parametrize("skill", elicitation.SKILLS)
def test_neighbouring_arms_differ_in_their_axis_alone(designs, skill):
    few, alone, strangers, everyone = (designs[skill, arm][0] for arm in elicitation.ARMS)
    assert set(diff(few, alone)) == {"n_operands"}
    assert set(diff(alone, strangers)) == {"families", "n_train", "pool_size"}
    assert set(diff(strangers, everyone)) == {"families"}
    assert {world.category(name) for name in strangers.data.families if name != skill}.isdisjoint(
        {world.category(skill)}
    )
    assert skill in strangers.data.families and everyone.data.families == ()


def test_means_and_spread_by_hand():
    rows = [("copy", "alone", 10, value) for value in (0.2, 0.4)] + [("copy", "with all families", 5, 0.9)]
    scores = pd.DataFrame(rows, columns=["skill", "arm", "examples", "value"])
    table = elicitation.effects(scores).set_index("arm")
    assert table.loc["alone", "mean"] == pytest.approx(0.3) and table.loc["alone", "sd"] == pytest.approx(0.02**0.5)
    assert table["examples"].to_dict() == {"alone": 10, "with all families": 5}
    assert table["seeds"].to_dict() == {"alone": 2, "with all families": 1}


def test_repeated_seeds_are_refused():
    with pytest.raises(InputError, match="seeds: the list repeats"):
        elicitation.ElicitationParams(seeds=(1, 1))
