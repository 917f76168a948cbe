"""What the file and the hub source share: the held-out split, and the source itself once rows are parsed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import unicodedata
from collections import Counter
from dataclasses import dataclass

from itlib.errors import InputError
from itlib.example import Example
from itlib.sources._formats import OPTIONS_NOTE, Parsed
from itlib.spec import DataSpec, EvalSpec

POLICIES = ("refuse", "quarantine")
# what a study asks of the micro-world; rows ignore it
PHRASING_SETS = ("unobserved", "unobserved_wrapper", "dev", "dev_wrapper", "observed")
WORLD_FIELDS = (
    "phrasing_set", "n_phrasings", "n_operands", "imbalance", "second_language",
    "response_wording", "response_style", "noise_kinds", "noise_rate", "per_family_cap", "mix_families", "n_mix",
    "pretraining_share",
)  # fmt: skip


@dataclass(frozen=True)
class Split:
    """The three disjoint parts of a file: the pool in file order, dev and test in hash order."""

    pool: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]


def prompt_text(example: Example) -> str:
    """Return everything before the last answer, in normal form: NFKC, case folded, white space collapsed.

    A plain document has no prompt, so its own text stands for it.
    """
    return _normal([turn.content for turn in example.turns[:-1]] or [example.turns[-1].content])


def opening_text(example: Example) -> str:
    """Return system text and first user turn in normal form.

    Rows that share an opening stay on one side of the split: every answer of a conversation is trained on, so a
    longer conversation in the pool would give away the answer to its own opening.
    """
    end = next((index for index, turn in enumerate(example.turns) if turn.role == "user"), 0) + 1
    return _normal([turn.content for turn in example.turns[:end]])


def _normal(texts: list[str]) -> str:
    return "\n".join(" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts)


def n_held_out(n_rows: int) -> int:
    """Return the rows aimed at for dev, and again for test: 5 %, from 20 to 200; below 200 rows 10 % and at least 1."""
    return min(200, max(20, round(0.05 * n_rows))) if n_rows >= 200 else max(1, round(0.1 * n_rows))


def split_rows(name: str, examples: tuple[Example, ...]) -> Split:
    """Hold out rows by the SHA-256 of their opening; the same content always splits the same way.

    Groups of rows with one opening are visited in hash order and fill test, then dev; a group larger than the whole
    held-out share stays in the pool. Of held-out rows with one prompt the first is kept.

    Raises:
        InputError: Too few distinct prompts for a pool, a dev and a test part.
    """
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(opening_text(example), []).append(example)
    target = n_held_out(len(examples))
    order = sorted(groups, key=lambda opening: hashlib.sha256(opening.encode()).hexdigest())
    small = (opening for opening in order if len(groups[opening]) <= target)
    parts: dict[str, dict[str, Example]] = {"test": {}, "dev": {}}
    taken: set[str] = set()
    for part in parts.values():
        while len(part) < target and (opening := next(small, None)) is not None:
            taken.add(opening)
            for example in groups[opening]:
                part.setdefault(prompt_text(example), example)
    pool = tuple(example for example in examples if opening_text(example) not in taken)
    if not (pool and parts["test"] and parts["dev"]):
        raise InputError(
            f"{name}: {len(examples)} usable rows with {len(groups)} distinct prompts are too few or too alike "
            f"to hold out {target} for dev and {target} for test"
        )
    return Split(pool, tuple(parts["dev"].values()), tuple(parts["test"].values()))


@dataclass(frozen=True)
class Rows:
    """A parsed data set with the fingerprint of its content; it is split when first asked for."""

    name: str
    fingerprint: str
    parsed: Parsed

    @functools.cached_property
    def split(self) -> Split:
        """The pool, dev and test parts; asked for after bad rows had their say."""
        return split_rows(self.name, self.parsed.examples)

    def summary(self) -> dict[str, object]:
        """Return format, counts and the reasons of bad rows, ready to be shown."""
        return {
            "container": self.parsed.container,
            "format": self.parsed.format,
            "rows": self.parsed.n_rows,
            "usable": len(self.parsed.examples),
            "pool": len(self.split.pool),
            "dev": len(self.split.dev),
            "test": len(self.split.test),
            "dropped": dict(Counter(reason for _, reason in self.parsed.bad)),
            "notes": dict(self.parsed.notes),
        }


def build_rows(name: str, fingerprint: str, parsed: Parsed) -> Rows:
    """Keep parsed rows; raise ``InputError`` with the first reason when no row is usable."""
    if not parsed.examples:
        line, reason = parsed.bad[0]
        raise InputError(f"{name}:{line}: {reason}; none of the {parsed.n_rows} rows is usable")
    return Rows(name, fingerprint, parsed)


class RowSource:
    """A source over the rows of one data set; a subclass only says how they are read (``rows``)."""

    exact_match = False
    name = ""

    def rows(self, data: DataSpec) -> Rows:
        """Read, parse and split the data set that ``data`` names."""
        raise TypeError("RowSource is a base class")

    def resolve(self, data: DataSpec) -> DataSpec:
        """Check the input before any work and return ``data`` with fingerprint and pool size filled in."""
        self._check_fields(data)
        rows = self._checked(data)
        n_pool = len(rows.split.pool)
        if data.n_train > n_pool:
            n_dev, n_test = len(rows.split.dev), len(rows.split.test)
            raise InputError(
                f"n_train is {data.n_train}, but {rows.name} has a pool of {n_pool} rows "
                f"({len(rows.parsed.examples)} usable, {n_dev} held out for dev, {n_test} for test)"
            )
        return dataclasses.replace(data, data_fingerprint=rows.fingerprint, pool_size=n_pool)

    def check_evaluation(self, data: DataSpec, evaluation: EvalSpec) -> None:
        """Refuse an evaluation that rows cannot give; the phrasing set must be known and is then ignored.

        Raises:
            InputError: Unknown split or phrasing set, or task families and noisy instructions, which rows do not have.
        """
        if evaluation.split not in ("dev", "test"):
            raise InputError(f"split is '{evaluation.split}'; known: dev, test")
        if evaluation.eval_families not in ((), ("all",)):
            raise InputError(f"source '{self.name}' has no task families; leave eval_families empty")
        if (which := evaluation.eval_phrasing_set) not in PHRASING_SETS:
            known = ", ".join(PHRASING_SETS)
            raise InputError(f"source '{self.name}' has no phrasings; eval_phrasing_set is '{which}', known: {known}")
        if evaluation.n_eval_phrasings:
            raise InputError(f"source '{self.name}' has no phrasings; leave n_eval_phrasings at 0")
        for key in ("contrast", "noisy_prompt"):
            if getattr(evaluation, key) != "none":
                raise InputError(f"source '{self.name}' has no phrasings to make a noisy one of; leave {key} at none")
        if evaluation.injection != "none":
            raise InputError(f"source '{self.name}' has no other task to inject; leave injection at none")
        if evaluation.eval_language != "first":
            raise InputError(f"source '{self.name}' has one language only; leave eval_language out")

    def has_options(self, data: DataSpec) -> bool:
        """Return whether any row brings options to choose from; such rows are scored by the choice."""
        return OPTIONS_NOTE in self._checked(data).parsed.notes

    def pool(self, data: DataSpec, *, seed: int) -> list[Example]:
        """Return the training pool in file order. ``seed`` plays no part: a file is what it is."""
        return list(self._checked(data).split.pool)

    def held_out(self, data: DataSpec, evaluation: EvalSpec) -> list[Example]:
        """Return the first ``n_eval`` held-out rows of a split in hash order, so that smaller sets nest."""
        self.check_evaluation(data, evaluation)
        split = self._checked(data).split
        return list(split.dev if evaluation.split == "dev" else split.test)[: evaluation.n_eval]

    def reference(self, data: DataSpec, n: int) -> list[Example]:
        """Return no reference texts: a file brings none."""
        return []

    def bad_rows(self, data: DataSpec) -> list[tuple[int, str]]:
        """Return (line, reason) of the rows kept aside under ``on_bad_rows: quarantine``."""
        return list(self._checked(data).parsed.bad)

    def _check_fields(self, data: DataSpec) -> None:
        if data.on_bad_rows not in POLICIES:
            raise InputError(f"on_bad_rows is '{data.on_bad_rows}'; known: {', '.join(POLICIES)}")
        if data.families not in ((), ("all",)):
            raise InputError(f"source '{self.name}' has no task families; leave families empty")
        for key in WORLD_FIELDS:
            if getattr(data, key) != getattr(DataSpec(), key):
                raise InputError(f"source '{self.name}' takes its rows as they are; leave {key} out")

    def _checked(self, data: DataSpec) -> Rows:
        rows = self.rows(data)
        if data.data_fingerprint not in ("", rows.fingerprint):
            raise InputError(
                f"{rows.name} has changed: its fingerprint is {rows.fingerprint}, the spec recorded "
                f"{data.data_fingerprint}"
            )
        bad = rows.parsed.bad
        if bad and data.on_bad_rows != "quarantine":
            more = f" and {len(bad) - 1} more bad row{'s' if len(bad) > 2 else ''}" if len(bad) > 1 else ""
            raise InputError(
                f"{rows.name}:{bad[0][0]}: {bad[0][1]}{more}; correct the file or set on_bad_rows: quarantine"
            )
        return rows
