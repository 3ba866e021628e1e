"""Learn each class's mask: a few dozen gradient steps on a relaxed mask under a budget of bins.

Every pair {f, -f} has a score, the sum of scores of the cells of several sizes that hold it, so that what
neighbours have in common is learned first. A step keeps the pairs of highest score that the budget allows
(exactly: the images are filtered by a binary mask), and the gradient of the objective with respect to every
bin's weight, kept or not, comes from one backward through `freqkit.spectral_filter`; it goes to the scores as
if the mask were sigmoid(score - lowest kept score), the straight-through estimate. With the log-odds of class c,
d = z_c - log sum_{j != c} exp z_j, over images of c ("own") and of other classes ("others"):

    tpr-fpr     T (mean over own of sigmoid(-d/T) + mean over others of sigmoid(d/T)), T falling from 4 to 1
    contrast    mean over own of log(1 + exp(-d)) + mean over others of log(1 + exp(d))
    class-loss  mean over own of log(1 + exp(-d)), the cross-entropy, as in the papers

A mask is learned from each of two starts, and the better one is kept by exact scores: what suffices to tell the class
and is needed for it, too, that is by TPR - FPR - loss/10 through the mask minus TPR - loss/10 through all that the
mask removes (rates come in steps of an image; losses tell the rest). TPR - FPR alone would be blind where the network
answers with the class whatever it is shown too little of: there the very shortcut has an FPR of 1. "narrow" begins
with equal scores, and has the budget of the result throughout. "wide" begins with the whole plane, and the budget
falls by a constant factor per step in the first half; the pairs whose removal from the whole image should cost the
class most (`freqkit.search.estimate_removal`) are lifted from the beginning; and it lowers mean over others of d -
mean over own of d, which never saturates, so that what makes a class that is told well still more certain is not left
to chance. Its scores are averaged over the second half of the steps, lest the images of the last ones decide. So a few
isolated frequencies are found that mean nothing one without the other; where a class is spread over many, narrow steps
use their number better. "disc", on request, is a narrow start whose first scores fall linearly with the frequency, from
the middle of the plane (`CENTRE`) through 0 at the rim of the low-pass disc of the asked coverage; the disc is measured
in cycles per pixel, so that images of every size and shape begin with the same share of their plane.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from freqkit.data import Images
from freqkit.data.cache import has_read
from freqkit.engine import Silent, ranks
from freqkit.engine.forward import Forward
from freqkit.errors import UsageError
from freqkit.masks import uncentred
from freqkit.models import Network
from freqkit.ops import spectral_filter, spectrum
from freqkit.options import Running, Scoring, flat, option
from freqkit.results import SearchResult
from freqkit.search.cells import cells_of_pairs, removal_cells
from freqkit.search.gradient import ranking, ranking_parts
from freqkit.search.plan import Budget, Effort, Plan
from freqkit.search.run import SearchRun, budget, fill
from freqkit.search.testing import Testing, again

OBJECTIVES = ("tpr-fpr", "contrast", "class-loss")
WARM, COLD = 4.0, 1.0  # T of the first and the last step
KEPT_EVERY = 10  # steps between entries of the journal
FIRST, SECOND = 0.9, 0.99  # decay of Adam's moments
STARTS = ("wide", "narrow", "disc")
USUAL = ("wide", "narrow")
FINER = 0.1  # of a loss in nats beside rates, which come in steps of an image
CENTRE = 1.2  # first score of a disc start at the zero frequency; 0 where the disc ends
LIFT = 1.0  # first scores of a wide start, in standard deviations of the ranks above their mean
FALLING = 0.5  # share of the steps of a wide start in which the budget falls


def _effort(objective, tried, words=None):
    def asks(effort, coverage, seed, size):
        return {"steps": effort, "objective": objective, "coverage": coverage, "seed": seed}

    return Effort("steps", tried, asks, words=words)


EFFORTS = {
    "learned": _effort("tpr-fpr", (40, 120)),
    "learned-class-loss": _effort("class-loss", (10, 30), "masks learned by gradients of the papers' class loss"),
}


@dataclass(frozen=True, kw_only=True)
class Learning(Budget):
    """What `learned` is asked."""

    objective: str = option(
        "tpr-fpr",
        "what is sought, see the module; class-loss is the papers'",
        choices=OBJECTIVES,
        help="what is sought; class-loss is the papers'",
    )
    steps: int = option(120, "gradient steps per class and start", least=1, help="gradient steps")
    own: int = option(
        16, "images per step, of the class, drawn anew for each step without repetition; all there are when they are "
        "fewer", least=1, flag=False,
    )  # fmt: skip
    others: int = option(16, "the same, of the other classes; class-loss draws none", least=1, flag=False)
    levels: int | None = option(
        None, "cell sizes used, from single bins up; None: all (1, 2, 4 bins at 32 px, 1 to 16 at 224)", least=1,
        flag=False,
    )  # fmt: skip
    starts: str | Sequence[str] = option(
        USUAL, "some of wide, narrow, disc: each costs as much, see the module; wide also a forward and three "
        "backwards of every image, for all classes together", flag=False,
    )  # fmt: skip
    rate: float = option(
        0.1, "step of the scores (Adam, falling linearly to 0)", above=0, below=math.inf, must="a positive number",
        flag=False,
    )  # fmt: skip
    seed: int = option(0, "of the draws", least=0)

    def check(self, owner):
        starts = (self.starts,) if isinstance(self.starts, str) else tuple(self.starts)
        if not starts or len(set(starts)) < len(starts) or not set(starts) <= set(STARTS):
            raise UsageError(f"{owner}: starts must be some of {', '.join(STARTS)}, each once; got {starts!r}.")
        return replace(self, starts=starts)


@flat
def learned(
    model: Network, images: Images, own: Learning, testing: Testing, scoring: Scoring, running: Running
) -> SearchResult | Plan:
    """Find, for every class, the frequencies by which it is still told apart, by gradients; see the module.

    Each class is learned by itself, from its own images and a sample of the others. A step costs three
    forward-equivalents (a forward, and a backward that counts two) per image that it draws. Steps run in float32;
    dtype, form and spectra concern the exact scores at the end.

    Args:
        model: a `Classifier`; copied, never changed.
        images: what `freqkit.data.as_images` takes; a share selects, the others test (`split_fraction`).

    Returns:
        `freqkit.results.SearchResult` of one stage: each class's mask, scored exactly on the images that
        select; `tested` has its rates on the others.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit, or `out` is refused.
        FloatingPointError: a logit or gradient is NaN or infinite.
        Interrupted: SIGINT or SIGTERM came; what was finished is in the journal.

    Example:
        >>> from freqkit.data import synthetic
        >>> from freqkit.models import load_model
        >>> model = load_model("small_convnet", num_classes=4)
        >>> result = learned(model, synthetic(images_per_class=3), steps=2, batch_size=16)
        >>> bool((result.power <= 0.05).all()), result.backwards     # 4 classes, 2 starts of 2 steps; ranking
        (True, 152)
    """
    run = SearchRun("learned", model, images, scoring, own.identity(), testing, running)
    images, bins = run.images, budget("learned", own.coverage, run.size)
    by_loss, starts = own.objective == "class-loss", own.starts
    if len(run.searched) < 2 and not by_loss:
        raise UsageError(f"learned: objective {own.objective} needs images of two classes at least.")

    def work(run, progress):
        scorer = run.scorer()
        run.whole(scorer, progress)
        learner = _Learner(run, scorer.class_index, bins, own)
        if "wide" in starts:
            learner.ranking = ranking(run, progress)
        progress.start(
            "learned masks",
            3 * learner.images_of_steps(starts),
            "forward-equivalents",
        )
        try:
            kept = learner.learn([(c, start) for c in run.searched for start in starts], progress)
        finally:
            progress.finish()
        kept = kept.unflatten(0, (len(run.searched), len(starts)))
        if by_loss or len(starts) == 1:
            return run.lineages(scorer, kept, learner.owner, progress, lambda scores: -scores.loss)
        progress.start("without the masks", len(starts) * len(images))
        try:
            called, loss = run.predict(scorer, ~kept, learner.owner, run.label, "without", progress)
        finally:
            progress.finish()
        without = ((called - FINER * loss) / run.counts[:, None]).flatten()[:, None]
        return run.lineages(
            scorer, kept, learner.owner, progress, lambda scores: scores.tpr_minus_fpr - FINER * scores.loss - without
        )

    if running.dry_run:
        scorer = run.scorer()
        learner = _Learner(run, scorer.class_index, bins, own)
        drawn = learner.images_of_steps(starts)
        masks = len(starts) * len(run.searched)
        return run.plan(
            scorer,
            [
                run.whole_part(scorer),
                *[("ranking by gradients", len(images), 3 * len(images), len(ranking_parts(images)), None)]
                * ("wide" in starts),
                ("gradient steps", drawn, drawn, masks, learner.seconds(starts)),
                (
                    "exact scores",
                    scorer.forwards(masks) + (not by_loss and len(starts) > 1) * len(starts) * len(images),
                    0,
                    scorer.tiles(masks),
                    None,
                ),
            ],
        )
    return run.execute(work, running, again(learned, own, scoring))


def disc_scores(owner: torch.Tensor, coverage: float) -> torch.Tensor:
    """First scores of a disc start: `CENTRE` (1 - f / R), with pi R^2 = coverage, frequencies in cycles per pixel.

    Args:
        owner: int64 [H, W], the pair of each bin, centred.
        coverage: share of the bins that the disc has.

    Returns:
        float32 [K], of each pair.

    Example:
        >>> _, owner = removal_cells((32, 32), 1)
        >>> scores = disc_scores(owner, 0.05)
        >>> round(float(scores.max()), 3), int((scores > 0).sum())
        (1.2, 25)
    """
    rows, columns = ((torch.arange(n, dtype=torch.float64) - n // 2) / n for n in owner.shape)
    radius = torch.hypot(rows[:, None], columns[None])
    of_pair = torch.zeros(int(owner.max()) + 1, dtype=torch.float64)
    of_pair[owner.flatten()] = radius.flatten()  # f and -f are as far
    return (CENTRE * (1 - of_pair / math.sqrt(coverage / math.pi))).float()


class _Learner:
    def __init__(self, run, class_index, bins, asked):
        self.run, self.class_index, self.bins = run, class_index, bins
        self.objective, self.steps, self.rate, self.seed = asked.objective, asked.steps, asked.rate, asked.seed
        self.own, self.others = asked.own, 0 if asked.objective == "class-loss" else asked.others
        self.counts = run.images.counts.tolist()
        _, self.owner = removal_cells(run.size, 1)
        self.area = torch.bincount(self.owner.flatten())
        self.cells = cells_of_pairs(self.owner)[: asked.levels]
        self.width = sum(int(cell.max()) + 1 for cell in self.cells)
        self.forward = Forward(run.model, device=run.scoring.device, domain=run.scoring.domain)
        self.uncentred = uncentred(self.owner).to(self.forward.device)
        self.optimised = False
        self.ranking = None  # real [K, classes], of wide starts

    def drawn(self, label):
        """Images of a step."""
        count = self.counts[label]
        return min(self.own, count) + min(self.others, len(self.run.images) - count)

    def images_of_steps(self, starts):
        """Images that are shown to learn a mask of every class from each start."""
        return self.steps * len(starts) * sum(map(self.drawn, self.run.searched))

    def learn(self, masks, progress):
        """bool [M, K], the pairs that each of M masks [(label, start), ...] keeps; ranks share the masks."""
        group, journal = ranks.current(), self.run.journal
        journalled = set() if journal is None else set(journal.keys())
        tiles, begun = [], []
        for label, start in masks:
            each, (*before, end) = self.drawn(label), self._chunks()
            name = self._key(label, start, *end)
            if name not in journalled:
                begun += [key for chunk in before if (key := self._key(label, start, *chunk)) in journalled][-1:]
            # What a process does alone it tells as it goes.
            alone = group.size == 1 and name not in journalled
            first, last = end if alone else (0, self.steps)
            tiles.append((name, 3 * (last - first) * each, (label, start)))
            self.run.record["forwards"] += self.steps * each
            self.run.record["backwards"] += self.steps * each
        state = {"state": ("f", (4, self.width))}
        earlier = ranks.resumed(journal, begun, lambda name: state)
        states, resumed = np.zeros((len(masks), self.width), np.float32), np.zeros(1, np.int64)
        shared = ranks.share(
            tiles, lambda mask: self._learn(*mask, earlier, progress if group.size == 1 else Silent()),
            journal=journal, progress=progress, check=self.run.check,
            layout=lambda mask: {**state, "resumed": ("i", (1,))},
        )  # fmt: skip
        for i, ((label, start), arrays, whole) in enumerate(shared):
            states[i] = arrays["state"][3 if start == "wide" else 0]
            resumed += self.steps * self.drawn(label) if whole else arrays["resumed"]
        found = group.agree_arrays({"states": states, "resumed": resumed})
        self.run.record["forwards_resumed"] += int(found["resumed"][0])
        return torch.stack(
            [fill(self._scores(torch.from_numpy(values)), self.area, self.bins) for values in np.array(found["states"])]
        )

    def seconds(self, starts):
        """Of all steps, at the speed of the first class: the better of two after one that warms up."""
        label, took = self.run.searched[0], []
        labels, state = self.run.images.labels, np.zeros((4, self.width), np.float32)
        own, others = ((labels == label).nonzero().flatten(), (labels != label).nonzero().flatten())
        for _ in range(3):
            began = time.perf_counter()
            state = self._step(state, 0, label, own[: self.own], others[: self.others])
            took.append(time.perf_counter() - began)
        return min(took[1:]) * self.steps * len(starts) * len(self.run.searched)

    def _chunks(self):
        """Runs of steps [(first, last + 1), ...] that have an entry of the journal each."""
        return [(i, min(i + KEPT_EVERY, self.steps)) for i in range(0, self.steps, KEPT_EVERY)]

    def _key(self, label, start, first, last):
        return f"{start}/class-{label}/{first}-{last}/0-{self.drawn(label)}"

    def _learn(self, label, start, earlier, progress):
        """The last state of a mask, from one of the `earlier` ones if there is one; states on the way are put into this
        rank's journal."""
        labels, journal, each = self.run.images.labels, self.run.journal, self.drawn(label)
        members, rest = ((labels == label).nonzero().flatten(), (labels != label).nonzero().flatten())
        # Scores of all cells of all sizes, Adam's two moments, and the sum of the scores over the steps that count.
        state = np.zeros((4, self.width), np.float32)
        if start == "wide":
            state[0, : len(self.area)] = LIFT * self.ranking[:, label].clamp_min(0)
        elif start == "disc":
            share = self.bins / int(self.area.sum())
            state[0, : len(self.area)] = disc_scores(self.owner, share)
        chunks, done = self._chunks(), 0
        for first, last in chunks[:-1]:
            found = earlier.get(self._key(label, start, first, last))
            if found is not None:
                state, done = np.array(found["state"]), last
        if done:
            progress.advance(3 * done * each, resumed=True)
        for first, last in chunks:
            if first < done:
                continue
            for step in range(first, last):
                chance = np.random.default_rng([self.seed, label, step])
                chosen = [
                    group[torch.from_numpy(chance.permutation(len(group))[:number])]
                    for group, number in ((members, self.own), (rest, self.others))
                ]
                state = self._step(state, step, label, *chosen, start)
                self.run.check()
            if (first, last) != chunks[-1]:
                if journal is not None:
                    journal.put(self._key(label, start, first, last), state=state)
                progress.advance(3 * (last - first) * each)
        return {"state": state, "resumed": np.array([done * each])}

    def _scores(self, values):
        """Of each pair, the sum over its cells: [K] from the values of all cells."""
        parts = values.split([int(cell.max()) + 1 for cell in self.cells])
        return sum(part[cell] for part, cell in zip(parts, self.cells, strict=True))

    def _step(self, state, step, label, own, others, start="narrow"):
        values = torch.from_numpy(state[0]).requires_grad_()
        scores = self._scores(values)
        kept = fill(scores.detach(), self.area, self._budget(step) if start == "wide" else self.bins)
        soft = torch.sigmoid(scores - scores.detach()[kept].min())
        mask = (kept + soft - soft.detach()).to(self.forward.device)[self.uncentred]
        odds = self._odds(torch.cat([own, others]), mask, label)
        if start == "wide":
            loss = -odds[: len(own)].mean() + (odds[len(own) :].mean() if self.others else 0)
        else:
            loss = self._objective(odds[: len(own)], odds[len(own) :], step)
        (gradient,) = torch.autograd.grad(loss, values)
        if not torch.isfinite(gradient.sum() + loss.detach().cpu()):
            raise FloatingPointError(
                f"learned: a logit or gradient is NaN or infinite in step {step + 1} of class "
                f"{self.run.images.classes[label]!r}."
            )
        # Each size of cells has gradients of its own scale: their root mean square becomes 1.
        parts = gradient.split([int(cell.max()) + 1 for cell in self.cells])
        g = torch.cat([part / part.square().mean().sqrt().clamp_min(1e-30) for part in parts]).numpy()
        value, first, second, total = state
        first = FIRST * first + (1 - FIRST) * g
        second = SECOND * second + (1 - SECOND) * g * g
        ahead = first / (1 - FIRST ** (step + 1))
        spread = np.sqrt(second / (1 - SECOND ** (step + 1))) + 1e-8
        value = value - self.rate * (1 - step / self.steps) * ahead / spread
        if step >= self.steps // 2:
            total = total + value
        return np.stack([value, first, second, total]).astype(np.float32)

    def _budget(self, step):
        """Bins that a step of a wide start keeps."""
        done = min(1.0, step / (FALLING * self.steps))
        every = int(self.area.sum())
        return round(every * (self.bins / every) ** done)

    def _logits(self, chosen, mask):
        x = self.run.images.images[chosen].to(self.forward.device).float().div_(255)
        has_read(self.run.images.images, chosen)
        forward = self.forward
        if not self.optimised:
            sample = x
            if forward.mean is not None:
                mean, std = (x.new_tensor(v).view(1, 3, 1, 1) for v in (forward.mean, forward.std))
                sample = (x - mean) / std
            forward.optimise("folded", sample.contiguous(memory_format=torch.channels_last))
            self.optimised = True
        filtered = spectral_filter(
            spectrum(x, mean=forward.mean, std=forward.std), mask[None], memory_format=torch.channels_last
        )
        return forward.module(filtered[0])

    def _odds(self, chosen, mask, label):
        """Log-odds of a class for some images under a mask."""
        logits, target = self._logits(chosen, mask), int(self.class_index[label])
        rest = torch.cat([logits[:, :target], logits[:, target + 1 :]], 1)
        return logits[:, target] - rest.logsumexp(1)

    def _objective(self, own, others, step):
        if self.objective == "class-loss":
            return self._called(-own, step)
        return self._called(-own, step) + self._called(others, step)

    def _called(self, odds, step):
        """What is to be low where images shall not be called the class."""
        if self.objective != "tpr-fpr":
            return F.softplus(odds).mean()
        temperature = WARM * (COLD / WARM) ** (step / self.steps)
        return temperature * torch.sigmoid(odds / temperature).mean()
