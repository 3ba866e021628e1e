"""Networks and people on the same images: accuracy in sixteen categories, and whether they err on the same images.

Source: Geirhos et al., NeurIPS 2018 (arXiv 1808.08750) and 2021 (arXiv 2106.07411); error consistency: Geirhos, Meding
and Wichmann, NeurIPS 2020 (arXiv 2006.16736). Of two that answer the same images rightly in shares p and q,

    kappa = (o - e) / (1 - e),    e = p q + (1 - p)(1 - q)

with o the share of images that both get right or both get wrong, and e what independent errors would give: 1 for the
same errors, about 0 for independent ones, below 0 for others than chance has it. Undefined where e is 1.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from freqkit.data import TestSet
from freqkit.data.test_sets.model_vs_human import SETS
from freqkit.engine import Silent
from freqkit.engine.session import CannotResume, session
from freqkit.errors import UsageError
from freqkit.measures.human_comparison.asking import AllImages, OneModel, gathered
from freqkit.measures.human_comparison.kappa import error_consistency
from freqkit.measures.human_comparison.result import HumanComparisonResult
from freqkit.measures.human_comparison.tables import tables_of
from freqkit.measures.running import file_of
from freqkit.models import Network
from freqkit.options import Directory, Options, Scoring, flat, option
from freqkit.report.words import listed
from freqkit.results.result import versions

__all__ = ["HumanComparisonResult", "error_consistency", "human_comparison", "read_raw"]
NAME = "human-comparison"
FAULTS = (ValueError, TypeError, ArithmeticError, RuntimeError, OSError, ImportError)


@dataclass(frozen=True, kw_only=True)
class Comparing(Options):
    """What `human_comparison` is asked."""

    image_size: int | None = option(
        None,
        "side in pixels; None: the model's own, else 224",
        least=1,
        help="side in pixels.  [default: the model's own]",
    )
    confidence: float = option(0.95, "how sure intervals are", above=0, below=1)
    resamples: int = option(1000, "redrawings of images and people", least=100, help="of the bootstrap")
    seed: int = option(0, "of the redrawings", least=0)


@flat
def human_comparison(
    models: Sequence[tuple[str, Network | Callable[[], Network]]],
    sets: Sequence[TestSet],
    observers: Sequence[str | Path] = (),
    *,
    own: Comparing,
    scoring: Scoring,
    running: Directory,
) -> HumanComparisonResult:
    """Ask every model about the sets on which networks are compared with people, and compare the answers.

    The answer is the category of the largest mean softmax probability. A fault ends the work on one model, is on record
    (`record["failures"]`), and nothing else.

    Args:
        models: list of (name, model): a `Classifier` of ImageNet's 1,000 classes (or of the 16 categories by name), a
            network, or a function that loads one, called when its turn comes.
        sets: of `freqkit.data.open_sets(["human-colour", ...], folder)`. [] when only tables are compared.
        observers: tables of raw data (CSV), or folders that hold them, of people and of other models.

    Returns:
        `HumanComparisonResult`; a forward for each model and image.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit; or there is nothing to compare.

    Example:
        >>> import tempfile, pathlib, torch
        >>> from freqkit.data import ImageSet, open_sets, write_image_folder
        >>> from freqkit.models import load_model
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> pixels = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> images = ImageSet(pixels, [0, 1], ["cat", "dog"], ["cat/cat1.png", "dog/dog1.png"])
        >>> write_image_folder(images, root / "edge")
        >>> sets = open_sets(["human-edge"], root, relaxed=True)
        >>> net = load_model("small_convnet", num_classes=1000)
        >>> found = human_comparison([("net", net)], sets, image_size=32, batch_size=2)
        >>> found.sets, [row["images"] for row in found.table()]
        (['edge'], [2])
    """
    models, sets = list(models), list(sets)
    names = [name for name, _ in models]
    if len(set(names)) < len(names):
        raise UsageError(f"human_comparison: models must have distinct names; got {listed(names)}.")
    strange = next((each.name for each in sets if each.name not in SETS), None)
    if strange is not None:
        raise UsageError(
            f"human_comparison: sets must be those of model-vs-human ({', '.join(SETS)}); got {strange!r}."
        )
    if not (models and sets) and not observers:
        raise UsageError("human_comparison: models and sets must be given, or observers; there is nothing to compare.")
    tables = tables_of(observers)
    progress, definition = running.progress or Silent(), {"decision": "largest mean probability", **own.identity()}
    identity = {
        "measure": NAME, **own.identity(), "models": names, "sets": [each.record for each in sets],
        "observers": hashlib.sha256(json.dumps([(name, maker, [list(one.values())[:-1] for one in trials])
                                                for name, maker, trials in tables]).encode()).hexdigest(),
        "batch_size": scoring.batch_size, "form": scoring.form,
        "dtype": None if scoring.dtype is None else str(scoring.dtype).removeprefix("torch."), "versions": versions(),
    }  # fmt: skip
    how = {"resume": running.resume, "overwrite": running.overwrite, "note": progress.note}
    with session(NAME, identity, running.out, **how) as run:
        images, failures, asked, forwards = AllImages(sets, tables), [], {}, 0
        run.note_down(forwards_total=len(models) * sum(map(len, sets)), models={})
        for name, source in models if sets else ():
            try:
                asked[name] = OneModel(run, name, source, own, scoring, progress).all(images)
                forwards += len(images.names)
            except CannotResume:
                raise
            except FAULTS as error:
                failures.append({"model": name, "error": " ".join(str(error).split()) or type(error).__name__})
                progress.note(f"failed: {name}: {failures[-1]['error']}")
        if not asked and not tables:
            raise UsageError(f"human_comparison: no model could be asked: {failures[0]['error']}")
        result = gathered(images, asked, tables, definition)
        result.record = {
            "models": {name: run.record["models"][name] for name in asked}, "failures": failures, "forwards": forwards,
            "notes": list(dict.fromkeys([*(f"{each.title}: {note}" for each in sets for note in each.notes),
                                         *images.notes])), "versions": versions(),
        }  # fmt: skip
        run.note_down(forwards=forwards, failures=failures)
        if run.path is not None:
            result.save(file_of(run.path, NAME))
    return result


def read_raw(paths: Sequence[str | Path], **options) -> HumanComparisonResult:
    """The comparison of those whose answers stand in tables of raw data; see `human_comparison`.

    Args:
        paths: of CSV files `SET_*.csv`, or folders that hold them. options: see `human_comparison`.
    """
    return human_comparison([], [], paths, **options)
