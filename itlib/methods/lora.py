"""Low-rank adaptation through peft, as it is or with one of its two factors held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from itlib.errors import InputError
from itlib.methods import Setting, check_option
from itlib.methods._peft import Adapter
from itlib.methods.adapters import LOW_RANK
from itlib.registry import methods
from itlib.spec import MethodSpec

INNER = ("trained", "orthonormal", "identity")


@dataclass(frozen=True)
class LoRA(Adapter):
    """Train a low-rank update ``(alpha / rank) B A`` of the target linear layers; everything else is frozen.

    A starts as random numbers and B as zeros, so the model starts unchanged. Option ``inner`` says what becomes of A:

    * trained: both factors move.
    * orthonormal: A is replaced by orthonormal rows and held, so that all its singular values are 1 and stay so
      (peft's own "orthogonal" start is another thing: its rows have no unit length and B is not zero).
    * identity: A is the identity and held. With the rank of a layer's inputs and alpha equal to the rank this is full
      fine-tuning of the layer, written as an adapter.

    Source: LoRA: Low-Rank Adaptation of Large Language Models, section 4.1; tuning B alone: LoRA vs Full Fine-tuning
    (arXiv:2410.21228), section 5.
    """

    config: str = "LoraConfig"
    takes: Mapping[str, str] = field(default_factory=lambda: LOW_RANK)
    always: Mapping[str, Any] = field(default_factory=lambda: {"lora_dropout": 0.0})
    encoders: bool = True
    inner: str = field(default="trained", kw_only=True)

    def __post_init__(self) -> None:
        check_option("inner", self.inner, INNER)

    def attach(self, model: Any, spec: MethodSpec, setting: Setting | None = None) -> Any:
        """Wrap the model with fresh adapters.

        Raises:
            InputError: The rank is too large for orthonormal rows, or is not that of an identity.
        """
        wrapped = super().attach(model, spec, setting)
        if self.inner != "trained":
            for name, factor in wrapped.named_parameters():
                if ".lora_A." in name:
                    self._hold(name, factor)
        return wrapped

    def _hold(self, name: str, factor: Any) -> None:
        import torch

        rank, n_inputs = factor.shape
        if rank > n_inputs or (self.inner == "identity" and rank != n_inputs):
            most = "" if self.inner == "identity" else "at most "
            layer = name.split(".lora_A")[0]
            raise InputError(f"rank: {rank} is not {most}the {n_inputs} inputs of {layer}; inner={self.inner} needs it")
        with torch.no_grad():
            if self.inner == "identity":
                factor.copy_(torch.eye(rank, dtype=factor.dtype, device=factor.device))
            else:
                factor.copy_(torch.linalg.qr(factor.float().T)[0].T)
        factor.requires_grad_(False)


methods.register("lora")(LoRA())
