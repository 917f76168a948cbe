"""Label noise: responses changed by a rule, for what a model learns, unlearns and retains of it.

Nothing here perturbs an instruction, so nothing is registered as a perturbation. ``LABEL_TRANSFORMS`` are bijections
of texts: what a noisy model says is brought back by ``inverse`` and graded as if it were clean. The two corruptions
need the other responses: ``irrelevant`` gives every example the response of another one, ``contradictory`` makes a
bijection without fixed points of the responses of one family.

A transform can leave a response as it is: a response of one word has no order, "p" and "noon" read backwards are the
same. Such a response has no noisy form that differs from its clean one: leave it out where the two are told apart
(``transform.apply(response) == response``).

Source: Can small language models learn, unlearn, and retain noise patterns? (2024), arXiv:2407.00996.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from itlib.errors import InputError, did_you_mean
from itlib.perturbations._words import split


@dataclass(frozen=True)
class Transform:
    """A bijection of responses.

    Attributes:
        apply: Returns the noisy form of a response.
        inverse: Returns the response of a noisy form: ``inverse(apply(text)) == text``.
    """

    apply: Callable[[str], str]
    inverse: Callable[[str], str]


def _reversed_words(text: str) -> str:
    return "".join(reversed(split(text)))


def _reversed_letters(text: str) -> str:
    return re.sub(r"\S+", lambda word: word[0][::-1], text)


def _shift(characters: str) -> str:
    """Return the characters in the order that shifts them by half their number, which is its own inverse."""
    half = len(characters) // 2
    return characters[half:] + characters[:half]


_ALPHABETS = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
_SHIFTED = str.maketrans("".join(_ALPHABETS), "".join(map(_shift, _ALPHABETS)))


def _transliterated(text: str) -> str:
    return text.translate(_SHIFTED)


# word_reversal: the words in reverse order. letter_reversal: the letters of every word in reverse order.
# transliteration: letters moved by 13 places and digits by 5; without digits, sums would have no noisy form.
LABEL_TRANSFORMS = {
    "word_reversal": Transform(_reversed_words, _reversed_words),
    "letter_reversal": Transform(_reversed_letters, _reversed_letters),
    "transliteration": Transform(_transliterated, _transliterated),
}


def irrelevant(responses: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Give every example the response of another one: a permutation in which no text stays in its place.

    Args:
        responses: One response per example.
        rng: Decides which.

    Returns:
        The same responses in another order, so that their frequencies are those of the clean data.

    Raises:
        InputError: One response makes up more than half of them, so that it has to meet itself.
    """
    count = len(responses)
    for common, times in Counter(responses).most_common(1):
        if 2 * times > count:
            raise InputError(f"irrelevant responses: '{common}' is the response of more than half of {count} examples")
    given = [responses[i] for i in np.argsort(rng.random(count), kind="stable")]
    for i, own in enumerate(responses):
        # It ends: at most n / 2 places have this response and n / 2 get it; place i does both, so one does neither.
        while given[i] == own:
            other = int(rng.random() * count)
            if own not in (given[other], responses[other]):
                given[i], given[other] = given[other], given[i]
    return given


def contradictory(responses: Sequence[str], rng: np.random.Generator) -> Transform:
    """Return a systematic error: every response of one family stands for another one, always the same.

    The responses form a single random cycle, so the error is a bijection without fixed points. Give all responses of
    the family, those of held-out items included. Where an item has many right responses the other one may be right too.

    Args:
        responses: Responses of one family; repeated ones count once.
        rng: Decides the cycle; it does not depend on the order of the responses.

    Returns:
        A transform that knows these responses only and raises ``InputError`` for others. What a model says may be
        none of them: compare it with the noisy form of the right response instead of bringing it back.

    Raises:
        InputError: Fewer than two different responses.
    """
    known = sorted(set(responses))
    if len(known) < 2:
        raise InputError(f"contradictory responses need two different ones, got {len(known)}")
    cycle = [known[i] for i in np.argsort(rng.random(len(known)), kind="stable")]
    wrong = dict(zip(cycle, (*cycle[1:], cycle[0]), strict=True))
    return Transform(_lookup(wrong), _lookup({other: own for own, other in wrong.items()}))


def _lookup(table: dict[str, str]) -> Callable[[str], str]:
    def look_up(text: str) -> str:
        if text not in table:
            raise InputError(f"'{text}' is no response of this family{did_you_mean(text, table)}")
        return table[text]

    return look_up
