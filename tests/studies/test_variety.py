"""The design of study 1b: arms differ in their axis alone, are nested, never tune the held out; some share runs."""

from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest

from itlib.errors import InputError
from itlib.microworld import world, writers
from itlib.params import from_yaml
from itlib.registry import families, sources
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.roles import ALWAYS, HELD_OUT, TUNED
from itlib.schema import build
from itlib.spec import diff, digest, with_fields
from itlib.studies import data_scaling, variety, variety_in_context, variety_views
from itlib.studies.variety import VarietyParams, arms, choice_grid, collect, labelled_frame, pending, rotated
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}
EXTENT = {
    "families": {"families", "eval_families"},
    "categories": {"families", "eval_families"},
    "phrasings": {"phrasing_set"},
    "tasks": {"families", "eval_families", "n_operands"},
}


@pytest.fixture(scope="module")
def cpu():
    return from_yaml(project_root() / "params" / "cpu" / "01b_variety.yaml").params


@pytest.fixture(scope="module")
def designed(cpu):
    return arms(cpu, SETTING)


def by_axis_and_seed(designed):
    groups = defaultdict(list)
    for arm in designed:
        groups[arm.axis, arm.spec.seed].append(arm)
    return groups


def test_the_cost_that_the_cpu_file_promises(cpu, designed):
    distinct = {digest(resolve(arm.spec)): arm for arm in designed}
    shared = [arm for arm in distinct.values() if arm.axis == "all families"]
    header = (project_root() / "params" / "cpu" / "01b_variety.yaml").read_text()
    assert (len(distinct) - len(shared), len(shared), len(choice_grid(cpu))) == (104, 8, 16)
    assert "# Cost: 104 test runs of 150 steps, and 16 dev and 8 test runs shared" in header
    assert {(arm.spec.train.budget, arm.spec.train.batch_size) for arm in designed} == {(150.0, 32)}
    assert pending(cpu, []) == "112 test runs follow once dev has chosen among 4 settings"


def test_choices_and_runs_on_all_families_are_those_of_data_scaling(cpu, designed):
    other = from_yaml(project_root() / "params" / "cpu" / "01_data_scaling.yaml").params
    keys = {digest(resolve(spec)) for spec in data_scaling.scaling_grid(other, SETTING)}
    mine = [arm.spec for arm in designed if arm.axis == "all families"]
    assert len(mine) == 8 and {digest(resolve(spec)) for spec in mine} <= keys
    choices = [[digest(resolve(spec)) for spec in module.choice_grid(p)] for module, p in
               ((variety, cpu), (data_scaling, other))]  # fmt: skip
    assert choices[0] == choices[1]


def test_arms_of_one_seed_differ_in_their_axis_alone(designed):
    for (axis, _), group in by_axis_and_seed(designed).items():
        for arm in group[1:]:
            assert set(diff(group[0].spec, arm.spec)) == EXTENT[axis]
            assert arm.held_out == group[0].held_out and arm.always == group[0].always


def test_arms_are_nested_and_never_tune_what_they_hold_out(designed):
    for arm in designed:
        data, asked = arm.spec.data, arm.spec.evaluate.eval_families
        if arm.axis != "all families":
            assert not set(arm.held_out) & set(data.families) and set(arm.always) <= set(data.families)
            assert sorted(asked) == sorted((*arm.held_out, *data.families))
    for (axis, _), group in by_axis_and_seed(designed).items():
        if axis != "phrasings":
            for fewer, more in zip(group[:-1], group[1:], strict=True):
                assert more.spec.data.families[: len(fewer.spec.data.families)] == fewer.spec.data.families


def test_seeds_draw_orders_of_their_own(designed):
    for axis in ("families", "categories", "tasks"):
        orders = {arm.spec.data.families for arm in designed if arm.axis == axis and arm.level == max(
            other.level for other in designed if other.axis == axis)}  # fmt: skip
        assert len(orders) >= 7


def test_the_rule_for_held_out_families():
    found = variety.held_out_families()
    assert found == ("first_letter", "category", "home", "alphabetical", "addition")
    assert len({world.category(name) for name in found}) == 5 and set(found) <= set(writers.LISTED)


def test_turns_of_holding_out_are_equal():
    names = list("abcdefg")
    counts = Counter(name for seed in range(7) for name in rotated(names, 2, seed))
    assert set(counts.values()) == {2}
    assert [rotated(names, 2, seed) for seed in (0, 1, 3)] == [("a", "b"), ("c", "d"), ("g", "a")]


def test_held_out_categories_take_turns(designed):
    away = {
        arm.spec.seed: {world.category(name) for name in arm.held_out} for arm in designed if arm.axis == "categories"
    }
    counts = Counter(name for names in away.values() for name in names)
    assert all(len(names) == 2 for names in away.values()) and set(counts.values()) == {2, 3} and len(counts) == 7


def test_tasks_are_about_one_noun_and_pairs_are_fixed(designed):
    for arm in designed:
        if arm.axis == "tasks":
            data = arm.spec.data
            assert {families.get(name).operand for name in (*arm.held_out, *data.families)} == {"noun"}
            assert all(families.get(name).familiarity == "latent" for name in arm.held_out)
            assert len(data.families) * data.n_operands == data.n_train == data.pool_size == 240


@pytest.mark.parametrize("axis", ["families", "categories", "tasks"])
def test_pools_are_balanced_over_families(designed, axis):
    for arm in (arm for arm in designed if arm.axis == axis and arm.spec.seed == 0):
        pool = sources.get("microworld").pool(arm.spec.data, seed=0)
        counts = Counter(example.family for example in pool)
        assert len(pool) == arm.spec.data.n_train and max(counts.values()) - min(counts.values()) <= 1
        assert set(counts) == set(arm.spec.data.families)


def test_every_pair_of_task_and_noun_comes_once_in_one_wording(designed):
    for arm in (arm for arm in designed if arm.axis == "tasks" and arm.spec.seed == 1):
        pool = sources.get("microworld").pool(arm.spec.data, seed=1)
        assert len({(example.family, example.entities) for example in pool}) == 240
        assert len({(example.family, example.phrasing) for example in pool}) == arm.level
        assert len({example.entities for example in pool}) == 240 // arm.level, "all tasks ask about the same nouns"


def test_pools_of_three_kinds_of_instruction_ask_about_the_same_words(designed):
    """But for families whose words are used up after one round, as their share is larger than their words."""
    group = by_axis_and_seed(designed)["phrasings", 0]
    pools = {arm.spec.data.phrasing_set: sources.get("microworld").pool(arm.spec.data, seed=0) for arm in group}
    natural, name, none = ({(e.family, e.entities) for e in pools[which]} for which in ("observed", "name", "none"))
    assert name == none and len(name) == 800
    small = {family for family in group[0].always if families.get(family).size("pool") < 800 // 12}
    assert small <= {"country", "past"}
    assert {pair for pair in natural if pair[0] not in small} <= name


def test_roles_and_shared_runs_in_the_labelled_frame():
    params = VarietyParams(seeds=(0,))
    some = [arm for arm in arms(params, SETTING) if arm.axis in ("families", "phrasings")]
    results = [
        RunResult(arm.spec, "done", tuple(
            (f"{name}-0", name, world.category(name), "latent", "", 1.0, 1.0, None, 1.0, 2, 4, "")
            for name in arm.spec.evaluate.eval_families
        )) for arm in some
    ]  # fmt: skip
    frame = labelled_frame(some, results)
    exact = frame[frame["metric"] == "exact_match"]
    wide = exact[(exact["axis"] == "families") & (exact["level"] == 4)].set_index("family")["role"]
    assert wide.value_counts().to_dict() == {HELD_OUT: 5, ALWAYS: 2, TUNED: 2}
    observed = exact[(exact["axis"] == "phrasings") & (exact["phrasing_set"] == "observed")]
    assert set(observed["digest"]) == set(exact[(exact["axis"] == "families") & (exact["level"] == 4)]["digest"])
    failed = labelled_frame(some[:1], [RunResult(some[0].spec, "failed", error="why")])
    assert failed[["axis", "level", "role", "status"]].values.tolist() == [["families", 2, "", "failed"]]


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(list(specs))
        item = ("x-0", "past", "words", "latent", "", 1.0, 1.0, None, 1.0, 2, 4, "")
        return [RunResult(spec, "done", (item,)) for spec in specs]

    assert len(collect(VarietyParams(), run)) == len(asked[1]) == 20 and len(asked[0]) == 2
    assert len({digest(resolve(spec)) for spec in asked[1]}) == 18


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"n_families": []}, "n_families: the list is empty"),
        ({"n_families": [2, 2]}, "n_families: the list repeats"),
        ({"n_families": [0]}, "n_families"),
        ({"n_families": [2, 17]}, "n_families: 17 families, and 16 are left"),
        ({"held_out": ["pasd"]}, "held_out: 'pasd' is no standard family.*did you mean 'past'"),
        ({"held_out": ["past", "past"]}, "held_out: the list repeats"),
        ({"n_categories": [6]}, "n_categories: 6 asked for, and 5 of 7"),
        ({"held_out_categories": 7}, "n_categories: 2 asked for, and 0 of 7"),
        ({"held_out_categories": 0}, "held_out_categories"),
        ({"phrasing_sets": ["negated"]}, "phrasing_sets"),
        ({"phrasing_sets": ["observed", "observed"]}, "phrasing_sets: the list repeats"),
        ({"n_tasks": [6]}, "n_tasks: 6 asked for, and 5 of 7"),
        ({"held_out_tasks": 6, "n_tasks": [1]}, "held_out_tasks: at most 5"),
        ({"n_pairs": 13}, "n_pairs: 13 pairs are no whole number"),
        ({"n_pairs": 600}, "n_pairs: 600 pairs.*1 to 144"),
        ({"n_train": 0}, "n_train"),
        ({"n_all": 0}, "n_all"),
        ({"n_in_context": 0}, "n_in_context"),
        ({"seeds": [1000]}, "choice_seeds"),
        ({"seeds": []}, "seeds: the list is empty"),
        ({"budget": 1.5}, "budget: expected int"),
        ({"learning_rates": [0.0]}, "learning_rates"),
        ({"schedule": "cosinus"}, "cosine"),
        ({"data": "rows.jsonl"}, "data: 'rows.jsonl' has no task families"),
        ({"n_family": [2]}, "did you mean 'n_families'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(VarietyParams, changes, where="test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes,message", [({"n_train": 100_000}, "pool_size"), ({"n_all": 500}, "500.*400")])
def test_more_examples_than_there_are_stop_the_study_before_any_run(changes, message):
    with pytest.raises(InputError, match=message):
        choice_grid(VarietyParams(**changes))


def test_a_base_in_context_is_asked_once_and_knows_its_lists():
    variety_in_context.in_context.cache_clear()
    table = variety_in_context.in_context_frame(VarietyParams(seeds=(0, 8), n_in_context=4))
    assert variety_in_context.in_context.cache_info().misses == 1, "seeds 0 and 8 tune one base"
    wide = table.pivot(index="seed", columns="family", values="value")
    assert list(wide.columns) == sorted(world.default_families()) and (wide.loc[0] == wide.loc[8]).all()
    assert wide.loc[0, ["past", "home", "colour", "copy"]].mean() > 0.9
    assert wide.loc[0, ["reverse", "novel_rule", "two_digit_addition"]].mean() < 0.3


def test_views_show_what_the_frame_holds():
    from planted_roles import frame, in_context, line

    cells = line("families", HELD_OUT, (2, 8), lambda s, k: 0.1 * k, ("a/x",)) + in_context({"a/x": 0.5, "b/y": 0.1})
    cells += line("families", ALWAYS, (2, 8), lambda s, k: 0.9, ("b/y",))
    cells += line("all families", ALWAYS, (1600,), lambda s, k: 0.7, ("a/x", "b/y"))
    data = frame(cells)
    found = variety_views.positions(data)
    assert (found.fewest, found.most) == (2, 8)
    assert (found.at_fewest, found.at_most, found.in_context) == pytest.approx((0.2, 0.8, 0.5))
    assert str(found).count("rises (0.200 to 0.800)") == 1 and "not below the 0.500" in str(found)
    curve, points = variety_views.role_curves(data, ["families"])
    assert set(curve["role"]) == set(variety_views.LINES) and len(points) == 3 * 2 * 8
    compared = variety_views.base_and_tuned(data).set_index("family")
    assert compared.loc["b/y", "in_context"] == pytest.approx(0.1) and np.allclose(compared["tuned"], 0.7)


def test_names_of_families_stay_apart_and_inside_the_figure():
    from itlib.studies.variety_figures import LABEL_STEP, base_against_tuned

    names = world.default_families()
    known = [0.0 if families.get(name).familiarity in ("flat", "composed") else 1.0 for name in names]
    about = [families.get(name).familiarity for name in names]
    table = pd.DataFrame({"family": names, "familiarity": about, "in_context": known, "tuned": 0.97})
    places = [text.get_position() for text in base_against_tuned(table).texts]
    assert len(places) == 21 and all(0 <= height <= 1 for _, height in places)
    for column in {beside for beside, _ in places}:
        heights = sorted(height for beside, height in places if beside == column)
        assert np.diff(heights).min() >= LABEL_STEP - 1e-9


def test_embeddings_and_pool_size_of_the_shared_runs_are_kept(cpu, designed):
    shared = next(arm.spec for arm in designed if arm.axis == "all families")
    assert shared.data.pool_size == cpu.pool_size == 3200 and shared.data.families == ()
    assert with_fields(shared, seed=1).tuning.train_embeddings is False
