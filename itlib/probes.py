"""What a run measures while it trains: on a few dev items, at few steps, without changing training by a bit.

Each probe gives, at ``step`` optimiser steps:

* ``exact_match``: share of closed items answered right, and ``graded``: mean share of constraints that the answers to
  open-ended items fulfil; each where there are such items.
* ``reference_loss``: nats per token of ``n_reference`` held-out pretraining documents, where any are asked for.
* ``instruction_following``: answer-like responses over all responses, to as many full as truncated instructions, and
  the same for either half (``instruction_following_full``, ``instruction_following_truncated``). A response counts as
  an answer when it ends by itself and has the form of an answer (Becoming self-instruct, arXiv:2307.03692, where a
  trained classifier decides; here code does).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from itlib.evaluate import score_items
from itlib.example import Example
from itlib.generate import finished_responses
from itlib.registry import sources
from itlib.result import ITEM_COLUMNS
from itlib.spec import EvalSpec, RunSpec
from itlib.template import encode

SPACINGS = ("log", "even")


def probe_steps(n_steps: int, n_probes: int, spacing: str = "log") -> set[int]:
    """Return the steps at which a run of ``n_steps`` is probed: 0, ``n_probes`` log-spaced ones from 1, and the last.

    With spacing "even" they are 0 and ``n_probes`` evenly spaced ones, the last step among them, for runs whose data
    change on the way. Steps that round to the same number are one.
    """
    if spacing == "even":
        return set(np.linspace(0, n_steps, n_probes + 1).round().astype(int).tolist())
    return {0, *np.geomspace(1, n_steps, n_probes + 1).round().astype(int).tolist()}


def probe_evaluation(evaluation: EvalSpec) -> EvalSpec:
    """Return the evaluation whose items probes use: dev items in the first language, in observed phrasings, as is."""
    return replace(
        evaluation,
        split="dev",
        n_eval=evaluation.probe_items,
        eval_phrasing_set="observed",
        eval_language="first",
        perturbation="none",
        severity=0.0,
        n_eval_phrasings=0,
        injection="none",
        n_shots=0,
        shot_form="turns",
    )


class Prober:
    """Called at every step of training; measures at the probed ones and collects ``rows``.

    A probe that is not finite, as in a diverging run, is left out.
    """

    def __init__(self, spec: RunSpec, tokenizer: Any, *, pad_id: int, context_length: int) -> None:
        source = sources.get(spec.data.source)
        self.rows: list[dict[str, float]] = []
        self._n_probes, self._spacing = spec.evaluate.n_probes, spec.evaluate.probe_spacing
        self._source, self._tokenizer, self._context_length = source, tokenizer, context_length
        self._how = {"pad_id": pad_id, "dtype": spec.base.dtype}
        self._items = source.held_out(spec.data, probe_evaluation(spec.evaluate))
        self._truncated = [source.truncated(example) for example in self._items]
        self._reference = source.reference(spec.data, spec.evaluate.n_reference)

    def saw(self, examples: Sequence[Example]) -> None:
        """Take note of what the run trains on, before it does; nothing here depends on it."""

    def __call__(self, model: Any, step: int, n_steps: int) -> None:
        """Measure ``model`` if this step is one to probe at; its mode and weights stay as they were."""
        if step not in probe_steps(n_steps, self._n_probes, self._spacing):
            return
        was_training = model.training
        model.eval()
        row = self._measured(model)
        model.train(was_training)
        if all(map(math.isfinite, row.values())):
            self.rows.append({"step": step, **row})

    def _measured(self, model: Any) -> dict[str, float]:
        asked = [*self._items, *self._truncated]
        said = finished_responses(model, self._tokenizer, asked, context_length=self._context_length, **self._how)
        answers = [finished and self._source.answer_like(text) for text, finished in said]
        n = len(self._items)
        row = {
            "instruction_following": float(np.mean(answers)),
            "instruction_following_full": float(np.mean(answers[:n])),
            "instruction_following_truncated": float(np.mean(answers[n:])),
        }
        texts = {i: text for i, (text, _) in enumerate(said[:n]) if self._items[i].constraints}
        items = self._scored(model, self._items, texts, closed=True)
        for name in ("exact_match", "graded"):
            scores = [item[name] for item in items if item[name] is not None]
            if scores:
                row[name] = float(np.mean(scores))
        if self._reference:
            documents = self._scored(model, self._reference, {}, closed=False)
            row["reference_loss"] = sum(d["nll"] for d in documents) / sum(d["n_tokens"] for d in documents)
        return row

    def _scored(
        self, model: Any, examples: Sequence[Example], generated: dict[int, str], *, closed: bool
    ) -> list[dict[str, Any]]:
        encoded, _ = encode(examples, self._tokenizer, max_length=self._context_length)
        scores = score_items(model, examples, encoded, exact_match=closed, generated=generated, **self._how)
        return [dict(zip(ITEM_COLUMNS, score, strict=True)) for score in scores]
