"""The claims about noise on planted curves whose steps and savings are known by hand."""

import numpy as np
import pandas as pd
import pytest

from itlib import claims
from itlib.claims import noise

SEEDS = range(8)
S = 48  # steps of a phase
NOISY, CONTROL = "clean,noisy,clean,noisy", "clean,clean,clean,noisy"


def judged(claim_id, frame):
    return claims.judge(claims.load_claim(claim_id), frame)


def ramp(steps, top=0.9):
    """Accuracy by step of a phase that reaches ``top`` at ``steps`` and is 0 before; None never gets there."""
    return [top if steps is not None and step >= steps else 0.0 for step in range(3, S + 1, 3)]


def run(arm, seed, learn, unlearn, relearn, *, phases=NOISY, top=0.9, restored=None, left=0.0, status="done"):
    """A run whose clean accuracy is ``top`` after phase 1; ``learn`` and so on are steps to the form of a phase."""
    restored = top if restored is None else restored
    steps = range(0, 4 * S + 1, 3)
    if phases == CONTROL:
        clean, noisy = [0.0, *ramp(3, top) * 3, *[0.0] * 16], [0.0] * 49 + ramp(relearn, top)
    else:
        clean = [0.0, *ramp(3, top), *[0.0] * 16, *ramp(unlearn, restored), *[0.0] * 16]
        noisy = [*[0.0] * 17, *ramp(learn, top), *[0.0] * 15, left, *ramp(relearn, top)]
    about = {"arm": arm, "seed": seed, "digest": f"{arm} {seed}", "phases": phases, "phase_steps": S}
    about |= {"transform": arm.removeprefix("control ")}
    rows = [
        about | {"kind": "test", "status": status, "family": "f", "metric": "exact_match", "value": 0.0, "step": -1}
    ]
    both = {"clean_form": clean, "noise_form": noisy}
    both |= {f"trained_{form}": values for form, values in both.items()}
    for metric, values in both.items():
        for step, value in zip(steps, values, strict=True):
            rows.append(about | {"kind": "probe", "status": "done", "family": "probes", "metric": metric}
                        | {"step": step, "value": value})  # fmt: skip
    return rows


def frame(arms, seeds=SEEDS):
    return pd.DataFrame([row for arm in arms for seed in seeds for row in arm(seed)])


def word(seed, learn=12, unlearn=6, relearn=6, **changes):
    return run("word_reversal", seed, learn, unlearn, relearn, **changes)


def letters(seed, learn=None):
    return run("letter_reversal", seed, learn, 6, learn)


def control(seed, steps=9):
    return run("control word_reversal", seed, None, None, steps, phases=CONTROL)


def test_planted_steps_come_back():
    table = noise.milestones(frame([word, control], [0]), share=0.9)
    found = {(row.arm, row.what): (row.steps, row.reached) for row in table.itertuples()}
    assert found == {
        ("word_reversal", "learning"): (12.0, True),
        ("word_reversal", "unlearning"): (6.0, True),
        ("word_reversal", "relearning"): (6.0, True),
        ("control word_reversal", "learning, last phase"): (9.0, True),
    }
    assert set(table["level"]) == {0.9} and set(table["questions"]) == {"new", "trained"}


def test_the_target_is_a_share_of_what_the_run_could_before():
    """Nine tenths of .5 are reached by .46, not by .44."""
    for top, reached in ((0.46, True), (0.44, False)):
        rows = run("word_reversal", 0, 12, 6, 6, top=0.5)
        for row in rows:
            if row["metric"] == "noise_form" and row["value"]:
                row["value"] = top
        table = noise.milestones(pd.DataFrame(rows), share=0.9).query("questions == 'new'")
        assert table.loc[table["what"] == "learning", "reached"].item() == reached


def test_letters_that_are_never_learned_count_with_the_phase():
    verdict = judged("R11", frame([word, letters]))
    assert verdict.effect == pytest.approx(S - 12) and verdict.verdict == "reproduced"


def test_letters_as_fast_or_faster():
    assert judged("R11", frame([word, lambda seed: letters(seed, 12)])).verdict == "inconclusive"
    assert judged("R11", frame([word, lambda seed: letters(seed, 6)])).verdict == "contradicted"


def test_removal_and_savings_by_hand():
    verdict = judged("R12", frame([word, control]))
    effects = {part.name: part.effect for part in verdict.parts}
    assert effects == {"clean_restored": 0.0, "noise_left": 0.0, "relearning_minus_control": -3.0}
    assert verdict.verdict == "reproduced"


@pytest.mark.parametrize(
    ("changes", "deciding"),
    [
        ({"restored": 0.8}, "clean_restored"),
        ({"left": 0.1}, "noise_left"),
        ({"relearn": 12}, "relearning_minus_control"),
    ],
)
def test_each_part_can_contradict(changes, deciding):
    verdict = judged("R12", frame([lambda seed: word(seed, **changes), control]))
    assert (verdict.verdict, verdict.deciding_part) == ("contradicted", deciding)


def test_a_run_that_is_never_right_has_no_steps():
    table = noise.milestones(frame([lambda seed: word(seed, top=0.0)], [0]), share=0.9)
    assert table["steps"].isna().all() and not table["reached"].any()


def test_what_cannot_be_measured_has_no_row():
    rows = frame([word], [0])
    table = noise.milestones(rows[rows["metric"] != "noise_form"], share=0.9)
    assert table.loc[table["questions"] == "new", "what"].tolist() == ["unlearning"]
    assert table.loc[table["questions"] == "trained", "what"].tolist() == ["learning", "unlearning", "relearning"]


def test_steps_of_savings_are_on_trained_questions_and_the_rest_on_new_ones():
    rows = frame([word, control])
    late = rows["metric"].eq("trained_noise_form") & rows["arm"].eq("word_reversal") & rows["step"].between(145, 155)
    rows.loc[late, "value"] = 0.0  # relearned at step 12 of the phase, not at 6
    effects = {part.name: part.effect for part in judged("R12", rows).parts}
    assert effects == {"clean_restored": 0.0, "noise_left": 0.0, "relearning_minus_control": 3.0}


def test_three_phases_as_in_the_source_have_no_relearning():
    rows = frame([word], [0]).assign(phases="clean,noisy,clean")
    assert noise.milestones(rows, share=0.9)["what"].tolist() == ["learning", "unlearning"] * 2


@pytest.mark.parametrize("claim_id", ["R11", "R12"])
def test_frames_that_cannot_answer_are_not_run(claim_id):
    whole = frame([word, letters, control])
    assert judged(claim_id, whole[whole["kind"] == "test"]).reason.endswith("the frame has no probes of phases")
    assert judged(claim_id, whole[whole["arm"] == "letter_reversal"]).verdict == "not_run"
    few = judged(claim_id, whole[whole["seed"] < 5])
    assert few.verdict == "not_run" and "at least 8" in few.reason


def test_a_diverged_run_leaves_its_seed_out():
    rows = [
        *[r for s in range(9) for r in control(s)],
        *[r for s in range(8) for r in word(s)],
        *word(8, status="diverged"),
    ]
    verdict = judged("R12", pd.DataFrame(rows))
    assert verdict.n_seeds == 8 and "8 of 9 seeds" in verdict.parts[0].reason
    assert np.isfinite(verdict.effect)
