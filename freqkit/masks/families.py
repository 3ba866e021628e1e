"""Candidate masks of the hierarchical search: three families of random cells, stage by stage."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from freqkit.masks.bits import BitMasks, common_cell, concat, refine
from freqkit.masks.draws import CounterDraws, PythonDraws, smallest
from freqkit.masks.grids import cells_drawn, cells_of_stage, families_of, square_side
from freqkit.masks.symmetry import canonical

PRESETS = ("default", "cvpr2025")
PARENT_DRAWS = ("any", "per_class")
ATTEMPTS_PER_FAMILY = 4  # redraws in a candidate's own family before the next family is tried
CHUNK_CELLS = 1 << 19  # cells drawn at once: the working set stays near the cache
ATTEMPTS = 240  # redraws before the space of distinct masks counts as exhausted


@dataclass(frozen=True)
class Candidates:
    """Candidate masks of one stage, and where each comes from.

    Attributes:
        masks: `BitMasks`, K of them.
        stage: int, counted from 1.
        index: int64 `[K]`, the number i of each candidate; i = 0..n-1 unless candidates are missing.
        family: int8 `[K]`, index into `freqkit.masks.FAMILIES` (aligned, shifted, union).
        parent: int64 `[K, 2]`, (class, rank) of the parent mask, or None at stage 1.
        provenance: dict for the run record: preset, seed, size, stage, keep, cells, cell_side, parents,
            requested, returned, and "missing", a sentence, when fewer distinct masks were found than asked
            for.
    """

    masks: BitMasks
    stage: int
    index: Tensor
    family: Tensor
    parent: Tensor | None
    provenance: dict

    def __len__(self):
        return self.masks.bits.shape[0]


def candidates(
    stage, n, *, size, keep=0.6, seed=0, preset="default", parents=None, parent_draw="any", parent_seed=None
):
    """Draw the candidate masks of one stage.

    At stage s the plane has g x g cells of N/g bins (`stage_cells`). Cells are drawn without replacement in
    the top half and turned by 180 degrees into the bottom half, in three families:

    - aligned: `int(keep g²/2)` cells of the g x g grid;
    - shifted: `int(keep (g/2+1)(g+1))` cells of a (g+1) x (g+1) grid that lies half a cell up and left;
    - union: the OR of an aligned and a shifted mask, each drawn with keep/2.

    From stage 2 on, each candidate is intersected, bin by bin, with a parent: a mask of the stage before.

    `preset="default"`: candidate i is of family i mod 3 (all are aligned where cells are single bins, which
    have no half-shifted grid). The effective mask is exactly symmetric and binary (`symmetry="hermitian"`).
    Draws are counter-based: candidate i is the same bits whatever n, on any machine. No two candidates have
    the same effective mask: candidate i is redrawn (parent too) while it equals one of a smaller index, 4
    times in its own family, then 4 in the next, and so on, at most 240 times. Then no more distinct masks are
    looked for (with `parent_draw="per_class"`: for that class) and fewer are returned, with a warning and
    `provenance["missing"]`. At least one cell is drawn. A cell side that is odd and above 1 shifts by
    (side - 1)/2 bins.

    `preset="cvpr2025"`: the published generator, bit for bit: Python's `random` with `seed`, cells redrawn
    until unseen, triples (aligned, shifted, union), `int(n/3)` of them, and only the aligned mask of each
    triple where cells are single bins; the bottom half is the top half turned about the corner between the
    middle bins, one bin off the true partner, so that bins get weight ½ (`symmetry="average"`); duplicates
    stay. A triple shares one parent.

    Args:
        stage: int from 1.
        n: candidates wanted, >= 0.
        size: even image side N (or (N, N)).
        keep: share of cells kept, in (0, 1]; 0.6 in the paper.
        seed: int in [0, 2**64). The published code always uses 42.
        preset: "default" or "cvpr2025".
        parents: stage >= 2: one `BitMasks` per class, best first (`[C][top]`; classes may differ in number),
            of the preset's symmetry and of size N. Not used at stage 1.
        parent_draw: "any": parent class and rank are uniform; "per_class": candidates 3j, 3j+1, 3j+2 take a
            parent of class j mod C ("default" only).
        parent_seed: "cvpr2025" only: seed of `numpy.random.RandomState`, which gives class, then rank, once
            per triple, as the published code's global generator does; that one is unseeded, so any value is
            as published. Default: `seed`.

    Returns:
        `Candidates`. 5,000 of any stage at 224 take under a second on one core.

    Raises:
        TypeError, ValueError: one sentence naming the argument, the rule and what came.

    Source: Wang, Veldhuis, Strisciuglio, "Do ImageNet-trained models learn shortcuts? The impact of
    frequency shortcuts on generalization", CVPR 2025.

    Example:
        >>> c = candidates(1, 12, size=32, seed=7)
        >>> len(c), c.masks.cell, c.family.tolist()[:4]
        (12, (4, 4), [0, 1, 2, 0])
        >>> longer = candidates(1, 30, size=32, seed=7)
        >>> bool((longer.masks.bits[:12] == c.masks.bits).all())
        True
    """
    g, side = cells_of_stage(size, stage)
    _check(stage, n, size, keep, seed, preset, parents, parent_draw, parent_seed)
    plan = _Plan(square_side(size), g, side, keep, preset, parents if stage > 1 else None)
    if preset == "cvpr2025":
        rows, family, parent = _published(plan, n, seed, seed if parent_seed is None else parent_seed)
        index, missing = np.arange(len(rows)), None
    else:
        rows, family, parent, index, missing = _distinct(plan, n, CounterDraws(seed, stage, plan.words), parent_draw)
    provenance = {
        "preset": preset,
        "seed": seed,
        "size": plan.size,
        "stage": stage,
        "keep": keep,
        "cells": g,
        "cell_side": side,
        "requested": n,
        "returned": len(rows),
    }
    if stage > 1:
        provenance["parents"] = {"counts": plan.counts.tolist(), "draw": parent_draw}
        if preset == "cvpr2025":
            provenance["parents"]["seed"] = seed if parent_seed is None else parent_seed
    if missing:
        provenance["missing"] = missing
        warnings.warn(missing, stacklevel=2)
    return Candidates(
        BitMasks(torch.from_numpy(rows), (plan.cell,) * 2, (plan.size,) * 2, plan.symmetry),
        stage,
        torch.from_numpy(index),
        torch.from_numpy(family),
        torch.from_numpy(parent) if stage > 1 else None,
        provenance,
    )


class _Plan:
    """One stage's geometry: how drawn cells become rows of packed bits on the stage's common grid."""

    def __init__(self, size, g, side, keep, preset, parents):
        self.size, self.g, self.side = size, g, side
        self.symmetry = "average" if preset == "cvpr2025" else "hermitian"
        self.families = families_of(side)
        self.drawn = cells_drawn(g, keep)
        if preset == "default":
            self.drawn = {name: np.maximum(1, count).tolist() for name, count in self.drawn.items()}
        self.top_cells, self.shifted_cells = (g // 2, g), (g // 2 + 1, g + 1)
        cell = side if len(self.families) == 1 else math.gcd(side, side // 2)
        self.parents = None
        if parents is not None:
            cell = math.gcd(cell, *common_cell(parents, "candidates: parents"))
            self.parents = refine(concat(parents), (cell, cell)).bits.cpu().numpy()
            self.counts = np.array([part.bits.shape[0] for part in parents])
            self.offsets = np.cumsum(self.counts) - self.counts
        self.cell = cell
        self.side_cells = size // cell
        # Words of one candidate: parent class and rank, then a key per aligned and per shifted cell.
        cells = [math.prod(self.top_cells), math.prod(self.shifted_cells) if len(self.families) > 1 else 0]
        self.words = 2 + sum(cells)
        self.aligned_words, self.shifted_words = slice(2, 2 + cells[0]), slice(2 + cells[0], self.words)
        self.seen_bits = self._seen_bits()

    def rows(self, aligned=None, shifted=None, parent=None):
        """Packed bits `[k, side_cells, bytes]` of drawn cells, bool `[k, cells]`, turned, AND parent."""
        result = None
        for cells, shape, offset in (
            (aligned, self.top_cells, 0),
            (shifted, self.shifted_cells, self.side // 2 // self.cell),
        ):
            if cells is not None:
                part = self._spread(cells.reshape(-1, *shape), offset)
                result = part if result is None else np.bitwise_or(result, part, out=result)
        return result if parent is None else np.bitwise_and(result, self.parents[parent], out=result)

    def _spread(self, cells, offset):
        """Cells of `side` bins, read from `offset` grid cells in, to packed rows of the whole plane."""
        repeat, width, half = self.side // self.cell, self.side_cells, self.side_cells // 2
        # Columns first, rows last: bytes are repeated down the rows instead of bins.
        wide = cells.repeat(repeat, axis=2)[:, :, offset : offset + width]
        top = np.packbits(wide, axis=2, bitorder="little").repeat(repeat, axis=1)[:, offset : offset + half]
        # A row read backwards: pack most significant bit first, padded in front, and turn the bytes round.
        front = np.zeros((*cells.shape[:2], -width % 8), bool)
        turned = np.packbits(np.concatenate([front, wide], axis=2), axis=2, bitorder="big")[:, ::-1, ::-1]
        start = cells.shape[1] * repeat - offset - half
        return np.concatenate([top, turned.repeat(repeat, axis=1)[:, start : start + half]], axis=1)

    def draw(self, family, words):
        """Drawn cells of one family from random keys, as keyword arguments of `rows`."""
        name = self.families[family]
        if name == "union":
            a, b = self.drawn["union"]
            return {
                "aligned": smallest(words[:, self.aligned_words], a),
                "shifted": smallest(words[:, self.shifted_words], b),
            }
        return {name: smallest(words[:, getattr(self, f"{name}_words")], self.drawn[name])}

    def keys(self, rows):
        """One bytes object per mask, equal exactly when the effective masks are (on this one grid)."""
        return [row.tobytes() for row in rows & self.seen_bits]

    def _seen_bits(self):
        """Packed bits of the cells that hold a canonical bin: the others never reach the effective mask."""
        half = canonical(self.size, self.size).numpy()
        cells = half.reshape(self.side_cells, self.cell, self.side_cells, self.cell).any(axis=(1, 3))
        return np.packbits(cells, axis=1, bitorder="little")


# ---- default preset ----------------------------------------------------------------------------------------


def _distinct(plan, n, draws, parent_draw):
    rows = np.empty((n, plan.side_cells, -(-plan.side_cells // 8)), np.uint8)
    family, parent = np.empty(n, np.int8), np.zeros((n, 2), np.int64)
    kept, exhausted, seen = [], set(), set()
    step = max(1, CHUNK_CELLS // plan.words)
    for start in range(0, n, step):
        part = np.arange(start, min(n, start + step))
        rows[part], family[part], parent[part] = _attempt(plan, draws, part, 0, parent_draw)
    keys = plan.keys(rows)
    redrawn = _Redraws(plan, draws, parent_draw, keys)
    for i, key in enumerate(keys):
        owner = i // 3 % len(plan.counts) if parent_draw == "per_class" and plan.parents is not None else None
        if owner in exhausted:
            continue
        if key in seen:
            found = redrawn.first_unseen(i, seen)
            if found is None:
                exhausted.add(owner)
                continue
            key, rows[i], family[i], parent[i] = found
        seen.add(key)
        kept.append(i)
    index = np.array(kept, np.int64)
    if len(kept) == n:
        return rows, family, parent, index, None
    missing = (
        f"candidates: stage {draws.stage} at size {plan.size} gave {len(kept)} distinct masks, not the {n} "
        f"asked for: {ATTEMPTS} redraws of one candidate found none that was new."
    )
    return rows[index], family[index], parent[index], index, missing


def _attempt(plan, draws, indices, attempt, parent_draw):
    """Attempt number `attempt` of some candidates: packed rows, family, parent."""
    words = draws.rows(indices, attempt)
    rows = np.empty((len(indices), plan.side_cells, -(-plan.side_cells // 8)), np.uint8)
    family = ((indices + attempt // ATTEMPTS_PER_FAMILY) % len(plan.families)).astype(np.int8)
    parent = np.zeros((len(indices), 2), np.int64)
    flat = None
    if plan.parents is not None:
        if parent_draw == "per_class":
            parent[:, 0] = indices // 3 % len(plan.counts)
        else:
            parent[:, 0] = words[:, 0].astype(np.uint64) * np.uint64(len(plan.counts)) >> np.uint64(32)
        ranks = plan.counts[parent[:, 0]]
        parent[:, 1] = words[:, 1].astype(np.uint64) * ranks.astype(np.uint64) >> np.uint64(32)
        flat = plan.offsets[parent[:, 0]] + parent[:, 1]
    for f in range(len(plan.families)):
        of_family = np.flatnonzero(family == f)
        if len(of_family):
            cells = plan.draw(f, words[of_family])
            rows[of_family] = plan.rows(**cells, parent=None if flat is None else flat[of_family])
    return rows, family, parent


class _Redraws:
    """Later attempts of candidates whose first draw is taken, drawn for many such candidates at once."""

    def __init__(self, plan, draws, parent_draw, keys):
        self.plan, self.draws, self.parent_draw = plan, draws, parent_draw
        seen, self.suspects = set(), []
        for i, key in enumerate(keys):
            if key in seen:
                self.suspects.append(i)
            seen.add(key)
        self.layers = {}

    def first_unseen(self, i, seen):
        for attempt in range(1, ATTEMPTS + 1):
            found = self._layer(i, attempt)
            if found[0] not in seen:
                for held in self.layers.values():
                    held.pop(i, None)
                return found
        return None

    def _layer(self, i, attempt):
        layer = self.layers.setdefault(attempt, {})
        if i not in layer:
            # Those behind i that got as far as this attempt's predecessor will most likely need this one too.
            behind = self.suspects if attempt == 1 else self.layers[attempt - 1]
            limit = max(1, CHUNK_CELLS // self.plan.words)
            batch = [i, *sorted(j for j in behind if j > i and j not in layer)][:limit]
            rows, family, parent = _attempt(self.plan, self.draws, np.array(batch), attempt, self.parent_draw)
            layer.update(zip(batch, zip(self.plan.keys(rows), rows, family, parent, strict=True), strict=True))
        return layer[i]


# ---- published preset --------------------------------------------------------------------------------------


def _published(plan, n, seed, parent_seed):
    draws, triples = PythonDraws(seed), n // 3
    top, shifted = math.prod(plan.top_cells), math.prod(plan.shifted_cells)
    a, b = plan.drawn["union"]
    order = [(top, plan.drawn["aligned"]), (shifted, plan.drawn["shifted"]), (top, a), (shifted, b)]
    parts = [("aligned",), ("shifted",), ("aligned", "shifted")]
    if len(plan.families) == 1:
        order, parts = order[:1], parts[:1]
    parent, flat = np.zeros((triples, 2), np.int64), None
    if plan.parents is not None:
        generator = np.random.RandomState(parent_seed)  # what the published code draws from
        for triple in parent:
            triple[0] = generator.randint(0, len(plan.counts), dtype=np.int64)
            triple[1] = generator.randint(0, plan.counts[triple[0]], dtype=np.int64)
        flat = plan.offsets[parent[:, 0]] + parent[:, 1]
    rows = np.empty((triples, len(parts), plan.side_cells, -(-plan.side_cells // 8)), np.uint8)
    step = max(1, CHUNK_CELLS // (top + shifted))
    for start in range(0, triples, step):
        part = slice(start, min(triples, start + step))
        drawn = [[draws.distinct(*each) for each in order] for _ in range(part.start, part.stop)]
        cells = iter([np.array(column) for column in zip(*drawn, strict=True)])
        for family, names in enumerate(parts):
            of_family = {name: next(cells) for name in names}
            rows[part, family] = plan.rows(**of_family, parent=None if flat is None else flat[part])
    family = np.tile(np.arange(len(parts), dtype=np.int8), triples)
    return rows.reshape(-1, *rows.shape[2:]), family, parent.repeat(len(parts), axis=0)


# ---- arguments ---------------------------------------------------------------------------------------------


def _check(stage, n, size, keep, seed, preset, parents, parent_draw, parent_seed):
    for name, value in (("n", n), ("seed", seed), ("parent_seed", 0 if parent_seed is None else parent_seed)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"candidates: {name} must be an int; got {type(value).__name__} {value!r}.")
    if n < 0:
        raise ValueError(f"candidates: n must be at least 0; got {n}.")
    if not 0 <= seed < 2**64:
        raise ValueError(f"candidates: seed must be in [0, 2**64); got {seed}.")
    if isinstance(keep, bool) or not isinstance(keep, (int, float)):
        raise TypeError(f"candidates: keep must be a number; got {type(keep).__name__} {keep!r}.")
    if not 0 < keep <= 1:
        raise ValueError(f"candidates: keep must be in (0, 1]; got {keep}.")
    if preset not in PRESETS:
        raise ValueError(f"candidates: preset must be one of {PRESETS}; got {preset!r}.")
    if parent_draw not in PARENT_DRAWS:
        raise ValueError(f"candidates: parent_draw must be one of {PARENT_DRAWS}; got {parent_draw!r}.")
    if preset == "cvpr2025":
        if parent_draw != "any":
            raise ValueError(f"candidates: preset 'cvpr2025' draws parents of any class; got {parent_draw!r}.")
        if parent_seed is None and stage > 1 and seed >= 2**32:
            raise ValueError(f"candidates: parent_seed must be given when seed is 2**32 or more; got seed {seed}.")
        if parent_seed is not None and not 0 <= parent_seed < 2**32:
            raise ValueError(f"candidates: parent_seed must be in [0, 2**32); got {parent_seed}.")
    elif parent_seed is not None:
        raise ValueError(f"candidates: parent_seed is for preset 'cvpr2025' alone; got {parent_seed}.")
    if stage > 1:
        _check_parents(parents, preset, square_side(size))


def _check_parents(parents, preset, size):
    if isinstance(parents, BitMasks) or not isinstance(parents, (list, tuple)):
        raise TypeError(f"candidates: parents must be a list, one BitMasks per class; got {type(parents).__name__}.")
    if not parents:
        raise ValueError("candidates: parents must hold at least one class; got none.")
    common_cell(parents, "candidates: parents")
    for number, part in enumerate(parents):
        if part.bits.shape[0] < 1:
            raise ValueError(f"candidates: every class must have at least one parent; class {number} has none.")
    symmetry = "average" if preset == "cvpr2025" else "hermitian"
    if parents[0].symmetry != symmetry:
        raise ValueError(
            f"candidates: parents must have symmetry {symmetry!r} for preset {preset!r}; got {parents[0].symmetry!r}."
        )
    if tuple(parents[0].size) != (size, size):
        raise ValueError(f"candidates: parents must be of size ({size}, {size}); got {tuple(parents[0].size)}.")
