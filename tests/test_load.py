"""Two thousand runs in one process: memory stays flat, and no file stays open."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import gc, json, os, sys
import small
from itlib.engines import run_all
from itlib.store import Store

n_runs = int(sys.argv[1])
store, found = Store(sys.argv[2]), {}
for number in range(1, n_runs + 1):
    spec = small.spec(seed=number, base_seed=0, budget=1, n_train=4, batch_size=4, n_eval=1, n_reference=0,
                      pool_size=20, families=("opposite",))
    (result,) = run_all([spec], store, engine="serial", progress=False)
    assert result.status == "done", result.error
    if number in (n_runs // 20, n_runs // 4, n_runs):
        gc.collect()
        pages = int(open("/proc/self/statm").read().split()[1])
        found[number] = {"resident": pages * os.sysconf("SC_PAGE_SIZE"), "files": len(os.listdir("/proc/self/fd"))}
print(json.dumps(found))
"""


def measured(n_runs, folder):
    words = [sys.executable, "-c", CODE, str(n_runs), str(folder)]
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="reads memory the way of Linux")
def test_open_files_do_not_grow(tmp_path):
    first, *_, last = measured(20, tmp_path).values()
    assert last["files"] <= first["files"]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="reads memory the way of Linux")
def test_two_thousand_runs_leave_memory_flat(tmp_path):
    found = measured(2000, tmp_path)
    print({n: f"{values['resident'] / 2**20:.0f} MiB, {values['files']} files" for n, values in found.items()})
    first, *_, last = found.values()
    assert last["resident"] <= 1.1 * first["resident"] and last["files"] <= first["files"], found
