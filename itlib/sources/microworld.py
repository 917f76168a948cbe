"""The embedded world as a source: pool, fixed held-out items and reference documents, all generated on the spot."""

from __future__ import annotations

from dataclasses import fields, replace

from itlib.errors import InputError
from itlib.example import Example, Turn
from itlib.microworld import corpus, world
from itlib.registry import sources
from itlib.sources._rows import POLICIES
from itlib.spec import WORLD_VERSION, DataSpec, EvalSpec

WORLD = f"world-{WORLD_VERSION}"


def mixture(data: DataSpec) -> world.Mixture:
    """Return what the pool of a spec is made of."""
    return world.Mixture(**{field.name: getattr(data, field.name) for field in fields(world.Mixture)})


class MicroworldSource:
    """Instruction data with one right response per item, or constraints that a right response satisfies."""

    exact_match = True

    def resolve(self, data: DataSpec) -> DataSpec:
        """Check every field the world reads and name its version as the fingerprint.

        Raises:
            InputError: Unknown or repeated family, unknown phrasing set or noise kind, a value out of range, a pool
                smaller than ``n_train``, a ``data_path`` that the world would ignore, or another version of the world.
        """
        if data.data_path or data.data_revision:
            raise InputError(
                f"data_path is '{data.data_path or data.data_revision}', but source 'microworld' reads no "
                "file; use source 'local' or 'hub'"
            )
        if data.data_fingerprint not in ("", WORLD):
            raise InputError(f"the micro-world is '{WORLD}' today, the spec recorded '{data.data_fingerprint}'")
        if data.on_bad_rows not in POLICIES:
            raise InputError(f"on_bad_rows is '{data.on_bad_rows}'; known: {', '.join(POLICIES)}")
        if data.pool_size < data.n_train:
            raise InputError(f"n_train is {data.n_train}, more than pool_size {data.pool_size}")
        world.check(mixture(data), data.pool_size)
        return replace(data, data_fingerprint=WORLD, on_bad_rows=POLICIES[0])  # the world has no bad rows

    def check_evaluation(self, data: DataSpec, evaluation: EvalSpec) -> None:
        """Refuse an evaluation that the world cannot give.

        Raises:
            InputError: Unknown or repeated family, unknown split, phrasing set or language, a family that is not asked
                in the second language, or more items than a family holds.
        """
        world.check_held_out(
            evaluation.split,
            evaluation.n_eval,
            families=evaluation.eval_families or data.families,
            phrasing_set=evaluation.eval_phrasing_set,
            spoken=evaluation.eval_language,
        )

    def pool(self, data: DataSpec, *, seed: int) -> list[Example]:
        """Return the ``pool_size`` examples that a selector chooses from; see ``world.pool``."""
        return world.pool(data.pool_size, seed=seed, mixture=mixture(data))

    def held_out(self, data: DataSpec, evaluation: EvalSpec) -> list[Example]:
        """Return ``n_eval`` fixed items per family of the asked split; see ``world.held_out``.

        Where the pool's responses are worded or styled, an answer is right in any wording and style.
        """
        return world.held_out(
            evaluation.split,
            evaluation.n_eval,
            families=evaluation.eval_families or data.families,
            phrasing_set=evaluation.eval_phrasing_set,
            spoken=evaluation.eval_language,
            any_wording=(data.response_wording, data.response_style) != ("short", "plain"),
        )

    def reference(self, data: DataSpec, n: int) -> list[Example]:
        """Return ``n`` held-out pretraining documents; loss on them measures what tuning makes a model forget."""
        return [
            Example(
                id=f"reference/{index}",
                turns=(Turn("assistant", text),),
                family="reference",
                category="reference",
                familiarity="reference",
                gold=text,
            )
            for index, text in enumerate(corpus.reference_text(n))
        ]


sources.register("microworld", version=2)(MicroworldSource())
