"""Grafting: only a share of the changed entries keeps its change."""

import measuring
import pytest
import tiny
import torch

from itlib.dense import matrices
from itlib.registry import edits
from itlib.spec import RunSpec


def tuned():
    generator = torch.Generator().manual_seed(0)
    return measuring.moved(lambda name, weight: 0.1 * torch.randn(weight.shape, generator=generator))


def entries(model):
    return torch.cat([weight.detach().flatten() for _, weight in matrices(model)])


def grafted(name, share, **how):
    about = measuring.about(tuned(), spec=RunSpec(), **how)
    edits.get(name)(about, share)
    return entries(about.model)


@pytest.mark.parametrize("name", ["graft_largest", "graft_random", "graft_learned"])
def test_all_is_the_tuned_model_and_none_the_base(name):
    assert torch.allclose(grafted(name, 1.0), entries(tuned()), atol=1e-7)
    assert torch.equal(grafted(name, 0.0), entries(tiny.llama()))


@pytest.mark.parametrize("name", ["graft_largest", "graft_random"])
@pytest.mark.parametrize("share", [0.01, 0.5])
def test_the_share_that_keeps_its_change_is_the_one_asked_for(name, share):
    changed = grafted(name, share) != entries(tiny.llama())
    assert int(changed.sum()) == pytest.approx(share * len(changed), abs=2)


def test_the_largest_changes_are_kept():
    size, kept = (
        (entries(tuned()) - entries(tiny.llama())).abs(),
        grafted("graft_largest", 0.1) != entries(tiny.llama()),
    )
    assert size[kept].min() >= size[~kept].max()


def test_embeddings_and_norms_go_back_to_the_base():
    model = tuned()
    with torch.no_grad():
        model.get_input_embeddings().weight += 1
        model.model.norm.weight += 1
    about = measuring.about(model)
    edits.get("graft_largest")(about, 0.5)
    assert torch.equal(about.model.get_input_embeddings().weight, tiny.llama().get_input_embeddings().weight)
    assert torch.equal(about.model.model.norm.weight, tiny.llama().model.norm.weight)


def test_a_learned_mask_finds_what_helps(tmp_path):
    """A twentieth of the change has the lowest loss on test items in a learned mask, then where it is largest."""
    from dataclasses import replace

    import small

    from itlib.execute import run_one
    from itlib.resolve import resolve
    from itlib.spec import with_fields
    from itlib.store import Store

    how = {
        "families": ("category",),
        "n_train": 30,
        "budget": 25,
        "learning_rate": 2e-3,
        "n_eval": 20,
        "n_reference": 0,
    }
    spec = replace(small.resolved(**how), keep_weights=True)
    store = Store(tmp_path)
    run_one(spec, store)
    loss = {}
    for name in ("graft_learned", "graft_largest", "graft_random"):
        result = run_one(resolve(with_fields(spec, edit=name, edit_scale=0.05)), store)
        assert result.status == "done", result.error
        loss[name] = sum(item[8] for item in result.items)
    assert loss["graft_learned"] < loss["graft_largest"] < loss["graft_random"]
