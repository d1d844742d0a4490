"""Results to one self-contained HTML page, with its tables and figures as files beside it."""

from isthmus.report.page import render, write
from isthmus.report.run import RunResults, run_page

__all__ = ["RunResults", "render", "run_page", "write"]
