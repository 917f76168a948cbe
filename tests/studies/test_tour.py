"""The tour: its runs, its claim, and what it refuses."""

import dataclasses

import pandas as pd
import pytest

from itlib.claims import judge, load_claim
from itlib.engines import run_all
from itlib.errors import InputError
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.schema import build
from itlib.spec import diff, digest
from itlib.store import Store
from itlib.studies import tour
from itlib.studies.tour import TourParams
from itlib.workspace import project_root


def test_runs_of_a_seed_differ_in_examples_alone_and_one_can_be_asked():
    specs = tour.runs(TourParams())
    assert [(s.data.n_train, s.seed) for s in specs] == [(16, 0), (16, 1), (64, 0), (64, 1)]
    assert set(diff(specs[0], specs[2])) <= {"n_train", "keep_weights"}
    assert [s.keep_weights for s in specs] == [False, False, True, False]


@pytest.mark.parametrize(("profile", "n"), [("smoke", 4), ("cpu", 16)])
def test_profiles_cost_what_their_files_say(profile, n):
    path = project_root() / "params" / profile / "00_tour.yaml"
    specs = tour.runs(from_yaml(path).params)
    assert len({digest(resolve(spec)) for spec in specs}) == n and f"Cost: {n} runs" in path.read_text()


def frame(effects):
    rows = [(seed, n, "exact_match", 0.2 + gain * (n > 25)) for seed, gain in enumerate(effects) for n in (25, 400)]
    return pd.DataFrame(rows, columns=["seed", "n_train", "metric", "value"])


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ([0.1, 0.12, 0.2, 0.15, 0.3, 0.1, 0.2, 0.1], "reproduced"),
        ([-0.1, -0.2, -0.1, -0.15, -0.1, -0.2, -0.1, -0.1], "contradicted"),
        ([0.1, -0.12, 0.2, -0.15, 0.3, -0.1, 0.1, -0.2], "inconclusive"),
        ([0.1, 0.2], "not_run"),
    ],
)
def test_the_claim_follows_the_effects(effects, verdict):
    found = judge(load_claim("TOUR"), frame(effects))
    assert found.verdict == verdict
    if verdict == "reproduced":
        assert found.effect == pytest.approx(sum(effects) / len(effects))


def test_one_size_answers_nothing():
    assert judge(load_claim("TOUR"), frame([0.1] * 8).query("n_train == 25")).verdict == "not_run"


def test_collect_is_the_whole_study(tmp_path):
    p = dataclasses.replace(TourParams(), seeds=(0,), sizes=(8, 16), budget=2, n_eval=2, n_reference=2)
    found = tour.collect(p, lambda specs: run_all(specs, Store(tmp_path), engine="serial", progress=False))
    assert [r.status for r in found] == ["done", "done"] and tour.pending(p, []) == ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"sizes": [64, 16]}, "fewest first"), ({"sizes": [16]}, "two numbers or more"), ({"seeds": [0, 0]}, "seeds"),
     ({"size": [1, 2]}, "did you mean 'sizes'")],
)  # fmt: skip
def test_bad_params_are_refused_in_one_line(wrong, said):
    with pytest.raises(InputError, match=said):
        build(TourParams, wrong, where="params")
