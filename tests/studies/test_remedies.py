"""The study of remedies: arms that differ in their remedy alone, and a frame, tables and figures checked by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from itlib.claims import judge, load_claim
from itlib.errors import InputError, RunError
from itlib.microworld import world
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import build
from itlib.spec import diff, digest, train_digest
from itlib.studies import remedies
from itlib.studies import remedies_figures as draw
from itlib.studies import remedies_scores as scores
from itlib.studies import remedies_tables as tables
from itlib.studies.remedies import RemediesParams
from itlib.workspace import project_root

BASE = {"seed", "base_seed"}
RATES = dict.fromkeys(remedies.arms(RemediesParams()), 1e-3)


def params(**changes):
    return dataclasses.replace(RemediesParams(), **changes)


def cpu():
    return from_yaml(project_root() / "params" / "cpu" / "03b_remedies.yaml").params


def item(family, phrasing, operand, value):
    return (
        f"{phrasing.partition('/')[0]}/test/{family}/{operand}/{phrasing.partition('/')[2]}", family, "words",
        "latent", phrasing, value, value, None, 1.0, 2, 4, "",
    )  # fmt: skip


def result(spec, status="done", familiar=0.75, new=0.5, negated=0.25):
    """A run that gets these shares right: of four operands the first ones, in every phrasing alike."""
    items = []
    shares = {"observed": familiar, "unobserved": new, "negated": negated}
    k = spec.data.n_phrasings
    for family in ("plural", "colour"):
        for which in spec.evaluate.eval_phrasing_set.split("+"):
            for rank, phrasing in enumerate(world.phrasing_order(family, which, 0)[: spec.evaluate.n_eval_phrasings]):
                share = shares[which] if which != "observed" or rank < k else 0.0
                items += [item(family, f"{which}/{phrasing.id}", f"w{i}", float(i < 4 * share)) for i in range(4)]
    return RunResult(resolve(spec), status, tuple(items) if status == "done" else ())


def evidence(p=None, pairs=None, hit=lambda spec: 0.75, **how):
    p = p or params()
    designs = remedies.designs(p, RATES)
    results = {arm: [result(spec, **how) for spec in runs] for arm, runs in designs.items()}
    again = {
        arm: [result(spec, familiar=hit(spec)) for spec in runs] for arm, runs in remedies.perturbed(p, designs).items()
    }
    return scores.evidence(p, results, again, pd.DataFrame() if pairs is None else pairs)


# ---- design -------------------------------------------------------------------------------------------------


def test_arms_differ_in_their_remedy_alone():
    designs = remedies.designs(params(), RATES)
    own = designs["full k=2"][0]
    allowed = {
        "full k=1": {"n_phrasings"},
        "full again": {"first_steps", "first_rate"},
        "prompt": {"first_steps", "first_rate", "method", "n_virtual_tokens"},
        "full + KL": {"first_steps", "first_rate", "objective", "objective_options"},
        "LoRA + KL": {"first_steps", "first_rate", "objective", "objective_options", "method", "rank", "alpha"},
        "paraphrases": {"objective"},
        "CoIN B=2": {"objective", "objective_options"},
    }
    for arm, fields in allowed.items():
        assert set(diff(own, designs[arm][0])) == fields, arm
    assert {spec.train.budget for runs in designs.values() for spec in runs} == {8}


def test_two_stages_start_from_as_many_steps_of_plain_tuning():
    two = [spec for runs in remedies.designs(params(), RATES).values() for spec in runs if spec.tuning.first_steps]
    assert {spec.tuning.first_steps for spec in two} == {8} and {spec.tuning.first_rate for spec in two} == {2e-3}
    assert {spec.tuning.method for spec in two} == {"full", "lora", "prompt"}


def test_every_arm_sees_the_same_examples():
    """With one phrasing or with four: the same operands in the same order."""
    p = cpu()
    pools = [
        world.pool(p.pool_size, seed=3, families=p.families, n_phrasings=k)
        for k in (1, p.n_phrasings, max(p.diversity))
    ]
    assert all([e.entities for e in pool] == [e.entities for e in pools[0]] for pool in pools[1:])


def test_perturbed_runs_ask_the_weights_of_the_test_runs():
    designs = remedies.designs(params(), RATES)
    again = remedies.perturbed(params(), designs)
    assert "untuned" not in again and set(again) == set(designs) - {"untuned"}
    for arm, runs in again.items():
        assert len(runs) == 2 * len(designs[arm])
        kept = {train_digest(resolve(spec)) for spec in designs[arm]}
        assert {train_digest(resolve(spec)) for spec in runs} == kept
        assert all(spec.keep_weights for spec in designs[arm]) and not any(spec.keep_weights for spec in runs)
    found = {(s.evaluate.perturbation, s.evaluate.severity) for runs in again.values() for s in runs}
    assert found == {("typo", 1.0), ("word_drop", 0.25)}


def test_choices_are_on_dev_for_every_arm_with_two_rates():
    p = params(full_rates=(1e-3, 2e-3))
    dev = remedies.candidates(p)
    arms = remedies.arms(p)
    assert len(dev) == 2 * (len(arms) - 1) and {spec.evaluate.split for spec in dev} == {"dev"}
    assert {spec.seed for spec in dev} == {1000} and {spec.evaluate.eval_phrasing_set for spec in dev} == {"dev"}


def dev_result(spec, value):
    items = (("i", "f", "words", "latent", "", value, value, None, 1.0, 2, 4, ""),)
    return RunResult(resolve(spec), "done", items)


def test_each_arm_gets_the_rate_that_does_best_on_dev():
    p = params(full_rates=(1e-3, 2e-3))

    def best(spec):
        wanted = 0.1 if spec.tuning.method == "prompt" else 2e-3 if spec.train.objective == "coin" else 1e-3
        return float(spec.train.learning_rate == wanted)

    rates = remedies.best_rates(p, [dev_result(spec, best(spec)) for spec in remedies.candidates(p)])
    assert list(rates) == list(remedies.arms(p))
    assert {rates[name] for name in rates if name.startswith("prompt")} == {0.1}
    assert rates["CoIN B=2"] == 2e-3 and rates["paraphrases"] == 1e-3 and rates["LoRA + KL"] == 1e-2
    with pytest.raises(RunError, match="dev items only"):
        tested = [spec for runs in remedies.designs(p, rates).values() for spec in runs]
        remedies.best_rates(p, [result(spec) for spec in tested])


def test_the_cpu_profile_is_what_its_file_and_the_claims_say():
    p = cpu()
    arms = remedies.arms(p)
    test = remedies.designs(p, dict.fromkeys(arms, 1e-3))
    counts = [
        len(remedies.candidates(p)),
        *(sum(map(len, part.values())) for part in (test, remedies.perturbed(p, test))),
    ]
    assert counts == [112, 120, 896] and len(p.seeds) == 8 and len(p.choice_seeds) == 4
    text = (project_root() / "params" / "cpu" / "03b_remedies.yaml").read_text()
    assert "112 dev runs, 120 test runs and 896 evaluations" in text
    named = load_claim("R5").settings | load_claim("R6").settings | load_claim("R7").settings
    assert {named[key] for key in ("remedy", "tuned", "weights", "baseline")} <= set(arms)
    assert dict(remedies.contrasts(p).values()) == named["perturbations"]


def test_comparisons_name_arms():
    for p in (params(), cpu()):
        pairs = remedies.comparisons(p)
        assert {name for pair in pairs for name in pair} <= set(remedies.arms(p)) and len(set(pairs)) == len(pairs)


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(len(specs))
        return [dev_result(s, 1.0) if s.evaluate.split == "dev" else result(s) for s in specs]

    assert len(remedies.collect(params(), run)) == 24 + 44 and asked == [6, 24, 44]
    assert remedies.pending(params(), []).startswith("24 test runs") and "44 more" in remedies.pending(params(), [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "rows.jsonl"}, "data: 'rows.jsonl' has no phrasings"),
        ({"seeds": []}, "seeds: the list is empty"),
        ({"choice_seeds": [0]}, "choice_seeds.*also in seeds"),
        ({"n_phrasings": 3}, "n_phrasings: 3 is not in diversity"),
        ({"n_eval_phrasings": 2, "n_phrasings": 4, "diversity": [4]}, "n_eval_phrasings: 2 would leave out"),
        ({"contrast_batches": [32]}, "contrast_batches: 32 is above batch_size 16"),
        ({"contrast_batches": [1]}, "contrast_batches"),
        ({"virtual_tokens": [1001]}, "virtual_tokens"),
        ({"perturbed_by": ["tipo 1.0"]}, "perturbed_by: unknown perturbation 'tipo'.*did you mean 'typo'"),
        ({"perturbed_by": ["typo much"]}, "perturbed_by: typo"),
        ({"perturbed_by": ["typo 1.5"]}, "severity of typo must be above 0 and at most 1"),
        ({"perturbed_by": ["typo 1.0", "typo 0.5"]}, "'typo' is given twice"),
        ({"prompt_rates": []}, "prompt_rates: the list is empty"),
        ({"eval_phrasing_set": "dev"}, "eval_phrasing_set"),
        ({"n_eval": 0}, "n_eval"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(RemediesParams, changes, where="test")
    assert "\n" not in str(caught.value)


def test_a_pool_without_enough_phrasings_is_refused_before_any_run():
    with pytest.raises(InputError, match="pool_size is 400"):
        remedies.candidates(params(pool_size=400))


# ---- the frame ----------------------------------------------------------------------------------------------


def test_scores_by_hand():
    """Of what a run was tuned on .75 are right, of new phrasings .5, of negated ones .25; nothing differs between."""
    frame = evidence()
    table = tables.remedies(frame, list(dict.fromkeys(frame["arm"])))
    np.testing.assert_allclose(table["familiar"], 0.75)
    np.testing.assert_allclose(table["new"], 0.5)
    np.testing.assert_allclose(table["gap"], 0.25)
    np.testing.assert_allclose(table["negation"], 0.25)
    np.testing.assert_allclose(table["sigma"], 0.0)
    assert set(table["runs"]) == {2} and table["arm"].iloc[0] == "untuned"


def test_a_spread_between_new_phrasings_is_seen():
    """In one of three phrasings all is right, in the others nothing: the variance of 1, 0, 0 is a third."""
    spec = remedies.designs(params(), RATES)["full k=2"][0]
    run = result(spec)
    names = list(dict.fromkeys(row[4] for row in run.items if row[4].startswith("unobserved")))
    first = {name for name in names if name in (names[0], names[3])}  # the first one of either family
    items = tuple((*row[:5], float(row[4] in first), *row[6:]) if row[4] in names else row for row in run.items)
    frame = scores.evidence(params(), {"full k=2": [dataclasses.replace(run, items=items)]}, {}, pd.DataFrame())
    variances = frame.loc[frame["metric"] == "variance_new", "value"]
    np.testing.assert_allclose(variances, 1 / 3)
    (sigma,) = tables.points(frame, ["full k=2"], ["sigma"])["value"]
    assert sigma == pytest.approx((1 / 3) ** 0.5)


def test_a_run_that_failed_is_a_row_without_a_value():
    frame = evidence(status="diverged")
    tested = frame[frame["kind"] == "test"]
    assert tested["value"].isna().all() and set(tested["status"]) == {"diverged"}
    assert tables.remedies(frame, ["untuned", "prompt"])["new"].isna().all()


def test_verdicts_of_smoke_are_not_run():
    frame = evidence()
    assert {judge(load_claim(name), frame).verdict for name in remedies.CLAIMS} == {"not_run"}


# ---- tables and figures -------------------------------------------------------------------------------------


def test_drop_rates_by_hand():
    """From .75 to .25 a perturbation costs two thirds; where nothing was right there is no rate."""
    frame = evidence(hit=lambda spec: 0.25 if spec.evaluate.perturbation == "typo" else 0.75)
    drops = tables.drops(frame, ["prompt", "absent"]).set_index(["perturbation", "arm"])
    assert drops.loc[("typo", "prompt"), "drop"] == pytest.approx(2 / 3)
    assert drops.loc[("word_drop", "prompt"), "drop"] == pytest.approx(0.0)
    assert drops.loc[("typo", "prompt"), ["clean", "perturbed", "seeds"]].tolist() == [0.75, 0.25, 2]
    assert np.isnan(drops.loc[("typo", "absent"), "drop"]) and drops.loc[("typo", "absent"), "seeds"] == 0
    nothing = tables.drops(evidence(familiar=0.0), ["prompt"])
    assert nothing["drop"].isna().all() and (nothing["clean"] == 0).all()


def test_differences_are_paired_and_say_how_many_seeds():
    rows = tables.differences(evidence(), [("prompt", "full again"), ("absent", "prompt")], ["new"])
    assert rows["mean"].tolist()[0] == 0.0 and rows["seeds"].tolist() == [2, 0]
    assert np.isnan(rows["mean"].tolist()[1])


def pair_rows():
    about = {"kind": "pairs", "perturbation": "none", "status": "done", "digest": "d"}
    return pd.DataFrame([
        {**about, "arm": arm, "seed": seed, "family": family, "metric": f"{side}_{pool}", "value": value}
        for arm, shift in (("paraphrases", 0.0), ("CoIN B=2", 0.1))
        for seed in (0, 1)
        for family in ("plural", "colour")
        for pool in ("response", "prompt")
        for side, value in (("positive", 0.8 + shift), ("negative", 0.5 - shift))
    ])  # fmt: skip


def test_cosines_by_hand():
    means = tables.cosine_means(tables.cosines(evidence(pairs=pair_rows()))).set_index(["arm", "pool"])
    assert means.loc[("CoIN B=2", "prompt"), "apart"] == pytest.approx(0.5)
    assert means.loc[("paraphrases", "response"), "apart"] == pytest.approx(0.3)
    assert set(means["seeds"]) == {2}


def test_figures_draw_every_arm():
    frame = evidence(pairs=pair_rows())
    names = list(dict.fromkeys(frame["arm"]))
    axes = draw.wordings(tables.points(frame, names, list(draw.LABELS)))
    assert [text.get_text() for text in axes[0].get_yticklabels()] == names
    drops = tables.drops(frame, names[1:])
    ax = draw.perturbations(drops)
    assert len(ax.texts) == 2 * len(names[1:]) and {text.get_text() for text in ax.texts} == {"0.00"}
    ax = draw.negation(tables.points(frame, names, ["negation"]), "full k=2")
    assert [text.get_text() for text in ax.get_yticklabels()] == [name for name in names if name != "full k=2"]
    axes = draw.cosines(tables.cosines(frame))
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["paraphrases", "CoIN B=2"]


def test_figures_do_not_break_on_gaps():
    frame = evidence(status="failed")
    names = list(dict.fromkeys(frame["arm"]))
    draw.wordings(tables.points(frame, names, list(draw.LABELS)))
    draw.negation(tables.points(frame, names, ["negation"]), "full k=2")
    assert {text.get_text() for text in draw.perturbations(tables.drops(frame, names)).texts} == {"none"}
    assert len(draw.cosines(tables.cosines(frame))) == 2


def test_every_run_has_its_own_digest():
    designs = remedies.designs(params(), RATES)
    specs = [
        spec for part in (designs, remedies.perturbed(params(), designs)) for runs in part.values() for spec in runs
    ]
    assert len({digest(resolve(spec)) for spec in specs}) == len(specs) == 68
