"""The adapter to ``transformers.Trainer`` for models too large for our loop.

It takes the same batches, optimiser, schedule and token-normalised loss as ``itlib.train``, so the two agree to
rounding on a small model. What it adds is what the library is good at: devices, precision, large models, several
processes (``itlib.parallel``), and checkpoints from which a run that was killed goes on to the same bits.
"""

from __future__ import annotations

import contextlib
import math
import random
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from itlib._folders import damage, write_manifest
from itlib.batching import pad_right
from itlib.ordering import Traits, training_steps
from itlib.parallel import FSDP
from itlib.spec import TrainSpec, stream
from itlib.template import Encoded
from itlib.train import OnStep, TrainingTrace, finite, learning_rate_factor

IGNORED = -100  # the label that transformers leaves out of the loss
CHECKPOINT_SECONDS = 600.0  # between checkpoints of one run; shorter runs have none
N_CHECKPOINTS = 2  # the newest of a run that are kept: the last may be half-written when it dies
_NUMBERED = re.compile(r"checkpoint-(\d+)$")


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
    checkpoints: Path | None = None,
) -> TrainingTrace:
    """Tune a model in place through ``transformers.Trainer``; the rest is as in ``train.train``.

    ``checkpoints`` is a folder of this run alone. Every ten minutes the state of training is kept there, with hashes,
    and training goes on from the newest one whose hashes agree: to the same weights, bit for bit, as without the
    interruption. Runs that are measured on the way (``on_step``) begin anew.
    """
    from transformers import PrinterCallback, TrainingArguments

    lengths = [len(e.input_ids) for e in examples]
    steps = training_steps(examples, spec, seed=seed, traits=traits)
    steps = [rows[np.argsort([-lengths[i] for i in rows], kind="stable")] for rows in steps]
    per_process = spec.batch_size // spec.processes
    per_device = rows_per_device(per_process, max(lengths), spec.micro_batch_tokens)
    visits = [examples[i] for rows in steps for i in rows]
    kept = checkpoints if on_step is None else None
    watcher = _watcher(on_step, kept)
    with tempfile.TemporaryDirectory() as folder, _global_random_state_kept():
        arguments = TrainingArguments(
            output_dir=str(kept or folder),
            max_steps=len(steps),
            per_device_train_batch_size=per_device,
            gradient_accumulation_steps=per_process // per_device,
            max_grad_norm=spec.gradient_clip,
            train_sampling_strategy="sequential",
            bf16=dtype == "bfloat16",
            use_cpu=_on_host(model, spec),
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            save_strategy="no",  # the watcher says when
            save_total_limit=N_CHECKPOINTS,
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to="none",
            disable_tqdm=True,
            seed=int(stream(seed, "trainer").integers(2**31)),
        )
        if spec.processes == 1:
            arguments._n_gpu = min(arguments.n_gpu, 1)  # several visible GPUs would multiply the effective batch
        trainer = _trainer_class(spec, len(steps))(
            model=model,
            args=arguments,
            train_dataset=visits,
            data_collator=partial(_collate, pad_id=pad_id),
            callbacks=[watcher],
            compute_loss_func=_token_mean,
        )
        trainer.remove_callback(PrinterCallback)
        if on_step:
            on_step(model, 0, len(steps))
        trainer.train(resume_from_checkpoint=newest_checkpoint(kept) if kept else None)
    if spec.parallel == FSDP:
        _gather(trainer.model)
    model.eval()
    history = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    losses = [float(entry["loss"]) for entry in history]
    norms = [float(entry["grad_norm"]) for entry in history]
    totals = {"n_steps": len(losses), **_totals(visits[: len(losses) * spec.batch_size], per_device)}
    diverged = watcher.diverged or not finite([p for p in model.parameters() if p.requires_grad])
    return TrainingTrace(diverged, _thin(losses, norms, spec.curve_points), totals)


def newest_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint below a folder that is whole, or None."""
    found = [(int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := _NUMBERED.match(path.name))]
    return next((str(path) for _, path in sorted(found, reverse=True) if not damage(path)), None)


def _trainer_class(spec: TrainSpec, n_steps: int) -> Any:
    """Return a Trainer with our optimizer and schedule, made when it wants them: shards exist only then."""
    import torch
    from transformers import Trainer

    class Tuning(Trainer):
        def create_optimizer(self, model: Any = None) -> Any:
            if self.optimizer is None:
                weights = [p for p in (model or self.model).parameters() if p.requires_grad]
                how = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay}
                self.optimizer = torch.optim.AdamW(weights, fused=True, **how)
            return self.optimizer

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            def factor(step: int) -> float:
                return learning_rate_factor(step, n_steps, spec.schedule, spec.warmup_fraction)

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
            return self.lr_scheduler

    return Tuning


def _on_host(model: Any, spec: TrainSpec) -> bool:
    """Return whether training happens on processors; shards of one model go to their GPUs from there."""
    from accelerate import PartialState

    device = PartialState().device if spec.processes > 1 else next(model.parameters()).device
    return device.type == "cpu"


def _gather(model: Any) -> None:
    """Replace the shards of every weight by the whole weight on the host, in place; all processes take part."""
    import torch
    from torch.distributed.tensor import DTensor

    whole: dict[int, torch.nn.Parameter] = {}  # tied weights stay tied
    for module in model.modules():
        for name, weight in module._parameters.items():
            if isinstance(weight, DTensor):
                if id(weight) not in whole:
                    full = weight.detach().full_tensor().cpu()
                    whole[id(weight)] = torch.nn.Parameter(full, requires_grad=weight.requires_grad)
                module._parameters[name] = whole[id(weight)]


def _collate(batch: list[Encoded], *, pad_id: int) -> dict[str, Any]:
    """Return the padded tensors of a device batch."""
    import torch

    labels = [np.where(e.response_mask, e.input_ids, IGNORED) for e in batch]
    mask = [np.ones(len(e.input_ids), dtype=np.int64) for e in batch]
    return {
        "input_ids": torch.as_tensor(pad_right([e.input_ids for e in batch], pad_id)),
        "attention_mask": torch.as_tensor(pad_right(mask, 0)),
        "labels": torch.as_tensor(pad_right(labels, IGNORED)),
    }


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


def _watcher(on_step: OnStep | None, checkpoints: Path | None) -> Any:
    import torch
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):
        """Stops at the first loss that is not finite, and says when a checkpoint is due."""

        def __init__(self) -> None:
            self.diverged = False
            self._last = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if logs and "loss" in logs and not (math.isfinite(logs["loss"]) and math.isfinite(logs["grad_norm"])):
                self.diverged = True
                control.should_training_stop = True

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if on_step:
                on_step(model, state.global_step, state.max_steps)
            if checkpoints is not None and state.global_step < state.max_steps and self._due(args):
                control.should_save = True

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if args.world_size > 1:
                torch.distributed.barrier()  # every process writes its random state
            if args.process_index == 0:
                write_manifest(checkpoints / f"checkpoint-{state.global_step}")
            self._last = time.monotonic()

        def _due(self, args: Any) -> bool:
            """Return whether it is time, by the clock of the first process: all have to save together."""
            due = time.monotonic() - self._last >= CHECKPOINT_SECONDS
            if args.world_size == 1:
                return due
            told = torch.tensor([due], dtype=torch.int32, device=args.device)
            torch.distributed.broadcast(told, src=0)
            return bool(told.item())

    return Watcher()


def _thin(losses: Sequence[float], norms: Sequence[float], points: int) -> tuple[dict[str, float], ...]:
    """Average the losses between evenly spaced steps, as our own loop records them."""
    marks = np.unique(np.linspace(1, len(losses), min(points, len(losses))).round().astype(int))
    starts = [0, *marks[:-1]]
    return tuple(
        {"step": int(end), "loss": float(np.mean(losses[start:end])), "gradient_norm": norms[end - 1]}
        for start, end in zip(starts, marks, strict=True)
        if math.isfinite(float(np.mean(losses[start:end]))) and math.isfinite(norms[end - 1])
    )
