"""A look at single runs: tokens of the loss, losses, worst items, answers, two runs side by side."""

import sys

import pytest
import small

from itlib import look
from itlib.engines import run_all
from itlib.errors import InputError
from itlib.frame import item_frame
from itlib.resolve import resolve
from itlib.result import ITEM_COLUMNS, RunResult
from itlib.store import Store

HOW = {"eval_families": ("colour", "plural"), "n_eval": 3, "n_reference": 4, "budget": 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    specs = [small.spec(n_train=16, learning_rate=rate, keep_weights=rate > 1e-3, **HOW) for rate in (1e-3, 5e-3)]
    return store, run_all(specs, store, engine="serial", progress=False)


def test_the_loss_is_taken_on_the_answer_and_its_stop_token(made):
    rows = look.mask(made[1][0].spec, 2)
    assert len(rows.rows) == 2
    for row in rows.rows:
        marked = [on for _, on in row]
        assert not marked[0] and marked[-1] and marked == sorted(marked), "a prompt, then what is supervised"
    assert str(rows).count("[") == sum(on for row in rows.rows for _, on in row)
    page = look.Rows(((("<script>", True), ("a", False)),))._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page
    with pytest.raises(InputError, match="tunes nothing"):
        look.mask(resolve(small.spec(n_train=0)))


def test_losses_have_a_column_per_run(made):
    table = look.losses(made[1])
    assert table.shape[1] == 2 and table.index[0] >= 1 and table.notna().all().all()
    assert not len(look.losses([RunResult(made[1][0].spec, "failed")]))


def test_the_worst_items_come_first(made):
    found = look.worst(made[1][0], 4)
    items = item_frame([made[1][0]])
    assert found["loss"].is_monotonic_decreasing and len(found) == 4
    assert found["loss"].iloc[0] == pytest.approx((items["nll"] / items["n_tokens"]).max())


def test_answers_of_base_and_tuned_model(made):
    store, (plain, kept) = made
    table = look.answers(kept.spec, store, 4)
    assert list(table.columns) == ["family", "instruction", "right", "base", "tuned"]
    assert table["family"].tolist() == ["colour", "plural", "colour", "plural"] and table["right"].all()
    untuned = look.answers(resolve(small.spec(n_train=0, **HOW)), store, 2)
    assert "tuned" not in untuned.columns and untuned["base"].tolist() == table["base"].tolist()[:2]
    with pytest.raises(InputError, match="kept no weights"):
        look.answers(plain.spec, store)


def test_two_runs_side_by_side(made):
    left, column = made[1][0], ITEM_COLUMNS.index("exact_match")
    items = list(left.items)
    first = next(i for i, item in enumerate(items) if item[column] is not None)
    flipped = list(items[first])
    flipped[column] = 1.0 - flipped[column]
    right = RunResult(made[1][1].spec, "done", (*items[:first], tuple(flipped), *items[first + 1 :]))
    found = look.beside(left, right)
    assert found["item"].tolist() == [items[first][0]]
    assert set(found.attrs["settings"]) == {"learning_rate", "keep_weights"}
    assert not len(look.beside(left, left))
    with pytest.raises(InputError, match="asked different items"):
        look.beside(left, RunResult(left.spec, "done", left.items[1:]))


def test_runs_are_a_plain_table_without_widgets(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert look.browse(made[1])["status"].tolist() == ["done", "done"]
