"""Injection negatives: other examples' instructions inside, the own response outside."""

import numpy as np
import pytest
from augmenting import example, make_context

from itlib.augmentations.with_injections import with_injections
from itlib.errors import InputError

WORDS = ("red", "wolf", "seven", "house", "cold", "river", "stone", "sand")
POOL = [
    example(i, f"family {i % 2} of {word} and dog ?", word, family=f"f{i % 2}", entities=(word, "dog"))
    for i, word in enumerate(WORDS)
]


def made(share=0.5, pool=POOL, seed=0, **changes):
    context = make_context(pool, seed=seed, **changes)
    return with_injections(pool, context, share=share), context


@pytest.mark.parametrize(("share", "n"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_a_share_of_the_examples_holds_another_familys_instruction(share, n):
    examples, context = made(share)
    changed = [(new, old) for new, old in zip(examples, POOL, strict=True) if new != old]
    assert len(examples) == len(POOL) and len(changed) == n == context.ledger.notes["n_injected"]
    for new, old in changed:
        others = [one.instruction for one in POOL if one.family != old.family]
        inside = [text for text in others if text in new.instruction]
        assert (
            inside
            and new.instruction.replace(f"{inside[0]} ", "", 1) == old.instruction
            or " ".join(new.instruction.replace(inside[0], "", 1).split()) == old.instruction
        )
        assert (new.response, new.gold, new.family) == (old.response, old.gold, old.family)
    assert len({one.id for one in examples}) == len(POOL)


def test_all_places_come():
    examples, _ = made(1.0, pool=[example(i, f"of w{i} and v{i} ?", "x", family=f"f{i}", entities=(f"w{i}", f"v{i}"))
                                  for i in range(60)])  # fmt: skip
    assert {one.id.partition("#")[2] for one in examples} == {"start", "middle", "end"}


def test_equal_seeds_agree_and_others_differ():
    first = made(seed=1)[0]
    np.random.seed(0)
    assert made(seed=1)[0] == first != made(seed=2)[0]


def test_what_does_not_fit_or_has_no_other_family_stays():
    assert made(1.0, max_length=12)[0] == POOL
    alone = [one for one in POOL if one.family == "f0"]
    assert made(1.0, pool=alone)[0] == alone


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="share: must be between 0 and 1"):
        made(1.5)
