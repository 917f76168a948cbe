"""Muon for many small matrices: matrices of equal shape are orthogonalised together, as one stack.

The update is that of ``torch.optim.Muon`` (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/), which takes
matrices one by one; on a CPU the stack takes about half the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
MOMENTUM = 0.95


def orthogonalise(stack: torch.Tensor) -> torch.Tensor:
    """Return U V^T of every matrix's singular value decomposition, roughly, shape (n, rows, columns) in bfloat16.

    Quintic Newton-Schulz iteration: singular values end between about 0.5 and 1.5, not at 1.
    """
    linear, cubic, quintic = COEFFICIENTS
    tall = stack.shape[-2] > stack.shape[-1]
    x = stack.bfloat16()
    x = x.mT.contiguous() if tall else x
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        update = torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic)
        x = torch.baddbmm(x, update, x, beta=linear)
    return x.mT if tall else x


class StackedMuon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay; all parameters must be matrices with a gradient."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], lr: float, weight_decay: float) -> None:
        shapes = defaultdict(list)
        for parameter in parameters:
            shapes[parameter.shape].append(parameter)
        super().__init__([{"params": same} for same in shapes.values()], {"lr": lr, "weight_decay": weight_decay})
        for group in self.param_groups:
            first = group["params"][0]  # holds the momentum of its whole group, shape (n, rows, columns)
            self.state[first]["momentum"] = torch.zeros(len(group["params"]), *first.shape)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # it takes no closure
        """Move every matrix by its orthogonalised momentum; tall ones further, by the root of rows over columns."""
        for group in self.param_groups:
            matrices = group["params"]
            gradient = torch.stack([matrix.grad for matrix in matrices])
            momentum = self.state[matrices[0]]["momentum"].lerp_(gradient, 1 - MOMENTUM)
            update = orthogonalise(gradient.lerp_(momentum, MOMENTUM)).float()
            rows, columns = matrices[0].shape
            torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(matrices, update.unbind(), alpha=-group["lr"] * max(1, rows / columns) ** 0.5)
