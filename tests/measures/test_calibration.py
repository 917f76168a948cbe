"""How sure a model is, and how often right."""

import numpy as np
import pytest
import small

from itlib.execute import execute
from itlib.measures import measure_frame
from itlib.measures.calibration import BINS


def test_bins_hold_every_closed_item_once():
    result = execute(small.resolved(measures=("calibration",), n_eval=3, learning_rate=2e-3, budget=10, n_train=40))
    found = measure_frame([result], "calibration")
    closed = [item for item in result.items if item[1] != "reference" and item[7] is None]
    assert found["bin"].tolist() == list(range(BINS)) and found["n"].sum() == len(closed)
    edges = np.arange(BINS + 1) / BINS
    some = found[found["n"] > 0]
    mean = some["confidence"] / some["n"]
    assert ((mean >= edges[some["bin"]] - 1e-6) & (mean <= edges[some["bin"] + 1] + 1e-6)).all()
    assert (some["right"] <= some["n"]).all()


def test_an_answer_of_one_token_is_right_where_its_lenient_match_is():
    """Families whose answers are one word: the first token decides, and the stop token does not count."""
    families = ("category", "colour")
    how = {"families": families, "n_train": 40, "budget": 20, "learning_rate": 4e-3, "n_reference": 0, "n_eval": 20}
    result = execute(small.resolved(measures=("calibration",), **how))
    lenient = sum(item[6] for item in result.items)
    right = measure_frame([result], "calibration")["right"].sum()
    assert right == pytest.approx(lenient) and right > 0


def test_styled_answers_have_no_right_first_token_and_so_no_bins():
    how = {"families": ("category",), "response_style": "polite", "n_reference": 0}
    found = measure_frame([execute(small.resolved(measures=("borrowing", "calibration"), **how))], "calibration")
    assert found["bin"].tolist() == list(range(BINS)) and found[["n", "confidence", "right"]].to_numpy().sum() == 0
