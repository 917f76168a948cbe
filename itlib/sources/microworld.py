"""The embedded world as a source: pool, fixed held-out items and reference documents, all generated on the spot."""

from __future__ import annotations

from dataclasses import replace

from itlib.errors import InputError
from itlib.example import Example, Turn
from itlib.microworld import corpus, noise, phrasings, world
from itlib.registry import families, sources
from itlib.spec import WORLD_VERSION, DataSpec, EvalSpec


class MicroworldSource:
    """Instruction data with one right response per item."""

    exact_match = True

    def resolve(self, data: DataSpec) -> DataSpec:
        """Check every field the world reads and name its version as the fingerprint.

        Raises:
            InputError: Unknown family, phrasing set or noise kind, a value out of range, a pool smaller than
                ``n_train``, or a ``data_path`` that the world would ignore.
        """
        if data.data_path or data.data_revision:
            raise InputError(f"data_path is '{data.data_path or data.data_revision}', but source 'microworld' reads no "
                             "file; use source 'local' or 'hub'")
        for name in data.families:
            families.get(name)
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
        return replace(data, data_fingerprint=f"world-{WORLD_VERSION}")

    def pool(self, data: DataSpec, *, seed: int) -> list[Example]:
        """Return the ``pool_size`` examples that a selector chooses from; see ``world.pool``."""
        return world.pool(
            data.pool_size, seed=seed, families=data.families, phrasing_set=data.phrasing_set,
            n_phrasings=data.n_phrasings, noise_kinds=data.noise_kinds, noise_rate=data.noise_rate)

    def held_out(self, data: DataSpec, evaluation: EvalSpec) -> list[Example]:
        """Return ``n_eval`` fixed items per family of the asked split; see ``world.held_out``."""
        return world.held_out(
            evaluation.split, evaluation.n_eval, families=evaluation.eval_families or data.families,
            phrasing_set=evaluation.eval_phrasing_set)

    def reference(self, data: DataSpec, n: int) -> list[Example]:
        """Return ``n`` held-out pretraining documents; loss on them measures what tuning makes a model forget."""
        return [
            Example(id=f"reference/{index}", turns=(Turn("assistant", text),), family="reference",
                    category="reference", gold=text)
            for index, text in enumerate(corpus.reference_text(n))
        ]


sources.register("microworld", version=1)(MicroworldSource())
