"""The design of the selector arena: arms that differ in the selector alone, sizes, costs, and refused mistakes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from itlib.errors import InputError
from itlib.example import Example, Turn
from itlib.params import from_yaml
from itlib.registry import selectors
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.selectors import ScoreSelector
from itlib.spec import diff, digest
from itlib.studies import selecting, selector_arena, selector_arena_figures, selector_arena_scores
from itlib.studies import selector_arena_tables as tables
from itlib.studies.selector_arena import ARMS, SelectorArenaParams
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}
CHOICE = {"selector", "selector_options", "selection_band", "stratified", "scorer", "target_families"}
OWN = {"seed", "base_seed"}


def params(**changes):
    return dataclasses.replace(SelectorArenaParams(), **changes)


def profile(name):
    return from_yaml(project_root() / "params" / name / "02b_selectors.yaml").params


def result(spec, value, status="done", **totals):
    items = (("f-0", "opposite", "words", "latent", "", value, value, None, 1.0, 2, 4, ""),)
    rows = list(range(spec.seed, spec.seed + 4)) if spec.data.selector == "random" else [0, 1, 2, 9]
    facts = {"n_parameters": 10, "n_tokens": 100, "selected_rows": rows, **totals}
    return RunResult(resolve(spec), status, items if status == "done" else (), totals=facts)


def some_results(**changes):
    """Two seeds of a few arms: the random one scores .5, others what their place in the table says."""
    arms = selector_arena.designs(params(**changes), SETTING)
    value = {name: 0.5 + 0.01 * place for place, name in enumerate(ARMS)}
    return {
        name: [result(spec, value[name.split("/")[1].split(" (")[0]], selection_flops=6000.0) for spec in runs]
        for name, runs in arms.items()
    }


def test_every_selector_of_the_table_exists_and_takes_what_it_is_given():
    for name, about in ARMS.items():
        selecting.check_selectors(name, [about.selector])
        if {"selection_band", "stratified"} & set(about.fields):
            assert isinstance(selectors.get(about.selector.split()[0]), ScoreSelector), name


def test_all_selectors_are_in_the_arena():
    """Those left out are variants that another arm stands for, or need what no arm has."""
    used = {about.selector.split()[0] for about in ARMS.values()}
    assert set(selectors.names()) - used <= {"perplexity_text", "perplexity_instruction"}


def test_arms_differ_from_random_in_the_selector_alone():
    arms = selector_arena.designs(profile("cpu"), SETTING)
    for name, runs in arms.items():
        kind, _, rest = name.partition("/")
        for ours, theirs in zip(runs, arms[f"{kind}/random"], strict=True):
            allowed = CHOICE | ({"n_train"} if rest == "full" or "(" in rest else set())
            assert set(diff(ours, theirs)) <= allowed, name
            assert (ours.seed, ours.base.base_seed) == (theirs.seed, theirs.base.base_seed)


def test_no_two_arms_are_the_same_run():
    arms = selector_arena.designs(profile("cpu"), SETTING)
    of_seed_0 = [digest(resolve(runs[0])) for runs in arms.values()]
    assert len(set(of_seed_0)) == len(of_seed_0) == 64


def test_single_papers_are_run_in_redundant_pools_alone():
    p = profile("cpu")
    arms = selector_arena.designs(p, SETTING)
    for name in p.redundant_arms:
        assert f"redundant/{name}" in arms and f"noisy/{name}" not in arms
    assert {spec.data.n_train for spec in arms["redundant/ic_ifd (500)"]} == {500}
    assert {spec.data.n_train for spec in arms["redundant/iter_select_tune (400)"]} == {400}
    assert {spec.data.n_train for spec in arms["noisy/full"]} == {2000}


def test_the_interaction_of_categories_sees_all_families_and_less_those_of_the_seed():
    arms = selector_arena.designs(profile("cpu"), SETTING)
    assert {spec.data.target_families for spec in arms["redundant/category_interaction"]} == {()}
    assert {spec.data.scorer for spec in arms["redundant/category_interaction"]} == {"warm-100"}
    aimed = [spec.data.target_families for spec in arms["redundant/less_adam"]]
    assert aimed == [selecting.targets_of(seed) for seed in range(8)] and len(set(aimed)) > 1


def test_the_cpu_profile_costs_what_its_file_says():
    p = profile("cpu")
    arms = selector_arena.designs(p, SETTING)
    test = {digest(resolve(spec)) for runs in arms.values() for spec in runs}
    dev = selecting.candidates(p)
    assert (len(test), len(dev)) == (512, 32)
    text = (project_root() / "params" / "cpu" / "02b_selectors.yaml").read_text()
    assert "32 dev runs and 512 test runs of 75 steps" in text
    assert {spec.evaluate.split for spec in dev} == {"dev"} and {spec.data.selector for spec in dev} == {"random"}
    assert p.n_train / p.pool_size == 0.05 and p.quarter / p.pool_size == 0.25 and p.fifth / p.pool_size == 0.2


@pytest.mark.parametrize(("name", "n_test"), [("smoke", 30), ("gpu-micro", 1472)])
def test_other_profiles_cost_what_their_files_say(name, n_test):
    p = profile(name)
    arms = selector_arena.designs(dataclasses.replace(p, device="cpu"), SETTING)
    assert sum(len(runs) for runs in arms.values()) == n_test
    text = (project_root() / "params" / name / "02b_selectors.yaml").read_text()
    assert f"{len(selecting.settings(p)) * 2 * len(p.choice_seeds)} dev runs and {n_test} test runs" in text


def test_the_selectors_named_before_are_those_of_the_claims_and_few_enough_for_holm():
    from itlib.claims import load_claim

    for name in ("SE15", "SE15-noisy"):
        assert tuple(load_claim(name).settings["arms"]) == tables.NAMED
    assert 2 / 2 ** len(profile("cpu").seeds) * len(tables.NAMED) < 0.05
    assert set(tables.NAMED) <= set(profile("cpu").arms)


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(list(specs))
        return [result(spec, 1.0) for spec in specs]

    assert len(selector_arena.collect(params(), run)) == 30
    assert [len(batch) for batch in asked] == [4, 30]
    assert selector_arena.pending(params(), []) == "30 test runs follow once dev has chosen among 2 settings"


def test_notes_of_selectors_are_rows_of_their_arm():
    arms = selector_arena.designs(params(seeds=(0, 1), redundant_arms=("instruct_mining",)), SETTING)
    results = {name: [result(spec, 0.5) for spec in runs] for name, runs in arms.items()}
    results["redundant/instruct_mining"] = [
        result(spec, 0.5, leave_one_out_r2=0.25) for spec in arms["redundant/instruct_mining"]
    ]
    frame = selector_arena.evidence(results)
    notes = frame[frame["kind"] == "note"]
    assert (
        notes[["arm", "metric", "value"]].to_numpy().tolist()
        == [["redundant/instruct_mining", "leave_one_out_r2", 0.25]] * 2
    )
    assert sorted(notes["seed"]) == [0, 1] and notes["n_train"].dtype == np.int64
    assert len(frame) == sum(map(len, results.values())) * 4 + 2  # four metrics of one family


def test_the_arena_is_the_difference_to_random():
    frame = selector_arena.evidence(some_results())
    table = tables.arena(frame)
    assert "random" not in set(table["arm"]) and not table["arm"].str.contains(r"\(").any()
    place = {name: index for index, name in enumerate(ARMS)}
    np.testing.assert_allclose(table["mean"], [0.01 * place[arm] for arm in table["arm"]], atol=1e-12)
    for _, rows in table.groupby("kind"):
        assert rows["mean"].is_monotonic_decreasing
    assert table.loc[table["named"], "arm"].unique().tolist() == ["ifd top"]
    assert np.isneginf(table["low"]).all() and (table["seeds"] == 2).all()
    assert "1 of 1" not in tables.self_scoring_sentence(table)  # two seeds are never significant


def test_holm_counts_the_named_alone():
    results = some_results(seeds=tuple(range(8)))
    table = tables.arena(selector_arena.evidence(results)).set_index(["kind", "arm"])
    assert table.loc[("noisy", "ifd top"), "holm"] == pytest.approx(2 / 2**8)
    assert np.isnan(table.loc[("noisy", "ifd bottom"), "holm"])
    sentence = tables.self_scoring_sentence(table.reset_index())
    assert "in noisy pools 1 of 1 beat it and 0 lose to it" in sentence


def test_both_ends_of_a_score_stand_side_by_side():
    ends = tables.signs(tables.arena(selector_arena.evidence(some_results())))
    assert ends[["kind", "score", "end"]].to_numpy().tolist() == [
        ["noisy", "IFD", "high"], ["noisy", "IFD", "low"],
        ["redundant", "IFD", "high"], ["redundant", "IFD", "low"],
    ]  # fmt: skip
    assert "in noisy pools IFD -0.010" in tables.signs_sentence(ends)
    assert tables.signs_sentence(ends.iloc[:0]).startswith("No score has both")


def test_pairs_at_other_sizes_leave_out_what_was_not_run():
    frame = selector_arena.evidence(some_results(fifth=0))
    found = tables.pairs(frame, tables.other_sizes(40, 32))
    assert list(found["difference"]) == [
        "redundant/ic_ifd (40) minus redundant/full",
        "redundant/ifd top (40) minus redundant/full",
        "redundant/random (40) minus redundant/full",
        "redundant/ic_ifd (40) minus redundant/ifd top (40)",
        "redundant/ic_ifd (40) minus redundant/random (40)",
    ]
    assert tables.other_sizes(0, 0) == []


def test_costs_are_in_trainings_of_the_random_arm():
    results = some_results()
    results["noisy/random"] = [result(run.spec, 0.5) for run in results["noisy/random"]]
    arena = tables.arena(selector_arena.evidence(results))
    found = tables.costs(arena, tables.selected(results)).set_index(["kind", "arm"])
    assert found.loc[("noisy", "random"), ["mean", "cost"]].tolist() == [0.0, 1.0]
    assert found.loc[("noisy", "rds"), "cost"] == pytest.approx((6000 + 6000) / 6000)
    assert found.loc[("noisy", "rds"), "front"] and not found.loc[("noisy", "ifd top"), "front"]


def planted_examples():
    """Two seeds: of four mismatched examples three lie above all right ones, which are at .5 and 1."""
    rows = []
    for seed in (0, 1):
        for noise, values in {"none": [0.5, 1.0], "duplicate": [0.5, 1.0], "mismatched": [1.2, 1.3, 1.4, 0.2]}.items():
            for value in values:
                rows.append({"seed": seed, "scorer": "base", "noise": noise, "metric": "ifd", "value": value})
        rows.append({"seed": seed, "scorer": "base", "noise": "none", "metric": "zero_shot_match", "value": 0.0})
        rows.append({"seed": seed, "scorer": "base", "noise": "none", "metric": "one_shot_match", "value": 1.0})
        for norm, length in ((3.0, 1), (2.0, 2), (1.0, 3)):
            about = {"metric": "gradient_norm", "value": norm, "response_tokens": length}
            rows.append({"seed": seed, "scorer": "base", "noise": "none", **about})
    return pd.DataFrame(rows)


def test_what_ifd_marks():
    table = tables.marked(planted_examples()).set_index("noise")
    assert table.loc["mismatched", ["above_1", "auc"]].tolist() == pytest.approx([0.75, 0.75])
    assert table.loc["right", "above_1"] == 0 and np.isnan(table.loc["right", "auc"])
    assert table.loc["right", "median"] == 0.75 and (table["seeds"] == 2).all()
    assert not len(tables.marked(planted_examples().iloc[:0]))


def test_what_bases_do_before_tuning():
    table = tables.per_seed(planted_examples())
    assert table.to_numpy().tolist() == [[0, 0.0, 1.0, pytest.approx(-1.0)], [1, 0.0, 1.0, pytest.approx(-1.0)]]


def test_figures_draw_every_arm_and_survive_gaps():
    results = some_results()
    arena = tables.arena(selector_arena.evidence(results))
    for ax, (_, rows) in zip(selector_arena_figures.ranked(arena), arena.groupby("kind"), strict=True):
        assert [tick.get_text() for tick in ax.get_yticklabels()] == list(rows["arm"])
        crosses = [line for line in ax.lines if line.get_marker() == "x"]
        assert len(crosses) == (rows["group"] == "targets").sum()
    ends = tables.signs(arena)
    assert len(selector_arena_figures.both_signs(ends)) == 2
    assert len(selector_arena_figures.both_signs(ends.iloc[:0])) == 1
    assert len(selector_arena_figures.difficulty(planted_examples())) == 1
    assert len(selector_arena_figures.difficulty(planted_examples().iloc[:0])) == 1
    spent = tables.costs(arena, tables.selected(results))
    assert len(selector_arena_figures.cost(spent)) == 2 and len(selector_arena_figures.cost(spent.iloc[:0])) == 1
    shares = pd.DataFrame([[1.0, np.nan], [np.nan, 1.0]], index=["noisy/a", "noisy/b"], columns=["noisy/a", "noisy/b"])
    assert [t.get_text() for t in selector_arena_figures.overlap(shares, "noisy").get_yticklabels()] == ["a", "b"]


def example(family, question, answer):
    return Example(f"{family} {question}", (Turn("user", question), Turn("assistant", answer)), family=family)


def test_a_demonstration_is_of_the_same_family_and_never_the_answer():
    pool = [
        example("a", "1", "x"), example("b", "2", "x"), example("a", "1", "x"), example("a", "3", "x"),
        example("a", "4", "y"), example("b", "5", "z"),
    ]  # fmt: skip
    pairs = [(shown.instruction, other.instruction) for shown, other in selector_arena_scores.demonstrated(pool, 9)]
    assert pairs == [("1", "4"), ("2", "5"), ("3", "4"), ("4", "1"), ("5", "2")]
    assert len(selector_arena_scores.demonstrated(pool, 2)) == 2


def test_examples_are_measured_on_the_pools_and_bases_of_the_runs(tmp_path):
    p = params(pool_size=60, seeds=(0,), quarter=0, fifth=0, gradient_rows=5, in_context_items=3)
    frame = selector_arena_scores.example_frame(p, SETTING, tmp_path)
    counts = frame.groupby("metric").size().to_dict()
    assert counts == {"ifd": 60, "gradient_norm": 5, "zero_shot_match": 3, "one_shot_match": 3}
    random = {kind: selecting.arm(p, SETTING, kind, "random")[0] for kind in p.kinds}
    for kind, spec in random.items():
        assert set(frame.loc[frame["arm"] == f"{kind}/examples", "digest"]) == {digest(resolve(spec))[:12]}
    noisy = frame[frame["metric"] == "ifd"]
    assert set(noisy["noise"]) == {"none", *selecting.CORRUPTIONS} and (noisy["value"] > 0).all()
    assert (frame.loc[frame["metric"] == "gradient_norm", "value"] > 0).all()
    assert set(frame.loc[frame["metric"] == "one_shot_match", "value"]) <= {0.0, 1.0}
    again = selector_arena_scores.example_frame(p, SETTING)
    pd.testing.assert_frame_equal(frame, again)
    nothing = dataclasses.replace(p, gradient_rows=0, in_context_items=0, kinds=("redundant",))
    assert not len(selector_arena_scores.example_frame(nothing, SETTING))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": []}, "arms: the list is empty"),
        ({"arms": ["full"]}, "arms: 'random' is missing"),
        ({"arms": ["random", "ifd topp"]}, "arms: 'ifd topp' is no arm.*did you mean 'ifd top'"),
        ({"arms": ["random", "random"]}, "arms: the list repeats"),
        ({"redundant_arms": ["ifd top"]}, "redundant_arms.*also in arms"),
        ({"redundant_arms": ["kmeans"]}, "redundant_arms: 'kmeans' is no arm"),
        ({"redundant_arms": ["kmq", "kmq"]}, "redundant_arms: the list repeats"),
        ({"kinds": ["noisy"]}, "redundant_arms: is about redundant pools"),
        ({"kinds": ["noisy"], "redundant_arms": []}, "quarter: is about redundant pools"),
        ({"kinds": ["noisy"], "redundant_arms": [], "quarter": 0}, "fifth: is about redundant pools"),
        ({"kinds": ["loud"]}, "kinds"),
        ({"n_train": 160}, "n_train: 160 leaves nothing to select"),
        ({"quarter": 500}, "quarter: 500 leaves nothing"),
        ({"fifth": 160}, "fifth: 160 leaves nothing"),
        ({"quarter": 16}, "quarter: 16 is n_train"),
        ({"quarter": -1}, "quarter"),
        ({"scorers": []}, "scorers: the list is empty"),
        ({"scorers": ["warm"]}, "scorers: 'warm' is neither base nor warm-N"),
        ({"gradient_rows": -1}, "gradient_rows"),
        ({"in_context_items": -1}, "in_context_items"),
        ({"pool_size": 1}, "pool_size"),
        ({"n_targets": 0}, "n_targets"),
        ({"noise_rate": -0.5}, "noise_rate"),
        ({"imbalance": -1}, "imbalance"),
        ({"data": "my.jsonl"}, "data: 'my.jsonl' has no known noise"),
        ({"seeds": [1000]}, "choice_seeds.*also in seeds"),
        ({"quater": 40}, "did you mean 'quarter'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(SelectorArenaParams, changes, where="test")
    assert "\n" not in str(caught.value)
