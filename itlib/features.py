"""Features of examples under a scorer: losses and embeddings, computed once and kept on the disk.

Three batched forward passes serve most selection methods. One over the whole row gives the loss of the instruction, the
loss of the response given the instruction, and the embeddings; one over a neutral prefix and the response gives the
loss of the response alone. They score the same response tokens, the stop token included, so a response of one token has
a loss in both. Where nothing but losses of responses is asked for, a pass over the whole row that computes logits at
responses alone is cheaper than the first, and one pass more where a study wants both. Rows are padded on the right to a
budget of tokens; their masks are by token index.

On the disk a table is kept in shards (``itlib.shards``), so that scoring goes on where it was killed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from itlib.batching import micro_batches
from itlib.example import Example
from itlib.segments import renderer_of
from itlib.selectors._ledger import Ledger
from itlib.shards import Columns, table
from itlib.template import Encoded, encode, pad_id
from itlib.train import autocast, pad_right, response_logits

VERSION = 2  # raise when a feature changes, in its last digits too
BATCH_TOKENS = 2048  # logits of this many tokens fit a processor's cache
RESPONSE_BATCH_TOKENS = 1024  # less padding, and what a layer holds fits a cache; the head runs on few places
Measure = Callable[[Sequence[Encoded]], Columns]
POOLINGS = ("mean", "weighted", "last", "instruction")


@dataclass(frozen=True, eq=False)
class Losses:
    """Mean negative log-likelihoods in nats per token, each of shape (n_examples,), float64.

    Attributes:
        instruction: L(Q), of the tokens of the prompt from the second on.
        conditional: L(A|Q), of the response tokens after their prompt.
        unconditional: L(A), of the same tokens after the neutral prefix alone.
        n_prompt_tokens: Tokens that are no response tokens.
        n_response_tokens: Response tokens, the stop token included; the same in both passes.
    """

    instruction: np.ndarray
    conditional: np.ndarray
    unconditional: np.ndarray
    n_prompt_tokens: np.ndarray
    n_response_tokens: np.ndarray


class Features:
    """Features of examples under one model.

    Args:
        load: Returns a causal language model in evaluation mode and its tokenizer; called once, when first needed.
        name: What tells this model from others; part of the address of every table.
        dtype: Precision of the forward pass; losses are reduced in float32, their means in float64.
        max_length: Longer examples are an error: pools are cut to what fits beforehand.
        ledger: Where passes are counted.
        folder: Where tables are kept; None keeps them in memory only.
        prefix: Tokens that a response scored alone follows; None takes ``neutral_prefix`` of the tokenizer.
    """

    def __init__(
        self,
        load: Callable[[], tuple[Any, Any]],
        *,
        name: str,
        dtype: str,
        max_length: int,
        ledger: Ledger,
        folder: Path | None = None,
        prefix: np.ndarray | None = None,
    ) -> None:
        self.name, self.dtype, self.max_length = name, dtype, max_length
        self.ledger, self.folder = ledger, folder
        self._load, self._prefix = load, prefix
        self._tables: dict[str, dict[str, np.ndarray]] = {}
        self._rows: dict[int, tuple[Sequence[Example], list[Encoded]]] = {}

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return self._load()

    @property
    def model(self) -> Any:
        """The model that scores."""
        return self._loaded[0]

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self._loaded[1]

    @property
    def pad_id(self) -> int:
        """Token id for padding."""
        return pad_id(self.tokenizer)

    @functools.cached_property
    def prefix(self) -> np.ndarray:
        """Tokens that a response scored alone follows, shape (n_tokens,), int32."""
        return neutral_prefix(self.tokenizer) if self._prefix is None else self._prefix

    @functools.cached_property
    def n_parameters(self) -> int:
        """Parameters of the model."""
        return sum(p.numel() for p in self.model.parameters())

    def encoded(self, examples: Sequence[Example]) -> list[Encoded]:
        """Return the token rows of examples, one each, in order."""
        known = self._rows.get(id(examples))
        if known is None or known[0] is not examples:
            rows, _ = encode(examples, self.tokenizer, max_length=self.max_length)
            if len(rows) != len(examples):
                raise ValueError("an example to be scored is longer than max_length")
            known = self._rows[id(examples)] = (examples, rows)
        return known[1]

    def losses(self, examples: Sequence[Example]) -> Losses:
        """Return the three mean losses of every example: two forward passes."""
        conditional = self._conditional(examples)
        return Losses(
            conditional["prompt_loss"],
            conditional["response_loss"],
            self._unconditional(examples),
            conditional["n_prompt_tokens"],
            conditional["n_response_tokens"],
        )

    def response_losses(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Return L(A|Q) and L(A) of every example in nats per token, each of shape (n_examples,): two forward passes.

        Cheaper than ``losses``, because no logits of prompts are computed; equal to it but for rounding.
        """
        return self._responses("row for its response", self.encoded(examples)), self._unconditional(examples)

    def conditional_losses(self, examples: Sequence[Example]) -> np.ndarray:
        """Return L(A|Q) of every example in nats per token, shape (n_examples,): one forward pass."""
        return self._conditional(examples)["response_loss"]

    def instruction_losses(self, examples: Sequence[Example]) -> np.ndarray:
        """Return L(Q) of every example in nats per token, shape (n_examples,): one forward pass."""
        return self._conditional(examples)["prompt_loss"]

    def text_losses(self, examples: Sequence[Example]) -> np.ndarray:
        """Return L([Q; A]), the mean over all tokens from the second on, shape (n_examples,): one forward pass."""
        row = self._conditional(examples)
        n_prompt = np.maximum(row["n_prompt_tokens"] - 1, 0)
        total = row["prompt_loss"] * n_prompt + row["response_loss"] * row["n_response_tokens"]
        return total / (n_prompt + row["n_response_tokens"])

    def embeddings(self, examples: Sequence[Example], pooling: str = "mean") -> np.ndarray:
        """Return one vector per example from the last layer, shape (n_examples, width), float32: one forward pass.

        Args:
            examples: What to embed.
            pooling: "mean" over all tokens; "weighted" by position, w_j = j / sum j, as in SGPT and RDS+; "last"
                token; "instruction", the mean over the prompt. Padding never counts.
        """
        return self._conditional(examples)[pooling]

    def states(self, examples: Sequence[Example], layer: int = -2) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Yield batches of (positions, states): per example an array (n_tokens, width) of one layer's output."""
        import torch

        rows = self.encoded(examples)
        self._count("states", rows)
        with torch.inference_mode():
            for group in micro_batches([len(row.input_ids) for row in rows], BATCH_TOKENS):
                output = self._forward([rows[i].input_ids for i in group], hidden=True)
                states = output.hidden_states[layer].float().cpu().numpy()
                yield group, [states[i, : len(rows[position].input_ids)] for i, position in enumerate(group)]

    def address(self, kind: str, examples: Sequence[Example]) -> str:
        """Return the address of numbers of these examples under this model that a selector computes by itself."""
        return self._address(kind, self.encoded(examples))

    # ---- mechanics ----------------------------------------------------------------------------------------

    def _alone(self, row: Encoded) -> Encoded:
        response = row.input_ids[row.response_mask]
        prefix = self.prefix
        mask = np.concatenate([np.zeros(len(prefix), dtype=bool), np.ones(len(response), dtype=bool)])
        return Encoded(row.example_index, np.concatenate([prefix, response]), mask, row.n_response_bytes)

    def _conditional(self, examples: Sequence[Example]) -> dict[str, np.ndarray]:
        return self._table("whole row", self.encoded(examples), self._whole_rows)

    def _unconditional(self, examples: Sequence[Example]) -> np.ndarray:
        return self._responses("response alone", [self._alone(row) for row in self.encoded(examples)])

    def _responses(self, kind: str, rows: Sequence[Encoded]) -> np.ndarray:
        return self._table(kind, rows, self._response_losses)["response_loss"]

    def _count(self, kind: str, rows: Sequence[Encoded]) -> str:
        address = self._address(kind, rows)
        n_tokens = sum(len(row.input_ids) for row in rows)
        kind = "whole row" if kind == "states" else kind  # the same pass gives both
        self.ledger.forward(self._address(kind, rows), n_tokens=n_tokens, n_parameters=self.n_parameters)
        return address

    def _address(self, kind: str, rows: Sequence[Encoded]) -> str:
        content = hashlib.sha256(f"features {VERSION} {kind} {self.name} {self.dtype}".encode())
        for row in rows:
            content.update(len(row.input_ids).to_bytes(4, "little"))
            content.update(row.input_ids.tobytes())
            content.update(row.response_mask.tobytes())
        return content.hexdigest()

    def _table(self, kind: str, rows: Sequence[Encoded], measure: Measure) -> Columns:
        address = self._count(kind, rows)
        if address not in self._tables:
            self._tables[address] = table(self.folder, address, len(rows), lambda part: measure(rows[part]))
        return self._tables[address]

    def _whole_rows(self, rows: Sequence[Encoded]) -> Columns:
        """Return the losses of prompt and response, how many tokens they have, and every pooled embedding."""
        import torch

        n = len(rows)
        columns: Columns = {
            "prompt_loss": np.zeros(n),
            "response_loss": np.zeros(n),
            "n_prompt_tokens": np.array([int((~row.response_mask).sum()) for row in rows], dtype=np.int64),
            "n_response_tokens": np.array([int(row.response_mask[1:].sum()) for row in rows], dtype=np.int64),
        }
        with torch.inference_mode():
            for group in micro_batches([len(row.input_ids) for row in rows], BATCH_TOKENS):
                batch = [rows[i] for i in group]
                output = self._forward([row.input_ids for row in batch], hidden=True)
                for name, values in _mean_losses(output.logits, batch).items():
                    columns[name][group] = values
                for name, vectors in _pooled(output.hidden_states[-1], batch).items():
                    columns.setdefault(name, np.zeros((n, vectors.shape[1]), dtype=np.float32))[group] = vectors
        return columns

    def _response_losses(self, rows: Sequence[Encoded]) -> Columns:
        """Return the mean loss of every response; the language-model head runs on little else."""
        import torch

        found = np.zeros(len(rows))
        device = next(self.model.parameters()).device
        with torch.inference_mode(), autocast(device, self.dtype):
            for group in micro_batches([len(row.input_ids) for row in rows], RESPONSE_BATCH_TOKENS):
                logits, targets, row_of = response_logits(self.model, [rows[i] for i in group], self.pad_id)
                nll = torch.nn.functional.cross_entropy(logits, targets, reduction="none").double().cpu().numpy()
                n_tokens = np.bincount(row_of, minlength=len(group))
                found[group] = np.bincount(row_of, nll, len(group)) / np.maximum(n_tokens, 1)
        return {"response_loss": found}

    def _forward(self, rows: Sequence[np.ndarray], *, hidden: bool) -> Any:
        import torch

        device = next(self.model.parameters()).device
        input_ids = torch.as_tensor(pad_right(rows, self.pad_id), device=device)
        with autocast(device, self.dtype):
            return self.model(input_ids=input_ids, use_cache=False, output_hidden_states=hidden)


def neutral_prefix(tokenizer: Any) -> np.ndarray:
    """Return the tokens that a response scored alone follows, shape (n_tokens,), int32.

    They are the start of a row and what the template puts between an instruction and its response, so that the first
    response token is scored as well: without a token before it, it could not be.
    """
    before, _, marker = renderer_of(tokenizer).skeleton(tokenizer, ("user", "assistant"))[:3]
    starts_row = tokenizer.bos_token_id is not None and before.ids[:1] == (tokenizer.bos_token_id,)
    return np.array([*before.ids[: int(starts_row)], *marker.ids], dtype=np.int32)


def weights_digest(model: Any) -> str:
    """Return the SHA-256 of every weight of a model with its name: what tells one tuned scorer from another."""
    content = hashlib.sha256()
    for name, weight in model.state_dict().items():
        content.update(name.encode())
        content.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def _mean_losses(logits: Any, batch: Sequence[Encoded]) -> dict[str, np.ndarray]:
    """Return the mean loss of prompt and response tokens of every row; what has no token counts 0."""
    import torch

    length = logits.shape[1]
    targets = torch.as_tensor(pad_right([row.input_ids for row in batch], 0), device=logits.device)[:, 1:]
    flat = logits[:, :-1].float().flatten(0, 1)
    nll = torch.nn.functional.cross_entropy(flat, targets.flatten(), reduction="none").view(targets.shape)
    nll = nll.double().cpu().numpy()
    response = pad_right([row.response_mask for row in batch], 0).astype(bool)[:, 1:]
    real = np.arange(1, length)[None, :] < np.array([len(row.input_ids) for row in batch])[:, None]
    prompt = real & ~response
    return {
        "response_loss": (nll * response).sum(1) / np.maximum(response.sum(1), 1),
        "prompt_loss": (nll * prompt).sum(1) / np.maximum(prompt.sum(1), 1),
    }


def _pooled(states: Any, batch: Sequence[Encoded]) -> dict[str, np.ndarray]:
    """Return every pooling of the states of a batch, each of shape (n_rows, width), float32."""
    import torch

    lengths = torch.tensor([len(row.input_ids) for row in batch])
    prompts = torch.tensor([int(np.argmax(row.response_mask)) for row in batch])
    place = torch.arange(states.shape[1])
    real = (place[None, :] < lengths[:, None]).float()
    weights = {
        "mean": real,
        "weighted": real * (place[None, :] + 1),
        "last": (place[None, :] == lengths[:, None] - 1).float(),
        "instruction": (place[None, :] < prompts.clamp(min=1)[:, None]).float(),
    }
    states = states.float()
    found = {}
    for name, weight in weights.items():
        share = (weight / weight.sum(1, keepdim=True)).to(states.device)
        found[name] = torch.einsum("rt,rtw->rw", share, states).cpu().numpy()
    return found
