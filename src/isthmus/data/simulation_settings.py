"""What a simulated cohort is made of: the keys that Python, recipes and the command line share."""

from __future__ import annotations

import zlib
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from isthmus.config import Config

Rate = Annotated[float, Field(ge=0, le=0.95)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Level = Annotated[float, Field(ge=0)]
IMAGE = "image"


class BagSettings(Config):
    """A modality of bags, such as the tiles of slides."""

    features: Annotated[int, Field(ge=1)] = 32
    """Features of an instance."""
    instances: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (50, 200)
    """Fewest and most instances of a slide."""
    slides: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 2)
    """Fewest and most slides of a sample."""
    informative: Share = 0.2
    """Share of the instances that show the shared factors, on average; the others are background."""

    @model_validator(mode="after")
    def _rise(self) -> BagSettings:
        for key in ("instances", "slides"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"`{key}` goes from {low} down to {high}")
        return self


class Simulation(Config):
    """A cohort with planted truth."""

    n: Annotated[int, Field(ge=2)] = 200
    """Number of samples."""
    modalities: dict[str, Annotated[int, Field(ge=1)]] = Field(default={"rna": 500, "protein": 60})
    """Tables: name -> number of features."""
    shared: Annotated[int, Field(ge=1)] = 4
    """Factors that drive every modality; classes, survival and images depend on them."""
    private: Annotated[int, Field(ge=0)] = 2
    """Further factors of each modality alone."""
    classes: Annotated[int, Field(ge=1)] = 3
    """Number of classes, of equal size."""
    separation: Level = 3.0
    """Distance between class means in the space of the shared factors, in standard deviations within a class."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed; each part has a stream of its own, so that switching missingness off gives the complete values."""
    likelihood: dict[str, Literal["gaussian", "bernoulli", "poisson", "nb"]] = Field(default={})
    """Kind of values of a modality: gaussian (the default), bernoulli (0/1), poisson or nb (counts)."""
    noise: Level = 1.0
    """Standard deviation of the noise of a feature; that of its signal is 1."""
    nonlinearity: Share = 0.0
    """Share of the signal that is a random network of the factors instead of a linear map."""
    depth: Positive = 5.0
    """Mean count per feature of a sample of average library size."""
    library_spread: Level = 0.4
    """Standard deviation of the logarithm of library sizes."""
    dispersion: Positive = 5.0
    """Size of the negative binomial: the variance is mean + mean^2 / dispersion."""
    pathways: Annotated[int, Field(ge=0)] = 10
    """Gene sets in the first modality; the activity of each, which follows a factor, drives its genes."""
    pathway_size: Annotated[int, Field(ge=2)] | None = None
    """Genes in a pathway; null for as many as fit, at most 20 (and for fewer pathways where not even 5 fit)."""
    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """Share of its genes that a pathway has in common with the one before."""
    links: Annotated[int, Field(ge=0)] = 20
    """Pairs of features of one modality and the next whose noise is correlated (by 0.8 or -0.8)."""
    sites: Annotated[int, Field(ge=1)] = 3
    """Number of sites that samples come from."""
    site_effect: Level = 0.0
    """Standard deviation of the shift of a feature at a site, in units of its signal."""
    batches: Annotated[int, Field(ge=1)] = 2
    """Number of batches that samples were measured in."""
    batch_effect: Level = 0.0
    """Standard deviation of the shift of a feature in a batch, in units of its signal."""
    confounding: Share = 0.0
    """Share of the patients whose site is a function of their class."""
    samples_per_patient: Annotated[int, Field(ge=1)] = 1
    """Samples of one patient; they share class, site, age, sex and survival."""
    patient_share: Share = 0.7
    """Share of the variance of shared factors that samples of one patient have in common."""
    hazard: Level = 1.0
    """Standard deviation of the log hazard that the shared factors cause."""
    censoring: Rate = 0.3
    """Share of the patients whose event is not seen."""
    images: Annotated[int, Field(ge=8)] | None = None
    """Width of the images of a modality `image`, which show the shared factors; null for none."""
    bags: dict[str, BagSettings] = Field(default={})
    """Modalities of bags: name -> `features`, `instances` of a slide, `slides` of a sample, share `informative`."""
    missing: Rate | dict[str, Rate] = 0.0
    """Share of entries that are missing, one for all tables or by modality."""
    mechanism: Literal["mcar", "mar", "mnar"] = "mcar"
    """Entries are missing at random, by the first feature of the next modality, or the sooner the lower they are."""
    absent: Rate | dict[str, Rate] = 0.0
    """Share of samples without a modality, one for all or by modality; every sample keeps at least one."""

    @model_validator(mode="after")
    def _fits(self) -> Simulation:
        if not self.names:
            raise ValueError("there is no modality")
        if IMAGE in self.modalities:
            raise ValueError(f"a table cannot be called {IMAGE!r}; set `images` for images")
        if twice := sorted(set(self.bags) & {*self.modalities, IMAGE}):
            raise ValueError(f"two modalities are called {twice[0]!r}")
        for key in ("likelihood", "missing", "absent"):
            value = getattr(self, key)
            unknown = [m for m in value if m not in self.names] if isinstance(value, dict) else []
            if unknown:
                raise ValueError(f"`{key}` names {unknown[0]!r}, which is none of {', '.join(self.names)}")
        if sum(self.absent_of(m) for m in self.names) > len(self.names) - 1 + 1e-9:
            raise ValueError("the rates of `absent` leave some samples without any modality")
        if self.pathway_size is not None and self.modalities and self.pathways:
            need, width = self.pathway_genes(self.pathway_size), next(iter(self.modalities.values()))
            if need > width:
                raise ValueError(f"{self.pathways} pathways of {self.pathway_size} need {need} features, not {width}")
        return self

    @property
    def names(self) -> list[str]:
        """Every modality."""
        return [*self.modalities, *([] if self.images is None else [IMAGE]), *self.bags]

    def missing_of(self, modality: str) -> float:
        """Share of missing entries of a modality."""
        return float(self.missing.get(modality, 0.0) if isinstance(self.missing, dict) else self.missing)

    def absent_of(self, modality: str) -> float:
        """Share of samples without a modality."""
        return float(self.absent.get(modality, 0.0) if isinstance(self.absent, dict) else self.absent)

    def pathway_genes(self, size: int) -> int:
        """Features that all pathways of a size take up together."""
        return size + (self.pathways - 1) * (size - round(self.overlap * size))

    def rng(self, *part: str) -> np.random.Generator:
        """The stream of random numbers of one part of the cohort."""
        return np.random.default_rng([self.seed, zlib.crc32("/".join(part).encode())])
