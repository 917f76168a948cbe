"""Injection negatives: examples that hold the instruction of another one and are answered as if they did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from itlib.augmentations import AugmentationContext
from itlib.errors import InputError
from itlib.example import Example, Turn
from itlib.injections import ATTACKED, placed
from itlib.registry import augmentations
from itlib.template import encode


@augmentations.register("with_injections")
def with_injections(examples: Sequence[Example], context: AugmentationContext, *, share: float = 0.5) -> list[Example]:
    """Return the examples, ``share`` of them with the instruction of another family's example in their input.

    The response stays that of the example's own task. Places are those of ``itlib.injections``, each as likely, and the
    instructions are those of the examples themselves, so that nothing new is shown; the number of examples stays. One
    that would exceed ``max_length``, or that finds no other family, stays as it is; how many have an injection is told
    as ``n_injected``.

    Args:
        examples: Conversations of one user and one assistant turn.
        context: Random numbers, tokenizer, and how long a row may be.
        share: Of the examples, to the nearest one.

    Raises:
        InputError: A share outside 0 to 1, or a conversation of more turns.
    """
    if not 0 <= share <= 1:
        raise InputError(f"augmentation_options: share: must be between 0 and 1, got {share:g}")
    for example in examples:
        if tuple(turn.role for turn in example.turns) != ("user", "assistant"):
            raise InputError(
                f"augmentation: with_injections takes single questions and answers; {example.id} is another"
            )
    changed, tokenizer = list(examples), context.scorer()[1]
    for row in context.rng.permutation(len(examples))[: round(share * len(examples))]:
        found = _injected(examples[row], examples, context.rng)
        if found and len(encode([found], tokenizer, max_length=2**31)[0][0].input_ids) <= context.max_length:
            changed[row] = found
    context.ledger.note("n_injected", sum(new is not old for new, old in zip(changed, examples, strict=True)))
    return changed


def _injected(example: Example, examples: Sequence[Example], rng: np.random.Generator) -> Example | None:
    """Return the example with a random other family's instruction at a random place, or None without such a family."""
    place = ATTACKED[int(rng.integers(len(ATTACKED)))]
    for row in rng.permutation(len(examples)):
        other = examples[row]
        if other.family != example.family:
            question = placed(example.instruction, example.entities, other.instruction, place)
            turns = (Turn("user", question), example.turns[1])
            return replace(example, id=f"{example.id}#{place}", turns=turns)
    return None
