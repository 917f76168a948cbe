"""Grids: every cell once, and every mistake refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib.errors import InputError
from itlib.grid import from_yaml_mapping, grid
from itlib.spec import RunSpec, with_fields


def cells(specs, *names):
    from itlib.spec import flatten

    return [tuple(flatten(spec)[name] for name in names) for spec in specs]


@given(st.sets(st.integers(1, 50), min_size=1, max_size=4), st.sets(st.integers(0, 9), min_size=1, max_size=4))
def test_crossed_grid_is_the_product_in_order(sizes, seeds):
    sizes, seeds = sorted(sizes), sorted(seeds)
    specs = grid(RunSpec(), n_train=sizes, seed=seeds)
    assert cells(specs, "n_train", "seed") == [(n, s) for n in sizes for s in seeds]


def test_zipped_axes_move_together_and_exclusions_remove():
    specs = grid(
        RunSpec(),
        seed=[0, 1],
        zipped=[{"method": ["full", "lora"], "learning_rate": [1e-3, 5e-3]}],
        exclude=[{"method": "lora", "seed": 1}],
    )
    assert cells(specs, "seed", "method", "learning_rate") == [(0, "full", 1e-3), (0, "lora", 5e-3), (1, "full", 1e-3)]


def test_yaml_mapping_says_the_same_as_code():
    mapping = {
        "base": {"n_train": 10},
        "cross": {"seed": [0, 1]},
        "zip": [{"method": ["full", "lora"], "rank": [16, 4]}],
        "exclude": [{"seed": 1, "method": "full"}],
    }
    code = grid(
        with_fields(RunSpec(), n_train=10),
        seed=[0, 1],
        zipped=[{"method": ["full", "lora"], "rank": [16, 4]}],
        exclude=[{"seed": 1, "method": "full"}],
    )
    assert from_yaml_mapping(mapping) == code and len(code) == 3


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"n_trian": [1]}, "did you mean 'n_train'"),
        ({"seed": []}, "empty"),
        ({"seed": 3}, "an axis is a list"),
        ({"method": "full"}, "an axis is a list"),
        ({"seed": [1, 1]}, "repeats"),
        ({"budget": [1, 1.0]}, "same run"),
        ({"zipped": [{"seed": [1, 2], "rank": [1]}]}, "equal length"),
        ({"seed": [1], "zipped": [{"seed": [2]}]}, "two axes"),
        ({"seed": [1], "exclude": [{"seed": 9}]}, "matches no cell"),
        ({"seed": [1], "exclude": [{"sed": 9}]}, "did you mean 'seed'"),
        ({"seed": ["x"]}, "seed"),
    ],
)
def test_mistakes_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        grid(RunSpec(), **arguments)


@pytest.mark.parametrize(
    "mapping,message",
    [
        ({"crossed": {}}, "did you mean 'cross'"),
        ({"cross": []}, "cross: expected a mapping"),
        ({"zip": {}}, "zip: expected a list"),
        ({"base": None}, "base: expected a mapping"),
        ({"base": {"nope": 1}}, "unknown field 'nope'"),
        ({"base": {"spec": 1}}, "base: unknown field 'spec'"),
        ({"zip": [1]}, "zip: expected .*, got 1"),
        ({"zip": [{}]}, "zip: expected .*, got {}"),
        ({"exclude": [1]}, "exclude: expected .*, got 1"),
        ({"exclude": [{}]}, "exclude: expected .*, got {}"),
        ({"cross": {"zipped": [1]}}, "unknown field 'zipped'"),
        ({"cross": {"exclude": [1]}}, "unknown field 'exclude'"),
        ({"cross": {"base": [1]}}, "unknown field 'base'"),
        ({"cross": {"seed": [0, 1]}, "exclude": [{"seed": 0}, {"seed": 1}]}, "leaves none of the 2 cells"),
        ({"base": {"components": ["core 1"]}}, "'components' is filled in"),
        ({"cross": {"data_fingerprint": ["x"]}}, "'data_fingerprint' is filled in"),
        ({"zip": [{"model_fingerprint": ["x"]}]}, "'model_fingerprint' is filled in"),
        ({"cross": {"seed": list(range(400)), "n_train": list(range(400))}}, "160000 cells; at most 100000"),
    ],
)
def test_yaml_mistakes_are_refused_in_one_line(mapping, message):
    with pytest.raises(InputError, match=message) as caught:
        from_yaml_mapping(mapping)
    assert "\n" not in str(caught.value)
