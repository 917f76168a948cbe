"""A spec is pure data, and its digest changes when and only when a number could."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib.errors import InputError
from itlib.spec import (
    LEAVES,
    RunSpec,
    canonical_json,
    diff,
    digest,
    flatten,
    from_mapping,
    key,
    stream,
    train_digest,
    with_fields,
)

# Pinned: a change of identity orphans every stored result, so it must be deliberate.
GOLDEN = {
    (): "d713043c8d90",
    (("n_train", 25), ("seed", 3)): "e5365b6c5e87",
    (("method", "lora"), ("rank", 4), ("learning_rate", 5e-3)): "33341b1da1d3",
}


@pytest.mark.parametrize("fields", GOLDEN)
def test_digests_are_pinned(fields):
    assert digest(with_fields(RunSpec(), **dict(fields)))[:12] == GOLDEN[fields]


def test_equal_values_of_other_types_are_one_spec():
    assert with_fields(RunSpec(), budget=150, learning_rate="1e-3") == with_fields(RunSpec(), budget=150.0)
    assert digest(with_fields(RunSpec(), families=["a", "b"])) == digest(with_fields(RunSpec(), families=("a", "b")))


def test_every_identity_field_moves_the_digest_and_paths_do_not():
    moved = {str: "other", int: 7, float: 0.5, bool: True, tuple: ("x",)}
    for name, value in flatten(RunSpec()).items():
        changed = not value if isinstance(value, bool) else moved[type(value)]
        same = digest(with_fields(RunSpec(), **{name: changed})) == digest(RunSpec())
        assert same == (name in {"model_path", "data_path", "keep_weights", "activation_checkpointing", "nodes"}), name


def test_train_digest_ignores_evaluation_only():
    spec = RunSpec()
    for name, part in LEAVES.items():
        if part == "evaluate" and name != "perturbation":
            value = flatten(spec)[name]
            other = ("z",) if isinstance(value, tuple) else value + (1 if not isinstance(value, str) else "z")
            other = not value if isinstance(value, bool) else other
            assert train_digest(with_fields(spec, **{name: other})) == train_digest(spec)
    assert train_digest(with_fields(spec, n_train=5)) != train_digest(spec)
    with_noise = with_fields(spec, components=("core 1", "perturbation typo 1"))
    assert train_digest(with_noise) == train_digest(with_fields(spec, components=("core 1", "perturbation none 1")))


@given(st.integers(0, 10**6), st.floats(1e-6, 1.0), st.sampled_from(["full", "lora"]))
def test_flat_mapping_round_trips_through_json(seed, rate, method):
    spec = with_fields(RunSpec(), seed=seed, learning_rate=rate, method=method, families=("a", "b"))
    assert from_mapping(json.loads(json.dumps(flatten(spec)))) == spec


def test_unknown_field_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'learning_rate'"):
        with_fields(RunSpec(), learning_rat=1)


@pytest.mark.parametrize("field,value", [("seed", 1.5), ("seed", True), ("learning_rate", float("nan")), ("model", 3)])
def test_lossy_values_are_refused(field, value):
    with pytest.raises(InputError, match=field):
        with_fields(RunSpec(), **{field: value})


def test_diff_names_exactly_what_differs():
    assert diff(RunSpec(), with_fields(RunSpec(), rank=4, seed=1)) == {"rank": (16, 4), "seed": (0, 1)}
    assert diff(RunSpec(), RunSpec()) == {}


def test_key_is_safe_as_a_folder_name():
    name = key(with_fields(RunSpec(), model="../../etc", source="a b/c", selector="x;y"))
    assert "/" not in name and " " not in name and ";" not in name


def test_canonical_json_refuses_what_json_cannot_hold():
    with pytest.raises(ValueError):
        canonical_json({"x": float("nan")})


def test_streams_depend_on_seed_and_purpose_alone():
    np.random.seed(123)
    first = stream(1, "order").integers(10**9, size=4)
    np.random.random(100)
    assert (stream(1, "order").integers(10**9, size=4) == first).all()
    assert (stream(2, "order").integers(10**9, size=4) != first).any()
    assert (stream(1, "selection").integers(10**9, size=4) != first).any()
    code = "from itlib.spec import stream; print(*stream(1, 'order').integers(10**9, size=4))"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [int(x) for x in elsewhere.stdout.split()] == first.tolist()
