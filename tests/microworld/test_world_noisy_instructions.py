"""Noisy instructions: the same items, ids and responses, asked in a worse way."""

import hashlib

import pytest

from itlib.errors import InputError
from itlib.microworld import noisy_instructions, world
from itlib.microworld.noisy_instructions import KINDS
from itlib.microworld.phrasings import SETS, phrasings, template_words
from itlib.registry import sources
from itlib.spec import DataSpec, EvalSpec

PIN = "6273c38b"
FAMILIES = ("opposite", "colour", "swap", "copy", "addition", "home")


def items(instruction="none", which="unobserved_wrapper", families=FAMILIES, n=12, **changes):
    return world.held_out("test", n, families=families, phrasing_set=which, instruction=instruction, **changes)


@pytest.mark.parametrize("which", SETS)
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_instruction_changes(kind, which):
    for own, noisy in zip(items(which=which), items(kind, which), strict=True):
        assert (own.id, own.response, own.gold, own.entities) == (noisy.id, noisy.response, noisy.gold, noisy.entities)
        assert which in ("name", "none") or own.instruction != noisy.instruction
        assert noisy.operands <= set(noisy.instruction.split())


def test_every_family_has_every_kind():
    for kind in KINDS:
        assert len(items(kind, families=world.every_family(), n=1)) == len(world.every_family())


def test_null_is_the_operands_alone():
    for example in items("null", families=("opposite", "swap", "copy")):
        assert example.instruction == " ".join(example.entities)


def test_opposite_is_a_negation_of_the_same_question():
    for own, noisy in zip(items(), items("opposite"), strict=True):
        phrase = own.phrasing.partition("+")[2]
        rendered = {
            p.render(own.family, arguments)
            for p in phrasings(own.family, "negated")
            if p.id.endswith(f"+{phrase}")
            for arguments in [tuple(own.entities)]
            if own.family not in ("addition", "home")
        }
        assert not rendered or noisy.instruction in rendered
        assert any(word in noisy.instruction.split() for word in ("not", "never"))


def test_a_negated_instruction_is_contrasted_with_another_one():
    """The intervention does not know that what it is given is a negation."""
    for own, noisy in zip(items(which="negated"), items("opposite", "negated"), strict=True):
        assert own.instruction != noisy.instruction and {"not", "never"} & set(noisy.instruction.split())


def test_truncated_keeps_six_tenths_of_the_words_before_the_operands():
    for own, noisy in zip(items(), items("truncated"), strict=True):
        words = [word for word in own.instruction.split() if word.isalpha() and word not in own.operands]
        kept = [word for word in noisy.instruction.split() if word not in own.operands and word != "+"]
        assert set(kept) <= set(words) and abs(len(kept) - 0.6 * len(words)) <= 0.6
    assert len({tuple(e.instruction.split()[:2]) for e in items("truncated", families=("opposite",))}) > 3


def test_random_words_are_words_of_templates():
    for example in items("random", families=("opposite", "copy")):
        rest = set(example.instruction.split()) - example.operands
        assert rest <= template_words() | {"."}


def test_crossed_items_and_the_second_language_have_noisy_instructions_too():
    how = {"families": ("colour",), "phrasing_sets": ("observed", "unobserved"), "n_phrasings": 3, "seed": 1}
    own, noisy = (world.crossed("test", 2, instruction=kind, **how) for kind in ("none", "opposite"))
    assert [e.id for e in own] == [e.id for e in noisy]
    assert all(a.instruction != b.instruction for a, b in zip(own, noisy, strict=True))
    first, second = (items("null", families=("colour",), spoken=spoken) for spoken in ("first", "second"))
    assert all(a.instruction != b.instruction for a, b in zip(first, second, strict=True))


def test_the_source_gives_them_for_either_kind_of_evaluation():
    source, data = sources.get("microworld"), DataSpec()
    for phrases in (0, 2):
        evaluation = EvalSpec(n_eval=2, eval_families=("colour",), n_eval_phrasings=phrases)
        noisy = source.noisy(data, evaluation, "null", seed=0)
        assert [e.id for e in noisy] == [e.id for e in source.held_out(data, evaluation)]
        assert all(e.instruction == e.entities[0] for e in noisy)


@pytest.mark.parametrize("key", ["contrast", "noisy_prompt"])
def test_an_unknown_kind_is_refused_naming_its_key(key):
    with pytest.raises(InputError, match=f"^{key}: 'oposite' .*did you mean 'opposite'"):
        sources.get("microworld").check_evaluation(DataSpec(), EvalSpec(n_eval=2, **{key: "oposite"}))


def test_they_are_frozen_with_the_world():
    text = "\n".join(
        f"{e.id} {e.instruction}" for kind in KINDS for e in items(kind, families=world.every_family(), n=3)
    )
    assert hashlib.sha256(text.encode()).hexdigest()[:8] == PIN, "a change is a new WORLD_VERSION"
    assert noisy_instructions.KEPT == 0.6
