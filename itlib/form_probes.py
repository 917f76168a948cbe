"""Probes of runs with clean and noisy phases: in which form a model answers, while the form that is asked for changes.

Each probe gives, at ``step`` optimiser steps, shares of items that are answered right, by teacher-forced exact match:

* ``clean_form`` and ``noise_form``: dev items, that is new questions, against the right response and against its
  noisy form. An "irrelevant" response has no noisy form for a new question, and ``noise_form`` is absent; that of a
  "contradictory" one is known where training contradicts the same response, and other questions are left out of it.
* ``trained_clean_form`` and ``trained_noise_form``: the same of questions that the run trains on.

What a noisy form is grades what a model says as if its noise were taken back: for a rule that is its own inverse, a
response equals the noisy form of the right one exactly where, brought back, it equals the right one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from itlib.augmentations.noise_phases import as_sentence, changes, noise_phases, said
from itlib.evaluate import score_items
from itlib.example import Example
from itlib.perturbations.label_noise import LABEL_TRANSFORMS
from itlib.probes import Prober
from itlib.result import ITEM_COLUMNS
from itlib.schema import options
from itlib.spec import DataSpec, RunSpec
from itlib.template import encode


def phase_options(data: DataSpec) -> dict[str, Any]:
    """Return all options of a run with the augmentation "noise_phases", given or not."""
    given = options(noise_phases, data.augmentation_options, "noise_phases", "augmentation_options")
    return {**noise_phases.__kwdefaults__, **given}


class FormProber(Prober):
    """Called at every step of training, as ``Prober``; measures the shares above.

    Nothing is generated and no pretraining text is read: there are many probes in a run.
    """

    def __init__(self, spec: RunSpec, tokenizer: Any, *, pad_id: int, context_length: int) -> None:
        super().__init__(spec, tokenizer, pad_id=pad_id, context_length=context_length)
        how = phase_options(spec.data)
        worded = [as_sentence(item) if how["sentence"] else item for item in self._items]
        items, rule = [item for item in worded if changes(item)], LABEL_TRANSFORMS.get(how["transform"])
        self._forms = {"clean_form": items}
        self._contradicts = how["transform"] == "contradictory"
        if rule:
            self._forms["noise_form"] = [said(item, rule.apply(item.response)) for item in items]

    def saw(self, examples: Sequence[Example]) -> None:
        """Take as many trained questions as there are dev items: the first of all visits, whatever phase is noisy."""
        noisy = {example.instruction: example for example in examples if example.noise != "none"}
        order = dict.fromkeys(example.instruction for example in examples)
        asked = {question: noisy[question] for question in order if question in noisy}
        if self._contradicts:
            known = {(example.family, example.gold): example.response for example in asked.values()}
            told = [(item, known.get((item.family, item.response))) for item in self._forms["clean_form"]]
            self._forms["noise_form"] = [said(item, wrong) for item, wrong in told if wrong is not None]
        trained = list(asked.values())[: len(self._items)]
        self._forms["trained_clean_form"] = [said(example, example.gold) for example in trained]
        self._forms["trained_noise_form"] = trained

    def _measured(self, model: Any) -> dict[str, float]:
        return {name: self._right(model, items) for name, items in self._forms.items() if items}

    def _right(self, model: Any, items: Sequence[Example]) -> float:
        encoded, _ = encode(items, self._tokenizer, max_length=self._context_length)
        scores = score_items(model, items, encoded, exact_match=True, **self._how)
        column = ITEM_COLUMNS.index("exact_match")
        return sum(score[column] for score in scores) / len(scores)
