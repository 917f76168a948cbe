"""The table of singular vectors that a run leaves, on models changed by hand."""

from collections import Counter

import measuring
import numpy as np
import pandas as pd
import pytest
import small
import tiny
import torch

from itlib import spectra
from itlib.dense import matrices
from itlib.errors import InputError
from itlib.execute import execute
from itlib.measures import measure_frame
from itlib.measures.spectra import K, measure_spectra


def table(model):
    return pd.DataFrame(measure_spectra(measuring.about(model)))


def test_the_base_itself_has_no_change_and_no_intruder():
    found = table(tiny.llama())
    assert found["change"].eq(0).all() and found["effective_rank"].eq(0).all()
    assert found[["similarity", "noise", "turned", "span"]].to_numpy() == pytest.approx(1.0)
    assert Counter(found["matrix"]) == {name: min(K, *weight.shape) for name, weight in matrices(tiny.llama())}


def test_a_planted_direction_is_found_in_its_matrix_alone():
    """A rank-one update stronger than the whole base, far from all its vectors: one intruder, the first vector."""
    place = "model.layers.1.mlp.down_proj"

    def plant(name, weight):
        if name != place:
            return None
        left = spectra.decompose(weight.double().numpy()).left
        v = left @ np.sign(np.random.default_rng(0).standard_normal(left.shape[1])) / np.sqrt(left.shape[1])
        right = torch.nn.functional.normalize(
            torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(1)), dim=0
        )
        return torch.outer(torch.as_tensor(v, dtype=weight.dtype), right) * 5 * torch.linalg.matrix_norm(weight, 2)

    found = table(measuring.moved(plant))
    assert found.loc[found["similarity"] < 0.5, ["matrix", "index"]].to_numpy().tolist() == [[place, 0]]
    mine = found[found["matrix"] == place]
    assert mine["effective_rank"].iloc[0] == pytest.approx(1.0, abs=1e-3)
    assert mine["turned"].iloc[0] < 0.7  # as low a rank in a random direction is as far away
    assert mine["share"].iloc[0] > 0.5
    assert found.loc[found["matrix"] != place, "change"].eq(0).all()


def test_scaling_a_matrix_changes_no_direction():
    found = table(measuring.moved(lambda name, weight: 0.5 * weight))
    assert found["similarity"].to_numpy() == pytest.approx(1.0)
    assert (found["change"] > 0).all()


def test_a_run_carries_the_table_and_an_adapter_is_read_as_weights():
    result = execute(small.resolved(method="lora", rank=2, learning_rate=1e-2, measures=("spectra",)))
    found = measure_frame([result], "spectra")
    assert found["matrix"].nunique() == 28 and len(found) == 28 * K
    assert (found["effective_rank"] <= 2 + 1e-6).all() and (found["change"] > 0).all()
    assert found["rank"].eq(2).all() and found["status"].eq("done").all()


def test_untuned_runs_and_prompts_have_no_spectra():
    assert execute(small.resolved(n_train=0, measures=("spectra",))).totals.get("measures") is None
    with pytest.raises(InputError, match="measures: 'spectra' reads weights, and method 'prompt' changes none"):
        small.resolved(method="prompt", measures=("spectra",))
