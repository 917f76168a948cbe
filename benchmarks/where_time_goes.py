"""Where the time of a study's runs goes: the shares of data, scores, training and evaluation, by sampling the stack.

Run it as ``python benchmarks/where_time_goes.py params/cpu/*.yaml [--runs N] [--json F]``. Of every study, ``--runs``
runs spread evenly over its expected grid are computed in this process, with one thread and into an empty store, after
one that loads what is loaded once. Another thread looks at the stack every few milliseconds; it does not slow what it
looks at, as a profiler that counts calls would. A look belongs to the outermost of the stages that include what they
call, such as evaluation, and else to the innermost stage on the stack.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from sides import machine, parser, write

from itlib.batch import expected_specs, load
from itlib.execute import run_one
from itlib.spec import RunSpec
from itlib.store import Store

EVERY = 0.004  # seconds between looks
CLOSED = {
    ("itlib/tune.py", "load_base"): "load the base",
    ("itlib/selection.py", "select"): "scores of selectors",
    ("itlib/execute.py", "_judged"): "evaluation",
    ("itlib/probes.py", ""): "measures on the way",
    ("itlib/store.py", "put"): "store",
    ("itlib/store.py", "put_weights"): "store",
}
OPEN = {
    ("itlib/tune.py", ""): "method",
    ("itlib/training_set.py", ""): "rows",
    ("itlib/template.py", ""): "tokens and masks",
    ("itlib/train.py", "train"): "rest of the loop",
    ("itlib/train.py", "response_logits"): "forward",
    ("torch/_tensor.py", "backward"): "backward",
    ("torch/optim/optimizer.py", ""): "optimizer",
}
REST = "rest"
COLUMNS = (*dict.fromkeys([*CLOSED.values(), *OPEN.values()]), REST)


def stage(frame: FrameType | None) -> str:
    """Return the stage that a stack is in."""
    calls = []
    while frame is not None:
        calls.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    found = REST
    for path, name in reversed(calls):
        tail = "/".join(Path(path).parts[-3:])
        for (file, function), said in (CLOSED | OPEN).items():
            if tail.endswith(file) and function in ("", name):
                if said in CLOSED.values():
                    return said
                found = said
                break
    return found


class Looks:
    """Counts of stages of the thread that made it, while the block runs."""

    def __enter__(self) -> Counter[str]:
        self.counts: Counter[str] = Counter()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, args=(threading.get_ident(),), daemon=True)
        self.thread.start()
        return self.counts

    def __exit__(self, *_: Any) -> None:
        self.over.set()
        self.thread.join()

    def _look(self, watched: int) -> None:
        while not self.over.wait(EVERY):
            self.counts[stage(sys._current_frames()[watched])] += 1


def spread(specs: list[RunSpec], n: int) -> list[RunSpec]:
    """Return at most ``n`` specs, evenly over the list."""
    return [specs[len(specs) * place // n] for place in range(min(n, len(specs)))] if len(specs) > n else specs


def profile(path: str, n_runs: int) -> dict[str, Any]:
    """Return shares of the stages, seconds and number of the runs of one study."""
    (batch,) = load([path], {}, lambda message: None)
    with tempfile.TemporaryDirectory() as folder:
        chosen = spread(expected_specs(batch), n_runs)
        run_one(chosen[0], Store(Path(folder) / "first"))
        store = Store(Path(folder) / "store")
        start = time.perf_counter()
        with Looks() as counts:
            results = [run_one(spec, store) for spec in chosen]
        seconds = time.perf_counter() - start
    for result in results:
        if result.status == "failed":
            raise SystemExit(f"{path}: {result.error}")
    total = sum(counts.values())
    return {
        "study": Path(path).stem,
        "runs": len(chosen),
        "seconds": seconds,
        "shares": {name: counts[name] / total for name in COLUMNS},
    }


def main() -> int:
    """Profile, and print a table."""
    options = parser(__doc__.split("\n")[0])
    options.add_argument("params", nargs="+", help="params files of studies")
    options.add_argument("--runs", type=int, default=12, help="runs of a study to look at")
    given = options.parse_args()
    print(f"{', '.join(f'{key} {value}' for key, value in machine(1).items())}\n")
    print(f"| study | runs | seconds a run | {' | '.join(COLUMNS)} |")
    print("|---|---|---|" + "---|" * len(COLUMNS))
    found = []
    for path in given.params:
        row = profile(path, given.runs)
        found.append(row)
        shares = " | ".join(f"{row['shares'][name]:.0%}" for name in COLUMNS)
        print(f"| {row['study']} | {row['runs']} | {row['seconds'] / row['runs']:.2f} | {shares} |", flush=True)
    write(given.json, [{"machine": machine(1), "studies": found}])
    return 0


if __name__ == "__main__":
    sys.exit(main())
