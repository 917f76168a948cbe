"""Items asked in many phrasings: the same operands everywhere, and what was tuned on comes first."""

from collections import defaultdict

import pytest

from itlib.errors import InputError
from itlib.execute import _asked
from itlib.microworld import world
from itlib.registry import sources
from itlib.resolve import resolve
from itlib.spec import DataSpec, EvalSpec, RunSpec, with_fields

SETS = ("observed", "unobserved", "negated")


def asked(n=5, n_phrasings=6, seed=3, families=("colour", "plural", "swap"), sets=SETS):
    return world.crossed("test", n, families=families, phrasing_sets=sets, n_phrasings=n_phrasings, seed=seed)


def test_every_phrasing_of_a_family_asks_the_same_operands():
    operands = defaultdict(list)
    for example in asked():
        operands[example.family, example.phrasing].append(example.entities)
    assert len(operands) == 3 * (6 + 6 + 6)
    for family in ("colour", "plural", "swap"):
        found = {tuple(value) for (name, _), value in operands.items() if name == family}
        assert len(found) == 1 and len(set(found.pop())) == 5
    assert len({example.id for example in asked()}) == len(asked())


def test_operands_are_those_of_the_plain_held_out_items():
    plain = world.held_out("test", 5, families=("colour",), phrasing_set="observed")
    found = [e.entities for e in asked(families=("colour",), sets=("observed",), n_phrasings=1)]
    assert found == [example.entities for example in plain]


@pytest.mark.parametrize("k", [1, 2, 8])
def test_the_phrasings_of_a_pool_are_the_first_of_its_run(k):
    pool = world.pool(25 * k, seed=3, families=("colour",), n_phrasings=k)
    trained = {example.phrasing for example in pool}
    first = list(dict.fromkeys(e.phrasing for e in asked(families=("colour",), sets=("observed",), n_phrasings=16)))[:k]
    assert {f"observed/{name}" for name in trained} == set(first)


def test_other_sets_keep_their_own_right_response():
    negated = [e for e in asked(families=("colour",)) if e.phrasing.startswith("negated/")]
    assert all(example.response in example.entities for example in negated)


def test_a_set_with_fewer_phrasings_gives_all_it_has():
    names = {e.phrasing for e in asked(families=("colour",), sets=("unobserved",), n_phrasings=99)}
    assert len(names) == 8


def test_a_run_asks_in_the_order_of_its_seed():
    how = {"n_eval": 2, "eval_families": ("colour",), "eval_phrasing_set": "observed", "n_eval_phrasings": 2}
    spec = with_fields(RunSpec(), **how)
    orders = [[e.phrasing for e in _asked(resolve(with_fields(spec, seed=seed)))] for seed in range(4)]
    assert len({tuple(order) for order in orders}) > 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"eval_phrasing_set": "observed+nonsense"}, "unknown phrasing set 'nonsense'"),
        ({"eval_phrasing_set": "observed+observed"}, "names a set twice"),
        ({"n_eval": 10_000}, "n_eval is 10000; family 'colour'"),
        ({"eval_language": "second"}, "first language only"),
        ({"n_eval_phrasings": 0, "eval_phrasing_set": "observed+negated"}, "unknown phrasing set"),
    ],
)
def test_bad_crossings_are_refused_in_one_line(changes, words):
    evaluation = {"n_eval": 2, "eval_families": ("colour",), "eval_phrasing_set": "observed", "n_eval_phrasings": 2}
    with pytest.raises(InputError, match=words) as caught:
        sources.get("microworld").check_evaluation(DataSpec(), EvalSpec(**evaluation | changes))
    assert "\n" not in str(caught.value)
