"""Exact match of held-out items: teacher-forced as the package does it, by library generation, and by the harness.

Run it as ``python benchmarks/evaluation.py [--model M] [--items N] [--repetitions N] [--threads N] [--json F]``.
The model is tuned first, so that it answers; then every side scores the same items, and their scores have to be equal.
Generation is greedy, to the stop token or one token more than the longest answer, in batches sorted by length; its best
batch size is found by the benchmark. The harness (``pip install lm-eval``) gets the same prompts as a local task for
generation with exact match. Rates are items per second.
"""

from __future__ import annotations

import importlib.util
import json
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

from itlib.evaluate import score_items
from itlib.example import Example
from itlib.execute import load_base
from itlib.microworld import world
from itlib.packing import TRIMMED
from itlib.registry import families
from itlib.resolve import resolve
from itlib.result import ITEM_COLUMNS
from itlib.spec import RunSpec, with_fields
from itlib.template import Encoded, encode, encode_prompt, pad_id, stop_token_id
from itlib.train import train

BATCHES = (16, 64, 256)
OURS, GENERATION, HARNESS = "teacher-forced", "generation", "lm-evaluation-harness"


def tuned(options: Any) -> tuple[Any, Any]:
    """Return a model that answers instructions of the micro-world, with our attention, and its tokenizer."""
    how = {"model": options.model, "attention": TRIMMED, "n_train": 400, "budget": 150, "batch_size": 32}
    spec = resolve(with_fields(RunSpec(), **how, learning_rate=2e-3, threads=options.threads))
    model, tokenizer = load_base(spec)
    rows, _ = encode(world.pool(400, seed=0), tokenizer, max_length=128)
    train(model, rows, spec.train, seed=0, pad_id=pad_id(tokenizer), dtype="float32")
    return model.eval(), tokenizer


def teacher_forced(model: Any, items: Sequence[Example], rows: Sequence[Encoded], pad: int) -> list[float]:
    """Return exact match item by item, as runs measure it."""
    column = ITEM_COLUMNS.index("exact_match")
    scores = score_items(model, items, rows, pad_id=pad, dtype="float32", exact_match=True)
    return [score[column] for score in scores]


def generated(
    model: Any, prompts: Sequence[np.ndarray], answers: Sequence[np.ndarray], *, pad: int, stop: int, batch: int
) -> list[float]:
    """Return the same by greedy generation: whether the answer and its stop token are what the model says."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    right = [0.0] * len(prompts)
    most = max(map(len, answers))
    how = {"do_sample": False, "max_new_tokens": most, "eos_token_id": stop, "pad_token_id": pad}
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        width = max(len(prompts[i]) for i in part)
        ids, mask = np.full((len(part), width), pad), np.zeros((len(part), width), int)
        for line, i in enumerate(part):
            ids[line, width - len(prompts[i]) :] = prompts[i]
            mask[line, width - len(prompts[i]) :] = 1
        with torch.inference_mode():
            found = model.generate(torch.as_tensor(ids), attention_mask=torch.as_tensor(mask), **how)[:, width:]
        for line, i in enumerate(part):
            right[i] = float(np.array_equal(found[line, : len(answers[i])].numpy(), answers[i]))
    return right


def harness(model: Any, tokenizer: Any, items: Sequence[Example], folder: Path, *, stop: int, batch: int) -> Any:
    """Return a function that scores the same items as a local task of lm-evaluation-harness, by generation."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import GenerationConfig

    (folder / "items.jsonl").write_text(
        "\n".join(
            json.dumps({"prompt": tokenizer.decode(encode_prompt(item, tokenizer)), "answer": item.response})
            for item in items
        )
    )
    task = {
        "task": "items",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "items.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": "",
        "generation_kwargs": {"until": [tokenizer.decode([stop])], "do_sample": False, "max_gen_toks": 24},
        "filter_list": [{"name": "strip", "filter": [{"function": "remove_whitespace"}]}],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "items.yaml").write_text(json.dumps(task))  # JSON is YAML
    model.generation_config = GenerationConfig(eos_token_id=stop, pad_token_id=pad_id(tokenizer))
    language_model = HFLM(model, tokenizer=tokenizer, batch_size=batch, add_bos_token=False)
    tasks = TaskManager(include_path=str(folder), include_defaults=False)

    def score() -> float:
        how = {"tasks": ["items"], "task_manager": tasks, "bootstrap_iters": 0, "log_samples": False}
        found = simple_evaluate(language_model, **how)
        values = found["results"]["items"]
        return float(next(value for name, value in values.items() if name.startswith("exact_match,")))

    return score


def main() -> int:
    """Measure and print."""
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--model", default="micro-1m", help="a shipped model")
    options.add_argument("--items", type=int, default=40, help="per family")
    given = options.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(given.threads)
    model, tokenizer = tuned(given)
    closed = [name for name in world.default_families() if not families.get(name).constraints]
    items = world.held_out("test", given.items, families=tuple(closed))
    pad, stop = pad_id(tokenizer), stop_token_id(tokenizer)
    rows, _ = encode(items, tokenizer, max_length=256)
    prompts = [encode_prompt(item, tokenizer) for item in items]
    answers = [row.input_ids[len(prompt) :] for row, prompt in zip(rows, prompts, strict=True)]
    public, _ = load_base(resolve(with_fields(RunSpec(), model=given.model, attention="sdpa", n_train=0)))
    public.load_state_dict(model.state_dict())
    public.eval()
    mine = teacher_forced(model, items, rows, pad)
    how = {"pad": pad, "stop": stop}
    theirs = generated(public, prompts, answers, batch=64, **how)
    print(f"exact match {np.mean(mine):.4f} teacher-forced, {np.mean(theirs):.4f} generated", file=sys.stderr)
    if mine != theirs:
        raise SystemExit(f"{sum(a != b for a, b in zip(mine, theirs, strict=True))} items have other scores")
    sides = [Side(OURS, partial(timed, len(items), partial(teacher_forced, model, items, rows, pad)))]
    sides += [
        Side(f"{GENERATION}, batches of {batch}",
             partial(timed, len(items), partial(generated, public, prompts, answers, batch=batch, **how)))
        for batch in BATCHES
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        if importlib.util.find_spec("lm_eval"):
            score = harness(public, tokenizer, items, Path(folder), stop=stop, batch=64)
            print(f"exact match {score():.4f} by the harness", file=sys.stderr)
            sides.append(Side(HARNESS, partial(timed, len(items), score)))
        rates = alternate(sides, given.repetitions)
    best = max((name for name in rates if name.startswith(GENERATION)), key=lambda name: float(np.median(rates[name])))
    aims = [Target(OURS, best, 1.2)] + [Target(OURS, HARNESS, 3.0)] * (HARNESS in rates)
    title = f"exact match of {len(items)} items of the micro-world by {given.model}"
    write(given.json, [show(title, "items", rates, aims, given.threads)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
