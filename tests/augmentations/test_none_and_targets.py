"""Augmentations that add nothing of their own."""

import pytest
from augmenting import example, make_context

from itlib.errors import InputError
from itlib.registry import augmentations

CHOSEN = [example(i) for i in range(5)]


def test_all_are_registered():
    names = ["llm2llm", "mosaic", "noise_phases", "none", "s3ft", "with_injections", "with_targets"]
    assert augmentations.names() == names


def test_none_changes_nothing():
    assert augmentations.get("none")(CHOSEN, make_context(CHOSEN)) == CHOSEN


def test_targets_replace_the_last_examples():
    targets = [example(90), example(91)]
    context = make_context(CHOSEN, targets=lambda: targets)
    assert augmentations.get("with_targets")(CHOSEN, context) == [*CHOSEN[:3], *targets]
    assert context.ledger.notes == {"n_targets_trained": 2} and context.ledger.flops == 0


def test_targets_may_be_all_there_is():
    targets = [example(90 + i) for i in range(5)]
    assert augmentations.get("with_targets")(CHOSEN, make_context(CHOSEN, targets=lambda: targets)) == targets


def test_targets_are_the_development_examples_of_the_run():
    chosen = [example(i) for i in range(10)]
    context = make_context(chosen, target_families=("opposite",), n_targets=3)
    changed = augmentations.get("with_targets")(chosen, context)
    assert changed[:7] == chosen[:7]
    assert [one.family for one in changed[7:]] == ["opposite"] * 3
    assert all(one.id.startswith("dev/") for one in changed[7:])


@pytest.mark.parametrize(("targets", "message"), [([], "there is none"), ([example(9)] * 6, "puts 6 development")])
def test_no_target_or_too_many(targets, message):
    with pytest.raises(InputError, match=message):
        augmentations.get("with_targets")(CHOSEN, make_context(CHOSEN, targets=lambda: targets))
