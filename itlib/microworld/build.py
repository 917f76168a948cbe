"""Build all base models, several at a time, one thread each; what is complete stays, what was interrupted goes on.

    python -m itlib.microworld.build --output folder [--only micro-1m/seed-3 ...] [--workers 2]

Every base ends in ``folder/NAME/seed-N``. Each is trained by a process of its own, so that one that fails or is killed
leaves the others going; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import stdev
from typing import Any

from itlib.errors import InputError, ItlibError, did_you_mean
from itlib.files import sha256_file
from itlib.microworld import pretrain
from itlib.microworld.recipes import BASES, Recipe

REPORT_EVERY = 500
CHECKPOINT = "checkpoint.safetensors"
SPREAD_OF = "micro-1m"


def record_of(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """Return the record of a complete base, or None: no record, another recipe, or weights of another hash."""
    try:
        record = json.loads((folder / pretrain.RECORD).read_text(encoding="utf-8"))
        intact = record["weights_sha256"] == sha256_file(folder / "model.safetensors")
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return record if intact and record["recipe"] == asdict(recipe) else None


def build_one(name: str, recipe: Recipe, folder: Path) -> None:
    """Pretrain one base into ``folder``, going on from its checkpoint, which is removed once the base is saved."""
    checkpoint_file = folder / CHECKPOINT
    result = pretrain.pretrain(recipe, report_every=REPORT_EVERY, name=name, checkpoint_file=checkpoint_file)
    pretrain.save(result, recipe, folder)
    checkpoint_file.unlink(missing_ok=True)
    print(f"{name} done: validation loss {result.validation_loss:.4f} after {result.wall_s:.0f} s", flush=True)


def build(output: Path, bases: dict[str, Recipe], workers: int) -> list[str]:
    """Build every base that is not complete below ``output``, longest first, and return the names that failed."""
    todo = [name for name, recipe in bases.items() if record_of(output / name, recipe) is None]
    todo.sort(key=lambda name: work(bases[name]), reverse=True)
    print(f"{len(bases) - len(todo)} of {len(bases)} bases are complete, {len(todo)} to build", flush=True)
    running: dict[int, tuple[str, BaseProcess]] = {}
    failed = []
    try:
        while todo or running:
            while todo and len(running) < workers:
                name = todo.pop(0)
                process = _start(name, bases[name], output / name)
                running[process.sentinel] = (name, process)
            for sentinel in wait(list(running)):
                name, process = running.pop(sentinel)
                process.join()
                if process.exitcode != 0:
                    failed.append(name)
                    print(f"{name} FAILED with exit code {process.exitcode}", file=sys.stderr, flush=True)
    finally:
        for _, process in running.values():
            process.terminate()
    return failed


def work(recipe: Recipe) -> int:
    """Return a number proportional to the floating-point operations of a recipe: matrix entries times tokens."""
    width = recipe.hidden_size
    return recipe.n_layers * (4 * width * width + 3 * width * recipe.intermediate_size) * recipe.n_tokens


def table(output: Path, bases: dict[str, Recipe]) -> str:
    """Return what is complete below ``output`` as text, with the spread of validation loss over seeds."""
    lines = [f"{'base':24} {'tokens':>11} {'validation loss':>15} {'seconds':>8} {'tokens/s':>9}"]
    losses = []
    for name, recipe in bases.items():
        record = record_of(output / name, recipe)
        if record is None:
            lines.append(f"{name:24} {'not built':>11}")
            continue
        loss, seconds = record["validation_loss"], record["wall_s"]
        speed = recipe.n_tokens / max(seconds, 0.1)
        lines.append(f"{name:24} {recipe.n_tokens:>11,} {loss:>15.4f} {seconds:>8.0f} {speed:>9,.0f}")
        if name.startswith(f"{SPREAD_OF}/"):
            losses.append(loss)
    if len(losses) > 1:
        lines.append(
            f"validation loss of {len(losses)} seeds of {SPREAD_OF}: "
            f"{min(losses):.4f} to {max(losses):.4f}, standard deviation {stdev(losses):.4f}"
        )
    return "\n".join(lines)


def chosen(names: Iterable[str]) -> dict[str, Recipe]:
    """Return the bases of these names, all of them for none.

    Raises:
        InputError: A name is not a base.
    """
    names = list(names) or list(BASES)
    for name in names:
        if name not in BASES:
            raise InputError(f"--only: there is no base '{name}'{did_you_mean(name, BASES)}")
    return {name: BASES[name] for name in BASES if name in names}


def _build_in_process(name: str, recipe: Recipe, folder: Path) -> None:
    try:
        build_one(name, recipe, folder)
    except ItlibError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


def _start(name: str, recipe: Recipe, folder: Path) -> BaseProcess:
    process = get_context("spawn").Process(target=_build_in_process, args=(name, recipe, folder))
    process.start()
    return process


def main(arguments: list[str] | None = None) -> int:
    """Build from the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME/seed-N", help="build these only")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time, one thread each")
    options = parser.parse_args(arguments)
    try:
        if options.workers < 1:
            raise InputError(f"--workers: must be at least 1, is {options.workers}")
        bases = chosen(options.only)
    except ItlibError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    failed = build(options.output, bases, options.workers)
    print(table(options.output, bases))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
