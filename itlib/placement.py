"""A model on the device of its run, with an attention that is right there."""

from __future__ import annotations

import sys
from typing import Any

from itlib.errors import one_line
from itlib.packing import KERNEL, PADDED, TRIMMED, is_packed, keeps_rows_apart
from itlib.spec import RunSpec
from itlib.train import autocast


def placed(model: Any, spec: RunSpec) -> Any:
    """Return a model of a run on the device of the run; a quantized one lies there already.

    On a GPU a model with packed rows is tried first: where rows see each other, or the GPU is too old for the kernel,
    rows are padded from then on. Processors use one kernel for all models, which tests hold to that, and models from
    elsewhere are tried when they are loaded.
    """
    import torch

    device = torch.device(spec.device)
    model = model if getattr(model, "is_quantized", False) else model.to(device)
    if device.type == "cuda" and is_packed(model) and not _packs(model, device, spec.base.dtype):
        model.set_attn_implementation(PADDED)
    return model


def _packs(model: Any, device: Any, dtype: str) -> bool:
    import torch

    try:
        near = 0.1 if dtype == "bfloat16" else 0.01  # half precision on one side, rounded elsewhere on the other
        return keeps_rows_apart(model, autocast(device, dtype), near=near)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        print(
            f"attention: rows are padded, the kernel of packed ones failed ({one_line(str(error), 200)})",
            file=sys.stderr,
        )
        return False


def fallen_back(model: Any, spec: RunSpec) -> dict[str, str]:
    """Return what the totals of a run say of its attention: nothing, where it is what was asked for."""
    asked, used = spec.base.attention, model.config._attn_implementation
    return {"attention": used} if asked in (KERNEL, TRIMMED) and used == PADDED else {}
