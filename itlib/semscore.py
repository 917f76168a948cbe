"""SemScore: how close what a tuned model says comes in meaning to the answer, by a sentence-embedding model.

The score of an item is the cosine of two embeddings, of the generated and of the right answer, between -1 and 1; that
of a run is the mean over its items (SemScore: Automated Evaluation of Instruction-Tuned LLMs based on Semantic Textual
Similarity, arXiv:2401.17072, section 3, which embeds with all-mpnet-base-v2). An embedding is the mean of the last
hidden states over the tokens of a text, padding left out, scaled to length 1. An empty answer scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from itlib.batching import micro_batches
from itlib.errors import InputError
from itlib.execute import scored_items
from itlib.generate import responses
from itlib.harness import check_model
from itlib.hub import snapshot
from itlib.models._folder import check_folder
from itlib.packing import virtual_tokens
from itlib.spec import RunSpec, key
from itlib.stages import load_tuned
from itlib.store import Store
from itlib.template import pad_id
from itlib.tune import context_length, load_base

METRIC = "semscore"
ALL = "all"  # the family under which the mean over all items stands
BATCH_TOKENS = 8192
LONGEST = 512  # tokens of a text that are read, where the model does not say
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")


class Embedder:
    """A sentence-embedding model: a local folder, or ``org/name@revision`` of the hub.

    Raises:
        InputError: The folder cannot be read, holds no safetensors, or is no encoder that ``AutoModel`` knows.
    """

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        from transformers import AutoModel, AutoTokenizer

        folder = _folder(name)
        if not list(folder.glob("*.safetensors")):
            raise InputError(f"{name}: no safetensors in it; pickled weights are not read")
        check_folder(folder, trust_remote_code=False)
        try:
            how = {"local_files_only": True, "trust_remote_code": False}
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **how)
            self._model = AutoModel.from_pretrained(folder, use_safetensors=True, **how).eval().to(device)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{name}: is no sentence-embedding model that can be loaded ({reason})") from None
        self._longest = min(LONGEST, getattr(self._model.config, "max_position_embeddings", LONGEST) - 2)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return embeddings of length 1, shape (n_texts, size)."""
        import torch

        rows = [self._tokenizer(text, truncation=True, max_length=self._longest)["input_ids"] for text in texts]
        found: dict[int, np.ndarray] = {}
        for group in micro_batches([len(row) for row in rows], BATCH_TOKENS):
            batch = self._tokenizer.pad({"input_ids": [rows[i] for i in group]}, return_tensors="pt")
            batch = batch.to(self._model.device)
            with torch.inference_mode():
                states = self._model(**batch).last_hidden_state
            real = batch["attention_mask"][..., None].to(states.dtype)
            means = torch.nn.functional.normalize((states * real).sum(1) / real.sum(1), dim=-1)
            found |= dict(zip(group.tolist(), means.float().cpu().numpy(), strict=True))
        return np.stack([found[i] for i in range(len(texts))])


def _folder(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    repository, _, revision = name.partition("@")
    if path.exists() or "/" not in repository:
        raise InputError(f"{name}: is no folder with a sentence-embedding model, and no org/name of the hub")
    return snapshot(repository, revision, kind="model", allow=_FILES)[0]


def similarities(embed: Embedder, answers: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Return the cosine of each answer and its reference, shape (n_items,); 0 where an answer is empty."""
    known = sorted({text for text in (*answers, *references) if text.strip()})
    if not known:
        return np.zeros(len(answers))
    vectors = dict(zip(known, embed(known), strict=True))
    pairs = zip(answers, references, strict=True)
    return np.array([float(vectors[a] @ vectors[r]) if a in vectors and r in vectors else 0.0 for a, r in pairs])


def semscore(spec: RunSpec, store: Store, embed: Embedder, *, limit: int | None = None) -> list[dict[str, Any]]:
    """Ask the model of a stored run its own test items and score what it says.

    Args:
        spec: The spec of a stored run.
        store: Where its weights are.
        embed: The sentence-embedding model.
        limit: Items of each family, the first ones; None takes all.

    Returns:
        Rows with ``run``, ``family``, ``metric`` ("semscore"), ``value`` and ``n``: one per family, and one over all.
        Items with many right answers are left out.

    Raises:
        InputError: There is no model to be asked, or no item has one right answer.
    """
    check_model(spec, store)
    items = [item for item in scored_items(spec) if item.gold and not item.constraints]
    of_family: dict[str, list[Any]] = {}
    for item in items:
        of_family.setdefault(item.family, []).append(item)
    chosen = [item for family in sorted(of_family) for item in of_family[family][:limit]]
    if not chosen:
        raise InputError(f"run {key(spec)} has no item with one right answer; SemScore compares with one")
    model, tokenizer = load_base(spec)
    if spec.data.n_train:
        model = load_tuned(model, spec, store.weights(spec))
    room = context_length(spec.base) - virtual_tokens(model)
    how = {"pad_id": pad_id(tokenizer), "dtype": spec.base.dtype, "context_length": room}
    answers = responses(
        model.to(spec.device).eval(), tokenizer, chosen, most_new=[spec.evaluate.max_new_tokens] * len(chosen), **how
    )
    values = similarities(embed, answers, [item.gold for item in chosen])
    families = np.array([item.family for item in chosen])
    groups = {family: values[families == family] for family in sorted(of_family)}
    if ALL not in groups:
        groups[ALL] = values
    return [
        {"run": key(spec), "family": family, "metric": METRIC, "value": float(group.mean()), "n": len(group)}
        for family, group in groups.items()
    ]
