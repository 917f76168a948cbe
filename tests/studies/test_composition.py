"""The design of study 1c: arms that differ in their axis alone, equal visits, shared runs, mistakes refused."""

import dataclasses

import composed
import pytest

from itlib.errors import InputError
from itlib.params import from_yaml
from itlib.positions import measured, sentence
from itlib.resolve import resolve
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.studies import composition, data_scaling
from itlib.studies import composition_figures as shown
from itlib.studies.composition import CompositionParams
from itlib.workspace import project_root


@pytest.fixture(scope="module")
def arms():
    """Seed 0 of every experiment of the cpu profile, resolved."""
    found = composition.experiments(composed.params(), composed.SETTING)
    return {name: [resolve(spec) for spec in specs if spec.seed == 0] for name, specs in found.items()}


def study_1():
    return from_yaml(project_root() / "params" / "cpu" / "01_data_scaling.yaml").params


def test_the_number_of_runs_and_their_cost_stand_in_the_params_file():
    p, specs = composed.params(), composed.specs()
    n = len({digest(spec) for spec in specs})
    cost = composition.run_equivalents(p, specs)
    assert (len(specs), n) == (208, 208) and round(cost) == 265
    text = (project_root() / "params" / "cpu" / "01c_composition.yaml").read_text()
    beside = f"({cost - len(p.seeds):.0f} beside those of 01_data_scaling)"
    assert f"{len(composition.choice_grid(p))} dev runs and {n} test runs, {cost:.0f} run-equivalents" in text
    assert beside in text


def test_runs_shared_with_study_1_are_the_same_runs():
    p, other = composed.params(), study_1()
    choice = {digest(resolve(spec)) for spec in composition.choice_grid(p)}
    assert choice == {digest(resolve(spec)) for spec in data_scaling.choice_grid(other)} and len(choice) == 16
    theirs = {digest(resolve(spec)) for spec in data_scaling.scaling_grid(other, composed.SETTING)}
    mine = {digest(spec): spec for spec in composed.specs()}
    shared = [mine[name] for name in mine.keys() & theirs]
    assert sorted((spec.data.n_train, spec.seed) for spec in shared) == [
        (n, seed) for n in (0, 400) for seed in range(8)
    ]


def test_every_experiment_has_all_seeds_and_seed_i_tunes_base_i():
    for specs in composition.experiments(composed.params(), composed.SETTING).values():
        assert {spec.seed for spec in specs} == set(range(8))
        assert all(spec.base.base_seed == spec.seed for spec in specs)


def test_test_runs_are_test_runs_in_unobserved_wrappers():
    assert {(s.evaluate.split, s.evaluate.eval_phrasing_set, s.evaluate.n_eval) for s in composed.specs()} == {
        ("test", "unobserved_wrapper", 50)
    }


def test_mixing_adds_as_many_general_examples_in_twice_the_steps(arms):
    for alone, mixed in zip(arms["mixing"][0::2], arms["mixing"][1::2], strict=True):
        assert set(diff(alone, mixed)) == {"mix_families", "n_mix", "budget"}
        assert mixed.data.n_mix == mixed.data.n_train == alone.data.n_train
        assert (alone.train.budget, mixed.train.budget) == (150, 300)
    assert [spec.data.n_train for spec in arms["mixing"]] == [25, 25, 200, 200, 1600, 1600]


def test_amounts_differ_in_one_amount(arms):
    special_fixed, general_fixed = arms["amounts"][:3], [*arms["amounts"][3:], arms["amounts"][2]]
    assert [(s.data.n_train, s.data.n_mix) for s in special_fixed] == [(400, 25), (400, 100), (400, 400)]
    assert [(s.data.n_train, s.data.n_mix) for s in general_fixed] == [(25, 400), (100, 400), (400, 400)]
    assert all(set(diff(special_fixed[0], spec)) == {"n_mix", "budget"} for spec in special_fixed[1:])
    assert all(set(diff(general_fixed[0], spec)) == {"n_train", "budget"} for spec in general_fixed[1:])


def test_strategies_differ_in_their_order_alone(arms):
    mixed, sequential, dual = arms["strategies"]
    assert set(diff(mixed, sequential)) == {"order"}
    assert set(diff(sequential, dual)) == {"order", "budget"}  # 25 examples are there twice
    assert (mixed.train.budget, dual.train.budget) == (300, 309) and dual.train.kept_fraction == 1 / 16
    assert digest(mixed) == digest(arms["amounts"][2])


def test_caps_differ_in_the_cap_alone_and_leave_examples_out(arms):
    free, *capped = arms["caps"]
    assert free.data.per_family_cap == 0 and [spec.data.per_family_cap for spec in capped] == [16, 32, 64]
    assert all(set(diff(free, spec)) == {"per_family_cap"} for spec in capped)
    assert free.data.n_train == free.data.pool_size == 800 and free.data.imbalance == 1.5


def test_shares_and_orders_differ_in_their_axis_alone(arms):
    none, *shares = arms["documents"]
    assert all(set(diff(none, spec)) == {"pretraining_share", "budget"} for spec in shares)
    mixed, *orders = arms["orders"]
    assert all(set(diff(mixed, spec)) == {"order"} for spec in orders) and digest(mixed) == digest(none)
    assert [spec.train.order for spec in orders] == ["phased", "curriculum", "reverse", "interleaved"]


@pytest.mark.parametrize("name", ["amounts", "strategies", "documents", "mixing"])
def test_an_example_is_seen_equally_often_to_half_a_step(arms, name):
    for spec in arms[name]:
        data, train = spec.data, spec.train
        own = data.n_train if name == "mixing" else 400
        rows = data.n_train + data.n_mix
        rows += round(data.pretraining_share / (1 - data.pretraining_share) * data.n_train)
        rows += round(train.kept_fraction * data.n_train) if train.order == "dual_stage" else 0
        visits, alone = train.budget * train.batch_size / rows, 150 * train.batch_size / own
        assert abs(visits - alone) <= 0.5 * train.batch_size / rows + 1e-9


def test_the_defaults_make_a_study_too():
    p = CompositionParams()
    specs = composition.composition_grid(p, {"learning_rate": 1e-3, "train_embeddings": False})
    assert len({digest(resolve(spec)) for spec in specs}) == len(specs) == 42
    assert composition.pending(p, []) == "42 test runs follow once dev has chosen among 2 settings"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "seeds: the list is empty"),
        ({"seeds": [1000]}, "choice_seeds: .* are also in seeds"),
        ({"general": []}, "general: the list is empty"),
        ({"general": ["coluor"]}, "general: .*did you mean 'colour'"),
        ({"special": ["never_home"]}, "special: 'never_home' can only be tested"),
        ({"special": ["colour", "swap"]}, r"special: \['colour'\] are also in general"),
        ({"mixing_sizes": [5, 5]}, "mixing_sizes: the list repeats"),
        ({"mixing_sizes": [0]}, "mixing_sizes"),
        ({"mixing_sizes": [16, 500]}, "mixing_sizes: 500 is more than pool_size 400"),
        ({"n_fixed": 500}, "n_fixed: 500 is more than pool_size 400"),
        ({"ratio_amounts": [8, 16]}, "ratio_amounts: a slope needs at least three"),
        ({"ratio_amounts": [8, 16, 500]}, "ratio_amounts: 500"),
        ({"strategies": ["mixed"]}, "strategies: needs 'mixed' and something"),
        ({"strategies": ["sequential", "dual_stag"]}, "strategies.*dual_stage"),
        ({"kept_fraction": 0.001}, "kept_fraction: .* is not one example"),
        ({"kept_fraction": 1.5}, "kept_fraction"),
        ({"kept_fraction": -0.5}, "kept_fraction"),
        ({"imbalance": -1.0}, "imbalance"),
        ({"caps": [64]}, "caps: 64 caps nothing in a pool of cap_size 64"),
        ({"caps": [0]}, "caps"),
        ({"order_size": 500}, "order_size: 500"),
        ({"pretraining_shares": [0.1, 0.2]}, "pretraining_shares: needs 0.0"),
        ({"pretraining_shares": [0.0, 0.95]}, "pretraining_shares: 0.95 is above 0.9"),
        ({"pretraining_shares": [0.0, 0.001]}, "pretraining_shares: .* is not one document"),
        ({"orders": ["phased", "reverse"]}, "orders: needs 'mixed'"),
        ({"orders": ["mixed", "sequential"]}, "orders"),
        ({"method": "lroa"}, "did you mean 'lora'"),
        ({"learning_rates": [0.0]}, "learning_rates"),
        ({"budget": 10.5}, "budget: expected int"),
        ({"batch_size": 0}, "batch_size"),
        ({"data": "my.jsonl"}, "data: 'my.jsonl' has no task families"),
        ({"cap": [4]}, "unknown .*'cap'"),
    ],
)
def test_mistakes_are_refused_in_one_line_that_names_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(CompositionParams, changes, where="test")
    assert "\n" not in str(caught.value)


def test_figures_and_tables_by_hand():
    p, frame = composed.params(), composed.frame(composed.as_papers_say)
    mixing = shown.mixing_points(p, frame).query("seed == 0").set_index(["training", "n_train"])["value"]
    assert mixing["mixed", 25] - mixing["alone", 25] == pytest.approx(0.08)
    amounts = shown.amount_points(p, frame).query("seed == 0")
    assert amounts.groupby("fixed")["value"].unique().map(list).to_dict() == {
        "general": pytest.approx([0.8]), "special": pytest.approx([0.6])
    }  # fmt: skip
    scores = shown.strategy_scores(p, frame).query("seed == 0").set_index(["part", "arm"])["value"]
    assert scores["special families", "dual_stage"] == pytest.approx(0.55)
    table = shown.share_table(p, frame).set_index("documents")
    assert table.loc["before tuning"].tolist() == pytest.approx([0.0175, 1.5])
    assert table.loc["0.05"].tolist() == pytest.approx([0.65 + 0.0175, 2.0])
    curve = shown.curve(shown.mixing_points(p, frame), by="training", x="n_train").set_index(["training", "n_train"])
    assert curve.loc[("mixed", 25), "mean"] == pytest.approx(0.58 + 0.0175)
    assert curve.loc[("mixed", 25), "n_seeds"] == 8


@pytest.mark.parametrize("name", ["RATIO", "STRATEGY", "ORDER"])
def test_papers_that_fit_the_planted_world_are_agreed_with(name):
    p, frame = composed.params(), composed.frame(composed.as_papers_say)
    effects = getattr(shown, f"{name.lower()}_effects")(p, frame)
    positions = getattr(shown, f"{name}_POSITIONS")
    assert {position.effect for position in positions} <= set(effects)
    said = sentence(measured(effects), positions)
    fitting = [position for position in positions if position.paper != shown.BEYOND_IID]
    assert said.count("agrees with") == len(fitting)
    assert said.count("speaks against") == len(positions) - len(fitting)
    axes = shown.disagreement(measured(effects), effects, positions)
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert len(labels) == len(effects) + len(positions)
    assert all(f"{position.paper}: {position.says}" in labels for position in positions)


def test_effects_of_arms_that_were_not_asked_for_are_left_out():
    p = dataclasses.replace(composed.params(), strategies=("mixed", "sequential"), orders=("mixed", "reverse"))
    frame = composed.frame(composed.as_papers_say)
    assert set(shown.strategy_effects(p, frame)) == {shown.SEQUENTIAL_SPECIAL, shown.SEQUENTIAL_GENERAL}
    assert set(shown.order_effects(p, frame)) == {"reverse - mixed", shown.LARGEST}


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(len(specs))
        return []

    composition.collect(dataclasses.replace(CompositionParams(), learning_rates=(1e-3,)), run)
    assert asked == [0, 42]
