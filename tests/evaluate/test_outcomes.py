"""Outcomes of three kinds: linear predictions of them, and scores."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from isthmus.errors import DataError
from isthmus.evaluate.outcomes import Outcome, linear_answers, main_metric, partial_likelihood, scores
from isthmus.evaluate.survival import Cox


def cohort(n=240, p=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    log_risk = x[:, 0] - 0.5 * x[:, 1]
    time = np.round(rng.exponential(np.exp(-log_risk)) * 20 + 0.5)  # with ties
    censored = rng.exponential(30, n)
    survival = np.stack([np.minimum(time, censored), time <= censored], axis=1).astype(float)
    kind = (x[:, 2] + 0.3 * rng.normal(size=n) > 0).astype(int) + (x[:, 3] > 1)
    value = x[:, 4] + 0.5 * rng.normal(size=n)
    return x, {
        "survival": Outcome("survival", survival), "class": Outcome("class", kind, ("a", "b", "c")),
        "value": Outcome("value", value),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["survival", "class", "value"])
def test_what_is_planted_is_predicted_and_what_is_shuffled_is_not(kind):
    x, outcomes = cohort()
    half, rest = np.arange(120), np.arange(120, 240)
    metric, chance = main_metric(kind), {"survival": 0.5, "class": 0.5, "value": 0.0}[kind]
    outcome = outcomes[kind]
    (said,) = linear_answers(x[half], outcome.take(half), x[rest])
    assert scores(outcome.take(rest), said, train=outcome.take(half))[metric] > chance + 0.2
    rng, found = np.random.default_rng(1), []
    for _ in range(10):
        (said,) = linear_answers(x[half], outcome.take(rng.permutation(half)), x[rest])
        found.append(scores(outcome.take(rest), said)[metric])
    assert abs(np.mean(found) - chance) < 0.1


@pytest.mark.parametrize("kind", ["survival", "class", "value"])
def test_samples_without_the_outcome_change_nothing(kind):
    x, outcomes = cohort()
    outcome = outcomes[kind]
    gone = np.concatenate([outcome.y, outcome.y[:40] * 0 + (-1 if kind == "class" else np.nan)])
    more = np.concatenate([x, 100 + x[:40]])
    (plain,) = linear_answers(x, outcome, x)
    (with_gaps,) = linear_answers(more, Outcome(outcome.kind, gone, outcome.classes), x)
    np.testing.assert_allclose(plain, with_gaps, rtol=1e-12)


def test_scores_are_those_of_scikit_learn():
    x, outcomes = cohort()
    (said,) = linear_answers(x[:120], outcomes["class"].take(np.arange(120)), x[120:])
    truth = outcomes["class"].y[120:]
    found = scores(outcomes["class"].take(np.arange(120, 240)), said)
    assert found["auc"] == pytest.approx(roc_auc_score(truth, said, multi_class="ovr"))
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, said.argmax(axis=1)))
    value = outcomes["value"]
    guess = np.where(np.arange(240) < 9, np.nan, value.y * 0.5)  # what is not predicted is not scored
    assert scores(value, guess)["r2"] == pytest.approx(r2_score(value.y[9:], value.y[9:] * 0.5))


def test_the_partial_likelihood_is_that_of_cox_regression():
    x, outcomes = cohort()
    time, event = outcomes["survival"].y.T
    cox = Cox(ties="breslow").fit(x, time, event)
    assert partial_likelihood(cox.predict(x), time, event) == pytest.approx(cox.log_likelihood_, rel=1e-10)
    strata = np.arange(len(x)) % 3
    cox = Cox(ties="breslow").fit(x, time, event, strata=strata)
    found = partial_likelihood(cox.predict(x), time, event, strata=strata)
    assert found == pytest.approx(cox.log_likelihood_, rel=1e-10)


def test_classes_that_train_lacks_and_outcomes_that_do_not_vary():
    x, outcomes = cohort()
    two = np.where(outcomes["class"].y == 2, -1, outcomes["class"].y)
    (said,) = linear_answers(x, Outcome("class", two, ("a", "b", "c")), x)
    assert not said[:, 2].any()
    np.testing.assert_allclose(said.sum(axis=1), 1)
    with pytest.raises(DataError, match="does not vary"):
        linear_answers(x, Outcome("class", np.zeros(240, dtype=int), ("a", "b")), x)
    none = np.stack([np.ones(240), np.zeros(240)], axis=1)
    assert np.isnan(scores(Outcome("survival", none), np.zeros(240))["harrell"])
