"""Killed anywhere, a batch ends in the bytes of an undisturbed one, and what was stored is not computed again."""

import os

import campaign
import pytest

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc"), reason="finds processes the way of Linux")


@pytest.mark.fault(18)
def test_a_few_kills_change_no_byte(tmp_path):
    kills, _, _ = campaign.campaign(tmp_path, 2, seed=0)
    assert len(kills) == 2


@pytest.mark.slow
@pytest.mark.fault(18)
def test_two_hundred_kills_change_no_byte(tmp_path):
    """About forty minutes on two cores. Prints seed, instants and targets."""
    seed = int(os.environ.get("ITLIB_CAMPAIGN_SEED", "1"))
    found = campaign.campaign(tmp_path, 200, seed)
    print(campaign.report(*found, seed))
    assert len(found[0]) == 200
