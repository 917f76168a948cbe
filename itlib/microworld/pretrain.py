"""How a base model is made: a small Llama, a fixed number of tokens of the world's documents, Muon or AdamW.

    python -m itlib.microworld.pretrain --size micro-1m --n-tokens 8000000 --seed 0 --output folder

Token count, data order and initialisation follow from the seed. Two builds still need not have equal bytes (bfloat16,
compiled kernels, threads), so a shipped file is pinned by its hash and a rebuild judged by gates and validation loss.
``itlib.microworld.build`` makes all shipped bases.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.files import sha256_file, write_atomic
from itlib.microworld import checkpoint
from itlib.microworld import tokenizer as world_tokenizer
from itlib.microworld.corpus import documents
from itlib.microworld.recipes import BASES, CONTEXT, OPTIMIZERS, SIZES, Recipe, learning_rate_factor

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

__all__ = [
    "BASES",
    "CONTEXT",
    "SIZES",
    "Pretrained",
    "Recipe",
    "create_model",
    "learning_rate_factor",
    "pretrain",
    "save",
    "token_blocks",
    "validation_loss",
]
VALIDATION_TOKENS = 65_536
RECORD = "pretraining.json"
_CHUNK = 5_000


@dataclass(frozen=True)
class Pretrained:
    """A finished base: the model in eval mode, (tokens seen, training loss) points, held-out loss, seconds.

    The weights are float32 numbers that float16 holds exactly, and the held-out loss is theirs.
    """

    model: LlamaForCausalLM
    curve: list[tuple[int, float]]
    validation_loss: float
    wall_s: float
    was_compiled: bool


def token_blocks(n_blocks: int, *key: object) -> np.ndarray:
    """Return packed documents, shape (n_blocks, CONTEXT + 1); neighbouring blocks share one token as target."""
    tokenizer, stream = world_tokenizer.load(), documents(*key)
    encode = tokenizer.backend_tokenizer.encode_batch
    needed, ids = n_blocks * CONTEXT + 1, []
    while len(ids) < needed:
        for row in encode(list(islice(stream, _CHUNK)), add_special_tokens=False):
            ids.extend(row.ids)
            ids.append(tokenizer.eos_token_id)
    flat = np.asarray(ids[:needed], dtype=np.int16)
    return np.lib.stride_tricks.sliding_window_view(flat, CONTEXT + 1)[::CONTEXT]


def create_model(recipe: Recipe) -> LlamaForCausalLM:
    """Return a fresh model in float32, initialised from ``recipe.seed`` without touching the global generator."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = world_tokenizer.load()
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 8) * 8,
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        intermediate_size=recipe.intermediate_size,
        max_position_embeddings=world_tokenizer.MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",  # what ``from_pretrained`` is to load, although the weights are stored in float16
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return LlamaForCausalLM(config).float()


def _optimisers(model: Any, recipe: Recipe) -> list:
    """The first optimiser moves the matrices inside the layers, the second the tied embedding and the norms."""
    import torch

    from itlib.microworld.muon import StackedMuon

    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    outer = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    adam = {"lr": recipe.adam_learning_rate, "betas": (0.9, 0.95), "fused": True}
    if recipe.optimizer == "muon":
        first = StackedMuon(inner, lr=recipe.muon_learning_rate, weight_decay=recipe.muon_weight_decay)
    else:
        first = torch.optim.AdamW(inner, weight_decay=recipe.adam_weight_decay, **adam)
    return [first, torch.optim.AdamW(outer, weight_decay=0.0, **adam)]


def validation_loss(model: Any, n_tokens: int = VALIDATION_TOKENS) -> float:
    """Return the mean loss [nats per token] on held-out documents, by the library's own forward pass in float32."""
    import torch

    blocks = torch.from_numpy(token_blocks(max(1, n_tokens // CONTEXT), "validation").astype(np.int64))
    total = 0.0
    with torch.no_grad():
        for part in blocks.split(64):
            logits = model(input_ids=part[:, :-1], use_cache=False).logits.float().flatten(0, 1)
            total += float(torch.nn.functional.cross_entropy(logits, part[:, 1:].flatten(), reduction="sum"))
    return total / (len(blocks) * CONTEXT)


def _training_loss(model: Any, recipe: Recipe, block: Any) -> tuple[Callable[[Any], Any], bool]:
    """Return a loss function, compiled where this machine can, and whether it is."""
    import torch

    from itlib.microworld.fast_llama import loss_function

    eager = loss_function(model, CONTEXT, torch.bfloat16)
    if not recipe.compiled:
        return eager, False
    fast = torch.compile(eager, dynamic=False)
    try:
        fast(block).backward()
    except Exception as error:  # whatever stops the compiler, eager gives the same model, only later
        reason = str(error).strip().splitlines()[0][:200]
        warnings.warn(f"torch.compile failed ({reason}); pretraining in eager mode, 2-3 times slower", stacklevel=3)
        return eager, False
    finally:
        model.zero_grad(set_to_none=True)
    return fast, True


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pretrain(
    recipe: Recipe,
    *,
    report_every: int = 0,
    name: str = "base",
    checkpoint_file: Path | None = None,
    checkpoint_every: int = 500,
) -> Pretrained:
    """Train one base model from nothing, or from where ``checkpoint_file`` stopped.

    Args:
        recipe: What to train, on how many tokens, from which seed.
        report_every: Print the running loss every so many steps; 0 prints nothing.
        name: What the printed lines call this model.
        checkpoint_file: Where the state is written every ``checkpoint_every`` steps and looked for at the start. A
            resumed run takes the same steps as an undisturbed one. None keeps no checkpoints.
        checkpoint_every: Steps between checkpoints.

    Cost: about 2 FLOP x 3 x parameters x tokens; 8M tokens of the 1M model take about 5 minutes on one free core.

    Raises:
        InputError: The checkpoint is of another recipe or other documents.
    """
    with _threads(recipe.threads):
        return _pretrain(recipe, report_every, name, checkpoint_file, checkpoint_every)


def _pretrain(recipe: Recipe, report_every: int, name: str, file: Path | None, checkpoint_every: int) -> Pretrained:
    import torch

    started = time.perf_counter()
    blocks = token_blocks(recipe.n_steps * recipe.batch_blocks, "train", recipe.seed)
    model = create_model(recipe).train()
    optimisers = _optimisers(model, recipe)
    identity = {"recipe": asdict(recipe), "documents": hashlib.sha256(blocks[:, :-1].tobytes()).hexdigest()}
    progress = {"step": 0, "curve": [], "recent": [], "seconds": 0.0}
    if file is not None:
        progress = checkpoint.load(file, model, optimisers, identity) or progress
        started -= progress["seconds"]
    first_step, curve, recent = progress["step"], progress["curve"], progress["recent"]
    loss_of, compiled = _training_loss(model, recipe, _batch(blocks, 0, recipe))
    for step in range(first_step, recipe.n_steps):
        recent.append(_step(model, optimisers, loss_of, _batch(blocks, step, recipe), step, recipe))
        done = step + 1
        if done % max(1, recipe.n_steps // 40) == 0:
            curve.append((done * recipe.batch_blocks * CONTEXT, float(np.mean(recent))))
            recent.clear()
        if report_every and done % report_every == 0:
            seconds = time.perf_counter() - started
            print(f"{name} step {done}/{recipe.n_steps} loss {_last(recent, curve):.3f} {seconds:.0f} s", flush=True)
        if file is not None and done % checkpoint_every == 0 and done < recipe.n_steps:
            state = {"step": done, "curve": curve, "recent": recent, "seconds": time.perf_counter() - started}
            checkpoint.save(file, model, optimisers, identity | state)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())  # the precision they are shipped in
    model.eval()
    loss = validation_loss(model)
    return Pretrained(model, [tuple(point) for point in curve], loss, time.perf_counter() - started, compiled)


def _last(recent: list[float], curve: list) -> float:
    return recent[-1] if recent else curve[-1][1]


def _batch(blocks: np.ndarray, step: int, recipe: Recipe) -> Any:
    import torch

    start = step * recipe.batch_blocks
    return torch.from_numpy(blocks[start : start + recipe.batch_blocks].astype(np.int64))


def _step(model: Any, optimisers: list, loss_of: Callable, block: Any, step: int, recipe: Recipe) -> float:
    """Take one optimiser step in place and return the loss before it."""
    import torch

    factor = learning_rate_factor(step, recipe)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group.setdefault("peak", group["lr"]) * factor
    loss = loss_of(block)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
    for optimiser in optimisers:
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return float(loss.detach())


def save(result: Pretrained, recipe: Recipe, folder: str | Path) -> Path:
    """Write config, float16 weights and, last, ``pretraining.json`` (recipe, curve, losses, hash of the weights).

    Returns:
        The folder.
    """
    import torch
    from safetensors.torch import save as to_bytes

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    result.model.config.save_pretrained(target)
    weights = {name: tensor.to(torch.float16).contiguous() for name, tensor in result.model.state_dict().items()}
    del weights["lm_head.weight"]  # tied to the embedding
    write_atomic(target / "model.safetensors", to_bytes(weights, metadata={"format": "pt"}))
    record = {
        "recipe": asdict(recipe),
        "curve": result.curve,
        "validation_loss": result.validation_loss,
        "wall_s": round(result.wall_s, 1),
        "compiled": result.was_compiled,
        "weights_sha256": sha256_file(target / "model.safetensors"),
    }
    write_atomic(target / RECORD, (json.dumps(record, indent=1) + "\n").encode())
    return target


def main() -> None:
    """Train a base from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(SIZES), default="micro-1m")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="muon")
    parser.add_argument("--n-tokens", type=int, default=Recipe.n_tokens)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    recipe = Recipe(
        n_tokens=options.n_tokens,
        seed=options.seed,
        threads=options.threads,
        optimizer=options.optimizer,
        **SIZES[options.size],
    )
    result = pretrain(recipe, report_every=100, name=options.size)
    print(f"validation loss {result.validation_loss:.4f} after {result.wall_s:.0f} s")
    save(result, recipe, options.output)


if __name__ == "__main__":
    main()
