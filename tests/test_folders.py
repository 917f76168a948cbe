"""What a killed writer leaves is cleared away, and nothing else."""

import os
import subprocess
import sys
import time
import uuid

from itlib.store import Store


def test_only_old_debris_of_dead_processes_is_removed(tmp_path):
    store = Store(tmp_path)
    store.check_writable()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    old = time.time() - 3700

    def folder(name, changed):
        path = store.root / "partial" / name
        path.mkdir()
        (path / "items.csv").write_text("half")
        os.utime(path, (changed, changed))
        return path.name

    folder(f"{ended.pid}-{uuid.uuid4().hex}", old)
    kept = {
        folder(f"{ended.pid}-{uuid.uuid4().hex}", time.time() - 3000),
        folder(f"{os.getpid()}-{uuid.uuid4().hex}", old),
        folder("someone-elses", old),
        folder(f"{ended.pid}-notes", old),
    }
    Store(store.root).check_writable()
    assert set(os.listdir(store.root / "partial")) == kept
