"""What a run found, as the files of its folder: embedding, metrics, history, report, tables and figures."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp

from isthmus import measures, registry
from isthmus.assess import Measured, model_name
from isthmus.data.cohort import combinations
from isthmus.data.images import flat, is_image
from isthmus.data.split_files import write_split
from isthmus.data.write import write as write_container
from isthmus.evaluate.baselines import representations
from isthmus.evaluate.spread import bootstrap, summarise, zscore
from isthmus.evaluate.survival import Judged
from isthmus.evaluate.words import verdict
from isthmus.fitted import Fitted
from isthmus.recipe import Recipe, versions
from isthmus.report import page
from isthmus.report.balance import balance_section, off_balance
from isthmus.report.blocks import Section
from isthmus.report.confounding import baseline_ahead, confounding_section
from isthmus.report.images import Pictures, images_section
from isthmus.report.latent import latent_section
from isthmus.report.predictions import prediction_words, predictions_section
from isthmus.report.private import privacy_section
from isthmus.report.run import RunResults, run_page
from isthmus.report.survival import survival_section, survival_words
from isthmus.report.translation import translation_section
from isthmus.supervised import inner

log = logging.getLogger("isthmus.run")
COUNTED = ("n_samples", "n_features", "n_entries", "n_features_constant")
CITATION = (
    "Isthmus developers (2026). Isthmus: multi-modal integration with autoencoders, version {version}. "
    "The method: {method}"
)


@dataclass(frozen=True)
class Found:
    """Everything a run has found: `splits`, `measured`, `further` hold an entry a fold; `pictures` are of the first."""

    recipe: Recipe
    mdata: md.MuData
    fitted: Fitted
    splits: Sequence[pd.Series]
    measured: Sequence[Measured]
    further: Sequence[measures.Further] = ()
    confounded: measures.Confounded | None = None
    pictures: Sequence[Pictures] = ()

    @property
    def folds(self) -> int:
        return len(self.splits)

    @cached_property
    def survival(self) -> dict[str, Judged]:
        """Every survival head beside its baselines, over the folds."""
        folds, keys = [f.outcomes for f in self.further], self.recipe.evaluate.survival
        seed = self.recipe.training.seed
        return measures.survival_found(folds, keys, model=model_name(self.fitted), seed=seed)

    @property
    def parts(self) -> pd.Series:
        """The part of every sample: train, valid or test; with folds `fold0`, `fold1`, ... by test part."""
        if self.folds == 1:
            return self.splits[0]
        tests = [pd.Series(f"fold{i}", index=s.index[s == "test"]) for i, s in enumerate(self.splits)]
        return pd.concat(tests)


def write(folder: Path, found: Found) -> None:
    """Write everything but the recipe and the log into a run folder."""
    found.fitted.save(folder / "model")
    embedding = _embedding(found)
    write_container(embedding, folder / "embedding.h5ad")
    found.fitted.history.to_csv(folder / "history.csv", index=False)
    benchmark, scores = benchmark_table(found), reconstruction_table(found)
    flat = metrics(benchmark, scores, clustering_table(found), model=model_name(found.fitted))
    flat |= measures.flat(measures.averaged(found.further), model=model_name(found.fitted))
    flat |= measures.survival_flat(found.survival, model=model_name(found.fitted))
    flat |= measures.confounded_flat(found.confounded, model=model_name(found.fitted))
    flat |= {f"privacy/{k}": v for k, v in _privacy(found).items() if isinstance(v, int | float)}
    (folder / "metrics.json").write_text(json.dumps(flat, indent=1) + "\n", encoding="utf-8")
    page.write(run_page(_results(found, embedding, benchmark, scores)), folder)
    _save_splits(found, folder / "tables")


def _save_splits(found: Found, folder: Path) -> None:
    """A table of samples and parts, that `data: {split: {file: ...}}` reads again."""
    write_split(
        found.parts if found.folds == 1 else found.parts.str.removeprefix("fold").astype(int), folder / "split.csv"
    )


def _embedding(found: Found) -> ad.AnnData:
    """Every sample of the cohort, with `obs["split"]` (or `obs["fold"]`)."""
    z = found.fitted.embed(found.mdata)
    column = "split" if found.folds == 1 else "fold"
    z.obs[column] = found.parts.reindex(z.obs_names).fillna("none").astype(str).astype("category")
    return z


def benchmark_table(found: Found) -> pd.DataFrame:
    """Scores of model and baselines for every label, learner and metric; see `evaluate.summarise`."""
    keys = found.recipe.evaluate.embedding
    answers = [m.probes for m in found.measured]
    if keys is None or not any(p.answers for p in answers):
        return pd.DataFrame()
    long = pd.concat([p.table().assign(fold=i) for i, p in enumerate(answers)], ignore_index=True)
    long.attrs.clear()
    if found.folds == 1:
        groups = _groups(found)
        table = bootstrap(answers[0], resamples=keys.resamples, seed=found.recipe.training.seed, groups=groups)
    else:
        table = summarise(long)
    z = zscore(long).groupby(["representation", "label", "learner", "metric"], sort=False)["z"].mean()
    joined = table.join(z, on=["representation", "label", "learner", "metric"])
    joined.attrs = dict(table.attrs)
    return joined


def _groups(found: Found) -> np.ndarray | None:
    """The group of every test sample, where the recipe splits by one."""
    column = found.recipe.data.split.group
    if column is None:
        return None
    test = found.splits[0].index[found.splits[0] == "test"]
    values = found.mdata.obs.loc[found.mdata.obs_names[found.mdata.obs_names.isin(test)], column]
    return np.asarray(values.astype(str))


def reconstruction_table(found: Found) -> pd.DataFrame:
    """Reconstruction scores per modality, split and representation; over folds the mean, with `r2_sd`."""
    keys, asked = ["modality", "split", "representation"], found.recipe.evaluate.reconstruction
    rows = pd.concat([m.reconstruction for m in found.measured], ignore_index=True)
    if asked is None or rows.empty:
        return pd.DataFrame()
    rows = rows[rows["split"].isin(asked.splits)]
    if found.folds == 1 or rows.empty:
        return rows.reset_index(drop=True)
    by = rows.groupby(keys, sort=False)
    mean = by.mean()
    return mean.round(dict.fromkeys(COUNTED, 0)).join(by["r2"].std().rename("r2_sd")).reset_index()


def clustering_table(found: Found) -> pd.DataFrame:
    """Clustering scores, the mean over folds."""
    rows = pd.concat([m.clustering for m in found.measured], ignore_index=True)
    return rows if rows.empty else rows.groupby(["representation", "label"], sort=False).mean().reset_index()


def metrics(benchmark: pd.DataFrame, scores: pd.DataFrame, clusters: pd.DataFrame, *, model: str) -> dict[str, Any]:
    """All scores under flat names; the model's without a prefix, the others' under `baseline/<name>/`."""
    flat: dict[str, Any] = {}

    def put(who: str, name: str, value: float) -> None:
        prefix = "" if who == model else f"baseline/{who}/"
        flat[prefix + name] = value if isinstance(value, int | float) and math.isfinite(value) else None

    for row in scores.to_dict("records"):
        for key, value in row.items():
            if key not in ("modality", "split", "representation", *COUNTED) and not pd.isna(value):
                name = f"reconstruction/{row['split']}/{str(key).removesuffix('_sd')}/{row['modality']}"
                put(row["representation"], name + ("/sd" if str(key).endswith("_sd") else ""), value)
    for row in benchmark.to_dict("records"):
        name = f"embedding/test/{row['metric']}/{row['label']}/{row['learner']}"
        put(row["representation"], name, row["mean"])
        for extra in (
            "sd",
            "lower",
            "upper",
            "difference",
            "difference_lower",
            "difference_upper",
            "p",
            "p_adjusted",
            "z",
        ):
            if extra in row and not pd.isna(row[extra]):
                put(row["representation"], f"{name}/{extra}", row[extra])
    for row in clusters.to_dict("records"):
        for key, value in row.items():
            if key not in ("representation", "label"):
                put(row["representation"], f"clustering/test/{key}/{row['label']}", value)
    return flat


def _results(found: Found, embedding: ad.AnnData, benchmark: pd.DataFrame, scores: pd.DataFrame) -> RunResults:
    fitted, name = found.fitted, model_name(found.fitted)
    columns = [str(v) for v in embedding.var_names]
    frame = pd.DataFrame(np.asarray(embedding.X), index=embedding.obs_names, columns=columns)
    by = pd.concat([m.by_feature for m in found.measured], ignore_index=True)
    if found.folds > 1 and not by.empty:
        by = by.groupby(["modality", "feature"], sort=False).mean().reset_index()
    over = "Over the folds" if found.folds > 1 else "On the test samples"
    said = verdict(
        benchmark, _nested(scores), model=name, title=f"the {name}", dimensions=fitted.latent, where=over,
        translation=measures.averaged(found.further).translation,
    )  # fmt: skip
    said[1:1] = survival_words(found.survival, model=name)
    said[1:1] = prediction_words(measures.averaged(found.further).predictions, model=name)
    if found.confounded is not None:
        said[1:1] = baseline_ahead(found.confounded.found, found.confounded.labels, model=name)
    registered = registry.module_of(fitted.recipe["model"]["name"]).__doc__ or ""
    return RunResults(
        name=f"{name} on {', '.join(fitted.spec.names)}",
        verdict=said,
        combinations=combinations(found.mdata),
        cohort=_cohort(found),
        splits=_sizes(found),
        history=fitted.history,
        best_epoch=_best_epoch(fitted.history),
        reconstruction=scores,
        by_feature=by,
        embedding=frame,
        obs=embedding.obs,
        views=_views(found, frame),
        benchmark=benchmark,
        clustering=clustering_table(found),
        preparation=pd.DataFrame(fitted.preparation.report()),
        recipe=found.recipe.text(),
        versions=versions(),
        citation=CITATION.format(version=versions()["isthmus"], method=_reference(registered)),
        notes=_notes(found),
        more=_more(found),
    )


def _privacy(found: Found) -> dict[str, Any]:
    """What private training spent; empty where there was none."""
    spent: dict[str, Any] = found.fitted.recipe.get("privacy", {})
    return spent


def _more(found: Found) -> tuple[Section, ...]:
    """Sections that some models and some data have."""
    further, name = measures.averaged(found.further), model_name(found.fitted)
    made = (
        translation_section(further.translation, further.transfer, further.by_feature, further.by_pathway, model=name),
        latent_section(further.latent, further.subsets, further.alignment, others=_others(further)),
        balance_section(found.fitted.history, type(inner(found.fitted.module)).balance),
        predictions_section(further.predictions, model=name),
        survival_section(found.survival, model=name, units=measures.time_columns(found.fitted)),
        _confounders(found),
        privacy_section(_privacy(found)),
    )
    of = "test samples" if found.folds == 1 else "test samples of the first fold"
    return (*made, images_section(found.pictures, of=of))


def _confounders(found: Found) -> Section:
    """What is left of confounders, and what holds beyond them; empty where none was looked for."""
    left = found.confounded
    if left is None:
        return Section("Confounders", ())
    name = model_name(found.fitted)
    return confounding_section(left.found, left.labels, left.partial, left.mixing, model=name)


def _others(further: measures.Further) -> dict[str, pd.DataFrame]:
    """Scores that few runs have."""
    names = ("disentanglement", "robustness", "dimensions")
    return {name: getattr(further, name) for name in names}


def _nested(scores: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Modality -> representation -> scores of the test samples."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    test = scores[scores["split"] == "test"] if "split" in scores else scores
    for row in test.to_dict("records"):
        nested.setdefault(row["modality"], {})[row["representation"]] = {
            str(k): v for k, v in row.items() if isinstance(v, float)
        }
    return nested


def _cohort(found: Found) -> pd.DataFrame:
    """A row per modality: samples, features before and after, share of missing entries, likelihood, steps."""
    rows = []
    for m in found.fitted.spec:
        adata, pipeline = found.mdata.mod[m.name], found.fitted.preparation[m.name]
        x = adata.X.data if sp.issparse(adata.X) else flat(adata) if is_image(adata) else np.asarray(adata.X)
        width = m.width if is_image(adata) else adata.n_vars
        missing = float(np.isnan(x).sum() / max(adata.n_obs * width, 1))
        steps = ", ".join(s.name for s in pipeline.steps) or "none"
        rows.append((m.name, adata.n_obs, width, m.width, missing, m.likelihood, steps))
    columns = ["modality", "samples", "features", "features used", "missing share", "likelihood", "steps"]
    return pd.DataFrame(rows, columns=columns)


def _sizes(found: Found) -> pd.DataFrame:
    sizes = found.parts.value_counts(sort=False)
    order = [p for p in ("train", "valid", "test") if p in sizes] if found.folds == 1 else sorted(sizes.index)
    return pd.DataFrame(
        {"split" if found.folds == 1 else "test fold": order, "samples": [int(sizes[p]) for p in order]}
    )


def _best_epoch(history: pd.DataFrame) -> int | None:
    """Of the last phase, where there were validation samples."""
    if "valid/total" not in history or history.empty:
        return None
    last = history[history["phase"] == history["phase"].iloc[-1]]
    return int(last.loc[last["valid/total"].idxmin(), "epoch"]) if last["valid/total"].notna().any() else None


def _views(found: Found, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Two coordinates per sample: the embedding itself, or its principal components fitted on train; UMAP if asked."""
    known = frame.dropna()
    if known.shape[1] == 1:
        return {}
    if known.shape[1] == 2:
        return {"The embedding": known}
    train = known if found.folds > 1 else known[found.parts.reindex(known.index).eq("train").to_numpy()]
    keys = found.recipe.evaluate.embedding
    which = ["pca", *(["umap"] if keys is not None and "umap" in keys.baselines else [])]
    made = representations(train.to_numpy(), known.to_numpy(), 2, which=which, seed=found.recipe.training.seed)
    names = {"pca": "PCA of the embedding", "umap": "UMAP of the embedding"}
    axes = {"pca": ["PC1", "PC2"], "umap": ["UMAP1", "UMAP2"]}
    return {
        names[k]: pd.DataFrame(v[1], index=known.index, columns=axes[k]) for k, v in made.items() if v[1].shape[1] == 2
    }


def _notes(found: Found) -> list[str]:
    """What a reader should know: parts of the loss out of balance, and what the evaluation skipped, and why."""
    balance = off_balance(found.fitted.history, type(inner(found.fitted.module)).balance)
    for sentence in balance:
        log.warning("%s", sentence)
    fitted, most = found.fitted, min(found.fitted.spec.width, found.fitted.spec.n_train)
    small = [f"PCA has {most} dimensions beside the model's {fitted.latent}: there are no more."]
    balance += small if fitted.latent > most else []
    skipped = [s for m in found.measured for s in m.probes.skipped]
    said = dict.fromkeys(
        ", ".join(p for p in (s.get("label"), s.get("representation"), s.get("learner")) if p) + f": {s['reason']}"
        for s in skipped
    )
    return [*balance, *said][:12]


def _reference(docstring: str) -> str:
    """The paragraph of a method's docstring that names its paper: the first with a link."""
    paragraphs = [" ".join(p.split()) for p in docstring.split("\n\n")]
    return next((p for p in paragraphs if "doi:" in p or "arXiv:" in p), "")
