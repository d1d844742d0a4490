"""Arrays in, numbers out: reconstruction and embedding scores, baselines, and how sure they are. No torch."""

from isthmus.evaluate import survival
from isthmus.evaluate.alignment import foscttm, retrieval
from isthmus.evaluate.arrays import feature_means
from isthmus.evaluate.baselines import mean_reconstruction, pca_reconstruction, representations
from isthmus.evaluate.confounding import Confounding, confounding
from isthmus.evaluate.crossmodal import crossmodal, pathway_scores
from isthmus.evaluate.design import without_confounders
from isthmus.evaluate.disentanglement import disentanglement
from isthmus.evaluate.embedding import embedding
from isthmus.evaluate.enrichment import enrichment
from isthmus.evaluate.images import ssim
from isthmus.evaluate.latent import effective_rank, latent_coverage, total_correlation
from isthmus.evaluate.neighbours import batch_mixing, clustering
from isthmus.evaluate.partial import partial_correlation
from isthmus.evaluate.probes import Probes, probe, run_probes
from isthmus.evaluate.reconstruct import reconstruction, reconstruction_by_feature
from isthmus.evaluate.robustness import cka, robustness, robustness_by_dimension
from isthmus.evaluate.sites import Side, across_sites
from isthmus.evaluate.spread import bootstrap, holm, nadeau_bengio, summarise, zscore
from isthmus.evaluate.translation import group_means, label_transfer, translation, translation_baselines
from isthmus.evaluate.words import verdict

__all__ = [
    "Confounding",
    "Probes",
    "Side",
    "across_sites",
    "batch_mixing",
    "bootstrap",
    "cka",
    "clustering",
    "confounding",
    "crossmodal",
    "disentanglement",
    "effective_rank",
    "embedding",
    "enrichment",
    "feature_means",
    "foscttm",
    "group_means",
    "holm",
    "label_transfer",
    "latent_coverage",
    "mean_reconstruction",
    "nadeau_bengio",
    "partial_correlation",
    "pathway_scores",
    "pca_reconstruction",
    "probe",
    "reconstruction",
    "reconstruction_by_feature",
    "representations",
    "retrieval",
    "robustness",
    "robustness_by_dimension",
    "run_probes",
    "ssim",
    "summarise",
    "survival",
    "total_correlation",
    "translation",
    "translation_baselines",
    "verdict",
    "without_confounders",
    "zscore",
]
