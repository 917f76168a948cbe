"""The embedded world as a source: pool, fixed held-out items and reference documents, all generated on the spot."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from itlib.errors import InputError
from itlib.example import Example, Turn
from itlib.injections import check_places
from itlib.microworld import answers, corpus, noisy_instructions, responses, world
from itlib.microworld.injection import injected
from itlib.microworld.phrasings import phrasings
from itlib.registry import families as registry
from itlib.registry import sources
from itlib.sources._rows import POLICIES
from itlib.spec import WORLD_VERSION, DataSpec, EvalSpec

WORLD = f"world-{WORLD_VERSION}"
REVISED = {"chains": 2}  # pools of a category that are others than when the version began; documents and items are not


def mixture(data: DataSpec) -> world.Mixture:
    """Return what the pool of a spec is made of."""
    return world.Mixture(**{field.name: getattr(data, field.name) for field in fields(world.Mixture)})


def mixed_in(data: DataSpec) -> world.Mixture:
    """Return what the second part of the training set is made of: other families, and other phrasings where asked."""
    return replace(mixture(data), families=data.mix_families, phrasing_set=data.mix_phrasing_set or data.phrasing_set)


def fingerprint(families: Sequence[str]) -> str:
    """Return the version of the world, and the revisions of categories in which these families lie."""
    categories = {registry.get(name).category for name in families if name in registry}
    return "".join((WORLD, *(f", {name} {REVISED[name]}" for name in sorted(categories & set(REVISED)))))


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
        second_part = data.mix_families if data.n_train and data.n_mix else ()  # without an effect otherwise
        today = fingerprint((*data.families, *second_part))
        if data.data_fingerprint not in ("", today):
            raise InputError(f"the micro-world is '{today}' today, the spec recorded '{data.data_fingerprint}'")
        if data.on_bad_rows not in POLICIES:
            raise InputError(f"on_bad_rows is '{data.on_bad_rows}'; known: {', '.join(POLICIES)}")
        if data.pool_size < data.n_train:
            raise InputError(f"n_train is {data.n_train}, more than pool_size {data.pool_size}")
        world.check(mixture(data), data.pool_size)
        self._check_parts(data)
        cap = data.per_family_cap if data.per_family_cap < max(data.pool_size, data.n_mix) else 0
        # the world has no bad rows
        return replace(data, data_fingerprint=today, on_bad_rows=POLICIES[0], per_family_cap=cap)

    def _check_parts(self, data: DataSpec) -> None:
        own, other = mixture(data).names, data.mix_families
        for name in other:
            world.category(name)
            if name in own:
                raise InputError(f"mix_families: '{name}' is one of families already; the two parts share no family")
        if data.n_mix and not other:
            raise InputError(f"n_mix is {data.n_mix}, but mix_families names no family to take them from")
        if data.n_mix:
            world.check(mixed_in(data), data.n_mix, keys=("mix_families", "n_mix"))
        for key, n, names in (("n_train", data.n_train, own), ("n_mix", data.n_mix, other)):
            most = data.per_family_cap * len(names)
            if data.per_family_cap and n > most and not (key == "n_train" and n == data.pool_size):
                raise InputError(
                    f"{key} is {n}, but per_family_cap {data.per_family_cap} leaves at most {most} examples of "
                    f"{len(names)} families"
                )

    def check_evaluation(self, data: DataSpec, evaluation: EvalSpec) -> None:
        """Refuse an evaluation that the world cannot give.

        Raises:
            InputError: Unknown or repeated family, unknown split, phrasing set, language or kind of noisy instruction,
                a family that is not asked in the second language, or more items than a family holds.
        """
        families = evaluation.eval_families or data.families
        for key in ("contrast", "noisy_prompt"):
            noisy_instructions.check(getattr(evaluation, key), key)
        if evaluation.injection != "none":
            self._check_injection(data, evaluation, families)
        if evaluation.n_shots:
            self._check_shots(evaluation, families)
        if evaluation.n_eval_phrasings:
            self._check_crossed(data, evaluation, families)
            return
        world.check_held_out(
            evaluation.split,
            evaluation.n_eval,
            families=evaluation.eval_families or data.families,
            phrasing_set=evaluation.eval_phrasing_set,
            spoken=evaluation.eval_language,
        )

    def _check_shots(self, evaluation: EvalSpec, families: tuple[str, ...]) -> None:
        for name in families or world.default_families():
            world.check_demonstrations(name, evaluation.n_shots)
        if evaluation.eval_language != "first":
            raise InputError("n_shots: demonstrations are given in the first language only")

    def _check_crossed(self, data: DataSpec, evaluation: EvalSpec, families: tuple[str, ...]) -> None:
        sets = tuple(evaluation.eval_phrasing_set.split("+"))
        world.check_crossed(evaluation.split, evaluation.n_eval, families=families, phrasing_sets=sets)
        if evaluation.eval_language != "first":
            raise InputError("n_eval_phrasings: many phrasings are asked in the first language only")
        if (data.response_wording, data.response_style) != ("short", "plain"):
            raise InputError("n_eval_phrasings: needs response_wording short and response_style plain")

    def _check_injection(self, data: DataSpec, evaluation: EvalSpec, families: tuple[str, ...]) -> None:
        check_places(evaluation.injection)
        for name in families or world.default_families():
            if registry.get(name).constraints:
                raise InputError(f"injection: '{name}' has many right responses, so that a hit cannot be told")
        plain = (data.response_wording, data.response_style) == ("short", "plain")
        if evaluation.n_eval_phrasings or evaluation.eval_language != "first" or not plain:
            raise InputError("injection: needs one phrasing per item, the first language, and short plain responses")

    def pool(self, data: DataSpec, *, seed: int) -> list[Example]:
        """Return the ``pool_size`` examples that a selector chooses from; see ``world.pool``."""
        return world.pool(data.pool_size, seed=seed, mixture=mixture(data))

    def mix_size(self, data: DataSpec) -> int:
        """Return the size of the pool that the second part comes from: the size of the first, as far as it goes."""
        return min(max(data.pool_size, data.n_mix), world.pool_limit(mixed_in(data)))

    def documents(self, *, seed: int) -> Iterator[Example]:
        """Yield pretraining documents to train on, without end, of a stream that no base model was trained on."""
        for index, text in enumerate(corpus.documents("beside instructions", seed)):
            yield _document("pretraining", index, text)

    def form_words(self) -> frozenset[str]:
        """Return the words of responses that say nothing of the content: those of styles and of wordings."""
        return responses.style_words() | responses.wording_words()

    def instance(self, example: Example, *, seed: int, index: int) -> Example:
        """Return one more example of the same family; see ``world.taught``."""
        return world.taught(example.family, index, seed=seed)

    def check_paraphrases(self, data: DataSpec) -> None:
        """Refuse a pool whose examples have no paraphrase.

        Raises:
            InputError: Noise changes examples, or a family has one phrasing.
        """
        if data.noise_rate:
            raise InputError("noise_rate: paraphrases are made of clean examples; set it to 0")
        for name in (*mixture(data).names, *data.mix_families):
            if (data.n_phrasings or len(phrasings(name, data.phrasing_set))) < 2:
                what = f"n_phrasings is {data.n_phrasings}, phrasing_set '{data.phrasing_set}'"
                raise InputError(f"{what}: family '{name}' has no second phrasing for a paraphrase")

    def paraphrase(self, example: Example, data: DataSpec, *, seed: int) -> Example:
        """Return an example of a pool in another phrasing that the run may be tuned on; see ``world.reworded``."""
        return world.reworded(example, mixture(data), seed=seed)

    def answer_like(self, response: str) -> bool:
        """Return whether a response has the form of an answer; see ``answers.answer_like``."""
        return answers.answer_like(response)

    def truncated(self, example: Example) -> Example:
        """Return the example with its instruction broken off; see ``answers.truncated``."""
        return answers.truncated(example)

    def held_out(self, data: DataSpec, evaluation: EvalSpec) -> list[Example]:
        """Return ``n_eval`` fixed items per family of the asked split; see ``world.held_out``.

        Where the pool's responses are worded or styled, an answer is right in any wording and style. Items that are
        asked in many phrasings are those of ``crossed`` for seed 0. With injections every item comes once per place.
        """
        if evaluation.n_eval_phrasings:
            return self.crossed(data, evaluation, seed=0)
        return self._once(data, evaluation, "none")

    def noisy(self, data: DataSpec, evaluation: EvalSpec, kind: str, *, seed: int) -> list[Example]:
        """Return the same items under a noisy instruction; see ``noisy_instructions``."""
        if evaluation.n_eval_phrasings:
            return self.crossed(data, evaluation, seed=seed, instruction=kind)
        return self._once(data, evaluation, kind)

    def _once(self, data: DataSpec, evaluation: EvalSpec, instruction: str) -> list[Example]:
        found = list(
            _held_out(
                evaluation.split,
                evaluation.n_eval,
                evaluation.eval_families or data.families,
                evaluation.eval_phrasing_set,
                evaluation.eval_language,
                (data.response_wording, data.response_style) != ("short", "plain"),
                instruction,
            )
        )
        if evaluation.injection == "none":
            return found
        return [injected(item, place) for place in evaluation.injection.split("+") for item in found]

    def crossed(self, data: DataSpec, evaluation: EvalSpec, *, seed: int, instruction: str = "none") -> list[Example]:
        """Return ``n_eval`` items per family, each in ``n_eval_phrasings`` phrasings of every set; see the world."""
        return world.crossed(
            evaluation.split,
            evaluation.n_eval,
            families=evaluation.eval_families or data.families,
            phrasing_sets=tuple(evaluation.eval_phrasing_set.split("+")),
            n_phrasings=evaluation.n_eval_phrasings,
            seed=seed,
            instruction=instruction,
        )

    def demonstrations(self, example: Example, count: int, *, seed: int) -> tuple[Example, ...]:
        """Return solved examples of an item's family to put before it; see ``world.demonstrations``."""
        return world.demonstrations(example, count, seed=seed)

    def reference(self, data: DataSpec, n: int) -> list[Example]:
        """Return ``n`` held-out pretraining documents; loss on them measures what tuning makes a model forget."""
        return [_document("reference", index, text) for index, text in enumerate(corpus.reference_text(n))]


@functools.lru_cache(maxsize=8)
def _held_out(
    split: str, n: int, families: tuple[str, ...], phrasing_set: str, spoken: str, any_wording: bool, instruction: str
) -> tuple[Example, ...]:
    """Return ``world.held_out``: all runs of a study ask the same items, so a worker makes them once."""
    how = {"families": families, "phrasing_set": phrasing_set, "spoken": spoken, "any_wording": any_wording}
    how["instruction"] = instruction
    return tuple(world.held_out(split, n, **how))


def _document(kind: str, index: int, text: str) -> Example:
    turns = (Turn("assistant", text),)
    return Example(f"{kind}/{index}", turns, family=kind, category=kind, familiarity=kind, gold=text)


sources.register("microworld", version=2)(MicroworldSource())
