"""The shipped base models of the micro-world: read from the package, their bytes checked against pinned hashes.

Each size of which weights are pinned is a model of its own ("micro-1m"); a size that is not shipped has no name here.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from itlib.errors import InputError
from itlib.microworld.lexicon import ASSETS
from itlib.models._folder import count_parameters
from itlib.packing import KERNEL, TRIMMED, register_kernel, trim
from itlib.registry import models
from itlib.spec import ModelSpec

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PINS = ASSETS / "hashes.json"
_WEIGHTS = re.compile(r"(?P<name>micro-[^/]+)/seed-(?P<seed>[0-9]+)/model\.safetensors")


class MicroModel:
    """One size of base model, shipped for one or more pretraining seeds ("base seeds")."""

    def __init__(self, name: str) -> None:
        self.name = name

    def base_seeds(self) -> list[int]:
        """Return the pretraining seeds this size is shipped for."""
        return shipped().get(self.name, [])

    def resolve(self, model: ModelSpec) -> ModelSpec:
        """Fill in revision and fingerprint: the pinned SHA-256 of weights and of weights, config and tokenizer.

        Raises:
            InputError: The base seed is not shipped, a ``model_path`` is given that would be ignored, or the spec was
                resolved with other bytes than those shipped today.
        """
        self._check(model)
        paths = set(self._paths(model))
        used = {path: digest for path, digest in pins().items() if path in paths}
        whole = hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()
        weights = used[f"{self._folder(model)}/model.safetensors"]
        for field, recorded, found in (
            ("model_revision", model.model_revision, weights),
            ("model_fingerprint", model.model_fingerprint, whole),
        ):
            if recorded not in ("", found):
                raise InputError(f"{field}: model '{self.name}' is shipped as {found}, the spec recorded {recorded}")
        return replace(model, model_revision=weights, model_fingerprint=whole)

    def load(self, model: ModelSpec) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
        """Return the model in float32, whatever precision its weights are shipped in, and eval mode; and the tokenizer.

        Raises:
            InputError: As ``resolve``; or a shipped file is missing or its SHA-256 is not the pinned one.
        """
        import torch
        from safetensors.torch import load as load_tensors
        from transformers import LlamaConfig, LlamaForCausalLM

        from itlib.microworld import tokenizer

        self._check(model)
        if model.attention in (KERNEL, TRIMMED):
            register_kernel()
        content = {path: read_pinned(path) for path in self._paths(model)}
        folder = self._folder(model)
        settings = json.loads(content[f"{folder}/config.json"])
        config = LlamaConfig.from_dict({**settings, "attn_implementation": model.attention})
        with torch.random.fork_rng(devices=[]):
            loaded = LlamaForCausalLM(config)
        tensors = load_tensors(content[f"{folder}/model.safetensors"])
        tensors.setdefault("lm_head.weight", tensors["model.embed_tokens.weight"])  # tied, so stored once
        loaded.load_state_dict(tensors, strict=True)
        if model.attention == TRIMMED:
            trim(loaded)
        return loaded.float().eval(), tokenizer.load()

    def parameters(self, model: ModelSpec) -> int:
        """Return the number of parameters from the header of the weights, tied embeddings counted once."""
        self._check(model)
        return count_parameters(ASSETS / self._folder(model))

    def context_length(self, model: ModelSpec) -> int:
        """Return how many positions the model was built for."""
        return int(json.loads(read_pinned(f"{self._folder(model)}/config.json"))["max_position_embeddings"])

    def architecture(self, model: ModelSpec) -> str:
        """Return the type of the model."""
        self._check(model)
        return "llama"

    def _folder(self, model: ModelSpec) -> str:
        return f"{self.name}/seed-{model.base_seed}"

    def _paths(self, model: ModelSpec) -> list[str]:
        folder = self._folder(model)
        shared = [path for path in pins() if path.startswith("tokenizer/")]
        return [f"{folder}/config.json", f"{folder}/model.safetensors", *sorted(shared)]

    def _check(self, model: ModelSpec) -> None:
        if model.base_seed not in self.base_seeds():
            shipped = ", ".join(map(str, self.base_seeds()))
            raise InputError(f"base_seed is {model.base_seed}; model '{self.name}' is shipped for base seeds {shipped}")
        if model.model_path:
            raise InputError(
                f"model_path is '{model.model_path}', but model '{self.name}' is read from the package; "
                "use model 'local' or 'hub'"
            )


def pins() -> dict[str, str]:
    """Return the pinned SHA-256 of every shipped file, by path relative to the assets folder."""
    return json.loads(PINS.read_text(encoding="utf-8"))


def read_pinned(path: str) -> bytes:
    """Return the bytes of a shipped file, or raise ``InputError`` when they are not the pinned ones."""
    file = ASSETS / path
    if not file.is_file():
        raise InputError(f"{file}: a file of the shipped model is missing; reinstall itlib")
    content = Path(file).read_bytes()
    found, pinned = hashlib.sha256(content).hexdigest(), pins()[path]
    if found != pinned:
        raise InputError(f"{file}: SHA-256 is {found[:12]}..., pinned is {pinned[:12]}...; reinstall itlib")
    return content


def shipped() -> dict[str, list[int]]:
    """Return the base seeds of every size whose weights are pinned, by name of the size."""
    found = sorted((match["name"], int(match["seed"])) for match in map(_WEIGHTS.fullmatch, pins()) if match)
    return {name: [seed for _, seed in group] for name, group in itertools.groupby(found, key=lambda pair: pair[0])}


for _name in shipped():
    models.register(_name, version=1)(MicroModel(_name))
