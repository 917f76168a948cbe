"""Hostile and broken inputs end in our own error, in one line, whatever they are."""

import os

import fuzz
import pytest


def test_a_few_thousand_mutated_inputs_are_read_or_refused(tmp_path):
    found = fuzz.fuzz(tmp_path, 2000, seed=int(os.environ.get("ITLIB_FUZZ_SEED", "0")))
    assert sum(map(sum, found.values())) >= 2000
    assert all(refused for _, refused in found.values()), found


@pytest.mark.slow
def test_a_hundred_thousand_mutated_inputs_are_read_or_refused(tmp_path):
    found = fuzz.fuzz(tmp_path, 100_000, seed=int(os.environ.get("ITLIB_FUZZ_SEED", "1")))
    for name, (read, refused) in found.items():
        print(f"{name:12} {read:6} read {refused:6} refused")
    assert sum(map(sum, found.values())) >= 100_000
