"""How classes fare on every test set, whole and seen through their frequency maps, and those of high filtered TPR
against the others.

Source: Wang, Veldhuis, Strisciuglio, "Do ImageNet-trained models learn shortcuts?", CVPR 2025 (arXiv 2503.03519).
Class c's images are filtered with class c's map alone, `y = Re IDFT2(m_c DFT2(x))`: one more forward per image.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from freqkit.data import TestSet
from freqkit.engine import Silent
from freqkit.engine.session import session
from freqkit.errors import UsageError
from freqkit.masks import DfmFile
from freqkit.measures.evaluation.protocol import PRESETS, Condition, Evaluating, Settings, parse_on, preprocessing_for
from freqkit.measures.evaluation.result import FORMAT, EvaluationResult
from freqkit.measures.evaluation.rows import averaged
from freqkit.measures.evaluation.run import Run
from freqkit.models import Network
from freqkit.options import Directory, flat
from freqkit.results.store import COLUMNS

__all__ = [
    "COLUMNS", "FORMAT", "PRESETS", "Condition", "EvaluationResult", "averaged", "evaluate", "parse_on",
    "preprocessing_for",
]  # fmt: skip


@flat
def evaluate(
    models: Sequence[tuple[str, Network | Callable[[], Network]]],
    sets: Sequence[TestSet],
    dfm: DfmFile | str | Path | None = None,
    *,
    own: Evaluating,
    running: Directory,
    device: str | torch.device | None = None,
    workers: int | None = None,
    failures: Sequence[dict] = (),
) -> EvaluationResult:
    """Ask every model about every image: as it is, through its class's map, corrupted, attacked.

    Every image is decoded once per model, whatever is asked about it. A fault (a damaged image, a NaN logit, a missing
    package) ends the set and condition in which it occurs, is recorded, and nothing else.

    Metrics per class: "TPR" and "FPR" (share of the class's, and of the other classes' images recognised as the class);
    "filtered TPR": the class's images through its own map; "filtered TPR of recognised": the same, of the images
    that are recognised whole; "filtered FPR": images of *other* classes through this
    class's map, from a share `cross` of the images with a map drawn for each (a model that says c to anything filtered
    has it high, too; the rows' n is the number of these pairs). Of whole sets: "top-1", "top-5", "mean TPR" (unweighted
    mean over classes), their filtered twins, "AvgTPR shortcut@t", "AvgTPR other@t" (see
    `freqkit.measures.evaluation.groups`), "mean error", "CE" and "mCE" on corruptions, "ReaL top-1". On sets of a known
    part of ImageNet's classes all is given twice: among all logits, and (condition "... 200 logits") among those of
    the part alone.

    "cvpr2025" follows the published scripts in everything that is not asked for (an argument that is given runs as
    given, also when it equals the default): squash on ImageNet-C, -v2, -Sketch and centre crop elsewhere; no FPR
    through maps; an empty group counts 0; means over ImageNet-C are of the 15 corruptions, also where the four extra
    ones are there; FGSM of 8/255 on the raw logit, clipped ("fgsm-cvpr2025"; `fgsm:eps=4` keeps its eps). For
    ImageNet-R pixels are filtered before they are normalised, of its images and, in condition "all, filtered before
    normalised", of the in-distribution images of its classes. By the filtered TPR of the latter the classes of
    ImageNet-R are grouped, by the usual one those of all other sets. The default filters normalised images everywhere
    and has one grouping. Its scripts took the *training* folder as the in-distribution set (give it as `imagenet=PATH`;
    the paper says val). Groups are told by whole numbers of images, so a class exactly at t is not in the group above
    t; the published notebook averages copies of the in-distribution column, one for each corruption, and the rounding
    of these sums puts some such classes above t.

    "cvpr2024" follows the scripts of Gavrikov and Keuper ("Can Biases in ImageNet Models Explain Generalization?"):
    images of 224 pixels, cut out of a shorter side of 256 but for ImageNet-C and -C-bar and sets of sixteen categories,
    whatever a model was made for; PGD of 40 steps of 2/255 within 0.5/255, of which the last iterate is judged
    ("pgd-cvpr2024"). Where a published number is another one than what it is called, it has a row beside the right
    one, and its definition says so: "ReaL top-1 as published" (of the last batch of 512 images), "top-1 as published"
    under attacks (divided by the images of full batches of 128), and "mean top-1" over all conditions of ImageNet-C,
    the four extra corruptions among them, beside that over the 15. The study asks for `imagenet`, `c`, `c-bar`, `a`,
    `r`, `sketch`, `v2/matched-frequency`, `pgd` and a set of sixteen categories.

    Sets whose classes are the sixteen everyday categories (`freqkit.data.sixteen`) are scored by the largest mean
    softmax probability of a category's classes (condition "all, 16 categories"), and seen whole alone.

    A resumed run must read the same images: the journal holds a digest of the bytes of every image that was read, and
    what is not asked again is read (not decoded) and compared. That costs one reading of these files.

    Args:
        models: list of (name, model): a `Classifier`, a network or a function (see `freqkit.wrap`), or a function
            without arguments that loads one, called when its turn comes.
        sets: list of `TestSet`, see `freqkit.data.open_sets`.
        dfm: a `DfmFile` or its path; None: only unfiltered images.
        device: see `freqkit.engine.score`. workers: processes that decode; None: as many as pay.
        failures: failures known before (a set that could not be opened), for the record.

    Returns:
        `EvaluationResult`.

    Raises:
        UsageError: arguments that do not fit; or nothing could be evaluated at all.

    Example:
        >>> import tempfile, pathlib, torch
        >>> from freqkit.data import open_sets, synthetic, write_image_folder
        >>> from freqkit.masks import DfmFile
        >>> from freqkit.models import load_model
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> write_image_folder(synthetic(1, images_per_class=3), root / "mine")
        >>> maps = DfmFile(torch.ones(4, 32, 32), ["C0", "C1", "C2", "C3"])
        >>> sets = open_sets([f"mine={root / 'mine'}"])
        >>> found = evaluate([("small", load_model("small_convnet"))], sets, maps, image_size=32)
        >>> found.value("top-1", set="mine") == found.value("filtered top-1", set="mine")
        True
    """
    settings = Settings(sets, dfm, own)
    models = list(models)
    names = [name for name, _ in models]
    if not models or len(set(names)) != len(names):
        raise UsageError(f"evaluate: models must be distinct names with their classifiers; got {names}.")
    progress = running.progress or Silent()
    identity = {**settings.identity, "models": names}
    how = {"resume": running.resume, "overwrite": running.overwrite, "note": progress.note, "signals": True}
    with session("evaluate", identity, running.out, **how) as opened:
        return Run(settings, opened, progress, device, workers, list(failures)).all(models)
