"""Claims about tasks in sequence on planted frames whose transfers are known by hand."""

import io

import pandas as pd
import planted_rounds as planted
import pytest

from itlib.claims import claim_ids, judge, load_claim
from itlib.claims.continual_study import knowledge, sequence
from itlib.params import from_yaml
from itlib.registry import claims as registry
from itlib.studies.continual_study import CLAIMS
from itlib.workspace import project_root


def verdict(name, frame, **how):
    return judge(load_claim(name), frame, **how)


def effects(name, frame):
    return {part.name: part.effect for part in verdict(name, frame).parts}


def arms(**changed):
    """The planted arms with what a round takes away changed for some, named by words joined with underscores."""
    steps = {name.replace("_", " ").replace("level ", "level="): step for name, step in changed.items()}
    assert set(steps) <= set(planted.ARMS)
    return {name: (top, steps.get(name, step), *rest) for name, (top, step, *rest) in planted.ARMS.items()}


def test_every_claim_is_declared_and_its_arms_are_in_the_cpu_file():
    cpu = from_yaml(project_root() / "params" / "cpu" / "04d_continual.yaml").params
    for name in CLAIMS:
        assert name in claim_ids() and name in registry.names()
        settings = load_claim(name).settings
        named = settings["levels"] if "levels" in settings else settings.values()
        assert set(named) <= set(cpu.arms)


def test_transfer_and_recall_by_hand():
    table = sequence(planted.frame(seeds=[0, 3]), "full")
    assert table.index.tolist() == [0, 3]
    assert table["backward_transfer"].tolist() == pytest.approx([planted.back("full")] * 2)
    assert table["overall"].tolist() == pytest.approx([planted.overall("full") + 0.002 * seed for seed in (0, 3)])
    assert planted.back("full") == pytest.approx(-0.3) and planted.overall("full") == pytest.approx(0.65)
    assert knowledge(planted.frame(seeds=[0]), "full").tolist() == pytest.approx([0.5])


def test_guesses_about_people_that_no_document_tells_of_do_not_count():
    frame = planted.frame(seeds=[0])
    frame.loc[(frame["kind"] == "recall") & (frame["frequency"] == 0), "value"] = 1.0
    assert knowledge(frame, "full").tolist() == pytest.approx([0.5])


def test_frequencies_count_equally():
    frame = planted.frame(seeds=[0])
    frame.loc[(frame["kind"] == "recall") & (frame["frequency"] == 1), "value"] = 1.0
    assert knowledge(frame, "full").tolist() == pytest.approx([(4 * 0.5 + 1.0) / 5])


def test_planted_claims_are_reproduced_with_effects_by_hand():
    frame = planted.frame()
    assert effects("L7", frame) == pytest.approx({"low_rank_minus_full": -0.12, "lower_minus_low_rank": -0.09})
    assert effects("L12", frame) == pytest.approx({"overall": 0.125, "backward_transfer": 0.15, "knowledge": 0.1})
    assert effects("L12-levels", frame) == pytest.approx({"category_minus_layer": 0.05, "layer_minus_model": 0.025})
    for name in CLAIMS:
        found = verdict(name, frame)
        assert (found.verdict, found.n_seeds) == ("reproduced", 8)


@pytest.mark.parametrize(
    ("claim", "changed", "deciding"),
    [
        ("L7", {"lora_16_merged": 0.05, "lora_2_merged": 0.06}, "low_rank_minus_full"),
        ("L7", {"lora_2_merged": 0.11}, "lower_minus_low_rank"),
        ("L12", {"half_level_category_redrawn": 0.13}, None),
        ("L12-levels", {"half_level_category_redrawn": 0.075}, "category_minus_layer"),
        ("L12-levels", {"half_level_model_redrawn": 0.055}, "layer_minus_model"),
    ],
)
def test_each_part_can_contradict(claim, changed, deciding):
    found = verdict(claim, planted.frame(arms(**changed)))
    assert found.verdict == "contradicted"
    assert deciding is None or found.deciding_part == deciding


def test_a_half_that_forgets_facts_contradicts():
    half = "half level=category redrawn"
    forgetful = {**planted.ARMS, half: (*planted.ARMS[half][:3], 0.4)}
    found = verdict("L12", planted.frame(forgetful))
    assert (found.verdict, found.deciding_part) == ("contradicted", "knowledge")


def test_learning_less_and_losing_less_is_told_apart():
    """Half as much learned and half as much lost: backward transfer improves, overall performance does not."""
    half = "half level=category redrawn"
    modest = {**planted.ARMS, half: (0.45, 0.05, 0.15, 0.6)}
    found = {part.name: part.verdict for part in verdict("L12", planted.frame(modest)).parts}
    assert found == {"overall": "contradicted", "backward_transfer": "reproduced", "knowledge": "reproduced"}


def test_arms_that_lose_alike_are_inconclusive():
    alike = planted.frame(arms(lora_16_merged=0.1, lora_2_merged=0.1), noise=0.02)
    assert verdict("L7", alike).verdict == "inconclusive"


def test_frames_that_cannot_answer_are_not_run():
    frame = planted.frame()
    without = verdict("L7", frame[frame["arm"] != "lora 2 merged"])
    assert without.verdict == "not_run" and "no score after a round of arm 'lora 2 merged'" in without.reason
    unasked = verdict("L12", frame[frame["kind"] != "recall"])
    assert unasked.verdict == "not_run" and "no recall of arm" in unasked.reason
    few = verdict("L7", planted.frame(seeds=range(5)))
    assert few.verdict == "not_run" and "at least 8" in few.reason
    assert verdict("L7", frame.drop(columns="kind")).verdict == "not_run"
    assert verdict("L7", frame, blocked="budgets differ").reason.endswith("budgets differ")


def test_a_run_that_stopped_leaves_its_seed_out():
    found = verdict("L7", planted.frame(seeds=range(9), stopped={("lora 2 merged", 4)}))
    parts = {part.name: part.n_seeds for part in found.parts}
    assert parts == {"low_rank_minus_full": 9, "lower_minus_low_rank": 8} and found.verdict == "reproduced"


@pytest.mark.parametrize("name", CLAIMS)
def test_the_stored_frame_gives_the_same_verdict(name):
    frame = planted.frame(seeds=range(9), stopped={("full", 1)}, noise=0.02)
    stored = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert verdict(name, stored).to_json() == verdict(name, frame).to_json()
