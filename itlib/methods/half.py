"""Half fine-tuning: half of the weights move in a round, and another half is drawn for the next.

Source: HFT: Half Fine-Tuning for Large Language Models (arXiv:2404.18466), section 3 and its table of selections.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from itlib.errors import InputError
from itlib.methods import KEY, Setting, check_option
from itlib.methods._peft import ATTENTION, FEEDFORWARD
from itlib.methods._subset import Subset, blocks, tables
from itlib.registry import methods
from itlib.spec import MethodSpec, stream

LEVELS = ("category", "layer", "model")


@dataclass(frozen=True)
class HalfFineTuning(Subset):
    """Train a random half of the model.

    Option ``level`` says of what a half is drawn:

    * category: of every block two of the four matrices of attention; two of the three of the feed-forward part in one
      half of the blocks and one in the other half; half of the norms. With an odd number of blocks the share is half
      to within one matrix.
    * layer: half of the blocks, rounded down, with all that is in them.
    * model: matrices of the whole model in random order until half of their weights is reached; half of the norms.

    Embeddings and output layer always move in the paper. Here ``train_embeddings`` decides, as in full fine-tuning, so
    that two arms differ in their half alone. The draw follows from seed and round.
    """

    reads: ClassVar[tuple[str, ...]] = ("train_embeddings",)
    level: str = field(default="category", kw_only=True)

    def __post_init__(self) -> None:
        check_option("level", self.level, LEVELS)

    def names(self, model: Any, spec: MethodSpec, setting: Setting) -> Iterable[str]:
        """Return the tensors of this round's half."""
        rng = stream(setting.seed, f"half {setting.round}")
        always = set(tables(model)) if spec.train_embeddings else set()
        inside = {name: weight for name, weight in model.named_parameters() if name not in set(tables(model))}
        if self.level == "layer":
            layers = blocks(model)
            kept = [layers[i] for i in sorted(_some(rng, len(layers), len(layers) // 2))]
            return always | {name for name in inside if name.startswith(tuple(f"{layer}." for layer in kept))}
        matrices = [name for name, weight in inside.items() if weight.ndim == 2]
        norms = [name for name, weight in inside.items() if weight.ndim < 2]
        chosen = always | {norms[i] for i in _some(rng, len(norms), len(norms) // 2)}
        if self.level == "model":
            return chosen | _half_of_weights(rng, {name: inside[name].numel() for name in matrices})
        return chosen | self._by_category(rng, matrices, len(blocks(model)))

    def _by_category(self, rng: np.random.Generator, matrices: list[str], n_layers: int) -> set[str]:
        more = set(_some(rng, n_layers, n_layers // 2).tolist())
        chosen: set[str] = set()
        for layer in range(n_layers):
            here = [name for name in matrices if re.search(rf"\.{layer}\.", name)]
            for kind, n in ((ATTENTION, 2), (FEEDFORWARD, 2 if layer in more else 1)):
                found = [name for name in here if name.split(".")[-2] in kind]
                if len(found) != len(kind):
                    raise InputError(
                        f"{KEY}: level=category needs {', '.join(kind)} in every block; block {layer} has {len(found)} "
                        "of them, take level=layer or level=model"
                    )
                chosen |= {found[i] for i in _some(rng, len(found), n)}
        return chosen


def _some(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    return rng.permutation(n)[:k]


def _half_of_weights(rng: np.random.Generator, sizes: dict[str, int]) -> set[str]:
    names, half = list(sizes), sum(sizes.values()) / 2
    chosen: set[str] = set()
    total = 0
    for i in rng.permutation(len(names)):
        if abs(total + sizes[names[i]] - half) < abs(total - half):
            chosen.add(names[i])
            total += sizes[names[i]]
    return chosen


methods.register("half")(HalfFineTuning())
