"""How sure a model is of its answers, and how often it is right: the first token of every closed answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from itlib.batching import micro_batches
from itlib.evaluate import BATCH_TOKENS
from itlib.measures import Measured
from itlib.registry import measures
from itlib.template import encode
from itlib.train import response_logits

BINS = 15


@measures.register("calibration")
def measure_calibration(about: Measured) -> dict[str, list[Any]]:
    """Return per bin of confidence, all equally wide: ``n`` items, summed ``confidence`` and how many are ``right``.

    Confidence is the probability of the most likely first token of the answer, which is right where it is the first
    token of the right answer. Items without one right text, worded or styled ones among them, are not looked at.
    """
    import torch

    items = [item for item in about.items if not item.constraints and not item.options and len(item.turns) > 1]
    rows, _ = encode(items, about.tokenizer, max_length=about.context_length)
    found = [np.zeros((2, 0))]  # where no item is closed
    with torch.inference_mode():
        for group in micro_batches([len(row.input_ids) for row in rows], BATCH_TOKENS[about.model.device.type]):
            logits, targets, row_of = response_logits(about.model, [rows[i] for i in group], about.pad_id)
            first = np.flatnonzero(np.diff(row_of, prepend=-1))
            probability, best = logits[first].softmax(-1).max(-1)
            found.append(np.stack([probability.double().cpu().numpy(), (best == targets[first]).cpu().numpy()]))
    confidence, right = np.concatenate(found, axis=1)
    which = np.minimum((confidence * BINS).astype(int), BINS - 1)
    sums = {"confidence": confidence, "right": right}
    table: dict[str, list[Any]] = {"bin": list(range(BINS)), "n": np.bincount(which, minlength=BINS).tolist()}
    for name, values in sums.items():
        table[name] = [float(f"{v:.6g}") for v in np.bincount(which, weights=values, minlength=BINS)]
    return table
