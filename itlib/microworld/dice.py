"""Seeded draws that are the same on every machine and in every release of numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_BLOCK = 4096


def digest(*key: object) -> int:
    """Return 64 bits of the SHA-256 of ``key``; unlike ``hash()`` it is equal in every process."""
    text = "/".join(str(part) for part in key)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def ranked(words: Iterable[T], *key: object) -> list[T]:
    """Return ``words`` in the fixed pseudo-random order that ``key`` gives them."""
    return sorted(words, key=lambda word: digest(*key, word))


class Dice:
    """A stream of draws from a key such as ``Dice("pool", seed, "opposite")``.

    Every draw is made from doubles of one PCG64 generator, taken in blocks: numpy keeps that bit stream fixed
    between releases (it does not promise so for ``choice`` or ``permutation``), and a list lookup is about ten
    times cheaper than a scalar call into numpy.
    """

    def __init__(self, *key: object) -> None:
        self._generator = np.random.Generator(np.random.PCG64(digest(*key)))
        self._block: list[float] = []

    def uniform(self) -> float:
        """Return a double in [0, 1)."""
        if not self._block:
            self._block = self._generator.random(_BLOCK).tolist()
        return self._block.pop()

    def below(self, bound: int) -> int:
        """Return an integer in 0..bound-1."""
        return int(self.uniform() * bound)

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.uniform() < probability

    def pick(self, options: Sequence[T]) -> T:
        """Return one of ``options``, each equally likely."""
        return options[int(self.uniform() * len(options))]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """Return ``count`` different positions' options in random order; ``count`` is at most ``len(options)``."""
        if count > len(options) // 2:
            return self.shuffled(options)[:count]
        chosen: dict[int, None] = {}
        while len(chosen) < count:
            chosen[self.below(len(options))] = None
        return [options[index] for index in chosen]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Return a new list with all options in random order (Fisher and Yates)."""
        result = list(options)
        for last in range(len(result) - 1, 0, -1):
            other = self.below(last + 1)
            result[last], result[other] = result[other], result[last]
        return result
