"""What there is, by name: nothing here is imported before somebody asks for it.

A table maps a name to a module, so that a room may offer what stands above it without importing it.
"""

import importlib

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
# Published test sets, in the order in which they are listed; each is one of `KNOWN` of its module.
TEST_SETS = {
    "imagenet": "freqkit.data.test_sets.imagenet",
    "v2": "freqkit.data.test_sets.imagenet",
    "c": "freqkit.data.test_sets.corrupted",
    "c-bar": "freqkit.data.test_sets.corrupted",
    "r": "freqkit.data.test_sets.imagenet",
    "a": "freqkit.data.test_sets.imagenet",
    "sketch": "freqkit.data.test_sets.imagenet",
    "stylized": "freqkit.data.test_sets.imagenet",
    "sct": "freqkit.data.test_sets.counterparts",
    "cifar10-c": "freqkit.data.test_sets.corrupted",
    "cifar100-c": "freqkit.data.test_sets.corrupted",
}


def find(table, name):
    """What `table` says stands under `name`; None when it has no such name."""
    return getattr(importlib.import_module(table[name]), name) if name in table else None
