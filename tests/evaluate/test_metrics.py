import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, r2_score, roc_auc_score

from isthmus.evaluate.metrics import auc, classification, regression


def draw(seed, n=40, classes=4):
    rng = np.random.default_rng(seed)
    truth = np.r_[np.arange(classes), rng.integers(0, classes, n - classes)]
    scores = np.round(rng.dirichlet(np.ones(classes), n), 1)  # rounded: with ties
    return truth, rng.integers(0, classes, n), scores


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_agrees_with_sklearn(seed, classes):
    truth, predicted, scores = draw(seed, classes=classes)
    found = classification(truth, predicted, scores, np.ones((1, 40)))
    one = np.eye(classes)[truth]
    expected = {
        "auc": roc_auc_score(one, scores, average="macro"),
        "accuracy": accuracy_score(truth, predicted),
        "balanced_accuracy": balanced_accuracy_score(truth, predicted),
        "f1": f1_score(truth, predicted, average="macro"),
    }
    assert {k: v[0] for k, v in found.items()} == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_counts_as_weights_equal_repeated_samples(seed):
    truth, predicted, scores = draw(seed)
    weights = np.random.default_rng(seed).multinomial(40, np.full(40, 1 / 40), size=3)
    found = classification(truth, predicted, scores, weights.astype(float))
    values = regression(scores[:, 0], scores[:, 1], weights.astype(float))
    for k, counts in enumerate(weights):
        rows = np.repeat(np.arange(40), counts)
        again = classification(truth[rows], predicted[rows], scores[rows], np.ones((1, 40)))
        assert {m: v[k] for m, v in found.items()} == pytest.approx({m: v[0] for m, v in again.items()})
        assert values["r2"][k] == pytest.approx(r2_score(scores[rows, 0], scores[rows, 1]))


def test_auc_by_counting_pairs():
    positive = np.array([True, True, False, False])
    score = np.array([0.9, 0.4, 0.4, 0.1])
    assert auc(positive, score, np.ones((1, 4)))[0] == (1 + 1 + 0.5 + 1) / 4
    assert auc(positive, -score, np.ones((1, 4)))[0] == 1 - 3.5 / 4


def test_what_has_one_class_only_has_no_auc():
    ones = np.ones((1, 3))
    assert np.isnan(auc(np.ones(3, bool), np.arange(3.0), ones)[0])
    found = classification(np.zeros(3, int), np.zeros(3, int), np.eye(3)[:, :2], ones)
    assert np.isnan(found["auc"][0])
    assert found["accuracy"][0] == found["f1"][0] == 1
    assert np.isnan(regression(np.ones(3), np.arange(3.0), ones)["r2"][0])
