"""A model folder: what may be in it, its fingerprint, its size, and how it is loaded."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itlib.encoder_decoder import KINDS
from itlib.errors import InputError, did_you_mean
from itlib.models._quantized import NO_QUANTIZATION, quantized
from itlib.packing import KERNEL, TRIMMED, keeps_rows_apart, register_kernel, trim
from itlib.segments import ENCODER_DECODER_TEMPLATE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ATTENTION = ("sdpa", "eager", "flash_attention_2", "flex_attention", KERNEL, TRIMMED)

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_OTHER_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
)
_TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json")
_MAX_HEADER = 100 * 2**20  # the limit of the safetensors format itself


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; ``InputError`` names the file and the line."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config of a model folder; ``InputError`` where there is none."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json, so it is not a model folder")
    return read_json(folder / "config.json")


def check_folder(folder: Path, *, trust_remote_code: bool) -> None:
    """Refuse a folder that cannot be loaded, or not safely, before anything in it is loaded.

    Raises:
        InputError: No config.json or tokenizer, a kind of model that is unknown or does not generate text, pickle
            weights only, an incomplete set of weight files or a damaged one, or code of its own.
    """
    if not folder.is_dir():
        raise InputError(f"model folder not found: {folder}")
    config = read_config(folder)
    kernel = next((value for key in _attention_keys(config) if "/" in (value := str(config[key]))), None)
    if kernel:
        raise InputError(f"{folder}/config.json asks for the downloaded attention kernel '{kernel}'; remove that entry")
    custom = [
        name
        for name in ("config.json", "tokenizer_config.json")
        if (folder / name).is_file() and "auto_map" in read_json(folder / name)
    ]
    if custom and not trust_remote_code:
        raise InputError(f"{folder}/{custom[0]} runs code of its own; read it, then set trust_remote_code: true")
    for path in weight_files(folder):
        header(path)
    if not custom:  # code of its own may bring a kind of model and a tokenizer of its own
        _check_kind(folder, config)
        if not any((folder / name).is_file() for name in _TOKENIZERS) and not any(folder.glob("*.model")):
            raise InputError(f"{folder} has no tokenizer; tokenizer.json belongs beside model.safetensors")


def _check_kind(folder: Path, config: dict[str, Any]) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as KNOWN

    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise InputError(f"{folder}/config.json has no model_type, such as llama")
    if kind in KINDS:
        return
    if config.get("is_encoder_decoder") is True:
        known = ", ".join(KINDS)
        raise InputError(f"{folder}/config.json: encoder-decoders of type '{kind}' are not read here, only {known}")
    if kind not in KNOWN:
        hint = did_you_mean(kind, [*KNOWN, *KINDS])
        raise InputError(f"{folder}/config.json: model_type '{kind}' is no language model known here{hint}")


def is_encoder_decoder(folder: Path) -> bool:
    """Return whether a model folder holds a sequence-to-sequence model."""
    return read_config(folder).get("model_type") in KINDS


def _attention_keys(config: dict[str, Any]) -> list[str]:
    return [key for key in config if "attn_implementation" in key or "experts_implementation" in key]


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model, in name order; ``InputError`` where they are missing or pickled."""
    if (folder / INDEX).is_file() and not (folder / WEIGHTS).is_file():
        names = sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))
        if not names or any(Path(name).name != name for name in names):
            raise InputError(f"{folder / INDEX}: the weight map must name files beside it")
    else:
        names = [WEIGHTS]
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return [folder / name for name in names]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise InputError(
            f"{folder} holds pickle weights ({pickles[0]}), which can run code when loaded; convert them on a machine "
            "you can lose: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)"
        )
    raise InputError(f"{folder} has no {missing[0]}")


def header(path: Path) -> dict[str, dict[str, Any]]:
    """Return name → {dtype, shape, data_offsets} of a safetensors file without reading its tensors.

    Raises:
        InputError: The file is truncated or no safetensors file.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER:
                raise ValueError("header too long")
            entries = json.loads(file.read(length))
        entries.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        if path.stat().st_size != 8 + length + end:
            raise ValueError("the length of the file does not fit its header")
    except (OSError, ValueError, struct.error, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file ({error})") from None
    return entries


def count_parameters(folder: Path) -> int:
    """Return the number of parameters from the headers of the weight files; a tied output layer counts once."""
    shapes = {name: entry["shape"] for path in weight_files(folder) for name, entry in header(path).items()}
    if "shared.weight" in shapes:  # both embeddings of T5; older files hold copies of it
        shapes = {name: shape for name, shape in shapes.items() if not name.endswith("coder.embed_tokens.weight")}
    output = shapes.get("lm_head.weight")
    if read_config(folder).get("tie_word_embeddings") and list(shapes.values()).count(output) > 1:
        shapes.pop("lm_head.weight", None)  # stored twice; some files hold only this one of the two
    return sum(math.prod(shape) for shape in shapes.values())


def context_length(folder: Path) -> int:
    """Return how many positions the model was built for; 0 where its config does not say."""
    config = read_config(folder)
    known = (config.get(key) for key in ("max_position_embeddings", "n_positions", "max_seq_len"))
    return next((value for value in known if isinstance(value, int)), 0)


def architecture(folder: Path) -> str:
    """Return the type of a model, such as "llama", as its config names it; empty where it does not."""
    return str(read_config(folder).get("model_type", ""))


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 over config, weights, tokenizer files and any code beside them: names and contents."""
    files = [folder / name for name in _OTHER_FILES if (folder / name).is_file()]
    return combined_hash([*files, *weight_files(folder), *folder.glob("*.py")])


def combined_hash(files: list[Path]) -> str:
    """Return the SHA-256 over the names and contents of files, whatever their order or folder."""
    total = hashlib.sha256()
    for path in sorted(set(files), key=lambda path: path.name):
        status = path.stat()
        total.update(f"{path.name} {_file_hash(path, status.st_size, status.st_mtime_ns)}\n".encode())
    return total.hexdigest()


@functools.lru_cache(maxsize=256)
def _file_hash(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_folder(
    folder: Path, *, attention: str, trust_remote_code: bool, quantization: str = NO_QUANTIZATION
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load model and tokenizer from a checked folder, offline, in evaluation mode, weights in float32.

    The dtype of a spec is the precision of the forward pass, not of the weights; quantized weights lie on the GPU.
    A tokenizer without a padding token pads with its end-of-sequence token; padding is masked everywhere, so this
    touches no loss.

    Raises:
        InputError: Unknown attention, or one that does not suit the architecture; damaged weights; weights that do not
            fit the config; a tokenizer with more tokens than the model has embeddings, or without an end-of-sequence
            token.
    """
    if attention not in ATTENTION:
        raise InputError(f"attention is '{attention}'; known: {', '.join(ATTENTION)}")
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    encoder_decoder = is_encoder_decoder(folder)
    ours = attention in (KERNEL, TRIMMED)
    if ours and encoder_decoder:
        raise InputError(f"attention: '{attention}' is for causal models; use sdpa for the encoder-decoder {folder}")
    if ours:
        register_kernel()
    kind = AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
        model, report = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **quantized(quantization),
        )
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{folder} cannot be loaded ({reason})") from error
    if report["missing_keys"]:
        missing = sorted(map(str, report["missing_keys"]))
        raise InputError(f"{folder} lacks {len(missing)} weights that its config asks for, first {missing[0]}")
    _fit_tokenizer(folder, tokenizer, model)
    model.eval()
    if attention == TRIMMED:
        if model.config.model_type != "llama":
            raise InputError(
                f"attention: '{TRIMMED}' is for Llamas, {folder} is a {model.config.model_type}; use packed"
            )
        trim(model)
    if ours and not keeps_rows_apart(model):
        raise InputError(f"attention: '{attention}' mixes rows in a model of type {model.config.model_type}; use sdpa")
    return model, tokenizer


def _fit_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Refuse a tokenizer that does not belong to the model; give it what it lacks for padding and for an encoder."""
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise InputError(f"{folder}: the tokenizer has {len(tokenizer)} tokens but the model only {rows} embeddings")
    if tokenizer.eos_token_id is None:
        raise InputError(f"{folder}: the tokenizer has no end-of-sequence token (eos_token in tokenizer_config.json)")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if is_encoder_decoder(folder):
        if tokenizer.chat_template:
            raise InputError(f"{folder}: an encoder-decoder with a chat template of its own is not read here")
        tokenizer.chat_template = ENCODER_DECODER_TEMPLATE
