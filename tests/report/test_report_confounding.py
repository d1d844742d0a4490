"""Confounders on a page: what is said of which numbers, and names that are only names."""

import numpy as np
import pandas as pd
import pytest
from report_results import HOSTILE
from test_report_page import Reader

from isthmus.plot.confounding import confounder_probes, partial_correlations, sites
from isthmus.report import render
from isthmus.report.blocks import Page
from isthmus.report.confounding import baseline_ahead, confounding_section, said_of_confounders

WHO = {"VAE": (0.55, 0.98), "pca": (1.0, 1.0), "pca_without": (0.5, 0.9)}


def found(who=WHO, site="study", fitted="train", metric="auc"):
    rows = [
        {"representation": w, "confounder": site, "learner": k, "metric": metric, "mean": v, "fitted": fitted}
        for w, values in who.items()
        for k, v in zip(("linear", "forest"), values, strict=True)
    ]
    table = pd.DataFrame(rows)
    mean = table["mean"]
    return table.assign(lower=mean - 0.1, upper=mean + 0.1, difference=mean - 1, difference_upper=mean - 0.95)


def labels(values, label="type", site="study"):
    """Representation -> its readings mixed, within and across."""
    rows = [
        {"representation": w, "label": label, "confounder": site, "learner": "logistic", "way": way, "value": v}
        for w, each in values.items()
        for way, v in zip(("mixed", "within", "across"), each, strict=True)
    ]
    table = pd.DataFrame(rows).assign(metric="balanced_accuracy", sites=3, n_test=40)
    return table.assign(lower=table["value"] - 0.05, upper=table["value"] + 0.05)


def test_a_site_that_only_the_forest_finds_is_told():
    first, second, *rest = said_of_confounders(found(), pd.DataFrame(), model="VAE")
    assert first == (
        "study: in VAE a linear probe finds it with AUC .550 (.450 to .650), a random forest with .980 (.880 to 1.080)"
        "; in PCA with 1.000 and 1.000; in PCA after regressing it out with .500 and .900 (0.5 is chance)."
    )
    assert second == "study is hidden from the linear probe only: the forest still finds it."
    assert rest == []


def test_a_model_that_holds_as_much_as_pca_is_told():
    said = said_of_confounders(found({"VAE": (0.99, 0.99), "pca": (0.99, 0.99)}), pd.DataFrame(), model="VAE")
    assert said[-1] == "VAE does not hold less of study than PCA by either probe."


def test_without_probes_of_train_those_of_the_test_samples_speak():
    said = said_of_confounders(found(fitted="test"), pd.DataFrame(), model="VAE")
    assert "AUC .550" in said[0]
    said = said_of_confounders(found({"pca": (1.0, 1.0)}), pd.DataFrame(), model="VAE")
    assert said == ["study could not be looked for in the embedding."]


def test_a_number_is_told_by_r2():
    said = said_of_confounders(found({"VAE": (-0.2, 0.3)}, site="age", metric="r2"), pd.DataFrame(), model="VAE")
    assert "R² −.200" in said[0]
    assert "(0 is chance)" in said[0]
    absent = found({"VAE": (-0.2, -0.1), "pca": (0.2, 0.1)}, site="age", metric="r2").assign(difference_upper=0.3)
    assert len(said_of_confounders(absent, pd.DataFrame(), model="VAE")) == 1


@pytest.mark.parametrize(
    ("pca", "told"), [(0.6, "PCA .600 (VAE is ahead)"), (0.7, "PCA .700."), (0.9, "(PCA is ahead)")]
)
def test_labels_across_sites_are_beside_pca(pca, told):
    said = said_of_confounders(pd.DataFrame(), labels({"VAE": (0.8, 0.75, 0.7), "pca": (0.8, 0.7, pca)}), model="VAE")
    assert said[1].startswith(
        "type, read off VAE at a study that the probe has not seen: balanced accuracy .700 (inside"
    )
    assert said[0] == "study cannot be looked for: no test sample has a value of it that train has."
    assert told in said[1]


def test_plain_regression_is_said_to_be_ahead_only_where_it_is():
    worse, same = (labels({"VAE": (0, 0, 0.7), "pca_without": (0, 0, v)}) for v in (0.5, 0.7))
    assert baseline_ahead(found(), worse, model="VAE") == []
    (said,) = baseline_ahead(found(), same, model="VAE")
    assert said == (
        "Regressing study out before PCA leaves less of it than VAE (.900 against .980 by the better probe), and "
        "labels are read across study as well or better."
    )
    assert baseline_ahead(found({**WHO, "pca_without": (0.5, 0.99)}), same, model="VAE") == []
    assert baseline_ahead(found({"VAE": (0.5, 0.55), "pca_without": (0.4, 0.4)}), same, model="VAE") == []  # not found
    assert baseline_ahead(pd.DataFrame(), pd.DataFrame(), model="VAE") == []


@pytest.mark.parametrize("label", ["", *HOSTILE], ids=lambda t: repr(t[:12]))
def test_names_are_text(label):
    partial = pd.DataFrame(
        {"representation": "VAE", "dimension": [f"z{label}{k}" for k in range(3)], "of": "study" + label}
    )
    partial = partial.assign(
        given="type" + label, correlation=[0.1, -0.9, np.nan], chance=0.2, p=0.1, p_adjusted=0.2, n=30
    )
    mixed = pd.DataFrame({"representation": ["VAE"], "confounder": ["study" + label], "mixing": [0.4], "n": [30]})
    of_labels = labels({"VAE": (0.8, 0.75, np.nan), "pca": (0.8, 0.7, 0.6)}, "type" + label, "study" + label)
    section = confounding_section(found(site="study" + label), of_labels, partial, mixed, model="VAE")
    text = render(Page("t", "s", ["lead"], [section]))
    Reader(text)
    assert "documentElement.dataset.hit=1<" not in text
    assert "<img src=x" not in text


def test_figures_show_every_number_once():
    figure = confounder_probes(found())
    texts = [t.get_text() for a in figure.axes for t in a.texts]
    assert sorted(texts) == sorted(f"{v:.3f}" for pair in WHO.values() for v in pair)
    figure = sites(labels({"VAE": (0.8, 0.75, 0.7), "pca": (0.8, 0.7, 0.6)}))
    across = [
        line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata())
    ]
    assert across == [0.7, 0.6]
    empty = pd.DataFrame(columns=["of", "given", "dimension", "correlation", "chance"])
    for drawn in (sites(pd.DataFrame()), confounder_probes(pd.DataFrame()), partial_correlations(empty)):
        assert drawn.texts
    assert confounding_section(*[pd.DataFrame()] * 4, model="VAE").blocks == ()
