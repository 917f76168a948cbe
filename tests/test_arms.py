"""Tables of seeds by arms, and choices that do not look at the seeds they are measured on; numbers by hand."""

import numpy as np
import pandas as pd
import pytest

from itlib import arms
from itlib.errors import InputError


def frame(values, *, families=("f", "g"), **fields):
    """Rows of one arm: ``values[seed][family]``."""
    rows = [
        {"digest": f"{seed}{sorted(fields.items())}", "status": "done", "seed": seed, "family": family,
         "metric": "exact_match", "value": value, "order": "mixed", "families": "", **fields}
        for seed, row in enumerate(values)
        for family, value in zip(families, row, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


BOTH = pd.concat([frame([[0.2, 0.4], [0.6, 0.8]]), frame([[0.1, 0.1], [0.3, 0.5]], order="phased")])
ARMS = {"a": {"order": "mixed"}, "b": {"order": "phased"}}


def test_an_arm_is_the_mean_over_families_per_seed():
    table = arms.arm_table(BOTH, ARMS, metric="exact_match")
    assert list(table.columns) == ["a", "b"]
    np.testing.assert_allclose(table.to_numpy(), [[0.3, 0.1], [0.7, 0.4]])
    only = arms.arm_table(BOTH, ARMS, metric="exact_match", families=["g"])
    np.testing.assert_allclose(only.to_numpy(), [[0.4, 0.1], [0.8, 0.5]])


def test_one_run_can_take_part_in_two_arms_and_columns_keep_their_order():
    table = arms.arm_table(BOTH, {"z": {"order": "mixed"}, "a": {"order": "mixed"}}, metric="exact_match")
    assert list(table.columns) == ["z", "a"] and (table["z"] == table["a"]).all()


def test_a_missing_family_or_a_failed_run_is_a_gap():
    partial = BOTH[~((BOTH["seed"] == 1) & (BOTH["family"] == "g") & (BOTH["order"] == "phased"))]
    table = arms.arm_table(partial, ARMS, metric="exact_match")
    assert np.isnan(table.at[1, "b"]) and table.at[1, "a"] == pytest.approx(0.7)
    failed = BOTH.assign(status=np.where((BOTH["seed"] == 0) & (BOTH["order"] == "mixed"), "failed", "done"))
    assert np.isnan(arms.arm_table(failed, ARMS, metric="exact_match").at[0, "a"])


def test_an_absent_arm_field_family_or_metric_says_which():
    for fields, message in (
        ({"order": "reverse"}, "no run has order 'reverse'"),
        ({"order": "mixed", "colour": 3}, "does not say 'colour'"),
        ({"order": "mixed", "families": ("f", "g")}, "families 'f g' beside order 'mixed'"),
    ):
        with pytest.raises(LookupError, match=message):
            arms.arm_table(BOTH, {"x": fields}, metric="exact_match")
    with pytest.raises(LookupError, match="'h'"):
        arms.arm_table(BOTH, ARMS, metric="exact_match", families=["h"])
    with pytest.raises(LookupError, match="graded"):
        arms.arm_table(BOTH, ARMS, metric="graded")


def test_two_runs_in_one_cell_are_refused():
    twice = pd.concat([frame([[0.2, 0.4]], rate=1), frame([[0.3, 0.4]], rate=2)])
    with pytest.raises(InputError, match="they differ in rate"):
        arms.arm_table(twice, {"a": {"order": "mixed"}}, metric="exact_match")


def test_slope_per_fourfold_by_hand():
    """25, 100, 400 are 0, 1, 2 steps of a fourfold: rows rise by .1, fall by .05, and have a gap."""
    table = pd.DataFrame([[0.1, 0.2, 0.3], [0.3, 0.25, 0.2], [0.1, np.nan, 0.3]], columns=[25.0, 100.0, 400.0])
    np.testing.assert_allclose(arms.slope_per_fourfold(table), [0.1, -0.05, np.nan], atol=1e-12)


def test_the_choice_does_not_see_the_seeds_it_is_measured_on():
    """Seeds 0 and 2 favour x, seeds 1 and 3 favour y: each half gets what the other half likes."""
    table = pd.DataFrame({"x": [1.0, 0.0, 1.0, 0.0], "y": [0.0, 1.0, 0.0, 1.0]})
    assert list(arms.chosen_on_other_half(table)) == ["y", "x", "y", "x"]


def test_incomplete_seeds_choose_nothing():
    table = pd.DataFrame({"x": [1.0, np.nan, 0.9, 0.8], "y": [0.0, 1.0, 0.0, 0.1]})
    assert list(arms.chosen_on_other_half(table)) == ["x", None, "x", "x"]
    assert list(arms.chosen_on_other_half(table.iloc[:2])) == [None, None]


def test_a_best_arm_of_pure_noise_gains_nothing_on_the_other_half():
    generator = np.random.default_rng(0)
    gains = []
    for _ in range(400):
        table = pd.DataFrame(generator.normal(size=(8, 4)))
        chosen = arms.chosen_on_other_half(table)
        gains.append(np.mean([table.at[seed, name] for seed, name in chosen.items()]))
    assert abs(np.mean(gains)) < 0.06 < np.mean([generator.normal(size=(8, 4)).mean(axis=0).max() for _ in range(400)])


def test_variance_shares_by_hand():
    """Two seeds, two arms, [[0, 1], [2, 5]]: mean squares 4, 9 and 1, variances 1.5, 4 and 1."""
    shares = arms.variance_shares(pd.DataFrame([[0.0, 1.0], [2.0, 5.0]])).set_index("source")
    assert shares["mean_square"].to_dict() == {"arm": 4.0, "seed": 9.0, "rest": 1.0}
    assert shares["variance"].to_dict() == {"arm": 1.5, "seed": 4.0, "rest": 1.0}
    assert shares["share"].sum() == pytest.approx(1.0) and shares.at["seed", "share"] == pytest.approx(4 / 6.5)


def test_variance_shares_agree_with_statsmodels():
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    table = pd.DataFrame(np.random.default_rng(1).normal(size=(6, 4)), columns=list("abcd"))
    long = table.rename_axis("seed").reset_index().melt(id_vars="seed", var_name="arm")
    peer = anova_lm(ols("value ~ C(arm) + C(seed)", long).fit())
    ours = arms.variance_shares(table).set_index("source")
    np.testing.assert_allclose(ours["mean_square"], peer["mean_sq"].to_numpy())
    np.testing.assert_allclose(ours["degrees_of_freedom"], peer["df"].to_numpy())


def test_variance_shares_of_one_seed_are_unknown():
    assert arms.variance_shares(pd.DataFrame([[0.0, 1.0]]))["share"].isna().all()
