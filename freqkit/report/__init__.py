"""The toolkit of figures and pages: it knows no result. Figures are made without global state, files written whole or
not at all.

Every function returns a `matplotlib.figure.Figure` of its own (no pyplot, no rcParams); `save_figure` writes it. What
draws one kind of result stands with that result, and is offered here by name.
"""

import importlib

from freqkit.registry import FIGURES, find

_PUBLIC = {
    "dfm_maps": "freqkit.report.dfms",
    "filtered_examples": "freqkit.report.examples",
    "Example": "freqkit.report.examples",
    "save_examples": "freqkit.report.examples",
    "plane_maps": "freqkit.report.planes",
    "write_summary": "freqkit.report.summary",
    "write_comparison": "freqkit.report.side_by_side",
    "write_report": "freqkit.report.page",
    "save_figure": "freqkit.report.figures",
}

__all__ = [*_PUBLIC, *FIGURES]


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    found = find(FIGURES, name)
    if found is not None:
        return found
    raise AttributeError(f"module 'freqkit.report' has no attribute {name!r}")
