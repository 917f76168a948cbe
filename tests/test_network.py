"""Nothing of the shipped profiles reaches for another machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from itlib.workspace import project_root

GUARD = Path(__file__).parent / "no_network"


def guarded(words, log, **more):
    """Run a command with every way out shut; attempts are written down, even those whose error was swallowed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"PYTHONPATH": str(GUARD), "NETWORK_LOG": str(log), "OMP_NUM_THREADS": "1", **more}
    return subprocess.run(words, cwd=project_root(), env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import urllib.request; urllib.request.urlopen('http://example.org', timeout=1)",
        "import httpx; httpx.get('https://huggingface.co', timeout=1)",
    ],
)
def test_the_guard_sees_an_attempt(attempt, tmp_path):
    done = guarded([sys.executable, "-c", f"try:\n    {attempt}\nexcept Exception: pass"], tmp_path / "log")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text()


def test_this_machine_may_be_reached(tmp_path):
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(s.getsockname()); socket.getaddrinfo('localhost', 80)"
    )
    assert guarded([sys.executable, "-c", code], tmp_path / "log").returncode == 0
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("profile", ["smoke", "cpu", "gpu-micro"])
def test_plans_reach_for_nothing(profile, tmp_path):
    files = [
        str(path) for path in sorted((project_root() / "params" / profile).glob("0*.yaml")) if "own" not in path.name
    ]
    words = [sys.executable, "-m", "itlib", "plan", *files, "-p", "device", "cpu"]
    done = guarded(words, tmp_path / "log", ITLIB_RESULTS=str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr[-1500:]
    assert not (tmp_path / "log").exists(), (tmp_path / "log").read_text()
