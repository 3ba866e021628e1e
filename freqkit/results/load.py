"""One way to read any result: a file, or the directory of a run."""

from pathlib import Path

from freqkit.errors import UsageError
from freqkit.files.reading import read_head
from freqkit.files.whole import read_run
from freqkit.registry import MEASURES, RESULTS, measured, result_class
from freqkit.report.pages import file_format
from freqkit.results.published import known_columns, read_benchmark
from freqkit.results.released_tables import HEAD, read_evaluation
from freqkit.results.removal_result import RemovalResult
from freqkit.results.rows import spell
from freqkit.results.search_result import SearchResult
from freqkit.results.store import Store, read_results, read_robustbench, read_timm

OF_RUNS = (
    "freqkit-dfm-1",
    "freqkit-stage-1",
    "freqkit-learning-1",
    "freqkit-tested-1",
)  # files that are parts of a run's result


def load_result(path):
    """The result in a file, or in the directory of a finished run, whichever measure or searcher it was.

    Returns:
        Of a directory `RemovalResult` for "removal" and "gradient", `Comparison`, `EvaluationResult`, `LearningCurves`
        of a training, else `SearchResult`; of a file the class of its format.

    Raises:
        UsageError: there is no finished result.

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
    path = Path(path)
    if not path.is_dir():
        kind = file_format(path)
        if result_class(kind) is None:
            kinds = [*RESULTS, *(one.FILE.format for one in measured())]
            known = ", ".join(sorted(name for name in kinds if name.startswith("freqkit")))
            raise UsageError(f"{path}: a file of a result must be of format {known}; it is of {kind or 'none'}.")
        return result_class(kind).load(path)
    if (path / "comparison.json").is_file():
        return result_class("comparison.json").load(path)
    record = read_run(path)
    identity = record.get("identity", {})
    if "evaluation" in identity:
        return result_class("results.csv").load(path)
    if identity.get("measure") in (*MEASURES, "human-comparison"):
        return load_result(path / f"{identity['measure']}.safetensors")
    if record.get("kind") == "training":
        return result_class("freqkit-learning-1").load(path / "learning.safetensors")
    return (RemovalResult if identity.get("search") in ("removal", "gradient") else SearchResult).load(path)


def results_of(path):
    """Every result in a file, or in a directory: that of the run, and files of measures that lie there.

    Raises:
        UsageError: there is none.
    """
    path = Path(path)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    others = [file for file in files if (kind := file_format(file)) not in OF_RUNS and result_class(kind)]
    run = any((path / name).is_file() for name in ("run.json", "comparison.json"))
    if others and (path / "run.json").is_file():  # of a measure's run the result is one of these files
        run = "measure" not in read_run(path).get("identity", {})
    found = [load_result(path)] if run or not others else []
    return found + [load_result(file) for file in others]


def rows_of(path):
    """Rows, as files spell them, of whatever holds some: a run directory or a result of any measure, results.csv, a
    store, a table of models as published (`read_benchmark`), a CSV of the released evaluation scripts, a results CSV of
    timm, a model_info JSON of RobustBench.

    Raises:
        UsageError: it is none of these, or damaged.
    """
    path = Path(path)
    if path.suffix == ".json":
        return read_robustbench([path])
    if path.suffix == ".csv":
        head = {*read_head(path)}
        if {*HEAD} <= head:
            return read_evaluation(path)
        if {"model", "top1", "top5"} <= head:
            return read_timm(path)
        return read_benchmark(path) if "model" in head and known_columns(head) else read_results(path)
    if (path / "results.csv").is_file():
        return read_results(path / "results.csv")
    if path.is_dir() or path.suffix == ".safetensors":
        return [spell(row) for result in results_of(path) for row in result.rows()]
    return Store(path).rows()
