"""Fill what is missing, and say how sure: masks, methods, a benchmark, intervals."""

from isthmus.impute.benchmark import benchmark
from isthmus.impute.calls import as_calls
from isthmus.impute.choice import Choice, choose
from isthmus.impute.filling import Filler, Filling, fill, fit_filler
from isthmus.impute.imputer import Imputer, make, names
from isthmus.impute.intervals import Pooled, half_widths, multiple, pooled, residuals, rubin
from isthmus.impute.masks import GAPS, PATTERNS, mask, read_mask, write_mask
from isthmus.impute.saved import load_imputer, save_imputer
from isthmus.impute.tasks import Plan

__all__ = [
    "GAPS",
    "PATTERNS",
    "Choice",
    "Filler",
    "Filling",
    "Imputer",
    "Plan",
    "Pooled",
    "as_calls",
    "benchmark",
    "choose",
    "fill",
    "fit_filler",
    "half_widths",
    "load_imputer",
    "make",
    "mask",
    "multiple",
    "names",
    "pooled",
    "read_mask",
    "residuals",
    "rubin",
    "save_imputer",
    "write_mask",
]
