import json
import math
import os
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers import models as tokenizer_models
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from itlib import hub
from itlib.errors import InputError
from itlib.models import resolve_name
from itlib.models.local import check_adapter_base, write_adapter_base
from itlib.registry import models
from itlib.spec import ModelSpec

REAL = Path(os.environ.get("ITLIB_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
LOCAL, HUB = models.get("local"), models.get("hub")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_model(folder, *, seed=0, tied=False, vocabulary=20, n_tokens=12, shard=None, **names):
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    vocab = {"<eos>": 0, "<unk>": 1} | {f"w{i}": i + 2 for i in range(n_tokens - 2)}
    core = Tokenizer(tokenizer_models.WordLevel(vocab, unk_token="<unk>"))
    names = {"eos_token": "<eos>", "unk_token": "<unk>"} | names
    PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    return model


def make_adapter(folder, base, *, seed=0, rank=2, **options):
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        loaded, _ = LOCAL.load(spec(base))
        config = LoraConfig(r=rank, init_lora_weights=False, **({"target_modules": "all-linear"} | options))
        network = get_peft_model(loaded, config)
        network.save_pretrained(folder)
    return network


def spec(folder, **fields):
    return ModelSpec(model="local", model_path=str(folder), **fields)


@pytest.fixture
def folder(tmp_path):
    make_model(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("options", [{}, {"tied": True}, {"shard": "2KB"}])
def test_parameters_from_headers_equal_those_of_the_loaded_model(tmp_path, options):
    expected = make_model(tmp_path / "m", **options)
    loaded, _ = LOCAL.load(spec(tmp_path / "m"))
    assert LOCAL.parameters(spec(tmp_path / "m")) == sum(p.numel() for p in loaded.parameters())
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), expected.parameters(), strict=True))
    assert not loaded.training


@pytest.mark.fault(15)
def test_load_keeps_float32_weights_follows_attention_and_pads_with_eos(folder):
    loaded, tokenizer = LOCAL.load(spec(folder, dtype="bfloat16", attention="eager"))
    assert loaded.dtype == torch.float32 and loaded.config._attn_implementation == "eager"
    assert tokenizer.pad_token == "<eos>"
    with pytest.raises(InputError, match="attention is"):
        LOCAL.load(spec(folder, attention="magic"))


def test_fingerprint_follows_content_not_place(folder, tmp_path):
    first = LOCAL.resolve(spec(folder)).model_fingerprint
    shutil.copytree(folder, tmp_path / "copy")
    assert LOCAL.resolve(spec(tmp_path / "copy")).model_fingerprint == first
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        other = tmp_path / f"other {name}"
        shutil.copytree(folder, other)
        content = bytearray((other / name).read_bytes())
        content[-3] ^= 1 if name == "model.safetensors" else 0
        (other / name).write_bytes(content if name == "model.safetensors" else bytes(content) + b" ")
        assert LOCAL.resolve(spec(other)).model_fingerprint != first


def test_a_changed_folder_is_refused(folder):
    resolved = LOCAL.resolve(spec(folder))
    make_model(folder, seed=1)
    with pytest.raises(InputError, match="has changed: its fingerprint is"):
        LOCAL.load(resolved)


def refuse(model, message, call=LOCAL.resolve):
    with pytest.raises(InputError, match=message) as caught:
        call(model)
    assert "\n" not in str(caught.value)


def edit(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_unsafe_and_incomplete_folders_are_refused(folder, tmp_path):
    refuse(spec(tmp_path / "none"), "model folder not found")
    refuse(ModelSpec(model="local"), "needs model_path")
    refuse(spec(tmp_path), "no config.json")
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "code.Model"})
    refuse(spec(folder), "config.json runs code of its own; .*trust_remote_code: true")
    assert LOCAL.resolve(spec(folder, trust_remote_code=True)).model_fingerprint
    edit(folder / "config.json", _attn_implementation_internal="someone/kernel")
    refuse(spec(folder, trust_remote_code=True), "downloaded attention kernel 'someone/kernel'")


@pytest.mark.fault(17)
def test_pickle_weights_are_refused_with_a_way_out(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refuse(spec(folder), r"pickle weights \(pytorch_model.bin\).*save_pretrained")
    (folder / "pytorch_model.bin").unlink()
    refuse(spec(folder), "has no model.safetensors")


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-5], lambda b: b[:4], lambda b: b"\xff" * 8 + b[8:], lambda b: b + b"x", lambda b: b[:900]]
)
def test_damaged_weights_are_refused(folder, damage):
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    refuse(spec(folder), "model.safetensors: damaged", LOCAL.load)
    refuse(spec(folder), "model.safetensors: damaged", LOCAL.parameters)


def test_an_index_cannot_leave_the_folder(folder):
    index = {"weight_map": {"a": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    refuse(spec(folder), "must name files beside it")


def test_missing_weights_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    refuse(spec(folder), r"lacks 1 weights .*layers.1.mlp.up_proj", LOCAL.load)


@pytest.mark.fault(15)
def test_tokenizers_that_do_not_fit_are_refused(tmp_path):
    make_model(tmp_path / "many", n_tokens=21)
    refuse(spec(tmp_path / "many"), "21 tokens but the model only 20 embeddings", LOCAL.load)
    make_model(tmp_path / "endless", eos_token=None)
    refuse(spec(tmp_path / "endless"), "no end-of-sequence token", LOCAL.load)


# Adapters.
@pytest.fixture
def adapter(folder, tmp_path):
    network = make_adapter(tmp_path / "adapter", folder)
    write_adapter_base(tmp_path / "adapter", LOCAL.resolve(spec(folder)).model_fingerprint)
    return tmp_path / "adapter", network


def test_an_adapter_is_merged_into_its_base(folder, adapter):
    path, network = adapter
    merged, _ = LOCAL.load(spec(path))
    ids = torch.tensor([[3, 4, 5, 6]])
    base, _ = LOCAL.load(spec(folder))
    with torch.no_grad():
        wanted, got, plain = (m(ids).logits for m in (network.eval(), merged, base))
    assert torch.allclose(wanted, got, atol=1e-5) and not torch.allclose(wanted, plain, atol=1e-3)
    resolved = LOCAL.resolve(spec(path))
    assert resolved.model_fingerprint.endswith(LOCAL.resolve(spec(folder)).model_fingerprint)
    assert LOCAL.resolve(resolved) == resolved
    assert LOCAL.parameters(spec(path)) == LOCAL.parameters(spec(folder))


@pytest.mark.fault(16)
def test_another_base_of_equal_shape_is_refused_before_work(folder, adapter):
    path, _ = adapter
    make_model(folder, seed=7)
    refuse(spec(path), "belongs to the base [0-9a-f]{64}, but .* is [0-9a-f]{64}")
    loaded, _ = LOCAL.load(spec(folder))
    with pytest.raises(InputError, match="belongs to the base .*but the base here is other"):
        check_adapter_base(path, loaded, "other")


def test_an_adapter_of_another_tool_loads_on_the_base_it_names_and_says_what_is_checked(folder, adapter, capsys):
    path, network = adapter
    recorded = LOCAL.resolve(spec(path)).model_fingerprint
    (path / "itlib_base.json").unlink()
    merged, _ = LOCAL.load(spec(path))
    told = capsys.readouterr().err
    assert "records no fingerprint of it" in told and told.count("\n") == 1
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        assert torch.allclose(network.eval()(ids).logits, merged(ids).logits, atol=1e-5)
    assert LOCAL.resolve(spec(path)).model_fingerprint == recorded
    make_model(folder, seed=7)  # another base under the same name is another model, not the same one
    assert LOCAL.resolve(spec(path)).model_fingerprint != recorded


def test_an_adapter_of_another_tool_is_refused_where_its_base_is_not_or_does_not_fit(folder, adapter):
    path, _ = adapter
    (path / "itlib_base.json").unlink()
    loaded, _ = LOCAL.load(spec(folder))
    check_adapter_base(path, loaded, "any")  # the name of the base still agrees
    edit(path / "adapter_config.json", base_model_name_or_path="org/other")
    with pytest.raises(InputError, match="was trained on 'org/other', but the base here is"):
        check_adapter_base(path, loaded, "any")


@pytest.mark.fault(16)
def test_adapter_shapes_must_fit(adapter):
    path, _ = adapter
    config = GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20, n_positions=16)
    (path / "itlib_base.json").unlink()
    with pytest.raises(InputError, match="which the base does not have"):
        check_adapter_base(path, GPT2LMHeadModel(config), "any")
    tensors = load_file(path / "adapter_model.safetensors")
    name = next(name for name in tensors if "down_proj.lora_A" in name)
    tensors[name] = torch.zeros(2, 8)
    save_file(tensors, path / "adapter_model.safetensors")
    loaded, _ = LOCAL.load(spec(json.loads((path / "adapter_config.json").read_text())["base_model_name_or_path"]))
    with pytest.raises(InputError, match=r"does not fit the base: .*\(2, 8\).*\(8, 12\)"):
        check_adapter_base(path, loaded, "any")


def test_transposed_layers_and_saved_modules_fit(tmp_path):
    from peft import LoraConfig, get_peft_model

    config = GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20, n_positions=16)
    base = GPT2LMHeadModel(config)
    options = {"target_modules": ["c_attn", "wte"], "modules_to_save": ["ln_f"], "fan_in_fan_out": True}
    get_peft_model(GPT2LMHeadModel(config), LoraConfig(r=2, **options)).save_pretrained(tmp_path)
    check_adapter_base(tmp_path, base, "any")


@pytest.mark.fault(16)
def test_pickled_or_damaged_adapters_are_refused(adapter):
    path, _ = adapter
    content = (path / "adapter_model.safetensors").read_bytes()
    (path / "adapter_model.safetensors").write_bytes(content[:-1])
    refuse(spec(path), "adapter_model.safetensors: damaged")
    (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")
    refuse(spec(path), "has no adapter_model.safetensors but pickle weights")


# Names and the hub.
def test_resolve_name(folder, tmp_path):
    assert resolve_name(str(folder)) == {"model": "local", "model_path": str(folder)}
    assert resolve_name("local") == {"model": "local"}
    assert resolve_name("org/name@v2") == {"model": "hub", "model_path": "org/name", "model_revision": "v2"}
    assert resolve_name("org/name") == {"model": "hub", "model_path": "org/name", "model_revision": ""}
    for text, message in (
        ("./none", "model folder not found"),
        (str(folder / "model.safetensors"), "name the folder"),
        ("locl", "unknown model 'locl' .did you mean 'local'"),
    ):
        with pytest.raises(InputError, match=message):
            resolve_name(text)


def test_hub_model_is_pinned_and_loads_like_a_folder(folder, tmp_path, monkeypatch):
    snapshot = tmp_path / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    calls = []

    def download(name, *, revision, repo_type, **patterns):
        calls.append((name, revision, repo_type))
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    hub._fetch_once.cache_clear()
    resolved = HUB.resolve(ModelSpec(model="hub", model_path="org/name", model_revision="v1"))
    assert calls == [("org/name", "v1", "model")] and resolved.model_revision == COMMIT
    assert resolved.model_fingerprint == LOCAL.resolve(spec(folder)).model_fingerprint
    loaded, _ = HUB.load(resolved)
    assert HUB.parameters(resolved) == sum(p.numel() for p in loaded.parameters())
    refuse(ModelSpec(model="hub"), "needs model_path", HUB.resolve)
    (snapshot / "model.safetensors").rename(snapshot / "pytorch_model.bin")
    refuse(ModelSpec(model="hub", model_path="org/name"), "pickle weights", HUB.resolve)


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real models (ITLIB_TEST_DATA)")
@pytest.mark.parametrize(("name", "parameters"), [("stories260K", 260_032), ("TinyStories-656K", 656_000)])
def test_real_models(name, parameters):
    resolved = LOCAL.resolve(spec(REAL / "models" / name))
    loaded, tokenizer = LOCAL.load(resolved)
    assert LOCAL.parameters(resolved) == sum(p.numel() for p in loaded.parameters()) == parameters
    ids = tokenizer("Once upon a time, there was a little girl named Lily.", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        loss = loaded(ids, labels=ids).loss.item()
    assert loss < 0.7 * math.log(len(tokenizer))  # an untrained model stands at the logarithm itself
