"""Options and fields of methods in a spec: one spelling, one digest, and a line for what cannot be."""

import pytest
import small
import tuned

from itlib.errors import InputError
from itlib.methods import Setting, method_of, written_options
from itlib.registry import methods
from itlib.resolve import READ_BY_METHODS
from itlib.spec import digest

CHANGED = {"train_embeddings": True, "rank": 3, "alpha": 5.0, "targets": "q_proj,k_proj", "n_virtual_tokens": 7}


@pytest.mark.parametrize(("method", "given", "written"), [
    ("lora", ["inner=trained"], ()),
    ("lora", ["inner=orthonormal"], ("inner=orthonormal",)),
    ("half", ["level=category"], ()),
    ("corda", ["keep=knowledge"], ()),
    ("mixture", ["experts=4"], ()),
    ("mixture", ["experts=4.0"], ()),
    ("mixture", ["experts=8"], ("experts=8",)),
    ("grow_and_drop", ["rate=2e-1", "density=0.010", "reselect=20"], ()),
    ("grow_and_drop", ["rate=0", "reselect=1e1"], ("reselect=10", "rate=0.0")),
    ("grow_and_drop", ["reselect=10", "rate=0.0"], ("reselect=10", "rate=0.0")),
])  # fmt: skip
def test_options_have_one_spelling_and_defaults_have_none(method, given, written):
    spec = small.resolved(method=method, method_options=given)
    assert spec.tuning.method_options == written
    assert digest(spec) == digest(small.resolved(method=method, method_options=list(written)))
    assert (digest(spec) == digest(small.resolved(method=method))) == (written == ())


@pytest.mark.parametrize("name", methods.names())
def test_a_method_without_options_is_as_it_is_registered(name):
    spec = tuned.spec(name)
    assert method_of(spec) == methods.get(name) and written_options(spec) == ()


@pytest.mark.parametrize("name", methods.names())
def test_fields_that_a_method_does_not_read_make_no_second_run(name):
    base = small.resolved(method=name)
    read = {field for field, value in CHANGED.items()
            if digest(small.resolved(method=name, **{field: value})) != digest(base)}  # fmt: skip
    assert read == set(method_of(base.tuning).reads) and set(CHANGED) == set(READ_BY_METHODS)


@pytest.mark.parametrize(("name", "reads"), [
    ("norms", set()), ("ia3", set()), ("head", set()), ("grow_and_drop", set()), ("last_layer", set()),
    ("lottery_ticket", {"rank"}), ("mixture", {"rank", "alpha"}), ("vera", {"rank", "targets"}),
    ("lora", {"rank", "alpha", "targets"}), ("corda", {"rank", "alpha", "targets"}),
    ("prompt", {"n_virtual_tokens"}), ("prefix", {"n_virtual_tokens"}),
    ("full", {"train_embeddings"}), ("half", {"train_embeddings"}),
])  # fmt: skip
def test_what_methods_read(name, reads):
    assert set(methods.get(name).reads) == reads


def test_every_method_has_a_digest_of_its_own():
    assert len({digest(small.resolved(method=name)) for name in methods.names()}) == len(methods.names())


REFUSED = {
    "unknown method": ({"method": "lore"}, "unknown tuning method 'lore'.*did you mean 'lora'"),
    "unknown option": ({"method": "lora", "method_options": ["iner=trained"]}, "'lora' has no option 'iner'.*'inner'"),
    "option of no method": ({"method": "norms", "method_options": ["rank=3"]}, "'norms' has no option 'rank'"),
    "an option of another": ({"method": "dora", "method_options": ["inner=trained"]}, "'dora' has no option 'inner'"),
    "no option of one": ({"method": "pissa", "method_options": ["moves_base=false"]}, "has no option 'moves_base'"),
    "no name": ({"method": "lora", "method_options": ["orthonormal"]}, "'orthonormal' is not of the form name=value"),
    "twice": ({"method": "half", "method_options": ["level=layer", "level=model"]}, "'level' is given twice"),
    "bad value": ({"method": "lora", "method_options": ["inner=identical"]}, "inner 'identical' is not one of trained"),
    "bad type": ({"method": "mixture", "method_options": ["experts=four"]}, "experts: expected int, got 'four'"),
    "the library's trainer": (
        {"method": "grow_and_drop", "trainer": "transformers"}, "'grow_and_drop' runs in our own loop only"
    ),
    "a prompt too long": ({"method": "prompt", "n_virtual_tokens": 200}, "max_length 128 and 200 virtual tokens"),
    "a prefix too long": ({"method": "prefix", "n_virtual_tokens": 200}, "max_length 128 and 200 virtual tokens"),
    "no rank": ({"method": "lora", "rank": 0}, "rank: must be greater than 0, got 0"),
    "merged experts": (
        {"method": "mixture", "rounds": "merged", "families": ["plural", "past"], "budget": 4},
        "what method 'mixture' changes cannot be merged; take persistent",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(name):
    fields, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        small.resolved(**fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in methods.names() if name != "grow_and_drop"])
def test_the_library_trainer_takes_every_method_with_the_usual_optimizer(name):
    assert small.resolved(method=name, trainer="transformers").train.trainer == "transformers"


def test_what_is_noted_adds_up():
    given = Setting()
    given.note("a", 2), given.note("b", 1), given.note("a", 3)
    assert given.notes == {"a": 5, "b": 1} and Setting().notes == {}
