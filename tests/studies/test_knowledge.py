"""The design of the study of form and knowledge, its frame from made-up results, and its tables and figures by hand."""

import dataclasses
import functools

import numpy as np
import pandas as pd
import planted_knowledge as planted
import pytest

from itlib.claims import knowledge as estimators
from itlib.errors import InputError
from itlib.fairness import undeclared
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest, train_digest
from itlib.studies import knowledge
from itlib.studies import knowledge_figures as draw
from itlib.studies import knowledge_tables as tables
from itlib.studies.knowledge import KnowledgeParams
from itlib.workspace import project_root

RATES = {"full": 1e-3, "lora 4": 4e-3}
FRAME = planted.frame(noise=0.01)
BINS = list(range(15))


def params(**changes):
    return dataclasses.replace(KnowledgeParams(), **changes)


def cpu():
    return from_yaml(project_root() / "params" / "cpu" / "04e_knowledge.yaml").params


def all_specs(parts):
    return [spec for part in parts.values() for runs in part.values() for spec in runs]


def measured(name):
    """What a measure gives, in its own columns."""
    return {
        "token_shift": {
            "position": [0, 1, 1], "kind": ["form", "content", "form"], "n": [4, 3, 1], "divergence": [8.0, 1.0, 1.0],
            "unshifted": [0, 2, 1], "marginal": [1, 1, 0], "shifted": [3, 0, 0],
        },
        "recall": {"frequency": [0.0, 0.125, 1.0], "recall": [0.1, 0.5, 1.0]},
        "borrowing": {
            "family": ["home"], "n": [4], "n_wrong": [2], "n_borrowed": [1], "n_near": [0.5], "chance": [0.25],
        },
        "calibration": {"bin": BINS, "n": [0] * 13 + [1, 3], "confidence": [0.0] * 13 + [0.9, 2.9],
                        "right": [0.0] * 13 + [1.0, 2.0]},
    }[name]  # fmt: skip


def result(spec, status="done", right=0.5):
    spec = resolve(spec)
    metric = (None, None, right) if spec.data.response_style == "polite" else (right, right, None)
    items = [(f"{name}-0", name, "people", "latent", "", *metric, 1.0, 2, 4, "") for name in ("home", "new_home")]
    items += [("r-0", "reference", "reference", "reference", "", None, None, None, 2.8, 2, 4, "")]
    totals = {"measures": {name: measured(name) for name in spec.evaluate.measures}}
    totals |= {"n_steps": 8, "n_tokens": 1000, "n_response_tokens": 100, "n_parameters": 1e6}
    totals["n_trainable_parameters"] = 4e4 if spec.tuning.method == "lora" else 8e5
    done = status == "done"
    return RunResult(spec, status, tuple(items) if done else (), totals=totals if done else {})


@functools.cache
def made_up(status=lambda spec: "done"):
    p = params()
    tests = knowledge.designs(p, RATES)
    parts = tests | knowledge.evaluations(p, tests)
    return knowledge.run_all_parts(parts, lambda specs: [result(spec, status(spec)) for spec in specs])


# ---- design -------------------------------------------------------------------------------------------------------


def test_arms_of_a_course_differ_in_method_and_rate_alone():
    for course in knowledge.designs(params(), RATES).values():
        assert set(diff(course["full"][0], course["lora 4"][0])) == {"method", "rank", "alpha", "learning_rate"}
        assert all([spec.seed for spec in runs] == [0, 1] for runs in course.values())


def test_courses_differ_in_what_is_answered_and_how():
    tests = knowledge.designs(params(), RATES)
    fields = diff(tests["styled"]["full"][0], tests["taught"]["full"][0])
    assert set(fields) == {"families", "response_style", "n_eval", "measures", "keep_weights"}
    assert set(fields["families"][1]) - set(fields["families"][0]) == {"new_home", "new_job"}
    assert not any(spec.keep_weights for spec in all_specs({"styled": tests["styled"]}))


def test_kept_weights_are_asked_again_and_never_trained_again():
    tests = knowledge.designs(params(), RATES)
    again = knowledge.evaluations(params(), tests)
    kept = {train_digest(resolve(spec)) for spec in all_specs({"taught": tests["taught"]})}
    assert {train_digest(resolve(spec)) for spec in all_specs(again)} == kept
    assert not any(spec.keep_weights for spec in all_specs(again))
    assert set(again["untaught"]) == {"full", "lora 4"} and set(again["graft"]) == set(again["before"]) == {"full"}
    assert {spec.evaluate.eval_families for spec in all_specs({"": again["untaught"]})} == {("never_home", "never_job")}
    grafts = {(spec.evaluate.edit, spec.evaluate.edit_scale) for spec in again["graft"]["full"]}
    assert grafts == {(e, s) for e in ("graft_largest", "graft_random") for s in (0.01, 0.1)} | {
        ("graft_learned", 0.01)
    }
    assert {spec.evaluate.edit_scale for spec in again["before"]["full"]} == {0.0}  # every change is taken back


def test_each_arm_has_as_many_rates_on_dev():
    dev = knowledge.candidates(params())
    assert len(dev) == 4 and {spec.evaluate.split for spec in dev} == {"dev"} and {spec.seed for spec in dev} == {1000}
    assert [spec.train.learning_rate for spec in dev] == [1e-3, 2e-3, 4e-3, 8e-3]
    assert all(spec.evaluate.measures == () and spec.data.response_style == "polite" for spec in dev)
    chosen = knowledge.choose(params(), [result(spec, right=spec.train.learning_rate * 100) for spec in dev])
    assert chosen == {"full": 2e-3, "lora 4": 8e-3}


def test_the_cpu_profile_costs_what_its_file_says():
    p = cpu()
    tests = knowledge.designs(p, dict.fromkeys(p.arms, 1e-3))
    again = all_specs(knowledge.evaluations(p, tests))
    learned = [spec for spec in again if spec.evaluate.edit == "graft_learned"]
    text = " ".join((project_root() / "params" / "cpu" / "04e_knowledge.yaml").read_text().replace("# ", "").split())
    assert len(knowledge.candidates(p)) == 32 and "32 dev runs" in text
    assert len({digest(resolve(spec)) for spec in all_specs(tests)}) == 48 and "48 test runs of 100 steps" in text
    assert (len(again) - len(learned), len(learned)) == (104, 24)
    assert "104 without gradients and 24 with 50 gradient steps" in text


def test_the_cpu_profile_has_what_its_claims_name():
    from itlib.claims import load_claim

    p = cpu()
    for name in knowledge.CLAIMS:
        settings = load_claim(name).settings
        arms = {settings[key] for key in ("full", "adapters", "tuned") if key in settings}
        assert arms <= set(p.taught_arms if knowledge.COURSE_OF[name] == "taught" else p.arms)
    assert load_claim("L10").settings["answers"] == {
        "response_wording": p.response_wording, "response_style": p.response_style,
    }  # fmt: skip
    assert tuple(load_claim("L11").settings["families"]) == p.untaught_families
    assert load_claim("L18").settings["share"] in p.learned_shares and len(p.seeds) >= 8


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(len(specs))
        return [result(spec) for spec in specs]

    assert len(knowledge.collect(params(), run)) == 24
    assert asked == [4, 8, 16]
    expected = "8 test runs follow once dev has chosen rates, and 16 more evaluations of their weights"
    assert knowledge.pending(params(), []) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "rows.jsonl"}, "data: .*needs microworld"),
        ({"arms": ["full", "full"]}, "arms: the list repeats"),
        ({"arms": ["full", "lora"]}, "arms: arm 'lora': 'lora' takes one number"),
        ({"arms": ["full"], "taught_arms": ["full", "lora 4"]}, "taught_arms: 'lora 4' is not in arms"),
        ({"grafted": "lora 8"}, "grafted: 'lora 8' is not in taught_arms"),
        ({"families": []}, "families: the list is empty"),
        ({"new_families": ["home"]}, "new_families: 'home' is among the families that are trained"),
        ({"untaught_families": ["new_home"]}, "untaught_families: 'new_home' is among the families"),
        ({"graft_shares": [0.0, 0.1]}, "graft_shares"),
        ({"learned_shares": [1.5]}, "learned_shares"),
        ({"response_style": "plain"}, "response_style"),
        ({"choice_seeds": [1]}, r"choice_seeds: \[1\] are also in seeds"),
        ({"learned_share": [0.1]}, "did you mean 'learned_shares'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(KnowledgeParams, changes, where="test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": ("hone",)}, "hone"),
        ({"new_families": ("never_home",), "untaught_families": ("never_job",)}, "can only be tested"),
        ({"untaught_families": ("never_home", "never_jop")}, "never_jop"),
        ({"arms": ("full", "prompt 4"), "taught_arms": ("full", "prompt 4"), "grafted": "prompt 4"}, "edit"),
        ({"taught_eval": 100_000}, "n_eval"),
    ],
)
def test_what_cannot_run_is_refused_before_the_dev_runs(changes, message):
    with pytest.raises(InputError, match=message):
        knowledge.candidates(params(**changes))


# ---- frame --------------------------------------------------------------------------------------------------------


def test_evidence_has_every_number_once():
    frame = knowledge.evidence(made_up())
    keys = ["digest", "kind", "family", "metric", "position", "token", "frequency", "bin"]
    assert not frame.duplicated(keys).any()
    assert frame[["position", "token", "frequency", "bin", "error"]].notna().all(axis=None)
    assert set(frame["kind"]) == {"test", "untaught", "before", "graft", *knowledge.MEASURES}
    assert frame.groupby("evaluation")["course"].unique().map(list).to_dict() == {
        "test": ["styled", "taught"], "untaught": ["taught"], "before": ["taught"], "graft": ["taught"],
    }  # fmt: skip
    shares = estimators.token_shares(frame, opening=1).iloc[0]
    assert shares["form"] == pytest.approx(0.9) and shares["opening"] == pytest.approx(0.8)
    assert shares["tokens"] == 8
    error = estimators.calibration(frame).iloc[0]
    assert error["items"] == 4 and error["accuracy"] == pytest.approx(0.75)
    assert set(frame.loc[frame["kind"] == "calibration", "bin"]) == {13, 14}  # empty bins are left out


def test_a_run_that_diverged_is_a_row_without_a_value():
    frame = knowledge.evidence(made_up(status=lambda spec: "diverged" if spec.seed == 1 else "done"))
    gone = frame[frame["seed"] == 1]
    assert set(gone["status"]) == {"diverged"} and gone["value"].isna().all() and set(gone["kind"]) <= {
        "test", "untaught", "before", "graft",
    }  # fmt: skip
    assert set(estimators.facts(frame)["seed"]) == {0}


def test_budgets_are_compared_inside_a_course():
    results = made_up()
    table = tables.spent(results, ["styled", "taught"], {"full": 2, "lora 4": 2})
    assert table[["course", "arm"]].to_numpy().tolist() == [
        ["styled", "full"], ["styled", "lora 4"], ["taught", "full"], ["taught", "lora 4"],
    ]  # fmt: skip
    assert [undeclared(rows, knowledge.UNEQUAL) for _, rows in table.groupby("course")] == ["", ""]
    shown = tables.given(table, knowledge.UNEQUAL)
    assert len(shown) == 2 * 4 and set(shown["reason"]) == {"equal"}
    fewer = tables.spent(results, ["styled"], {"full": 2, "lora 4": 4})
    assert "trials from 2 (full) to 4 (lora 4)" in undeclared(fewer, knowledge.UNEQUAL)
    assert tables.given(fewer, knowledge.UNEQUAL)["reason"].tolist()[-1] == "not declared"


# ---- tables -------------------------------------------------------------------------------------------------------


def exact():
    return planted.frame()


def test_scores_by_what_tells_the_fact():
    table = tables.scores(exact()).set_index(["course", "arm"])
    taught = table.loc[("taught", "full")]
    assert taught[[tables.TOLD, tables.NEW, tables.NEVER]].tolist() == pytest.approx([0.6, 0.6, 0.03])
    assert taught["runs"] == 8 and np.isnan(table.loc[("styled", "lora 2"), tables.NEVER])


def test_divergence_by_position_is_per_token():
    table = tables.by_position(exact()).query("arm == 'lora 16'").set_index(["position", "token"])
    assert table.loc[(1, "form"), "divergence"] == pytest.approx(0.175)
    assert table.loc[(6, "content"), ["divergence", "reached"]].tolist() == pytest.approx([0.1, 1.0])
    assert table.index.get_level_values("position").min() == 1


def test_means_of_form_by_arm():
    row = tables.form(exact(), 4).set_index("arm").loc["lora 2"]
    assert row[["form", "opening", "runs"]].tolist() == pytest.approx([0.95, 0.75, 8])
    assert len(tables.shifts(exact(), 4)) == 4 * 8 * 3


def test_what_was_lost_is_against_the_base_of_the_seed():
    frame = exact()
    base = (frame["evaluation"] == "before") & (frame["seed"] == 5) & (frame["kind"] == "recall")
    frame.loc[base & (frame["frequency"] == 1.0), "value"] = 1.0
    table = tables.lost(frame).query("course == 'styled' and arm == 'full'").set_index("seed")
    assert table["frequent_lost"][[4, 5]].tolist() == pytest.approx([0.05, 0.10])
    assert table["reference_rise"].tolist() == pytest.approx([0.06] * 8)
    means = tables.losses(tables.lost(exact())).set_index(["course", "arm"])
    assert means.loc[("taught", "lora 16"), ["rare_lost", "reference_rise"]].tolist() == pytest.approx([0.05, 0.03])


def test_the_base_stands_beside_the_arms_of_every_course():
    table = tables.recall(exact())
    assert table.groupby("course")["arm"].unique().map(list).to_dict() == {
        "styled": ["base", "full", "lora 16", "lora 2", "full embeddings"], "taught": ["base", "full", "lora 16"],
    }  # fmt: skip
    assert not table.duplicated(["course", "arm", "seed", "frequency"]).any()


@pytest.mark.parametrize(("rise", "holds"), [((0.05, 0.09, 0.02), 1), ((0.05, 0.09, 0.06), 2), ((0.05, 0.01, 0.0), 0)])
def test_the_sentence_on_the_contradiction_counts_adapters(rise, holds):
    rows = [("full", 0.1, 0.2, rise[0]), ("lora 16", 0.0, 0.3, rise[1]), ("lora 2", 0.0, 0.1, rise[2])]
    table = pd.DataFrame(rows, columns=["arm", "frequent_lost", "rare_lost", "reference_rise"])
    text = tables.contradiction(table)
    assert "(arXiv:2402.05119) holds in the means of 1 of 2 adapters" in text
    assert f"(arXiv:2410.21228v1) holds in the means of {holds} of 2 adapters" in text
    assert "full loses 0.200 of rare and 0.100 of frequent facts" in text
    assert "cannot be compared" in tables.contradiction(table[table["arm"] == "full"])
    assert "not all of it was measured" in tables.contradiction(table.assign(reference_rise=np.nan))


def test_borrowing_by_what_tells_the_fact():
    points = tables.borrowing_points(exact())
    assert list(dict.fromkeys(points["told"])) == [tables.NEVER, tables.NEW, tables.TOLD]
    table = tables.borrowing(points).set_index(["told", "arm"])
    assert table.loc[(tables.NEVER, "full"), ["borrowed", "chance", "excess"]].tolist() == pytest.approx(
        [0.3, 0.05, 0.25]
    )
    assert table.loc[(tables.NEW, "full"), ["borrowed", "runs"]].tolist() == pytest.approx([0.15, 8])


def test_grafts_stand_between_the_base_and_the_tuned_model():
    points = tables.graft_points(exact(), "full")
    assert len(points) == 8 * (2 + 2 * 5 + 3) and points[["accuracy", "error"]].notna().all(axis=None)
    table = tables.grafts(points).set_index(["entries", "share"])
    assert table.loc[("none, the base", 0.0), "accuracy"] == pytest.approx(planted.BASE)
    assert table.loc[("all, the tuned model", 1.0), "accuracy"] == pytest.approx(planted.WHOLE)
    assert table.loc[("largest changes", 0.01), "kept"] == pytest.approx(0.8 * 0.98)
    assert table.loc[("learned mask", 0.01), "error"] == pytest.approx(0.05, abs=2e-3)


def test_reliability_pools_seeds_and_knows_models_apart():
    table = tables.reliability(exact(), "full", 0.01)
    rows = table[(table["asked"] == "trained families") & (table["model"] == "full")]
    assert rows["n"].tolist() == [8000] * 3 and rows["accuracy"].tolist() == pytest.approx([0.0, 0.2, 0.6])
    assert set(table["model"]) == {"full", "lora 16", "full, 0.01 of its entries"}
    graft = table[table["model"] == "full, 0.01 of its entries"]
    assert set(graft["asked"]) == {"trained families"} and graft["error"].iloc[0] == pytest.approx(0.05, abs=1e-3)
    sure = tables.sureness(exact()).set_index(["evaluation", "arm"])
    assert sure.loc[("untaught", "full"), "error"] > sure.loc[("test", "full"), "error"] > 0.2


def test_a_rate_at_an_end_is_said_to_be_there():
    p = params(learning_rates=(1e-3, 2e-3, 4e-3))
    rates = {"full": 2e-3, "lora 4": 16e-3}
    table = tables.rates(rates, knowledge.at_edge(p, rates))
    assert table["at_an_end"].tolist() == [False, True]


# ---- figures ------------------------------------------------------------------------------------------------------


def test_the_divergence_figure_has_a_panel_per_arm_on_one_scale():
    table = tables.by_position(FRAME)
    axes = draw.divergence(table, 4)
    assert [ax.get_title(loc="left") for ax in axes] == list(planted.ARMS)
    low, high = axes[0].get_ylim()
    assert low == 0 and high > table["divergence"].max()
    assert axes[0].patches[0].get_extents().width > 0  # the opening is shaded


def test_the_shares_figure_shows_every_run_and_the_values_of_the_paper():
    axes = draw.shares(tables.shifts(FRAME, 4))
    for ax, value in zip(axes, (0.822, 0.125, 0.052), strict=True):
        marks = [line for line in ax.lines if line.get_marker() == "D" and line.get_mfc() == "white"]
        assert [line.get_xdata()[0] for line in marks] == [value]
        assert sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == "o") == 4 * 8


def test_the_recall_figure_names_every_line_once():
    axes = draw.recall(tables.recall(FRAME))
    legend = axes[0].figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["base, before tuning", *planted.ARMS]
    assert [text.get_text() for text in axes[0].get_xticklabels()] == ["never", "1/64", "1/32", "1/16", "1/8", "1"]


def test_the_graft_figure_shows_the_paper_between_base_and_tuned_model():
    axes = draw.grafts(tables.graft_points(exact(), "full"))
    mark = next(line for line in axes[0].lines if line.get_marker() == "D" and line.get_mfc() == "white")
    at = planted.BASE + 0.95 * (planted.WHOLE - planted.BASE)
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (1e-4, pytest.approx(at))
    assert axes[1].get_xscale() == "log" and len(axes[0].figure.legends[0].get_texts()) == 6


def test_the_other_figures_are_drawn_from_what_there_is():
    assert len(draw.borrowing(tables.borrowing_points(FRAME))) == 3
    assert len(draw.reliability(tables.reliability(FRAME, "full", 0.01))) == 2
    lost = tables.lost(FRAME).query("course == 'styled'")
    axes = draw.contradiction(lost, planted.ARMS)
    assert "2402.05119" in axes[0].get_ylabel() and "2410.21228" in axes[0].figure.get_supxlabel()
    unread = draw.contradiction(lost.assign(reference_rise=np.nan), planted.ARMS)
    assert [text.get_text() for text in unread[0].texts] == ["no document was read"]


def test_figures_are_drawn_from_the_frame_of_a_study():
    frame = knowledge.evidence(made_up())
    draw.divergence(tables.by_position(frame), 4)
    draw.shares(tables.shifts(frame, 4))
    draw.recall(tables.recall(frame))
    draw.grafts(tables.graft_points(frame, "full"))
    draw.contradiction(tables.lost(frame).query("course == 'styled'"), ("full", "lora 4"))
