"""Frozen weights in four bits, for adapters on models that would not fit otherwise (QLoRA, arXiv:2305.14314)."""

from __future__ import annotations

import importlib.util
from typing import Any

from itlib.errors import InputError

NO_QUANTIZATION = "none"
QUANTIZATIONS = (NO_QUANTIZATION, "4bit")
PACKAGE = "bitsandbytes"


def quantized(quantization: str) -> dict[str, Any]:
    """Return what the library's loader is told: the paper's normal-float type, with its constants quantized again.

    Raises:
        InputError: Four bits are asked for without an NVIDIA GPU or without the package that packs them.
    """
    if quantization == NO_QUANTIZATION:
        return {}
    import torch

    if not torch.cuda.is_available():
        raise InputError(f"quantization: '{quantization}' needs an NVIDIA GPU, and none is visible; set it to none")
    if importlib.util.find_spec(PACKAGE) is None:
        raise InputError(f"quantization: '{quantization}' needs the package {PACKAGE}; pip install 'itlib[quantized]'")
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": settings, "device_map": {"": 0}}
