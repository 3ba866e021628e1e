"""Remove one frequency after the other: those whose loss hurts a class most are its dominant frequencies
(DFM)."""

import torch

from freqkit import masks as mask_room
from freqkit.errors import UsageError
from freqkit.options import Scoring
from freqkit.results.removal_result import TIES, RemovalResult, bins_of
from freqkit.search.cells import distinct, is_published, masks_without, removal_cells
from freqkit.search.run import SearchRun

LEVELS = (0.01, 0.05, 0.1, 0.2)
MASKS_AT_ONCE = 4096  # bounds the bits in memory: 25 MB at 224


def removal(
    model,
    images,
    *,
    patch=1,
    preset="default",
    levels=LEVELS,
    level=0.05,
    ties="include",
    domain="normalised",
    class_index=None,
    published_batch_size=100,
    batch_size="auto",
    device=None,
    dtype=None,
    memory=1 << 30,
    form="auto",
    spectra="float32",
    out=None,
    resume=False,
    overwrite=False,
    progress=None,
    dry_run=False,
):
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
        model: a `Classifier`. images: the selection `ImageSet`; report rates on another one.
        patch: bins per side of what is removed at once; must divide the side, but not under a published preset.
        preset: "default", "iccv2023" or "dfm_v2023".
        levels: shares of the bins for which DFM files are written.
        level: the one whose masks are the result's.
        ties: "include" or "exclude", see `RemovalResult.selected`.
        domain, class_index, batch_size, device, dtype, memory, form, spectra: see `freqkit.engine.score`.
        published_batch_size: B, images per batch of the published losses.
        out, resume, overwrite: directory of the run, as in `freqkit.search.hfss`; holds run.json,
            journal.bin, removal.safetensors, classes.csv, and dfm-1.safetensors, dfm-5.safetensors, ...
            (percent).
        progress: a `freqkit.engine.Progress`.
        dry_run: return a `freqkit.search.Plan` and do nothing else.
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
    published = is_published(preset)
    size = tuple(images.images.shape[-2:])
    cells, owner = removal_cells(size, patch, preset)
    if isinstance(published_batch_size, bool) or not isinstance(published_batch_size, int) or published_batch_size < 1:
        raise UsageError(f"removal: published_batch_size must be a positive integer; got {published_batch_size!r}.")
    reduction = {"reduction": "class-mean"}
    if published:
        reduction = {"reduction": "published-batches-of-class", "published_batch_size": published_batch_size}
    run = RemovalRun(
        "removal", model, images,
        Scoring(
            domain=domain, class_index=class_index, batch_size=batch_size, device=device, dtype=dtype, memory=memory,
            form=form, spectra=spectra,
        ),
        levels, level, ties,
        {
            "preset": preset,
            "patch": patch,
            "reduction": reduction["reduction"],
            "published_batch_size": reduction.get("published_batch_size"),
        },
    )  # fmt: skip

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

    if dry_run:
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
    return run.execute(work, out, resume, overwrite, progress)


class RemovalRun(SearchRun):
    """What the searchers `removal` and `gradient` share: levels and the result."""

    def __init__(self, name, model, images, scoring, levels, level, ties, identity):
        self.levels, self.level, self.ties = tuple(levels), level, ties
        if ties not in TIES:
            raise UsageError(f"{name}: ties must be 'include' or 'exclude'; got {ties!r}.")
        for share in (*self.levels, level):
            bins_of(share, tuple(images.images.shape[-2:]))
        identity = {**identity, "levels": list(self.levels), "level": level, "ties": ties}
        super().__init__(name, model, images, scoring, identity)

    def result(self, scorer, owner, loss, baseline, estimate, progress, **reduction):
        """The `RemovalResult` of losses [K, all classes], after its masks at `level` are asked; their loss is reduced
        as the others were, so that it stands beside the unfiltered one."""
        keep = self.searched
        result = RemovalResult(
            self.classes, self.counts, owner, loss[:, keep].contiguous(), baseline[keep],
            None if estimate is None else estimate[:, keep].contiguous(), self.levels, self.level, self.ties,
            record=self.record,
        )  # fmt: skip
        chosen = mask_room.uncentred(result.masks)
        progress.start("dominant frequencies", scorer.forwards(len(chosen)))
        try:
            scores = self.best_scores(scorer, chosen, "dfm", progress, **reduction)
        finally:
            progress.finish()
        self.still(None if scores.still is None else scores.still.diagonal())
        self.note_down(economies=scorer.economies())
        result.mask_loss, result.tpr, result.fpr = (
            value.diagonal().clone() for value in (scores.loss, scores.tpr, scores.fpr)
        )
        return result
