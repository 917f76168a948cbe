"""How long ``itlib status`` takes, and how much memory, on a store of ten thousand results.

Run it as ``python benchmarks/status.py [--results 10000] [--repetitions N] [--json F]``. The results are written by the
store itself: the scores of one small run under specs that differ in their seed. Every repetition is a new process.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from sides import parser, write

from itlib.execute import execute
from itlib.resolve import resolve
from itlib.spec import RunSpec, with_fields
from itlib.store import Store

SECONDS, MEBIBYTES = 10.0, 1024.0


def fill(store: Store, n_results: int) -> None:
    """Compute one small run and store its scores under as many specs as there are to be results."""
    how = {"n_train": 8, "pool_size": 60, "budget": 1, "batch_size": 8, "n_eval": 1, "n_reference": 5}
    result = execute(resolve(with_fields(RunSpec(), **how)))
    for seed in range(n_results):
        store.put(replace(result, spec=with_fields(result.spec, seed=seed)))


def status(root: Path) -> tuple[float, float]:
    """Return the seconds and the mebibytes of one call."""
    code = (
        "import resource, sys; from itlib.cli import main; main(['status', '--json']);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    began = time.perf_counter()
    environment = os.environ | {"ITLIB_STORE": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, int(done.stderr.split()[-1]) / 1024


def main() -> int:
    """Measure and print."""
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--results", type=int, default=10_000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fill(Store(Path(folder)), given.results)
        found = [status(Path(folder)) for _ in range(given.repetitions)]
    rows = []
    print(f"# itlib status on {given.results} results\n\n| what | median | largest | target | |\n|---|---|---|---|---|")
    for name, values, most in (("seconds", [s for s, _ in found], SECONDS), ("MiB", [m for _, m in found], MEBIBYTES)):
        said = "met" if max(values) <= most else "missed"
        print(f"| {name} | {statistics.median(values):.1f} | {max(values):.1f} | {most:g} | {said} |")
        rows.append({"what": name, "values": values, "target": most, "outcome": said})
    write(given.json, [{"title": "status", "results": given.results, "rows": rows}])
    return 0


if __name__ == "__main__":
    sys.exit(main())
