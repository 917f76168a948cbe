"""The adapter to ``transformers.Trainer`` for models too large for our loop.

It takes the same batches, optimiser, schedule and token-normalised loss as ``itlib.train``, so the two agree to
rounding on a small model. What it adds is what the library is good at: devices, precision and large models.
"""

from __future__ import annotations

import contextlib
import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from itlib.batching import pad_right
from itlib.ordering import Traits, training_steps
from itlib.spec import TrainSpec, stream
from itlib.template import Encoded
from itlib.train import OnStep, TrainingTrace, finite, learning_rate_factor

IGNORED = -100  # the label that transformers leaves out of the loss


def train_with_transformers(
    model: Any,
    examples: Sequence[Encoded],
    spec: TrainSpec,
    *,
    seed: int,
    pad_id: int,
    dtype: str,
    traits: Sequence[Traits] = (),
    on_step: OnStep | None = None,
) -> TrainingTrace:
    """Tune a model in place through ``transformers.Trainer``; arguments and result are those of ``train.train``."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainingArguments

    lengths = [len(e.input_ids) for e in examples]
    steps = training_steps(examples, spec, seed=seed, traits=traits)
    steps = [rows[np.argsort([-lengths[i] for i in rows], kind="stable")] for rows in steps]
    per_device = rows_per_device(spec.batch_size, max(lengths), spec.micro_batch_tokens)
    visits = [examples[i] for rows in steps for i in rows]

    def collate(batch: list[Encoded]) -> dict[str, torch.Tensor]:
        labels = [np.where(e.response_mask, e.input_ids, IGNORED) for e in batch]
        mask = [np.ones(len(e.input_ids), dtype=np.int64) for e in batch]
        return {
            "input_ids": torch.as_tensor(pad_right([e.input_ids for e in batch], pad_id)),
            "attention_mask": torch.as_tensor(pad_right(mask, 0)),
            "labels": torch.as_tensor(pad_right(labels, IGNORED)),
        }

    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, len(steps), spec.schedule, spec.warmup_fraction)
    )
    recorder = _recorder(on_step)
    with tempfile.TemporaryDirectory() as folder, _global_random_state_kept():
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=len(steps),
            per_device_train_batch_size=per_device,
            gradient_accumulation_steps=spec.batch_size // per_device,
            max_grad_norm=spec.gradient_clip,
            train_sampling_strategy="sequential",
            bf16=dtype == "bfloat16",
            use_cpu=next(model.parameters()).device.type == "cpu",
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            save_strategy="no",
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to="none",
            disable_tqdm=True,
            seed=int(stream(seed, "trainer").integers(2**31)),
        )
        arguments._n_gpu = min(arguments.n_gpu, 1)  # several visible GPUs would multiply the effective batch
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=visits,
            data_collator=collate,
            optimizers=(optimizer, scheduler),
            callbacks=[recorder],
            compute_loss_func=_token_mean,
        )
        trainer.remove_callback(PrinterCallback)
        if on_step:
            on_step(model, 0, len(steps))
        trainer.train()
    model.eval()
    n_steps = len(recorder.losses)
    totals = {"n_steps": n_steps, **_totals(visits[: n_steps * spec.batch_size], per_device)}
    diverged = recorder.diverged or not finite(weights)
    return TrainingTrace(diverged, _thin(recorder, spec.curve_points), totals)


def _totals(seen: Sequence[Encoded], per_device: int) -> dict[str, int]:
    """Count examples and tokens of the rows that were trained on, padded as their device batches were."""
    groups = (seen[start : start + per_device] for start in range(0, len(seen), per_device))
    return {
        "n_examples_seen": len(seen),
        "n_tokens": sum(len(e.input_ids) for e in seen),
        "n_response_tokens": sum(int(e.response_mask[1:].sum()) for e in seen),
        "n_padded_tokens": sum(len(group) * max(len(e.input_ids) for e in group) for group in groups),
    }


def _token_mean(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    """Return the summed loss over the supervised tokens of the whole effective batch, whatever the model's own loss."""
    import torch

    targets = labels[:, 1:].flatten()
    logits = outputs.logits[:, -labels.shape[1] : -1].float().flatten(0, 1)  # a soft prompt comes before the labels
    loss = torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    return loss / (num_items_in_batch if num_items_in_batch is not None else (targets != IGNORED).sum())


@contextlib.contextmanager
def _global_random_state_kept() -> Iterator[None]:
    """The library seeds the global generators of Python and numpy; put them back afterwards."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def rows_per_device(batch_size: int, longest: int, max_tokens: int) -> int:
    """Return the largest divisor of the effective batch whose padded rows fit ``max_tokens``, at least 1."""
    fitting = [d for d in range(1, batch_size + 1) if batch_size % d == 0 and d * longest <= max_tokens]
    return max(fitting, default=1)


def _recorder(on_step: OnStep | None) -> Any:
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):
        """Keeps the loss and gradient norm of every step, and stops at the first loss that is not finite."""

        def __init__(self) -> None:
            self.losses: list[float] = []
            self.norms: list[float] = []
            self.diverged = False

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(float(logs["loss"]))
                self.norms.append(float(logs.get("grad_norm", 0.0)))
                if not (math.isfinite(self.losses[-1]) and math.isfinite(self.norms[-1])):
                    self.diverged = True
                    control.should_training_stop = True

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if on_step:
                on_step(model, state.global_step, state.max_steps)

    return Recorder()


def _thin(recorder: Any, points: int) -> tuple[dict[str, float], ...]:
    """Average the losses between evenly spaced steps, as our own loop records them."""
    n_steps = len(recorder.losses)
    marks = np.unique(np.linspace(1, n_steps, min(points, n_steps)).round().astype(int))
    starts = [0, *marks[:-1]]
    return tuple(
        {"step": int(end), "loss": float(np.mean(recorder.losses[start:end])), "gradient_norm": recorder.norms[end - 1]}
        for start, end in zip(starts, marks, strict=True)
        if math.isfinite(float(np.mean(recorder.losses[start:end]))) and math.isfinite(recorder.norms[end - 1])
    )
