"""Measures in a run: stored with it, found again, and apart from its training."""

from dataclasses import replace

import pytest
import small

from itlib.errors import InputError
from itlib.execute import run_one
from itlib.measures import measure_frame
from itlib.registry import measures
from itlib.resolve import resolve
from itlib.spec import digest, train_digest, with_fields
from itlib.store import Store


def test_a_measure_is_part_of_the_evaluation_and_not_of_the_training():
    plain = small.resolved()
    asked = resolve(with_fields(plain, measures=("recall",)))
    assert digest(plain) != digest(asked) and train_digest(plain) == train_digest(asked)


def test_kept_weights_are_measured_without_training_again(tmp_path, monkeypatch):
    store = Store(tmp_path)
    spec = replace(small.resolved(method="lora", rank=2, learning_rate=5e-3), keep_weights=True)
    first = run_one(spec, store)
    monkeypatch.setattr("itlib.tune.train", lambda *a, **k: pytest.fail("trained again"))
    later = run_one(resolve(with_fields(spec, measures=tuple(measures.names()))), store)
    assert later.status == "done", later.error
    assert later.items == first.items and set(later.totals["measures"]) == set(measures.names())


def test_measures_do_not_change_scores():
    from itlib.execute import execute

    plain = execute(small.resolved(learning_rate=2e-3))
    assert execute(small.resolved(learning_rate=2e-3, measures=tuple(measures.names()))).items == plain.items


def test_a_stored_measure_is_read_back_as_it_was(tmp_path):
    store, spec = Store(tmp_path), small.resolved(measures=("recall",))
    fresh, again = run_one(spec, store), run_one(spec, store)
    assert measure_frame([fresh], "recall").equals(measure_frame([again], "recall"))
    frame = measure_frame([fresh], "recall")
    assert frame["frequency"].is_monotonic_increasing and frame["recall"].between(0, 1).all()
    assert frame.set_index("frequency")["recall"].loc[1.0] > frame["recall"].iloc[0]


def test_order_of_names_is_no_part_of_a_run():
    assert digest(small.resolved(measures=("recall", "calibration"))) == digest(
        small.resolved(measures=("calibration", "recall"))
    )


@pytest.mark.parametrize(("changes", "message"), [
    ({"measures": ("recal",)}, "unknown measure 'recal', did you mean 'recall'"),
    ({"measures": ("recall", "recall")}, "measures: the list repeats a name"),
])  # fmt: skip
def test_bad_measures_are_refused(changes, message):
    with pytest.raises(InputError, match=message.replace(", did you mean", ".*")):
        small.resolved(**changes)
