"""Wrong answers that are the answer to another question: does a model hand out what it saw in training?

A wrong answer is *borrowed* when it is the response of the training prompt nearest to the item, by edit distance over
words, the first of equally near ones. Questions of one kind that name other operands are often equally near; so it is
also counted in parts, as the share of the nearest prompts that have it as their response: what a draw among them would
find, without the chance of the draw. By chance a wrong answer agrees with a training response as often as that response
occurs; the base rate is the mean of these shares over the wrong answers.

Source: the question of A Closer Look at the Limitations of Instruction Tuning (arXiv:2402.05119), section 5, which
speaks of tokens borrowed from similar training examples; the base rate is ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from itlib.generate import responses
from itlib.measures import Measured
from itlib.registry import measures

COLUMNS = ("family", "n", "n_wrong", "n_borrowed", "n_near", "chance")


@measures.register("borrowing")
def measure_borrowing(about: Measured) -> dict[str, list[Any]]:
    """Return per family of items ``n`` asked, ``n_wrong``, ``n_borrowed``, ``n_near`` and ``chance``.

    ``n_near`` counts in parts where several prompts are equally near; ``chance`` is the expected n_borrowed.
    """
    items = [item for item in about.items if not item.constraints and not item.options and len(item.turns) > 1]
    shown = [example for example in about.trained_on() if len(example.turns) > 1]
    how = {"pad_id": about.pad_id, "dtype": about.spec.base.dtype, "context_length": about.context_length}
    said = responses(about.model, about.tokenizer, items, **how)
    prompts = [example.instruction.split() for example in shown]
    answers = [example.response for example in shown]
    frequency = Counter(answers)
    counts: dict[str, list[float]] = {}
    for item, answer in zip(items, said, strict=True):
        row = counts.setdefault(item.family, [0, 0, 0, 0.0, 0.0])
        row[0] += 1
        if answer.split() == (item.gold or item.response).split():
            continue
        row[1] += 1
        apart = distances(item.instruction.split(), prompts)
        near = [answers[i] == answer for i in np.flatnonzero(apart == apart.min())]
        row[2] += near[0]
        row[3] += sum(near) / len(near)
        row[4] += frequency[answer] / len(answers)
    rows = [
        (family, *map(int, row[:3]), *(float(f"{value:.6g}") for value in row[3:]))
        for family, row in sorted(counts.items())
    ]
    return {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}


def distances(words: Sequence[str], others: Sequence[Sequence[str]]) -> np.ndarray:
    """Return the edit distance of a text to each of many, in words inserted, dropped or replaced.

    Returns:
        Shape (len(others),), integers.
    """
    longest = max(map(len, others), default=0)
    same = np.zeros((len(words), longest, len(others)), dtype=bool)
    for index, other in enumerate(others):
        for column, word in enumerate(other):
            for row, mine in enumerate(words):
                same[row, column, index] = mine == word
    previous = np.repeat(np.arange(longest + 1)[:, None], len(others), axis=1)
    for row in range(len(words)):
        current = np.empty_like(previous)
        current[0] = row + 1
        for column in range(longest):
            replaced = previous[column] + ~same[row, column]
            current[column + 1] = np.minimum(np.minimum(previous[column + 1], current[column]) + 1, replaced)
        previous = current
    lengths = np.array([len(other) for other in others], dtype=int)
    return previous[lengths, np.arange(len(others))]
