"""The report of a search for settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from isthmus.plot import tune as plot
from isthmus.report.blocks import Block, CodeBlock, Facts, FigureBlock, Page, Prose, Section, TableBlock

__all__ = ["TuneResults", "tune_page"]

MOST_TRIALS = 25
NAMES = {"default": "recipe's own", "best": "tuned"}
WORDS = {
    "trial": "One proposal of settings, fitted on train and judged on valid samples (or by folds within both).",
    "valid loss": "Mean over samples, annealing over, at the recipe's own weights of its terms: losses under two "
    "values of beta cannot be compared.",
    "reconstruction": "R² over all entries of a modality against the train means; the mean over modalities.",
    "translation/a->b": "The same for modality b, predicted from a alone.",
    "embedding/label/learner": "AUC (classes) or R² (values) of a learner that reads the embedding.",
    "stopped early": "The pruner ended it: at some epoch (or fold) it was behind the median of earlier trials.",
    "importance": "Share of the variance of the score over the space, by fANOVA (Hutter et al. 2014). It depends on "
    "the ranges: what hardly varied cannot matter.",
    "test": "Samples that no trial has seen. The recipe's own and the tuned settings are fitted again, same seeds.",
}


@dataclass(frozen=True)
class TuneResults:
    """What a search found; any table may be empty.

    Attributes
    ----------
    name, verdict
        A title; what came of it, in words.
    trials
        study, number, state, value (or value/<score>), a column per parameter, reason.
    space
        parameter, range, scale (linear, log, choice), default, best.
    importances
        parameter, importance.
    refits, comparison
        fold, settings, seed, score, value; score, default, default_sd, best, best_sd, difference, lower, upper.
    larger
        Score -> whether larger is better.
    best
        Number of the best trial.
    scores
        What trials are judged by.
    compromises
        Whether several scores were pursued at once.
    recipe, found
        The recipe of the search, and that with the best settings.
    """

    name: str
    verdict: list[str]
    trials: pd.DataFrame
    space: pd.DataFrame
    importances: pd.DataFrame
    refits: pd.DataFrame
    comparison: pd.DataFrame
    larger: Mapping[str, bool]
    best: int
    scores: tuple[str, ...]
    compromises: bool
    recipe: str
    found: str

    @property
    def last(self) -> pd.DataFrame:
        """The trials of the study that the best settings come from, with a column `value`."""
        rows: pd.DataFrame = self.trials[self.trials["study"] == self.trials["study"].iloc[-1]]
        return rows if "value" in rows else rows.assign(value=rows[f"value/{self.scores[0]}"])

    @property
    def label(self) -> str:
        """What `value` is."""
        return self.scores[0] if self.compromises or len(self.scores) == 1 else "weighted sum"

    @property
    def upwards(self) -> bool:
        """Whether a larger `value` is better."""
        return self.larger[self.scores[0]] if self.compromises or len(self.scores) == 1 else True


def tune_page(results: TuneResults) -> Page:
    """The verdict first; then the best settings beside the recipe's own, the search, what mattered, the recipes."""
    studies = results.trials["study"].nunique()
    subtitle = f"{len(results.last):,} trials" + (f" in each of {studies} studies" if studies > 1 else "")
    sections = [_test(results), _settings(results), _search(results), _mattered(results), _methods(), _recipes(results)]
    return Page(results.name, subtitle, results.verdict, [s for s in sections if s.blocks])


def _test(results: TuneResults) -> Section:
    if results.comparison.empty:
        return Section("On the test samples", (Prose("The recipe leaves no test samples: nothing was compared."),))
    caption = (
        "The tuned settings beside the recipe's own on the test samples, means and standard deviations over seeds "
        "(with nested folds, over folds). The difference is positive where the tuned ones are better."
    )
    rows = results.comparison
    table = pd.DataFrame(
        {
            "score": rows["score"],
            "recipe's own": _with_sd(rows["default"], rows["default_sd"]),
            "tuned": _with_sd(rows["best"], rows["best_sd"]),
            "difference": [_to(*row) for row in zip(rows["difference"], rows["upper"] - rows["lower"], strict=True)],
            "95 % interval": _ranges(rows),
        }
    )
    blocks: list[Block] = [
        FigureBlock(
            plot.refits_by_seed(results.refits, larger=results.larger),
            "Every refit on the test samples; a line joins two fits with the same seed, a bar is the mean.",
            "refits",
        ),
        TableBlock(results.comparison, caption, "comparison", excerpt=table),
        _by_seed(results.refits),
    ]
    return Section("On the test samples", tuple(blocks))


def _by_seed(refits: pd.DataFrame) -> TableBlock:
    """Every refit, on the page a column per seed."""
    wide = refits.pivot_table(index=["score", "fold", "settings"], columns="seed", values="value", sort=False)
    excerpt = wide.reset_index().rename(columns=lambda c: f"seed {c}" if isinstance(c, int) else str(c))
    excerpt = excerpt.drop(columns="fold") if refits["fold"].nunique() == 1 else excerpt
    excerpt["settings"] = excerpt["settings"].replace(NAMES)
    formats = {c: ".4f" if excerpt[c].abs().max() < 10 else ".4g" for c in excerpt.columns if c.startswith("seed ")}
    return TableBlock(refits, "Every refit on the test samples.", "refits", formats, most_rows=24, excerpt=excerpt)


def _with_sd(means: pd.Series, sds: pd.Series) -> list[str]:
    """Mean ± sd, both to the second digit of the sd."""
    return [f"{_to(m, s)} ± {_to(s, s)}" for m, s in zip(means, sds, strict=True)]


def _ranges(rows: pd.DataFrame) -> list[str]:
    ends = zip(rows["lower"], rows["upper"], strict=True)
    return [f"{_to(a, b - a)} to {_to(b, b - a)}" if a == a and b == b else "–" for a, b in ends]


def _to(value: float, spread: float) -> str:
    """A number to the second digit of its spread; to four digits where that is 0 or unknown."""
    if not spread > 0 or math.isinf(spread):
        return f"{value:.4g}".replace("-", "\u2212")
    return f"{value:.{max(0, 1 - math.floor(math.log10(spread)))}f}".replace("-", "\u2212")


def _settings(results: TuneResults) -> Section:
    caption = "What was varied, within which range, and what the search found. The whole recipe is best.yaml."
    columns = [c for c in ("parameter", "range", "default", "best") if c in results.space]
    shown = results.space[columns].rename(columns=NAMES)
    return Section("Settings", (TableBlock(results.space, caption, "space", excerpt=shown),))


def _search(results: TuneResults) -> Section:
    rows = results.last
    scales = dict(zip(results.space["parameter"], results.space["scale"], strict=True))
    caption = f"{results.label} of every trial, and the best so far."
    blocks: list[Block] = [
        FigureBlock(plot.course(rows, larger=results.upwards, label=results.label), _sentence(caption), "history")
    ]
    if results.compromises:
        whole = rows[rows["value"].notna()]
        figure = plot.compromises(whole, results.scores, best=results.best)
        blocks.append(FigureBlock(figure, "Whole trials by two scores, and the compromise that was chosen.", "pareto"))
    figure = plot.parallel(rows, scales, larger=results.upwards, best=results.best, label=results.label)
    caption = (
        "Every whole trial as a line through its settings, the brighter the better; the thick line is the best. "
        "Ends of an axis are the lowest and highest value that was tried; on the last one trials stand by rank."
    )
    blocks.append(FigureBlock(figure, caption, "parallel"))
    order = rows.sort_values("value", ascending=not results.upwards, kind="stable")
    excerpt = order.drop(columns=[c for c in ("study", "reason") if c in order]).head(MOST_TRIALS)
    caption = f"The best {min(MOST_TRIALS, len(order))} of the trials." if len(order) > MOST_TRIALS else "The trials."
    formats = {str(c): ".4g" for c in excerpt.select_dtypes("float").columns}
    bold = tuple(n == results.best for n in excerpt["number"])
    blocks.append(
        TableBlock(results.trials, caption, "trials", formats, most_rows=MOST_TRIALS, excerpt=excerpt, bold=bold)
    )
    return Section("The search", tuple(blocks))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].replace("_", " ", 1) if text[:1].islower() else text


def _mattered(results: TuneResults) -> Section:
    if results.importances.empty:
        return Section("What mattered", (Prose("Too few whole trials, or too much alike, to say what mattered."),))
    caption = "Importance of every parameter for the score, by fANOVA over the trials that came to their end."
    figure = FigureBlock(plot.importance_bars(results.importances), caption, "importances")
    table = TableBlock(results.importances, "The same as numbers.", "importances", {"importance": ".3f"})
    return Section("What mattered", (figure, table))


def _methods() -> Section:
    return Section("Methods", (Facts(WORDS),))


def _recipes(results: TuneResults) -> Section:
    blocks = (
        CodeBlock(results.found, "best.yaml: isthmus run takes it as it is."),
        CodeBlock(results.recipe, "The recipe of the search."),
    )
    return Section("Recipes", blocks)
