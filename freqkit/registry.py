"""What there is, by name: nothing here is imported before somebody asks for it.

A table maps a name to a module, so that a room may offer what stands above it without importing it.
"""

import importlib

# Searcher -> the module that holds the function of its name, and its method in words.
SEARCHERS = {
    "hfss": ("freqkit.search.hfss", "hierarchical frequency shortcut search"),
    "removal": ("freqkit.search.removal", "removal of one frequency after the other, ranked"),
    "gradient": ("freqkit.search.gradient", "ranking by gradients, the most promising measured"),
    "greedy": ("freqkit.search.greedy", "greedy removal of frequencies"),
    "evolve": ("freqkit.search.evolve", "evolution of masks, by answers alone"),
    "learned": ("freqkit.search.learned", "masks learned by gradients"),
}
# Modules whose functions, decorated by `freqkit.report.pages.part`, put their kind of result on a page.
PAGES = (
    "freqkit.search.pages",
    "freqkit.search.comparison_page",
    "freqkit.measures.rates",
    "freqkit.measures.adcs",
    "freqkit.measures.band_stop",
    "freqkit.training.page",
    "freqkit.measures.evaluation.page",
)
# Public names that stand with what they draw, and are offered under the name they had before as well.
FIGURES = {
    "examples_of": "freqkit.engine.examples",
    "search_curves": "freqkit.results.figures",
    "learning_curves": "freqkit.results.figures",
    "plot_history": "freqkit.training.figures",
    "plot_comparison": "freqkit.search.figures",
    "plot_adcs": "freqkit.measures.adcs",
    "plot_band_stop": "freqkit.measures.band_stop",
    "plot_dfm": "freqkit.results.dfm_files",
    "plot_estimate": "freqkit.search.figures",
    "plot_rates": "freqkit.measures.rates",
    "plot_removal": "freqkit.results.figures",
    "plot_scores": "freqkit.results.figures",
    "plot_search": "freqkit.results.figures",
    "write_pictures": "freqkit.search.figures",
    "plot_corruptions": "freqkit.measures.evaluation.figures",
    "plot_gallery": "freqkit.measures.evaluation.figures",
    "plot_groups": "freqkit.measures.evaluation.figures",
    "plot_scatter": "freqkit.measures.evaluation.figures",
    "write_evaluation": "freqkit.measures.evaluation.figures",
}
DFM_FILES = {
    "DfmFile": "freqkit.results.dfm_files",
    "dfm_of_run": "freqkit.results.dfm_files",
    "import_pickle": "freqkit.results.dfm_files",
    "load_dfm": "freqkit.results.dfm_files",
    "save_dfm": "freqkit.results.dfm_files",
    "read_pickle": "freqkit.results.mask_pickles",
}


def find(table, name):
    """What `table` says stands under `name`; None when it has no such name."""
    return getattr(importlib.import_module(table[name]), name) if name in table else None


def module_of(table, name):
    """The module that `table` (`SEARCHERS`, `MEASURES`) has under `name`, imported."""
    return importlib.import_module(table[name][0])
