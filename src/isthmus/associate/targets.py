r"""Every feature of one modality ranked for features of interest of another, with intervals.

The interval is Fisher's, tanh(artanh(r) ± z s), with s² = 1 / (n - 3 - g) for Pearson's r and the biweight
midcorrelation, and s² = (1 + r²/2) / (n - 3 - g) for Spearman's (Bonett & Wright 2000, doi:10.1007/BF02294183);
g are the columns that a design takes. Ties and heavy tails make it approximate; the p-values beside it are those of
`correlate`.
"""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd
from scipy.special import ndtri

from isthmus.associate.inputs import FEWEST, Data
from isthmus.associate.ranks import Kind
from isthmus.associate.spearman import Grouping, correlate
from isthmus.errors import DataError, RecipeError, closest

__all__ = ["detectable", "interval", "targets"]


def targets(
    x: Data,
    y: Data,
    of: str | Sequence[str],
    *,
    kind: Kind = "spearman",
    level: float = 0.95,
    null: str = "auto",
    design: Grouping = None,
    blocks: pd.Series | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Rank every feature of `x` for each of some features of `y`.

    Parameters
    ----------
    x, y
        Samples x features, joined by sample id; NaN is missing.
    of
        Features of `y`.
    kind, null, design, blocks, seed
        As in `correlate`.
    level
        Of the intervals, each by itself.

    Returns
    -------
    pandas.DataFrame
        Target after target, the smallest p first: `target`, `feature`, `rank`, `rho`, `lower`, `upper`, `p`, `q`
        (Benjamini & Hochberg, among the features of one target) and `n`; with a design also `rho_marginal`. Features
        that do not vary, or that too few samples show, are left out.

    Raises
    ------
    RecipeError
        A target is unknown or named twice, or the level is none.
    DataError
        A target is missing in nearly all samples, or as in `correlate`.
    """
    names = [of] if isinstance(of, str) else list(of)
    known = [str(c) for c in (y.var_names if isinstance(y, ad.AnnData) else y.columns)]
    _check(names, known, level)
    made = []
    for name in names:
        one = y[:, [name]] if isinstance(y, ad.AnnData) else y.iloc[:, [known.index(name)]]
        _check_shown(one, name)
        hits = correlate(x, one, kind=kind, fdr=1, null=null, design=design, blocks=blocks, seed=seed)
        table = hits.table.rename(columns={"x": "feature", "y": "target"})
        taken = int(table["n"].max()) - 2 - hits.df  # what a design takes of the pair with most samples
        lower, upper = interval(table["rho"].to_numpy(), table["n"].to_numpy() - taken, kind=kind, level=level)
        made.append(table.assign(lower=lower, upper=upper, rank=np.arange(1, len(table) + 1)))
    first = ["target", "feature", "rank", "rho", "lower", "upper", "p", "q", "n"]
    table = pd.concat(made, ignore_index=True)
    return table[[*first, *(c for c in table if c not in first)]]


def _check(names: Sequence[str], known: Sequence[str], level: float) -> None:
    if not names:
        raise RecipeError("names no feature", where="targets")
    for name in names:
        if name not in known:
            hint = closest(name, known, most=0) or f"there are {len(known):,}, such as {known[0]!r}"
            raise RecipeError("no such feature", where="targets", met=name, hint=hint)
    if len(set(names)) < len(names):
        raise RecipeError("names a feature twice", where="targets", met=names)
    if not 0 < level < 1:
        raise RecipeError("is no level of an interval", where="level", met=level, wanted="above 0, below 1")


def _check_shown(one: Data, name: str) -> None:
    values = one.to_df() if isinstance(one, ad.AnnData) else one
    if (shown := int(values.notna().to_numpy().sum())) < FEWEST:
        raise DataError("is shown by too few samples", where=f"target {name!r}", met=shown, wanted=f"{FEWEST} or more")


def interval(r: np.ndarray, n: np.ndarray, *, kind: Kind, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends for correlations `r`; `n` are the samples less the columns that a design takes.

    Without an end (NaN) where n is at most 3.
    """
    step = 3 / np.maximum(n * (n**2.0 - 1), 6) if kind == "spearman" else 1e-12  # half of that between two values
    size = np.clip(r, -1 + step, 1 - step)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((1 + size**2 / 2 if kind == "spearman" else 1.0) / np.where(n > 3, n - 3.0, np.nan))
    reach = float(ndtri(0.5 + level / 2)) * spread
    middle = np.arctanh(size)
    return np.tanh(middle - reach), np.tanh(middle + reach)


def detectable(least: float, n: float | int, *, kind: Kind, power: float = 0.8) -> float:
    """The true correlation that reaches |r| >= `least` in a share `power` of such studies; 1 where none does.

    By Fisher's transformation, whose spread at the true value is that of `interval`.
    """
    if least >= 1 or n <= 3:
        return 1.0
    r = least
    for _ in range(50):
        spread = np.sqrt((1 + r**2 / 2 if kind == "spearman" else 1.0) / (n - 3))
        r = float(np.tanh(np.arctanh(least) + ndtri(power) * spread))
    return r
