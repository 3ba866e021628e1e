"""Shape bias: whether a network names the shape or the texture of images in which the two disagree.

Source: Geirhos et al., ICLR 2019 (arXiv 1811.12231) and NeurIPS 2021 (arXiv 2106.07411). Of the images whose shape and
texture are of two categories, S are called by their shape and T by their texture:

    shape bias = S / (S + T)

The ratio says nothing of the images that are called neither (most of them, for most networks), nor of how well either
cue is recognised: both shares stand beside it, over the sixteen categories and over all classes of the network. Since
cue conflict alone has been criticised (arXiv 2509.20234, 2603.10834), ordinary images may be shown as well, without
their shape, texture or colour.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from freqkit.data import Images, ImageSet, load_images
from freqkit.data.sixteen import CATEGORIES
from freqkit.data.test_sets.model_vs_human import cues_of
from freqkit.engine import Scorer
from freqkit.engine.accumulators import Answers
from freqkit.engine.entrance import enter
from freqkit.engine.suppressed import Suppressed, suppression
from freqkit.errors import UsageError
from freqkit.files.reading import in_range
from freqkit.files.whole import RECORD
from freqkit.measures.categories import Sixteen
from freqkit.measures.printed import Printed
from freqkit.measures.running import run
from freqkit.models import Network
from freqkit.options import Directory, Options, Scoring, flat, option
from freqkit.report.svg import percent
from freqkit.report.words import span, weights_cautions
from freqkit.results import rows
from freqkit.results.result import Result, TensorFile
from freqkit.statistics import wilson

__all__ = ["ShapeBiasResult", "shape_bias"]
FORMAT = "freqkit-shape-bias-1"
COLUMNS = (
    "class", "images", "called shape", "called texture", "called neither", "shape bias", "shape bias low",
    "shape bias high", "images of the texture", "texture recognised",
)  # fmt: skip
SUPPRESS = ("patches:4", "patches:8", "gaussian:2", "bilateral:2:0.2", "grey")
TAKEN = {"whole": "nothing", "patches": "shape", "gaussian": "texture", "bilateral": "texture", "grey": "colour"}


@dataclass
class ShapeBiasResult(Result):
    """What cue-conflict images, and ordinary ones without a cue, are taken for.

    Attributes:
        classes: the 16 categories.
        paths: n names of the cue-conflict images.
        shape, texture: int64 [n], categories of each.
        decided: int64 [n], the answer among the sixteen; winner: int64 [n], the category of the class whose logit is
            the highest of all, -1 of a class that belongs to none.
        kinds: what was taken from ordinary images, the first "whole"; [] when there were none.
        ordinary: names of their classes. counts: int64 [O], images of each; correct: int64 [K, O], those recognised; or
            None.
        definition, record: JSON-ready dicts.
    """

    classes: list
    paths: list
    shape: torch.Tensor
    texture: torch.Tensor
    decided: torch.Tensor
    winner: torch.Tensor
    kinds: list = field(default_factory=list)
    ordinary: list = field(default_factory=list)
    counts: torch.Tensor | None = None
    correct: torch.Tensor | None = None
    definition: dict = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    FILE = TensorFile(
        FORMAT, "a file of `shape-bias`",
        {**dict.fromkeys(("shape", "texture", "decided", "winner"), "int64 N"), "counts?": "int64 O",
         "correct?": "int64 K O"},
        {
            "classes": [str], "paths": [str], "kinds": [str], "ordinary": [str],
            "definition": {"quantity?": str, "confidence": float}, "record": RECORD,
        },
        {"N": "paths", "K": "kinds", "O": "ordinary"},
    )  # fmt: skip
    COLUMNS, FIGURE = COLUMNS, "plot_shape_bias"

    @property
    def conflict(self):
        """bool [n], the images whose shape and texture differ."""
        return self.shape != self.texture

    @property
    def confidence(self):
        """Of the intervals."""
        return self.definition.get("confidence", 0.95)

    def called(self, answers=None):
        """(S, T): how many conflicting images are called by their shape, and by their texture.

        Args:
            answers: int64 [n]; default `decided`. `winner` counts over all classes of the network.
        """
        answers = self.decided if answers is None else answers
        return int((self.conflict & (answers == self.shape)).sum()), int(
            (self.conflict & (answers == self.texture)).sum()
        )

    @property
    def value(self):
        """S / (S + T); None when no image is called either way."""
        s, t = self.called()
        return s / (s + t) if s + t else None

    @property
    def interval(self):
        """(low, high) by Wilson's score, of S in S + T; NaN when `value` is None."""
        s, t = self.called()
        return tuple(wilson(torch.tensor([s]), torch.tensor([s + t]), self.confidence)[0].tolist())

    @property
    def congruent(self):
        """(recognised, images) of those whose shape and texture are one."""
        same = ~self.conflict
        return int((same & (self.decided == self.shape)).sum()), int(same.sum())

    def by_category(self):
        """int64 [4, 16]: of each category the conflicting images of that shape, those of them called so, those called
        by their texture, and (of the conflicting images of that texture) those called so."""
        conflict, of = self.conflict, torch.arange(len(self.classes))[:, None]
        own = conflict & (self.shape == of)
        return torch.stack([
            own.sum(1), (own & (self.decided == self.shape)).sum(1), (own & (self.decided == self.texture)).sum(1),
            (conflict & (self.texture == of) & (self.decided == self.texture)).sum(1),
        ])  # fmt: skip

    def cells(self):
        """One line for each category: its conflicting images (of that shape), how many are called shape, texture and
        neither, the shape bias among them with its interval; and the conflicting images of that texture, with the share
        of them that is called so."""
        images, shape, texture, recognised = self.by_category()
        both = shape + texture
        of_texture = (self.conflict & (self.texture == torch.arange(len(self.classes))[:, None])).sum(1)
        low, high = wilson(shape, both, self.confidence).T
        shares = [_share(shape, both), low.tolist(), high.tolist(), _share(recognised, of_texture)]
        bias, low, high, seen = [[None if v is None or v != v else v for v in column] for column in shares]
        return [self.classes, images, shape, texture, images - both, bias, low, high, of_texture, seen]

    def rows(self):
        about = {**rows.of_record(self.record), "set": "cue-conflict"}
        (s, t), conflicts, count = self.called(), int(self.conflict.sum()), len(self.paths)
        ratio = {"definition": "S / (S + T) of conflicting images, 16 categories", **about}
        found = rows.shares([""], "shape-bias", [s], [s + t], self.confidence, **ratio)
        _, shape, texture, _ = self.by_category()
        found += rows.shares(self.classes, "shape-bias", shape, shape + texture, self.confidence, **ratio)
        words = {
            16: "of the 16 categories, by mean probability",
            self.record["logits"]: "the category of the highest logit",
        }
        answers = {16: self.decided, self.record["logits"]: self.winner}
        for logits, answer in answers.items():
            for name, hits in zip(("shape", "texture"), self.called(answer), strict=True):
                how = {
                    "logits": logits,
                    "part": "",
                    "definition": f"conflicting images called by {name}; {words[logits]}",
                }
                found += rows.shares([""], f"{name} accuracy", [hits], [conflicts], self.confidence, **how, **about)
        for name, hits in (("shape", s), ("texture", t)):
            how = {"definition": f"conflicting images called by {name}, among all with the congruent ones"}
            found += rows.shares([""], f"{name} share", [hits], [count], self.confidence, **how, **about)
        hits, images = self.congruent
        same = {**about, "condition": "congruent", "definition": "images whose shape and texture are one category"}
        found += rows.shares([""], "accuracy", [hits], [images], self.confidence, **same)
        for kind, correct in zip(self.kinds, self.correct if self.kinds else [], strict=True):
            where = {**about, "set": self.record["ordinary"], "condition": kind, "definition": taken(kind)}
            found += rows.shares(
                [""], "top-1", [int(correct.sum())], [int(self.counts.sum())], self.confidence, **where
            )
        return found

    @classmethod
    def checked(cls, values, path):
        for name, least in (("shape", 0), ("texture", 0), ("decided", 0), ("winner", -1)):
            in_range(values[name], least, len(CATEGORIES) - 1, path, name)
        if values["classes"] != list(CATEGORIES) or (values.get("correct") is None) != (not values["kinds"]):
            raise UsageError(
                f"{path}: a file of `shape-bias` must be of the sixteen categories, and its kinds counted."
            )
        if values["kinds"]:
            in_range(values["counts"] - values["correct"], 0, 2**53, path, "correct")
        return values


@dataclass(frozen=True, kw_only=True)
class Cues(Options):
    """What `shape_bias` is asked."""

    ordinary: Any = option(
        None, "ordinary images that are shown without their shape, texture or colour as well: an `ImageSet` or a folder"
        " of classes of the model, by WordNet id, of which the middle is taken", metavar="DIR",
        kind="folder", help="ordinary images, DIR/WNID/file, shown without shape, texture or colour as well",
    )  # fmt: skip
    suppress: Sequence[str] = option(
        SUPPRESS, "what is taken from them, see `freqkit.engine.suppressed.Suppressed`", kind="names", metavar="LIST",
        help="patches:G, gaussian:S, bilateral:S:R, grey.  [default: " + ",".join(SUPPRESS) + "]",
    )  # fmt: skip
    confidence: float = option(0.95, "how sure intervals are", above=0, below=1)
    seed: int = option(0, "of the order of patches", least=0)

    def check(self, owner):
        if isinstance(self.suppress, str) or not self.suppress or "whole" in self.suppress:
            raise UsageError(f"{owner}: suppress must list kinds as {', '.join(SUPPRESS)}; got {self.suppress!r}.")
        for kind in self.suppress:
            suppression(kind)
        if len(set(self.suppress)) < len(self.suppress):
            raise UsageError(f"{owner}: suppress must list each kind once; got {', '.join(self.suppress)}.")
        return self


@flat
def shape_bias(model: Network, cues: Images, own: Cues, scoring: Scoring, running: Directory) -> ShapeBiasResult:
    """Ask the model about cue-conflict images, and maybe about ordinary ones without their shape, texture or colour.

    The answer among the sixteen categories is the largest mean softmax probability of a category's classes. Images
    whose shape and texture are one category (80 of the published 1,280) count apart.

    Args:
        model: a `Classifier` of ImageNet's 1,000 classes, or of the sixteen categories by name.
        cues: the cue-conflict images, `SHAPE/SHAPE<n>-TEXTURE<m>.png`, as `freqkit.data.load_images` reads them.

    Returns:
        `ShapeBiasResult`; n forwards, and K + 1 of each ordinary image.

    Raises:
        UsageError, TypeError, ValueError: an argument does not fit, or a name has no texture.

    Example:
        >>> import torch
        >>> from freqkit.data import ImageSet
        >>> from freqkit.models import load_model
        >>> paths = ["cat/cat1-dog1.png", "dog/dog1-dog2.png"]
        >>> images = ImageSet(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), [0, 1], ["cat", "dog"], paths)
        >>> result = shape_bias(load_model("small_convnet", num_classes=1000), images, batch_size=2)
        >>> result.conflict.tolist(), result.congruent[1]
        ([True, False], 1)
    """
    model, images = enter("shape_bias", model, cues)
    sixteen = Sixteen("shape_bias", model)
    shape, texture = (torch.tensor(column) for column in zip(*map(cues_of, images.paths), strict=True))
    ordinary = _ordinary(own, model, images)
    where = None if ordinary is None else sixteen.index(ordinary.classes, _strange)
    own = dataclasses.replace(own, ordinary=None if ordinary is None else ordinary.fingerprint)
    relabelled = ImageSet(images.images, shape, list(CATEGORIES), images.paths, record=images.record)
    scoring = dataclasses.replace(scoring, class_index=sixteen.logit)
    definition = {
        "quantity": "S / (S + T): conflicting images called by their shape, of those called by shape or texture",
        "decision": "largest mean softmax probability of a category's classes", "confidence": own.confidence,
        "suppressed": {kind: taken(kind) for kind in own.suppress} if ordinary is not None else {}, "seed": own.seed,
    }  # fmt: skip

    def work(scorer, how, record):
        answers = Answers(sixteen.decide)
        scorer.show(Suppressed(["whole"]), [answers], **how)
        kinds, names, counts, correct = [], [], None, None
        if ordinary is not None:
            kinds, names, counts = ["whole", *own.suppress], list(ordinary.classes), ordinary.counts
            settings = dataclasses.replace(
                scoring, class_index=where, batch_size=scorer.batch_size, form=scorer.form["form"]
            )
            other = Scorer(model, ordinary, progress=how["progress"], **vars(settings))
            record["forwards"] += other.forwards(len(kinds))
            record["ordinary"] = rows.of_record({"data": ordinary.record})["set"]
            how["progress"].finish()
            how["progress"].start("ordinary images", other.forwards(len(kinds)))
            seen = Answers()
            other.show(Suppressed(kinds, seed=own.seed), [seen], key="ordinary", **how)
            right = seen.value == where[ordinary.labels]
            correct = torch.stack([torch.bincount(ordinary.labels[one], minlength=len(names)) for one in right])
        decided, winner = sixteen.parted(answers.value[0])
        return ShapeBiasResult(
            list(CATEGORIES), list(images.paths), shape, texture, decided.contiguous(), winner.contiguous(), kinds,
            names, counts, correct, definition, {**record, "logits": scorer.logits},
        )  # fmt: skip

    return run("shape-bias", model, relabelled, Suppressed(["whole"]), own, scoring, running, work)


def _ordinary(own, model, images):
    """The ordinary images, at the size of the others."""
    if own.ordinary is None or isinstance(own.ordinary, ImageSet):
        return own.ordinary
    if not isinstance(own.ordinary, (str, Path)):
        kind = type(own.ordinary).__name__
        raise UsageError(f"shape_bias: ordinary must be a folder or an ImageSet; got {kind}.")
    height, width = images.images.shape[-2:]
    if height != width:
        raise UsageError("shape_bias: ordinary images in a folder become squares; give an ImageSet for other sizes.")
    return load_images(own.ordinary, image_size=height, resize="center-crop")


def _strange(name):
    return UsageError(
        f"shape_bias: ordinary images must lie in folders of the model's classes, WordNet ids; {name!r} is none."
    )


def taken(kind):
    """What a kind takes away, in words.

    Example:
        >>> taken("patches:4"), taken("grey")
        ('without shape (patches:4)', 'without colour (grey)')
    """
    name = TAKEN[suppression(kind)[0]]
    return "whole images" if name == "nothing" else f"without {name} ({kind})"


def _share(hits, trials):
    return [h / n if n else None for h, n in zip(hits.tolist(), trials.tolist(), strict=True)]


TERMS = {
    "shape-bias": {
        "short": "Of the cue-conflict images that are called by one of their cues, the share that is called by shape.",
        "formula": "S / (S + T) over the images whose shape and texture are of two categories",
        "source": "Geirhos et al., ICLR 2019 (arXiv 1811.12231)",
        "aliases": ["shape bias", "shape bias low", "shape bias high", "cue conflict"],
    },
    "called shape": {
        "short": "Conflicting images that get the name of their shape, of their texture, or of neither.",
        "aliases": ["called texture", "called neither", "shape accuracy", "texture accuracy",
                    "images of the texture", "texture recognised", "shape share", "texture share"],
    },
    "suppress": {
        "short": "What is taken from ordinary images to see what answers rest on: shape, texture or colour.",
        "formula": "accuracy on patches in random order, on smoothed images (Gaussian, bilateral), on grey ones",
        "source": "Burgert et al., 2025 (arXiv 2509.20234)",
        "aliases": ["ordinary", "suppression test"],
    },
}  # fmt: skip
SHARED = True  # ranks share its work
HELP = """Ask whether images of one object's shape and another's texture are called by the shape or by the texture.

DIR/SHAPE/SHAPE1-TEXTURE1.png of the sixteen categories. The model must have ImageNet's 1,000 classes, or the sixteen.

\b
freqkit shape-bias --model resnet50.a1_in1k --pretrained --data model-vs-human/cue-conflict \\
                   --ordinary imagenet/val --out runs/shape
"""


def printed(result: ShapeBiasResult) -> Printed:
    """What `freqkit shape-bias` prints: the categories, and what the ratio hides."""
    table = result.table()
    keys = ("class", "images", "called shape", "called texture", "shape bias", "texture recognised")
    forms = ("text", "count", "count", "count", "%", "%")
    (s, t), (ws, wt), conflicts = result.called(), result.called(result.winner), int(result.conflict.sum())
    facts = {
        "shape_bias": result.value, "interval": list(result.interval), "S": s, "T": t, "conflicting": conflicts,
        "images": len(result.paths), "S_of_all": s / len(result.paths), "T_of_all": t / len(result.paths),
        "among_all_classes": {"S": ws, "T": wt}, "congruent": dict(zip(("recognised", "images"), result.congruent,
                                                                      strict=True)),
        "suppressed": {kind: right / total for kind, right, total in suppressed_of(result)},
        "categories": table, "definition": result.definition, "forwards": result.record["forwards"],
    }  # fmt: skip
    return Printed(
        facts, list(zip(keys, forms, strict=True)), [[row[key] for key in keys] for row in table],
        f"{conflicts} images of one category's shape and another's texture", verdict=" ".join(sentences_of(result)),
        cautions=cautions_of(result),
    )  # fmt: skip


def suppressed_of(result):
    """(kind, recognised, images) of the ordinary images."""
    return [
        (kind, int(correct.sum()), int(result.counts.sum()))
        for kind, correct in zip(result.kinds, result.correct if result.kinds else [], strict=True)
    ]


def sentences_of(result):
    (s, t), (ws, wt), conflicts = result.called(), result.called(result.winner), int(result.conflict.sum())
    if not conflicts:
        return ["No image has the shape of one category and the texture of another, so there is no shape bias."]
    if result.value is None:
        first = f"None of the {conflicts:,} conflicting images is called by its shape or its texture: S + T = 0, so the"
        found = [f"{first} shape bias is undefined."]
    else:
        found = [
            f"Shape bias {percent(result.value, 1)} ({100 * result.confidence:g}% interval {span(result.interval)}): of"
            f" the {s + t:,} conflicting images that are called by one of their cues, {s:,} are called by their shape.",
            f"What the ratio hides: {percent(1 - (s + t) / conflicts)} of the {conflicts:,} conflicting images are"
            f" called neither; {percent(s / conflicts, 1)} are called by their shape and {percent(t / conflicts, 1)} by"
            " their texture.",
        ]
    if result.record["logits"] > len(CATEGORIES):
        found.append(
            f"Among all {result.record['logits']:,} classes {percent(ws / conflicts, 1)} and"
            f" {percent(wt / conflicts, 1)} are."
        )
    hits, images = result.congruent
    if images:
        found.append(f"Where shape and texture agree, {hits} of {images} images are recognised.")
    if result.kinds:
        (_, whole, total), *others = suppressed_of(result)
        words = ", ".join(f"{taken(kind)} {percent(right / total, 1)}" for kind, right, _ in others)
        found.append(f"Of {total:,} ordinary images {percent(whole / total, 1)} are recognised whole; {words}.")
    return found


def cautions_of(result):
    s, t = result.called()
    few = int(result.conflict.sum()) and s + t < 100
    said = [f"The shape bias stands on {s + t} images: read its interval."] if few else []
    return weights_cautions(result.record) + said
