"""Fine-tuning: our loop beside the public trainers, and beside the ceiling of the machine.

Run it as ``python benchmarks/fine_tuning.py [--model M] [--data FILE] [--repetitions N] [--threads N] [--json F]``.
Every side tunes the same weights for one epoch of the same token rows with the same supervised tokens, batch size,
optimizer and precision, and is timed from its first step to its last. Rates are useful tokens per second, padding not
counted. TRL takes part where it is installed (``pip install trl``); data are micro-world rows unless a file is given.

*Ceiling* is the same step without anything to handle: as many tokens in full rectangles, no padding, no packing, logits
at as many places.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import logging
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sides import Side, Target, alternate, parser, show, timed, write

from itlib.example import Example
from itlib.execute import load_base
from itlib.methods import method_of
from itlib.packing import TRIMMED
from itlib.resolve import resolve
from itlib.spec import RunSpec, TrainSpec, with_fields
from itlib.studies.common import LONG_ROWS
from itlib.template import Encoded, encode, pad_id
from itlib.train import train
from itlib.training_set import selectors_pool

RATE = 1e-3
OURS, CEILING, ADAPTERS, TRAINER, TRL = "itlib", "ceiling", "itlib, LoRA", "Trainer", "TRL"


def spec_of(options: argparse.Namespace) -> RunSpec:
    """Return a run on the rows and the model of the benchmark; only its base and its pool are used."""
    about: dict[str, Any] = {"n_train": options.rows, "pool_size": options.rows, "max_length": options.max_length}
    if options.data:
        about |= {"source": "local", "data_path": str(options.data), "on_bad_rows": "quarantine"}
    folder = Path(options.model)
    own = {"model": "local", "model_path": str(folder), "attention": TRIMMED, "micro_batch_tokens": LONG_ROWS}
    where = own if folder.is_dir() else {}  # as studies take a small model of the user
    where = where or {"model": options.model, "attention": TRIMMED}
    how = {"batch_size": options.batch_size, "budget": 1, "budget_unit": "epochs", "learning_rate": RATE}
    how |= {"schedule": "constant", "warmup_fraction": 0.0, "weight_decay": 0.0, "threads": options.threads}
    return resolve(with_fields(RunSpec(), **about, **where, **how))


def rows_of(spec: RunSpec, tokenizer: Any, options: argparse.Namespace) -> tuple[list[Example], list[Encoded]]:
    """Return the examples of a benchmark and their token rows."""
    examples = selectors_pool(spec)[: options.rows]
    rows, _ = encode(examples, tokenizer, max_length=options.max_length)
    return [examples[row.example_index] for row in rows], rows


def with_rows(options: argparse.ArgumentParser, *, rows: int) -> None:
    """Add the options that say on what a benchmark runs."""
    options.add_argument("--model", default="micro-1m", help="a shipped model or a folder")
    options.add_argument("--data", type=Path, help="a file of instructions; micro-world rows if not given")
    options.add_argument("--rows", type=int, default=rows)
    options.add_argument("--batch-size", type=int, default=16)
    options.add_argument("--max-length", type=int, default=128, help="longer rows are left out [tokens]")


def ours(base: Any, rows: Sequence[Encoded], spec: RunSpec, pad: int, *, method: str = "full") -> tuple[float, float]:
    """Tune a copy of the base with the loop of the package."""
    tuning = with_fields(spec, method=method).tuning
    model = method_of(tuning).attach(copy.deepcopy(base), tuning)
    return timed(useful(rows), lambda: train(model, rows, spec.train, seed=0, pad_id=pad, dtype="float32"))


def useful(rows: Sequence[Encoded]) -> int:
    """Return the tokens of the rows, which are what an epoch gets through."""
    return sum(len(row.input_ids) for row in rows)


def ceiling(base: Any, rows: Sequence[Encoded], train_spec: TrainSpec) -> tuple[float, float]:
    """Take as many steps on as many tokens in full rectangles, and logits at as many places."""
    model, size = copy.deepcopy(base).train(), train_spec.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    n_steps = -(-len(rows) // size)
    width = round(useful(rows) / (n_steps * size))
    places = round(sum(row.response_mask.sum() for row in rows) / n_steps)
    rng = np.random.default_rng(0)
    ids = torch.as_tensor(rng.integers(10, model.config.vocab_size, (n_steps, size, width)))
    at = torch.as_tensor(np.sort(rng.permutation(size * width)[:places]))

    def steps() -> None:
        for batch in ids:
            hidden = model.model(input_ids=batch, use_cache=False).last_hidden_state.flatten(0, 1)[at]
            loss = torch.nn.functional.cross_entropy(model.lm_head(hidden), batch.flatten()[at])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return timed(n_steps * size * width, steps)


def with_trainer(base: Any, rows: Sequence[Encoded], size: int, pad: int, **how: Any) -> tuple[float, float]:
    """Tune a copy of the base with the Trainer of transformers, rows padded to the longest of a batch."""
    from torch.nn.utils.rnn import pad_sequence
    from transformers import Trainer, TrainingArguments

    def collate(batch: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        columns = {"input_ids": pad, "labels": -100, "attention_mask": 0}
        given = {name: [torch.as_tensor(row[name]) for row in batch] for name in columns}
        return {name: pad_sequence(given[name], True, fill) for name, fill in columns.items()}

    data = [{"input_ids": row.input_ids.astype(np.int64), "labels": labels(row),
             "attention_mask": np.ones(len(row.input_ids), np.int64)} for row in rows]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, **common(size), **how)
        trainer = Trainer(copy.deepcopy(base), arguments, train_dataset=data, data_collator=collate)
        return timed(useful(rows), trainer.train)


def with_trl(base: Any, tokenizer: Any, rows: Sequence[Encoded], size: int, **how: Any) -> tuple[float, float]:
    """Tune a copy of the base with the SFTTrainer of TRL."""
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    longest = max(len(row.input_ids) for row in rows)
    data = Dataset.from_dict({"input_ids": [row.input_ids.tolist() for row in rows],
                              "completion_mask": [row.response_mask.astype(int).tolist() for row in rows]})  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        how = {"max_length": longest} | how
        arguments = SFTConfig(folder, completion_only_loss=True, dataset_num_proc=None, **common(size), **how)
        trainer = SFTTrainer(copy.deepcopy(base), args=arguments, train_dataset=data, processing_class=tokenizer)
        return timed(useful(rows), trainer.train)


def common(size: int) -> dict[str, Any]:
    """Return the arguments that both public trainers get: as our loop, and nothing written or told."""
    return {
        "per_device_train_batch_size": size, "num_train_epochs": 1, "learning_rate": RATE, "weight_decay": 0.0,
        "lr_scheduler_type": "constant", "report_to": "none", "save_strategy": "no", "logging_strategy": "no",
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True, "seed": 0,
    }  # fmt: skip


def labels(row: Encoded) -> np.ndarray:
    """Return the targets of a row as the library wants them."""
    return np.where(row.response_mask, row.input_ids, -100).astype(np.int64)


def sides_of(options: argparse.Namespace) -> list[Side]:
    """Return every side that can run here."""
    spec = spec_of(options)
    base, tokenizer = load_base(spec)
    public, _ = load_base(with_fields(spec, attention="sdpa"))
    _, rows = rows_of(spec, tokenizer, options)
    pad, size = pad_id(tokenizer), options.batch_size
    found = [
        Side(OURS, partial(ours, base, rows, spec, pad)),
        Side(CEILING, partial(ceiling, public, rows, spec.train)),
        Side(ADAPTERS, partial(ours, base, rows, spec, pad, method="lora")),
        Side(f"{TRAINER}, padded", partial(with_trainer, public, rows, size, pad)),
        Side(f"{TRAINER}, grouped by length",
             partial(with_trainer, public, rows, size, pad, train_sampling_strategy="group_by_length")),
    ]  # fmt: skip
    if importlib.util.find_spec("trl"):
        settings = {
            "padded": {},
            "packed": {"packing": True},
            "grouped by length": {"train_sampling_strategy": "group_by_length"},
            "padding-free": {"padding_free": True, "max_length": None},  # rows see each other without a kernel for it
        }
        found += [Side(f"{TRL}, {name}", partial(with_trl, public, tokenizer, rows, size, **how))
                  for name, how in settings.items()]  # fmt: skip
    return found


def targets(rates: dict[str, list[float]], *, real: bool) -> list[Target]:
    """Return the targets: against both trainers as they come and at their best, the ceiling, and adapters."""
    found = []
    for peer in (TRAINER, TRL):
        names = [name for name in rates if name.startswith(peer)]
        if names:
            best = max(names, key=lambda name: float(np.median(rates[name])))
            found += [Target(OURS, f"{peer}, padded", 2.3), Target(OURS, best, 1.3)]
    return [*found, Target(OURS, CEILING, 0.85 if real else 0.8), Target(ADAPTERS, OURS, 1 / 1.25)]


def main() -> int:
    """Measure and print."""
    options = parser(__doc__.split("\n")[0])
    with_rows(options, rows=512)
    given = options.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(given.threads)
    rates = alternate(sides_of(given), given.repetitions)
    title = f"fine-tuning of {given.model} on {given.rows} {'rows of a file' if given.data else 'micro-world rows'}"
    found = show(title, "useful tokens", rates, targets(rates, real=bool(given.data)), given.threads)
    write(given.json, [found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
