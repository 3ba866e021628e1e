"""What was found, shown: figures made without global state, files written whole or not at all.

Every function returns a `matplotlib.figure.Figure` of its own (no pyplot, no rcParams); `save_figure`
writes it.
"""

import importlib

_PUBLIC = {
    "dfm_maps": "freqkit.report.dfms",
    "filtered_examples": "freqkit.report.examples",
    "Example": "freqkit.report.examples",
    "examples_of": "freqkit.report.examples",
    "save_examples": "freqkit.report.examples",
    "search_curves": "freqkit.report.curves",
    "learning_curves": "freqkit.report.training",
    "plot_history": "freqkit.report.training",
    "plot_comparison": "freqkit.report.comparison",
    "plane_maps": "freqkit.report.planes",
    "plot_adcs": "freqkit.report.planes",
    "plot_band_stop": "freqkit.report.band_stop",
    "plot_dfm": "freqkit.report.dfms",
    "plot_estimate": "freqkit.report.planes",
    "plot_rates": "freqkit.report.rates",
    "plot_removal": "freqkit.report.planes",
    "plot_scores": "freqkit.report.curves",
    "plot_search": "freqkit.report.search",
    "write_pictures": "freqkit.report.search",
    "plot_corruptions": "freqkit.report.evaluation",
    "plot_gallery": "freqkit.report.evaluation",
    "plot_groups": "freqkit.report.evaluation",
    "plot_scatter": "freqkit.report.evaluation",
    "write_evaluation": "freqkit.report.evaluation",
    "write_summary": "freqkit.report.summary",
    "write_comparison": "freqkit.report.compare",
    "write_report": "freqkit.report.html",
    "save_figure": "freqkit.report.figures",
}

__all__ = list(_PUBLIC)


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'freqkit.report' has no attribute {name!r}")
