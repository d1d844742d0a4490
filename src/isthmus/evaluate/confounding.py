"""What a confounder (site, batch, study, age, sex) leaves in an embedding, and what taking it out costs.

An adversary's own loss, or a correlation that was trained away, says nothing: a model may hide a site from the learner
that it was trained against and keep it for another. So fresh probes look for it, a linear one and a random forest, on
samples that they have not seen (Elazar and Goldberg 2018, https://arxiv.org/abs/1808.06640). Removing the means of
studies takes a linear probe to chance and leaves the forest where it was: read both.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isthmus.errors import DataError
from isthmus.evaluate.arrays import Matrix, check_rows, check_table
from isthmus.evaluate.folding import Labels, codes_of, columns_of, folded
from isthmus.evaluate.neighbours import batch_mixing
from isthmus.evaluate.partial import PARTIAL, partial_correlation
from isthmus.evaluate.probes import probe
from isthmus.evaluate.sites import SITES, Side, across_sites
from isthmus.evaluate.spread import SUMMARY, summarise
from isthmus.evaluate.tasks import kind_of

__all__ = ["PROBES", "Confounding", "confounding", "dependence", "found_by_probes", "mixing"]

log = logging.getLogger("isthmus.evaluate")

EMBEDDING = "embedding"
PROBES = ("logistic", "forest")
NAMES = {"logistic": "linear", "forest": "forest"}
MIXING = ["representation", "confounder", "mixing", "n"]
MOST_DIMENSIONS = 100
"""Of wider representations (raw features) no partial correlations are computed, and no neighbours above 2,000."""
MOST_NEIGHBOURED = 2_000


@dataclass(frozen=True)
class Confounding:
    """What confounders leave in representations; see `confounding` for the columns.

    Attributes
    ----------
    probes
        How well each confounder is found.
    labels
        How well each label is read mixed, within and across the classes of each confounder.
    partial
        Partial correlations of latent dimensions.
    mixing
        Neighbourhoods by confounder.
    skipped
        What was not run: dictionaries with `label`, `representation`, `learner`, `reason`.
    """

    probes: pd.DataFrame
    labels: pd.DataFrame
    partial: pd.DataFrame
    mixing: pd.DataFrame
    skipped: tuple[dict[str, str], ...] = ()


def confounding(
    z: Matrix,
    confounders: Labels,
    *,
    labels: Labels | None = None,
    before: Mapping[str, Matrix] | None = None,
    groups: pd.Series | np.ndarray | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Confounding:
    """Say how much of each confounder is in an embedding, and what of each label holds beyond it.

    Only the probes are cross-validated: give samples that the embedding was not fitted on where you can.

    Parameters
    ----------
    z
        Embedding (n x d) after whatever was done against the confounder.
    confounders
        One (n), or a DataFrame of several. Text, categories, bool and numbers with at most ten distinct values are
        classes; other numbers are values. Missing ones leave a sample out.
    labels
        What the embedding should keep: one (n), or a DataFrame of several.
    before
        Name -> representations of the same samples without control: raw values, their PCA, an uncontrolled model.
        Differences are to `pca` where there is one of that name, else to the first.
    groups
        One per sample (the patient): samples of a group stay together in folds and in resampling, and no site is
        read by a learner that was fitted on its groups elsewhere.
    folds
        Folds of the probes, at least 2, stratified by class; lowered to the number of samples or groups.
    seed
        Of folds, forests and resampling.

    Returns
    -------
    Confounding
        `.probes`: a row per `representation` (the embedding is `embedding`), `confounder`, `learner` (`linear`:
        logistic or ridge regression; `forest`: random forest) and `metric`: `auc` (one class against the rest, macro;
        0 to 1, **.5 is a confounder that is not found**, 1 one that is fully there; also `accuracy`,
        `balanced_accuracy`, `f1`) or for values `r2` (at most 1; **0 or less: not found**); `mean` and the interval
        `lower` to `upper` over folds, `difference` to the reference and its interval (Nadeau and Bengio 2003).
        `.labels`: as `across_sites` gives, for each label and each confounder of classes; higher is better.
        `.partial`: as `partial_correlation` gives with `representation`, of the confounder given the label (near
        `chance` is good) and of the label given the confounder (high is good); without labels, of the confounder.
        `.mixing`: `batch_mixing` of each confounder of classes, 0 (apart) to 1 (mixed).

    Raises
    ------
    DataError
        Numbers of samples do not agree, a representation is not finite or is called `embedding`, or no confounder can
        be looked for.

    Examples
    --------
    >>> found = ist.evaluate.confounding(z.X, z.obs["site"], labels=z.obs["subtype"], before={"pca": pca})
    >>> found.probes.query("metric == 'auc'")[["representation", "learner", "mean", "lower", "upper"]]
    """
    arrays = _checked(z, before)
    if folds < 2:
        raise DataError("there are not enough folds", met=folds, wanted="2 or more")
    n = z.shape[0]
    table = columns_of(confounders, n, what="confounder")
    wanted = pd.DataFrame(index=table.index) if labels is None else columns_of(labels, n, what="label")
    group = codes_of(groups, n)
    probes, skipped = _cross_validated(arrays, table, group, folds, seed)
    if not len(probes):
        raise DataError("no confounder can be looked for", where=str(table.columns[0]), met=skipped[0]["reason"])
    read = [pd.DataFrame(columns=SITES)]
    for label, site in _pairs(wanted, table):
        parts = list(folded(wanted[label], group, folds, seed))
        side = Side(arrays, wanted[label].reset_index(drop=True), table[site].reset_index(drop=True), group)
        read.append(across_sites(side, side, folds=parts, seed=seed))
    kept = pd.concat([r for r in read if len(r)] or read, ignore_index=True)
    return Confounding(probes, kept, dependence(arrays, table, wanted), mixing(arrays, table), tuple(skipped))


def found_by_probes(summary: pd.DataFrame) -> pd.DataFrame:
    """A summary of probes (`summarise`, `bootstrap`) that looked for confounders, under the names of `confounding`."""
    learner = summary["learner"].map(lambda k: NAMES.get(k, k))
    return summary.assign(learner=learner).rename(columns={"label": "confounder"})


def dependence(arrays: Mapping[str, Matrix], confounders: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Partial correlations of every narrow representation: confounder given label, label given confounder."""
    rows = [pd.DataFrame(columns=["representation", *PARTIAL])]
    for name, x in arrays.items():
        if x.shape[1] > MOST_DIMENSIONS or not isinstance(x, np.ndarray):
            continue
        for c in confounders:
            given = [g for g in labels if g != c]
            pairs: list[tuple[pd.Series, pd.Series | None]] = [(confounders[c], None)] if not given else []
            for y in given:
                pairs += [(confounders[c], labels[y]), (labels[y], confounders[c])]
            rows += [partial_correlation(x, of, other).assign(representation=name) for of, other in pairs]
    return pd.concat([r for r in rows if len(r)] or rows, ignore_index=True)[["representation", *PARTIAL]]


def mixing(arrays: Mapping[str, Matrix], confounders: pd.DataFrame) -> pd.DataFrame:
    """`batch_mixing` of every confounder of classes, in representations of at most 2,000 columns."""
    rows = [
        (name, str(c), batch_mixing(np.asarray(x), confounders[c]), int(confounders[c].notna().sum()))
        for name, x in arrays.items()
        if isinstance(x, np.ndarray) and x.shape[1] <= MOST_NEIGHBOURED
        for c in confounders
        if kind_of(confounders[c]) == "class"
    ]
    return pd.DataFrame(rows, columns=MIXING)


def _checked(z: Matrix, before: Mapping[str, Matrix] | None) -> dict[str, Matrix]:
    others = dict(before or {})
    if EMBEDDING in others:
        raise DataError("a representation cannot have the name of what it is compared with", met=EMBEDDING)
    arrays: dict[str, Matrix] = {EMBEDDING: z, **others}
    for name, array in arrays.items():
        check_table(array, where=name)
        check_rows(z.shape[0], array.shape[0], where=name)
    return arrays


def _cross_validated(
    arrays: dict[str, Matrix], table: pd.DataFrame, group: np.ndarray | None, folds: int, seed: int
) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """Every confounder by every probe, over folds."""
    long: list[pd.DataFrame] = []
    skipped: list[dict[str, str]] = []
    for column in table.columns:
        for fold, (a, b) in enumerate(folded(table[column], group, folds, seed)):
            one = table[[column]]
            fit, score = ({k: v[rows] for k, v in arrays.items()} for rows in (a, b))
            scores = probe(fit, score, one.iloc[a], one.iloc[b], learners=PROBES, seed=seed)
            skipped += [s for s in scores.attrs["skipped"] if s not in skipped]
            scores.attrs.clear()
            if len(scores):
                long.append(scores.assign(fold=fold))
    if not long:
        return pd.DataFrame(columns=["confounder" if c == "label" else c for c in SUMMARY]), skipped
    others = [name for name in arrays if name != EMBEDDING]
    reference = "pca" if "pca" in others else next(iter(others), "pca")
    return found_by_probes(summarise(pd.concat(long, ignore_index=True), reference=reference)), skipped


def _pairs(labels: pd.DataFrame, confounders: pd.DataFrame) -> Sequence[tuple[str, str]]:
    """Each label with each confounder that has sites to leave out."""
    classes = [c for c in confounders if kind_of(confounders[c]) == "class" and confounders[c].nunique() > 1]
    return [(str(y), str(c)) for y in labels for c in classes if y != c]
