"""A fitted model measured on samples it has not seen, beyond reconstruction and labels: see `further`."""

from isthmus.measures.confounding import Confounded, Suspects, confounded, confounded_flat, summary_of
from isthmus.measures.measured import Asked, Further, further
from isthmus.measures.refits import Refit, refitted
from isthmus.measures.survival import survival_flat, survival_found, time_columns
from isthmus.measures.tables import averaged, flat

__all__ = [
    "Asked",
    "Confounded",
    "Further",
    "Refit",
    "Suspects",
    "averaged",
    "confounded",
    "confounded_flat",
    "flat",
    "further",
    "refitted",
    "summary_of",
    "survival_flat",
    "survival_found",
    "time_columns",
]
