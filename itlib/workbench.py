"""The models behind a selection: the scorer, its features, and copies of it tuned on a few examples.

Nothing is loaded before a selector asks for it.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from itlib.augmentations import AugmentationContext
from itlib.errors import InputError, RunError
from itlib.example import Example
from itlib.features import Features
from itlib.methods import Setting, method_of
from itlib.models import is_encoder_decoder
from itlib.placement import placed
from itlib.registry import models, sources
from itlib.selectors import Checkpoint, SelectionContext, canonical
from itlib.selectors._ledger import Ledger
from itlib.spec import DataSpec, EvalSpec, ModelSpec, RunSpec, TrainSpec, stream
from itlib.template import encode, pad_id
from itlib.train import adamw, train

WARM = re.compile(r"warm-([1-9][0-9]*)")
WARM_EPOCHS = 4.0
LONGEST = 4096  # tokens; a scorer with another tokenizer may need more for a row than the model that is tuned
TARGET_PHRASINGS = "dev_wrapper"


def selection_context(
    spec: RunSpec, pool: Sequence[Example], load_base: Callable[[], tuple[Any, Any]], folder: Path | None = None
) -> SelectionContext:
    """Return what a selector may look at; no model is loaded before it asks for one. Arguments as in ``select``."""
    return Workbench(spec, pool, load_base, folder).context()


def target_evaluation(data: DataSpec, evaluation: EvalSpec) -> EvalSpec:
    """Return the evaluation whose items are the targets: dev items of the target families in development phrasings."""
    return replace(
        evaluation,
        split="dev",
        eval_families=data.target_families or evaluation.eval_families,
        n_eval=data.n_targets,
        eval_phrasing_set=TARGET_PHRASINGS,
        eval_language="first",
        n_eval_phrasings=0,
        injection="none",
        n_shots=0,
        shot_form="turns",
    )


@functools.lru_cache(maxsize=64)
def scorer_model(name: str, seed: int) -> ModelSpec:
    """Return the resolved model of a scorer that is not the base; of a shipped size the base that ``seed`` tunes."""
    from itlib.models import resolve_name

    try:
        asked = ModelSpec(**resolve_name(name))
    except InputError as error:
        raise InputError(f"scorer: {error}; or base, or warm-N for the base tuned on N examples") from None
    if is_encoder_decoder(asked):
        raise InputError(f"scorer: '{name}' is an encoder-decoder, which scores no example; name a causal model")
    model = models.get(asked.model)
    if hasattr(model, "base_seeds"):
        shipped = model.base_seeds()
        asked = replace(asked, base_seed=shipped[seed % len(shipped)])
    return model.resolve(asked)


class Workbench:
    """The models behind a selection or an augmentation; arguments as in ``selection.select``."""

    def __init__(self, spec: RunSpec, pool: Sequence[Example], load_base: Callable, folder: Path | None) -> None:
        self.spec, self.pool, self.load_base, self.folder = spec, pool, load_base, folder
        self.ledger = Ledger()
        self._tuned = 0

    def context(self) -> SelectionContext:
        """Return what a selector may look at."""
        return SelectionContext(
            rng=stream(self.spec.seed, "selection"),
            features=self._features(lambda: self._scorer, self._identity(), self.folder),
            targets=self.targets,
            tune=self.tune,
            features_of=self.features_of,
            ledger=self.ledger,
            tuning=self._identity_of_tuning(),
        )

    def augmentation_context(self) -> AugmentationContext:
        """Return what an augmentation may look at."""
        source = sources.get(self.spec.data.source)
        return AugmentationContext(
            rng=stream(self.spec.seed, "augmentation"),
            scorer=lambda: self._scorer,
            tune=self.tune,
            features_of=self.features_of,
            targets=self.targets,
            instance=lambda example, index: source.instance(example, seed=self.spec.seed, index=index),
            ledger=self.ledger,
            max_length=self.spec.data.max_length,
            dtype=self.spec.base.dtype,
        )

    def targets(self) -> list[Example]:
        """Return the development examples that a target-aware selector aims at.

        Raises:
            InputError: Some of them are test items of this run. A run that is measured on dev reports no result, so
                its items may be targets.
        """
        data, evaluation = self.spec.data, self.spec.evaluate
        source = sources.get(data.source)
        found = source.held_out(data, target_evaluation(data, evaluation))
        if evaluation.split == "test":
            _check_unseen(data.selector, found, source.held_out(data, evaluation))
        return found

    def scorer(self) -> tuple[Any, Any]:
        """Return the scorer before any tuning by the selector itself."""
        name = self.spec.data.scorer
        warm = WARM.fullmatch(name)
        if name != "base" and not warm:
            resolved = scorer_model(name, self.spec.seed)
            model, tokenizer = models.get(resolved.model).load(resolved)
            return placed(model, self.spec), tokenizer
        model, tokenizer = self.load_base()
        model = placed(model, self.spec)
        if not warm:
            return model, tokenizer
        n = min(int(warm[1]), len(self.pool))
        order = canonical(self.pool)
        rows = order[stream(self.spec.seed, "warm scorer").permutation(len(order))[:n]]
        checkpoints = self._trained(model, tokenizer, [self.pool[row] for row in rows], WARM_EPOCHS, 1, "full")
        return checkpoints[-1].model, tokenizer

    def tune(
        self, examples: Sequence[Example], *, epochs: float = 4.0, checkpoints: int = 1, method: str = "full"
    ) -> list[Checkpoint]:
        """Tune a fresh scorer on examples with the run's own settings; see ``SelectionContext``."""
        model, tokenizer = self._scorer
        return self._trained(copy.deepcopy(model), tokenizer, examples, epochs, checkpoints, method)

    def features_of(self, model: Any, name: str) -> Features:
        """Return features under another model, kept in memory only."""
        return self._features(lambda: (model, self._scorer[1]), name, None)

    @functools.cached_property
    def _scorer(self) -> tuple[Any, Any]:
        return self.scorer()

    def _identity(self) -> str:
        """Return what tells the scorer from others: two pools or seeds share features only where it is the same."""
        spec = self.spec
        if WARM.fullmatch(spec.data.scorer):
            rows = hashlib.sha256("\n".join(sorted(e.id for e in self.pool)).encode()).hexdigest()
            what = (spec.base, spec.tuning, spec.train, spec.seed, spec.data.data_fingerprint)
            return f"{spec.data.scorer} {what} {rows}"
        if spec.data.scorer != "base":
            return scorer_model(spec.data.scorer, spec.seed).model_fingerprint
        seed = spec.seed if spec.base.initialisation == "random" else ""
        return f"{spec.base.model_fingerprint} {seed}"

    def _identity_of_tuning(self) -> str:
        spec = self.spec
        return f"{spec.base.model_fingerprint} {spec.tuning} {spec.train} {spec.seed} {spec.data.max_length}"

    def _features(self, load: Callable, name: str, folder: Path | None) -> Features:
        return Features(
            load,
            name=f"{name} {self.spec.device} {self.spec.threads} {self.spec.base.attention}",
            dtype=self.spec.base.dtype,
            max_length=max(self.spec.data.max_length, LONGEST),
            ledger=self.ledger,
            folder=folder,
        )

    def _trained(
        self, model: Any, tokenizer: Any, examples: Sequence[Example], epochs: float, checkpoints: int, method: str
    ) -> list[Checkpoint]:
        """Tune ``model`` in place and return copies of it at evenly spaced steps."""
        import torch

        self._tuned += 1
        settings = TrainSpec(
            learning_rate=self.spec.train.learning_rate,
            schedule=self.spec.train.schedule,
            warmup_fraction=self.spec.train.warmup_fraction,
            weight_decay=self.spec.train.weight_decay,
            gradient_clip=self.spec.train.gradient_clip,
            batch_size=min(self.spec.train.batch_size, len(examples)),
            micro_batch_tokens=self.spec.train.micro_batch_tokens,
            budget=epochs,
            budget_unit="epochs",
            curve_points=1,
        )
        tuning = (
            self.spec.tuning
            if self.spec.tuning.method == method
            else replace(self.spec.tuning, method=method, method_options=())
        )
        torch.manual_seed(int(stream(self.spec.seed, f"tuned scorer {self._tuned}").integers(2**31)))
        encoded, _ = encode(examples, tokenizer, max_length=max(self.spec.data.max_length, LONGEST))
        setting = Setting(encoded, train=settings, seed=self.spec.seed, pad_id=pad_id(tokenizer))
        model = method_of(tuning).attach(model, tuning, setting)
        optimizer = adamw(model, settings)
        watch = _Watch(checkpoints, optimizer)
        trace = train(
            model,
            encoded,
            settings,
            seed=self.spec.seed,
            pad_id=pad_id(tokenizer),
            dtype=self.spec.base.dtype,
            on_step=watch,
            optimizer=lambda n_steps: optimizer,
        )
        if trace.diverged:
            raise RunError("the scorer diverged while it was tuned; a smaller learning_rate may help")
        self.ledger.backward(
            f"tuned {self._tuned} {id(examples)}",
            n_tokens=trace.totals["n_tokens"],
            n_parameters=sum(p.numel() for p in model.parameters()),
        )
        return watch.found


def _check_unseen(selector: str, targets: Sequence[Example], test_items: Sequence[Example]) -> None:
    """Raise ``InputError`` if a target has the id, or all the words, of a test item."""
    ids, texts = {item.id for item in test_items}, {item.turns for item in test_items}
    seen = [target.id for target in targets if target.id in ids or target.turns in texts]
    if seen:
        raise InputError(
            f"selector '{selector}': {len(seen)} of {len(targets)} targets are test items of this run, {seen[0]} among "
            "them; take other target_families or another eval_phrasing_set"
        )


class _Watch:
    """Copies a model at evenly spaced steps of its training, with Adam's moments and the mean learning rate."""

    def __init__(self, n: int, optimizer: Any) -> None:
        self.found: list[Checkpoint] = []
        self._n, self._optimizer, self._rates = n, optimizer, []

    def __call__(self, model: Any, step: int, n_steps: int) -> None:
        if not step:
            return
        self._rates.append(self._optimizer.param_groups[0]["lr"])
        if step not in set(np.linspace(0, n_steps, self._n + 1).round().astype(int)[1:].tolist()):
            return
        moments = {
            name: tuple(self._optimizer.state[p][key].clone() for key in ("exp_avg", "exp_avg_sq"))
            for name, p in model.named_parameters()
            if p.requires_grad
        }
        self.found.append(Checkpoint(copy.deepcopy(model).eval(), float(np.mean(self._rates)), moments))
        self._rates = []
