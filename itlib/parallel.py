"""One training run over several processes, on one node or on several: a child of ``accelerate launch``.

"ddp" keeps the whole model in every process and averages gradients; "fsdp" (FSDP2) keeps a share of weights, gradients
and optimizer states in each, for models that one device cannot train. Full fine-tuning is what needs it: other methods
that ask for "fsdp" are resolved to "ddp", so that one setting serves all arms of a comparison. Both see the batches of
a run with one process, cut into parts, and normalise the loss over the tokens of the whole batch; numbers differ in
their last digits only.

The child stores the trained weights, whole and as safetensors, in the store of the run. The run then goes on as one
whose weights were there already: it is evaluated by one process on one device.

Where the processes are:

* one node: here, a process per GPU, or on the host;
* several nodes in a Slurm allocation: one ``accelerate launch`` per node, started by ``srun``;
* several nodes of a Ray cluster, where the run is a Ray task: one per node, in a placement group.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itlib._folders import alive
from itlib.errors import InputError, RunError
from itlib.spec import RunSpec, flatten, from_mapping

if TYPE_CHECKING:
    from itlib.store import Store

ONE, DDP, FSDP = "one", "ddp", "fsdp"
PARALLEL = (ONE, DDP, FSDP)
SHARDED = (
    "full"  # the method whose gradients and optimizer states outgrow a device; others take ddp where fsdp is asked
)
JOB, OUTCOME, ERROR = "job.json", "outcome.json", "error-{}.txt"
DRIVER = "ITLIB_DRIVER"  # tells a training process who waits for it
_FSDP_FLAGS = (
    "--use_fsdp",
    "--fsdp_version=2",
    "--fsdp_auto_wrap_policy=TRANSFORMER_BASED_WRAP",
    "--fsdp_state_dict_type=SHARDED_STATE_DICT",  # each process writes what it holds
)


@dataclass(frozen=True)
class Part:
    """The share of one node: its rank among the nodes, how many there are, and where the first one listens."""

    rank: int = 0
    n_nodes: int = 1
    address: str = "127.0.0.1"
    port: int = 0


def check_parallel(spec: RunSpec) -> None:
    """Refuse runs over several processes that cannot be.

    Raises:
        InputError: Numbers that do not fit each other, or something that only a single process does.
    """
    train = spec.train
    if train.parallel == ONE:
        if train.processes != 1 or train.nodes != 1:
            name = "processes" if train.processes != 1 else "nodes"
            raise InputError(f"{name}: several need parallel: ddp, or fsdp where one device cannot hold the model")
        return
    if train.processes < 2:
        raise InputError(f"processes: parallel '{train.parallel}' needs at least 2, got {train.processes}")
    for wrong, told in (
        (
            train.batch_size % train.processes,
            f"processes: {train.processes} do not divide batch_size {train.batch_size}",
        ),
        (train.processes % train.nodes, f"nodes: {train.nodes} do not divide {train.processes} processes"),
        (train.trainer == "loop", "parallel: our own loop is one process; set trainer: auto"),
        (train.rounds != "one", "parallel: training in rounds is one process; set parallel: one"),
        (spec.evaluate.n_probes, "parallel: a run that is measured on the way is one process; set n_probes: 0"),
        (train.parallel == FSDP and spec.base.quantization != "none", "parallel: fsdp takes no quantization"),
    ):
        if wrong:
            raise InputError(told)


def train_apart(spec: RunSpec, store: Store | None) -> dict[str, Any]:
    """Train a run in a child process group and store its weights; return its outcome.

    Returns:
        ``diverged``, ``curve`` and ``totals`` as in ``tune.Tuned``. A diverged run leaves no weights.

    Raises:
        InputError: There is no store, or nodes that nothing here can reach.
        RunError: The child failed; its own error is told.
    """
    if store is None:
        raise InputError("parallel: a run over several processes hands its weights over in a store; give one")
    store.check_writable()
    job = store.root / "partial" / f"{os.getpid()}-{uuid.uuid4().hex}"
    job.mkdir()
    try:
        (job / JOB).write_text(json.dumps({"spec": flatten(spec), "store": str(store.root)}))
        _launcher(spec)(spec, job)
        return json.loads((job / OUTCOME).read_text())
    finally:
        shutil.rmtree(job, ignore_errors=True)


def _launcher(spec: RunSpec) -> Callable[[RunSpec, Path], None]:
    """Return what starts the processes of a run: here, through Slurm, or through Ray."""
    if _in_ray_task():
        return _launch_through_ray
    if spec.train.nodes == 1:
        return _launch_here
    if int(os.environ.get("SLURM_JOB_NUM_NODES", "1")) >= spec.train.nodes and shutil.which("srun"):
        return _launch_through_slurm
    raise InputError(
        f"nodes: {spec.train.nodes} nodes need a Slurm allocation of as many, or engine: ray; neither is here"
    )


# ---- where processes are started ------------------------------------------------------------------------------


def command(spec: RunSpec, part: Part, job: Path) -> list[str]:
    """Return the command that starts the processes of one node."""
    return [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        f"--num_processes={spec.train.processes}",
        f"--num_machines={part.n_nodes}",
        f"--machine_rank={part.rank}",
        f"--main_process_ip={part.address}",
        f"--main_process_port={part.port}",
        "--mixed_precision=no",  # the Trainer asks for the precision of the run
        "--dynamo_backend=no",
        *(_FSDP_FLAGS if spec.train.parallel == FSDP else ("--multi_gpu",)),  # gloo where there is no GPU
        "-m",
        "itlib.parallel",
        str(job),
    ]


def _launch_here(spec: RunSpec, job: Path) -> None:
    _start(spec, Part(), job)


def _launch_through_slurm(spec: RunSpec, job: Path) -> None:
    """Start one launcher per node of the allocation; each finds its rank in ``SLURM_NODEID``."""
    nodes = str(spec.train.nodes)
    first = subprocess.run(
        ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    # A port that follows from the job: every node knows it, and two jobs on one node do not meet.
    port = 20_000 + int(os.environ.get("SLURM_JOB_ID", "0")) % 20_000
    part = Part(0, spec.train.nodes, first, port)
    (job / "part.json").write_text(json.dumps(asdict(part)))
    _run(["srun", "--overlap", "--nodes", nodes, "--ntasks", nodes, "--ntasks-per-node", "1",
          sys.executable, "-m", "itlib.parallel", str(job), "--node"], job)  # fmt: skip


def _launch_through_ray(spec: RunSpec, job: Path) -> None:
    """Start one launcher per node as Ray tasks in a placement group; on one node they may be packed."""
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    n_nodes, each = spec.train.nodes, spec.train.processes // spec.train.nodes
    needs = {"CPU": float(each * spec.threads)} | ({"GPU": float(each)} if spec.device.startswith("cuda") else {})
    group = placement_group([needs] * n_nodes, strategy="STRICT_SPREAD" if n_nodes > 1 else "STRICT_PACK")
    try:
        ray.get(group.ready())

        def on(rank: int, function: Callable[..., Any]) -> Any:
            where = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
            how = {"num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0.0), "max_retries": 0}
            return ray.remote(**how, scheduling_strategy=where)(function)

        address, port = ray.get(on(0, _free_address).remote())
        parts = [Part(rank, n_nodes, address, port) for rank in range(n_nodes)]
        ray.get([on(part.rank, _start).remote(spec, part, job) for part in parts])
    finally:
        remove_placement_group(group)


def _in_ray_task() -> bool:
    """Return whether this process is a worker of Ray at work on a task; Ray is not loaded to find out."""
    ray = sys.modules.get("ray")
    return bool(ray and ray.is_initialized() and ray.get_runtime_context().get_task_id())


def _free_address() -> tuple[str, int]:
    """Return the address of this node and a port that is free on it."""
    with socket.socket() as found:
        found.bind(("", 0))
        port = found.getsockname()[1]
    ray = sys.modules.get("ray")
    return (ray.util.get_node_ip_address() if ray else "127.0.0.1"), port


def _start(spec: RunSpec, part: Part, job: Path) -> None:
    """Start the processes of one node and wait for them."""
    _run(command(spec, part, job), job, threads=spec.threads)


def _run(words: Sequence[str], job: Path, threads: int = 0) -> None:
    """Run a command whose output is kept for an error message, and stop it with this process."""
    environment = dict(os.environ) | {DRIVER: str(os.getpid())}
    environment |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
    with (job / f"log-{os.getpid()}.txt").open("w+") as log:
        child = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        try:
            code = child.wait()
        except BaseException:
            _stop(child)
            raise
        if code:
            told = sorted(job.glob(ERROR.format("*")))
            log.seek(0)
            last = next((line.strip() for line in reversed(log.read().splitlines()) if line.strip()), "no word")
            raise RunError(told[0].read_text() if told else f"its processes ended with status {code}: {last[:300]}")


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Stop a launcher and, through it, its processes."""
    child.terminate()
    try:
        child.wait(timeout=30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


# ---- what the processes do ------------------------------------------------------------------------------------


def _train_part(job: Path) -> None:
    """Train as one of the processes of a run; the first one stores the weights and writes the outcome."""
    import torch
    from accelerate import PartialState

    from itlib.execute import fixed_threads
    from itlib.store import Store
    from itlib.tune import load_base, tune

    _end_with(int(os.environ[DRIVER]), os.getppid())
    content = json.loads((job / JOB).read_text())
    spec, store = from_mapping(content["spec"]), Store(content["store"])
    state = PartialState(cpu=not spec.device.startswith("cuda"))
    spec = replace(spec, keep_weights=state.is_main_process)
    with fixed_threads(spec.threads):
        model, tokenizer = load_base(spec)
        if spec.train.parallel == DDP and not getattr(model, "is_quantized", False):
            model = model.to(state.device)
        tuned = tune(model, tokenizer, spec, store, None, lambda _: {})
    if state.is_main_process:
        found = {"diverged": tuned.diverged, "curve": tuned.curve, "totals": tuned.totals}
        (job / OUTCOME).write_text(json.dumps(found))
    state.wait_for_everyone()
    torch.distributed.destroy_process_group()


def _end_with(driver: int, launcher: int) -> None:
    """End this process when one that waits for it is gone: nothing may train on for nobody."""

    def watch() -> None:
        while os.getppid() == launcher and alive(driver):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: Sequence[str]) -> int:
    """Entry of the child processes: of a node's launcher with ``--node``, else of one training process."""
    job = Path(arguments[0])
    if "--node" in arguments:
        spec = from_mapping(json.loads((job / JOB).read_text())["spec"])
        part = replace(Part(**json.loads((job / "part.json").read_text())), rank=int(os.environ["SLURM_NODEID"]))
        _start(spec, part, job)
        return 0
    try:
        _train_part(job)
    except Exception as error:
        rank = os.environ.get("RANK", "0")
        (job / ERROR.format(rank)).write_text(" ".join(f"{type(error).__name__}: {error}".split())[:500])
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
