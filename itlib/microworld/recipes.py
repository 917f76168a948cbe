"""What base models there are: sizes, recipes, and the list of those that are shipped."""

from __future__ import annotations

from dataclasses import dataclass

from itlib.errors import InputError, did_you_mean

CONTEXT = 128
SIZES: dict[str, dict[str, int]] = {
    "micro-0.2m": {"hidden_size": 64, "n_layers": 2, "n_heads": 4, "intermediate_size": 172},
    "micro-1m": {"hidden_size": 128, "n_layers": 4, "n_heads": 4, "intermediate_size": 352},
    "micro-4m": {"hidden_size": 224, "n_layers": 6, "n_heads": 4, "intermediate_size": 600},
}
OPTIMIZERS = ("muon", "adamw")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a base model. Learning rates are peaks; the last 30 % of the steps cool down linearly.

    ``muon`` moves the matrices inside the layers by Muon and the tied embedding and the norms by AdamW; ``adamw``
    moves everything by AdamW, with ``adam_weight_decay`` on the matrices inside the layers only.
    """

    n_tokens: int = 8_000_000
    seed: int = 0
    hidden_size: int = 128
    n_layers: int = 4
    n_heads: int = 4
    intermediate_size: int = 352
    batch_blocks: int = 16
    optimizer: str = "muon"
    muon_learning_rate: float = 0.02
    muon_weight_decay: float = 0.01
    adam_learning_rate: float = 3e-3
    adam_weight_decay: float = 0.1
    warmup_steps: int = 100
    cooldown_fraction: float = 0.3
    gradient_clip: float = 1.0
    threads: int = 1
    compiled: bool = True

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            hint = did_you_mean(self.optimizer, OPTIMIZERS)
            raise InputError(f"optimizer: '{self.optimizer}' is none of {', '.join(OPTIMIZERS)}{hint}")

    @property
    def n_steps(self) -> int:
        """Optimiser steps: each consumes ``batch_blocks`` blocks of ``CONTEXT`` predicted tokens."""
        return max(1, self.n_tokens // (self.batch_blocks * CONTEXT))


BASES: dict[str, Recipe] = {
    **{f"micro-1m/seed-{seed}": Recipe(seed=seed, **SIZES["micro-1m"]) for seed in range(8)},
    "micro-0.2m/seed-0": Recipe(n_tokens=12_000_000, **SIZES["micro-0.2m"]),
    "micro-4m/seed-0": Recipe(**SIZES["micro-4m"]),
    "micro-1m-adamw/seed-0": Recipe(n_tokens=14_000_000, optimizer="adamw", **SIZES["micro-1m"]),
}


def learning_rate_factor(step: int, recipe: Recipe) -> float:
    """Return the share of the peak learning rate at ``step``: linear warm-up, constant, linear cool-down."""
    total = recipe.n_steps
    warmup = min(recipe.warmup_steps, max(1, total // 10))
    cooldown = max(1, round(recipe.cooldown_fraction * total))
    return min(1.0, (step + 1) / warmup, (total - step) / cooldown)
