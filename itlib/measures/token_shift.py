"""Which tokens of its answers a tuned model would not have said before: by position, and by what they are for.

The tuned model answers the items greedily. At every token of an answer, the stop token included, both models read the
same text: the divergence KL(tuned || base) of their next tokens in nats, and the rank of the token under the base. A
token is *unshifted* at rank 1, *marginal* at ranks 2 and 3, and *shifted* below (URIAL, arXiv:2312.01552, section 2.2).
Tokens of form are those that say nothing of the content: style, wording, punctuation and the stop token.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from itlib.batching import micro_batches
from itlib.evaluate import BATCH_TOKENS
from itlib.generate import greedy, room
from itlib.measures import Measured
from itlib.registry import measures, sources
from itlib.template import Encoded, encode_prompt, stop_token_id
from itlib.train import response_logits

ASKED = 400  # items of a run that are answered, the first of every family alike
FORM, CONTENT = "form", "content"


@measures.register("token_shift")
def measure_token_shift(about: Measured) -> dict[str, list[Any]]:
    """Return sums over tokens by ``position`` (0 is the first of an answer) and ``kind`` ("form" or "content").

    Columns: ``n`` tokens, summed ``divergence``, and how many are ``unshifted``, ``marginal`` and ``shifted``.
    """
    rows = _answers(about)
    tokens = _tokens(about, rows)
    table = tokens.groupby(["position", "kind"], as_index=False).agg(
        n=("divergence", "size"),
        divergence=("divergence", "sum"),
        unshifted=("rank", lambda rank: int((rank == 1).sum())),
        marginal=("rank", lambda rank: int(rank.between(2, 3).sum())),
        shifted=("rank", lambda rank: int((rank > 3).sum())),
    )
    table["divergence"] = [float(f"{value:.6g}") for value in table["divergence"]]
    found: dict[Any, list[Any]] = table.to_dict(orient="list")
    return found


def _answers(about: Measured) -> list[Encoded]:
    """Return a row per item: its prompt and what the model says, every token of the answer marked."""
    families = sorted({item.family for item in about.items})
    each = max(1, ASKED // len(families))
    asked = [item for name in families for item in [i for i in about.items if i.family == name][:each]]
    prompts = [encode_prompt(item, about.tokenizer) for item in asked]
    stop = stop_token_id(about.tokenizer)
    how = {"pad_id": about.pad_id, "dtype": about.spec.base.dtype, "context_length": about.context_length}
    answers = greedy(about.model, prompts, stop_ids=[stop], **how)
    rows = []
    for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ended = len(answer) < room(len(prompt), about.context_length)
        ids = np.concatenate([prompt, np.array([*answer, *([stop] if ended else [])], dtype=np.int32)]).astype(np.int32)
        rows.append(Encoded(index, ids, np.arange(len(ids)) >= len(prompt), 0))
    return [row for row in rows if row.response_mask.any()]


def _tokens(about: Measured, rows: list[Encoded]) -> pd.DataFrame:
    import torch

    base = about.base().eval()
    is_form = _form(about)
    parts = []
    with torch.inference_mode():
        for group in micro_batches([len(row.input_ids) for row in rows], BATCH_TOKENS[about.model.device.type]):
            batch = [rows[i] for i in group]
            tuned, tokens, row_of = response_logits(about.model, batch, about.pad_id)
            before = response_logits(base, batch, about.pad_id)[0].log_softmax(-1)
            after = tuned.log_softmax(-1)
            divergence = (after.exp() * (after - before)).sum(-1).clamp(min=0)
            chosen = before.gather(1, tokens.long()[:, None])
            rank = 1 + (before > chosen).sum(-1)
            starts = np.flatnonzero(np.diff(row_of, prepend=-1))
            position = np.arange(len(row_of)) - np.repeat(starts, np.diff([*starts, len(row_of)]))
            parts.append(
                pd.DataFrame(
                    {
                        "position": position,
                        "kind": [FORM if is_form(token) else CONTENT for token in tokens.tolist()],
                        "divergence": divergence.double().cpu().numpy(),
                        "rank": rank.cpu().numpy(),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def _form(about: Measured) -> Any:
    """Return whether a token is one of form; a source that does not say has content and punctuation."""
    source = sources.get(about.spec.data.source)
    words = source.form_words() if hasattr(source, "form_words") else frozenset()
    known: dict[int, bool] = {stop_token_id(about.tokenizer): True}

    def is_form(token: int) -> bool:
        if token not in known:
            text = about.tokenizer.decode([token], skip_special_tokens=False).strip()
            known[token] = text in words or not any(letter.isalnum() for letter in text)
        return known[token]

    return is_form
