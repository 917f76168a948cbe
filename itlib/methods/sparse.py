"""Sparse fine-tuning: few entries of the matrices move, found by a search before training or on the way.

Entries are those of the linear layers inside the blocks; embeddings, output layer and norms stay what they are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from itlib.dense import matrices, need_matrices
from itlib.errors import InputError, RunError
from itlib.methods import KEY, Setting
from itlib.methods._peft import EVERY_LINEAR, Adapter
from itlib.methods._subset import Subset
from itlib.registry import methods
from itlib.spec import MethodSpec, TrainSpec, stream

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LotteryTicket(Adapter):
    """Train fully, keep the entries that moved most, rewind, and train these alone.

    The search is a training of its own, as long as the run, on a copy of the model. Of a matrix of m by n the
    ``rank (m + n)`` entries with the largest change are kept, as many as a low-rank adapter of that rank has; they are
    trained by the sparse tuner of peft with a mask. Tokens of the search are noted beside those of the run.

    Source: Composable Sparse Fine-Tuning for Cross-Lingual Transfer (arXiv:2110.07560), section 3.
    """

    def attach(self, model: Any, spec: MethodSpec, setting: Setting | None = None) -> Any:
        """Search on a copy, then wrap the model with the mask that was found."""
        from itlib.train import train

        if setting is None or not setting.examples:
            raise InputError(f"method: '{spec.method}' searches by training and needs the examples of a run")
        need_matrices(model, spec.method)
        tuned = copy.deepcopy(model).requires_grad_(False)
        for _, weight in matrices(tuned):
            weight.requires_grad_(True)
        plain = replace(setting.train, objective=TrainSpec().objective, objective_options=())
        trace = train(tuned, setting.examples, plain, seed=setting.seed, pad_id=setting.pad_id, dtype=setting.dtype)
        if trace.diverged:
            raise RunError("the search for entries diverged; a smaller learning_rate may help")
        for name in ("n_steps", "n_tokens", "n_response_tokens"):
            setting.note(f"search_{name}", trace.totals[name])
        found, start = dict(matrices(tuned)), dict(matrices(model))
        moved = {id(start[name]): (found[name] - start[name]).detach().abs() for name in start}
        return _masked(model, spec, moved, self)


def _masked(model: Any, spec: MethodSpec, score: dict[int, torch.Tensor], method: Adapter) -> Any:
    """Wrap a model so that the best-scored entries of every target matrix are trained."""
    import torch
    from peft import get_peft_model

    configuration = method.configuration(model, spec)

    def mask_of(layer: Any, rank: int, **_: Any) -> torch.Tensor:
        ranked = score[id(layer.weight)].flatten()
        n = rank * sum(layer.weight.shape)
        mask = torch.zeros(layer.weight.numel(), device=layer.weight.device)
        mask[ranked.topk(min(n, len(ranked))).indices] = 1.0
        return mask.view_as(layer.weight)

    for name, weight in matrices(model):
        if spec.rank * sum(weight.shape) > weight.numel():
            raise InputError(f"rank: {spec.rank} asks for more entries than {name} has, {weight.numel()}")
    configuration.mask_fn = mask_of
    return get_peft_model(model, configuration)


@dataclass(frozen=True)
class GrowAndDrop(Subset):
    """Train a share ``density`` of the entries of every matrix, and move the share on the way.

    Entries start at random. Every ``reselect`` steps a fraction, falling linearly from ``rate`` to 0 over the run, of
    those in training is set back to the base, those that moved least, and replaced by those at rest with the largest
    gradient summed since the last time.

    Source: Scaling Sparse Fine-Tuning to Large Language Models (arXiv:2401.16405), section 3, the variant with
    accumulated gradients.
    """

    own_optimizer: ClassVar[bool] = True
    rate_factor: ClassVar[float] = 2.0
    density: float = field(default=0.01, kw_only=True)
    reselect: int = field(default=20, kw_only=True)
    rate: float = field(default=0.2, kw_only=True)

    def __post_init__(self) -> None:
        for name, value, low in (("density", self.density, 0.0), ("rate", self.rate, -1e-12)):
            if not low < value <= 1:
                raise InputError(f"{KEY}: {name} must be above {max(low, 0.0):g} and at most 1, got {value:g}")
        if self.reselect < 1:
            raise InputError(f"{KEY}: reselect must be at least 1 step, got {self.reselect}")

    def names(self, model: Any, spec: MethodSpec, setting: Setting) -> Iterable[str]:
        """Return every matrix: which entries of it move is the optimizer's to say."""
        need_matrices(model, spec.method)
        return [f"{name}.weight" for name, _ in matrices(model)]

    def n_trained(self, model: Any) -> int:
        """Return the entries in training at any one time."""
        return sum(n_entries(weight.numel(), self.density) for _, weight in matrices(model))

    def optimizer(self, model: Any, train: TrainSpec, n_steps: int, seed: int) -> torch.optim.Optimizer:
        """Return Adam on the entries in training."""
        weights = [weight for _, weight in matrices(model)]
        how = {"density": self.density, "reselect": self.reselect, "rate": self.rate, "n_steps": n_steps}
        first = int(stream(seed, "first entries").integers(2**31))
        return sparse_adam(weights, lr=train.learning_rate, weight_decay=train.weight_decay, first=first, **how)


def n_entries(n: int, density: float) -> int:
    """Return how many of n entries are in training, at least one."""
    return max(1, round(density * n))


def sparse_adam(
    weights: list[torch.Tensor],
    *,
    lr: float,
    weight_decay: float,
    density: float,
    reselect: int,
    rate: float,
    n_steps: int,
    first: int,
) -> torch.optim.Optimizer:
    """Return an optimizer that is AdamW on the entries in training and drops and grows them as ``GrowAndDrop`` says.

    An entry that joins starts with empty moments and a bias correction of its own age, as if training began with it.
    """
    import torch

    class SparseAdam(torch.optim.Optimizer):
        betas, epsilon = (0.9, 0.999), 1e-8

        def __init__(self) -> None:
            super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})
            generator = torch.Generator().manual_seed(first)
            self.n_taken = 0
            for weight in weights:
                chosen = torch.randperm(weight.numel(), generator=generator)[: n_entries(weight.numel(), density)]
                active = torch.zeros(weight.numel(), dtype=torch.bool)
                active[chosen] = True
                zeros = torch.zeros_like(weight)
                self.state[weight] = {
                    "base": weight.detach().clone(),
                    "active": active.view_as(weight).to(weight.device),
                    "age": zeros.clone(),
                    "exp_avg": zeros.clone(),
                    "exp_avg_sq": zeros.clone(),
                    "seen": zeros.clone(),
                }

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:  # type: ignore[override]  # it returns no loss
            """Move the entries in training, and now and then exchange some."""
            self.n_taken += 1
            group = self.param_groups[0]
            for weight in weights:
                self._move(weight, self.state[weight], group["lr"], group["weight_decay"])
            if self.n_taken % reselect == 0 and self.n_taken < n_steps:
                share = rate * (1 - self.n_taken / n_steps)
                for weight in weights:
                    self._exchange(weight, self.state[weight], share)

        def _move(self, weight: torch.Tensor, state: dict[str, torch.Tensor], lr: float, decay: float) -> None:
            first_beta, second_beta = self.betas
            active, gradient = state["active"], weight.grad
            state["seen"] += gradient
            gradient = gradient * active
            state["age"] += active
            state["exp_avg"].lerp_(gradient, 1 - first_beta)
            state["exp_avg_sq"].mul_(second_beta).addcmul_(gradient, gradient, value=1 - second_beta)
            age = state["age"].clamp(min=1)
            mean = state["exp_avg"] / (1 - first_beta**age)
            square = state["exp_avg_sq"] / (1 - second_beta**age)
            step = mean / (square.sqrt() + self.epsilon) + decay * weight
            weight -= lr * step * active

        def _exchange(self, weight: torch.Tensor, state: dict[str, torch.Tensor], share: float) -> None:
            active = state["active"].flatten()
            n = min(math.floor(share * int(active.sum())), int((~active).sum()))
            if n:
                moved = (weight - state["base"]).abs().flatten().masked_fill(~active, float("inf"))
                wanted = state["seen"].abs().flatten().masked_fill(active, -1.0)
                out, into = moved.topk(n, largest=False).indices, wanted.topk(n).indices
                weight.view(-1)[out] = state["base"].view(-1)[out]
                state["active"].view(-1)[out] = False
                state["active"].view(-1)[into] = True
                for name in ("age", "exp_avg", "exp_avg_sq"):
                    state[name].view(-1)[out] = 0.0
            state["seen"].zero_()

    return SparseAdam()


methods.register("lottery_ticket")(
    LotteryTicket("ShiraConfig", {"r": "rank"}, {"target_modules": EVERY_LINEAR}, moves_base=True, faster=1.0)
)
methods.register("grow_and_drop")(GrowAndDrop())
