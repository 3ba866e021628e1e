"""Evolve each class's mask from the answers alone: no gradient of the masks is needed.

Every class has a lineage of its own, but all go forward together: candidate k of every class is scored by one
forward per image, each image under the mask of its own class; a second forward shows each image the mask of
another class drawn at random, which samples FPR. A generation of K candidates therefore costs K forwards per
image for TPR and fewer for FPR, whatever the number of classes.

A generation draws masks of cells, coarse ones first, under a budget of bins: Gumbel noise is added to the scores
of the pairs, and the cells of highest mean score are kept (a draw without replacement). Half of the candidates are
children of an elite, which keep most of it. The scores move towards the log-odds of being kept among the best
(the cross-entropy method). At first they are the ranking by gradients (`freqkit.search.estimate_removal`).
Candidates race: the better half by their own images goes on to the images of others. Elites stay, and are shown
new images of other classes in every generation, so that luck does not last. Ranks share what is asked: a mask of
every class, and a block of images, is a tile.
"""

from dataclasses import dataclass

import numpy as np
import torch

from freqkit.data import Images
from freqkit.engine import ranks
from freqkit.errors import UsageError
from freqkit.models import Network
from freqkit.options import Running, Scoring, flat, option
from freqkit.results import SearchResult
from freqkit.search.cells import cells_of_pairs, removal_cells
from freqkit.search.gradient import ranking, ranking_parts
from freqkit.search.plan import Budget, Effort, Plan
from freqkit.search.run import SearchRun, budget, fill
from freqkit.search.testing import Testing, again

OBJECTIVES = ("tpr-fpr", "class-loss")
TIE = 0.01  # of the class loss in "tpr-fpr": rates come in steps of an image
PRIOR = 2.0  # standard deviation of the first scores
STEP = 0.5  # of the way to the elite's log-odds, each generation
CHILDREN = 0.5  # share of the candidates that are children of an elite
LOYALTY = 4.0  # by how much a child's scores favour what its parent keeps


EFFORTS = {
    "evolve": Effort(
        "generations", (4, 12),
        lambda effort, coverage, seed, size: {"generations": effort, "coverage": coverage, "seed": seed},
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Evolving(Budget):
    """What `evolve` is asked."""

    objective: str = option(
        "tpr-fpr", "what is sought; class-loss is the papers', low for masks under which everything is called that "
        "class, too", choices=OBJECTIVES,
        help="what is sought; class-loss is the papers'",
    )  # fmt: skip
    generations: int = option(12, "generations of `candidates` new masks per class", least=1, help="how many")
    candidates: int = option(16, "new masks per class in a generation", least=2, flag=False)
    elite: int = option(4, "how many masks of a class stay", least=1, flag=False)
    guided: bool = option(
        True, "begin with the ranking by gradients (one forward and three backwards per image)", flag=False
    )
    seed: int = option(0, "of the draws", least=0)


@flat
def evolve(
    model: Network, images: Images, own: Evolving, testing: Testing, scoring: Scoring, running: Running
) -> SearchResult | Plan:
    """Find, for every class, the frequencies by which it is still told apart, by evolution; see the module.

    Args:
        model: a `Classifier`; copied, never changed.
        images: what `freqkit.data.as_images` takes; a share selects, the others test (`split_fraction`).

    Returns:
        `freqkit.results.SearchResult` of one stage: each class's best mask, scored exactly on the images
        that select; `tested` has its rates on the others.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit, or `out` is refused.
        Interrupted: SIGINT or SIGTERM came; what was finished is in the journal.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model = load_model("small_convnet", num_classes=4)
        >>> how = {"generations": 2, "candidates": 4, "elite": 2, "batch_size": 16, "split_fraction": 1}
        >>> result = evolve(model, synthetic(images_per_class=3), **how)
        >>> bool((result.power <= 0.05).all()), result.forwards   # whole; gradients; 4 + 2, and 4 + 2 + 2; 4 masks
        (True, 240)
    """
    run = SearchRun("evolve", model, images, scoring, own.identity(), testing, running)
    images, bins = run.images, budget("evolve", own.coverage, run.size)
    by_loss = own.objective == "class-loss"
    if len(run.searched) < 2 and not by_loss:
        raise UsageError(f"evolve: objective {own.objective} needs images of two classes at least.")

    # Masks per class in each call: the new ones by their own images, then those that go on by images of others.
    calls, stay = [], 0
    for _ in range(own.generations):
        going = stay + (own.candidates if by_loss else -(-own.candidates // 2))
        calls += [own.candidates] if by_loss else [own.candidates, going]
        stay = min(own.elite, going)
    shown = sum(calls) * len(images)

    def work(run, progress):
        scorer = run.scorer()
        run.whole(scorer, progress)
        _, owner = removal_cells(run.size, 1)
        classes = len(run.searched)
        scores = torch.zeros(classes, int(owner.max()) + 1, dtype=torch.float64)
        if own.guided:
            scores = (PRIOR * ranking(run, progress))[:, run.searched].T
        lineage = _Lineages(run, scorer, owner, bins, own)
        progress.start("evolution", shown, "forwards")
        try:
            for generation in range(own.generations):
                size = len(lineage.cells) - 1 - generation * len(lineage.cells) // own.generations
                scores = lineage.generation(scores, generation, own.candidates, size, progress)
        finally:
            progress.finish()
        return run.lineages(scorer, lineage.elite[:, :1], owner, progress)

    if running.dry_run:
        scorer, masks = run.scorer(), len(run.searched)
        blocks = len(scorer.tiling.blocks())
        parts = [
            ("generations", shown, 0, [number * blocks for number in calls], None),
            ("exact scores", scorer.forwards(masks), 0, scorer.tiles(masks), None),
        ]
        if own.guided:
            parts.insert(0, ("ranking by gradients", len(images), 3 * len(images), len(ranking_parts(images)), None))
        return run.plan(scorer, [run.whole_part(scorer), *parts])
    return run.execute(work, running, again(evolve, own, scoring))


class _Lineages:
    """The elites of all classes, and how a generation makes them better."""

    def __init__(self, run, scorer, owner, bins, own):
        self.run, self.scorer, self.owner, self.bins = run, scorer, owner, bins
        self.objective, self.size, self.seed = own.objective, own.elite, own.seed
        self.area, self.cells = torch.bincount(owner.flatten()), cells_of_pairs(owner)
        classes = len(run.searched)
        self.elite = torch.zeros(classes, 0, len(self.area), dtype=torch.bool)
        # Own images: share called right, mean loss. Of others: how many were asked, and called this class.
        self.known = {name: torch.zeros(classes, 0, dtype=torch.float64) for name in ("tpr", "loss", "asked", "called")}

    def value(self):
        """Of each elite, the objective: float64 [C, E]."""
        known = self.known
        if self.objective == "class-loss":
            return -known["loss"]
        return known["tpr"] - known["called"] / known["asked"].clamp_min(1) - TIE * known["loss"]

    def generation(self, scores, number, candidates, size, progress):
        """Draw, race, select; gives the scores of the next generation."""
        chance = np.random.default_rng([self.seed, number])
        drawn = self.draw(scores, candidates, size, chance)
        classes = len(drawn)
        # Each image goes to one other class, the same for all masks: their rates differ by the masks alone.
        shift = chance.integers(1, max(2, classes), len(self.run.label))
        # All ranks have rank 0's, for machines may round differently.
        agreed = ranks.current().agree_arrays({"drawn": np.packbits(drawn.numpy(), -1), "shift": shift})
        drawn = torch.from_numpy(np.unpackbits(agreed["drawn"], -1, drawn.shape[2]).astype(bool))
        called, loss = self.run.predict(self.scorer, drawn, self.owner, self.run.label, f"own/{number}", progress)
        tpr, loss = called / self.run.counts[:, None], loss / self.run.counts[:, None]
        fresh = {"tpr": tpr, "loss": loss, "asked": torch.zeros_like(tpr), "called": torch.zeros_like(tpr)}
        going = drawn
        if self.objective != "class-loss":
            half = torch.sort(tpr - TIE * loss, dim=1, descending=True, stable=True).indices[:, : -(-candidates // 2)]
            going = drawn[torch.arange(classes)[:, None], half]
            fresh = {name: values.gather(1, half) for name, values in fresh.items()}
        self.elite = torch.cat([self.elite, going], 1)
        self.known = {name: torch.cat([self.known[name], fresh[name]], 1) for name in fresh}
        if self.objective != "class-loss":
            other = (self.run.label + torch.from_numpy(agreed["shift"])) % classes
            called, _ = self.run.predict(self.scorer, self.elite, self.owner, other, f"others/{number}", progress)
            self.known["called"] += called
            self.known["asked"] += torch.bincount(other, minlength=classes)[:, None]
        order = torch.sort(self.value(), dim=1, descending=True, stable=True).indices[:, : self.size]
        self.elite = self.elite[torch.arange(classes)[:, None], order]
        self.known = {name: values.gather(1, order) for name, values in self.known.items()}
        best = self.elite.double().mean(1)
        share = self.bins / float(self.area.sum())
        # Log-odds of being kept among the best, shrunk towards the share that chance would keep.
        target = torch.logit((best * self.elite.shape[1] + share) / (self.elite.shape[1] + 1))
        return scores + STEP * (target - target.mean(1, keepdim=True) - scores)

    def draw(self, scores, candidates, size, chance):
        """bool [C, K, pairs]: masks of cells, at least a pair each, that fit the budget."""
        cell = self.cells[size]
        number = int(cell.max()) + 1
        area = torch.zeros(number, dtype=torch.int64).index_add_(0, cell, self.area)
        scores = scores[:, None, :].repeat(1, candidates, 1)
        children = int(CHILDREN * candidates) if self.elite.shape[1] else 0
        for k in range(children):
            scores[:, k] += LOYALTY * self.elite[:, k % self.elite.shape[1]]
        weight = self.area.double() / area[cell]
        mean = torch.zeros(*scores.shape[:2], number, dtype=torch.float64).index_add_(2, cell, scores * weight)
        order = mean + torch.from_numpy(chance.gumbel(size=tuple(mean.shape)))
        # A cell larger than the budget would leave nothing: then its best pairs are kept.
        kept = fill(order, area, self.bins)[:, :, cell]
        empty = ~kept.any(2)
        if empty.any():
            noise = torch.from_numpy(chance.gumbel(size=tuple(scores.shape)))
            kept[empty] = fill((scores + noise)[empty], self.area, self.bins)
        return kept
