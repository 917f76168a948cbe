"""On one GPU: how near fine-tuning comes to the peak of the machine, and scoring beside a loop over examples.

Run it as ``python benchmarks/gpu.py [--shapes 0.1b 0.5b 1b] [--repetitions N] [--json F]``; it needs torch,
transformers, peft, numpy and pandas, and compares with TRL where it is installed. Models have Llama shapes and random
weights; rows have between a half and all of 1 024 tokens, and all but the first 256 are supervised. *Utilisation* is
the floating-point operations of the model that the useful tokens need (6 per weight and token, 4 where a low-rank
method leaves the weights alone, and those of causal attention), per second, over the peak: matrix products of bfloat16,
measured in the same run. ``--tiny`` runs everything small, on a processor too, to see that it runs.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import fine_tuning
import numpy as np
import torch
from sides import Side, Target, alternate, parser, show, write

from itlib.evaluate import token_scores
from itlib.methods import method_of
from itlib.packing import TRIMMED, register_kernel, trim
from itlib.spec import RunSpec, TrainSpec, with_fields
from itlib.template import Encoded
from itlib.train import train

SHAPES = {  # hidden size, layers, heads, heads of keys and values, intermediate size, vocabulary
    "tiny": (64, 2, 4, 2, 128, 512),
    "0.1b": (768, 12, 12, 4, 2048, 32_000),
    "0.5b": (1280, 20, 20, 5, 3584, 32_000),
    "1b": (2048, 16, 32, 8, 8192, 32_000),
}
PAD = 0


def llama(shape: str, attention: str) -> Any:
    """Return a Llama with random weights, in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    register_kernel()
    hidden, layers, heads, shared, intermediate, vocabulary = SHAPES[shape]
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=shared,
            intermediate_size=intermediate, vocab_size=vocabulary, max_position_embeddings=2048,
            tie_word_embeddings=True, attn_implementation=attention,
        )
    )  # fmt: skip
    if attention == TRIMMED:
        trim(model)
    return model


def rows_of(n: int, longest: int, vocabulary: int) -> list[Encoded]:
    """Return random rows; all but a quarter of the longest is supervised."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(longest // 2, longest + 1, n)
    return [
        Encoded(i, rng.integers(3, vocabulary, length).astype(np.int32), np.arange(length) >= longest // 4, 0)
        for i, length in enumerate(lengths)
    ]


def seconds(function: Callable[[], Any], device: str) -> float:
    """Return how long a function takes, the work that it left to the GPU included."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    function()
    wait()
    return time.perf_counter() - start


def peak(device: str, size: int) -> float:
    """Return the floating-point operations per second of a large matrix product in bfloat16; median of twenty."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        left @ right
    return 2 * size**3 / statistics.median(seconds(lambda: left @ right, device) for _ in range(20))


def operations(model: Any, rows: Sequence[Encoded], *, low_rank: bool) -> float:
    """Return the floating-point operations that one epoch over the rows needs, embeddings' look-up left out."""
    config, lengths = model.config, np.array([len(row.input_ids) for row in rows], dtype=float)
    supervised = sum(int(row.response_mask[1:].sum()) for row in rows)
    head = config.vocab_size * config.hidden_size
    body = sum(p.numel() for p in model.parameters()) - head  # the table is tied to the head
    per_weight = 4 if low_rank else 6
    attention = 6 * config.num_hidden_layers * config.hidden_size * (lengths**2).sum()  # half of 12: causal
    return per_weight * (body * lengths.sum() + head * supervised) + attention


def ours(base: Any, rows: Sequence[Encoded], how: TrainSpec, device: str, *, method: str) -> tuple[float, float]:
    """Tune a copy of the base with the loop of the package."""
    tuning = with_fields(RunSpec(), method=method, rank=16).tuning
    model = method_of(tuning).attach(copy.deepcopy(base).to(device), tuning)
    fit = partial(train, model, rows, how, seed=0, pad_id=PAD, dtype="bfloat16")
    return sum(len(row.input_ids) for row in rows), seconds(fit, device)


def with_trl(base: Any, rows: Sequence[Encoded], size: int, device: str, **how: Any) -> tuple[float, float]:
    """Tune a copy of the base with the SFTTrainer of TRL, in bfloat16."""
    from datasets import Dataset, disable_progress_bars
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    disable_progress_bars()
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
    data = Dataset.from_dict(
        {
            "input_ids": [row.input_ids.tolist() for row in rows],
            "completion_mask": [row.response_mask.astype(int).tolist() for row in rows],
        }
    )
    common = fine_tuning.common(size) | {"use_cpu": device == "cpu", "bf16": True, "max_length": 1024} | how
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(folder, completion_only_loss=True, dataset_num_proc=None, **common)
        trainer = SFTTrainer(copy.deepcopy(base), args=arguments, train_dataset=data, processing_class=tokenizer)
        return sum(len(row.input_ids) for row in rows), seconds(trainer.train, device)


def one_at_a_time(model: Any, rows: Sequence[Encoded]) -> np.ndarray:
    """Return the loss of the supervised tokens of each row, in nats, as a loop over examples computes it."""
    found = []
    with torch.inference_mode():
        for row in rows:
            tokens = torch.as_tensor(row.input_ids.astype(np.int64), device=model.device)[None]
            with torch.autocast(model.device.type, dtype=torch.bfloat16):
                logits = model(input_ids=tokens, use_cache=False).logits[0, :-1]
            losses = torch.nn.functional.cross_entropy(logits.float(), tokens[0, 1:], reduction="none")
            found.append(float(losses[torch.as_tensor(row.response_mask[1:], device=model.device)].sum()))
    return np.array(found)


def scoring(given: Any, device: str) -> dict[str, Any]:
    """Time scores of short rows, as a selector asks for them, both ways; they have to agree."""
    shape, n = ("tiny", 32) if given.tiny else (given.shapes[0], 4096)
    model, plain = (llama(shape, kind).to(device).eval() for kind in (TRIMMED, "sdpa"))
    rows = rows_of(n, 128, model.config.vocab_size)

    def batched() -> np.ndarray:
        return np.array([nll.sum() for nll, _ in token_scores(model, rows, pad_id=PAD, dtype="bfloat16")])

    few = rows[: max(1, n // 16)]
    left, right = batched()[: len(few)], one_at_a_time(plain, few)
    if np.abs(left / right - 1).max() > 0.02:
        raise SystemExit(f"scores differ by a share of {np.abs(left / right - 1).max():.2g}")
    sides = [
        Side("batched", lambda: (n, seconds(batched, device))),
        Side("one at a time", lambda: (len(few), seconds(lambda: one_at_a_time(plain, few), device))),
    ]
    rates = alternate(sides, given.repetitions)
    return show(f"scores of {n} rows, {shape}", "rows", rates, [Target("batched", "one at a time", 20)], 1)


def tuning(shape: str, given: Any, device: str, limit: float) -> dict[str, Any]:
    """Time fine-tuning of one shape, and print what share of the peak it comes to."""
    n, longest, size = (16, 64, 4) if given.tiny else (256, 1024, 32)
    base, public = llama(shape, TRIMMED), llama(shape, "sdpa")
    rows = rows_of(n, longest, base.config.vocab_size)
    how = TrainSpec(
        learning_rate=1e-5, batch_size=size, budget=1, budget_unit="epochs", schedule="constant", warmup_fraction=0.0,
        micro_batch_tokens=given.micro_batch_tokens, compile_after=given.compile_after,
    )  # fmt: skip
    sides = [Side(f"itlib, {method}", partial(ours, base, rows, how, device, method=method))
             for method in ("full", "lora")]  # fmt: skip
    targets = []
    if importlib.util.find_spec("trl"):
        settings = {"padded": {}, "packed": {"packing": True},
                    "grouped by length": {"train_sampling_strategy": "group_by_length"}}  # fmt: skip
        sides += [Side(f"TRL, {name}", partial(with_trl, public, rows, size, device, **more))
                  for name, more in settings.items()]  # fmt: skip
    rates = alternate(sides, given.repetitions)
    peers = [name for name in rates if name.startswith("TRL")]
    if peers:
        best = max(peers, key=lambda name: statistics.median(rates[name]))
        targets.append(Target("itlib, full", best, 1.2))
    found = show(
        f"fine-tuning, {shape}, rows of {longest // 2} to {longest} tokens", "useful tokens", rates, targets, 1
    )
    tokens = sum(len(row.input_ids) for row in rows)
    for method in ("full", "lora"):
        per_token = operations(base, rows, low_rank=method == "lora") / tokens
        share = statistics.median(rates[f"itlib, {method}"]) * per_token / limit
        found[f"utilisation, {method}"] = share
        judged = shape == "1b" and method == "full"
        wanted = f" (target .45: {'met' if share >= 0.45 else 'missed'})" if judged else ""
        print(f"model-FLOPs utilisation, {method}: {share:.1%} of {limit / 1e12:,.1f} TFLOP/s{wanted}\n")
    return found


def main() -> int:
    """Measure and print."""
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=["0.1b", "0.5b", "1b"])
    options.add_argument("--micro-batch-tokens", type=int, default=16_384)
    options.add_argument("--compile-after", type=int, default=0, help="steps from which on the model is compiled")
    options.add_argument("--tiny", action="store_true", help="small, and on a processor where there is no GPU")
    given = options.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not given.tiny:
        print("# GPU\n\nno NVIDIA GPU is visible: not measured\n")
        write(given.json, [{"outcome": "not measured"}])
        return 0
    limit = peak(device, 256 if given.tiny else 8192)
    shapes = ["tiny"] if given.tiny else given.shapes
    found = [*(tuning(shape, given, device, limit) for shape in shapes), scoring(given, device)]
    name = torch.cuda.get_device_name() if device == "cuda" else "processor"
    write(given.json, [{"device": name, "peak": limit}, *found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
