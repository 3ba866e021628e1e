"""The parts of a profile, as data: what each asks, what it costs, what it says. A new part is an entry of `PARTS`."""

import contextlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from freqkit.data import ImageSet
from freqkit.engine import Progress, Scorer
from freqkit.engine.accumulators import Answers
from freqkit.engine.attacks import Attack, attack
from freqkit.engine.forward import Forward
from freqkit.engine.ring_noise import RingNoise, octaves
from freqkit.engine.stimuli import pyramid_height
from freqkit.errors import UsageError
from freqkit.measures.profile.answered import Answered, joined_record
from freqkit.models import Classifier
from freqkit.registry import MEASURES, SEARCHERS, module_of, stem_of
from freqkit.report import figures
from freqkit.report.svg import number, percent
from freqkit.report.words import span
from freqkit.results.result import Result, versions
from freqkit.statistics import wilson

# The modules, whose functions bear their names.
class_spectra, critical_band, gradient_spectrum, pass_curves = (
    module_of(MEASURES, name) for name in ("adcs", "critical-band", "gradient-spectrum", "pass-curves")
)
UNITS = {"plain": 1.0, "filtered": 1.0, "noisy": 1.0, "backward": 2.0}  # what each is worth in forwards
ROUNDS = 6  # pieces of a part between which it may stop
DEVIATION, EPS, STEPS = 0.1, 1.0, 5  # of the noise of a band; of attacks, in 1/255; of PGD
WAVES = 64  # of the heat map
CANDIDATES, DRAWS, SEARCHED = 40, 19, 10  # of the shortcut search: masks per stage, random masks, classes at most


@dataclass(frozen=True)
class ProfilePart:
    """One part.

    Attributes:
        name, title: of the part. says: a sentence, what it asks.
        weight: its share of the budget before what others leave. least: images below which it says nothing.
        cost: of (images, facts) -> {unit: how many}, units as in `UNITS`; facts: size, classes.
        run: of (asked, images, first) -> a `Result`; `first`: how many images came before these.
        joined: several results of disjoint images -> one; None: the part is done in one piece.
        numbers: of a result -> tidy rows that the profile shows.
        draw: of (result, axis); None: no figure.
        verdict: of a result -> a sentence.
        absent: why this version cannot do it; "" where it can.
    """

    name: str
    title: str
    says: str
    weight: float
    cost: Callable
    run: Callable
    numbers: Callable
    draw: Callable | None
    verdict: Callable
    joined: Callable | None = None
    least: int = 8
    absent: str = ""


@dataclass(frozen=True)
class Asked:
    """What parts need to ask a model: `Classifier`, scoring as keywords (batch_size, device, class_index, ...), seed,
    progress, folder of the part or None, and whether a run goes on there."""

    model: Classifier
    scoring: dict
    seed: int
    progress: Progress | None = None
    folder: Path | None = None
    check: Callable = lambda: None

    @contextlib.contextmanager
    def watched(self, title, total):
        if self.progress is not None:
            self.progress.start(title, total)
        try:
            yield
        finally:
            if self.progress is not None:
                self.progress.finish()

    @property
    def pixels(self):
        return {**self.scoring, "domain": "pixels"}

    def record(self, images, forwards, backwards=0):
        return {"model": dict(self.model.record), "data": dict(images.record), "forwards": forwards,
                "backwards": backwards, "versions": versions()}  # fmt: skip


def _joined_by(module):
    return lambda results: module.joined(results, joined_record(results))


def _whole(rows):
    return [row for row in rows if not row["class"]]


# ---- recognised


def _ask(asked, images, stimulus, conditions, edges, quantity):
    scorer, answers = Scorer(asked.model, images, progress=asked.progress, **asked.pixels), Answers()
    with asked.watched(quantity, len(images) * len(stimulus)):
        scorer.show(stimulus, [answers], check=asked.check)
    return Answered(
        list(images.classes), conditions, torch.tensor(edges, dtype=torch.float64), answers.value.int(),
        images.labels.clone(), torch.as_tensor(scorer.class_index).cpu().clone(), {"quantity": quantity},
        asked.record(images, len(images) * len(stimulus)),
    )  # fmt: skip


def _clean(asked, images, first):
    return _ask(asked, images, RingNoise([None]), ["all"], [(math.nan, math.nan)], "top-1")


def _clean_words(result):
    return (f"{percent(float(result.accuracy[0]), 1)} ({span(result.interval[0].tolist())}) of "
            f"{len(result.labels):,} images are recognised.")  # fmt: skip


def _bars(result, axis):
    """Accuracy of each condition, with its interval; the line is that of whole images."""
    value, limits = result.accuracy, result.interval
    names = [name if name != "all" else "whole" for name in result.conditions]
    places = list(range(len(names)))
    for place in places:
        low, high = limits[place].tolist()
        axis.plot([low, high], [place, place], color=figures.RULE, linewidth=3, solid_capstyle="butt")
    points = axis.plot(value.tolist(), places, "o", markersize=5, color=figures.series(0)["color"])[0]
    figures.note(points, [f"{name}: {percent(one, 1)}" for name, one in zip(names, value.tolist(), strict=True)])
    axis.axvline(float(value[0]), color=figures.FAINT, linewidth=0.8, linestyle="--")
    axis.set_yticks(places, names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(0, 1)
    axis.set_xlabel("recognised")
    figures.percents(axis.xaxis)
    figures.plain_axes(axis, grid="x")


# ---- pass curves


def _pass(asked, images, first):
    return pass_curves.pass_curves(asked.model, images, seed=asked.seed, progress=asked.progress, **asked.pixels)


def read_alone(result):
    """Bands of `pass_curves` in which alone more is recognised than by calling everything the commonest class: (from,
    to, accuracy, low, high), the best first; low is that of an interval corrected for the number of bands."""
    bands = [k for k, kind in enumerate(result.filters) if kind == "band"]
    n, chance = len(result.labels), float(result.counts.max()) / len(result.labels)
    hits = result.right.sum(1)
    found = []
    for k in bands:
        sure = wilson(hits[k + 1, None], torch.tensor([n]), 1 - 0.05 / len(bands))[0]
        if float(sure[0]) > chance:
            low, high = wilson(hits[k + 1, None], torch.tensor([n]))[0].tolist()
            found.append((*result.edges[k].tolist(), float(hits[k + 1]) / n, low, high))
    return sorted(found, key=lambda one: -one[2])


def _limits(value):
    """The interval of [value, low, high], or that there is none."""
    return "(no interval)" if value[1] is None or value[1] != value[1] else f"({span(value[1:])})"


def _pass_words(result):
    means = result.means.get("HPP/(LPP+HPP)")
    words = ""
    if means and means[0] is not None:
        words = (f"Of the accuracy, low frequencies alone keep {percent(result.means['LPP'][0])} "
                 f"{_limits(result.means['LPP'])} and high ones {percent(result.means['HPP'][0])} "
                 f"{_limits(result.means['HPP'])}. ")  # fmt: skip
    bands = read_alone(result)
    if not bands:
        return f"{words}No single band of frequencies is enough to tell classes apart."
    told = ", ".join(f"{low:.3g}–{high:.3g} ({percent(value)}, {span((least, most))})"
                     for low, high, value, least, most in bands[:3])  # fmt: skip
    more = f", and {len(bands) - 3} more" if len(bands) > 3 else ""
    which = "band" if len(bands) == 1 else "bands"
    return f"{words}Alone it tells classes apart by the {which} of {told} cycles/image{more}."


def _filters(facts):
    return len(pass_curves.CUTOFFS) * 3


# ---- critical band


def _critical(asked, images, first):
    how = {**asked.scoring, "domain": "normalised"}
    return critical_band.critical_band(asked.model, images, seed=asked.seed + first, progress=asked.progress, **how)


def _critical_words(result):
    found, ends = result.values_found, result.intervals
    if found["cf_norm"] is None:
        return "Noise of no octave band hides objects more than that of others, or the images are too few to say."
    low, high, _ = ends["cf_norm"]
    wide = ends["bw_norm"]
    unit = "" if low is None else f" ({number(low)} to {number(high)})"
    spread = "" if wide[0] is None else f" ({number(wide[0])} to {number(wide[1])})"
    return (f"Noise hides objects most around {number(found['cf_norm'])}{unit} cycles/image, in a band "
            f"{number(found['bw_norm'])}{spread} octaves wide (people: 39.1 and 1.43).")  # fmt: skip


# ---- spectra of classes and gradients


def _present(images, least=1):
    """The images of classes that have `least`, without the other classes, and which classes these are."""
    counts = torch.bincount(images.labels, minlength=len(images.classes))
    kept = (counts >= least).nonzero().flatten()
    place = torch.full((len(images.classes),), -1)
    place[kept] = torch.arange(len(kept))
    some = images.subset(place[images.labels] >= 0)
    return ImageSet(
        some.images, place[some.labels], [images.classes[i] for i in kept.tolist()], some.paths,
        record=dict(some.record),
    ), kept  # fmt: skip


def _spectra(asked, images, first):
    return class_spectra.adcs(_present(images)[0], progress=asked.progress)


def _spectra_words(result):
    above = (result.maps > 0).double().mean((-2, -1))
    best = int(above.argmax())
    return (f"Of {len(result.classes)} classes, {result.classes[best]} has more energy than most others at the most "
            f"frequencies ({percent(float(above[best]))} of them).")  # fmt: skip


def _gradient(asked, images, first):
    how = {name: value for name, value in asked.scoring.items() if name != "domain"}
    return gradient_spectrum.gradient_spectrum(asked.model, images, progress=asked.progress, **how)


def _centre(result):
    """Mean radius of the gradient's spectrum and its interval over images (normal, of ring means)."""
    mean, std = (values[-1] for values in result.evolution)
    middle, n = result.inner + 0.5, int(result.counts[-1].sum())
    total = float(mean.sum())
    centre = float((mean * middle).sum()) / total if total else math.nan
    # Rings taken as independent: of a ratio of sums, by its derivative.
    spread = float((((middle - centre) / total) * std).square().sum().sqrt()) / math.sqrt(max(n, 1))
    return centre, centre - 1.96 * spread, centre + 1.96 * spread, n


def _gradient_rows(result):
    from freqkit.results import rows

    centre, low, high, n = _centre(result)
    words = "mean radius of the gradient spectrum, cycles/image; interval: normal, rings as if independent"
    return [rows.tidy(metric="gradient centre", value=centre, low=low, high=high, n=n,
                      **rows.of_record(result.record, definition=words)), *_whole(result.rows())]  # fmt: skip


def _gradient_words(result):
    centre, low, high, _ = _centre(result)
    if not math.isfinite(centre):
        return "The loss has no gradient with respect to any image: the answers are certain."
    peak = float(result.inner[result.mean.argmax()])
    return (f"The loss reacts most to changes at {peak:g}–{peak + 1:g} cycles/image; the mean radius is {centre:.1f} "
            f"({low:.1f} to {high:.1f}).")  # fmt: skip


# ---- shortcuts


def _searched(images):
    """Images of the classes that have most of them, four each at least, and the places of these classes."""
    counts = torch.bincount(images.labels, minlength=len(images.classes))
    order = counts.argsort(descending=True, stable=True)[:SEARCHED]
    kept = order[counts[order] >= 4].sort().values
    if len(kept) < 2:
        raise UsageError("it needs two classes of four images each at least")
    inside = torch.isin(images.labels, kept)
    return _present(images.subset(inside))


def _shortcuts(asked, images, first):
    hfss = module_of(SEARCHERS, "hfss").hfss
    some, kept = _searched(images)
    index = asked.scoring.get("class_index")
    index = kept if index is None else torch.as_tensor(index)[kept]
    how = {name: value for name, value in asked.scoring.items() if name != "domain"}
    where = {} if asked.folder is None else {"out": asked.folder, "resume": asked.folder.is_dir()}
    result = hfss(
        asked.model, some, candidates=CANDIDATES, top=4, seed=asked.seed, split_seed=asked.seed, null=DRAWS,
        progress=asked.progress, **{**how, "class_index": index}, **where,
    )  # fmt: skip
    return replace(result.tested, record={**result.tested.record, **asked.record(images, result.forwards)})


def _shortcut_cost(n, facts):
    classes = min(facts["classes"], SEARCHED)
    stages = max(1, int(math.log2(min(facts["size"]))) - 1)
    return {"filtered": n / 2 * (2 + CANDIDATES * stages + classes * (1 + DRAWS))}


def shortcuts_of(result):
    """Names of the classes whose map is a shortcut on images that did not select it, by the library's one rule."""
    from freqkit.report.readings import LEVEL

    low = result.tally.intervals()[2][:, 0]
    found = (low > 0.5) & (result.p <= LEVEL)
    return [name for name, one in zip(result.classes, found.tolist(), strict=True) if one]


def _shortcut_words(result):
    names, tested = shortcuts_of(result), int(result.counts.sum())
    best = int((result.tpr - result.fpr).nan_to_num(-2).argmax())
    limits = result.tally.intervals()[2][best].tolist()
    about = (f"the best map, of {result.classes[best]}, has TPR − FPR of {percent(float(result.tpr_minus_fpr[best]))} "
             f"({span(limits)}) on {tested} images that did not select it; random masks reach "
             f"{percent(float(result.highest[best]))}")  # fmt: skip
    if names:
        return f"Frequency shortcuts, tested on images that did not select them: {', '.join(names[:5])}; {about}."
    return f"No frequency shortcut is shown for any of {len(result.classes)} classes; {about}."


# ---- noise and attacks by band


def _noise(asked, images, first):
    rings = octaves(tuple(images.images.shape[-2:]))
    names = ["all", *(f"noise at {low:g}–{high:g}" for low, high in rings)]
    return _ask(
        asked, images, RingNoise([None, *rings], DEVIATION, seed=asked.seed, first=first), names,
        [(math.nan, math.nan), *rings], f"top-1, noise of a ring, root mean square {DEVIATION} of [0, 1], not clipped",
    )  # fmt: skip


def _noise_words(result):
    worst = int(result.accuracy[1:].argmin()) + 1
    if result.accuracy[worst] >= result.accuracy[0]:
        return f"Noise of a root mean square of {DEVIATION} costs no accuracy in any octave."
    low, high = result.edges[worst].tolist()
    return (f"Noise of one strength hurts most at {low:g}–{high:g} cycles/image: there "
            f"{percent(float(result.accuracy[worst]))} ({span(result.interval[worst].tolist())}) are recognised, of "
            f"{percent(float(result.accuracy[0]))}.")  # fmt: skip


def bands_of_attacks(size):
    """(name, from, to), cycles/image: everything, and thirds by octaves."""
    half = min(size) / 2
    return [("free", math.nan, math.nan), (f"low-{half / 4:g}", 0.0, half / 4), (f"{half / 4:g}-{half / 2:g}", half / 4,
            half / 2), (f"high-{half / 2:g}", half / 2, math.inf)]  # fmt: skip


def _attacks(asked, images, first):
    from freqkit.engine.entrance import logit_of_class

    model, how = asked.model, asked.scoring
    forward = Forward(model, device=how.get("device"), dtype=how.get("dtype"))
    index = logit_of_class("profile", how.get("class_index"), len(images.classes), model.num_classes)
    x = images.images.to(forward.device).to(forward.compute) / 255
    targets, batch = index[images.labels].to(forward.device), how["batch_size"]
    mean, std = tuple(model.mean), tuple(model.std)
    place = [torch.tensor(v, dtype=x.dtype, device=x.device).view(1, 3, 1, 1) for v in (mean, std)]
    said = torch.cat([forward((some - place[0]) / place[1]).argmax(1) for some in x.split(batch)])
    names, edges, answers = ["all"], [(math.nan, math.nan)], [said]
    forwards, backwards = len(x), 0
    bands = bands_of_attacks(tuple(x.shape[-2:]))
    with asked.watched("attacks", len(x) * len(bands) * (2 + STEPS + 1)):
        for kind, (name, low, high) in itertools.product(("fgsm", "pgd"), bands):
            asked.check()
            more = {"steps": STEPS, "seed": asked.seed} if kind == "pgd" else {}
            spec = Attack(kind, eps=EPS, band="" if name == "free" else name, **more)
            found = attack(forward.module, x, targets, spec, mean=mean, std=std, answers=said, keys=images.paths,
                           batch_size=batch)  # fmt: skip
            names.append(f"{kind} {name}")
            edges.append((low, high))
            answers.append(found.answers)
            forwards, backwards = forwards + found.forwards, backwards + found.backwards
            if asked.progress is not None:
                asked.progress.advance(len(x) * (2 if kind == "fgsm" else STEPS + 1))
    words = (
        f"top-1 after an attack within linf {EPS:g}/255 (pgd: {STEPS} steps, one start); changes limited to the band"
    )
    return Answered(
        list(images.classes), names, torch.tensor(edges, dtype=torch.float64).nan_to_num(posinf=1e6), torch.stack(
            answers).cpu().int(), images.labels.clone(), index.clone(), {"quantity": words},
        asked.record(images, forwards, backwards),
    )  # fmt: skip


def _band_words(name):
    """Of a name of `bands_of_attacks`.

    Example:
        >>> _band_words("low-4"), _band_words("4-8"), _band_words("high-8")
        ('below 4', 'at 4–8', 'from 8')
    """
    first, _, last = name.partition("-")
    return {"low": f"below {last}", "high": f"from {last}"}.get(first, f"at {first}–{last}")


def _attack_words(result):
    free, bands = result.conditions.index("pgd free"), [i for i, name in enumerate(result.conditions)
                                                        if name.startswith("pgd ") and name != "pgd free"]  # fmt: skip
    worst = min(bands, key=lambda i: float(result.accuracy[i]))
    if result.accuracy[[free, worst]].min() >= result.accuracy[0]:
        return f"PGD within {EPS:g}/255 changes no answer."
    return (f"PGD within {EPS:g}/255 leaves {percent(float(result.accuracy[free]))} "
            f"({span(result.interval[free].tolist())}) recognised; limited to one band it does most "
            f"{_band_words(result.conditions[worst].removeprefix('pgd '))} cycles/image, which leaves "
            f"{percent(float(result.accuracy[worst]))} ({span(result.interval[worst].tolist())}).")  # fmt: skip


# ---- the table


def _heat_options(images):
    """The published norm of a size, and waves spread over the rings."""
    return {"norm": 4.0 if max(images.images.shape[-2:]) <= 96 else 15.7, "bins": WAVES}


def _heat_words(result):
    errors = [row for row in result.rows() if row["metric"] == "error" and row["value"] is not None]
    if not errors:
        return ""
    worst = max(errors, key=lambda row: row["value"])
    if not worst["value"]:
        return "No single wave of the norm makes it err."
    return (f"Of single waves of one norm, one of {worst['radius']:.3g} cycles/image does most: "
            f"{percent(worst['value'])} ({span((worst['low'], worst['high']))}) are then wrong.")  # fmt: skip


def _layer_rows(result):
    """The high half of every layer, then all frequencies."""
    from freqkit.results import rows

    about = rows.of_record(
        result.record, definition=f"mean over the upper half of the frequencies of {result.definition['quantity']}; "
        "interval: normal over images, at its widest: frequencies as if they moved together",
    )  # fmt: skip
    high, wide = result.high(result.trained), 1.96 * result.high(result.spread) / math.sqrt(max(result.images, 1))
    found = []
    for name, value, half in zip(result.layers, high, wide, strict=True):
        limits = torch.stack([value - half, value + half])[None]
        found += rows.values([""], "high", value[None], [result.images], limits, **{**about, "condition": name})
    return [*found, *_whole(result.rows())]


def _layer_words(result):
    high, anew = result.high(result.trained), result.high(result.untrained)
    known = (high - anew).isfinite().nonzero().flatten().tolist()
    if not known:
        return ""
    first, last, most = known[0], known[-1], max(known, key=lambda k: float((high[k] - anew[k]).abs()))
    return (f"Inside, the high half of the frequencies goes from {float(high[first]):.1f} ({result.layers[first]}) to "
            f"{float(high[last]):.1f} nats ({result.layers[last]}) relative to DC; training changed it most at "
            f"{result.layers[most]}: {float(high[most]):.1f}, untrained {float(anew[most]):.1f}.")  # fmt: skip


def _measure(
    name, title, says, weight, cost, words, more=lambda images: {}, domain: str | None = "normalised", of=None,
    rows_of=lambda result: _whole(result.rows()), **how
):  # fmt: skip
    """A part that is a measure of the registry, or says that this version has none of that name.

    Args:
        words: of a result; None: the verdict that its command prints.
        more: of images -> keywords of the measure. domain: where it alters images; None: as usual there. of: which of
            its figures. rows_of: a result -> tidy rows.
    """
    absent = "" if name in MEASURES else "not in this version"

    def run(asked, images, first):
        module = module_of(MEASURES, name)
        keywords = {**asked.scoring, "domain": domain, **more(images)}
        if domain is None:
            del keywords["domain"]
        return getattr(module, stem_of(MEASURES, name))(asked.model, images, progress=asked.progress, **keywords)

    def draw(result, axis):
        result.plot(axis, **({} if of is None else {"of": of}))

    def said(result):
        return module_of(MEASURES, name).printed(result).verdict or ""

    return ProfilePart(name, title, says, weight, cost, run, rows_of, draw, words or said, absent=absent, **how)


def _draw(result, axis):
    """Its own figure."""
    result.plot(axis)


PARTS = (
    ProfilePart(
        "clean", "Recognised", "How many whole images are recognised.", 0.03, lambda n, facts: {"plain": n}, _clean,
        lambda result: result.rows(), None, _clean_words, least=2,
    ),
    ProfilePart(
        "pass-curves", "Low, high and single bands", "What is recognised when only some frequencies are left.", 0.18,
        lambda n, facts: {"filtered": n * _filters(facts)}, _pass, lambda result: _whole(result.rows()),
        _draw, _pass_words, _joined_by(pass_curves),
    ),
    ProfilePart(
        "critical-band", "Critical band", "In which band noise hides objects.", 0.13,
        lambda n, facts: {"noisy": n * (1 + 4 * pyramid_height(facts["size"]))}, _critical,
        lambda result: _whole(result.rows()), _draw, _critical_words, _joined_by(critical_band),
    ),
    ProfilePart(
        "gradient-spectrum", "Gradient spectrum", "At which frequencies the loss reacts to small changes.", 0.03,
        lambda n, facts: {"plain": n, "backward": n}, _gradient, _gradient_rows, _draw,
        _gradient_words, _joined_by(gradient_spectrum),
    ),
    _measure(
        "fourier-heatmap", "Fourier heat map", "How often it errs under single waves of one norm, spread over rings.",
        0.15, lambda n, facts: {"filtered": n * (1 + WAVES)}, _heat_words, _heat_options, domain="pixels", of="rings",
    ),
    _measure(
        "layer-spectra", "Spectra of layers", "What is left of high frequencies, layer by layer.", 0.04,
        lambda n, facts: {"plain": 2 * n}, _layer_words, of="depth", rows_of=_layer_rows,
    ),
    _measure(
        "amplitude-phase", "Amplitude against phase", "What is recognised when amplitude or phase is another image's.",
        0.05, lambda n, facts: {"filtered": 8 * n}, None, domain=None,
    ),
    ProfilePart(
        "ring-noise", "Noise of one band", "What is recognised under noise of equal strength in each octave.", 0.08,
        lambda n, facts: {"noisy": n * (1 + len(octaves(facts["size"])))}, _noise, lambda result: result.rows(), _bars,
        _noise_words, Answered.joined,
    ),
    ProfilePart(
        "attacks", "Attacks limited to bands", "What is recognised after FGSM and PGD, free and within bands.", 0.2,
        lambda n, facts: {"plain": n * (1 + 4 * 2 + 4 * (STEPS + 1)), "backward": n * 4 * (1 + STEPS)}, _attacks,
        lambda result: result.rows(), _bars, _attack_words, Answered.joined,
    ),
    ProfilePart(
        "shortcuts", "Frequency shortcuts", "Which classes few frequencies tell, searched on half of the images and "
        "tested on the rest beside random masks.", 0.2, _shortcut_cost, _shortcuts, lambda result: result.rows(), None,
        _shortcut_words, None, least=40,
    ),
    ProfilePart(
        "adcs", "Class spectra", "Where each class has more energy than the others (ADCS).", 0.02,
        lambda n, facts: {"plain": n / 4}, _spectra, lambda result: result.rows(),
        class_spectra.plot_radii, _spectra_words, None, least=2,
    ),
)  # fmt: skip


def part_of(name: str) -> ProfilePart | None:
    """The part of a name; None of a name that this version does not know."""
    return next((part for part in PARTS if part.name == name), None)


def restored(part: ProfilePart, path) -> Result:
    """The result of a part in its file."""
    from freqkit.registry import result_class
    from freqkit.report.pages import file_format

    kind = file_format(path)
    made = Answered if kind == Answered.FILE.format else result_class(kind)
    if made is None:
        raise UsageError(f"{path}: is of an unknown format, {kind}.")
    return made.load(path)
