"""One way to read the directory of any finished search."""

from freqkit.files.whole import read_run
from freqkit.results.removal_result import RemovalResult
from freqkit.results.search_result import SearchResult


def load_result(directory):
    """The result in the run directory of a finished search, whichever searcher it was.

    Returns:
        `RemovalResult` for "removal" and "gradient", else `SearchResult`.

    Raises:
        UsageError: the directory holds no finished search.

    Example:
        >>> import tempfile
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> from freqkit.search import learned
        >>> model, folder = load_model("small_convnet", num_classes=4), tempfile.mkdtemp()
        >>> found = learned(model, synthetic(images_per_class=2), steps=1, batch_size=8, out=folder)
        >>> load_result(folder).tpr.equal(found.tpr)
        True
    """
    kind = read_run(directory).get("identity", {}).get("search")
    return (RemovalResult if kind in ("removal", "gradient") else SearchResult).load(directory)
