"""Score a pool and die by SIGKILL after some shards: ``python killed.py SELECTOR FOLDER SHARDS``."""

import os
import signal
import sys
from pathlib import Path

from itlib import shards
from itlib.execute import load_base
from itlib.microworld import world
from itlib.registry import selectors
from itlib.resolve import resolve
from itlib.spec import RunSpec, with_fields
from itlib.workbench import selection_context

OPTIONS = {"less_adam": {"checkpoints": 2, "epochs": 3.0}, "nuggets": {"n_anchors": 3, "second_stage": 4}}


def scored(selector, folder):
    """Return the scores of a pool of 96 examples, its shards kept in a folder."""
    pool = world.pool(96, seed=0)
    spec = resolve(with_fields(RunSpec(), pool_size=96, n_train=8, selector=selector, attention="packed"))
    context = selection_context(spec, pool, lambda: load_base(spec), folder)
    return selectors.get(selector).scores(pool, context, **OPTIONS.get(selector, {})).values


if __name__ == "__main__":
    shards.SHARD = 16
    left, write = int(sys.argv[3]), shards.write_atomic

    def write_and_die(path, content):
        global left
        write(path, content)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    shards.write_atomic = write_and_die
    scored(sys.argv[1], Path(sys.argv[2]))
