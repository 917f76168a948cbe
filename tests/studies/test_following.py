"""The design of the study of injections and chains, and what it reads from answers that we made up."""

import dataclasses

import numpy as np
import pytest

from itlib.errors import InputError
from itlib.injections import told
from itlib.microworld import lexicon
from itlib.microworld.operations import answer
from itlib.params import from_yaml
from itlib.registry import families, sources
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.studies import following, following_figures, following_tables
from itlib.studies.following import FollowingParams
from itlib.studies.following_scores import attack_rows, attacks, chain_rows, chains
from itlib.workspace import project_root

SETTING = {"learning_rate": 2e-3, "train_embeddings": False}
ARMS = {
    "instructed", "instructed with negatives", "task alone/longer", "instructed, then task/longer", "singles",
    "singles and pairs",
}  # fmt: skip


def params(**changes):
    return dataclasses.replace(FollowingParams(), **changes)


def cpu():
    return from_yaml(project_root() / "params" / "cpu" / "03e_following.yaml").params


def answered(spec, say):
    """A finished run that says ``say(item)`` to every test item."""
    spec = resolve(spec)
    items = []
    for item in sources.get("microworld").held_out(spec.data, spec.evaluate):
        said = say(item)
        about = (item.id, item.family, item.category, item.familiarity, item.phrasing)
        items.append((*about, None, None, float(said == item.gold), 1.0, 2, 4, said))
    return RunResult(spec, "done", tuple(items))


def right(item):
    return item.gold


def obedient(item):
    """Follows whatever is injected, and else answers its task."""
    found = told(item.id)
    return item.gold if found.place == "absent" else found.answer


def test_arms_and_what_they_are_attacked_with():
    arms = following.designs(params(), SETTING)
    assert set(arms) == ARMS
    for name in ARMS - {"singles", "singles and pairs"}:
        spec = arms[name][0]
        assert spec.evaluate.injection == "absent+start+middle+end" and spec.train.schedule == "constant"
        assert spec.evaluate.eval_phrasing_set == (
            "observed" if name.startswith("instructed") and "/" not in name else "none"
        )


def test_negatives_differ_from_instructions_in_the_augmentation_alone():
    arms = following.designs(params(), SETTING)
    for plain, changed in zip(arms["instructed"], arms["instructed with negatives"], strict=True):
        assert set(diff(plain, changed)) == {"augmentation", "augmentation_options"}


def test_a_task_is_seen_as_often_alone_as_after_instructions():
    p = cpu()
    arms = following.designs(p, SETTING)
    for task in p.tasks:
        alone, then = arms[f"task alone/{task}"][0], arms[f"instructed, then task/{task}"][0]
        assert alone.data.phrasing_set == then.data.mix_phrasing_set == "none"
        assert (alone.data.n_train, then.data.n_mix) == (p.task_size, p.task_size)
        visits = then.train.budget * p.task_size / (then.data.n_train + then.data.n_mix)
        assert visits == alone.train.budget == p.task_steps
        assert task not in then.data.families and then.train.order == "sequential"


def test_chain_arms_differ_in_families_alone():
    arms = following.designs(params(), SETTING)
    assert set(diff(arms["singles"][0], arms["singles and pairs"][0])) == {"families"}
    assert arms["singles"][0].train.budget_unit == "tokens"
    assert arms["singles and pairs"][0].data.families == ("worked_chain_1", "worked_chain_2")


def test_five_steps_fit_the_tokens_of_an_answer():
    from itlib.microworld.tokenizer import build as tokenizer

    longest = answer("worked_chain", ("hot big fast", "flip then rotate then cover then arrange then invert"))
    assert len(tokenizer()(longest)["input_ids"]) + 1 <= following.CHAIN_TOKENS


def test_the_cpu_profile_costs_what_its_file_says():
    arms = following.designs(cpu(), SETTING)
    n = len({digest(resolve(spec)) for arm in arms.values() for spec in arm})
    text = (project_root() / "params" / "cpu" / "03e_following.yaml").read_text()
    assert f"16 dev runs of 150 steps and {n} test runs" in text and len(following.candidates(cpu())) == 16


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(list(specs))
        return [answered(spec, right) if spec.evaluate.split == "test" else dev(spec) for spec in specs]

    def dev(spec):
        items = (("f-0", "f", "words", "latent", "", 1.0, 1.0, None, 1.0, 2, 4, ""),)
        return RunResult(resolve(spec), "done", items)

    assert len(following.collect(params(), run)) == 12
    assert [len(batch) for batch in asked] == [2, 12]
    assert following.pending(params(), []) == "12 test runs follow once dev has chosen a setting"


# ---- injections -----------------------------------------------------------------------------------------------


def instructed(**changes):
    return following.designs(params(n_attacked=30, **changes), SETTING)["instructed"][0]


def by_place(rows, metric):
    return rows[rows["metric"] == metric].set_index("place")["value"].to_dict()


def test_a_model_that_obeys_and_one_that_does_not():
    good, bad = (attack_rows([answered(instructed(), say)]) for say in (right, obedient))
    assert by_place(good, "hit") == dict.fromkeys(["absent", "start", "middle", "end"], 0.0)
    assert by_place(good, "own") == dict.fromkeys(["absent", "start", "middle", "end"], 1.0)
    assert by_place(bad, "hit") == {"absent": 0.0, "start": 1.0, "middle": 1.0, "end": 1.0}


@pytest.mark.parametrize("word", ["cold", "red", "animal"])
def test_a_model_blind_to_instructions_hits_at_the_rate_of_collisions_and_never_beyond(word):
    """It says one word to everything: every hit is a collision, at every place."""
    rows = attack_rows([answered(instructed(), lambda item: word)])
    assert by_place(rows, "hit") == pytest.approx(by_place(rows, "collision"))
    assert by_place(rows, "corrected") == pytest.approx(dict.fromkeys(["absent", "start", "middle", "end"], 0.0))


def test_a_blind_model_with_many_words_is_right_on_average():
    """What it says depends on the item alone; shares of its words then predict its hits."""
    words = [*lexicon.COLOURS, *lexicon.SIZES]
    said = {}

    def say(item):
        said.setdefault(told(item.id).item, words[len(said) % len(words)])
        return said[told(item.id).item]

    spec = following.designs(params(n_attacked=300), SETTING)["instructed"][0]
    table = attacks([answered(spec, say)])
    grouped = table.groupby("place")[["hit", "collision"]].mean()
    assert grouped["hit"].max() > 0 and (grouped["hit"] - grouped["collision"]).abs().max() < 0.03


def results(say_alone=right, say_instructed=obedient):
    arms = following.designs(params(n_attacked=10), SETTING)
    say = {"task alone/longer": say_alone, "instructed": say_instructed}
    return {name: [answered(spec, say.get(name, right)) for spec in arm] for name, arm in arms.items()}


def test_success_by_place_with_bounds():
    items = following_tables.attacked(results())
    table = following_tables.success(items).set_index(["arm", "place"])
    alone = table.loc[("task alone", "end")]
    assert (alone["n"], alone["hits"], alone["at_most"], alone["clean"]) == (20, 0, 3 / 20, 1.0)
    hit = table.loc[("instructed", "start")]
    assert hit["rate"] == 1.0 and 0.8 < hit["low"] < hit["high"] <= 1.0 and np.isnan(hit["at_most"])
    assert list(dict.fromkeys(table.reset_index()["place"])) == ["start", "middle", "end"]
    said = following_tables.sentence(table.reset_index())
    assert "task alone: 0 of 60 injections followed, at most 5.00% by the rule of three, 1.00 right without one" in said


def test_outcomes_add_up_to_one():
    table = following_tables.outcomes(following_tables.attacked(results(say_alone=lambda item: "nothing")))
    assert table[["injected", "own", "neither"]].sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert (table.loc[table["arm"] == "task alone", "neither"] == 1.0).all()


# ---- chains ---------------------------------------------------------------------------------------------------


def chain_run(say):
    return answered(following.designs(params(n_chains=6), SETTING)["singles"][0], say)


def test_right_chains_are_right_in_every_step():
    rows = chain_rows([chain_run(right)])
    assert set(rows["length"]) == {1, 2, 3, 4, 5} and (rows["value"] == 1.0).all()
    table = chains([chain_run(right)])
    assert table.groupby(["item"])["step"].max().eq(table.groupby("item")["length"].first()).all()


def test_a_first_step_alone_and_a_step_too_many():
    first = chains([chain_run(lambda item: item.gold.split(" ; ")[0])]).query("length == 3")
    assert (first["value"] == (first["step"] == 1)).all() and (first["final"] == 0).mean() > 0.5
    more = chains([chain_run(lambda item: f"{item.gold} ; flip a b c = c b a")]).query("length == 3")
    assert (more["value"] == (more["step"] < 3)).all() and (more["true"] == 1).all()


def test_steps_that_are_true_from_a_wrong_list_are_not_right():
    def swapped(item):
        name, *listed = item.gold.split(" = ")[0].split()
        start = " ".join([listed[1], listed[0], listed[2]])
        return answer("worked_chain", (start, name))

    table = chains([chain_run(swapped)]).query("length == 1")
    assert (table["true"] == 1).all() and table["value"].mean() < 1


def test_operations_by_their_place_in_a_chain_and_in_training():
    """An arm that never exchanges anything but as a first step: all others are done, wherever they stand."""

    def only_first(item):
        said = item.gold.split(" ; ")
        return " ; ".join(said[:1] + [step.replace("exchange", "flip") for step in said[1:]])

    table = following_tables.positions({"singles": [chain_run(only_first)]}).set_index(["in_pairs", "place"])
    assert table["done"].to_dict() == {
        ("first place", "first"): 1.0,
        ("first place", "later"): 0.0,
        ("any place", "first"): 1.0,
        ("any place", "later"): 1.0,
    }
    assert table["n_steps"].sum() == 6 * (1 + 2 + 3 + 4 + 5) and table["n_steps"].min() > 0
    assert not len(following_tables.positions({}))


def test_independence_and_ratio_by_hand():
    """Of six chains of two steps, three fail both and three are right: .5 together, .25 expected."""
    turn = {}

    def half(item):
        turn.setdefault(item.family, []).append(item.id)
        return item.gold if len(turn[item.family]) % 2 else "nothing"

    arms = following.designs(params(n_chains=6, seeds=(0,)), SETTING)
    frame = following.evidence(
        {name: [answered(s, half) for s in arms[name]] for name in ("singles", "singles and pairs")}
    )
    row = following_tables.chains(frame).query("arm == 'singles' and length == 2").iloc[0]
    assert (row["all_steps"], row["independent"], row["ratio"]) == pytest.approx((0.5, 0.25, 2.0))


def test_slopes_of_log_odds_by_hand():
    rows = chain_rows([chain_run(right)]).assign(arm="singles")
    flat = following_tables.slopes(rows)
    assert flat["slope"].tolist() == pytest.approx([0.0])
    rows.loc[rows["metric"] == "all_steps", "value"] = rows["length"].map({1: 1.0, 2: 0.5, 3: 0.5, 4: 0.5, 5: 0.0})
    odds = np.log(6.5 / 0.5)
    assert following_tables.slopes(rows)["slope"].tolist() == pytest.approx([(-2 * odds - 2 * odds) / 10])


def test_evidence_names_arms_without_their_task():
    frame = following.evidence(results())
    assert set(frame["arm"]) == {name.partition("/")[0] for name in ARMS}
    assert set(frame["kind"]) == {"test", "attack", "chain"}
    assert frame.loc[frame["kind"] != "test", ["seed", "digest", "status"]].notna().all().all()


def test_a_failed_run_has_no_rows_of_its_own():
    spec = resolve(instructed())
    assert not len(attack_rows([RunResult(spec, "failed", error="x")]))


def test_figures_draw_all_arms_and_survive_gaps():
    found = results()
    items = following_tables.attacked(found)
    table = following_tables.success(items)
    ax = following_figures.success(table)
    assert len(ax.get_legend().get_texts()) == 4
    assert len(following_figures.outcomes(following_tables.outcomes(items))) == 4
    frame = following.evidence(found)
    axes = following_figures.chains(frame[frame["kind"] == "chain"])
    assert [len(ax.lines) for ax in axes] == [6, 4]
    assert len(following_figures.chains(frame.iloc[:0])) == 2
    following_figures.success(table[table["place"] == "end"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": []}, "tasks: the list is empty"),
        ({"tasks": ["longer", "longer"]}, "tasks: the list repeats"),
        ({"tasks": ["longr"]}, "did you mean 'longer'"),
        ({"tasks": ["chain_1"]}, "no standard family"),
        ({"task_steps": 7}, "no whole number in 10"),
        ({"negative_share": 1.5}, "negative_share"),
        ({"data": "rows.jsonl"}, "this study needs microworld"),
        ({"n_chain": 8}, "did you mean 'n_chains'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(FollowingParams, changes, where="test")
    assert "\n" not in str(caught.value)


def test_operations_of_every_family_of_injections_are_known():
    from itlib.microworld.injection import FAMILIES

    assert all(families.get(name).standard and not families.get(name).constraints for name in FAMILIES)
