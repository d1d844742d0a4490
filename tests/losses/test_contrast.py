"""Contrastive losses and canonical correlations against closed forms, scikit-learn and the papers retyped."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.cross_decomposition import CCA

from isthmus.losses.contrast import barlow_twins, cca, cca_ey, cosine, info_nce, vicreg

EVERY = {
    "infonce": lambda u, v: info_nce(u, v, 0.1), "cosine": cosine, "cca": cca, "cca_ey": cca_ey,
    "barlow": barlow_twins, "vicreg": vicreg,
}  # fmt: skip


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlated(n=4000, p=6, q=6, rho=(0.9, 0.6, 0.3), seed=0):
    """Two tables of the same number of features, mixed at random, with three canonical correlations."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, p)), rng.normal(size=(n, q))
    for k, r in enumerate(rho):
        y[:, k] = r * x[:, k] + math.sqrt(1 - r**2) * y[:, k]
    return x @ rng.normal(size=(p, p)), y @ rng.normal(size=(q, q))


def canonical(x, y):
    """Canonical correlations in closed form: singular values of Sxx^-1/2 Sxy Syy^-1/2."""
    s = np.cov(x.T, y.T)
    p = x.shape[1]
    root = [np.linalg.inv(sqrtm(block).real) for block in (s[:p, :p], s[p:, p:])]
    return np.linalg.svd(root[0] @ s[:p, p:] @ root[1])[1]


def test_infonce_is_the_cross_entropy_of_the_identity_pairing():
    u, v, tau = draws(9, 4), draws(9, 4, seed=1), 0.3
    a, b = (x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True) for x in (u, v))
    likely = np.exp(a @ b.T / tau)
    forth = -np.log(np.diag(likely) / likely.sum(axis=1)).mean()
    back = -np.log(np.diag(likely) / likely.sum(axis=0)).mean()
    assert info_nce(u, v, tau) == pytest.approx((forth + back) / 2, rel=1e-5)
    assert info_nce(v, u, tau) == pytest.approx(float(info_nce(u, v, tau)), rel=1e-5)
    assert info_nce(3 * u, 0.1 * v, tau) == pytest.approx(float(info_nce(u, v, tau)), rel=1e-5)


@pytest.mark.parametrize("tau", [0.05, 0.5, 1.0])
def test_infonce_of_orthogonal_pairs_and_of_one_point_in_closed_form(tau):
    n, u = 6, torch.eye(6)
    assert info_nce(u, u, tau) == pytest.approx(math.log1p((n - 1) * math.exp(-1 / tau)), rel=1e-4, abs=1e-6)
    assert info_nce(torch.ones(6, 3), torch.ones(6, 3), tau) == pytest.approx(math.log(n), rel=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_fewer_than_two_pairs_move_nothing(name):
    for n in (0, 1):
        u, v = draws(n, 3).requires_grad_(), draws(n, 3, seed=1).requires_grad_()
        loss = EVERY[name](u, v)
        loss.backward()
        assert loss == 0
        assert not u.grad.any()


@pytest.mark.parametrize("name", EVERY)
def test_slopes_are_finite_where_all_samples_are_one_point(name):
    u, v = torch.ones(8, 3, requires_grad=True), torch.ones(8, 3, requires_grad=True)
    EVERY[name](u, v).backward()
    assert torch.isfinite(u.grad).all()


@pytest.mark.parametrize("name", EVERY)
def test_true_pairs_are_better_than_shuffled_ones(name):
    u = draws(200, 4)
    v = u + 0.3 * draws(200, 4, seed=1)
    assert EVERY[name](u, v) < EVERY[name](u, v[torch.randperm(200, generator=torch.Generator().manual_seed(2))]) - 0.3


def test_cosine():
    u = draws(5, 3)
    assert cosine(u, 2 * u) == pytest.approx(0, abs=1e-6)
    assert cosine(u, -u) == pytest.approx(2)
    assert cosine(torch.eye(4)[:2], torch.eye(4)[2:]) == pytest.approx(1)


def test_deep_cca_is_the_sum_of_canonical_correlations():
    x, y = correlated()
    rho = canonical(x, y)
    u, v = torch.from_numpy(x), torch.from_numpy(y)
    assert -cca(u, v, ridge=0.0) == pytest.approx(rho.sum(), rel=1e-8)
    fitted = CCA(n_components=3, scale=False, max_iter=5000, tol=1e-12).fit(x, y)
    theirs = [np.corrcoef(a, b)[0, 1] for a, b in zip(*(s.T for s in fitted.transform(x, y)), strict=True)]
    np.testing.assert_allclose(theirs, rho[:3], rtol=1e-5)
    # nearly the same with a little ridge, the same for any invertible mixing of a side, and less with a ridge
    assert -cca(u.float(), v.float()) == pytest.approx(rho.sum(), rel=0.02)
    assert -cca(u @ draws(6, 6).double(), v, ridge=0.0) == pytest.approx(rho.sum(), rel=1e-6)
    assert -cca(u, v, ridge=1.0) < rho.sum() - 0.05


def test_the_slope_of_deep_cca_leads_to_the_leading_correlations():
    x, y = (torch.from_numpy(v) for v in correlated(n=800))
    a, b = draws(6, 2).double().requires_grad_(), draws(6, 2, seed=1).double().requires_grad_()
    optimizer = torch.optim.Adam([a, b], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        cca(x @ a, y @ b).backward()
        optimizer.step()
    assert -cca(x @ a, y @ b).item() == pytest.approx(canonical(x.numpy(), y.numpy())[:2].sum(), rel=1e-3)


def solution(x, y):
    """The weights at which the loss of DCCA-EY is least: canonical directions, their k-th scaled by rho_k."""
    s, p = np.cov(x.T, y.T), x.shape[1]
    root = [np.linalg.inv(sqrtm(block).real) for block in (s[:p, :p], s[p:, p:])]
    left, rho, right = np.linalg.svd(root[0] @ s[:p, p:] @ root[1], full_matrices=False)
    scale = np.sqrt(rho / 2)
    return root[0] @ left * scale, root[1] @ right.T * scale, rho


def test_dcca_ey_is_least_at_the_canonical_directions_with_minus_the_squared_correlations():
    x, y = correlated(n=200_000)
    a, b, rho = solution(x, y)
    order = np.random.default_rng(1).permutation(len(x))
    u, v = torch.from_numpy((x @ a)[order]), torch.from_numpy((y @ b)[order])
    least = float(cca_ey(u, v))
    assert -least == pytest.approx((rho**2).sum(), abs=0.01)
    for k in range(4):
        off = 0.1 * draws(*b.shape, seed=k).double()
        assert cca_ey(u, torch.from_numpy(y[order]) @ (torch.from_numpy(b) + off)) > least


def test_dcca_ey_has_no_bias_from_small_batches_and_deep_cca_has():
    x, y = correlated(n=16 * 2000)
    a, b, rho = solution(x, y)
    batches = [(torch.from_numpy(x[i::2000] @ a), torch.from_numpy(y[i::2000] @ b)) for i in range(2000)]
    found = np.array([float(cca_ey(u, v)) for u, v in batches])
    assert abs(-found.mean() - (rho**2).sum()) < 4 * found.std() / math.sqrt(len(found))
    assert np.mean([-float(cca(u, v)) for u, v in batches[:200]]) > rho.sum() + 0.5


def test_barlow_twins_as_in_algorithm_1():
    u, v = draws(30, 4), draws(30, 4, seed=1)
    a, b = ((z - z.mean(0)) / z.std(0, correction=0) for z in (u, v))
    c = torch.mm(a.T, b) / 30
    off = (c - torch.eye(4)).pow(2)
    off[~torch.eye(4, dtype=torch.bool)] *= 0.02
    assert barlow_twins(u, v, redundancy=0.02) == pytest.approx(float(off.sum()), rel=1e-5)
    assert barlow_twins(u, 2 * u + 1, redundancy=0.0) == pytest.approx(0, abs=1e-6)


def test_vicreg_as_in_algorithm_1():
    u, v = draws(30, 4), draws(30, 4, seed=1)
    similar = torch.nn.functional.mse_loss(u, v)
    std = [torch.sqrt(z.var(dim=0) + 1e-4) for z in (u, v)]
    spread = sum(torch.mean(torch.relu(1 - s)) for s in std)
    covariance = 0.0
    for z in (u, v):
        c = (z - z.mean(0)).T @ (z - z.mean(0)) / 29
        covariance += (c - torch.diag(torch.diag(c))).pow(2).sum() / 4
    assert vicreg(u, v) == pytest.approx(float(25 * similar + 25 * spread + covariance), rel=1e-5)
