import logging

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from isthmus.errors import DataError, RecipeError
from isthmus.evaluate import probe, probes, run_probes

N, TRAIN = 300, 200


def planted(seed=0):
    """An embedding in whose first dimensions a class, a side and an age stand; dimension 3 is noise."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, N)
    z = rng.normal(size=(N, 4))
    z[:, 0] += 3 * kind
    labels = pd.DataFrame(
        {
            "kind": np.array(["a", "b", "c"])[kind],
            "side": z[:, 1] > 0,
            "age": 50 + 10 * z[:, 2] + rng.normal(size=N),
            "noise": rng.choice(["x", "y"], N),
        }
    )
    return z, labels


def run(z, labels, names=("z",), **keys):
    arrays = dict.fromkeys(names, z) if not isinstance(z, dict) else z
    a = {k: v[:TRAIN] for k, v in arrays.items()}
    b = {k: v[TRAIN:] for k, v in arrays.items()}
    return probe(a, b, labels.iloc[:TRAIN], labels.iloc[TRAIN:], **keys)


def value(table, label, learner="logistic", metric="auc"):
    rows = table[(table["label"] == label) & (table["learner"] == learner) & (table["metric"] == metric)]
    return float(rows["value"].iloc[0])


def test_planted_labels_are_found_by_every_learner_and_noise_is_not():
    table = run(*planted())
    for learner in probes.LEARNERS:
        assert value(table, "kind", learner) > 0.93
        assert value(table, "side", learner) > 0.95
        assert value(table, "age", learner, "r2") > 0.75
        assert abs(value(table, "noise", learner) - 0.5) < 0.17  # three standard errors of an AUC at n = 100
    assert not table.attrs["skipped"]
    assert set(table.loc[table["label"] == "age", "metric"]) == {"r2"}


def test_shuffled_labels_are_chance():
    z, labels = planted()
    rng = np.random.default_rng(1)
    found = [
        value(run(z, labels[["kind"]].iloc[rng.permutation(N)], learners=("logistic",)), "kind") for _ in range(12)
    ]
    assert abs(np.mean(found) - 0.5) < 0.03
    assert max(abs(np.array(found) - 0.5)) < 0.15


def test_agrees_with_sklearn_fitted_by_hand():
    z, labels = planted()
    scaler = StandardScaler().fit(z[:TRAIN])
    a, b = scaler.transform(z[:TRAIN]), scaler.transform(z[TRAIN:])
    model = LogisticRegression(max_iter=2000).fit(a, labels["kind"][:TRAIN])
    expected = roc_auc_score(labels["kind"][TRAIN:], model.predict_proba(b), multi_class="ovr")
    table = run(z, labels)
    assert value(table, "kind") == pytest.approx(expected)
    assert value(table, "kind", metric="accuracy") == model.score(b, labels["kind"][TRAIN:])
    assert value(table, "age", metric="r2") == pytest.approx(
        Ridge().fit(a, labels["age"][:TRAIN]).score(b, labels["age"][TRAIN:])
    )


def test_more_columns_than_samples_give_the_same_predictions_in_the_span():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 300))
    labels = pd.DataFrame({"kind": np.where(x[:, :5].sum(axis=1) > 0, "a", "b"), "age": x[:, 0] * 3})
    found = run_probes({"x": x[:60]}, {"x": x[60:]}, labels.iloc[:60], labels.iloc[60:], learners=("logistic",))
    scaler = StandardScaler().fit(x[:60])
    a, b = scaler.transform(x[:60]), scaler.transform(x[60:])
    p, q = (
        LogisticRegression(max_iter=2000, tol=1e-9).fit(train, labels["kind"][:60]).predict_proba(test)
        for train, test in ((a, b), probes._in_span(a, b))
    )
    np.testing.assert_allclose(p, q, atol=1e-6)
    np.testing.assert_allclose(found.answers[0].scores, p, atol=0.02)
    ridge = Ridge().fit(a, labels["age"][:60]).predict(b)
    np.testing.assert_allclose(found.answers[1].scores, ridge, atol=1e-8)


def test_changing_test_samples_changes_no_prediction_for_the_others():
    z, labels = planted()
    train, train_labels = {"z": z[:TRAIN]}, labels.iloc[:TRAIN]
    other = z.copy()
    other[TRAIN + 1 :] *= -7
    shuffled = labels.copy()
    shuffled.iloc[TRAIN + 1 :] = labels.iloc[TRAIN + 1 :].sample(frac=1, random_state=0).to_numpy()
    first = run_probes(train, {"z": z[TRAIN:]}, train_labels, labels.iloc[TRAIN:])
    second = run_probes(train, {"z": other[TRAIN:]}, train_labels, shuffled.iloc[TRAIN:])
    for p, q in zip(first.answers, second.answers, strict=True):
        np.testing.assert_allclose(p.scores[0], q.scores[0], rtol=1e-12)


def test_same_seed_same_numbers_and_other_order_of_representations():
    z, labels = planted()
    both = run({"a": z, "b": z[:, :2]}, labels)
    turned = run({"b": z[:, :2], "a": z}, labels)
    key = ["representation", "label", "learner", "metric"]
    pd.testing.assert_frame_equal(both.sort_values(key, ignore_index=True), turned.sort_values(key, ignore_index=True))


def test_samples_without_the_label_are_left_out_on_both_sides():
    z, labels = planted()
    gaps = labels[["kind"]].copy()
    missing = np.arange(N) % 4 == 0
    gaps.loc[missing, "kind"] = None
    table = run(z, gaps, learners=("logistic",))
    keep = ~missing
    direct = probe(
        {"z": z[:TRAIN][keep[:TRAIN]]},
        {"z": z[TRAIN:][keep[TRAIN:]]},
        labels[["kind"]][:TRAIN][keep[:TRAIN]],
        labels[["kind"]][TRAIN:][keep[TRAIN:]],
        learners=("logistic",),
    )
    pd.testing.assert_frame_equal(table, direct)
    assert table["n_train"].unique().tolist() == [150]


@pytest.mark.parametrize(
    ("column", "metric"),
    [
        (pd.Series(np.arange(N) % 3), "auc"),
        (pd.Series(np.arange(N) % 3).astype("Int64"), "auc"),
        (pd.Series(np.arange(N) % 3 == 0).astype("boolean"), "auc"),
        (pd.Series(np.arange(N) % 3).astype("category"), "auc"),
        (pd.Series(np.arange(N) % 3, dtype=float).where(np.arange(N) % 5 > 0), "auc"),
        (pd.Series(np.arange(N) % 30).astype("Int64").where(np.arange(N) % 7 > 0), "r2"),
        (pd.Series(np.linspace(0, 1, N)), "r2"),
    ],
)
def test_what_is_a_class_and_what_a_value(column, metric):
    z, _ = planted()
    table = run(z, pd.DataFrame({"t": column}), learners=("logistic",))
    assert table["metric"].iloc[0] == metric


def test_rare_and_unseen_classes_are_left_out_and_named(caplog):
    caplog.set_level(logging.INFO, logger="isthmus")
    z, labels = planted()
    kind = labels["kind"].to_numpy().copy()
    kind[:4], kind[TRAIN : TRAIN + 6], kind[TRAIN + 6] = "rare", "new", "rare"
    table = run(z, pd.DataFrame({"kind": kind}), learners=("logistic",))
    assert table["n_train"].iloc[0] == TRAIN - 4
    assert table["n_test"].iloc[0] == N - TRAIN - 7
    assert "'rare' left out" in caplog.text
    assert "'new' left out of the score" in caplog.text


def test_tasks_that_cannot_be_are_recorded_with_a_reason(caplog):
    caplog.set_level(logging.WARNING, logger="isthmus")
    z, labels = planted()
    odd = pd.DataFrame(
        {
            "one": ["a"] * N,
            "ids": [f"s{k}" for k in range(N)],
            "none": [None] * N,
            "train_only": np.where(np.arange(N) < TRAIN, labels["kind"], None),
            "dates": pd.date_range("2020-01-01", periods=N),
        }
    )
    table = run(z, odd)
    assert table.empty
    assert [s["label"] for s in table.attrs["skipped"]] == list(odd)
    assert all(s["reason"] for s in table.attrs["skipped"])
    assert (
        caplog.text.count("every probe is left out") == odd.shape[1]
    )  # a warning: what was asked for is not in the report


def test_wide_representations_meet_the_logistic_learner_only(monkeypatch):
    monkeypatch.setattr(probes, "MOST_COLUMNS", 3)
    z, labels = planted()
    table = run({"wide": z, "small": z[:, :2]}, labels[["kind"]])
    wide = table[table["representation"] == "wide"]
    assert set(wide["learner"]) == {"logistic"}
    assert set(table.loc[table["representation"] == "small", "learner"]) == set(probes.LEARNERS)
    assert [(s["representation"], s["learner"]) for s in table.attrs["skipped"]] == [
        ("wide", "svm"),
        ("wide", "forest"),
    ]


def test_the_support_vector_machine_is_left_out_where_it_would_take_too_long(monkeypatch):
    monkeypatch.setattr(probes, "MOST_PRODUCTS", TRAIN * TRAIN * 3)
    z, labels = planted()
    table = run({"wide": z, "small": z[:, :3]}, labels[["kind"]])
    assert [(s["representation"], s["learner"]) for s in table.attrs["skipped"]] == [("wide", "svm")]
    assert "200 training samples of 4 columns" in table.attrs["skipped"][0]["reason"]


def test_sparse_representations_are_probed_without_centring():
    rng = np.random.default_rng(0)
    x = rng.poisson(1.0, (N, 30)).astype(np.float32)
    labels = pd.DataFrame({"high": np.where(x[:, 0] + x[:, 1] > 2, "yes", "no")})
    table = run(sp.csr_matrix(x), labels)
    assert all(value(table, "high", learner) > 0.85 for learner in probes.LEARNERS)


def test_a_collapsed_embedding_is_chance_not_an_error():
    _, labels = planted()
    for width in (3, 400):
        table = run(np.ones((N, width)), labels[["kind"]])
        assert [value(table, "kind", learner) for learner in probes.LEARNERS] == [0.5] * 3


def test_a_learner_that_has_not_converged_is_said(caplog, monkeypatch):
    monkeypatch.setattr(probes, "MAX_ITER", 2)
    z, labels = planted()
    run(z, labels[["kind"]], learners=("logistic",))
    assert "had not converged" in caplog.text


def test_wrong_input_is_named():
    z, labels = planted()
    with pytest.raises(DataError, match=r"bad \(train\).*NaN"):
        run({"bad": np.full((N, 2), np.nan)}, labels)
    with pytest.raises(RecipeError, match="did you mean 'forest'"):
        run(z, labels, learners=("forrest",))
    with pytest.raises(DataError, match="number of samples"):
        probe({"z": z}, {"z": z}, labels.iloc[:5], labels)
    with pytest.raises(DataError, match="dimensions"):
        probe({"z": z}, {"z": z[:, :2]}, labels, labels)
    with pytest.raises(DataError, match="different representations"):
        probe({"z": z}, {"y": z}, labels, labels)
    with pytest.raises(DataError, match="different labels"):
        probe({"z": z}, {"z": z}, labels, labels[["kind"]])
