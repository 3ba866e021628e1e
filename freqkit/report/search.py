"""The pictures of a search."""

from pathlib import Path

from freqkit.report.curves import search_curves
from freqkit.report.dfms import dfm_maps, one_dfm
from freqkit.report.examples import examples_of, filtered_examples, save_examples
from freqkit.report.figures import save_figure
from freqkit.report.planes import index_of


def plot_search(result, ax=None, *, of=None, planted=None, title=None):
    """The map of each class with its loss and rates; see `dfm_maps`.

    Args:
        result: a `freqkit.results.SearchResult`.
        ax: a matplotlib axis for the map of one class; None: a figure of all classes.
        of: with `ax`, the class, by name or number; default that of the largest TPR - FPR.
        planted: optional dict class name -> bool `[H, W]`, centred: known bins to outline.
        title: a line above the maps.

    Returns:
        A matplotlib Figure, or `ax`.
    """
    if ax is not None:
        index = index_of(result.classes, of, result.tpr_minus_fpr)
        return one_dfm(ax, result.masks[index], result.classes[index], planted=planted)
    rates = [{"loss": row["loss"], "tpr": row["TPR"], "fpr": row["FPR"]} for row in result.table()]
    title = title or "Frequencies by which each class is still recognised"
    return dfm_maps(result.masks, result.classes, rates=rates, planted=planted, title=title)


def write_pictures(result, model, images, folder, *, class_index=None, planted=None, title=None, per_class=4):
    """Write dfms.png, filtered.png and (of `hfss`) curves.png of a search into `folder`, each whole or not at all.

    Args:
        result: a `freqkit.results.SearchResult`.
        model, images: what was searched.
        folder: an existing directory.
        class_index: the logit of each class of `images`, as given to the search.
        planted, title: see `plot_search`.
        per_class: example images of each class.

    Returns:
        list of Path.
    """
    folder = Path(folder)
    examples = examples_of(model, images, result.masks, result.classes, class_index=class_index, per_class=per_class)
    save_examples(folder / "examples.safetensors", examples)
    losses = [stage.scores.loss for stage in result.stages]
    numbers = [stage.number for stage in result.stages]
    drawn = {
        "dfms.png": plot_search(result, planted=planted, title=title),
        "filtered.png": filtered_examples(examples),
    }
    # The other searchers try masks that are a single class's: there is no pool to draw a curve over.
    if result.record.get("identity", {}).get("search", "hfss") == "hfss":
        drawn["curves.png"] = search_curves(losses, result.classes, stages=numbers)
    for name, figure in drawn.items():
        save_figure(figure, folder / name)
    return [folder / name for name in drawn]
