"""Remove one frequency after the other: those whose loss hurts a class most are its dominant frequencies
(DFM)."""

import torch

from freqkit import masks as mask_room
from freqkit.errors import UsageError
from freqkit.results.removal_result import TIES, RemovalResult, bins_of
from freqkit.search.run import SearchRun

PRESETS = ("default", "iccv2023", "dfm_v2023")
LEVELS = (0.01, 0.05, 0.1, 0.2)
LARGEST = 8  # cells per side of the largest of `cells_of_pairs`, at least
MASKS_AT_ONCE = 4096  # bounds the bits in memory: 25 MB at 224


def removal_cells(size, patch=1, preset="default"):
    """What is removed: the candidates, and whose score each bin gets.

    "default": cells of `patch` x `patch` bins; a candidate is what a cell has of the canonical half of the
    plane (`freqkit.masks.canonical`), with the partners -f. Every pair belongs to exactly one candidate, and
    is removed wholly.

    "iccv2023": the published grid, H/patch block rows by W/(2 patch) + 1 block columns; candidate (r, c) is
    that block and, when r > 0 and c > 0, the one that begins at (H - patch r, W - patch c). For patch > 1 the
    second is one bin off the true mirror, so that most bins are removed at half amplitude only. The first
    block row right of the middle belongs to no candidate. "dfm_v2023": the same; that strip is removed in
    every mask.

    Args:
        size: (H, W), multiples of `patch` (published: of 2 patch).
        patch: bins per side of a cell.
        preset: "default", "iccv2023" or "dfm_v2023".

    Returns:
        (cells, owner): int64 [K, 2, 2], for every candidate two cells as (row, column), the second a repeat
        of the first where there is but one; int64 [H, W], centred: the candidate of each bin, -1 for none.

    Example:
        >>> [len(removal_cells((n, n), patch, preset)[0]) for n, patch, preset in
        ...  ((32, 1, "default"), (32, 2, "default"), (32, 1, "iccv2023"), (224, 2, "iccv2023"))]
        [514, 137, 544, 6384]
    """
    height, width = size
    published = _published(preset)
    if isinstance(patch, bool) or not isinstance(patch, int) or patch < 1:
        raise UsageError(f"removal: patch must be a positive integer; got {patch!r}.")
    multiple = 2 * patch if published else patch
    if height % multiple or width % multiple:
        raise UsageError(f"removal: the size {height}x{width} must be a multiple of {multiple} for patch {patch}.")
    rows, columns = height // patch, width // patch
    cell_of_bin = (torch.arange(height)[:, None] // patch) * columns + torch.arange(width) // patch
    if published:
        r, c = torch.meshgrid(torch.arange(rows), torch.arange(columns // 2 + 1), indexing="ij")
        r, c = r.flatten(), c.flatten()
        inside = (r > 0) & (c > 0)
        other_r, other_c = torch.where(inside, rows - r, r), torch.where(inside, columns - c, c)
        owner = torch.full((rows * columns,), -1)
        owner[other_r * columns + other_c] = torch.arange(len(r))
        owner[r * columns + c] = torch.arange(len(r))
        return torch.stack([torch.stack([r, c], 1), torch.stack([other_r, other_c], 1)], 1), owner[cell_of_bin]
    canonical = mask_room.canonical(height, width)
    used = cell_of_bin[canonical].unique()
    number = torch.full((rows * columns,), -1)
    number[used] = torch.arange(len(used))
    own = torch.where(canonical, number[cell_of_bin], 0).double()
    owner = mask_room.hermitian(own).long()
    cells = torch.stack([used // columns, used % columns], 1)
    return torch.stack([cells, cells], 1), owner


def cells_of_pairs(owner):
    """For cells of 1, 2, 4, ... bins per side, as long as a side has `LARGEST` of them, the cell of each pair.

    Args:
        owner: int64 [H, W], the pair of each bin, as `removal_cells(size, 1)` gives it.

    Returns:
        list of int64 [K], K the number of pairs; cells are numbered as by `removal_cells`.

    Example:
        >>> _, owner = removal_cells((32, 32), 1)
        >>> [(len(cell), int(cell.max()) + 1) for cell in cells_of_pairs(owner)]
        [(514, 514), (514, 137), (514, 37)]
    """
    size, cells, side = tuple(owner.shape), [], 1
    while side == 1 or (min(size) >= LARGEST * side and not (size[0] % side or size[1] % side)):
        _, cell = removal_cells(size, side)
        of_pair = torch.zeros(int(owner.max()) + 1, dtype=torch.int64)
        of_pair[owner.flatten()] = cell.flatten()
        cells.append(of_pair)
        side *= 2
    return cells


def removal_masks(size, patch=1, preset="default", index=None):
    """The masks that keep all but one candidate, as `BitMasks`.

    Args:
        size, patch, preset: see `removal_cells`.
        index: numbers of some candidates; default all.

    Example:
        >>> from freqkit.masks import effective
        >>> masks = removal_masks((32, 32), 2, "iccv2023", [5 * 9 + 4])      # an interior block of 2 x 2 bins
        >>> values, counts = effective(masks).unique(return_counts=True)
        >>> dict(zip(values.tolist(), counts.tolist()))
        {0.0: 2, 0.5: 12, 1.0: 1010}
    """
    cells, _ = removal_cells(size, patch, preset)
    if index is not None:
        cells = cells[torch.as_tensor(index, dtype=torch.int64)]
    return _masks(cells, size, patch, preset)


def _masks(cells, size, patch, preset):
    rows, columns = size[0] // patch, size[1] // patch
    keep = torch.ones(len(cells), rows, columns, dtype=torch.bool)
    which = torch.arange(len(cells))
    for side in (0, 1):
        keep[which, cells[:, side, 0], cells[:, side, 1]] = False
    if preset == "dfm_v2023":
        keep[:, 0, columns // 2 + 1 :] = False
    return mask_room.pack(
        keep, cell=(patch, patch), size=tuple(size), symmetry="average" if _published(preset) else "hermitian"
    )


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

    "iccv2023" reproduces the released code: block pairing and unscored strip (see `removal_cells`), the loss
    of its batches of `published_batch_size` images in their order (see `freqkit.engine.score`), ties
    included. "dfm_v2023" is the code as it was before November 2024, which removed that strip in every mask.

    Args:
        model: a `Classifier`. images: the selection `ImageSet`; report rates on another one.
        patch: bins per side of what is removed at once.
        preset: "default", "iccv2023" or "dfm_v2023".
        levels: shares of the bins for which DFM files are written.
        level: the one whose masks are the result's.
        ties: "include" or "exclude", see `RemovalResult.selected`.
        domain, class_index, batch_size, device, dtype, memory, form, spectra: see `freqkit.engine.score`.
        published_batch_size: images per batch of the published losses.
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
    published = _published(preset)
    size = tuple(images.images.shape[-2:])
    cells, owner = removal_cells(size, patch, preset)
    if isinstance(published_batch_size, bool) or not isinstance(published_batch_size, int) or published_batch_size < 1:
        raise UsageError(f"removal: published_batch_size must be a positive integer; got {published_batch_size!r}.")
    run = RemovalRun(
        "removal", model, images, levels=levels, level=level, ties=ties, domain=domain,
        class_index=class_index, batch_size=batch_size, device=device, dtype=dtype, memory=memory,
        form=form, spectra=spectra,
        identity={
            "preset": preset,
            "patch": patch,
            "reduction": "published-batches" if published else "class-mean",
            "published_batch_size": published_batch_size if published else None,
        },
    )  # fmt: skip
    reduction = {"reduction": "class-mean"}
    if published:
        reduction = {"reduction": "published-batches", "published_batch_size": published_batch_size}

    def work(run, progress):
        scorer = run.scorer()
        run.note_down("running", forwards_total=scorer.forwards(len(cells) + 1 + len(run.searched)))
        whole = mask_room.pack(torch.ones(1, 1, 1), cell=size, size=size, symmetry="average")
        progress.start("removal", scorer.forwards(len(cells) + 1))
        try:
            baseline = run.score(scorer, whole, "whole", progress, **reduction).loss[0]
            losses = []
            # Published blocks on the self-paired column come twice: score each effective mask once.
            first, inverse = _distinct(cells, size, patch, preset)
            for start in range(0, len(first), MASKS_AT_ONCE):
                some = _masks(cells[first[start : start + MASKS_AT_ONCE]], size, patch, preset)
                losses.append(run.score(scorer, some, f"removal/{start}", progress, **reduction).loss)
            saved = scorer.forwards(len(cells) - len(first))
            run.record["forwards_saved"] += saved
            progress.advance(saved, saved=True)
        finally:
            progress.finish()
        return run.result(scorer, owner, torch.cat(losses)[inverse], baseline, None, progress)

    if dry_run:
        scorer = run.scorer()
        masks = len(_distinct(cells, size, patch, preset)[0]) + 1
        return run.plan(
            scorer,
            [
                ("removal", scorer.forwards(masks), 0, scorer.tiles(masks), None),
                ("exact scores", scorer.forwards(len(run.searched)), 0, scorer.tiles(len(run.searched)), None),
            ],
        )
    return run.execute(work, out, resume, overwrite, progress)


def _distinct(cells, size, patch, preset):
    if not _published(preset):
        return torch.arange(len(cells)), torch.arange(len(cells))
    names, first, inverse = {}, [], []
    for number, pair in enumerate(cells.tolist()):
        name = tuple(sorted(map(tuple, pair)))
        if patch == 1:
            # At single bins a mask is known by the set of bins it touches, partners included, and their
            # weights.
            partners = [((-r) % size[0], (-c) % size[1]) for r, c in name]
            name = tuple(sorted({*name, *partners})), len(set(name))
        if name not in names:
            names[name] = len(first)
            first.append(number)
        inverse.append(names[name])
    return torch.tensor(first), torch.tensor(inverse)


class RemovalRun(SearchRun):
    """What the searchers `removal` and `gradient` share: levels and the result."""

    def __init__(self, name, model, images, *, levels, level, ties, identity, **how):
        self.levels, self.level, self.ties = tuple(levels), level, ties
        if ties not in TIES:
            raise UsageError(f"{name}: ties must be 'include' or 'exclude'; got {ties!r}.")
        for share in (*self.levels, level):
            bins_of(share, tuple(images.images.shape[-2:]))
        identity = {**identity, "levels": list(self.levels), "level": level, "ties": ties}
        super().__init__(name, model, images, identity=identity, **how)

    def result(self, scorer, owner, loss, baseline, estimate, progress):
        """The `RemovalResult` of losses [K, all classes], after its masks at `level` are asked."""
        keep = self.searched
        result = RemovalResult(
            self.classes, self.counts, owner, loss[:, keep].contiguous(), baseline[keep],
            None if estimate is None else estimate[:, keep].contiguous(), self.levels, self.level, self.ties,
            record=self.record,
        )  # fmt: skip
        chosen = mask_room.uncentred(result.masks)
        progress.start("dominant frequencies", scorer.forwards(len(chosen)))
        try:
            scores = self.score(scorer, chosen, "dfm", progress).take_classes(keep)
        finally:
            progress.finish()
        self.note_down("running", economies=scorer.economies())
        result.mask_loss, result.tpr, result.fpr = (
            value.diagonal().clone() for value in (scores.loss, scores.tpr, scores.fpr)
        )
        return result


def _published(preset):
    if preset not in PRESETS:
        raise UsageError(f"removal: preset must be one of {', '.join(PRESETS)}; got {preset!r}.")
    return preset != "default"
