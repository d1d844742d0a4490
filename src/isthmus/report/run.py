"""The results of a run as a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from isthmus import plot
from isthmus.plot.embedding import MOST_DIMENSIONS
from isthmus.plot.groups import kind_of, levels
from isthmus.plot.scores import METRICS, interval, is_baseline, learner_title, main_metric
from isthmus.plot.training import TOTALS, terms_of
from isthmus.report.blocks import (
    Block,
    CodeBlock,
    Facts,
    FigureBlock,
    Items,
    Page,
    Prose,
    ScatterBlock,
    Section,
    TableBlock,
)
from isthmus.report.definitions import DEFINITIONS

NAMES = {
    "pca": "PCA",
    "umap": "UMAP",
    "random_features": "random features",
    "raw": "raw features",
    "mean": "train mean",
}
LEAD_SENTENCES = 4
EXTREMES = 3
RECONSTRUCTION = (
    "modality", "split", "representation", "r2", "r2_sample", "r2_feature", "pearson_feature", "pearson_sample",
    "mse", "mae",
)  # fmt: skip
"""The scores of a reconstruction that fit beside each other on the page."""


@dataclass(frozen=True)
class RunResults:
    """What a run found; any table may be empty.

    Attributes
    ----------
    verdict
        What beat what, in words, the overall sentence first.
    combinations
        A row per combination of present modalities: a bool column per modality, `samples`.
    cohort
        modality, samples, features before and after preparation, missing share, likelihood, steps.
    splits
        split, samples.
    history, best_epoch
        A row per epoch: `phase`, `epoch`, `train/<term>`, `valid/<term>`; the epoch whose weights were kept.
    reconstruction
        modality, split, representation, r2, r2_sample, r2_feature, mse, ...
    by_feature
        modality, feature, r2, mse, pearson; of the model, on test.
    embedding, obs
        Samples x latent dimensions and samples x annotations, ids in the index of both, aligned by it.
    views
        Name of a view -> two coordinates per sample, ids in the index.
    benchmark
        representation, label, learner, metric, mean, sd or lower and upper, n, difference, difference_lower,
        difference_upper, p, p_adjusted, z.
    clustering
        Any columns, a row per representation and label.
    preparation
        modality, step, before, after, message.
    recipe
        Resolved, as YAML.
    versions, citation, notes
        Package -> version; how to cite; warnings worth a look.
    more
        Further sections, made by their own files of `report`; they stand before the benchmark.
    """

    name: str
    verdict: list[str]
    combinations: pd.DataFrame
    cohort: pd.DataFrame
    splits: pd.DataFrame
    history: pd.DataFrame
    best_epoch: int | None
    reconstruction: pd.DataFrame
    by_feature: pd.DataFrame
    embedding: pd.DataFrame
    obs: pd.DataFrame
    views: dict[str, pd.DataFrame]
    benchmark: pd.DataFrame
    clustering: pd.DataFrame
    preparation: pd.DataFrame
    recipe: str
    versions: dict[str, str]
    citation: str
    notes: list[str]
    more: tuple[Section, ...] = ()


def run_page(results: RunResults) -> Page:
    """The report of a run: verdict first; a part without data is left out or says why it is not there."""
    before: list[Callable[[RunResults], Section]] = [_summary, _cohort, _training, _reconstruction, _embedding]
    after: list[Callable[[RunResults], Section]] = [_benchmark, _methods, _recipe, _citation]
    made = [*(part(results) for part in before), *results.more, *(part(results) for part in after)]
    sections = [section for section in made if section.blocks or section.lead]
    lead = results.verdict[:LEAD_SENTENCES] or ["No comparison was made: the recipe asks for no evaluation."]
    return Page(results.name, _subtitle(results), lead, sections)


def _subtitle(results: RunResults) -> str:
    samples, latent = results.embedding.shape
    parts = [
        f"{samples:,} samples" if samples else "",
        f"{len(results.cohort)} modalit{'y' if len(results.cohort) == 1 else 'ies'}" if len(results.cohort) else "",
        f"{latent} latent dimension{'' if latent == 1 else 's'}" if latent else "",
    ]
    return " · ".join(p for p in parts if p)


def _summary(results: RunResults) -> Section:
    blocks: list[Block] = []
    if rest := results.verdict[LEAD_SENTENCES:]:
        blocks.append(Items(tuple(rest)))
    if not results.reconstruction.empty:
        frame = _named(_only_test(results.reconstruction))
        columns = [c for c in ("modality", "representation", "r2", "pearson_feature", "mse") if c in frame]
        caption = "Reconstruction on the test samples. R² is measured against the train means: 0 is as good as these."
        blocks.append(_comparison(frame[columns], caption, "summary_reconstruction"))
    if not (scores := _scores(results.benchmark)).empty:
        caption = "Score of a probe on each representation, on the test samples; one learner per label."
        blocks.append(_comparison(_wide(scores), caption, "summary_benchmark"))
    if results.notes:
        blocks += [Prose("Worth a look:"), Items(tuple(results.notes))]
    return Section("Summary", tuple(blocks))


def _cohort(results: RunResults) -> Section:
    blocks: list[Block] = []
    if not results.cohort.empty:
        caption = "The modalities, with features before and after preparation."
        blocks.append(TableBlock(results.cohort, caption, "cohort"))
    if not results.combinations.empty:
        caption = (
            "How many samples have which modalities: a row per combination, a filled dot for a modality that is there."
        )
        if results.combinations.shape[1] > 2:
            blocks.append(FigureBlock(plot.presence(results.combinations), caption, "combinations"))
        blocks.append(TableBlock(results.combinations, "Samples of every combination of modalities.", "combinations"))
    if not results.splits.empty:
        blocks.append(TableBlock(results.splits, "Samples of each split.", "splits"))
    if not results.preparation.empty:
        caption = "Preparation, fitted on the train samples: features before and after each step."
        blocks.append(TableBlock(results.preparation, caption, "preparation"))
    return Section("Cohort", tuple(blocks))


def _training(results: RunResults) -> Section:
    if results.history.empty:
        return Section("Training", (), "No history was kept.")
    epochs = len(results.history)
    lead = f"{epochs:,} epoch{'' if epochs == 1 else 's'} were trained."
    if results.best_epoch is not None:
        lead += f" The weights of epoch {results.best_epoch}, the best on the valid samples, were kept."
    curves = plot.loss_curves(results.history, best_epoch=results.best_epoch)
    caption = "The loss and each of its terms, on train (dashed) and valid samples. Panels differ in scale."
    blocks: list[Block] = [FigureBlock(curves, caption, "loss")]
    if len([t for t in terms_of(results.history) if t not in TOTALS and f"train/{t}" in results.history]) > 1:
        how = "with its weight" if any(str(c).startswith("weight/") for c in results.history) else "before weighting"
        caption = f"Share of each term, {how}, in the sum of their absolute values, on train samples."
        blocks.append(FigureBlock(plot.term_shares(results.history), caption, "terms"))
    return Section("Training", tuple(blocks), lead)


def _reconstruction(results: RunResults) -> Section:
    blocks: list[Block] = []
    if not results.reconstruction.empty:
        frame = _named(results.reconstruction)
        caption = (
            "Reconstruction by the model and by its baselines with as many dimensions. "
            "Further scores are in tables/reconstruction.csv."
        )
        excerpt = frame[[c for c in RECONSTRUCTION if c in frame]]
        blocks.append(replace(_comparison(excerpt, caption, "reconstruction"), frame=frame, excerpt=excerpt))
    if not results.by_feature.empty:
        figure = plot.reconstruction_by_feature(results.by_feature)
        caption = "R² of every feature on the test samples, by modality; the line is the median."
        blocks.append(FigureBlock(figure, caption, "reconstruction_by_feature"))
        caption = f"The {EXTREMES} best and the {EXTREMES} worst reconstructed features of each modality."
        extremes = _extremes(results.by_feature)
        blocks.append(TableBlock(results.by_feature, caption, "by_feature", {}, most_rows=60, excerpt=extremes))
    lead = "" if blocks else "The recipe asks for no evaluation of the reconstruction."
    return Section("Reconstruction", tuple(blocks), lead)


def _extremes(by_feature: pd.DataFrame) -> pd.DataFrame:
    """The best and the worst features of every modality, best first, none twice."""
    ordered = by_feature.dropna(subset=["r2"]).sort_values("r2", ascending=False, kind="stable")
    ordered = ordered[["modality", *(c for c in ordered if c != "modality")]]
    parts = []
    for modality in dict.fromkeys(by_feature["modality"]):
        part = ordered[ordered["modality"] == modality]
        few = len(part) <= 2 * EXTREMES
        parts.append(part if few else pd.concat([part.head(EXTREMES), part.tail(EXTREMES)]))
    return pd.concat(parts) if parts else ordered


def _embedding(results: RunResults) -> Section:
    if results.embedding.empty:
        return Section("Embedding", (), "No sample was embedded.")
    label = _class_label(results)
    blocks: list[Block] = []
    for name, xy in results.views.items():
        obs = results.obs.reindex(xy.index)
        caption = f"{name}, one point per sample. Without JavaScript, hold the pointer on a point for its sample id."
        blocks.append(ScatterBlock(xy, obs, xy.index, caption, name, label))
    if label is not None:
        classes = results.obs[label].reindex(results.embedding.index)
        names = [str(c) for c in results.embedding.columns]
        figure = plot.ridgelines(results.embedding.to_numpy(dtype=float), classes, names)
        caption = f"Density of the latent dimensions by {label}; η² is the share of variance between classes."
        if len(names) > MOST_DIMENSIONS:
            caption += f" The {MOST_DIMENSIONS} of {len(names)} dimensions with the largest η² are shown."
        blocks.append(FigureBlock(figure, caption, "ridgelines"))
    if not results.clustering.empty:
        caption = "How the classes of each annotation lie in the embedding."
        blocks.append(_comparison(_named(results.clustering), caption, "clustering"))
    return Section("Embedding", tuple(blocks))


def _class_label(results: RunResults) -> str | None:
    """The annotation to colour by: the first benchmarked label with classes, else the first with 2 to 24 of them."""
    labels = list(dict.fromkeys(results.benchmark["label"])) if "label" in results.benchmark else []
    others = [c for c in results.obs.columns if c not in (*labels, "split", "fold")]
    for name in [*(c for c in labels if c in results.obs), *others, "split"]:
        has_classes = name in results.obs and kind_of(results.obs[name]) == "categorical"
        if has_classes and (name in labels or 2 <= levels(results.obs[name]) <= 24):
            return str(name)
    return None


def _benchmark(results: RunResults) -> Section:
    scores = _named(results.benchmark)
    if scores.empty:
        return Section("Benchmark", (), "The recipe names no label, so that nothing was predicted from the embedding.")
    lead = (
        "A probe is trained on each representation of the train samples and scored on the test samples. "
        "Whatever the model offers, it has to show beside PCA with as many dimensions."
    )
    caption = "Score and 95 % interval of the model (filled) and of the baselines (hollow), by label and learner."
    figure = FigureBlock(plot.benchmark(scores), caption, "benchmark")
    main = _with_intervals(main_metric(scores))
    caption = (
        "Scores, and differences to PCA, each with its 95 % interval; a difference whose interval holds 0 may be none."
    )
    bold = tuple(not is_baseline(str(r)) for r in main["representation"])
    table = TableBlock(scores, caption, "benchmark", _three(main) | {"z": ".1f"}, most_rows=80, excerpt=main, bold=bold)
    return Section("Benchmark", (figure, table), lead)


def _with_intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores as a page shows them: both ends of an interval in one column."""
    lower, upper = interval(rows)
    if "metric" in rows:
        learners = [learner_title(str(n), str(m)) for n, m in rows[["learner", "metric"]].itertuples(index=False)]
        rows = rows.assign(label=rows["label"].astype(str) + " (" + _metric(rows) + ")", learner=learners)
    columns = [c for c in ("label", "learner", "representation", "mean") if c in rows]
    out = rows[columns].assign(interval=_ranges(lower, upper))
    if "difference" in rows:
        out["difference to PCA"] = rows["difference"]
    if {"difference_lower", "difference_upper"} <= set(rows.columns):
        out["its interval"] = _ranges(rows["difference_lower"], rows["difference_upper"])
    return out.join(rows[[c for c in ("p_adjusted", "z") if c in rows]])


def _ranges(lower: object, upper: object) -> list[str]:
    ends = zip(pd.Series(lower).tolist(), pd.Series(upper).tolist(), strict=True)
    return [_range(a, b) if a == a and b == b else "–" for a, b in ends]


def _range(lower: float, upper: float) -> str:
    return f"{lower:.3f}–{upper:.3f}" if lower >= 0 else f"{lower:.3f} to {upper:.3f}".replace("-", "\u2212")


def _methods(_: RunResults) -> Section:
    return Section("Methods", (Facts(DEFINITIONS),), "What the numbers mean.")


def _recipe(results: RunResults) -> Section:
    blocks: list[Block] = []
    if results.recipe:
        blocks.append(CodeBlock(results.recipe, "The resolved recipe: with it and the data, the run can be repeated."))
    if results.versions:
        blocks.append(Facts(results.versions))
    return Section("Recipe and versions", tuple(blocks))


def _citation(results: RunResults) -> Section:
    return Section("How to cite", (Prose(results.citation, linked=True),) if results.citation else ())


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Baselines under the names that a reader knows them by."""
    if "representation" not in frame:
        return frame
    return frame.assign(representation=[NAMES.get(str(r), str(r)) for r in frame["representation"]])


def _only_test(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["split"] == "test"] if "split" in frame and (frame["split"] == "test").any() else frame


def _scores(benchmark: pd.DataFrame) -> pd.DataFrame:
    """One metric and one learner per label."""
    rows = main_metric(_named(benchmark))
    if rows.empty:
        return rows
    first = dict(zip(rows["label"][::-1], rows["learner"][::-1], strict=True))
    return rows[[first[label] == learner for label, learner in zip(rows["label"], rows["learner"], strict=True)]]


def _wide(scores: pd.DataFrame) -> pd.DataFrame:
    """A row per representation, a column per label."""
    titles = scores["label"].astype(str) + " (" + _metric(scores) + ")"
    means = dict(zip(zip(scores["representation"], titles, strict=True), scores["mean"], strict=True))
    names = list(dict.fromkeys(scores["representation"]))
    columns = {t: [float(means.get((n, t), float("nan"))) for n in names] for t in dict.fromkeys(titles)}
    return pd.DataFrame({"representation": names} | columns)


def _metric(rows: pd.DataFrame) -> pd.Series:
    return rows["metric"].map(lambda m: METRICS.get(str(m).lower(), str(m)))


def _three(frame: pd.DataFrame) -> dict[str, str]:
    """Three decimals for every score of a table."""
    floats = frame.select_dtypes("float").columns
    return {str(c): ".3f" for c in floats if frame[c].abs().max() < 100}


def _comparison(frame: pd.DataFrame, caption: str, name: str) -> TableBlock:
    """A table of representations, the model's rows bold."""
    named = "representation" in frame
    bold = tuple(not is_baseline(str(r)) for r in frame["representation"]) if named else ()
    return TableBlock(frame, caption, name, _three(frame), most_rows=60, bold=bold)
