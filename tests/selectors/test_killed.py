"""Scoring that was killed goes on: what is on the disk is not computed again, and the scores are the same."""

import signal
import subprocess
import sys
from pathlib import Path

import killed
import numpy as np
import pytest

from itlib import shards


@pytest.mark.parametrize(("selector", "done"), [("ifd_loss", 3), ("ifd_loss", 8), ("less_adam", 7), ("nuggets", 9)])
def test_scoring_goes_on_where_it_was_killed(selector, done, tmp_path, monkeypatch):
    """Six shards of 16 examples a table: the process dies in the first table or in the second."""
    child = subprocess.run([sys.executable, Path(__file__).parent / "killed.py", selector, tmp_path, str(done)])
    assert child.returncode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(kept) == done
    monkeypatch.setattr(shards, "SHARD", 16)
    written = []
    write = shards.write_atomic
    monkeypatch.setattr(shards, "write_atomic", lambda path, content: written.append(path) or write(path, content))
    resumed = killed.scored(selector, tmp_path)
    assert written and not set(written) & set(kept)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # read, not written again
    undisturbed = killed.scored(selector, tmp_path / "another folder")
    assert np.array_equal(resumed, undisturbed)
    assert len(written) == 2 * len(list((tmp_path / "another folder").rglob("*.safetensors"))) - done
