"""Arrays and tables to matplotlib figures: no file is written, nothing is shown."""

from isthmus.plot.alignment import alignment_tradeoff
from isthmus.plot.cohort import presence
from isthmus.plot.confounding import confounder_probes, partial_correlations, sites
from isthmus.plot.embedding import embedding_scatter, ridgelines
from isthmus.plot.enrichment import enrichment
from isthmus.plot.images import image_rows
from isthmus.plot.reconstruction import reconstruction_by_feature
from isthmus.plot.scores import benchmark
from isthmus.plot.slides import slide_heatmap
from isthmus.plot.training import balance, loss_curves, term_shares
from isthmus.plot.translation import retained, translations

__all__ = [
    "alignment_tradeoff",
    "balance",
    "benchmark",
    "confounder_probes",
    "embedding_scatter",
    "enrichment",
    "image_rows",
    "loss_curves",
    "partial_correlations",
    "presence",
    "reconstruction_by_feature",
    "retained",
    "ridgelines",
    "sites",
    "slide_heatmap",
    "term_shares",
    "translations",
]
