import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from isthmus.errors import DataError
from isthmus.evaluate import bootstrap, holm, nadeau_bengio, run_probes, spread, summarise, zscore


def test_nadeau_bengio_is_its_formula():
    d = np.array([0.02, -0.01, 0.03, 0.05, 0.01])
    mean, lower, upper, p = nadeau_bengio(d, 80, 20)
    error = np.sqrt(d.var(ddof=1) * (1 / 5 + 20 / 80))
    assert mean == pytest.approx(d.mean())
    assert upper - lower == pytest.approx(2 * 2.7764451 * error)
    assert p == pytest.approx(2 * (1 - stats.t.cdf(d.mean() / error, 4)))


def test_without_a_test_share_it_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 12))
    found = nadeau_bengio(a - b, 1, 0)
    oracle = stats.ttest_rel(a, b)
    assert found.p == pytest.approx(oracle.pvalue)
    assert found[1:3] == pytest.approx(oracle.confidence_interval(0.95))


def test_the_correction_widens_and_more_copies_of_the_folds_do_not_make_sure():
    d = np.random.default_rng(0).normal(0.01, 0.02, 5)
    assert nadeau_bengio(d, 80, 20).p > nadeau_bengio(d, 1, 0).p
    many = nadeau_bengio(np.tile(d, 1000), 80, 20)
    floor = d.std() * np.sqrt(20 / 80)
    assert (many.upper - many.lower) / 2 >= 1.9 * floor


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([0.0] * 5, (0, 0, 0, 1)),
        ([0.1] * 5, (0.1, 0.1, 0.1, 0)),
        ([0.1], (0.1, np.nan, np.nan, np.nan)),
        ([], (np.nan,) * 4),
        ([np.nan, 0.1], (0.1, np.nan, np.nan, np.nan)),
    ],
)
def test_differences_without_spread(differences, expected):
    assert nadeau_bengio(np.array(differences, float), 80, 20) == pytest.approx(expected, nan_ok=True)


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, np.nan, 0.9])), [0.04, 0.09, 0.09, np.nan, 0.9])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_order_and_lies_between_p_and_bonferroni(p):
    p = np.array(p)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(len(p) * p, 1) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


def long_table(gain=0.02, folds=5, noise=0.005):
    rng = np.random.default_rng(0)
    rows = [
        (name, label, "logistic", "auc", 0.8 + shift + rng.normal() * noise, 80, 20, fold)
        for fold in range(folds)
        for label in ("kind", "side")
        for name, shift in (("vae", gain), ("pca", 0), ("random_features/0", -0.2), ("random_features/1", -0.1))
    ]
    return pd.DataFrame(
        rows, columns=["representation", "label", "learner", "metric", "value", "n_train", "n_test", "fold"]
    )


def row(table, representation, label="kind", learner="logistic", metric="auc"):
    keys = {"representation": representation, "label": label, "learner": learner, "metric": metric}
    return table[(table[list(keys)] == pd.Series(keys)).all(axis=1)].iloc[0]


def test_summarise_is_means_and_corrected_differences():
    long = long_table()
    table = summarise(long)
    by_fold = long[long["label"] == "kind"].pivot(index="fold", columns="representation", values="value")
    found = row(table, "vae")
    assert found["mean"] == pytest.approx(by_fold["vae"].mean())
    assert found["sd"] == pytest.approx(by_fold["vae"].std())
    assert found["n"] == 5
    expected = nadeau_bengio((by_fold["vae"] - by_fold["pca"]).to_numpy(), 80, 20)
    got = found[["difference", "difference_lower", "difference_upper", "p"]].to_numpy(dtype=float)
    np.testing.assert_allclose(got, expected)
    assert found["p"] < 0.05 < row(summarise(long_table(gain=0)), "vae")["p"]
    assert found["p_adjusted"] == pytest.approx(holm(np.array([found["p"], row(table, "vae", "side")["p"]]))[0])
    assert list(table.columns) == spread.SUMMARY


def test_draws_are_averaged_within_a_fold_and_the_reference_is_not_compared_with_itself():
    long = long_table()
    table = summarise(long)
    assert set(table["representation"]) == {"vae", "pca", "random_features"}
    draws = long[long["representation"].str.startswith("random") & (long["label"] == "kind")]
    assert row(table, "random_features")["mean"] == pytest.approx(draws["value"].mean())
    assert row(table, "random_features")["sd"] == pytest.approx(draws.groupby("fold")["value"].mean().std())
    assert np.isnan(row(table, "pca")["difference"])
    assert summarise(long, reference="none")["difference"].isna().all()


def test_identical_folds_and_identical_representations():
    long = long_table(gain=0, noise=0, folds=50)
    found = row(summarise(long), "vae")
    assert found["sd"] == pytest.approx(0, abs=1e-12)
    assert (found["difference"], found["p"]) == (0, 1)


def test_seeds_and_folds_are_paired_together():
    long = pd.concat([long_table().assign(seed=s) for s in (0, 1)], ignore_index=True)
    assert row(summarise(long), "vae")["n"] == 10


def test_one_split_has_no_folds():
    with pytest.raises(DataError, match="bootstrap"):
        summarise(long_table().drop(columns="fold"))


def probed(seed=0, n=400):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    strong = rng.normal(size=(n, 2)) + 1.5 * y[:, None]
    weak = rng.normal(size=(n, 2)) + 0.5 * y[:, None]
    arrays = {"pca": weak, "vae": strong, "twin": weak}
    labels = pd.DataFrame({"kind": np.where(y, "a", "b"), "age": 60 + 5 * weak[:, 0] + rng.normal(size=n)})
    half = n // 2
    return run_probes(
        {k: v[:half] for k, v in arrays.items()},
        {k: v[half:] for k, v in arrays.items()},
        labels.iloc[:half],
        labels.iloc[half:],
        learners=("logistic",),
    )


def test_bootstrap_centres_on_the_score_and_finds_what_differs():
    found = probed()
    table = bootstrap(found, resamples=400)
    scores = found.table().set_index(["representation", "label", "metric"])["value"]
    for r in table.itertuples():
        assert r.mean == pytest.approx(scores[r.representation, r.label, r.metric])
        assert r.lower <= r.mean <= r.upper
    better = row(table, "vae")
    assert better["difference"] == pytest.approx(scores["vae", "kind", "auc"] - scores["pca", "kind", "auc"])
    assert 0 < better["difference_lower"] < better["difference"] < better["difference_upper"]
    assert better["p"] == pytest.approx(2 / 401)
    twin = row(table, "twin")
    assert (twin["difference"], twin["difference_lower"], twin["difference_upper"], twin["p"]) == (0, 0, 0, 1)
    worse = row(table, "vae", "age", metric="r2")
    assert worse["difference_upper"] < 0


def test_bootstrap_of_an_accuracy_has_the_binomial_spread():
    found = probed()
    r = row(bootstrap(found, resamples=3000), "vae", metric="accuracy")
    assert r["sd"] == pytest.approx(np.sqrt(r["mean"] * (1 - r["mean"]) / r["n"]), rel=0.08)


def test_bootstrap_repeats_itself_and_memory_blocks_change_nothing(monkeypatch):
    found = probed()
    first = bootstrap(found, resamples=50)
    monkeypatch.setattr(spread, "AT_ONCE", 1000)
    pd.testing.assert_frame_equal(first, bootstrap(found, resamples=50))
    assert not first["lower"].equals(bootstrap(found, resamples=50, seed=1)["lower"])


def test_samples_of_one_group_are_no_independent_witnesses():
    found = probed()
    twice = np.repeat(np.arange(20), 10)
    alone = row(bootstrap(found, groups=np.arange(200)), "vae")
    assert alone["sd"] == pytest.approx(row(bootstrap(found), "vae")["sd"])
    weights = spread._weights(found.answers[0], 5, 0, twice)
    assert all(len(set(w[twice == g])) == 1 for w in weights for g in range(20))


def test_zscore_is_equation_five():
    long = pd.DataFrame(
        [("vae", 0.9), *((f"random_features/{k}", v) for k, v in enumerate([0.5, 0.6, 0.7, 0.6, 0.6]))],
        columns=["representation", "value"],
    ).assign(label="kind", learner="svm", metric="auc", n_train=80, n_test=20)
    found = zscore(long)
    assert found["representation"].tolist() == ["vae"]
    assert found["z"][0] == pytest.approx((0.9 - 0.6) / np.std([0.5, 0.6, 0.7, 0.6, 0.6], ddof=1))
    assert zscore(long.iloc[:2])["z"].isna().all()
    same = long.assign(value=0.5)
    assert zscore(same)["z"].isna().all()


def test_zscore_is_taken_within_each_fold():
    long = long_table(noise=0)
    long["value"] += long["fold"] * 0.01
    found = zscore(long)
    assert len(found) == 20
    np.testing.assert_allclose(found.loc[found["representation"] == "pca", "z"], 0.15 / np.std([0, 0.1], ddof=1))
