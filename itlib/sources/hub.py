"""Data sets on the Hugging Face Hub, pinned to a commit: ``org/name`` or ``org/name:subset`` in ``data_path``."""

from __future__ import annotations

import dataclasses
import functools

from itlib.errors import InputError
from itlib.hub import snapshot
from itlib.registry import sources
from itlib.sources._containers import Record
from itlib.sources._formats import parse_records
from itlib.sources._rows import Rows, RowSource, build_rows
from itlib.spec import DataSpec

_FILES = ("*.json", "*.jsonl", "*.csv", "*.tsv", "*.parquet", "*.txt", "*.gz", "*.zst", "README.md")


class HubSource(RowSource):
    """Split ``train`` of a hub data set; the fingerprint is the commit, followed by the subset where one is named."""

    name = "hub"

    def resolve(self, data: DataSpec) -> DataSpec:
        """Resolve the revision to a commit, then check and fill in as for every source of rows."""
        resolved = super().resolve(data)
        return dataclasses.replace(resolved, data_revision=resolved.data_fingerprint.split("/")[0])

    def rows(self, data: DataSpec) -> Rows:
        """Fetch the data set, or find it in the cache, and read its split ``train``."""
        if not data.data_path:
            raise InputError("source 'hub' needs data_path: org/name, or org/name:subset")
        repository, _, subset = data.data_path.partition(":")
        folder, commit = snapshot(repository, data.data_revision, kind="dataset", allow=_FILES)
        return _read_folder(str(folder), commit, subset, data.data_path)


@functools.lru_cache(maxsize=4)
def _read_folder(folder: str, commit: str, subset: str, name: str) -> Rows:
    import datasets

    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(folder, name=subset or None, split="train")
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].replace(folder, name)
        raise InputError(f"data set {name}@{commit[:12]}: cannot be read ({reason})") from None
    records = [Record(number, row) for number, row in enumerate(table.to_list(), start=1)]
    return build_rows(name, f"{commit}/{subset}" if subset else commit, parse_records(name, "hub", records))


sources.register("hub", version=1)(HubSource())
