"""Losses of heads and penalties of confounders against formulas retyped, and where nothing is known."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from isthmus.losses.confounding import correlation, hsic, reversed_for
from isthmus.losses.supervision import balanced_weights, cross_entropy, squared_error


def draw(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def test_missing_labels_do_not_matter():
    logits, codes = draw(8, 3), torch.tensor([0, 1, -1, 2, -1, 1, 0, -1])
    known = codes >= 0
    assert cross_entropy(logits, codes) == cross_entropy(logits[known], codes[known])
    values = torch.where(known, draw(8, seed=1), torch.nan)
    assert squared_error(logits[:, 0], values) == squared_error(logits[known, 0], values[known])


def test_without_a_label_the_loss_and_its_gradient_are_zero():
    logits = draw(4, 3).requires_grad_()
    total = cross_entropy(logits, torch.full((4,), -1)) + squared_error(logits[:, 0], torch.full((4,), torch.nan))
    total.backward()
    assert total == 0
    assert (logits.grad == 0).all()


def test_balanced_classes_count_alike():
    codes = torch.tensor([0] * 6 + [1] * 2 + [-1])
    weights = balanced_weights(codes, 3)
    torch.testing.assert_close(weights, torch.tensor([8 / 18, 8 / 6, 0.0]))
    logits = draw(9, 3)
    each = -logits.log_softmax(1)[range(8), codes[:8]]
    expected = (each[:6].mean() + each[6:].mean()) / 2
    torch.testing.assert_close(cross_entropy(logits, codes, weights), expected)


def test_hsic_is_the_formula():
    z, c = draw(20, 3).numpy(), draw(20, 1, seed=1).numpy()

    def kernel(x):
        d2 = squareform(pdist(x)) ** 2
        return np.exp(-d2 / (2 * np.sort(pdist(x) ** 2)[(len(pdist(x)) - 1) // 2]))

    h = np.eye(20) - 1 / 20
    expected = np.trace(kernel(z) @ h @ kernel(c) @ h) / 19**2
    assert float(hsic(torch.from_numpy(z), torch.from_numpy(c))) == pytest.approx(expected, rel=1e-4)


def test_penalties_are_larger_where_there_is_dependence_and_ignore_the_unit():
    z, other = draw(200, 2), draw(200, 1, seed=1)
    told = z[:, :1].square()
    assert hsic(z, told) > 2 * hsic(z, other)
    assert correlation(z, z[:, :1] + 0.1 * other) > 10 * correlation(z, other)
    torch.testing.assert_close(hsic(1000 * z, told), hsic(z, told))
    assert hsic(z[:3], told[:3]) == correlation(z[:2], told[:2]) == 0


def test_a_reversed_gradient_comes_back_turned_round():
    z = draw(4, 2).requires_grad_()
    through = reversed_for(z, 0.3)
    torch.testing.assert_close(through, z)
    (through * 2).sum().backward()
    torch.testing.assert_close(z.grad, torch.full_like(z, -0.6))
