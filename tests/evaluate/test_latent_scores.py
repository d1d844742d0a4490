"""Coverage, total correlation, effective rank: counted by hand, closed forms, directions."""

import numpy as np
import pytest

from isthmus.errors import DataError
from isthmus.evaluate import effective_rank, latent_coverage, total_correlation


def test_coverage_is_what_one_counts_by_hand():
    z = np.array([[0.0, 0.0], [0.1, 0.9], [0.2, 0.1], [1.0, 1.0]])  # 4 samples, 2 dimensions: 2 bins each
    assert latent_coverage(z) == {"coverage": 1.0, "coverage_joint": 0.75, "bins": 2.0}
    one = np.r_[np.zeros(8), 9.0][:, None]  # 9 bins, of which the first and the last
    assert latent_coverage(one)["coverage"] == pytest.approx(2 / 9)


@pytest.mark.parametrize(("n", "d", "bins"), [(1000, 3, 10), (999, 3, 9), (125, 3, 5), (256, 8, 2), (255, 8, 1)])
def test_the_number_of_bins_is_a_whole_root_without_rounding_errors(n, d, bins):
    assert latent_coverage(np.random.default_rng(0).normal(size=(n, d)))["bins"] == bins


def test_a_grid_is_covered_and_clumps_are_not():
    grid = np.stack(np.meshgrid(*[np.arange(6.0)] * 3), axis=-1).reshape(-1, 3)
    assert latent_coverage(grid)["coverage_joint"] == 1
    clumped = np.where(grid > 2, 5.0, 0.0) + 1e-3 * np.random.default_rng(0).normal(size=grid.shape)
    assert latent_coverage(clumped)["coverage"] < 0.5
    assert latent_coverage(clumped)["coverage_joint"] < 0.1


def test_one_bin_says_nothing():
    assert np.isnan(latent_coverage(np.ones((5, 3)))["coverage"])


def test_total_correlation_of_a_pair_is_its_closed_form():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4000))
    z = np.stack([a, 0.6 * a + 0.8 * b], axis=1)
    r = np.corrcoef(z.T)[0, 1]
    assert total_correlation(z) == pytest.approx(-0.5 * np.log(1 - r**2), rel=1e-10)
    c = np.cov(z.T)
    assert total_correlation(z) == pytest.approx(0.5 * (np.log(np.diag(c)).sum() - np.linalg.slogdet(c)[1]), rel=1e-9)


def test_total_correlation_is_none_for_principal_components_and_more_for_a_repeated_dimension():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4))
    centred = z - z.mean(axis=0)
    assert total_correlation(centred @ np.linalg.svd(centred, full_matrices=False)[2].T) == pytest.approx(0, abs=1e-9)
    assert total_correlation(z * [1, 10, 0.1, 5]) == pytest.approx(total_correlation(z), rel=1e-6)
    near = np.c_[z, z[:, 0] + 0.1 * rng.normal(size=500)]
    assert total_correlation(near) > total_correlation(z) + 1
    assert total_correlation(np.c_[z, np.ones(500)]) == pytest.approx(total_correlation(z))
    assert total_correlation(z[:4]) == np.inf
    assert np.isnan(total_correlation(np.ones((9, 2))))


def test_what_is_no_embedding_is_refused():
    for score in (latent_coverage, total_correlation):
        with pytest.raises(DataError, match="embedding"):
            score(np.array([[np.nan, 1.0]]))


def test_effective_rank_counts_directions_that_vary_alike():
    square = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert effective_rank(square + 7) == pytest.approx(3)
    assert effective_rank(square * [1, 1, 0]) == pytest.approx(2)
    assert effective_rank(np.outer(np.arange(9.0), [1, 2, 3])) == pytest.approx(1, abs=1e-6)
    shares = np.array([9, 1]) / 10
    assert effective_rank(square * [3, 1, 0]) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert np.isnan(effective_rank(np.ones((5, 2))))
