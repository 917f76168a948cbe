"""The shipped base models: pinned bytes, passed gates; and pretraining itself on a few steps."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch

from itlib.errors import InputError
from itlib.microworld import facts, gates, lexicon, pretrain, tokenizer
from itlib.microworld.recipes import BASES
from itlib.models import micro
from itlib.registry import models
from itlib.resolve import resolve
from itlib.spec import ModelSpec, RunSpec, digest, with_fields

SPEC = ModelSpec(model="micro-1m")
TINY = pretrain.Recipe(
    n_tokens=6 * 2048, hidden_size=32, n_layers=1, n_heads=2, intermediate_size=64, threads=1, compiled=False
)


@pytest.fixture(scope="module")
def base():
    return models.get("micro-1m").load(SPEC)


def test_every_shipped_file_is_pinned_and_every_pin_holds():
    shipped = {path.relative_to(lexicon.ASSETS).as_posix() for path in lexicon.ASSETS.rglob("*/*") if path.is_file()}
    assert set(micro.pins()) == shipped
    for path in shipped:
        micro.read_pinned(path)
    assert sum((lexicon.ASSETS / path).stat().st_size for path in shipped) < 50e6


def test_every_base_of_the_list_is_shipped_as_its_recipe_says():
    assert sorted(f"{name}/seed-{seed}" for name, seeds in micro.shipped().items() for seed in seeds) == sorted(BASES)
    assert micro.shipped()["micro-1m"] == list(range(8))
    for name, recipe in BASES.items():
        assert json.loads((lexicon.ASSETS / name / "pretraining.json").read_text())["recipe"] == asdict(recipe)


def test_two_bases_of_one_size_differ_in_weights_and_in_the_digest_of_a_run():
    specs = [resolve(with_fields(RunSpec(), base_seed=seed)) for seed in (0, 1)]
    assert digest(specs[0]) != digest(specs[1])
    first, second = (models.get("micro-1m").load(spec.base)[0] for spec in specs)
    assert not torch.equal(first.model.embed_tokens.weight, second.model.embed_tokens.weight)


def test_changed_weights_are_refused(tmp_path, monkeypatch):
    shutil.copytree(lexicon.ASSETS, tmp_path / "assets")
    weights = tmp_path / "assets" / "micro-1m" / "seed-0" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(bytes(content))
    monkeypatch.setattr(micro, "ASSETS", tmp_path / "assets")
    with pytest.raises(InputError, match="SHA-256"):
        models.get("micro-1m").load(SPEC)
    weights.unlink()
    with pytest.raises(InputError, match="missing"):
        models.get("micro-1m").load(SPEC)


def test_resolve_pins_the_weights_and_refuses_other_seeds():
    resolved = models.get("micro-1m").resolve(SPEC)
    assert resolved.model_revision == micro.pins()["micro-1m/seed-0/model.safetensors"]
    assert len(resolved.model_fingerprint) == 64 and models.get("micro-1m").resolve(resolved) == resolved
    with pytest.raises(InputError, match="base seeds 0, 1"):
        models.get("micro-1m").resolve(ModelSpec(model="micro-1m", base_seed=8))
    with pytest.raises(InputError, match="model_path"):
        models.get("micro-1m").resolve(ModelSpec(model="micro-1m", model_path="somewhere"))


def test_loaded_model_is_float32_tied_and_as_large_as_stated(base):
    model, words = base
    assert not model.training and all(p.dtype == torch.float32 for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == models.get("micro-1m").parameters(SPEC)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.vocab_size >= len(words) and model.config.eos_token_id == words.eos_token_id


def test_loading_twice_gives_equal_weights_and_leaves_the_global_generator_alone(base):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again, _ = models.get("micro-1m").load(SPEC)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), base[0].parameters(), strict=True))


@pytest.mark.parametrize("name", BASES)
def test_every_shipped_base_passes_its_gates(name):
    size, _, seed = name.partition("/seed-")
    base = models.get(size).load(ModelSpec(model=size, base_seed=int(seed)))
    assert not [gate for gate in gates.check(*base, n_per_family=20) if not gate.passed]


def test_teacher_forced_matches_agree_with_greedy_generation(base):
    """Two ways to ask what greedy decoding gives; the oracle is ``generate``."""
    model, words = base
    prompts = [
        "opposites : hot - cold , big - little , fast -",
        "plurals : ant - ants , bee -",
        "echo wolf ant / wolf",
        "jobs : dunzo - doctor ,",
        "instruction : what is the plural of ant ? response :",
    ]
    answers = ["slow", "bees", "ant", "ant", "ants"]
    strict, lenient = gates.greedy_matches(model, words, prompts, answers)
    for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids = words(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
        wanted = words(answer, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                pad_token_id=0,
                max_new_tokens=len(wanted) + 1,
            )[0, ids.shape[1] :].tolist()
        assert lenient[index] == (made[: len(wanted)] == wanted)
        assert strict[index] == (made == [*wanted, words.eos_token_id])
    assert lenient.any() and not lenient.all()


def test_validation_loss_is_what_the_record_says(base):
    record = json.loads((lexicon.ASSETS / "micro-1m/seed-0/pretraining.json").read_text())
    assert pretrain.validation_loss(base[0]) == pytest.approx(record["validation_loss"], abs=1e-4)


def test_people_are_recalled_by_how_often_documents_speak_of_them(base):
    recalled = gates.recall_by_frequency(*base)
    assert list(recalled) == [0.0, *sorted(facts.RARE_LEVELS), 1.0]
    assert recalled[0.0] < 0.2 < 0.9 < recalled[1.0]


def test_pretraining_is_repeatable_and_learns():
    first, second = pretrain.pretrain(TINY), pretrain.pretrain(TINY)
    assert first.validation_loss == second.validation_loss
    untrained = pretrain.validation_loss(pretrain.create_model(TINY))
    assert untrained == pytest.approx(np.log(len(tokenizer.load())), abs=0.1)
    assert first.validation_loss < untrained - 0.2


def test_a_machine_that_cannot_compile_is_told_so_loudly(monkeypatch):
    def broken(*args, **kwargs):
        def fail(block):
            raise RuntimeError("no C++ compiler found")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    recipe = pretrain.Recipe(**{**TINY.__dict__, "compiled": True})
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler"):
        result = pretrain.pretrain(recipe)
    assert not result.was_compiled and result.validation_loss == pretrain.pretrain(TINY).validation_loss


def test_token_blocks_are_consecutive_documents_ended_by_eos():
    blocks, words = pretrain.token_blocks(20, "validation"), tokenizer.load()
    assert blocks.shape == (20, pretrain.CONTEXT + 1)
    assert (blocks[1:, 0] == blocks[:-1, -1]).all()
    text = words.decode(np.append(blocks[:, :-1].ravel(), blocks[-1, -1]))
    from itlib.microworld.corpus import documents

    stream = documents("validation")
    for piece in text.split(" <eos> ")[:-1]:
        assert piece == next(stream)


def test_learning_rate_warms_up_stays_and_cools_down_to_the_last_step():
    recipe = pretrain.Recipe(n_tokens=2048 * 1000)
    factors = [pretrain.learning_rate_factor(step, recipe) for step in range(1000)]
    assert factors[0] == 0.01 and factors[99] == factors[500] == 1.0
    assert factors[850] == pytest.approx(0.5) and factors[999] == pytest.approx(1 / 300)


def test_spectrum_exponent_recovers_a_planted_power_law():
    model = torch.nn.Linear(64, 64, bias=False)
    q, _ = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    values = torch.arange(1, 65, dtype=torch.float64) ** -0.5
    model.weight.data = (q @ torch.diag(values) @ q.T).float()
    (row,) = gates.spectrum(model)
    assert row["exponent"] == pytest.approx(0.5, abs=1e-4) and not row["flat"]
    model.weight.data = q.float()
    assert gates.spectrum(model)[0]["flat"]
