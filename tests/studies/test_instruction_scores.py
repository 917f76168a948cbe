"""A table of one's own: what is planted is found, what cannot be compared is told, and figures show what tables say."""

import io
import os

import numpy as np
import pandas as pd
import pytest

from itlib.batch import StudyBatch, known_specs, load
from itlib.errors import InputError
from itlib.instruction_table import COLUMNS
from itlib.params import from_yaml
from itlib.schema import build
from itlib.studies import instruction_scores as study
from itlib.studies import instruction_scores_figures as draw
from itlib.studies import instruction_scores_tables as tables
from itlib.studies.instruction_scores import GAPS, SIGMAS, InstructionScoresParams
from itlib.theme import figure_of
from itlib.workspace import project_root


@pytest.fixture(scope="module")
def table():
    return study.synthetic(0)


def own(folder, cells, name="scores.csv"):
    """A table of {(model, task): (observed accuracies, unobserved accuracies)}; instructions belong to their task."""
    rows = [
        (model, task, f"{task} {side} {i}", side, value)
        for (model, task), sides in cells.items()
        for side, values in zip(("observed", "unobserved"), sides, strict=True)
        for i, value in enumerate(values)
    ]
    path = folder / name
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
    return study.load(InstructionScoresParams(table=str(path)))


# ---- the table ----------------------------------------------------------------------------------------------


def test_the_synthetic_table_has_what_was_planted():
    """On five seeds gaps are within 3.5 standard errors of what the items leave to chance, and sigmas within .01."""
    for seed in range(5):
        made = study.synthetic(seed)
        gaps, spread = tables.gaps(made, draws=100, seed=0), tables.spread(made)
        found = tables.recovered(made, gaps, spread).set_index("model")
        assert list(found.index) == list(GAPS)
        error = np.sqrt(0.25 / study.ITEMS / len(study.TASKS) * (1 / 16 + 1 / 10))
        assert np.abs(found["gap_found"] - found["gap_planted"]).max() < 3.5 * error < 0.013
        for side, sigma in (("observed", SIGMAS[True]), ("unobserved", SIGMAS[False])):
            assert found[f"sigma_{side}_planted"].eq(sigma).all()
            assert np.abs(found[f"sigma_{side}_found"] - sigma).max() < 0.01
        assert (spread["sd_observed"] > found["sigma_observed_found"].to_numpy()).all(), "chance is in the sd"


def test_the_synthetic_table_is_called_so_and_follows_its_seed(table):
    np.random.seed(1)
    pd.testing.assert_frame_equal(study.synthetic(0).rows, table.rows)
    assert study.synthetic(0).sha256 == table.sha256 != study.synthetic(1).sha256
    assert table.name == "synthetic" and "accuracies of no model" in tables.remarks(table)["remark"].iloc[0]
    assert all(name.startswith("synthetic") for name in table.rows["model"])
    assert study.variant(InstructionScoresParams()) == ""


def test_a_table_of_ones_own_is_read_from_where_it_was_named(tmp_path, monkeypatch):
    """The notebook runs in the folder of the project; the path was given in another one."""
    mine = own(tmp_path, {("m", "t"): ([0.5], [0.4])}, "my scores (v2).csv")
    monkeypatch.chdir(tmp_path)
    params = InstructionScoresParams(table="my scores (v2).csv")
    monkeypatch.chdir("/")
    assert study.load(params).sha256 == mine.sha256
    assert study.variant(params) == f"my_scores_v2_-{mine.sha256[:6]}"
    assert study.planted(mine).empty
    file = project_root() / "params" / "cpu" / "03g_own_scores.yaml"
    monkeypatch.chdir(tmp_path)
    (batch,) = load([str(file)], {"table": "my scores (v2).csv"}, print)
    assert batch.params.table == os.path.join(os.getcwd(), "my scores (v2).csv")


@pytest.mark.parametrize("stem", ["$_", "日本", "a" * 300])
def test_any_name_of_a_file_gives_a_folder_of_its_own(tmp_path, stem):
    params = InstructionScoresParams(table=str(tmp_path / f"{stem[:240]}.csv"))
    own(tmp_path, {("m", "t"): ([0.5], [0.4])}, f"{stem[:240]}.csv")
    assert study.variant(params)[:1].isalnum() and len(study.variant(params)) < 80


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "a\0b"}, "table: 'a\\\\x00b': a path cannot hold a NUL byte"),
        ({"k_worst": 0}, "k_worst: must be at least 1"),
        ({"draws": 10}, "draws: must be at least 100"),
        ({"tabel": "x.csv"}, "did you mean 'table'"),
    ],
)
def test_mistakes_are_refused_in_one_line_naming_the_key(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(InstructionScoresParams, changes, where="test")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_compared_is_refused_or_told(tmp_path):
    with pytest.raises(InputError, match="scores.csv: no task of a model has both"):
        own(tmp_path, {("m", "t"): ([0.5], []), ("m", "u"): ([], [0.5])})
    with pytest.raises(InputError, match="file not found"):
        study.variant(InstructionScoresParams(table=str(tmp_path / "no.csv")))
    half = own(tmp_path, {("m", "t"): ([0.5], [0.4]), ("m", "u"): ([0.5], [])})
    assert "task 'u' of model 'm' has observed instructions only" in tables.remarks(half)["remark"].iloc[0]
    row = tables.contents(half).iloc[0]
    assert (row["tasks"], row["tasks_compared"], row["observed_instructions"], row["accuracies"]) == (2, 1, 2, 3)
    assert list(tables.slopes(half)["task"]) == ["t"]


def test_nothing_is_run():
    params = from_yaml(project_root() / "params" / "smoke" / "03g_own_scores.yaml").params
    specs, _, note = known_specs(StudyBatch("03g_own_scores", params))
    assert (specs, note, study.CLAIMS) == ([], "", ())


# ---- what is shown ------------------------------------------------------------------------------------------


def test_gaps_and_the_tasks_that_all_models_share(tmp_path):
    """Task u was asked of one model only: it counts there and not in the pooled row."""
    made = own(
        tmp_path,
        {("m", "t"): ([0.8, 0.6], [0.5]), ("m", "u"): ([0.4], [0.3]), ("n", "t"): ([0.5], [0.6])},
    )
    found = tables.gaps(made, draws=100, seed=0).set_index("model")
    assert found["gap"].to_dict() == pytest.approx({"m": 0.15, "n": -0.1, "pooled": 0.05})
    assert found["tasks"].to_dict() == {"m": 2, "n": 1, "pooled": 1}
    assert found.loc["pooled", ["observed", "unobserved"]].to_list() == pytest.approx([0.6, 0.55])
    assert found["tasks_lower"].to_dict() == {"m": 2, "n": 0, "pooled": 1}
    assert np.isnan(found.loc["m", "interval"]).all(), "two tasks bound nothing"
    rows = tables.forest_rows(tables.gaps(made, draws=100, seed=0))
    assert rows["pooled"].to_list() == [False, False, True]


def test_a_single_model_has_no_pooled_row_and_names_are_no_keywords(tmp_path):
    made = own(tmp_path, {("pooled", "t"): ([0.5], [0.4])})
    gaps = tables.gaps(made, draws=100, seed=0)
    assert len(gaps) == 1 and not tables.forest_rows(gaps)["pooled"].any()


def test_equal_seeds_give_equal_intervals(table):
    np.random.seed(2)
    first, second, other = (tables.gaps(table, draws=100, seed=seed)["shown_interval"].to_list() for seed in (0, 0, 1))
    assert first == second != other


def test_sigma_needs_instructions_that_tasks_share(tmp_path, table):
    spread = tables.spread(table).set_index("model")
    assert spread.loc["synthetic A", ["crossed_observed", "crossed_unobserved"]].to_list() == [16, 10]
    assert spread["ratio"].between(1.8, 2.6).all() and (spread["tasks"] == 8).all()
    made = own(tmp_path, {("m", task): ([0.5, 0.7], [0.2, 0.6]) for task in "tu"})
    row = tables.spread(made).iloc[0]
    assert np.isnan(row["sigma_observed"]) and row["crossed_observed"] == 0
    assert row["sd_observed"] == pytest.approx(0.02**0.5) and row["sd_unobserved"] == pytest.approx(0.08**0.5)
    assert row["ratio"] == pytest.approx(2)
    uneven = own(tmp_path, {("m", "t"): ([0.4, 0.6], [0.3, 0.7, 0.3, 0.7])})
    assert tables.spread(uneven).loc[0, "ratio"] == pytest.approx(2 * (2 / 3) ** 0.5), "divided by n - 1"


def test_deviations_are_from_the_observed_mean_of_the_task(tmp_path):
    made = own(tmp_path, {("m", "t"): ([0.8, 0.6], [0.5]), ("m", "u"): ([0.4], [0.3])})
    dots = tables.deviations(made)
    assert dots["deviation"].to_list() == pytest.approx([0.1, -0.1, -0.2, 0, -0.1])
    assert dots["observed"].to_list() == [True, True, False, True, False]


def test_the_worst_are_compared_at_equal_numbers(tmp_path):
    made = own(tmp_path, {("m", "t"): ([0.9, 0.8, 0.1], [0.5]), ("m", "u"): ([0.4], [0.3, 0.2])})
    row = tables.worst(made, 1).iloc[0]
    assert (row["worst_observed"], row["worst_unobserved"]) == pytest.approx((0.25, 0.35))
    assert (row["observed"], row["unobserved"], row["gap"]) == pytest.approx((0.5, 0.375, 0.125))
    assert tables.worst(made, 2).empty, "no task has two instructions on both sides"


def test_models_and_tasks_keep_their_order(tmp_path):
    made = own(tmp_path, {(m, t): ([0.5], [0.4]) for m in ("z", "a") for t in ("y", "b")})
    assert tables.slopes(made)[["model", "task"]].to_numpy().tolist() == [
        ["z", "y"],
        ["z", "b"],
        ["a", "y"],
        ["a", "b"],
    ]
    assert list(tables.gaps(made, draws=100, seed=0)["model"]) == ["z", "a", "pooled"]
    assert list(tables.spread(made)["model"]) == ["z", "a"] and list(tables.worst(made, 1)["model"]) == ["z", "a"]


# ---- figures ------------------------------------------------------------------------------------------------


def drawn(target):
    """The bytes of a figure, which must not depend on the moment."""
    buffer = io.BytesIO()
    figure_of(target).savefig(buffer, format="png", dpi=60)
    return buffer.getvalue()


def test_slopes_go_from_observed_to_unobserved(table):
    rows = tables.slopes(table)
    axes = draw.slopes(rows)
    assert [ax.get_title() for ax in axes] == list(GAPS)
    mine = rows[rows["model"] == "synthetic A"]
    lines = [tuple(line.get_ydata()) for line in axes[0].lines[: len(mine) + 1]]
    assert lines[:-1] == list(zip(mine["observed"], mine["unobserved"], strict=True))
    assert lines[-1] == pytest.approx((mine["observed"].mean(), mine["unobserved"].mean()))
    assert {text.get_text() for text in axes[0].texts} == set(mine["task"])
    heights = sorted(text.get_position()[1] for text in axes[0].texts)
    assert np.diff(heights).min() > 0.99 * draw.LINE_HEIGHT * np.ptp(axes[0].get_ylim()), "names do not overlap"


def test_strips_print_both_spreads(table):
    ax = draw.strips(tables.deviations(table), tables.spread(table))
    first = tables.spread(table).iloc[0]
    assert ax.texts[0].get_text() == f"sd {first['sd_observed']:.3f}   σ {first['sigma_observed']:.3f}"
    assert len(ax.texts) == 6 and [label.get_text() for label in ax.get_yticklabels()] == list(GAPS)


def test_the_forest_has_a_row_per_model_and_a_diamond(table):
    rows = tables.forest_rows(tables.gaps(table, draws=100, seed=0))
    ax = draw.forest(rows)
    assert [label.get_text() for label in ax.get_yticklabels()] == [*GAPS, "pooled"]
    marks = [line for line in ax.lines if line.get_marker() in ("o", "D")]
    assert [line.get_marker() for line in marks] == ["o", "o", "o", "D"]
    assert [line.get_xdata()[0] for line in marks] == pytest.approx(rows["gap"].to_list())
    assert ax.texts[0].get_text() == "p 0.008, 8 tasks"


@pytest.mark.filterwarnings("ignore:Glyph")
def test_unusual_tables_are_drawn(tmp_path):
    """One task, no shared task, many models and tasks, names that look like formulas, long ones, other alphabets."""
    few = {("m", "t"): ([0.5], [0.5]), ("n", "u"): ([0.5], [0.5])}
    names = [r"$\frac$ and $x", "a name much longer than any place in a figure could hold", "漢字", "tab_le & 100%"]
    many = {
        (f"{names[i % 4]} {i}", f"{names[j % 4]} {j}"): ([0.5, 0.1 * i / 14], [0.5])
        for i in range(14)
        for j in range(18)
    }
    for cells in (few, many):
        made = own(tmp_path, cells)
        gaps, spread = tables.gaps(made, draws=100, seed=0), tables.spread(made)
        slopes, dots = tables.slopes(made), tables.deviations(made)
        for figure in (draw.slopes(slopes), draw.strips(dots, spread), draw.forest(tables.forest_rows(gaps))):
            assert drawn(figure)
    assert slopes["model"].nunique() == tables.PANELS and len(gaps) == 15
    assert "14 models; 12 of them have a panel" in tables.remarks(made)["remark"].iloc[-1]


@pytest.mark.parametrize("places", [[], [0.5], [0.5, 0.5, 0.5], [0, 0.01, 0.5, 0.51, 0.52, 1]])
def test_names_are_moved_apart_as_little_as_needed(places):
    moved = draw._apart(np.array(places, dtype=float), 0.1)
    assert len(moved) == len(places) and (np.diff(moved) > 0.1 - 1e-9).all()
    assert np.mean(moved) == pytest.approx(np.mean(places)) if places else True
