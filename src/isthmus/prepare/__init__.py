"""Per-modality preparation: fitted on train, replayed on anything, inverted where that can be."""

from isthmus.prepare.pipeline import Pipeline
from isthmus.prepare.preparation import Preparation
from isthmus.prepare.prepared import Prepared
from isthmus.prepare.step import Affine, Filter, Step

__all__ = ["Affine", "Filter", "Pipeline", "Preparation", "Prepared", "Step"]
