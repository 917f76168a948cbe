"""Building all bases: what counts as complete, who is built when, and what a failure does to the others."""

import json
import os
from dataclasses import asdict
from multiprocessing import get_context

import pytest

from itlib.files import sha256_file
from itlib.microworld import build, pretrain
from itlib.microworld.recipes import BASES, Recipe

TINY = {
    "n_tokens": 4 * 2048,
    "hidden_size": 32,
    "n_layers": 1,
    "n_heads": 2,
    "intermediate_size": 64,
    "compiled": False,
}


def record(folder, recipe, loss, seconds=2.0):
    """Write what a finished base leaves, with a few bytes for weights."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    content = {
        "recipe": asdict(recipe),
        "validation_loss": loss,
        "wall_s": seconds,
        "weights_sha256": sha256_file(folder / "model.safetensors"),
    }
    (folder / pretrain.RECORD).write_text(json.dumps(content))


def process(target, *arguments):
    started = get_context("spawn").Process(target=target, args=arguments)
    started.start()
    return started


def test_the_eleven_bases():
    assert [name for name in BASES if name.startswith("micro-1m/")] == [f"micro-1m/seed-{seed}" for seed in range(8)]
    assert len(BASES) == 11 and all(name.endswith(f"/seed-{recipe.seed}") for name, recipe in BASES.items())
    assert BASES["micro-1m-adamw/seed-0"].optimizer == "adamw"
    assert BASES["micro-1m-adamw/seed-0"].n_tokens > BASES["micro-1m/seed-0"].n_tokens
    assert all(recipe.threads == 1 for recipe in BASES.values())


def test_complete_means_recorded_recipe_and_intact_weights(tmp_path):
    recipe = Recipe(**TINY)
    assert build.record_of(tmp_path / "none", recipe) is None
    record(tmp_path / "base", recipe, 2.0)
    assert build.record_of(tmp_path / "base", recipe)["validation_loss"] == 2.0
    assert build.record_of(tmp_path / "base", Recipe(seed=1, **TINY)) is None
    (tmp_path / "base" / "model.safetensors").write_bytes(b"weightz")
    assert build.record_of(tmp_path / "base", recipe) is None
    (tmp_path / "base" / pretrain.RECORD).write_text("{")
    assert build.record_of(tmp_path / "base", recipe) is None


def test_longest_first_skipping_what_is_complete(tmp_path, monkeypatch):
    sizes = {"short/seed-0": 2048, "long/seed-0": 6144, "done/seed-0": 9999, "middle/seed-0": 4096}
    bases = {name: Recipe(**TINY | {"n_tokens": n_tokens}) for name, n_tokens in sizes.items()}
    record(tmp_path / "done/seed-0", bases["done/seed-0"], 2.0)
    order = []

    def start(name, recipe, folder):
        order.append(name)
        return process(len, "nothing")

    monkeypatch.setattr(build, "_start", start)
    assert build.build(tmp_path, bases, workers=1) == []
    assert order == ["long/seed-0", "middle/seed-0", "short/seed-0"]


def test_a_killed_worker_leaves_the_others_going(tmp_path, monkeypatch, capsys):
    bases = {f"base/seed-{seed}": Recipe(seed=seed, **TINY) for seed in range(4)}
    alive, most = [], []

    def start(name, recipe, folder):
        alive.append(process(os.abort) if recipe.seed == 1 else process(len, "nothing"))
        most.append(sum(other.is_alive() for other in alive))
        return alive[-1]

    monkeypatch.setattr(build, "_start", start)
    assert build.build(tmp_path, bases, workers=2) == ["base/seed-1"]
    assert len(alive) == 4 and max(most) <= 2
    assert "base/seed-1 FAILED with exit code -6" in capsys.readouterr().err


def test_building_for_real_with_one_base_that_fails(tmp_path, monkeypatch, capsys):
    """A checkpoint of another recipe is what makes the second fail, until it is removed."""
    bases = {"micro-1m/seed-0": Recipe(**TINY), "micro-1m/seed-1": Recipe(seed=1, **TINY)}
    monkeypatch.setattr(build, "BASES", bases)
    checkpoint = tmp_path / "micro-1m/seed-1" / build.CHECKPOINT
    pretrain.pretrain(Recipe(seed=2, **TINY), checkpoint_file=checkpoint, checkpoint_every=3)
    assert build.main(["--output", str(tmp_path)]) == 1
    assert "not built" in capsys.readouterr().out
    finished = (tmp_path / "micro-1m/seed-0" / pretrain.RECORD).read_bytes()
    checkpoint.unlink()
    build.build_one("micro-1m/seed-1", bases["micro-1m/seed-1"], tmp_path / "micro-1m/seed-1")
    assert build.main(["--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 bases are complete" in printed and "validation loss of 2 seeds of micro-1m" in printed
    assert (tmp_path / "micro-1m/seed-0" / pretrain.RECORD).read_bytes() == finished
    names = {"config.json", "model.safetensors", pretrain.RECORD}
    assert {path.name for path in (tmp_path / "micro-1m/seed-1").iterdir()} == names


def test_build_goes_on_from_a_checkpoint_and_removes_it(tmp_path, monkeypatch):
    recipe = Recipe(**TINY)
    file = tmp_path / build.CHECKPOINT
    pretrain.pretrain(recipe, checkpoint_file=file, checkpoint_every=3)
    steps, step = [], pretrain._step
    monkeypatch.setattr(pretrain, "_step", lambda *given: steps.append(given[4]) or step(*given))
    build.build_one("base", recipe, tmp_path)
    assert steps == [3] and not file.exists() and build.record_of(tmp_path, recipe) is not None


def test_table_states_speed_and_spread_over_seeds(tmp_path):
    bases = {f"micro-1m/seed-{seed}": Recipe(seed=seed, **TINY) for seed in range(3)} | {"other/seed-0": Recipe(**TINY)}
    for name, loss in zip(bases, (2.0, 2.1, 2.5, 9.0), strict=True):
        record(tmp_path / name, bases[name], loss)
    text = build.table(tmp_path, bases)
    assert "8,192" in text and "4,096" in text  # tokens, and tokens per second over 2 s
    assert "3 seeds of micro-1m: 2.0000 to 2.5000, standard deviation 0.2646" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--only", "micro-1m/sed-3"], "did you mean 'micro-1m/seed-3'"), (["--workers", "0"], "at least 1")],
)
def test_wrong_arguments_are_told_in_one_line(arguments, message, tmp_path, capsys):
    assert build.main(["--output", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
