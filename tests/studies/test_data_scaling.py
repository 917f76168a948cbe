"""The design of study 1: choices on dev, equal steps, nested sizes, and every mistake refused."""

import dataclasses

import pytest

from itlib.engines import run_all
from itlib.errors import InputError, RunError
from itlib.params import from_yaml
from itlib.result import RunResult
from itlib.schema import build
from itlib.store import Store
from itlib.studies.common import best_on_dev
from itlib.studies.data_scaling import DataScalingParams, choice_grid, choose, collect, scaling_grid, variant
from itlib.workspace import project_root


def params(**changes):
    return dataclasses.replace(DataScalingParams(), **changes)


def result(spec, scores, status="done"):
    items = tuple((f"{f}-{i}", f, "words", "latent", "", value, value, None, 1.0, 2, 4, "") for f, i, value in scores)
    return RunResult(spec, status, items)


def test_choices_are_made_on_dev_with_seeds_of_their_own():
    p = params(learning_rates=(1e-3, 2e-3), embeddings=("frozen", "trained"), choice_seeds=(1000, 1001))
    dev = choice_grid(p)
    assert len(dev) == 8 and {spec.evaluate.split for spec in dev} == {"dev"}
    assert {spec.seed for spec in dev} == {1000, 1001}
    assert {spec.evaluate.eval_phrasing_set for spec in dev} == {"dev_wrapper"}
    assert {spec.evaluate.eval_phrasing_set for spec in scaling_grid(p, {})} == {"unobserved_wrapper"}
    assert {spec.evaluate.split for spec in scaling_grid(p, {"learning_rate": 1e-3})} == {"test"}


def test_one_candidate_needs_no_dev_run():
    single = params(learning_rates=(1e-3,))
    assert choice_grid(single) == []
    assert choose(single, []) == {"learning_rate": 1e-3, "train_embeddings": False}


def test_the_best_setting_has_the_best_mean_over_families():
    """Setting a: .9 and 0 in two families of unequal size; setting b: .6 and 1. Equal weight per family favours b."""
    specs = choice_grid(params(learning_rates=(1e-3, 2e-3)))
    a = result(specs[0], [*(("f", i, 1.0) for i in range(9)), ("f", 9, 0.0), ("g", 0, 0.0)])
    b = result(specs[1], [*(("f", i, float(i < 6)) for i in range(10)), ("g", 0, 1.0)])
    assert best_on_dev([a, b], ["learning_rate", "train_embeddings"]) == {
        "learning_rate": 2e-3,
        "train_embeddings": False,
    }


def test_a_setting_with_a_failed_run_is_never_chosen():
    specs = choice_grid(params(learning_rates=(1e-3, 2e-3), choice_seeds=(1000, 1001)))
    good = [("f", 0, 1.0)]
    results = [result(s, good if s.train.learning_rate == 1e-3 else [("f", 0, 0.0)]) for s in specs]
    results[0] = RunResult(specs[0], "diverged")
    assert best_on_dev(results, ["learning_rate"])["learning_rate"] == 2e-3
    with pytest.raises(RunError, match="no setting"):
        best_on_dev([RunResult(s, "failed") for s in specs], ["learning_rate"])


def test_a_choice_refuses_test_results():
    spec = scaling_grid(params(), {})[1]
    with pytest.raises(RunError, match="dev items only"):
        best_on_dev([result(spec, [("f", 0, 1.0)])], ["learning_rate"])


def test_the_grid_has_the_untuned_base_and_equal_steps():
    specs = scaling_grid(params(sizes=(5, 10), seeds=(3, 4)), {"learning_rate": 1e-4, "train_embeddings": True})
    assert [(s.data.n_train, s.seed) for s in specs] == [(0, 3), (0, 4), (5, 3), (5, 4), (10, 3), (10, 4)]
    assert {(s.train.budget, s.train.budget_unit) for s in specs} == {(10.0, "steps")}
    assert all(s.tuning.train_embeddings and s.train.learning_rate == 1e-4 for s in specs)


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"sizes": []}, "sizes: the list is empty"),
        ({"sizes": [5, 5]}, "sizes: the list repeats"),
        ({"sizes": [-1]}, "sizes"),
        ({"sizes": [0]}, "sizes"),
        ({"seeds": [1000]}, "choice_seeds"),
        ({"budget": 0}, "budget"),
        ({"budget": 1.5}, "steps come whole"),
        ({"learning_rates": [0.0]}, "learning_rates"),
        ({"learning_rates": [float("nan")]}, "learning_rates"),
        ({"method": "lroa"}, "did you mean 'lora'"),
        ({"batch_size": 0}, "batch_size"),
        ({"schedule": "cosinus"}, "cosine"),
        ({"warmup_fraction": 1.5}, "warmup_fraction"),
        ({"learning_rate": 1e-3}, "did you mean 'learning_rates'"),
    ],
)
def test_mistakes_are_refused_before_any_work(changes, message):
    with pytest.raises(InputError, match=message):
        build(DataScalingParams, changes, where="test")


def test_a_size_above_the_pool_names_both_numbers(tmp_path):
    p = params(sizes=(16, 5000), pool_size=400, learning_rates=(1e-3,))
    with pytest.raises(InputError, match="5000.*400"):
        choice_grid(p)
    with pytest.raises(InputError, match="5000.*400"):
        run_all(scaling_grid(p, choose(p, [])), Store(tmp_path), engine="serial")


def test_collect_is_the_whole_study():
    asked = []

    def run(specs):
        asked.append(list(specs))
        return [result(spec, [("f", 0, 1.0)]) for spec in specs]

    p = params(learning_rates=(1e-3, 2e-3))
    assert len(collect(p, run)) == (1 + len(p.sizes)) * len(p.seeds)
    assert [len(batch) for batch in asked] == [2, 6]


def test_the_cpu_profile_is_the_study_that_was_promised():
    p = from_yaml(project_root() / "params" / "cpu" / "01_data_scaling.yaml").params
    assert (len(p.sizes), len(p.seeds), p.budget_unit) == (7, 8, "steps")


def test_a_score_that_is_not_a_number_is_never_chosen():
    specs = choice_grid(params(learning_rates=(1e-3, 2e-3)))
    nothing = result(specs[0], [("f", 0, float("nan"))])
    assert best_on_dev([nothing, result(specs[1], [("f", 0, 0.1)])], ["learning_rate"])["learning_rate"] == 2e-3


def test_embeddings_are_no_choice_for_a_low_rank_method():
    assert choice_grid(params(method="lora", learning_rates=(1e-3,), embeddings=("frozen", "trained"))) == []


def test_reports_on_own_data_never_share_a_folder(tmp_path):
    rows = '{"instruction": "say %d", "output": "%d"}'
    names = set()
    for folder, name, shift in (("a", "rows.jsonl", 0), ("b", "rows.jsonl", 1), ("a", "数据.jsonl", 2)):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(rows % (i + shift, i) for i in range(40)) + "\n")
        names.add(variant(params(data=str(path))))
    assert len(names) == 3 and "" not in names and variant(params()) == ""
