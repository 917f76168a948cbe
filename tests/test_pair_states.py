"""Cosines of paraphrases and hard negatives, by hand and on a stored model."""

from dataclasses import replace

import numpy as np
import pytest
import small

from itlib.execute import run_one
from itlib.pair_states import cosines, pair_means
from itlib.store import Store


def test_pairs_by_hand():
    first, second = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[3.0, 0.0], [1.0, 1.0]])
    positive, negative = pair_means(first, second, ["a", "b"])
    assert positive == pytest.approx((1 + 0.5**0.5) / 2)
    assert negative == pytest.approx((0.5**0.5 + 0.0) / 2)


def test_equal_answers_are_no_negatives():
    states = np.eye(3)
    assert np.isnan(pair_means(states, states, ["a", "a", "a"])[1])
    assert pair_means(states, states, ["a", "a", "b"]) == (1.0, 0.0)


def test_cosines_of_a_stored_run(tmp_path):
    store, spec = Store(tmp_path), replace(small.resolved(families=["plural", "past"], n_eval=4), keep_weights=True)
    run_one(spec, store)
    table = cosines(spec, store, "unobserved")
    assert len(table) == 2 * 4 and table["value"].between(-1, 1.0001).all()
    assert table.equals(cosines(spec, store, "unobserved"))
    wide = table.pivot(index="family", columns="metric", values="value")
    assert (wide["positive_response"] > wide["negative_response"]).any()
    with pytest.raises(ValueError, match="no phrasing set 'new'"):
        cosines(spec, store, "new")
