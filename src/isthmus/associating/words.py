"""What a test of all pairs came to, in sentences: what could be seen first, then what was."""

from __future__ import annotations

import numpy as np
import pandas as pd

from isthmus.associate.targets import detectable
from isthmus.associating.lines import Lines
from isthmus.associating.recipe import Associating
from isthmus.associating.study import Direct, adjusted, control_cells
from isthmus.associating.tables import Tables, in_words, varying
from isthmus.plot.associate import short_name

__all__ = ["KINDS", "verdict"]

KINDS = {"spearman": "Spearman's ρ", "pearson": "Pearson's r", "bicor": "the biweight midcorrelation"}
CORRECTIONS = {
    "bh": "a false discovery rate of {:g} (Benjamini-Hochberg)",
    "by": "a false discovery rate of {:g} (Benjamini-Yekutieli)",
    "bonferroni": "a family-wise error of {:g} (Bonferroni)",
    "storey": "a false discovery rate of {:g} (Storey)",
}
POWER = 0.8


def verdict(tables: Tables, keys: Associating, found: Direct, lines: Lines) -> list[str]:
    """The smallest effect that could be seen; what was accepted, naively and adjusted; controls; further lines."""
    said = [_detectable(tables, keys, found), *_accepted(tables, keys, found), _control(tables, found)]
    said += _targets(keys, found.targets)
    return said + _further(keys, lines)


def _detectable(tables: Tables, keys: Associating, found: Direct) -> str:
    hits, (a, b) = found.hits, keys.between
    size = f"{varying(tables.x).sum():,} features of {a} x {varying(tables.y).sum():,} of {b}"
    text = f"Minimum detectable effect: with n = {hits.n_samples} samples and {hits.n_tests:,} pairs tested ({size}), "
    if hits.minimum_detectable > 1:
        return f"{text}no pair could be accepted alone, not even with a correlation of 1; only many together could."
    true = detectable(hits.minimum_detectable, hits.df + 2, kind=keys.correlation, power=POWER)
    text += f"a pair alone needs |{_symbol(keys)}| of {hits.minimum_detectable:.3f} or more"
    if true < 1 - 5e-4:
        text += f", which a true correlation of {true:.3f} reaches in {100 * POWER:g} % of such studies"
    return f"{text}."


def _symbol(keys: Associating) -> str:
    return "ρ" if keys.correlation == "spearman" else "r"


def _accepted(tables: Tables, keys: Associating, found: Direct) -> list[str]:
    level = CORRECTIONS[keys.correction].format(keys.fdr)
    hits = found.hits
    if keys.fdr == 1:
        return [f"All {hits.n_hits:,} pairs are listed by {KINDS[keys.correlation]}{_range(hits.table)}."]
    if found.marginal is None:
        said = [f"{_many(hits.n_hits)} accepted by {KINDS[keys.correlation]} at {level}{_range(hits.table)}."]
        if tables.blocks is None:
            said.append("No groups were taken out: if the samples come in groups, these are among what was found.")
        return said
    naive, kept = found.marginal.n_hits, _kept(found)
    groups = "" if tables.design is None else in_words(tables.design.columns)
    first = (
        f"With {groups} taken out {_many(hits.n_hits)} accepted by {KINDS[keys.correlation]} at {level}"
        f"{_range(hits.table)}; as the samples stand, {naive:,} would be."
    )
    gone = naive - kept
    if naive == 0:
        return [first]
    part = 100 * gone / naive
    share = f"{gone:,} of these {naive:,} ({'over 99' if 99 < part < 100 else f'{part:.0f}'} %)"
    second = (
        f"{share} do not survive: within groups they are not seen, so that they are differences between groups, or "
        "too weak to be seen without these."
    )
    both = f"{_many(kept).capitalize()} accepted both ways, {hits.n_hits - kept:,} only with {groups} taken out."
    return [first, f"{second if gone else 'All of these survive.'} {both}"]


def _many(count: int) -> str:
    return "no pair is" if count == 0 else "1 pair is" if count == 1 else f"{count:,} pairs are"


def _kept(found: Direct) -> int:
    table = adjusted(found)
    return int(table["marginal_hit"].sum()) if "marginal_hit" in table else len(table)


def _range(table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    first = table.iloc[0]
    return f" (first {short_name(first['x'], 40)} with {short_name(first['y'], 40)}, {first['rho']:+.2f})"


def _control(tables: Tables, found: Direct) -> str:
    within = "" if control_cells(tables) is None else " within groups"
    control = found.control
    text = f"Control: with the samples of one modality permuted{within} {_many(control.n_hits)} accepted"
    return f"{text} of {control.n_tests:,}."


def _targets(keys: Associating, ranked: pd.DataFrame) -> list[str]:
    said = []
    for name in keys.of:
        of = ranked[ranked["target"].astype(str) == name]
        hits = int((of["q"] <= keys.fdr).sum())
        best = of.iloc[0] if len(of) else None
        text = f"For {name}, {len(of):,} features are ranked, {hits:,} with q up to {keys.fdr:g}"
        if best is not None:
            ends = (
                ""
                if np.isnan(best["lower"])
                else f", {100 * keys.level:g} % interval {best['lower']:+.2f} to {best['upper']:+.2f}"
            )
            text += f"; first {best['feature']}, {best['rho']:+.2f}{ends}"
        said.append(f"{text}.")
    return said


def _further(keys: Associating, lines: Lines) -> list[str]:
    """A sentence for each further line; the report says more."""
    said = []
    if (stable := lines.stability) is not None:
        said.append(
            f"Stability: {_many(stable.n_stable)} among the best in {100 * stable.threshold:.0f} % of the halves of "
            f"the samples or more; at most {stable.expected_false:.2g} would be expected by chance."
        )
    if (latent := lines.latent) is not None:
        count = int((latent.table["q"] <= keys.fdr).sum()) if latent.table["q"].notna().any() else None
        chance = "" if np.isnan(latent.p_any) else f"; chance reaches the largest score with p = {latent.p_any:.2g}"
        what = "scored, without a null" if count is None else f"of q up to {keys.fdr:g}"
        pairs = len(latent.table) if count is None else count
        said.append(f"By way of latent dimensions {pairs:,} pairs are {what}{chance}.")
    if lines.graph is not None:
        said += [w for w in lines.graph.words if "earn" in w][:1]
    return said
