"""The claims about new singular directions on planted runs whose counts and losses are known by hand."""

import numpy as np
import planted_spectra
import pytest
from planted_spectra import each, frame, run

from itlib import claims
from itlib.claims import spectra_study

HOW = {"epsilon": 0.5, "k": 10}
WIGGLE = [0.03, -0.02, 0.01, -0.03, 0.02, -0.01, 0.025, -0.025]
RATES = (0.004, 0.008, 0.016)
ARMS = ("lora 1", "lora 4", "lora 16", "lora 64")


def judged(claim_id, data, **changes):
    return claims.judge(claims.load_claim(claim_id), data, **changes)


def effects(verdict):
    return {part.name: part.effect for part in verdict.parts}


def verdicts(verdict):
    return {part.name: part.verdict for part in verdict.parts}


# ---- L2 ---------------------------------------------------------------------------------------------------------


def ranks(low=1.0, low_noise=0.2, full=0.0, high=0.0):
    return frame(
        each("lora 1", count=lambda s: low + WIGGLE[s], noise=low_noise),
        each("full", count=lambda s: full),
        each("lora 64", count=lambda s: high),
    )


def test_new_directions_of_low_rank_alone():
    verdict = judged("L2", ranks())
    assert effects(verdict) == pytest.approx({"low_rank": 1.0, "beyond_noise": 0.8, "full": 0.0, "high_rank": 0.0})
    assert verdict.verdict == "reproduced"


@pytest.mark.parametrize(
    ("changes", "deciding"),
    [
        ({"low": 0.05, "low_noise": 0.0}, "low_rank"),
        ({"low_noise": 1.5}, "beyond_noise"),
        ({"full": 0.2}, "full"),
        ({"high": 0.2}, "high_rank"),
    ],
)
def test_each_part_of_l2_can_contradict(changes, deciding):
    verdict = judged("L2", ranks(**changes))
    assert verdicts(verdict)[deciding] == "contradicted"
    assert [name for name, found in verdicts(verdict).items() if found != "reproduced"] == [deciding]


# ---- L3 ---------------------------------------------------------------------------------------------------------


def sweep(forgets, scores=lambda count, size: 0.5, sizes=lambda i, j: 1.0 + i + 4 * j, seeds=range(8)):
    """Twelve runs a seed, four ranks by three rates. Counts rise with the rate and fall with the rank."""
    rows = []
    for seed in seeds:
        for i, arm in enumerate(ARMS):
            for j, rate in enumerate(RATES):
                count, size = (3 - i) * 1.0 + 4 * j + 0.01 * seed, sizes(i, j)
                how = {"kind": "sweep", "learning_rate": rate, "count": count, "change": size}
                rows += run(arm, seed, **how, forgetting=forgets(count, size), score=scores(count, size))
    return frame(rows)


def zigzag(count, size):
    """A score that goes neither up nor down with the count: its ranks have a correlation of 6/143 with those of it."""
    return 0.3 + 0.05 * ([6, 7, 5, 8, 4, 9, 3, 10, 2, 11, 1, 12].index(int(count) + 1))


def test_forgetting_that_follows_the_count_and_a_score_that_does_not():
    verdict = judged("L3", sweep(lambda count, size: 0.01 * count, zigzag))
    assert effects(verdict)["forgetting"] == pytest.approx(1.0)
    assert abs(effects(verdict)["accuracy"]) < 0.5 and effects(verdict)["given_size"] > 0.9
    assert verdict.verdict == "reproduced"


def test_forgetting_that_follows_the_size_alone_has_nothing_left_given_the_size():
    """Counts go with sizes over rates, so they go with forgetting as well; within a size they do not."""
    verdict = judged("L3", sweep(lambda count, size: 0.01 * size, zigzag))
    assert effects(verdict)["forgetting"] > 0.5
    part = {part.name: part for part in verdict.parts}["given_size"]
    assert part.verdict == "not_run"  # size says all there is to say, so nothing varies beside it


def test_a_score_that_falls_with_the_count_contradicts():
    verdict = judged("L3", sweep(lambda count, size: 0.01 * count, lambda count, size: 0.9 - 0.05 * count))
    assert effects(verdict)["accuracy"] == pytest.approx(-1.0)
    assert (verdict.verdict, verdict.deciding_part) == ("contradicted", "accuracy")


def test_less_forgetting_with_more_new_directions_contradicts():
    verdict = judged("L3", sweep(lambda count, size: -0.01 * count, zigzag))
    assert verdicts(verdict)["forgetting"] == "contradicted"


def test_a_seed_without_new_directions_or_without_a_run_has_no_answer():
    data = sweep(lambda count, size: 0.01 * count, zigzag, seeds=range(10))
    nothing = (data["seed"] == 3) & (data["metric"] == "intruders")
    data.loc[nothing, "value"] = 0.0
    gone = (data["seed"] == 5) & (data["arm"] == "lora 16") & (data["learning_rate"] == RATES[2])
    verdict = judged("L3", data[~gone])
    assert {part.n_seeds for part in verdict.parts} == {8}
    assert "8 of 10 seeds" in verdict.parts[0].reason


def test_partial_correlation_by_hand():
    x, y, z = np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4]), np.array([2.0, 1, 4, 3])
    assert spectra_study.partial_spearman(x, y) == pytest.approx(0.8)
    r_xz, r_yz = 0.6, 0.0
    wanted = (0.8 - r_xz * r_yz) / np.sqrt((1 - r_xz**2) * (1 - r_yz**2))
    assert spectra_study.partial_spearman(x, y, z) == pytest.approx(wanted)
    assert spectra_study.partial_spearman(x, y, np.exp(z)) == pytest.approx(wanted)  # ranks know no logarithm
    assert np.isnan(spectra_study.partial_spearman(x, np.ones(4)))
    assert np.isnan(spectra_study.partial_spearman(x, y, x))
    assert spectra_study.partial_spearman(x, y, np.ones(4)) == pytest.approx(0.8)


# ---- L4 ---------------------------------------------------------------------------------------------------------


def edits(count=1.0, gain=0.05, cost=0.002, neighbour=0.02):
    rows = []
    for seed in range(8):
        own = count(seed) if callable(count) else count
        rows += run("lora 1", seed, count=own)
        for name, loss in (("intruder", -gain), ("neighbour", neighbour), ("random_direction", 0.1)):
            for scale in (0.5, 1.0):
                shift, price = (loss + 0.1 * WIGGLE[seed], cost) if scale < 1 else (0.0, 0.0)
                how = {"kind": "edited", "edit": name, "edit_scale": scale}
                rows += run("lora 1", seed, **how, forgetting=0.2 + shift, score=0.5 - price)
    return frame(rows)


def test_shrinking_by_hand():
    verdict = judged("L4", edits())
    wanted = {"forgetting": -0.05, "accuracy": -0.002, "beyond_neighbour": 0.07}
    assert effects(verdict) == pytest.approx(wanted)
    assert verdict.verdict == "reproduced"


@pytest.mark.parametrize(
    ("changes", "deciding"),
    [
        ({"gain": -0.01, "neighbour": 0.2}, "forgetting"),
        ({"cost": 0.03}, "accuracy"),
        ({"neighbour": -0.2}, "beyond_neighbour"),
    ],
)
def test_each_part_of_l4_can_contradict(changes, deciding):
    verdict = judged("L4", edits(**changes))
    assert [name for name, found in verdicts(verdict).items() if found == "contradicted"] == [deciding]


def test_an_arm_without_new_directions_has_nothing_to_shrink():
    verdict = judged("L4", edits(count=0.0))
    assert verdict.verdict == "not_run" and "there is none to shrink" in verdict.reason


def test_a_seed_without_new_directions_does_not_count_as_no_effect():
    verdict = judged("L4", edits(count=lambda seed: float(seed != 3)))
    assert verdict.verdict == "not_run" and "7 of 8 seeds" in verdict.reason


# ---- L5 and L6 --------------------------------------------------------------------------------------------------


def test_fixed_alpha_by_hand():
    data = frame(
        each("lora 64 alpha=8", count=lambda s: 0.6 + WIGGLE[s], rank=lambda s: 10 + WIGGLE[s]),
        each("lora 64", count=0.1, rank=lambda s: 40 + WIGGLE[s]),
    )
    verdict = judged("L5", data)
    assert effects(verdict) == pytest.approx({"effective_rank": np.log(10 / 40), "intruders": 0.5}, abs=1e-3)
    assert verdict.verdict == "reproduced"
    swapped = data.assign(arm=data["arm"].map({"lora 64": "lora 64 alpha=8", "lora 64 alpha=8": "lora 64"}).fillna("u"))
    assert set(verdicts(judged("L5", swapped)).values()) == {"contradicted"}


def test_a_held_factor_by_hand():
    data = frame(
        each("lora 16 inner=orthonormal", count=lambda s: 0.2 + WIGGLE[s]),
        each("lora 16", count=lambda s: 0.5 - WIGGLE[s]),
    )
    verdict = judged("L6", data)
    assert effects(verdict) == pytest.approx({"intruders": -0.3}) and verdict.verdict == "reproduced"
    none = judged("L6", frame(each("lora 16 inner=orthonormal"), each("lora 16")))
    assert (none.verdict, none.effect) == ("inconclusive", 0.0)


# ---- the table that all of them read ---------------------------------------------------------------------------------


def test_a_run_becomes_one_row():
    data = frame(run("lora 1", 2, count=0.8, noise=0.4, turned=0.6, span=0.3, change=2.0, rank=3.0, forgetting=0.25))
    row = spectra_study.run_table(data, **HOW).iloc[0]
    wanted = {"score": 0.5, "reference_loss": 4.25, "forgetting": 0.25, "change": 2.0, "effective_rank": 3.0}
    wanted |= {"tuned": 0.8, "noise": 0.4, "turned": 0.6, "span": 0.3, "intruder_energy": 0.008}
    assert row[list(wanted)].to_dict() == pytest.approx(wanted)
    assert spectra_study.run_table(data, epsilon=0.25, k=10)["tuned"].iloc[0] == pytest.approx(0.1)


def test_forgetting_is_against_the_base_that_was_tuned():
    other = run("full", 3, kind="other", base=planted_spectra.OTHER_MICRO, forgetting=0.4)
    data = frame(run("full", 3, forgetting=0.1), other)
    table = spectra_study.run_table(data, **HOW).set_index("kind")
    assert table.loc["test", "forgetting"] == pytest.approx(0.1)
    assert table.loc["other", "forgetting"] == pytest.approx(0.4)


def test_a_run_that_lacks_a_family_has_no_score():
    data = frame(run("lora 1", 0), run("lora 1", 1))
    gone = (data["seed"] == 1) & (data["family"] == "past") & (data["arm"] == "lora 1")
    table = spectra_study.run_table(data[~gone], **HOW).set_index(["arm", "seed"])
    assert table.loc[("lora 1", 0), "score"] == pytest.approx(0.5) and np.isnan(table.loc[("lora 1", 1), "score"])


def test_a_diverged_run_leaves_its_seed_out():
    data = frame(
        each("lora 16 inner=orthonormal", seeds=range(9), count=lambda s: 0.1 + 0.01 * s),
        each("lora 16", seeds=range(8), count=0.5),
        run("lora 16", 8, status="diverged"),
    )
    verdict = judged("L6", data)
    assert verdict.n_seeds == 8 and "8 of 9 seeds" in verdict.reason


@pytest.mark.parametrize("claim_id", ["L2", "L3", "L4", "L5", "L6"])
def test_frames_that_cannot_answer_are_not_run(claim_id):
    scores_alone = frame(run("lora 1", 0, kind="edited"))
    verdict = judged(claim_id, scores_alone)
    assert verdict.verdict == "not_run" and verdict.reason.endswith(
        "the frame has no singular vectors of tuned matrices"
    )
    assert judged(claim_id, frame(each("lora 8", count=1.0))).verdict == "not_run"
    other_k = frame(each("lora 1", count=1.0)).assign(k=5)
    assert "the first 10 singular vectors" in judged(claim_id, other_k).reason
    whole = frame(each("lora 1", count=1.0))
    assert "no counts at the threshold 0.5" in judged(claim_id, whole[whole["epsilon"] != 0.5]).reason
    assert judged(claim_id, whole, blocked="budgets differ").reason.endswith("budgets differ")


def test_without_documents_forgetting_cannot_be_asked():
    data = sweep(lambda count, size: 0.01 * count, zigzag)
    verdict = judged("L3", data[data["metric"] != "reference_loss"])
    assert verdict.verdict == "not_run" and "has forgetting" in verdict.reason
