"""The section `evaluate` of a recipe: what is measured on the fitted model. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from isthmus.config import Config

__all__ = [
    "Alignment",
    "Confounding",
    "Disentanglement",
    "Embedding",
    "Evaluate",
    "Latent",
    "Reconstruction",
    "Robustness",
    "Survival",
    "Translation",
]

Part = Literal["train", "valid", "test"]


class Embedding(Config):
    """What is predicted from the embedding, and from the baselines beside it."""

    labels: tuple[str, ...] | None = None
    """Columns of obs. None: the first five that hold two to twenty classes."""
    learners: tuple[Literal["logistic", "svm", "forest"], ...] = ("logistic", "svm", "forest")
    """Who predicts."""
    baselines: tuple[Literal["pca", "umap", "random_features", "raw"], ...] = (
        "pca",
        "umap",
        "random_features",
        "raw",
    )
    """What stands beside the embedding (umap where umap-learn is installed)."""
    resamples: Annotated[int, Field(ge=10)] = 1000
    """Bootstrap resamples of the test samples for intervals (a single split)."""


class Reconstruction(Config):
    """How well the values are reconstructed, beside PCA and the train means."""

    splits: tuple[Part, ...] = ("train", "valid", "test")
    """Parts of the cohort to score."""


class Translation(Config):
    """How well a modality is predicted from another, beside ridge regression and neighbours."""

    pairs: tuple[tuple[str, str], ...] | None = None
    """Pairs of source and target. None: every modality that is encoded to every other, thirty at most."""
    label: str | None = None
    """Column of obs: R2 beyond the means of its classes, and these read off the translation. None: the first label."""
    baselines: tuple[Literal["ridge", "knn", "nearest", "mean"], ...] = ("ridge", "knn", "nearest", "mean")
    """What stands beside the model."""
    pathways: str | None = None
    """File of terms and their features (GMT, or a table of two columns): the means of their members are scored, too."""

    @field_validator("pairs")
    @classmethod
    def _differ(cls, pairs: tuple[tuple[str, str], ...] | None) -> tuple[tuple[str, str], ...] | None:
        if same := [a for a, b in pairs or () if a == b]:
            raise ValueError(f"source and target are both {same[0]!r}")
        return pairs


class Latent(Config):
    """How the embedding uses its dimensions, and how much of it stays when modalities are missing."""


class Alignment(Config):
    """Whether the embeddings of two modalities alone put the same sample into the same place."""


class Disentanglement(Config):
    """MIG, DCI and SAP against known factors; for simulated cohorts."""


class Robustness(Config):
    """Whether fits with other seeds find the same embedding."""

    refits: Annotated[int, Field(ge=2)] = 5
    """How many fits are compared, the model itself among them; each takes as long as the first."""


class Confounding(Config):
    """What is left of confounders in the embedding, and what of the labels holds beyond them."""

    columns: tuple[str, ...] | None = None
    """Columns of obs. None: those of the section `confounders`; without these nothing is looked for."""
    labels: tuple[str, ...] | None = None
    """Columns of obs that the embedding should keep. None: the labels of `evaluate.embedding`."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Folds of the probes that are cross-validated among the test samples."""
    uncontrolled: bool = False
    """Whether the same model without the section `confounders` stands beside; takes a second fit."""


class Prediction(Config):
    """How well heads predict on test samples, beside linear predictions."""

    baselines: tuple[Literal["pca", "raw"], ...] = ("pca", "raw")
    """Linear predictions beside the model: from principal components, and from all features (5,000 at most)."""
    resamples: Annotated[int, Field(ge=10)] = 1000
    """Bootstrap resamples of the test samples for intervals."""


class Survival(Config):
    """How well survival heads predict on test samples, beside ridge Cox regression."""

    clinical: tuple[str, ...] = ()
    """Columns of obs, such as age and stage: a baseline, and what the model should add to (nested test)."""
    horizon: Annotated[float, Field(gt=0)] | None = None
    """Time up to which Uno's C, Brier score and AUC are taken. None: while a fifth of train is still observed."""
    groups: Annotated[int, Field(ge=2, le=5)] = 2
    """Risk groups, cut at quantiles of the train samples' risks."""
    resamples: Annotated[int, Field(ge=10)] = 1000
    """Bootstrap resamples of the test samples for intervals (a single split); half as many permutations."""


class Evaluate(Config):
    """What is measured on the fitted model; a part that is null is left out."""

    embedding: Embedding | None = Embedding()
    """The embedding benchmark."""
    reconstruction: Reconstruction | None = Reconstruction()
    """The reconstruction scores."""
    translation: Translation | None = Translation()
    """From one modality to another, where the model encodes one and there are two."""
    latent: Latent | None = Latent()
    """Coverage, total correlation, and the embedding from fewer modalities."""
    alignment: Alignment | None = Alignment()
    """The same samples by one modality and by another, where the model encodes two."""
    disentanglement: Disentanglement | None = Disentanglement()
    """Scores against the factors, where these are known."""
    robustness: Robustness | None = None
    """The embedding over refits; takes as many fits."""
    prediction: Prediction | None = Prediction()
    """Heads of every kind."""
    survival: Survival | None = Survival()
    """Heads of kind cox and discrete."""
    confounding: Confounding | None = Confounding()
    """Sites, batches and other confounders, looked for by fresh probes."""
