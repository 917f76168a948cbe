"""Linear CKA against a case by hand, a kernel form of its own, and the changes it must not see."""

import numpy as np
import pytest

from itlib.errors import InputError
from itlib.similarity import linear_cka


def random(seed, n=30, width=5):
    return np.random.default_rng(seed).normal(size=(n, width))


def test_two_by_two_by_hand():
    """Rows (0, 0), (2, 0), centred (-1, 0), (1, 0); and (0, 0), (2, 2): one direction each, so the same geometry."""
    assert linear_cka(np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[0.0, 0.0], [2.0, 2.0]])) == pytest.approx(1.0)


def test_three_by_two_by_hand():
    """Centred columns (-1, 0, 1) and (-1, 2, -1): Y'X = 0 for one column each, 1/sqrt(...) for both together.

    X = [a], Y = [a, b] with a'a = 2, b'b = 6, a'b = 0: |Y'X|² = 4, |X'X| = 2, |Y'Y| = sqrt(4 + 36).
    """
    a, b = np.array([-1.0, 0.0, 1.0]), np.array([-1.0, 2.0, -1.0])
    assert linear_cka(a[:, None], b[:, None]) == pytest.approx(0.0)
    assert linear_cka(a[:, None], np.stack([a, b], 1) + 7.0) == pytest.approx(4 / (2 * np.sqrt(40)))


@pytest.mark.parametrize("seed", range(5))
def test_the_kernel_form_agrees(seed):
    """HSIC over Gram matrices, as the paper writes it."""
    x, y = random(seed), random(seed + 100, width=8)
    centre = np.eye(30) - 1 / 30
    k, other = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    assert linear_cka(x, y) == pytest.approx((k * other).sum() / np.sqrt((k * k).sum() * (other * other).sum()))


@pytest.mark.parametrize("seed", range(5))
def test_rotations_scales_and_shifts_change_nothing_and_other_maps_do(seed):
    x, y = random(seed), random(seed + 100)
    turn = np.linalg.qr(random(seed + 200, 5))[0]
    assert linear_cka(x, x) == pytest.approx(1.0)
    assert linear_cka(x, 3.7 * x @ turn + 11.0) == pytest.approx(1.0)
    assert linear_cka(0.2 * x @ turn, y) == pytest.approx(linear_cka(x, y))
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x)) and 0 < linear_cka(x, y) < 0.7
    assert linear_cka(x, x * np.array([9.0, 1, 1, 1, 1])) < 0.95


def test_unrelated_representations_approach_width_over_items():
    assert linear_cka(random(0, 4000, 20), random(1, 4000, 20)) < 0.01
    assert linear_cka(random(0, 20, 20), random(1, 20, 20)) > 0.4


def test_a_side_that_is_the_same_for_all_items_has_no_similarity():
    assert np.isnan(linear_cka(np.full((6, 3), 0.1), random(0, 6)))
    assert np.isnan(linear_cka(random(0, 6), np.zeros((6, 3))))


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        (random(0, 5), random(0, 6), r"shapes \(5, 5\) and \(6, 5\)"),
        (random(0)[:, 0], random(0), "the same items are rows of both"),
        (np.full((4, 2), np.nan), random(0, 4), "not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(left, right, said):
    with pytest.raises(InputError, match=said):
        linear_cka(left, right)
