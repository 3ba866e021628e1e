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
# Measure, as its command is called -> the module that holds it under its own name, and what it is. The module has
# `__all__` (its result first), `HELP`, `printed`, `plot_NAME`, a page, and maybe `TERMS` and `SHARED`; of a folder
# figure and page are modules of their own, with a line in `FIGURES` and `PAGES`.
MEASURES = {
    "rates": ("freqkit.measures.rates", "How well each class is told apart through its frequency map."),
    "band-stop": ("freqkit.measures.band_stop", "What classes are taken for when bands are removed."),
    "pass-curves": ("freqkit.measures.pass_curves", "What low, high and single bands of frequencies tell."),
    "critical-band": ("freqkit.measures.critical_band", "In which band of frequencies noise hides objects."),
    "fourier-heatmap": ("freqkit.measures.fourier_heatmap", "At which frequencies added waves make a model err."),
    "shape-bias": ("freqkit.measures.shape_bias", "Whether shape or texture decides what images are called."),
    "adcs": ("freqkit.measures.adcs", "Where each class has more energy than the others (ADCS)."),
    "layer-spectra": ("freqkit.measures.layer_spectra", "How much high frequency the layers of a network hold."),
    "gradient-spectrum": (
        "freqkit.measures.gradient_spectrum",
        "At which frequencies the loss reacts to small changes.",
    ),
    "attribute": ("freqkit.measures.attribute", "Which frequencies carry the answer to each image."),
    "slices": ("freqkit.measures.slices", "Which images fail, by their spectrum, and how features drift."),
    "amplitude-phase": ("freqkit.measures.amplitude_phase", "Whether amplitude or phase decides the answer."),
    "feature-separation": (
        "freqkit.measures.feature_separation",
        "How far apart classes lie in the features of low and high parts.",
    ),
    "triplets": ("freqkit.measures.triplets", "What high frequencies tell that low ones do not."),
    "smoothness": ("freqkit.measures.smoothness", "How smooth the first layer is, and what smoothing it changes."),
}
# Modules whose functions, decorated by `freqkit.report.pages.part`, put their kind of result on a page.
PAGES = (
    "freqkit.search.pages",
    "freqkit.search.comparison_page",
    *(module for module, _ in MEASURES.values()),
    "freqkit.measures.pass_curves.page",
    "freqkit.measures.critical_band.page",
    "freqkit.measures.shape_bias.page",
    "freqkit.training.page",
    "freqkit.training.comparison",
    "freqkit.measures.evaluation.page",
    "freqkit.measures.correlation.page",
    "freqkit.measures.human_comparison.page",
    "freqkit.measures.profile.page",
)
# Public names that stand with what they draw, and are offered under the name they had before as well.
FIGURES = {
    "examples_of": "freqkit.engine.examples",
    "search_curves": "freqkit.results.figures",
    "learning_curves": "freqkit.results.figures",
    "plot_history": "freqkit.training.figures",
    "plot_training_comparison": "freqkit.training.comparison",
    "plot_comparison": "freqkit.search.figures",
    "plot_dfm": "freqkit.results.dfm_files",
    "plot_estimate": "freqkit.search.figures",
    **{f"plot_{module.rpartition('.')[2]}": module for module, _ in MEASURES.values()},
    "plot_pass_curves": "freqkit.measures.pass_curves.figure",
    "plot_critical_band": "freqkit.measures.critical_band.figure",
    "plot_shape_bias": "freqkit.measures.shape_bias.figure",
    "plot_human_comparison": "freqkit.measures.human_comparison.page",
    "plot_profile": "freqkit.measures.profile.page",
    "plot_removal": "freqkit.results.figures",
    "plot_scores": "freqkit.results.figures",
    "plot_search": "freqkit.results.figures",
    "write_pictures": "freqkit.search.figures",
    "plot_corruptions": "freqkit.measures.evaluation.figures",
    "plot_gallery": "freqkit.measures.evaluation.figures",
    "plot_groups": "freqkit.measures.evaluation.figures",
    "plot_scatter": "freqkit.measures.evaluation.figures",
    "write_evaluation": "freqkit.measures.evaluation.figures",
    "plot_study": "freqkit.measures.correlation.figures",
    "write_study": "freqkit.measures.correlation.figures",
}
DFM_FILES = {
    "DfmFile": "freqkit.results.dfm_files",
    "dfm_of_run": "freqkit.results.dfm_files",
    "import_pickle": "freqkit.results.dfm_files",
    "load_dfm": "freqkit.results.dfm_files",
    "save_dfm": "freqkit.results.dfm_files",
    "read_pickle": "freqkit.results.mask_pickles",
}
# What becomes of a component of an image, see `freqkit.data.components.encode`; also choices of commands.
ENCODINGS = ("raw", "maxnorm", "minmax", "uint8wrap")
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
    **dict.fromkeys(
        (
            "human-edge",
            "human-silhouette",
            "human-cue-conflict",
            "human-colour",
            "human-contrast",
            "human-high-pass",
            "human-low-pass",
            "human-phase-scrambling",
            "human-power-equalisation",
            "human-false-colour",
            "human-rotation",
            "human-eidolonI",
            "human-eidolonII",
            "human-eidolonIII",
            "human-uniform-noise",
            "human-sketch",
            "human-stylized",
        ),
        "freqkit.data.test_sets.model_vs_human",
    ),
}
# Results, by the format that their file names, or the file of a folder that tells of them; see `result_class`.
RESULTS = {
    "freqkit-compare-training-1": "freqkit.training.comparison:TrainingComparison",
    "freqkit-dfm-1": "freqkit.results.dfm_files:DfmFile",
    "freqkit-estimate-1": "freqkit.search.gradient:GradientEstimate",
    "freqkit-human-comparison-1": "freqkit.measures.human_comparison:HumanComparisonResult",
    "freqkit-learning-1": "freqkit.results.learning_curves:LearningCurves",
    "freqkit-stage-1": "freqkit.results.search_result:StageResult",
    "freqkit-study-1": "freqkit.measures.correlation:StudyResult",
    "freqkit-tested-1": "freqkit.results.tested:Tested",
    "profile.json": "freqkit.measures.profile.result:ProfileResult",
    "results.csv": "freqkit.measures.evaluation.result:EvaluationResult",
    "comparison.json": "freqkit.search.compare:Comparison",
}


def result_class(kind):
    """The class of a kind in `RESULTS`, or of a measure's; None when there is none."""
    module, _, name = RESULTS.get(kind, "").partition(":")
    if name:
        return getattr(importlib.import_module(module), name)
    return next((found for found in measured() if found.FILE.format == kind), None)


def measured():
    """The result classes of all measures: the first name that each file offers."""
    modules = (module_of(MEASURES, name) for name in MEASURES)
    return [getattr(module, module.__all__[0]) for module in modules]


def find(table, name):
    """What `table` says stands under `name`; None when it has no such name."""
    return getattr(importlib.import_module(table[name]), name) if name in table else None


def stem_of(table, name):
    """The name of the function that `table` has under `name`: that of its file."""
    return table[name][0].rpartition(".")[2]


def module_of(table, name):
    """The module that `table` (`SEARCHERS`, `MEASURES`) has under `name`, imported."""
    return importlib.import_module(table[name][0])
