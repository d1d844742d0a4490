"""Which features go with which: correlations of all pairs, with the false discovery rate under control."""

from isthmus.associate.hits import Hits
from isthmus.associate.spearman import bicor, correlate, pearson, spearman
from isthmus.associate.targets import targets

__all__ = ["Hits", "bicor", "correlate", "pearson", "spearman", "targets"]
