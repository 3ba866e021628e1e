"""Remove one frequency after the other: those whose loss hurts a class most are its dominant frequencies
(DFM)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from freqkit.data import Images
from freqkit.masks import uncentred
from freqkit.models import Network
from freqkit.options import Options, Running, Scoring, flat, option
from freqkit.results.removal_result import TIES, RemovalResult, bins_of
from freqkit.search.cells import PRESETS, distinct, masks_without, removal_cells
from freqkit.search.plan import Effort, Plan
from freqkit.search.run import SearchRun
from freqkit.search.testing import Testing, again

LEVELS = (0.01, 0.05, 0.1, 0.2)
MASKS_AT_ONCE = 4096  # bounds the bits in memory: 25 MB at 224


EFFORTS = {
    "removal": Effort(
        "patch", (1,), lambda effort, coverage, seed, size: {"patch": effort, "levels": (coverage,), "level": coverage},
        slow=True,
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Levels(Options):
    """What `removal` and `gradient` make of the order of the frequencies."""

    levels: Sequence[float] = option(
        LEVELS,
        "shares of the bins for which DFM files are written",
        kind="shares",
        flag=False,
        help="shares of the bins to keep",
    )
    level: float = option(
        0.05,
        "the one whose masks are the result's",
        above=0,
        most=1,
        flag=False,
        help="the one that is asked and shown",
    )
    ties: str = option(
        "include", "bins as high as the last one, all kept (as published) or none, see `RemovalResult.selected`",
        choices=TIES, must="'include' or 'exclude'", flag=False,
        help="bins as high as the last one: keep all (as published) or none",
    )  # fmt: skip

    def check(self, owner):
        return replace(self, levels=tuple(self.levels))


@dataclass(frozen=True, kw_only=True)
class Removing(Options):
    """What `removal` is asked."""

    patch: int = option(
        1, "bins per side of what is removed at once; must divide the side, but not under a published preset",
        least=1, must="a positive integer", help="bins per side removed at once",
    )  # fmt: skip
    preset: str = option(
        "default", "default: what is right; the others as published, see above", choices=PRESETS, flag=False,
        help="default: what is right; the others: as published, with and without the strip of 2023",
    )  # fmt: skip
    published_batch_size: int = option(
        100, "B, images per batch of the published losses", least=1, must="a positive integer",
        flag=False, help="of the published loss",
    )  # fmt: skip


@flat
def removal(
    model: Network, images: Images, own: Removing, ordered: Levels, testing: Testing, scoring: Scoring, running: Running
) -> RemovalResult | Plan:
    """Score the removal of every frequency (or cell of frequencies) for every class at once.

    Candidate k is removed from all images, and the loss of each class is measured: K masks, each asked once
    for all classes. The highest losses are a class's dominant frequencies; thresholded at a share of the bins
    they are its DFM. The masks at `level` are then asked too, for their TPR and FPR.

    "iccv2023" reproduces the released code of that paper: block pairing and unscored strip (see `removal_cells`),
    ties included, and the loss of its batches j of `published_batch_size` images in their order. Batches without
    the class are left out; in the others the logits and labels of other classes' images are set to 0, so that
    each of them adds ln L. With S_cj the summed cross-entropy of the n_cj images of class c among the B_j of batch j,
    and L logits, the losses, the baseline and the loss of the masks are

        L_c = sum over j with n_cj > 0 of [S_cj + (B_j - n_cj) ln L] / B_j

    (`freqkit.engine.score`, "published-batches-of-class"; the code of the CVPR 2025 paper, of `hfss`, sums over all
    batches). "dfm_v2023" is the code as it was before November 2024, which removed that strip in every mask.

    Args:
        model: a `Classifier`.
        images: what `freqkit.data.as_images` takes; a share selects, the others test (`split_fraction`).

    Returns:
        `freqkit.results.removal_result.RemovalResult`; its record holds the cost.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit, or `out` is refused.
        Interrupted: SIGINT or SIGTERM came; everything finished is in the journal.

    Source: Wang, Veldhuis, Brune, Strisciuglio, "What do neural networks learn in image classification? A
        frequency shortcut perspective", ICCV 2023 (arXiv 2307.09829).

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model = load_model("small_convnet", num_classes=4)
        >>> result = removal(model, synthetic(images_per_class=2), patch=8, batch_size=16)
        >>> result.loss.shape, result.masks.shape
        (torch.Size([11, 4]), torch.Size([4, 32, 32]))
    """
    preset, patch = own.preset, own.patch
    reduction = {"reduction": "class-mean"}
    if preset != "default":
        reduction = {"reduction": "published-batches-of-class", "published_batch_size": own.published_batch_size}
    run = RemovalRun(
        "removal", model, images, ordered, scoring,
        {
            "preset": preset,
            "patch": patch,
            "reduction": reduction["reduction"],
            "published_batch_size": reduction.get("published_batch_size"),
        },
        testing, running, preset != "default",
    )  # fmt: skip
    size = run.size
    cells, owner = removal_cells(size, patch, preset)

    def work(run, progress):
        scorer = run.scorer()
        run.note_down(forwards_total=scorer.forwards(len(cells) + 1 + len(run.searched)))
        baseline = run.whole(scorer, progress, **reduction).loss[0]
        progress.start("removal", scorer.forwards(len(cells)))
        try:
            losses = []
            # Published blocks on the self-paired column come twice: score each effective mask once.
            first, inverse = distinct(cells, size, patch, preset)
            for start in range(0, len(first), MASKS_AT_ONCE):
                some = masks_without(cells[first[start : start + MASKS_AT_ONCE]], size, patch, preset)
                losses.append(run.score(scorer, some, f"removal/{start}", progress, **reduction).loss)
            saved = scorer.forwards(len(cells) - len(first))
            run.record["forwards_saved"] += saved
            progress.advance(saved, saved=True)
        finally:
            progress.finish()
        return run.result(scorer, owner, torch.cat(losses)[inverse], baseline, None, progress, **reduction)

    if running.dry_run:
        scorer = run.scorer()
        masks = len(distinct(cells, size, patch, preset)[0])
        return run.plan(
            scorer,
            [
                run.whole_part(scorer),
                ("removal", scorer.forwards(masks), 0, scorer.tiles(masks), None),
                ("exact scores", scorer.forwards(len(run.searched)), 0, scorer.tiles(len(run.searched)), None),
            ],
        )
    return run.execute(work, running, again(removal, own, ordered, scoring))


class RemovalRun(SearchRun):
    """What the searchers `removal` and `gradient` share: levels and the result."""

    def __init__(
        self, name: str, model: Network, images: Images, kept: Levels, scoring: Scoring, identity: dict, *test
    ):
        self.kept = kept
        super().__init__(name, model, images, scoring, {**identity, **kept.identity()}, *test)
        for share in (*kept.levels, kept.level):
            bins_of(share, self.size)

    def result(self, scorer, owner, loss, baseline, estimate, progress, **reduction):
        """The `RemovalResult` of losses [K, all classes], after its masks at `level` are asked; their loss is reduced
        as the others were, so that it stands beside the unfiltered one."""
        keep = self.searched
        result = RemovalResult(
            self.classes, self.counts, owner, loss[:, keep].contiguous(), baseline[keep],
            None if estimate is None else estimate[:, keep].contiguous(), **vars(self.kept),
            record=self.record,
        )  # fmt: skip
        chosen = uncentred(result.masks)
        progress.start("dominant frequencies", scorer.forwards(len(chosen)))
        try:
            scores = self.best_scores(scorer, chosen, "dfm", progress, **reduction)
        finally:
            progress.finish()
        self.still(None if scores.still is None else scores.still.diagonal())
        self.note_down(economies=self.economies(scorer))
        result.mask_loss, result.tpr, result.fpr = (
            value.diagonal().clone() for value in (scores.loss, scores.tpr, scores.fpr)
        )
        return result
