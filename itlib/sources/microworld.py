"""The embedded world as a source: pool, fixed held-out items and reference documents, all generated on the spot."""

from __future__ import annotations

from dataclasses import replace

from itlib.errors import InputError
from itlib.example import Example, Turn
from itlib.microworld import corpus, noise, phrasings, splits, world
from itlib.registry import families, sources
from itlib.sources._rows import POLICIES
from itlib.spec import WORLD_VERSION, DataSpec, EvalSpec

WORLD = f"world-{WORLD_VERSION}"


class MicroworldSource:
    """Instruction data with one right response per item."""

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
        _check_families("families", data.families)
        names = data.families or world.default_families()
        available = len(phrasings.phrasings(names[0], data.phrasing_set))
        if not 0 <= data.n_phrasings <= available:
            raise InputError(f"n_phrasings is {data.n_phrasings}; set '{data.phrasing_set}' has {available} per family")
        noise.check(data.noise_kinds, data.noise_rate)
        if data.pool_size < data.n_train:
            raise InputError(f"n_train is {data.n_train}, more than pool_size {data.pool_size}")
        most = world.pool_limit(names, data.phrasing_set, data.n_phrasings)
        if data.pool_size > most:
            raise InputError(f"pool_size is {data.pool_size}; these families and phrasings hold at most {most} items")
        return replace(data, data_fingerprint=WORLD, on_bad_rows=POLICIES[0])  # the world has no bad rows

    def check_evaluation(self, data: DataSpec, evaluation: EvalSpec) -> None:
        """Refuse an evaluation that the world cannot give.

        Raises:
            InputError: Unknown or repeated family, unknown split or phrasing set, or more items than a family holds.
        """
        _check_families("eval_families", evaluation.eval_families)
        which, split = evaluation.eval_phrasing_set, splits.check(evaluation.split)
        for name in evaluation.eval_families or data.families or world.default_families():
            most = families.get(name).size(split) * len(phrasings.phrasings(name, which))
            if not 1 <= evaluation.n_eval <= most:
                raise InputError(
                    f"n_eval is {evaluation.n_eval}; family '{name}' holds 1 to {most} {split} items in "
                    f"phrasing set '{which}'"
                )

    def pool(self, data: DataSpec, *, seed: int) -> list[Example]:
        """Return the ``pool_size`` examples that a selector chooses from; see ``world.pool``."""
        return world.pool(
            data.pool_size,
            seed=seed,
            families=data.families,
            phrasing_set=data.phrasing_set,
            n_phrasings=data.n_phrasings,
            noise_kinds=data.noise_kinds,
            noise_rate=data.noise_rate,
        )

    def held_out(self, data: DataSpec, evaluation: EvalSpec) -> list[Example]:
        """Return ``n_eval`` fixed items per family of the asked split; see ``world.held_out``."""
        return world.held_out(
            evaluation.split,
            evaluation.n_eval,
            families=evaluation.eval_families or data.families,
            phrasing_set=evaluation.eval_phrasing_set,
        )

    def reference(self, data: DataSpec, n: int) -> list[Example]:
        """Return ``n`` held-out pretraining documents; loss on them measures what tuning makes a model forget."""
        return [
            Example(
                id=f"reference/{index}",
                turns=(Turn("assistant", text),),
                family="reference",
                category="reference",
                gold=text,
            )
            for index, text in enumerate(corpus.reference_text(n))
        ]


def _check_families(key: str, names: tuple[str, ...]) -> None:
    for name in names:
        families.get(name)
    if len(set(names)) < len(names):
        raise InputError(f"{key} names a family twice: {', '.join(names)}")


sources.register("microworld", version=1)(MicroworldSource())
