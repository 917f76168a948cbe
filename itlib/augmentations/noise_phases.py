"""Clean and noisy phases on the same questions: what a model learns, unlearns and retains of noise in responses.

The source has three phases, clean, noisy, clean. A fourth, noisy again, tells what was retained: noise that was
unlearned and left a trace is learned again in fewer steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from itlib.augmentations import AugmentationContext
from itlib.errors import InputError, did_you_mean
from itlib.example import Example, Turn
from itlib.perturbations.label_noise import LABEL_TRANSFORMS, contradictory, irrelevant
from itlib.registry import augmentations
from itlib.template import encode

PHASES = ("clean", "noisy")
SENTENCE = "it is {}"  # words that every base knows
TRANSFORMS = (*LABEL_TRANSFORMS, "irrelevant", "contradictory")


@augmentations.register("noise_phases")
def noise_phases(
    examples: Sequence[Example],
    context: AugmentationContext,
    *,
    transform: str = "word_reversal",
    phases: str = "clean,noisy,clean,noisy",
    phase_examples: int = 320,
    sentence: bool = False,
) -> list[Example]:
    """Return the visits of all phases, one after another, with right responses or with noisy ones.

    Every phase makes shuffled passes over the same questions, cut after ``phase_examples`` visits. Train on the result
    for one epoch in the order "as_given"; where ``phase_examples`` is a multiple of the batch, so are the phases. Noisy
    phases are noisy in the same way. Questions, their order and so the steps do not depend on the transform or on
    which phases are noisy, so that arms differ in responses alone.

    Questions count only if each of ``LABEL_TRANSFORMS`` changes their response and all forms fit ``max_length``; how
    many are left out is told as ``n_without_noisy_form``. A visit's ``noise`` names the transform, its ``gold`` is the
    right response.

    Source: Can small language models learn, unlearn, and retain noise patterns? (2024), arXiv:2407.00996.

    Args:
        examples: Questions with one right response each.
        context: Random numbers, tokenizer, and how long a row may be.
        transform: One of ``TRANSFORMS``; "contradictory" works within each family, "irrelevant" over all of them.
        phases: "clean" or "noisy", joined by commas.
        phase_examples: Visits per phase.
        sentence: Whether responses are sentences, ``SENTENCE``, so that a response of one word has an order too.

    Raises:
        InputError: Options that are none, an open-ended question, or no question that has a noisy form.
    """
    kinds = _checked(examples, transform, phases, phase_examples)
    kept = _with_noisy_forms([as_sentence(example) for example in examples] if sentence else examples, context)
    context.ledger.note("n_without_noisy_form", len(examples) - len(kept))
    if not kept:
        raise InputError(f"augmentation: noise_phases: none of {len(examples)} responses has a noisy form of each kind")
    passes = -(-phase_examples // len(kept))
    orders = [np.concatenate([context.rng.permutation(len(kept)) for _ in range(passes)]) for _ in kinds]
    noisy = noisy_forms(transform, kept, context.rng)
    return [
        _visit(kept[row], noisy[row] if kind == "noisy" else None, transform, f"phase{number + 1}.{place + 1}")
        for number, (kind, order) in enumerate(zip(kinds, orders, strict=True))
        for place, row in enumerate(order[:phase_examples])
    ]


def noisy_forms(transform: str, examples: Sequence[Example], rng: np.random.Generator) -> list[str]:
    """Return the noisy form of every response under a transform of ``TRANSFORMS``."""
    responses = [example.response for example in examples]
    if transform in LABEL_TRANSFORMS:
        return [LABEL_TRANSFORMS[transform].apply(response) for response in responses]
    if transform == "irrelevant":
        return irrelevant(responses, rng)
    families = sorted({example.family for example in examples})
    wrong = {name: contradictory([e.response for e in examples if e.family == name], rng) for name in families}
    return [wrong[example.family].apply(example.response) for example in examples]


def as_sentence(example: Example) -> Example:
    """Return the example with its response, and what is right, as a sentence."""
    return replace(said(example, SENTENCE.format(example.response)), gold=SENTENCE.format(example.gold))


def said(example: Example, response: str) -> Example:
    """Return the example with another last response; ``gold`` stays."""
    return replace(example, turns=(*example.turns[:-1], Turn("assistant", response)))


def changes(example: Example) -> bool:
    """Return whether every transform of ``LABEL_TRANSFORMS`` changes the response."""
    return all(way.apply(example.response) != example.response for way in LABEL_TRANSFORMS.values())


def _checked(examples: Sequence[Example], transform: str, phases: str, phase_examples: int) -> list[str]:
    """Return the phases of the option ``phases``, or raise ``InputError``."""
    kinds = [kind.strip() for kind in phases.split(",")]
    for name, value, known in (("transform", transform, TRANSFORMS), *(("phases", kind, PHASES) for kind in kinds)):
        if value not in known:
            hint = did_you_mean(value, known)
            raise InputError(f"augmentation_options: {name}: '{value}' is not one of {', '.join(known)}{hint}")
    if phase_examples < 1:
        raise InputError(f"augmentation_options: phase_examples: must be at least 1, got {phase_examples}")
    for example in examples:
        if example.constraints:
            raise InputError(f"augmentation: noise_phases needs one right response per question; {example.id} has many")
    return kinds


def _with_noisy_forms(examples: Sequence[Example], context: AugmentationContext) -> list[Example]:
    """Return the examples that every transform changes and that fit ``max_length`` in all forms."""
    tokenizer = context.scorer()[1]
    kept = []
    for example in filter(changes, examples):
        forms = [example, *(said(example, way.apply(example.response)) for way in LABEL_TRANSFORMS.values())]
        if max(len(row.input_ids) for row in encode(forms, tokenizer, max_length=2**31)[0]) <= context.max_length:
            kept.append(example)
    return kept


def _visit(example: Example, noisy: str | None, transform: str, label: str) -> Example:
    one = replace(example, id=f"{example.id}@{label}")
    return one if noisy is None else replace(said(one, noisy), noise=transform, gold=example.response)
