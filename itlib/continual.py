"""Continual learning: one task family after another, and what is left of the earlier ones.

Every family gets a round: its own examples, an equal share of the steps, a fresh optimizer and the whole schedule. What
happens between rounds is the field ``rounds``:

* "merged": what the method changed becomes part of the weights, and the method starts anew on them: fresh adapters, or
  another half of the weights.
* "persistent": the same adapters, or the same half, go on.

For full fine-tuning the two are one. After every round the run's own test items are asked, family by family; nothing is
chosen by them. Sources: LoRA vs Full Fine-tuning (arXiv:2410.21228v3), section 5, whose adapters are merged and made
anew between tasks; HFT (arXiv:2404.18466), which draws another half for every task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from itlib.dense import dense
from itlib.errors import InputError
from itlib.methods import Setting, method_of
from itlib.ordering import Traits
from itlib.result import RunResult
from itlib.spec import RunSpec, TrainSpec, digest, stream
from itlib.template import Encoded
from itlib.train import TrainingTrace, train

ROUNDS = ("one", "merged", "persistent")
SCORE = "exact_match "  # of a family, after a round, in the probes of a run


def check_rounds(spec: RunSpec) -> None:
    """Refuse rounds that a run with resolved data cannot have.

    Raises:
        InputError: Steps that do not divide by the families, no list of families, another trainer, probes, a second
            part of the data, a first stage, or a method whose change cannot be merged.
    """
    train_spec, data = spec.train, spec.data
    n = len(data.families)
    for wrong, told in (
        (n < 2, "families: rounds need at least two, one for each"),
        (train_spec.budget_unit != "steps", "budget_unit: rounds are counted in steps"),
        (n > 1 and train_spec.budget % max(n, 1), f"budget: {train_spec.budget:g} steps do not divide by {n} families"),
        (train_spec.trainer != "loop", "trainer: rounds run in our own loop only; set trainer: loop"),
        (spec.evaluate.n_probes > 0, "n_probes: a run in rounds is measured after each round; set it to 0"),
        (data.n_mix > 0 or data.pretraining_share > 0, "n_mix, pretraining_share: rounds have one family each"),
        (spec.tuning.first_steps > 0, "first_steps: cannot be combined with rounds"),
        (data.augmentation != "none", "augmentation: cannot be combined with rounds"),
        (train_spec.objective != TrainSpec().objective, f"objective: rounds take '{TrainSpec().objective}' alone"),
        (train_spec.activation_checkpointing, "activation_checkpointing: cannot be combined with rounds"),
        (
            train_spec.rounds == "merged" and not method_of(spec.tuning).mergeable,
            f"rounds: what method '{spec.tuning.method}' changes cannot be merged; take persistent",
        ),
    ):
        if wrong:
            raise InputError(told)


def train_in_rounds(
    model: Any,
    examples: Sequence[Encoded],
    traits: Sequence[Traits],
    spec: RunSpec,
    setting: Setting,
    measure: Callable[[Any], dict[str, float]],
) -> tuple[Any, TrainingTrace, tuple[dict[str, float], ...], int]:
    """Return the model after the last round, one trace over all rounds, a row per round, and the weights trained.

    Args:
        model: The base.
        examples: Encoded training examples.
        traits: One per example, for its family.
        spec: A resolved spec with rounds.
        setting: What the method may look at; examples and round are replaced.
        measure: Gives scores of the model after a round.
    """
    import torch

    method, families = method_of(spec.tuning), spec.data.families
    settings = replace(spec.train, budget=spec.train.budget / len(families))
    curve: list[dict[str, float]] = []
    rows: list[dict[str, float]] = []
    totals: dict[str, int] = {}
    n_trained = 0
    for number, family in enumerate(families):
        own = [row for row, trait in zip(examples, traits, strict=True) if trait.family == family]
        if not own:
            raise InputError(f"families: no training example of '{family}'; a round needs some")
        if number == 0 or spec.train.rounds == "merged":
            if number:
                model = dense(method.finished(model))
            torch.manual_seed(int(stream(spec.seed, f"initialisation {number}").integers(2**31)))
            model = method.attach(model, spec.tuning, replace(setting, examples=own, train=settings, round=number))
            n_trained = method.n_trained(model)
        optimizer = partial(method.optimizer, model, settings, seed=spec.seed) if method.own_optimizer else None
        how = {"pad_id": setting.pad_id, "dtype": setting.dtype, "optimizer": optimizer}
        trace = train(model, own, settings, seed=spec.seed, **how)
        done = totals.get("n_steps", 0)
        curve += [{**point, "step": point["step"] + done} for point in trace.curve]
        totals = {name: totals.get(name, 0) + n for name, n in trace.totals.items()}
        if trace.diverged:
            return model, TrainingTrace(True, tuple(curve), totals), tuple(rows), n_trained
        model.eval()
        rows.append({"step": totals["n_steps"], **measure(model)})
    model = method.finished(model)
    model = dense(model) if method.mergeable else model
    return model, TrainingTrace(False, tuple(curve), totals), tuple(rows), n_trained


def round_frame(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return one row per run, round and family asked: accuracy on the family's test items after the round.

    Columns: ``digest``, ``seed``, ``round`` (0 is the first), ``trained`` and ``family`` (that of the round, and that
    asked), ``place`` (round of the family asked), ``accuracy``.
    """
    rows = []
    for result in results:
        families = result.spec.data.families
        for number, probe in enumerate(result.probes):
            for place, family in enumerate(families):
                value = probe.get(SCORE + family, np.nan)
                about = (digest(result.spec)[:12], result.spec.seed, number, families[number])
                rows.append((*about, family, place, value))
    return pd.DataFrame(rows, columns=["digest", "seed", "round", "trained", "family", "place", "accuracy"])


def transfer(rounds: pd.DataFrame) -> pd.DataFrame:
    """Return backward transfer and overall performance of every run of a ``round_frame``.

    With a_{t,i} the accuracy on family i after round t of T: backward transfer is the mean over i < T of a_{T,i} -
    a_{i,i}, negative where earlier families were forgotten; overall performance is the mean over all i of a_{T,i}.

    Returns:
        Columns ``digest``, ``seed``, ``backward_transfer``, ``overall``; NaN for a run that did not finish its rounds.
    """
    found = []
    for (name, seed), run in rounds.groupby(["digest", "seed"], sort=False):
        table = run.pivot(index="round", columns="place", values="accuracy")
        n = int(run["place"].max()) + 1
        table = table.reindex(index=range(n), columns=range(n))
        last, own = table.iloc[-1].to_numpy(), np.diag(table.to_numpy())
        found.append((name, seed, float((last[:-1] - own[:-1]).mean()), float(last.mean())))
    return pd.DataFrame(found, columns=["digest", "seed", "backward_transfer", "overall"])
