"""Features that another modality predicts: correlations against scipy, the null against its definition."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, permutation_test

from isthmus.errors import DataError
from isthmus.evaluate.crossmodal import crossmodal, pathway_scores

NAMES = [f"g{j}" for j in range(40)]


def planted(n=90, f=40, known=10, seed=0):
    """The first `known` features are predicted, the others are noise; three classes shift all of them."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(["a", "b", "c"], n // 3)
    shift = rng.normal(size=(3, f))[np.unique(classes, return_inverse=True)[1]] * 3
    y = rng.normal(size=(n, f))
    guess = rng.normal(size=(n, f))
    guess[:, :known] += y[:, :known]
    return y + shift, guess + shift, classes


def test_pearson_is_that_of_scipy_over_what_is_observed():
    y, guess, _ = planted()
    y[:20, 3] = np.nan
    found = crossmodal(y, guess, features=NAMES)
    for j in (0, 3, 30):
        here = ~np.isnan(y[:, j])
        assert found["pearson"][j] == pytest.approx(pearsonr(y[here, j], guess[here, j])[0], rel=1e-9)
    np.testing.assert_allclose(found["pearson_within"], found["pearson"])


def test_within_classes_is_the_correlation_of_residuals():
    y, guess, classes = planted()
    found = crossmodal(y, guess, features=NAMES, groups=classes)
    frame = pd.DataFrame({"y": y[:, 5], "guess": guess[:, 5]})
    rest = frame - frame.groupby(classes).transform("mean")
    assert found["pearson_within"][5] == pytest.approx(rest.corr().iloc[0, 1], rel=1e-9)
    assert found["pearson"][10:].mean() > 0.7  # all know the class
    assert abs(found["pearson_within"][10:].mean()) < 0.1


def test_features_that_are_predicted_are_found_and_knowing_the_class_is_no_merit():
    y, guess, classes = planted()
    found = crossmodal(y, guess, features=NAMES, groups=classes)
    assert (found["q"][:10] < 0.05).all()
    assert (found["q"][10:] < 0.05).sum() <= 2
    assert (crossmodal(y, guess, features=NAMES)["q"] < 0.05).all()


def test_p_agrees_with_a_permutation_test_of_one_feature():
    rng = np.random.default_rng(1)
    y, guess = rng.normal(size=(30, 25)), rng.normal(size=(30, 25))
    guess[:, 0] += 0.5 * y[:, 0]
    found = crossmodal(y, guess, features=NAMES[:25])
    theirs = permutation_test(
        (y[:, 0],), lambda x: pearsonr(x, guess[:, 0])[0], permutation_type="pairings", n_resamples=2000,
        alternative="greater", rng=0,
    )  # fmt: skip
    assert found["p"][0] == pytest.approx(theirs.pvalue, abs=0.01)


def test_under_the_null_p_is_uniform():
    p = np.concatenate(
        [
            crossmodal(rng.normal(size=(40, 40)), rng.exponential(size=(40, 40)), features=NAMES)["p"]
            for rng in map(np.random.default_rng, range(25))
        ]
    )
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.05)


def test_what_does_not_vary_is_not_predicted():
    y, guess, _ = planted()
    guess[:, 0], y[:, 1] = 1.7, -0.3
    found = crossmodal(y, guess, features=NAMES)
    assert found["pearson"][:2].isna().all()
    assert (found[["p", "q"]][:2] == 1).all(axis=None)


def test_a_pathway_is_the_mean_of_its_standardised_members():
    y, guess, classes = planted()
    sets = {"known": NAMES[:10], "noise": NAMES[20:30], "small": NAMES[:3], "mixed": ["x1", *NAMES[5:15]]}
    found = pathway_scores(y, guess, features=NAMES, pathways=sets, groups=classes).set_index("term")
    assert list(found.index) == ["known", "noise", "mixed"]
    assert found["size"].tolist() == [10, 10, 10]
    means = [((v - v.mean(0)) / v.std(0))[:, :10].mean(axis=1) for v in (y, guess)]
    assert found.loc["known", "pearson"] == pytest.approx(pearsonr(*means)[0], rel=1e-9)
    assert found.loc["known", "q"] < 0.01 < found.loc["noise", "q"]
    assert pathway_scores(y, guess, features=NAMES, pathways={"small": NAMES[:3]}).empty


def test_shapes_that_differ_are_refused():
    with pytest.raises(DataError, match="differ"):
        crossmodal(np.zeros((5, 3)), np.zeros((5, 2)), features=["a", "b"])
