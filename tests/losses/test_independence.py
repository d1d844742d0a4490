import numpy as np
import pytest
import torch

from isthmus.losses.independence import squared_correlation

DRAW = torch.Generator().manual_seed(0)
A, B = torch.randn(60, 3, generator=DRAW), torch.randn(60, 2, generator=DRAW)


def test_against_numpy():
    expected = (np.corrcoef(A.T, B.T)[:3, 3:] ** 2).sum()
    assert squared_correlation(A, B).item() == pytest.approx(expected, rel=5e-3)


def test_scale_and_shift_do_not_matter_and_a_copy_is_one_per_column():
    torch.testing.assert_close(squared_correlation(5 * A + 3, B), squared_correlation(A, B), rtol=5e-3, atol=0)
    independent = torch.linalg.qr(A - A.mean(0))[0] * 60**0.5
    assert squared_correlation(independent, independent @ torch.diag(torch.tensor([1.0, -2.0, 3.0]))) == pytest.approx(
        3.0, rel=5e-3
    )


def test_a_collapsed_dimension_and_too_few_samples_give_nothing():
    assert squared_correlation(A, 1e-5 * A[:, :1]) < 1e-3
    assert squared_correlation(A, torch.ones(60, 1)) == 0
    assert squared_correlation(A[:2], B[:2]) == 0
