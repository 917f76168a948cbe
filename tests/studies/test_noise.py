"""The design of the noise study, and its tables and figures on planted curves."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from itlib.claims.noise import milestones
from itlib.errors import InputError
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.studies import noise, noise_figures, noise_tables
from itlib.studies.noise import NoiseParams
from itlib.workspace import project_root

sys.path.insert(0, str(Path(__file__).parents[1] / "claims"))
from test_noise import control, frame, letters, word  # noqa: E402  planted curves

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}


def params(**changes):
    return dataclasses.replace(NoiseParams(), **changes)


def cpu():
    return from_yaml(project_root() / "params" / "cpu" / "03d_noise.yaml").params


def result(spec, status="done"):
    items = (("f-0", "f", "words", "latent", "", 0.5, 0.5, None, 1.0, 2, 4, ""),)
    spec = resolve(spec)
    n_steps = 4 * int(dict(o.split("=") for o in spec.data.augmentation_options)["phase_examples"]) // 16
    probes = tuple({"step": step, "clean_form": 0.5, "noise_form": 0.25} for step in range(0, n_steps + 1, 2))
    totals = {"n_without_noisy_form": 3}
    return RunResult(spec, status, items if status == "done" else (), totals=totals, probes=probes)


def test_arms_differ_in_their_responses_alone():
    arms = noise.designs(params(), SETTING)
    first = arms["word_reversal"][0]
    for arm in arms.values():
        assert set(diff(first, arm[0])) <= {"augmentation_options"}
        assert [spec.seed for spec in arm] == [0, 1]
    assert set(arms) == {"word_reversal", "letter_reversal", "irrelevant", "control word_reversal"}


def test_phases_are_whole_steps_and_probes_meet_their_borders():
    for p in (params(), cpu()):
        spec = noise.designs(p, SETTING)["word_reversal"][0]
        options = dict(text.split("=") for text in spec.data.augmentation_options)
        n_steps = 4 * int(options["phase_examples"]) / spec.train.batch_size
        assert n_steps == 4 * p.phase_steps and n_steps / spec.evaluate.n_probes == p.probe_every
        assert (spec.train.schedule, spec.train.warmup_fraction) == ("constant", 0.0)


def test_the_cpu_profile_costs_what_its_file_says():
    arms = noise.designs(cpu(), SETTING)
    assert len({digest(resolve(spec)) for arm in arms.values() for spec in arm}) == 56
    text = (project_root() / "params" / "cpu" / "03d_noise.yaml").read_text()
    assert "16 dev runs" in text and "56 test runs of 192 steps" in text and len(noise.candidates(cpu())) == 16


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(list(specs))
        return [result(spec) if spec.evaluate.split == "test" else dev(spec) for spec in specs]

    def dev(spec):
        items = (("f-0", "f", "words", "latent", "", 1.0, 1.0, None, 1.0, 2, 4, ""),)
        return RunResult(resolve(spec), "done", items)

    assert len(noise.collect(params(), run)) == 8
    assert [len(batch) for batch in asked] == [2, 8]
    assert noise.pending(params(), []) == "8 test runs follow once dev has chosen a setting"


def test_evidence_knows_phases_of_every_row():
    arms = noise.designs(params(), SETTING)
    results = {name: [result(s, "failed" if s.seed else "done") for s in arm] for name, arm in arms.items()}
    rows = noise.evidence(results)
    assert set(rows["phase_steps"]) == {6} and set(rows["kind"]) == {"test", "probe"}
    assert rows.groupby("arm")["phases"].unique().map(list).to_dict() == {
        name: ["clean,clean,clean,noisy" if name.startswith("control") else "clean,noisy,clean,noisy"] for name in arms
    }
    assert set(milestones(rows, share=0.9)["seed"]) == {0}
    counts = noise_tables.questions(noise.distinct(results))
    assert counts.to_dict("records") == [{"seed": 0, "kept": 21, "left_out": 3}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 0]}, "seeds: the list repeats"),
        ({"transforms": []}, "transforms: the list is empty"),
        ({"transforms": ["word_reversel"]}, "word_reversal"),
        ({"controls": ["irrelevant", "irrelevant"]}, "controls: the list repeats"),
        ({"question_families": ["copy", "copy"]}, "question_families: the list repeats"),
        ({"probe_every": 5}, "probe_every: 5 does not divide a phase of 6 steps"),
        ({"phase_steps": 0}, "phase_steps"),
        ({"data": "rows.jsonl"}, "this study needs microworld"),
        ({"question": 8}, "did you mean 'questions'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(NoiseParams, changes, where="test")
    assert "\n" not in str(caught.value)


def test_an_unknown_family_is_refused_before_any_run():
    with pytest.raises(InputError, match="copi"):
        noise.candidates(params(question_families=("copi",)))


# ---- tables and figures ---------------------------------------------------------------------------------------


def planted():
    return frame([word, letters, control])


def test_savings_by_hand():
    table = noise_tables.savings(milestones(planted(), share=0.9))
    words = table[table["transform"] == "word_reversal"].groupby("against")["ratio"].mean()
    assert words.to_dict() == {"first time": 6 / 12, "control": 6 / 9}
    assert table.loc[table["transform"] == "letter_reversal", "ratio"].isna().all()  # never learned: nothing is known
    assert "word_reversal takes 0.50 of its first learning (8 runs)" in noise_tables.sentence(table)


def test_a_ratio_with_one_end_cut_off_is_a_bound():
    late = noise_tables.savings(milestones(frame([lambda s: word(s, learn=None)], [0]), share=0.9)).iloc[0]
    assert (late["ratio"], late["bound"]) == (6 / 48, "at most")
    never = noise_tables.savings(milestones(frame([lambda s: word(s, relearn=None)], [0]), share=0.9)).iloc[0]
    assert (never["ratio"], never["bound"]) == (48 / 12, "at least")


def test_speed_compares_with_reversed_words_in_the_same_phase():
    table = noise_tables.speed(milestones(planted(), share=0.9)).query("questions == 'new'").set_index(["arm", "what"])
    assert table.loc[("letter_reversal", "learning"), ["steps", "reached", "runs"]].tolist() == [48, 0, 8]
    assert table.loc[("letter_reversal", "learning"), "log_rank"] < 0.001
    assert np.isnan(table.loc[("letter_reversal", "unlearning"), "log_rank"])  # all at one step
    assert np.isnan(table.loc[("word_reversal", "learning"), "log_rank"])


def test_ends_are_those_of_the_phases():
    table = noise_tables.ends(planted()).set_index(["arm", "phase"])
    assert table.loc["word_reversal", "clean_form"].tolist() == [0.9, 0.0, 0.9, 0.0]
    assert table.loc["word_reversal", "noise_form"].tolist() == pytest.approx([0.0, 0.9, 0.0, 0.9])
    assert table["trained_clean_form"].equals(table["clean_form"]) and set(table["seeds"]) == {8}


def test_figures_draw_every_arm_and_survive_gaps():
    rows = planted()
    probes = rows[rows["kind"] == "probe"]
    arms = ["word_reversal", "letter_reversal", "control word_reversal"]
    axes = noise_figures.phases(probes, arms)
    assert [ax.get_title(loc="left") for ax in axes] == ["word reversal", "letter reversal", "control word reversal"]
    steps = milestones(rows, share=0.9)
    panels = noise_figures.survival(steps, ["learning", "relearning"])
    ends = {line.get_label(): line.get_ydata()[-1] for line in panels[0].lines}
    assert ends == {"word reversal": 0.0, "letter reversal": 1.0}
    saved = noise_tables.savings(steps)
    drawn = [x for line in noise_figures.savings(saved).lines[:-1] for x in line.get_xdata()]
    assert len(drawn) == 16 and set(drawn) == {6 / 12, 6 / 9}
    assert len(noise_figures.savings(saved.iloc[:0]).lines) == 1
    empty = pd.DataFrame(columns=probes.columns)
    assert len(noise_figures.phases(empty, arms)) == 3


def test_the_choice_is_that_of_plain_tuning_on_all_families():
    assert {spec.data.families for spec in noise.candidates(cpu())} == {()}


def test_edits_by_hand():
    """Two questions share their answer: rules make the same of both, and answers of other questions differ.

    "ab is it" keeps the word in the middle and, by characters, " is "; "ti si ba" keeps two spaces. Right answers have
    1.5 bits, pairs of them with irrelevant ones 2: both "ab" get another one, and one of the two.
    """
    from itlib.example import Example, Turn

    def asked(number, said):
        return Example(f"q-{number}", (Turn("user", "what ?"), Turn("assistant", said)), family="f", gold=said)

    questions = {0: [asked(0, "it is ab"), asked(1, "it is ab"), asked(2, "it is cd"), asked(3, "it is ef")]}
    table = noise_tables.edits(questions, ("word_reversal", "letter_reversal", "irrelevant")).set_index("transform")
    columns = ["characters_kept", "words_kept", "length", "entropy"]
    assert table.loc["word_reversal", columns].tolist() == pytest.approx([0.5, 1 / 3, 1, 0])
    assert table.loc["letter_reversal", columns].tolist() == pytest.approx([0.25, 0, 1, 0])
    assert table.loc["irrelevant", ["length", "entropy"]].tolist() == pytest.approx([1, 0.5])


def test_questions_are_those_of_the_runs():
    asked = noise.asked(params())
    assert set(asked) == {0, 1}
    arm = noise.designs(params(), SETTING)["letter_reversal"]
    for spec in arm:
        mine = asked[spec.seed]
        assert 0 < len(mine) <= spec.data.n_train
        assert all(example.response.startswith("it is ") and example.response == example.gold for example in mine)
