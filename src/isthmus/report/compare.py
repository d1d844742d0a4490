"""A comparison as a page: verdict, leaderboard, differences to PCA, boxes over splits, time against quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isthmus.plot import compare as plot
from isthmus.plot.scores import METRICS
from isthmus.report.blocks import Block, CodeBlock, Facts, FigureBlock, Items, Page, Section, TableBlock
from isthmus.report.definitions import DEFINITIONS
from isthmus.report.modality_rows import rows_section

LEAD_SENTENCES = 3
ASKED = "logistic"
MOST_ROWS = 600
ALPHA = 0.05
FAMILIES = {
    "bh": "Benjamini-Hochberg: at most 5 % of what is told apart is expected to be chance",
    "holm": "Holm: at most 5 % chance that any of it is",
}
METHODS = {
    "Splits": (
        "Every seed draws a new split (and, with folds, new folds) and new initial weights. All settings and baselines "
        "stand on the same splits; whatever is fitted is fitted on train, training stops by valid, and every score is "
        "of test."
    ),
    "PCA and the other baselines": (
        "With as many dimensions as the embedding has (PCA with at most as many as there are features and training "
        "samples), on the same modalities and the same prepared values; raw: all prepared features. PCA sees every "
        "feature alike, so that a modality of many features counts for more; in balanced PCA, and in the models, "
        "modalities count alike. NMF takes the values before preparation, where none is negative."
    ),
    "Difference, interval and p": (
        "Split by split, the score minus that of PCA; interval and p of the mean by the t-test corrected for splits "
        "that share training samples (Nadeau and Bengio 2003, https://doi.org/10.1023/A:1024068626366). Two splits "
        "at least are needed; with few, only large differences can be told."
    ),
    "Adjusted p": (
        "Over all models, modalities, sizes and tasks together; reconstruction, clustering, baselines and each control "
        "by themselves."
    ),
    "Best": (
        "The setting with the highest mean of a score. That it is the best was seen in the same numbers: the p of the "
        "difference to it, which is not corrected, is a guide and no test."
    ),
    "Mean rank": "Of the mean score among all settings of the table, averaged over tasks; 1 is the best.",
    "Seconds, MB": (
        "Time of the processor for the fit alone, on one thread; the most memory of the process meanwhile, Python, "
        "libraries and data included."
    ),
    **{k: DEFINITIONS[k] for k in ("R² (reconstruction)", "AUC", "Learners", "z-score", "Silhouette, ARI, NMI")},
}


@dataclass(frozen=True)
class CompareResults:
    """What a comparison found.

    Attributes
    ----------
    leaderboard, runs
        As `isthmus.comparing` makes them.
    verdict
        In words.
    correction
        `bh` or `holm`.
    recipe, versions
        Resolved, as YAML; package -> version.
    rows
        What each modality adds to the prediction of the heads; None where that was not asked.
    """

    name: str
    subtitle: str
    verdict: list[str]
    leaderboard: pd.DataFrame
    runs: pd.DataFrame
    correction: str
    recipe: str
    versions: dict[str, str]
    rows: pd.DataFrame | None = None


def compare_page(results: CompareResults) -> Page:
    """The report of a comparison; a part without data is left out."""
    parts: list[Callable[[CompareResults], Section]] = [
        rows_section, _summary, _differences, _tasks, _reconstruction, _modalities, _seeds, _controls, _tuned, _cost,
        _failures, _methods, _recipe,
    ]  # fmt: skip
    sections = [s for s in (part(results) for part in parts) if s.blocks or s.lead]
    board = results.leaderboard
    splits = results.runs.drop_duplicates(["seed", "fold"]).shape[0]
    counts = f"{board['id'].nunique():,} settings and baselines · {splits} split{'' if splits == 1 else 's'}"
    return Page(results.name, f"{results.subtitle} · {counts}", results.verdict[:LEAD_SENTENCES], sections)


def _summary(results: CompareResults) -> Section:
    blocks: list[Block] = []
    if rest := results.verdict[LEAD_SENTENCES:]:
        blocks.append(Items(tuple(rest)))
    wide = _wide(results.leaderboard)
    if not wide.empty:
        caption = (
            "Mean scores over all splits, by mean rank over the tasks; models bold. Of the learners, "
            f"{_learner(results.leaderboard)} is shown; against PCA: tasks on which it is told ahead (+) and behind "
            "(−). All scores are in leaderboard.csv, every run in runs.csv."
        )
        models = set(results.leaderboard.loc[results.leaderboard["kind"] == "model", "setting"])
        bold = tuple(s in models for s in wide["setting"])
        forms = {str(c): ".3f" for c in wide if str(c).partition(" ")[0] in METRICS.values() or str(c).endswith("AUC)")}
        forms |= {"mean rank": ".1f", "z": ".1f"}
        blocks.append(TableBlock(wide, caption, "settings", forms, MOST_ROWS, bold=bold, sortable=True))
    return Section("Leaderboard", tuple(blocks))


def _real(board: pd.DataFrame, group: str) -> pd.DataFrame:
    return board[(board["control"] == "") & (board["group"] == group)]


def _learner(board: pd.DataFrame) -> str:
    learners = list(dict.fromkeys(_real(board, "task")["learner"]))
    return ASKED if ASKED in learners or not learners else str(learners[0])


def _wide(board: pd.DataFrame) -> pd.DataFrame:
    """A row per setting, with the scores that fit beside each other."""
    tasks = _real(board, "task")
    real = board[(board["control"] == "") & (board["group"] != "")]
    if real.empty:
        return pd.DataFrame()
    rows = real.drop_duplicates("id").set_index("id")[["setting", "latent", "modalities"]].copy()
    rows["latent"] = rows["latent"].replace(0, np.nan)
    ranks = tasks.assign(rank=tasks.groupby("score")["mean"].rank(ascending=False))
    rows["mean rank"] = ranks.groupby("id")["rank"].mean()
    for (label, metric), of in tasks[tasks["learner"] == _learner(board)].groupby(["label", "metric"], sort=False):
        rows[f"{label} ({METRICS.get(str(metric), metric)})"] = of.set_index("id")["mean"]
    rows["z"] = tasks.groupby("id")["z"].mean()
    rows["R²"] = _whole(_real(board, "reconstruction")).set_index("id")["mean"]
    told = tasks.assign(won=_told(tasks) > 0, lost=_told(tasks) < 0).groupby("id")[["won", "lost"]].sum()
    counted = tasks[tasks["p"].notna()].groupby("id").size()
    rows["PCA told"] = [
        f"+{told.loc[i, 'won']} −{told.loc[i, 'lost']} of {counted[i]}" if i in counted else "" for i in rows.index
    ]
    costs = _real(board, "cost")
    for name, title in (("seconds", "seconds"), ("memory_mb", "MB"), ("parameters", "parameters")):
        rows[title] = costs[costs["score"] == name].set_index("id")["mean"].round(2 if name == "seconds" else 0)
    rows = rows.rename(columns={"PCA told": "against PCA"})
    rows["modalities"] = _short(rows["modalities"])
    rows = rows.dropna(axis=1, how="all")
    by = next((c for c in ("mean rank", "R²") if c in rows), "setting")
    return rows.sort_values(by, ascending=by != "R²", kind="stable").reset_index(drop=True)


def _short(names: pd.Series) -> pd.Series:
    """Combinations of modalities, with `all` for that of most."""
    most = max(dict.fromkeys(names), key=lambda m: len(str(m).split(" + ")), default="")
    found: pd.Series = names.where((names != most) | ~names.str.contains(" + ", regex=False), "all")
    return found


def _told(rows: pd.DataFrame) -> pd.Series:
    sure = (rows["p_adjusted"] < ALPHA) & ((rows["difference_lower"] > 0) | (rows["difference_upper"] < 0))
    told: pd.Series = (np.sign(rows["difference"]) * sure).fillna(0)
    return told


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    """Of a reconstruction, the mean over modalities, or the only one."""
    return rows[(rows["label"] == "all") | (rows["label"] == rows["modalities"])]


def _largest(rows: pd.DataFrame) -> pd.DataFrame:
    """On the combination of most modalities."""
    if rows.empty:
        return rows
    names = max(dict.fromkeys(rows["modalities"]), key=lambda m: len(str(m).split(" + ")))
    found: pd.DataFrame = rows[rows["modalities"] == names]
    return found


def _panels(rows: pd.DataFrame) -> pd.Series:
    titles: pd.Series = rows["label"] + " (" + rows["metric"].map(lambda m: METRICS.get(m, m)) + ")"
    return titles


def _differences(results: CompareResults) -> Section:
    rows = _real(results.leaderboard, "task")
    rows = rows[(rows["kind"] == "model") & rows["difference"].notna()]
    if rows.empty:
        return Section("Against PCA", ())
    lead = (
        f"A difference is told when its interval leaves 0 out and its adjusted p is below {ALPHA} "
        f"({FAMILIES[results.correction]})."
    )
    drawn = _largest(rows[rows["learner"] == _learner(results.leaderboard)])
    figure = plot.intervals(
        drawn.assign(panel=_panels(drawn)), names="setting", colours="latent", panels="panel", unit="difference to PCA"
    )
    where = str(drawn["modalities"].iloc[0])
    caption = (
        f"Difference to PCA of as many dimensions{_fewer(results.leaderboard, where)}, with 95 % intervals, on "
        f"{where}; filled: the interval leaves 0 out."
    )
    columns = [
        "setting", "latent", "modalities", "label", "learner", "mean", "difference", "difference_lower",
        "difference_upper", "p", "p_adjusted",
    ]  # fmt: skip
    table = rows[columns].sort_values("p", kind="stable").reset_index(drop=True)
    table = table.assign(modalities=_short(table["modalities"]))
    table = table.rename(columns={"difference_lower": "from", "difference_upper": "to"})
    forms = dict.fromkeys(("mean", "difference", "from", "to"), ".3f") | {"p": ".2g", "p_adjusted": ".2g"}
    text = "Every comparison with PCA, the surest first."
    blocks = (
        FigureBlock(figure, caption, "differences"),
        TableBlock(table, text, "differences", forms, MOST_ROWS, sortable=True),
    )
    return Section("Against PCA", blocks, lead)


def _fewer(board: pd.DataFrame, modalities: str) -> str:
    """Where PCA of some modalities could not have as many dimensions as were asked for."""
    pca = board[(board["model"] == "pca") & (board["modalities"] == modalities) & (board["control"] == "")]
    sizes = pca.loc[pca["dimensions"] < pca["latent"], ["dimensions", "latent"]].drop_duplicates().astype(int)
    said = [f"{d} instead of {asked}" for d, asked in sizes.itertuples(index=False)]
    return f" ({', '.join(said)}: there are no more features, or training samples)" if said else ""


def _drawn(results: CompareResults, group: str) -> pd.DataFrame:
    """Runs of the largest combination of modalities, draws of random features averaged."""
    runs = results.runs[(results.runs["control"] == "") & (results.runs["group"] == group)]
    keys = [
        "id",
        "setting",
        "kind",
        "model",
        "latent",
        "modalities",
        "seed",
        "fold",
        "score",
        "label",
        "learner",
        "metric",
    ]
    asked = set(runs.loc[runs["kind"] == "model", "latent"]) | {0}
    runs = runs[
        runs["latent"].isin(asked)
    ]  # PCA of other sizes is there for embeddings larger than they were asked to be
    means: pd.DataFrame = runs.groupby(keys, sort=False)["value"].mean().reset_index()
    return means


def _one_learner(results: CompareResults) -> pd.DataFrame:
    runs = _drawn(results, "task")
    runs = runs[(runs["learner"] == _learner(results.leaderboard)) & runs["metric"].isin(["auc", "r2"])]
    return runs.assign(panel=_panels(runs), latent=runs["latent"].astype(object).replace(0, "all"))


def _tasks(results: CompareResults) -> Section:
    runs = _largest(_one_learner(results))
    if runs.empty:
        return Section("Tasks", ())
    figure = plot.boxes(
        runs, rows="setting", colours="latent", panels="panel", unit=f"score ({_learner(results.leaderboard)})"
    )
    who, where = _learner(results.leaderboard), runs["modalities"].iloc[0]
    caption = f"Scores of {who} over splits, by setting and latent dimensions, on {where}."
    return Section("Tasks", (FigureBlock(figure, caption, "tasks"),))


def _reconstruction(results: CompareResults) -> Section:
    runs = _largest(_whole(_drawn(results, "reconstruction")))
    if runs.empty:
        return Section("Reconstruction", ())
    runs = runs.assign(panel="R², mean over modalities" if (runs["label"] == "all").all() else "R²")
    low = max(-0.25, float(runs["value"].min()))
    figure = plot.boxes(
        runs.assign(value=runs["value"].clip(lower=low)), rows="setting", colours="latent", panels="panel", unit="R²"
    )
    beyond = " Values below −0.25 are drawn there." if (runs["value"] < low).any() else ""
    caption = f"Reconstruction of the test samples, on {runs['modalities'].iloc[0]}; 0 is the train mean.{beyond}"
    return Section("Reconstruction", (FigureBlock(figure, caption, "reconstruction"),))


def _modalities(results: CompareResults) -> Section:
    runs = _one_learner(results)
    if runs.empty or runs["modalities"].nunique() < 2:
        return Section("Modalities", ())
    runs = runs[(runs["kind"] == "model") | (runs["model"] == "pca")]
    means = runs.groupby(["modalities", "setting", "kind", "latent", "panel"], sort=False)["value"].mean().reset_index()
    means = means.assign(modalities=_short(means["modalities"]))
    means = means.assign(what=np.where(means["kind"] == "model", "models", "PCA"), kind="model")
    figure = plot.boxes(means, rows="modalities", colours="what", panels="panel", unit="mean score over splits")
    caption = "Mean scores by combination of modalities: a dot is a setting."
    return Section("Modalities", (FigureBlock(figure, caption, "modalities"),))


def _seeds(results: CompareResults) -> Section:
    runs = _one_learner(results)
    if runs.empty or runs.drop_duplicates(["seed", "fold"]).shape[0] < 2:
        return Section("Seeds and folds", ())
    mean = runs.groupby(["id", "score"])["value"].transform("mean")
    figure = plot.deviations(
        runs.assign(deviation=runs["value"] - mean), rows="setting", unit="score minus its mean over splits"
    )
    caption = (
        "How far a single split lies from the mean, all tasks, sizes and modalities together: what one run may tell."
    )
    return Section("Seeds and folds", (FigureBlock(figure, caption, "seeds"),))


def _controls(results: CompareResults) -> Section:
    board = results.leaderboard
    rows = board[(board["control"] != "") & (board["group"] == "task")]
    if rows.empty:
        return Section("Controls", ())
    keys = ["setting", "latent", "modalities", "label", "learner"]
    intact = _real(board, "task").set_index(keys)["mean"].rename("intact")
    table = rows[["control", *keys, "mean", "lower", "upper"]].join(intact, on=keys).reset_index(drop=True)
    table = table.assign(modalities=_short(table["modalities"]))
    lead = (
        "labels: labels permuted among all samples; pairing: training samples of all modalities but the first "
        "permuted; noise: every feature of the last modality permuted; mean: the last modality replaced by its mean."
    )
    forms = dict.fromkeys(("mean", "lower", "upper", "intact"), ".3f")
    caption = "Scores with the control, and without it (intact)."
    return Section("Controls", (TableBlock(table, caption, "controls", forms, MOST_ROWS, sortable=True),), lead)


def _tuned(results: CompareResults) -> Section:
    rows = _real(results.leaderboard, "task")
    rows = _largest(rows[rows["learner"] == _learner(results.leaderboard)])
    keys = ["model", "keys", "latent", "label", "metric"]
    tuned = rows[rows["tuned"].astype(bool)].set_index(keys)["mean"].rename("tuned")
    if tuned.empty:
        return Section("Tuned and untuned", ())
    pairs = rows[~rows["tuned"].astype(bool)].join(tuned, on=keys, how="inner")
    pairs = pairs.assign(
        untuned=pairs["mean"], panel=_panels(pairs), name=pairs["setting"] + " " + pairs["latent"].astype(str)
    )
    figure = plot.gains(pairs, unit="mean score over splits")
    caption = "Settings of the recipe (hollow) and those of the tuned recipe (filled)."
    table = pairs[["setting", "latent", "label", "untuned", "tuned"]].reset_index(drop=True)
    blocks = (
        FigureBlock(figure, caption, "tuned"),
        TableBlock(table, "The same in numbers.", "tuned", dict.fromkeys(("untuned", "tuned"), ".3f")),
    )
    return Section("Tuned and untuned", blocks)


def _cost(results: CompareResults) -> Section:
    board = _largest(results.leaderboard[results.leaderboard["control"] == ""])
    tasks = board[(board["group"] == "task") & (board["learner"] == _learner(results.leaderboard))]
    seconds = board[board["score"] == "seconds"].set_index("id")["mean"]
    if tasks.empty:
        return Section("Time against quality", ())
    points = tasks.groupby(["id", "setting", "kind"], sort=False)["mean"].mean().reset_index()
    points = points.assign(seconds=points["id"].map(seconds), value=points["mean"], name=points["setting"])
    figure = plot.quality(points, unit="mean score over labels")
    caption = (
        "Seconds of a fit on one thread against the mean score; a mark per setting and size, baselines as squares. The "
        "line joins what nothing quicker reaches."
    )
    return Section("Time against quality", (FigureBlock(figure, caption, "quality"),))


def _failures(results: CompareResults) -> Section:
    board = results.leaderboard
    failed = board[board["note"] != ""].drop_duplicates("id")
    if failed.empty:
        return Section("What did not run", ())
    table = failed.groupby(["setting", "note"], sort=False).agg(settings=("id", "size")).reset_index()
    return Section(
        "What did not run", (TableBlock(table, "Settings without a score, or not of every split.", "failures", {}, 60),)
    )


def _methods(results: CompareResults) -> Section:
    facts = METHODS | {"Adjusted p": f"{METHODS['Adjusted p']} {FAMILIES[results.correction]}."}
    return Section("Methods", (Facts(facts),), "What the numbers mean.")


def _recipe(results: CompareResults) -> Section:
    text = "The resolved recipe: with it and the data, the comparison can be repeated."
    return Section("Recipe and versions", (CodeBlock(results.recipe, text), Facts(results.versions)))


__all__: Sequence[str] = ["CompareResults", "compare_page"]
