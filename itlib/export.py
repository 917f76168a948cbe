"""A selected subset as files: JSON lines, parquet, and a dataset card that says where it comes from."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from itlib.errors import InputError
from itlib.example import Example
from itlib.execute import load_base
from itlib.files import sha256_file
from itlib.models import resolve_name as resolve_model
from itlib.provenance import provenance
from itlib.registry import models, selectors
from itlib.resolve import resolve
from itlib.selection import scores, select
from itlib.selectors import ScoreSelector
from itlib.sources import resolve_name as resolve_source
from itlib.spec import RunSpec, digest, flatten, with_fields
from itlib.store import Store
from itlib.training_set import selectors_pool

LONGEST = 2048  # tokens of an example where neither the user nor the model sets a limit
CARD_FIELDS = (
    "source", "data_fingerprint", "data_revision", "model", "model_fingerprint", "selector", "selector_options",
    "selection_band", "stratified", "scorer", "n_train", "max_length", "seed",
)  # fmt: skip


def export_selection(out: Path, *, data: str, model: str, store: Store, **fields: Any) -> Path:
    """Select examples of a data set and write them to a new folder.

    The folder holds ``data.jsonl`` and ``data.parquet`` (one row per example, best first: ``id``, ``messages``,
    ``rank`` and, where the selector gives one, ``score``, null for a row without) and ``README.md``, a dataset card
    with hashes and what was asked for. It appears whole or not at all.

    Args:
        out: Folder to make.
        data: What a user writes for the data of a study.
        model: What a user writes for the model of a study; it scores.
        store: Where features are kept, so that a second selection needs no pass.
        fields: Leaf fields of the spec: ``selector``, ``n_train`` and so on; ``max_length`` 0 takes the context.

    Returns:
        The folder.

    Raises:
        InputError: The folder exists, cannot be written, or something cannot be selected.
    """
    if out.exists():
        raise InputError(f"--out: {out} exists already; name a folder that does not")
    if fields["n_train"] < 1:
        raise InputError(f"--n: must be greater than 0, got {fields['n_train']}")
    spec = with_fields(RunSpec(), **resolve_model(model), **resolve_source(data), **fields)
    if not spec.data.max_length:
        context = models.get(spec.base.model).context_length(spec.base)
        spec = with_fields(spec, max_length=min(context or LONGEST, LONGEST))
    spec = resolve(with_fields(spec, pool_size=max(spec.data.pool_size, spec.data.n_train)))
    pool = selectors_pool(spec)
    if spec.data.n_train > len(pool):
        fit = f"{len(pool)} rows fit max_length {spec.data.max_length}"
        raise InputError(f"--n: {spec.data.n_train} asked for, and {fit}")
    features = store.features
    chosen = select(spec, pool, spec.data.n_train, lambda: load_base(spec), features)
    values = None
    if isinstance(selectors.get(spec.data.selector), ScoreSelector):
        values = scores(spec, pool, lambda: load_base(spec), features).values
    rows = [_row(pool[row], rank, None if values is None else values[row]) for rank, row in enumerate(chosen.rows)]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise InputError(f"--out: {out} cannot be written: {error.strerror}") from None
    try:
        _write(partial, rows, spec, chosen.totals)
        os.chmod(partial, 0o755)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return out


def _row(example: Example, rank: int, score: float | None) -> dict[str, Any]:
    """Return one line of the files; JSON knows no NaN, so what was taken without a score has ``score`` null."""
    messages = [{"role": turn.role, "content": turn.content} for turn in example.turns]
    row: dict[str, Any] = {"id": example.id, "messages": messages, "rank": rank}
    return row if score is None else {**row, "score": float(score) if math.isfinite(score) else None}


def _write(folder: Path, rows: list[dict[str, Any]], spec: RunSpec, totals: dict[str, Any]) -> None:
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    (folder / "data.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    pd.DataFrame(rows).to_parquet(folder / "data.parquet", index=False)
    (folder / "README.md").write_text(_card(folder, spec, len(rows), totals), encoding="utf-8")


def _card(folder: Path, spec: RunSpec, n: int, totals: dict[str, Any]) -> str:
    front = {
        "configs": [{"config_name": "default", "data_files": "data.parquet"}],
        "tags": ["instruction-tuning", "selection"],
        "size_categories": [_size(n)],
    }
    written = flatten(spec)
    told = {name: written[name] for name in CARD_FIELDS} | {k: v for k, v in totals.items() if k != "selected_rows"}
    files = {name: sha256_file(folder / name) for name in ("data.jsonl", "data.parquet")}
    origin = {"selection": digest(spec), **{name: provenance(0.0)[name] for name in ("commit", "python", "packages")}}
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {n} examples selected by {spec.data.selector}",
        "Rows are in the order of preference. The licence is that of the data they come from.",
        *(f"## {title}\n\n```yaml\n{yaml.safe_dump(_plain(values), sort_keys=False)}```" for title, values in (
            ("How they were selected", told), ("Where they come from", origin), ("SHA-256", files))),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _size(n: int) -> str:
    """Return the size class that dataset cards use."""
    for most, name in ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")):
        if n < most:
            return name
    return "n>1M"
