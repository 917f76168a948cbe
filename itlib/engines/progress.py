"""One progress line, on a terminal and in a notebook that papermill executes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType

from itlib.result import RunResult
from itlib.spec import RunSpec

QUIET_SECONDS = 20.0
TOKENS = {"tokens": 15.0, "response_tokens": 3.0}  # of an example of the micro-world, about


class Progress:
    """Print ``12/56 runs, 1 failed, 0:42 elapsed, about 2:30 left``.

    On a terminal the line is redrawn in place. Elsewhere a new line is printed at most every twenty seconds and at
    the end, so that logs and executed notebooks stay short.
    """

    def __init__(self, specs: Sequence[RunSpec], *, stored: int, enabled: bool = True) -> None:
        self.total = len(specs)
        self.cost = sum(map(expected_cost, specs))
        self.spent = 0.0
        self.stored = stored
        self.enabled = enabled
        self.done = 0
        self.failed = 0
        self.started = time.monotonic()
        self._last = self.started
        self._redraw = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        if self.enabled:
            known = f", {self.stored} already stored" if self.stored else ""
            print(f"{self.total} runs to compute{known}", file=sys.stderr, flush=True)
        return self

    def advance(self, result: RunResult) -> None:
        """Count one finished run."""
        self.done += 1
        self.spent += expected_cost(result.spec)
        self.failed += result.status != "done"
        now = time.monotonic()
        if self.enabled and (self._redraw or now - self._last > QUIET_SECONDS or self.done == self.total):
            self._last = now
            end = "\r" if self._redraw and self.done < self.total else "\n"
            print(self._line(now), end=end, file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.enabled and self.done:
            print(f"stopped after {self.done}/{self.total} runs; they are stored", file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        elapsed = now - self.started
        left = elapsed / self.spent * (self.cost - self.spent)
        failed = f", {self.failed} failed" if self.failed else ""
        rest = f", about {_clock(left)} left" if self.done < self.total else ""
        return f"{self.done}/{self.total} runs{failed}, {_clock(elapsed)} elapsed{rest}"


def expected_cost(spec: RunSpec) -> float:
    """Return a rough length of a run, in examples seen; scoring counts as a few steps."""
    train, n_train = spec.train, spec.data.n_train
    if n_train == 0:
        return 1.0
    seen = {"steps": train.budget * train.batch_size, "epochs": train.budget * n_train}
    seen |= {unit: train.budget / per_example for unit, per_example in TOKENS.items()}
    return 1.0 + seen[train.budget_unit]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
