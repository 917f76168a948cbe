"""Where a number came from: what the record says of the machine is what libraries choose their code by."""

from pathlib import Path

import pytest

from itlib.provenance import provenance

CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(not CPUINFO.exists(), reason="the processor is told on Linux alone")
def test_the_processor_is_told_apart_from_others_with_the_same_widest_instructions():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("the device is a GPU")
    told = dict(line.split(":", 1) for line in CPUINFO.read_text().split("\n\n")[0].splitlines() if ":" in line)
    told = {name.strip(): value.strip() for name, value in told.items()}
    name = provenance(0.0)["device_name"]
    if "vendor_id" in told:
        assert name.endswith(f"{told['vendor_id']} {told['cpu family']}/{told['model']}")
    assert torch.backends.cpu.get_cpu_capability() in name
