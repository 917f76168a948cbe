"""The study of tasks in sequence: its arms, its choice on the first task, a small run of it, tables and figures."""

import dataclasses
import io

import numpy as np
import pandas as pd
import planted_rounds as planted
import pytest

from itlib.claims import judge, load_claim
from itlib.claims.continual_study import knowledge, sequence
from itlib.continual import round_frame, transfer
from itlib.errors import InputError
from itlib.execute import REFERENCE_LOSS, execute
from itlib.fairness import ledger
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.studies import continual_study as study
from itlib.studies import continual_study_figures as draw
from itlib.studies import continual_study_tables as tables
from itlib.studies.continual_study import ContinualParams
from itlib.workspace import project_root

NAMES = list(planted.ARMS)
HALF = "half level=category redrawn"


def params(**changes):
    return dataclasses.replace(ContinualParams(), **changes)


def cpu():
    return from_yaml(project_root() / "params" / "cpu" / "04d_continual.yaml").params


def rates(p, value=1e-3):
    return dict.fromkeys(p.arms, value)


def dev(spec, value):
    items = (("i", "plural", "words", "latent", "", value, value, None, 1.0, 2, 4, ""),)
    return RunResult(resolve(spec), "done", items)


# ---- arms and runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arm", "method", "rounds"),
    [
        ("full", "full", "merged"),
        ("full joint", "full", "one"),
        ("lora 16 merged", "lora 16", "merged"),
        ("lora 2 attention alpha=8 persistent", "lora 2 attention alpha=8", "persistent"),
        ("half level=layer redrawn", "half level=layer", "merged"),
        ("half held", "half", "persistent"),
    ],
)
def test_the_last_word_of_an_arm_says_what_happens_between_rounds(arm, method, rounds):
    assert (study.method_words(arm), study.between(arm)) == (method, rounds)


def test_arms_share_everything_but_method_rate_and_rounds():
    p = cpu()
    arms = study.designs(p, rates(p))
    assert list(arms) == ["untuned", *p.arms]
    about_method = {"method", "rank", "alpha", "method_options"}
    for name in p.arms[1:]:
        for ours, theirs in zip(arms[name], arms["full"], strict=True):
            assert set(diff(resolve(ours), resolve(theirs))) - {"components"} <= about_method | {"rounds"}
    assert {arms[name][0].train.rounds for name in p.arms} == {"merged", "persistent", "one"}
    untuned = arms["untuned"][0]
    assert untuned.data.n_train == 0 and set(diff(arms["full"][0], untuned)) <= {"n_train", "rounds", "learning_rate"}
    assert [spec.seed for spec in arms["full"]] == list(p.seeds)


def test_every_task_has_as_many_examples_and_steps_as_any_other():
    for p in (params(), cpu()):
        spec = study.designs(p, rates(p))["full"][0]
        n = len(p.families)
        assert spec.data.families == p.families and spec.data.selector == "stratified"
        assert p.n_train % n == 0 and p.budget % n == 0
        visits = p.budget // n * p.batch_size
        assert visits % (p.n_train // n) == 0, "whole passes, so that joint training sees the same tokens"


def test_rates_are_chosen_on_the_first_round_of_the_first_task():
    p = cpu()
    runs = study.candidates(p)
    assert {spec.data.families for spec in runs} == {("plural",)} and {spec.train.rounds for spec in runs} == {"one"}
    assert {(spec.data.n_train, spec.train.budget) for spec in runs} == {(40, 30)}
    assert {spec.evaluate.split for spec in runs} == {"dev"} and {spec.seed for spec in runs} == {1000, 1001}
    assert {spec.evaluate.eval_phrasing_set for spec in runs} == {"observed"}
    assert len({(s.tuning, s.train.learning_rate) for s in runs}) == 6 * 4
    new = dataclasses.replace(p, eval_phrasing_set="unobserved_wrapper")
    assert {spec.evaluate.eval_phrasing_set for spec in study.candidates(new)} == {"dev_wrapper"}


def test_the_arms_of_a_method_share_the_rate_that_did_best_on_dev():
    p = params(arms=("full", "lora 2 merged", "lora 2 persistent", "full joint"), learning_rates=(1e-3, 2e-3))
    best = {"full": 2e-3, "lora": 4e-3}
    found = study.choose(
        p, [dev(s, float(s.train.learning_rate == best[s.tuning.method])) for s in study.candidates(p)]
    )
    assert found == {"full": 2e-3, "lora 2 merged": 4e-3, "lora 2 persistent": 4e-3, "full joint": 2e-3}
    table = study.chosen_rates(p, found)
    assert table["method"].tolist() == ["full", "lora 2"] and table["tried"].tolist() == [2, 2]
    assert study.trials(p) == dict.fromkeys(p.arms, 2)


def test_a_rate_at_the_edge_of_its_candidates_is_marked():
    p = params(arms=("full", "lora 2 merged"), learning_rates=(1e-3, 2e-3, 4e-3))
    table = study.chosen_rates(p, {"full": 2e-3, "lora 2 merged": 16e-3})
    assert table["at_an_edge"].tolist() == [False, True]


def test_the_cpu_profile_costs_what_its_file_says():
    p = cpu()
    arms = study.designs(p, rates(p))
    keys = {name: {digest(resolve(spec)) for spec in runs} for name, runs in arms.items()}
    assert len(set().union(*keys.values())) == 88 and len(keys["untuned"]) == 8
    assert len(study.candidates(p)) == 48
    text = (project_root() / "params" / "cpu" / "04d_continual.yaml").read_text()
    assert "48 dev runs of 30 steps and 80 test runs of 180 steps" in text and "150 items" in text
    assert len(p.families) * p.n_eval == 150 and len(p.seeds) == 8
    assert study.pending(p, []) == ("80 test runs and 8 evaluations of untuned bases follow once dev has chosen rates")


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(len(specs))
        return [dev(spec, 1.0) for spec in specs]

    assert len(study.collect(params(), run)) == 12 and asked == [6, 12]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "rows.jsonl"}, "data: 'rows.jsonl' has no task families"),
        ({"families": ["plural"]}, "families: a sequence needs at least two"),
        ({"families": ["plural", "plural"]}, "families: the list repeats"),
        ({"families": ["plural", "pats"]}, "families: unknown task family 'pats'.*did you mean 'past'"),
        ({"families": ["plural", "sentence_with"]}, "families: 'sentence_with' has many right responses"),
        ({"n_train": 33}, "n_train: 33 does not divide by 4 families"),
        ({"n_train": 240, "families": ["past", "plural"]}, "n_train: 'past' has 59 examples in these wordings"),
        ({"budget": 9}, "budget: 9 does not divide by 4 families"),
        ({"arms": []}, "arms: the list is empty"),
        ({"arms": ["full", "full"]}, "arms: the list repeats"),
        ({"arms": ["full", "full merged"]}, "arms: 'full merged' is the same as 'full'"),
        ({"arms": ["half redrawn", "half merged"]}, "arms: 'half merged' is the same as 'half redrawn'"),
        ({"arms": ["lora merged"]}, "arms: arm 'lora': 'lora' takes one number, its rank"),
        ({"arms": ["lora 2 kept"]}, "arms: arm 'lora 2 kept': 'kept' is no word"),
        ({"arms": ["merged"]}, "arms: an arm is empty"),
        ({"arms": ["full joint"]}, "arms: none learns one family after another"),
        ({"choice_seeds": [0]}, "choice_seeds.*also in seeds"),
        ({"knowlege": True}, "did you mean 'knowledge'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(ContinualParams, changes, where="test")
    assert "\n" not in str(caught.value)


def test_a_change_that_cannot_be_merged_is_refused_before_any_run():
    with pytest.raises(InputError, match="rounds: what method 'prompt' changes cannot be merged"):
        study.candidates(params(arms=("full", "prompt 4 merged")))
    assert study.candidates(params(arms=("full", "prompt 4 persistent")))


def test_more_items_than_a_task_has_operands_are_refused_before_any_run():
    with pytest.raises(InputError, match="n_eval"):
        study.candidates(params(n_eval=26))


# ---- a small study, run ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """Results of two arms in sequence, the joint arm and the untuned base on two tasks that are partly learned."""
    p = params(
        seeds=(0,), families=("past", "opposite"), arms=("full", "lora 2 persistent", "full joint"), n_train=32,
        pool_size=60, n_eval=4, n_reference=5, budget=16, batch_size=16,
    )  # fmt: skip
    arms = study.designs(p, rates(p, 8e-3))
    return {name: [execute(resolve(spec)) for spec in runs] for name, runs in arms.items()}


def test_evidence_holds_rounds_ends_and_recall(small):
    frame = study.evidence(small)
    assert frame.groupby("arm")["kind"].unique().map(set).to_dict() == {
        "untuned": {"test"},
        "full": {"test", "round", "recall"},
        "lora 2 persistent": {"test", "round", "recall"},
        "full joint": {"test", "recall"},
    }
    rounds = frame[(frame["kind"] == "round") & (frame["arm"] == "full")]
    assert len(rounds[rounds["metric"] == "exact_match"]) == 4
    text = rounds[rounds["metric"] == REFERENCE_LOSS].set_index("round")
    assert text["trained"].to_dict() == {0: "past", 1: "opposite"}
    assert text["value"].tolist() == [probe[REFERENCE_LOSS] for probe in small["full"][0].probes]
    asked = frame[(frame["kind"] == "recall") & (frame["arm"] == "full joint")]
    assert asked["frequency"].tolist() == [0.0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1.0]


def test_the_frame_gives_the_transfer_of_its_runs(small):
    frame = study.evidence(small)
    theirs = transfer(round_frame(small["full"])).iloc[0]
    ours = sequence(frame, "full").iloc[0]
    assert ours["backward_transfer"] == theirs["backward_transfer"] and ours["overall"] == theirs["overall"]
    test = frame[(frame["arm"] == "full") & (frame["kind"] == "test") & (frame["metric"] == "exact_match")]
    assert test["value"].mean() == pytest.approx(ours["overall"])
    told = small["full"][0].totals["measures"]["recall"]["recall"][1:]
    assert knowledge(frame, "full").iloc[0] == pytest.approx(np.mean(told))


def test_arms_of_a_small_study_were_given_the_same(small):
    table = ledger(small, 2)
    assert table["arm"].tolist() == ["full", "lora 2 persistent", "full joint"]
    for name in ("steps", "tokens", "supervised"):
        assert table[name].nunique() == 1
    assert study.blocked(table) == ""


def test_verdicts_are_blocked_where_arms_in_sequence_were_given_other_budgets():
    table = pd.DataFrame({"arm": ["full", "lora 2 merged", "full joint"], "trials": 3})
    table = table.assign(steps=[180.0, 180.0, 180.0], supervised=500.0, tokens=[1000.0, 1000.0, 2000.0])
    assert study.blocked(table) == ""
    assert "tokens from 1,000 (full) to 1,500" in study.blocked(table.assign(tokens=[1000.0, 1500.0, 1000.0]))


def test_a_study_without_text_and_recall_still_has_tables_and_figures(small):
    frame = study.evidence(small)
    bare = frame[(frame["metric"] != REFERENCE_LOSS) & (frame["kind"] != "recall")]
    names = ["full", "lora 2 persistent", "full joint"]
    points = tables.scores(bare, names)
    assert points.loc[points["metric"] == "knowledge", "value"].isna().all()
    assert not len(tables.over_rounds(bare, names, REFERENCE_LOSS)) and tables.sentence(points, names).startswith(
        "Noth"
    )
    assert tables.recall(bare).columns.tolist() == ["arm"]
    draw.over_rounds(tables.over_rounds(bare, names, REFERENCE_LOSS), y_label="rise")
    draw.text(points)


# ---- tables ---------------------------------------------------------------------------------------------------


def test_the_matrix_by_hand():
    cells = tables.matrix(planted.frame(seeds=[0, 5])).set_index(["arm", "round", "place"])
    cell = cells.loc[("full", 3, 1)]  # the first task after two more: .9 - .2, seeds 0 and 5 on either side of .705
    assert (cell["trained"], cell["family"], cell["runs"]) == ("opposite", "plural", 2)
    assert cell["mean"] == pytest.approx(0.705) and cell["interval"] == pytest.approx((0.70, 0.71))
    assert len(cells.loc["full"]) == 36 and "full joint" not in cells.index


def test_scores_by_hand():
    table = tables.summary(tables.scores(planted.frame(seeds=[0]), NAMES)).set_index("arm")
    assert table.index.tolist() == NAMES
    row = table.loc["full"]
    assert row["learned"] == pytest.approx(0.9) and row["backward_transfer"] == pytest.approx(-0.3)
    assert row["overall"] == pytest.approx(0.65) and row["knowledge"] == pytest.approx(0.5)
    assert (row["text_after_first"], row["text_after_last"]) == (pytest.approx(0.2), pytest.approx(1.2))
    joint = table.loc["full joint"]
    assert joint["overall"] == pytest.approx(0.85) and joint["text_after_last"] == pytest.approx(0.05)
    assert joint[["learned", "backward_transfer", "text_after_first"]].isna().all()


def test_a_run_that_stopped_has_no_scores_and_the_others_keep_theirs():
    points = tables.scores(planted.frame(seeds=[0, 1], stopped={("full", 1)}), ["full"])
    one = points[points["seed"] == 1].set_index("metric")["value"]
    assert one[["learned", "backward_transfer", "overall", "knowledge", "text_after_last"]].isna().all()
    assert one["text_after_first"] == pytest.approx(0.2)
    assert points[points["seed"] == 0]["value"].notna().all() and tables.summary(points)["seeds"].tolist() == [1]


def test_comparisons_are_with_the_first_arm_and_of_fresh_starts_with_going_on():
    arms = ["full", "lora 2 merged", "lora 2 persistent", "half redrawn", "half held", "full joint"]
    assert tables.comparisons(arms) == [
        *((arm, "full") for arm in arms[1:5]),
        ("lora 2 merged", "lora 2 persistent"),
        ("half redrawn", "half held"),
    ]
    assert tables.comparisons(["lora 2 persistent", "lora 2 merged"]) == [("lora 2 merged", "lora 2 persistent")]


def test_differences_are_paired():
    points = tables.scores(planted.frame(), NAMES)
    rows = tables.differences(points, [(HALF, "full")]).set_index("score")
    assert rows["mean"].to_dict() == pytest.approx(
        {"learned": 0.0, "backward_transfer": 0.15, "overall": 0.125, "knowledge": 0.1, "text_after_last": -0.3}
    )
    assert set(rows["seeds"]) == {8} and rows.loc["overall", "interval"] == pytest.approx((0.125, 0.125))


def test_rounds_start_at_the_untuned_base():
    frame = planted.frame(seeds=[0, 1])
    text = tables.over_rounds(frame, ["full", "full joint"], REFERENCE_LOSS)
    own = text[(text["arm"] == "full") & (text["seed"] == 1)]
    assert own["round"].tolist() == list(range(7)) and own["trained"].tolist() == ["before", *planted.FAMILIES]
    np.testing.assert_allclose(own["value"], [0.2 * t for t in range(7)], atol=1e-12)
    joint = text[text["arm"] == "full joint"]
    assert set(joint["round"]) == {6} and joint["value"].tolist() == pytest.approx([0.05, 0.05])
    first = tables.over_rounds(frame, ["full"], "exact_match").query("seed == 0")
    np.testing.assert_allclose(first["value"], [0.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4])


def test_recall_has_a_column_per_frequency():
    table = tables.recall(planted.frame(seeds=[0])).set_index("arm")
    assert table.columns.tolist() == [
        "never told",
        "told 0.015625",
        "told 0.03125",
        "told 0.0625",
        "told 0.125",
        "told 1",
    ]
    assert table.loc["full"].tolist() == [0.03, *[0.5] * 5] and table.index.tolist() == NAMES


def test_the_sentence_says_both_distances():
    text = tables.sentence(tables.scores(planted.frame(), NAMES), NAMES)
    assert "lora 2 merged -0.10 nats after the first task and -0.60 after the last" in text
    assert "half" not in text and "joint" not in text


def test_parts_are_listed_with_their_own_verdicts():
    verdicts = [judge(load_claim(name), planted.frame()) for name in study.CLAIMS]
    table = tables.parts(verdicts)
    assert table["claim"].tolist() == ["L7"] * 2 + ["L12"] * 3 + ["L12-levels"] * 2
    assert set(table["verdict"]) == {"reproduced"} and table.loc[0, "effect"] == pytest.approx(-0.12)


def test_tables_are_those_of_the_stored_frame():
    frame = planted.frame(seeds=[0, 1], noise=0.01)
    stored = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    pd.testing.assert_frame_equal(tables.scores(stored, NAMES), tables.scores(frame, NAMES))


# ---- figures --------------------------------------------------------------------------------------------------


def test_the_matrix_shows_every_cell_and_frames_the_own_round():
    arms = study.sequential(NAMES)
    axes = draw.matrix(tables.matrix(planted.frame(seeds=[0])), arms)
    assert [ax.get_title(loc="left") for ax in axes] == arms
    texts = [text.get_text() for text in axes[0].texts]
    assert len(texts) == 36 and texts[:7] == [".90", *[".05"] * 5, ".80"] and len(axes[0].lines) == 6
    assert [tick.get_text() for tick in axes[-1].get_xticklabels()][-2:] == ["first letter", "alphabetical"]


def test_cells_without_a_run_say_so():
    frame = planted.frame(seeds=[1], stopped={("full", 1)})
    texts = [text.get_text() for text in draw.matrix(tables.matrix(frame), ["full"])[0].texts]
    assert texts[:12].count("none") == 0 and texts[12:] == ["none"] * 24


def test_outcomes_show_every_run_and_the_values_of_the_paper():
    points = tables.scores(planted.frame(), NAMES)
    axes = draw.outcome(points)
    assert [text.get_text() for text in axes[0].get_yticklabels()] == NAMES
    diamonds = [sorted(x for line in ax.lines if line.get_marker() == "D" for x in line.get_xdata()) for ax in axes]
    assert diamonds == [[], [-0.102, -0.092, -0.083, -0.056], [0.457, 0.469, 0.479, 0.513], []]
    dots = [line for line in axes[2].lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [8] * len(NAMES)
    assert sum(len(line.get_xdata()) for line in axes[1].lines if line.get_marker() == "o") == 8 * (len(NAMES) - 1)


def test_text_has_a_panel_for_the_first_and_the_last_task():
    axes = draw.text(tables.scores(planted.frame(), NAMES))
    assert [ax.get_title(loc="left") for ax in axes] == ["after the first task", "after the last task"]
    assert axes[0].lines[0].get_xdata() == pytest.approx([0.2] * 8) and axes[1].lines[0].get_xdata()[0] > 1


def test_lines_are_named_at_their_ends_without_overlap():
    rows = tables.over_rounds(planted.frame(noise=0.02), NAMES, "exact_match")
    ax = draw.over_rounds(rows, y_label="exact match")
    assert sorted(text.get_text() for text in ax.texts) == sorted(NAMES)
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.x1 <= ax.figure.bbox.x1 for box in boxes)
    assert [tick.get_text() for tick in ax.get_xticklabels()][:2] == ["before", "plural"]


def test_arms_that_end_alike_are_still_told_apart():
    alike = {name: (0.9, 0.18, 0.1, 0.5) for name in NAMES}
    ax = draw.over_rounds(tables.over_rounds(planted.frame(alike), NAMES, "exact_match"), y_label="exact match")
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == len(NAMES) and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("seed", range(20))
def test_heights_are_apart_in_order_and_within_bounds(seed):
    rng = np.random.default_rng(seed)
    values = sorted(rng.random(10) * rng.choice([0.1, 1.0]))
    heights = draw.apart(values, 0.05, 0.0, 1.0)
    assert all(b - a >= 0.05 - 1e-9 for a, b in zip(heights, heights[1:], strict=False))
    assert min(heights) >= -1e-9 and max(heights) <= 1 + 1e-9


def test_heights_that_are_apart_stay_where_they_are():
    assert draw.apart([0.1, 0.5, 0.9], 0.05, 0.0, 1.0) == [0.1, 0.5, 0.9]
    assert draw.apart([0.5, 0.5], 0.1, 0.0, 1.0) == pytest.approx([0.45, 0.55])
