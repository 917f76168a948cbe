"""Study 2d: where data comes from and what is done to it before tuning, at equal budgets.

Biased sources and their mix by skill; simulated teachers that differ in accuracy and voice; three ways to change the
examples that were selected (LLM2LLM, S3FT, Mosaic-IT), each against training on them as they are; and an order that
puts what others depend on first. Every part has a baseline of its own and speaks about that alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from itlib.errors import InputError, did_you_mean
from itlib.microworld import responses, world
from itlib.registry import families as family_registry
from itlib.registry import models
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.schema import coerce, param
from itlib.selected import with_notes
from itlib.spec import DataSpec, RunSpec, with_fields
from itlib.studies import selecting
from itlib.studies.chosen import Designs, arm_frame, check_designs, distinct, run_designs
from itlib.studies.common import Run, base_spec, check_unique, variant
from itlib.studies.selecting import CORRUPTIONS, SelectingParams, choose, settings

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "DataSourcesParams",
    "candidates",
    "choose",
    "collect",
    "designs",
    "distinct",
    "evidence",
    "pending",
    "run_designs",
    "variant",
]

CLAIMS = ("S018", "SE26", "SE32", "SE33", "SE34", "S047-order", "S047-order-noisy")
UNEQUAL = {
    "steps": "mosaics are compared at equal tokens, all else at equal steps",
    "tokens": "sources and styles differ in length",
    "supervised": "sources and styles differ in length",
}  # budgets that differ between arms, and why
MIX = "mix"
BIASES = ("families", "second_language", "response_wording", "response_style", "noise_rate")
OPEN_ENDED = (
    "sentence_with", "some_coloured", "some_members", "some_members_sorted", "some_starting", "one_legal_move",
)  # fmt: skip
SEVERAL = ("two_questions", "three_questions")
NOTES = (
    "clean_share", "mean_response_loss", "n_steps", "n_tokens", "n_augmented", "n_wrong_first", "n_taught",
    "share_own", "share_paraphrased", "items_per_row", "augmentation_flops",
)  # fmt: skip
# what an augmentation counted and found to be none: a run leaves zeros out of its totals
COUNTED_ZEROS = {"s3ft": ("share_own", "share_paraphrased"), "llm2llm": ("n_taught", "n_wrong_first")}


@dataclass(frozen=True)
class DataSourcesParams(SelectingParams):
    """Parameters of ``02d_sources``."""

    sources: tuple[str, ...] = param(
        ("dictionary families words+letters", "almanac families things+people", "forum noise_rate 0.3"),
        help="biased pools: a name, then keys and values; families are names or categories joined by +",
    )
    source_size: int = param(32, help="examples from every source, and of their mix", minimum=1)
    teachers: tuple[str, ...] = param(
        ("0.0 short formal", "0.2 sentence plain", "0.4 mixed polite"),
        help="simulated teachers: share of wrong responses, wording and style",
    )
    seed_examples: int = param(8, help="examples that LLM2LLM starts from", minimum=1)
    n_rounds: int = param(1, help="rounds of LLM2LLM, each tuning anew", minimum=1)
    round_epochs: float = param(3.0, help="epochs of each of these tunings", exclusive_minimum=0)
    scorer: str = param("warm-16", help="whose answers S3FT takes: warm-N, base or a model")
    tokens: int = param(2400, help="tokens of training with mosaics and beside them", unit="tokens", minimum=1)
    mosaic_length: int = param(256, help="longest mosaic", unit="tokens", minimum=4)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "sources", "teachers")
        names = [source(text)[0] for text in self.sources]
        if MIX in names or len(set(names)) < len(names):
            raise InputError(f"sources: names must differ from each other and from '{MIX}', not {', '.join(names)}")
        if len(names) < 2:
            raise InputError("sources: one source has nothing to be compared or mixed with")
        for text in self.teachers:
            teacher(text)
        if len(self.teachers) < 3:
            raise InputError(f"teachers: {len(self.teachers)} have no rank correlation; at least 3 are needed")
        for key in ("n_train", "source_size", "seed_examples"):
            if (size := getattr(self, key)) > self.pool_size:
                raise InputError(f"{key}: {size} is more than pool_size {self.pool_size}")


def source(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a source and the spec fields that make its pool: "name key value ...", keys of ``BIASES``.

    Raises:
        InputError: It cannot be read.
    """
    name, *rest = text.split() or [""]
    if not name or len(rest) % 2:
        raise InputError(f"sources: '{text}' is not a name followed by keys with a value each")
    fields: dict[str, Any] = {}
    where = f"sources: '{name}'"
    for key, value in zip(rest[::2], rest[1::2], strict=True):
        if key not in BIASES:
            known = ", ".join(BIASES)
            raise InputError(f"{where} has no key '{key}'{did_you_mean(key, BIASES)}; known: {known}")
        if key in fields:
            raise InputError(f"{where} sets {key} twice")
        kind = type(getattr(DataSpec(), key))
        fields[key] = _families(value, where) if key == "families" else coerce(value, kind, key=key, where=where)
    return name, fields | ({"noise_kinds": CORRUPTIONS} if fields.get("noise_rate") else {})


def _families(text: str, where: str) -> tuple[str, ...]:
    """Return the families that names and categories joined by "+" stand for; a category is its standard ones."""
    standard = world.default_families()
    found: list[str] = []
    for word in text.split("+"):
        members = [name for name in standard if world.category(name) == word]
        if not members and word not in family_registry:
            known = (*dict.fromkeys(map(world.category, standard)), *family_registry.names())
            raise InputError(
                f"{where}: '{word}' is neither a family nor a standard category{did_you_mean(word, known)}"
            )
        found += members or [word]
    return tuple(found)


def mix(params: DataSourcesParams) -> dict[str, Any]:
    """Return the spec fields of the equal mix of all sources, as near as one pool can come to it.

    A pool has one bias for all its families. The mix therefore has the families of all sources in equal numbers, and
    the mean of their shares of noise and of the second language. Its responses are short and plain, since a share of
    worded or styled ones cannot be asked for.
    """
    parts = [source(text)[1] for text in params.sources]
    standard = world.default_families()
    together = {name for part in parts for name in part.get("families", standard)}
    names = tuple(name for name in world.every_family() if name in together)
    means = {key: round(fmean(part.get(key, 0.0) for part in parts), 6) for key in ("noise_rate", "second_language")}
    return {"families": () if names == standard else names, "noise_kinds": CORRUPTIONS, **means}


def teacher(text: str) -> dict[str, Any]:
    """Return the spec fields of a teacher "share wording style": how often its responses are wrong, and their voice.

    Raises:
        InputError: It cannot be read, or speaks short and plainly. Such responses are judged as they stand, all others
            by their content in any voice, and teachers would be compared by two measures.
    """
    words = text.split()
    if len(words) != 3:
        raise InputError(f"teachers: '{text}' is not a share of wrong responses, a wording and a style")
    rate = coerce(words[0], float, key="share", where=f"teachers: '{text}'")
    if not 0 <= rate <= 1:
        raise InputError(f"teachers: '{text}': the share of wrong responses lies between 0 and 1")
    try:
        responses.check(words[1], words[2])
    except InputError as error:
        raise InputError(f"teachers: {error}") from None
    if words[1:] == ["short", "plain"]:
        raise InputError(f"teachers: '{text}' would be judged by another rule; take another wording or style")
    return {
        "noise_rate": rate,
        "noise_kinds": ("wrong",),
        "response_wording": words[1],
        "response_style": words[2],
    }


def designs(params: DataSourcesParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm.

    * "sources/<name>" and "sources/mix": ``source_size`` examples, asked all standard families.
    * "teachers/<teacher>": ``n_train`` examples of a pool that this teacher answered.
    * "seeds/plain", "seeds/wrong", "seeds/random": ``seed_examples`` alone, with new ones like those that the tuned
      model gets wrong, and with about as many that are like any.
    * "open/plain", "open/s3ft": open-ended families with their responses, or with right ones of the scorer.
    * "tokens/plain", "tokens/mosaic": equally many tokens of single examples or of mosaics.
    * "<kind>/mixed", "<kind>/dependency": one selection in two orders.
    """
    standard = world.default_families()
    cells: dict[str, list[RunSpec]] = {}
    for name, fields in [*map(source, params.sources), (MIX, mix(params))]:
        budget = {"n_train": params.source_size, "eval_families": standard}
        cells[f"sources/{name}"] = _runs(params, setting, **fields, **budget)
    for text in params.teachers:
        cells[f"teachers/{text}"] = _runs(params, setting, **teacher(text))
    cells["seeds/plain"] = _runs(params, setting, n_train=params.seed_examples)
    for like in ("wrong", "random"):
        options = (f"n_rounds={params.n_rounds}", f"epochs={params.round_epochs}", f"like={like}")
        cells[f"seeds/{like}"] = _changed(cells["seeds/plain"], "llm2llm", augmentation_options=options)
    cells["open/plain"] = _runs(params, setting, families=OPEN_ENDED)
    cells["open/s3ft"] = _changed(cells["open/plain"], "s3ft", scorer=params.scorer)
    how = {"budget": params.tokens, "budget_unit": "tokens", "max_length": params.mosaic_length}
    cells["tokens/plain"] = _runs(params, setting, **how, eval_families=(*standard, *SEVERAL))
    cells["tokens/mosaic"] = _changed(cells["tokens/plain"], "mosaic")
    for kind in params.kinds:
        for order in ("mixed", "dependency"):
            cells[f"{kind}/{order}"] = _runs(params, setting, kind, order=order)
    return cells


def _runs(params: DataSourcesParams, setting: Mapping[str, Any], kind: str = "clean", **fields: Any) -> list[RunSpec]:
    """Return the runs of an arm that takes random examples and aims at nothing."""
    runs = selecting.arm(params, setting, kind, "random", **fields)
    return [with_fields(run, target_families=()) for run in runs]


def _changed(runs: Sequence[RunSpec], augmentation: str, **fields: Any) -> list[RunSpec]:
    return [with_fields(run, augmentation=augmentation, **fields) for run in runs]


def candidates(params: DataSourcesParams) -> list[RunSpec]:
    """Return the dev runs that choose a rate, the same for every study of selection with these parameters.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    base = resolve(with_fields(base_spec(params), n_train=0)).base
    context = models.get(base.model).context_length(base)
    if 0 < context < params.mosaic_length:
        raise InputError(f"mosaic_length: {params.mosaic_length} is above the {context} positions of the model")
    check_designs(designs(params, settings(params)[0]))
    return selecting.candidates(params)


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return ``run_frame`` by arm and below it, with ``kind`` "note", what runs took down: ``NOTES`` as metrics."""

    def told(run: RunResult) -> dict[str, Any]:
        return dict.fromkeys(COUNTED_ZEROS.get(run.spec.data.augmentation, ()), 0.0) | run.totals

    return with_notes(arm_frame(results), results, NOTES, told=told)


def collect(params: DataSourcesParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    setting = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, setting), run))


def pending(params: DataSourcesParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len({spec for runs in designs(params, settings(params)[0]).values() for spec in runs})
    return f"{n_test} test runs follow once dev has chosen among {len(settings(params))} settings"
