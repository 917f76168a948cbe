"""The study of verdicts: its runs, its kinds of invented studies, and its tables."""

import pandas as pd
import pytest

from itlib.errors import InputError
from itlib.params import from_yaml
from itlib.schema import build
from itlib.studies import verdict_rates as study
from itlib.workspace import project_root


def params(profile="smoke", **changes):
    file = from_yaml(project_root() / "params" / profile / "90b_verdict_rates.yaml").params
    return build(study.VerdictRatesParams, {**vars(file), **changes}, where="test")


def test_the_cpu_design_has_six_runs_on_each_of_eight_bases_and_pairs_some():
    p = params("cpu")
    design = study.designs(p, {"learning_rate": 1e-3})
    same = design[study.SAME]
    assert len(same) == len(set(same)) == 48
    assert pd.Series([spec.base.base_seed for spec in same]).value_counts().tolist() == [6] * 8
    assert {spec.train.learning_rate for spec in design[study.OTHER]} == {2e-3}
    assert [spec.seed for spec in design[study.OTHER]] == list(p.paired_seeds)
    kinds = study.cells(p)
    assert len(kinds) == len(set(kinds)) and {cell.n_seeds for _, cell in kinds} == {8, 10, 20}
    assert {(c.direction, c.truth) for _, c in kinds} == {(d, t) for d in study.DIRECTIONS for t in study.core.TRUTHS}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paired_seeds": [0, 99]}, r"paired_seeds: \[99\] are not in seeds"),
        ({"paired_seeds": [0]}, "paired_seeds: one seed shows no spread"),
        ({"data": "rows.json"}, "data: 'rows.json' has no families"),
        ({"study_seeds": [5]}, "study_seeds"),
    ],
)
def test_mistakes_are_refused_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        params(**changes)
    assert "\n" not in str(caught.value)


def test_too_few_runs_of_a_base_are_refused_before_any_run():
    with pytest.raises(InputError, match="seeds: 12 seeds are 12 runs of the bases; studies of 8 seeds need 16"):
        study.candidates(params(study_seeds=[8]))


def test_a_summary_says_whether_every_promise_holds():
    rows = pd.DataFrame(
        {
            "scores": "pairs of runs",
            "claim": ["greater", "greater", "less", "less"],
            "wrong": [0.04, 0.0, 0.09, 0.0],
            "found": [float("nan"), 0.82, float("nan"), 0.79],
            "promised": [float("nan"), 0.8, float("nan"), 0.8],
        }
    )
    table = study.summary(rows, 2000).set_index("claim")
    assert table["holds"].to_dict() == {"greater": "yes", "less": "no"}
    assert table.loc["less", "most wrong"] == 0.09 and table.loc["greater", "farthest"] == 0.82
    weak = study.summary(rows.assign(found=0.7), 2000).set_index("claim")
    assert weak["holds"].to_dict() == {"greater": "no", "less": "no"}


def test_promises_grow_with_seeds():
    table = study.promises(params(), 0.05)
    assert table["power"].is_monotonic_increasing and table["power"].iloc[-1] > 0.9
