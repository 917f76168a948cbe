"""Where a result comes from: commit, versions, device, time. Never part of its identity."""

from __future__ import annotations

import contextlib
import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("itlib", "torch", "transformers", "peft", "datasets", "numpy", "tokenizers", "safetensors")


def provenance(wall_seconds: float) -> dict[str, Any]:
    """Return the record stored with a run.

    ``wall_seconds`` is the time from loading the model to the last score, ``peak_memory`` the most memory [bytes] that
    the process held in it: of the GPU where there is one, else resident. It is 0 where the system does not tell.
    """
    return {**_fixed(), "wall_seconds": round(wall_seconds, 3), "peak_memory": _peak_memory()}


def watch_memory() -> None:
    """Let the peak of memory count from here on, where the system can."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # of Linux; elsewhere the peak is that of the whole process
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    return 0


@functools.cache
def _fixed() -> dict[str, Any]:
    return {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device_name": _device_name(),
        "packages": package_versions(),
    }


@functools.cache
def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that move numbers."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def _git(*arguments: str) -> str:
    """Return git's answer about the package's checkout, or "" where there is none."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _device_name() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    kind = f"{platform.processor() or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    return ", ".join([kind, *_processor()])


def _processor() -> list[str]:
    """Return vendor, family and model of the processor where they are told: libraries choose their code by them.

    Two processors with the same widest instructions can differ in the last bits of a product.
    """
    with contextlib.suppress(OSError):
        lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
        told = {name.strip(): value.strip() for name, _, value in reversed(list(lines))}  # the first processor's
        found = [told.get(name, "") for name in ("vendor_id", "cpu family", "model")]
        if all(found):
            return ["{} {}/{}".format(*found)]
    return []
