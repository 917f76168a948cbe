"""Low-rank adapters as models: an adapter is only worth something on the base it was trained on."""

from __future__ import annotations

import functools
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from itlib.errors import InputError
from itlib.hub import REPOSITORY, snapshot
from itlib.models._folder import combined_hash, header, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE = "itlib_base.json"
MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.py")

_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.weight)?$")


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds a peft adapter."""
    return (folder / CONFIG).is_file()


def write_adapter_base(adapter_folder: str | Path, model_fingerprint: str) -> None:
    """Write beside an adapter which base it belongs to; ``check_adapter_base`` reads it."""
    content = json.dumps({"base_fingerprint": model_fingerprint}, indent=2) + "\n"
    (Path(adapter_folder) / BASE).write_text(content, encoding="utf-8")


def adapter_fingerprint(folder: Path, base_fingerprint: str) -> str:
    """Return the SHA-256 that stands for an adapter together with its base."""
    return f"{combined_hash([folder / CONFIG, folder / WEIGHTS])}+{base_fingerprint}"


def base_folder(folder: Path) -> Path:
    """Return the folder of the base an adapter names: a path from here, a path beside the adapter, or a hub id.

    Raises:
        InputError: The adapter names no base that can be found.
    """
    check_adapter_files(folder)
    config = read_json(folder / CONFIG)
    name = config.get("base_model_name_or_path") or ""
    for candidate in (Path(name), folder / name):
        if name and (candidate / "config.json").is_file():
            return candidate
    if REPOSITORY.fullmatch(name):
        return snapshot(name, config.get("revision") or "", kind="model", allow=MODEL_FILES, ignore=("*/*",))[0]
    raise InputError(f"adapter {folder} was trained on '{name}', which is no model folder here and no hub id")


def check_adapter_files(folder: Path) -> None:
    """Refuse an adapter without safetensors weights or with damaged ones."""
    if not (folder / WEIGHTS).is_file():
        has_pickle = (folder / "adapter_model.bin").is_file()
        pickled = " but pickle weights, which can run code when loaded" if has_pickle else ""
        raise InputError(f"adapter {folder} has no {WEIGHTS}{pickled}; save it with safe_serialization=True")
    header(folder / WEIGHTS)


def base_fingerprint(folder: Path, found: str, base: Path) -> str:
    """Return the fingerprint of the base of an adapter, checked against the recorded one where there is one.

    Adapters of other tools record a name and nothing else. That name is what led to the base; a note says so once.

    Args:
        folder: The adapter's folder.
        found: Fingerprint of the base that its configuration names.
        base: Where that base is.

    Raises:
        InputError: The recorded base is another one.
    """
    if not (folder / BASE).is_file():
        _tell_unrecorded(folder, base)
    elif (recorded := recorded_base(folder)) != found:
        raise InputError(f"adapter {folder} belongs to the base {recorded}, but {base} is {found}")
    return found


@functools.cache
def _tell_unrecorded(folder: Path, base: Path) -> None:
    told = "names its base and records no fingerprint of it; that the names and all shapes agree is what is checked"
    print(f"adapter {folder.name} {told} ({base.name})", file=sys.stderr)


def recorded_base(folder: Path) -> str:
    """Return the fingerprint of the base that an adapter was trained on; ``InputError`` says what is missing."""
    if not (folder / BASE).is_file():
        raise InputError(
            f'adapter {folder} has no {BASE}, so its base cannot be verified; write {{"base_fingerprint": "..."}} '
            "there with the fingerprint of the model it was trained on"
        )
    recorded = read_json(folder / BASE).get("base_fingerprint")
    if not isinstance(recorded, str) or not recorded:
        raise InputError(f"{folder / BASE}: 'base_fingerprint' must be text")
    return recorded


def check_adapter_base(adapter_folder: str | Path, model: PreTrainedModel, model_fingerprint: str) -> None:
    """Refuse an adapter that does not belong to the loaded base; peft alone takes any base of equal shapes.

    With ``itlib_base.json`` the fingerprints decide; without it the names of the bases must agree. Shapes are always
    compared.

    Args:
        adapter_folder: Folder with adapter_config.json and adapter_model.safetensors.
        model: The loaded base.
        model_fingerprint: Fingerprint of ``model`` as in its spec.

    Raises:
        InputError: Another base, other shapes, or a damaged file.
    """
    folder = Path(adapter_folder)
    check_adapter_files(folder)
    if (folder / BASE).is_file():
        if (recorded := recorded_base(folder)) != model_fingerprint:
            raise InputError(
                f"adapter {folder} belongs to the base {recorded}, but the base here is {model_fingerprint}"
            )
    else:
        wanted = str(read_json(folder / CONFIG).get("base_model_name_or_path") or "")
        name = str(getattr(model, "name_or_path", "") or "")
        if wanted and name and Path(wanted).name != Path(name).name:
            raise InputError(
                f"adapter {folder} was trained on '{wanted}', but the base here is '{name}' ({model_fingerprint})"
            )
    check_adapter_shapes(folder, model)


def check_adapter_shapes(folder: Path, model: PreTrainedModel) -> None:
    """Refuse an adapter whose tensors do not fit the loaded base; peft would fail late, or not at all.

    Raises:
        InputError: It changes what the base does not have, or something of another shape.
    """
    weights = dict(model.named_parameters(remove_duplicate=False))
    for tensor, entry in header(folder / WEIGHTS).items():
        name, shape = tensor.removeprefix("base_model.model."), tuple(entry["shape"])
        factor = _FACTOR.fullmatch(name)
        if "lora_" in name and not factor:
            continue  # magnitudes and biases: peft itself checks their shapes
        target = f"{factor['module']}.weight" if factor else name
        if target not in weights:
            raise InputError(f"adapter {folder} changes '{target}', which the base does not have")
        full = tuple(weights[target].shape)
        if factor:
            # Linear stores (out, in); embeddings and the Conv1D of GPT-2 store the input side first.
            swapped = factor["embedding"] or type(model.get_submodule(factor["module"])).__name__ == "Conv1D"
            axis = (factor["side"] == "A") != bool(swapped)
            fits = shape[1 if factor["side"] == "A" else 0] == full[int(axis)]
        else:
            fits = shape == full
        if not fits:
            raise InputError(f"adapter {folder} does not fit the base: '{name}' is {shape}, '{target}' is {full}")
