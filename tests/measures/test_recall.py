"""Facts by frequency: of a base as it is, and read off a run."""

import small
from pandas.testing import assert_frame_equal

from itlib.execute import load_base
from itlib.measures import recall
from itlib.measures.recall import base_recall, measure_recall


def test_bases_are_asked_once_and_say_what_the_measure_says():
    specs = [small.resolved(seed=seed, base_seed=base) for seed, base in ((0, 0), (1, 3), (8, 0))]
    found = base_recall(specs)
    assert found.groupby("base_seed").size().to_dict() == {0: 6, 3: 6}
    often, never = (found[found["frequency"] == frequency]["recall"] for frequency in (1.0, 0.0))
    assert (often > 0.95).all() and (never < 0.1).all()
    model, tokenizer = load_base(specs[1])
    about = type("About", (), {"model": model, "tokenizer": tokenizer})
    mine = found[found["base_seed"] == 3]
    assert measure_recall(about) == {"frequency": mine["frequency"].to_list(), "recall": mine["recall"].to_list()}
    assert mine["recall"].to_list() != found[found["base_seed"] == 0]["recall"].to_list()


def test_no_base_is_an_empty_table():
    assert list(base_recall([]).columns) == ["base_seed", "frequency", "recall"]


def test_what_is_known_of_a_base_loads_no_model(tmp_path, monkeypatch):
    """Kept by the fingerprint of the weights: another seed of the same base finds it, another base does not."""
    specs = [small.resolved(seed=seed, base_seed=base) for seed, base in ((0, 0), (1, 3), (8, 0))]
    loaded, model = [], load_base(specs[0])

    class Known:
        def load(self, base):
            loaded.append(base.base_seed)
            return model

    monkeypatch.setattr(recall.models, "get", lambda name: Known())
    first = base_recall(specs[:1], tmp_path)
    assert loaded == [0]
    assert_frame_equal(base_recall(specs[2:], tmp_path), first)
    assert loaded == [0]
    assert set(base_recall(specs, tmp_path)["base_seed"]) == {0, 3} and loaded == [0, 3]
    assert_frame_equal(base_recall(specs[:1]), first)
