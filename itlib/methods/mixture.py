"""LoRAMoE: several low-rank experts in each feed-forward layer, mixed token by token by a router.

Source: LoRAMoE (arXiv:2312.09979), sections 3.1 and 3.2; the loss that keeps one half of the experts for another kind
of data is the objective "expert_balance".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from itlib.dense import matrices
from itlib.errors import InputError
from itlib.methods import KEY, Method, Setting
from itlib.methods._changed import WEIGHTS
from itlib.methods._peft import FEEDFORWARD
from itlib.models._adapter import write_adapter_base
from itlib.packing import KERNEL, is_trimmed
from itlib.registry import methods
from itlib.spec import MethodSpec, ModelSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Mixture(Method):
    """Train ``experts`` low-rank updates of every feed-forward matrix and the router that weighs them.

    A layer gives W x + (alpha / rank) sum_e w_e(x) B_e A_e x with w = softmax(R x). ``rank`` is that of one expert. All
    B start at zero, so the model starts unchanged; the weights of a token sum to 1, so equal experts are one adapter.
    """

    reads: ClassVar[tuple[str, ...]] = ("rank", "alpha")
    mergeable: ClassVar[bool] = False
    rate_factor: ClassVar[float] = 4.0
    experts: int = field(default=4, kw_only=True)

    def __post_init__(self) -> None:
        if self.experts < 2 or self.experts % 2:
            raise InputError(f"{KEY}: experts must be an even number of at least 2, got {self.experts}")

    def attach(self, model: Any, spec: MethodSpec, setting: Setting | None = None) -> Any:
        """Put experts beside every feed-forward matrix; everything else is frozen.

        Raises:
            InputError: The model has no matrices named gate_proj, up_proj or down_proj.
        """
        model.requires_grad_(False)
        names = [name for name, _ in matrices(model) if name.split(".")[-1] in FEEDFORWARD]
        if not names:
            raise InputError(f"method: '{spec.method}' needs layers named {', '.join(FEEDFORWARD)}")
        if is_trimmed(model):
            model.config._attn_implementation = KERNEL  # the balance of experts looks at every token of the last layer
        for name in names:
            parent, _, last = name.rpartition(".")
            layer = model.get_submodule(name)
            setattr(model.get_submodule(parent), last, _layer_class()(layer, spec.rank, spec.alpha, self.experts))
        return model

    def save(self, model: Any, folder: Path, base: ModelSpec) -> None:
        """Write experts and routers as safetensors, with the fingerprint of the base."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
        save_file(tensors, folder / WEIGHTS)
        write_adapter_base(folder, base.model_fingerprint)

    def load(self, model: Any, spec: MethodSpec, folder: Path) -> Any:
        """Return the base model with the saved experts."""
        import torch
        from safetensors.torch import load_file

        model = self.attach(model, spec)
        weights = dict(model.named_parameters())
        with torch.no_grad():
            for name, tensor in load_file(folder / WEIGHTS).items():
                weights[name].copy_(tensor)
        return model.eval()


def mixture_layers(model: Any) -> Iterator[Any]:
    """Yield the layers with experts. After a forward pass ``weights`` of each holds what its router gave every token.

    Its shape is that of the layer's input with the experts in the place of the features.
    """
    kind = _layer_class()
    return (module for module in model.modules() if isinstance(module, kind))


@functools.cache
def _layer_class() -> Any:
    import torch

    class MixtureLinear(torch.nn.Module):
        """A frozen linear layer with low-rank experts beside it."""

        def __init__(self, layer: Any, rank: int, alpha: float, experts: int) -> None:
            super().__init__()
            n_out, n_in = layer.weight.shape
            like = {"device": layer.weight.device, "dtype": layer.weight.dtype}
            self.layer, self.scale, self.experts = layer, alpha / rank, experts
            self.inner = torch.nn.Parameter(torch.empty(experts * rank, n_in, **like))
            self.outer = torch.nn.Parameter(torch.zeros(n_out, experts * rank, **like))
            self.router = torch.nn.Linear(n_in, experts, bias=False, **like)
            torch.nn.init.kaiming_uniform_(self.inner, a=math.sqrt(5))
            self.weights: torch.Tensor | None = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.weights = self.router(x).softmax(-1)
            inside = torch.nn.functional.linear(x, self.inner).unflatten(-1, (self.experts, -1))
            mixed = (inside * self.weights.unsqueeze(-1)).flatten(-2)
            return self.layer(x) + self.scale * torch.nn.functional.linear(mixed, self.outer)

    return MixtureLinear


methods.register("mixture")(Mixture())
