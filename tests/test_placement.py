"""Packed rows are tried on the GPU that they are to run on; where they fail, rows are padded and the totals say so."""

import pytest
import small
import tiny
import torch

from itlib import placement
from itlib.execute import execute
from itlib.packing import KERNEL, TRIMMED, is_packed
from itlib.placement import fallen_back, placed

GPU = {"device": "cuda", "attention": KERNEL}


@pytest.fixture
def on_a_gpu(monkeypatch):
    """A processor that passes for a GPU: models stay where they are."""
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_: self)


def answering(*answers):
    left = iter(answers)

    def trial(model, precision, *, near):
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return trial


@pytest.mark.parametrize("kernel", [KERNEL, TRIMMED])
@pytest.mark.parametrize("outcome", [False, RuntimeError("only Ampere GPUs or newer\nand more")])
def test_what_fails_its_trial_is_padded(kernel, outcome, on_a_gpu, monkeypatch, capsys):
    monkeypatch.setattr(placement, "keeps_rows_apart", answering(True, outcome))
    spec = small.spec(device="cuda", attention=kernel)
    good, bad = tiny.with_kernel(kernel), tiny.with_kernel(kernel)
    assert is_packed(placed(good, spec)) and fallen_back(good, spec) == {}
    assert not is_packed(placed(bad, spec)) and fallen_back(bad, spec) == {"attention": "sdpa"}
    ids = torch.ones(1, 3, dtype=torch.long)
    with torch.no_grad():
        assert torch.allclose(bad(input_ids=ids).logits, tiny.llama()(input_ids=ids).logits, atol=2e-5)
    said = capsys.readouterr().err
    assert said.count("\n") == said.count("only Ampere GPUs") == isinstance(outcome, Exception)


def test_a_full_memory_is_no_verdict_on_the_kernel(on_a_gpu, monkeypatch):
    monkeypatch.setattr(placement, "keeps_rows_apart", answering(torch.OutOfMemoryError("full")))
    with pytest.raises(torch.OutOfMemoryError):
        placed(tiny.with_kernel(KERNEL), small.spec(**GPU))


def test_what_is_not_packed_or_not_on_a_gpu_is_not_tried(on_a_gpu, monkeypatch):
    monkeypatch.setattr(placement, "keeps_rows_apart", answering())
    placed(tiny.llama(), small.spec(device="cuda"))
    placed(tiny.with_kernel(KERNEL), small.spec(attention=KERNEL))


def test_a_run_says_what_it_fell_back_to(monkeypatch):
    def without(model, spec):
        model.set_attn_implementation("sdpa")
        return model

    spec = small.resolved(attention=KERNEL)
    assert "attention" not in execute(spec).totals
    monkeypatch.setattr("itlib.execute.placed", without)
    assert execute(spec).totals["attention"] == "sdpa"
