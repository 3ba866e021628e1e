"""Every kind of page from made-up results, at any number of classes, in seconds: to look at and to check in a browser.

    python -m tests.report.gallery DIR --classes 3 10 1000 --names long --images 1

writes a folder per kind and count, each with its page. A kind is one function below, registered by `kind`.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import torch

KINDS = {}
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LONG = "resnet_of_a_very_long_name_with_sixty_letters_and_some_more_0"
HOSTILE = [
    r"$\frac{$", "$x^2$", "[red]dog[/]", "[/]", "</script><script>nothing.at.all</script>", '<b>"cat" & \'co\'</b>',
    "=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-1", "100%s %d {} {0} %", "a\\b", "\u202egpj.exe", "zero\u200bwidth",
    "a\x1b[31mred", "bell\x07", "cat \N{CAT FACE}", "\u05d7\u05ea\u05d5\u05dc", "\u732b", "#map-0",
    "javascript:alert(1)", "n" * 300, " spaced ", "'s Gravenhage", "`rm`; $(rm)", "_italic_ *bold*",
]  # fmt: skip


def names_of(count, names="plain"):
    """`count` class names: "plain", "long", "joined" (long ones without blanks) or "hostile"."""
    plain = CIFAR + [f"class {i:03d}" for i in range(len(CIFAR), count)]
    if names == "long":
        return [f"{name} of the family of {name}s, order {i}, as in the books" for i, name in enumerate(plain[:count])]
    if names == "joined":
        return [f"{name}_of_the_family_of_{name}s".replace(" ", "_") for name in plain[:count]]
    return (HOSTILE + plain[len(CIFAR):] if names == "hostile" else plain)[:count]  # fmt: skip


def kind(function):
    KINDS[function.__name__] = function
    return function


class Case:
    """What the makers of pages get: names, images per class, and draws that are the same each time."""

    def __init__(self, folder, classes, *, names="plain", images=50, size=32, model="cifar_resnet20", seed=0):
        self.folder, self.names, self.images, self.size, self.model = Path(folder), names, images, size, model
        self.classes, self.seed = classes, seed
        self.folder.mkdir(parents=True, exist_ok=True)

    def random(self, *shape):
        self.seed += 1
        return torch.rand(*shape, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)

    def maps(self, count=None, share=0.08):
        """Symmetric maps, float32 [C, H, W]."""
        from freqkit.masks import effective

        low = (torch.arange(self.size) - self.size // 2).abs() / self.size
        chance = share * 4 * (1 - low[:, None]) * (1 - low[None])
        return effective((self.random(count or self.classes, self.size, self.size) < chance).float())

    def record(self, **more):
        return {
            "format": "freqkit-run-1", "status": "finished", "forwards": 60 * self.classes * self.images,
            "seconds": 12.5, "device": "cpu", "threads": 1,
            "model": {"name": self.model, "source": "built-in", "num_classes": self.classes,
                      "weights": {"file": f"/home/someone/models/{self.model}.safetensors"},
                      "state_sha256": "ab" * 32, "accuracy": 0.9},
            "data": {"images": self.classes * self.images, "size": [self.size] * 2, "fingerprint": "cd" * 32,
                     "root": "/home/someone/data/pictures", "split_fraction": 0.5},
            "identity": {"versions": {"freqkit": "0", "torch": "1"}}, "clean": self.clean().record, **more,
        }  # fmt: skip

    def clean(self):
        """Nine of ten whole images are recognised, the others get the next class's name; those that are recognised
        through a map, too, are half of them."""
        from freqkit.results.clean import CleanRates

        right = -(-9 * self.images // 10)
        confusion = torch.eye(self.classes, dtype=torch.long) * right
        confusion += (self.images - right) * torch.eye(self.classes, dtype=torch.long).roll(1, 1)
        still = torch.full((self.classes,), right // 2)
        return CleanRates.of_confusion(self.names, confusion, torch.arange(self.classes), still)

    def write_record(self, **more):
        record = self.record(**more)
        (self.folder / "run.json").write_text(json.dumps(record))
        flags = {"model": self.model, "data": "/home/someone/data/pictures", "split-fraction": 0.5}
        (self.folder / "run.yaml").write_text(json.dumps({"command": "search", "freqkit": "0", "flags": flags}))
        return record

    def rates(self):
        """TPR and FPR [C] that give every reading."""
        tpr, fpr = self.random(self.classes), 0.4 * self.random(self.classes)
        tpr[:2], fpr[:2] = torch.tensor([0.98, 0.97])[: self.classes], torch.tensor([0.01, 0.93])[: self.classes]
        return tpr, torch.minimum(fpr, tpr + 0.1) if self.classes > 2 else fpr

    def page(self):
        from freqkit.report import write_report, write_summary

        write_summary(self.folder)
        return write_report(self.folder)


def searched(case, searcher):
    """A finished search of `searcher`."""
    from freqkit.masks import candidates, select
    from freqkit.report import Example
    from freqkit.report.examples import save_examples
    from freqkit.results import Scores, SearchResult, StageResult

    count, names = case.classes, case.names
    stages, parents = [], None
    for number in (1, 2, 3) if searcher == "hfss" else (1,):
        drawn = candidates(number, 12 if count < 200 else 4, size=(case.size, case.size), parents=parents).masks
        k, n = len(drawn.bits), case.images
        tpr, fpr = case.rates()
        correct = ((0.5 + 0.5 * case.random(k, count)) * tpr * n).round().long()
        others = (fpr * case.random(k, count) * n * (count - 1)).round().long()
        scores = Scores(5 * case.random(k, count), correct, correct + others, torch.full((count,), n), names)
        stages.append(StageResult(number, drawn, scores, scores.rank(3), torch.full((k,), number)))
        parents = [select(drawn, row) for row in stages[-1].ranks]
    identity = {"search": searcher, "preset": "default", "seed": 0, "stages": [s.number for s in stages],
                "keep": 0.6, "versions": {"freqkit": "0", "torch": "1"}}  # fmt: skip
    result = SearchResult.from_stages(stages, case.record(stages_done=[s.number for s in stages], identity=identity))
    result.save(case.folder)
    case.write_record(stages_done=[s.number for s in stages], identity=identity)
    image = case.random(3, case.size, case.size).numpy()
    examples = [
        Example(name, image, 0.5 + (image - 0.5) / 4, names[(i + j) % count], names[j % count])
        for i, name in enumerate(names[:12]) for j in range(min(case.images, 3))
    ]  # fmt: skip
    save_examples(case.folder / "examples.safetensors", examples)
    return result


@kind
def hfss(case):
    searched(case, "hfss")
    return case.page()


@kind
def learned(case):
    searched(case, "learned")
    return case.page()


@kind
def dfm(case):
    from freqkit.results import RemovalResult

    cells = case.size // 4
    owner = torch.arange(cells * cells).view(cells, cells).repeat_interleave(4, 0).repeat_interleave(4, 1)
    k, (tpr, fpr) = cells * cells, case.rates()
    baseline = case.random(case.classes)
    identity = {"search": "removal", "preset": "default", "versions": {"freqkit": "0"}}
    result = RemovalResult(
        case.names, torch.full((case.classes,), case.images), owner, baseline + case.random(k, case.classes) - 0.3,
        baseline, mask_loss=3 * case.random(case.classes), tpr=tpr, fpr=fpr, record=case.record(identity=identity),
    )  # fmt: skip
    result.save(case.folder)
    case.write_record(identity=identity)
    return case.page()


def measured(case):
    """A `RatesResult`."""
    from freqkit.measures import RatesResult, newcombe, wilson

    c, n = case.classes, torch.full((case.classes,), case.images)
    rest = n * (c - 1)
    tpr, fpr = case.rates()
    tp, fp = (tpr * n).round().long(), (fpr * rest).round().long()
    row = torch.diag(tp)
    row[torch.arange(c), (torch.arange(c) + 1) % c] += n - tp
    whole = case.clean()
    clean = torch.diag(whole.correct) + torch.diag(n - whole.correct).roll(1, 1)
    share = 0.05 + 0.05 * case.random(c)
    about = {"selected_on_test_set": True, "classes": case.names, **case.record()}
    return RatesResult(
        case.names, n, rest, tp, fp, whole.correct, n - whole.correct, clean, row, row.T.contiguous(), share, share / 2,
        wilson(tp, n), wilson(fp, rest), newcombe(tp, n, fp, rest),
        definition={"interval": "wilson", "confidence": 0.95}, record=about, still=torch.minimum(tp, whole.correct),
        class_index=torch.arange(c),
    )  # fmt: skip


@kind
def rates(case):
    from freqkit.report import plot_rates, save_figure, write_report

    measured(case).save(case.folder / "rates.safetensors")
    save_figure(plot_rates(measured(case)), case.folder / "rates.png")
    return write_report(case.folder / "rates.safetensors")


@kind
def band_stop(case):
    from freqkit.measures import BandStopResult
    from freqkit.report import plot_band_stop, save_figure, write_report

    c = case.classes
    removed = [(a, b) for a in range(1, 5) for b in range(a + 1, 5)]
    confusion = torch.zeros(7, c, c, dtype=torch.long)
    for p in range(7):
        kept = (case.random(c) * case.images).round().long() if p else torch.full((c,), case.images)
        confusion[p, torch.arange(c), torch.arange(c)] = kept
        confusion[p, torch.arange(c), (torch.arange(c) + 1 + p) % c] += case.images - kept
    result = BandStopResult(
        case.names, removed, [4.0, 8.0, 12.0], confusion, torch.arange(c), torch.ones(6, case.size, case.size),
        {"formula": ""}, case.record(),
    )  # fmt: skip
    result.save(case.folder / "stop.safetensors")
    save_figure(plot_band_stop(result), case.folder / "stop.png")
    return write_report(case.folder / "stop.safetensors")


def answered(case, count):
    """int32 [count, n] answers to the images of a case, the first all right and each later fewer; int64 [n] classes."""
    labels = torch.arange(case.classes).repeat_interleave(case.images)
    wrong = case.random(count, len(labels)) > torch.linspace(1, 0, count, dtype=torch.float64)[:, None]
    return ((labels + wrong) % case.classes).int(), labels


@kind
def pass_curves(case):
    from freqkit.measures import PassCurvesResult
    from freqkit.report import plot_pass_curves, save_figure, write_report

    shares = torch.tensor([0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99], dtype=torch.float64)
    radii = shares * case.size / 2
    low = torch.stack([torch.zeros(7).double(), radii], 1)
    high = torch.stack([radii, torch.full((7,), torch.inf).double()], 1)
    band = torch.stack([radii[:-1], radii[1:]], 1)
    answers, labels = answered(case, 21)
    result = PassCurvesResult(
        case.names, ["low"] * 7 + ["high"] * 7 + ["band"] * 6, torch.cat([shares, shares, shares[:-1]]),
        torch.cat([low, high, band]), torch.cat([answers[:1], answers[1:8].flip(0), answers[8:]]), labels,
        torch.arange(case.classes), {"LPP": [0.6, 0.5, 0.7], "HPP": [0.1, 0.05, 0.2], "HPP/(LPP+HPP)": [0.1, 0.0, 0.3]},
        {"quantity": "disc, strict, DC kept, clip", "confidence": 0.95, "encoding": "clip", "preset": "default"},
        {**case.record(), "logits": case.classes},
    )  # fmt: skip
    result.save(case.folder / "pass-curves.safetensors")
    save_figure(plot_pass_curves(result), case.folder / "pass-curves.png")
    return write_report(case.folder / "pass-curves.safetensors")


@kind
def attribute(case):
    """No more than 600 images; an answer is found for each class."""
    from freqkit.measures import AttributeResult
    from freqkit.report import plot_attribute, save_figure, write_report

    count = min(case.classes * case.images, 600)
    answers, some = torch.arange(count) % case.classes, min(8, count)
    sets = [case.maps(count, share).ceil().to(torch.uint8) for share in (0.02, 0.01)]
    sets[0][0] = 0
    removable = (torch.arange(count) % 5 != 1).to(torch.uint8)
    sets[1] *= removable[:, None, None]
    rising = torch.linspace(0, 1, 9).pow(2).expand(count, -1)
    pictures = case.random(some, 3, case.size, case.size)
    result = AttributeResult(
        case.names, [f"{case.names[int(a)]}/{i}.png" for i, a in enumerate(answers)], answers,
        torch.arange(case.classes), answers.clone(), case.random(count), case.random(count, 2),
        (case.random(count, case.size, case.size) - 0.5).float(), *sets, removable, case.random(count, 2),
        torch.tensor([0, 1, 2, 5, 12, 30, 80, 200, 514]), rising.clone(), 1 - rising, rising.sqrt(), rising.sqrt(),
        (255 * pictures).to(torch.uint8), *(pictures.float() * share for share in (0.2, 0.9)),
        {"quantity": "smallest sets found of frequency pairs that keep the answer, and that remove it",
         "confidence": 0.95, "quantile": 0.8, "resamples": 1000, "seed": 0, "domain": "normalised"},
        {**case.record(), "backwards": 1000},
    )  # fmt: skip
    result.save(case.folder / "attribute.safetensors")
    save_figure(plot_attribute(result), case.folder / "attribute.png")
    return write_report(case.folder / "attribute.safetensors")


@kind
def amplitude_phase(case):
    from freqkit.engine.phases import VERSIONS
    from freqkit.measures import AmplitudePhaseResult
    from freqkit.report import plot_amplitude_phase, save_figure, write_report

    answers, labels = answered(case, len(VERSIONS))
    n = len(labels)
    mates = (torch.arange(n) + 1) % n if case.images > 1 else torch.full((n,), -1)
    result = AmplitudePhaseResult(
        case.names, list(VERSIONS), answers, labels, torch.arange(case.classes), (torch.arange(n) + case.images) % n,
        mates, {"quantity": "amplitude and phase of two images", "confidence": 0.95, "domain": "pixels"},
        {**case.record(), "logits": case.classes},
    )  # fmt: skip
    result.save(case.folder / "amplitude-phase.safetensors")
    save_figure(plot_amplitude_phase(result), case.folder / "amplitude-phase.png")
    return write_report(case.folder / "amplitude-phase.safetensors")


@kind
def slices(case):
    from freqkit.measures import SlicesResult
    from freqkit.measures.slices.clusters import edges_of
    from freqkit.report import plot_slices, save_figure, write_report

    answers, labels = answered(case, 6)
    n, count = len(labels), 26 if case.images > 100 else 3
    own = torch.arange(n) % count
    radii = [2.0, 4.0, 8.0]
    limits = [(0.0, one) for one in radii] + [(one, torch.inf) for one in radii] + [(2.0, 4.0), (4.0, 8.0)]
    result = SlicesResult(
        case.names, [chr(65 + s) for s in range(count)], edges_of((case.size,) * 2, 6),
        -3 + case.random(n, 6) + own[:, None] / count, own, answers[2], labels, torch.arange(case.classes),
        ["low"] * 3 + ["high"] * 3 + ["band"] * 2, torch.tensor(limits, dtype=torch.float64), case.random(8, n),
        answers[torch.arange(8) % 6], torch.arange(count)[:, None] % n,
        (255 * case.random(count, 1, 3, case.size, case.size)).to(torch.uint8),
        {"quantity": "groups of images", "confidence": 0.95, "resamples": 200, "seed": 0, "profile": "energy",
         "layer": "input of " + case.names[0]}, {**case.record(), "logits": case.classes},
    )  # fmt: skip
    result.save(case.folder / "slices.safetensors")
    save_figure(plot_slices(result), case.folder / "slices.png")
    return write_report(case.folder / "slices.safetensors")


@kind
def critical_band(case):
    from freqkit.measures import CriticalBandResult
    from freqkit.report import plot_critical_band, save_figure, write_report

    centres = 1.75 * 2.0 ** torch.arange(7, dtype=torch.float64)
    answers, labels = answered(case, 29)
    result = CriticalBandResult(
        case.names, torch.tensor([0.02, 0.04, 0.08, 0.16], dtype=torch.float64), centres, centres / 2, answers, labels,
        torch.arange(case.classes), {f"{name}_norm": [0.5, 60.0, 0.9] for name in ("bw", "cf", "pns")},
        {"quantity": "top-1, low contrast in noise of octave bands", "confidence": 0.95, "reference": "no-noise",
         "threshold": 0.5, "contrast": 0.2}, case.record(),
    )  # fmt: skip
    result.save(case.folder / "critical-band.safetensors")
    save_figure(plot_critical_band(result), case.folder / "critical-band.png")
    return write_report(case.folder / "critical-band.safetensors")


@kind
def shape_bias(case):
    from freqkit.data.sixteen import CATEGORIES
    from freqkit.measures import ShapeBiasResult
    from freqkit.report import plot_shape_bias, save_figure, write_report

    count = 16 * case.images
    shape, texture = torch.arange(count) % 16, torch.arange(count) // 5 % 16
    other, drawn = (torch.arange(count) * 7 + 3) % 16, case.random(count)
    decided = torch.where(drawn < 0.2, shape, torch.where(drawn < 0.7, texture, other))
    counts = torch.full((case.classes,), case.images)
    kinds = ["whole", "patches:4", "patches:8", "gaussian:2", "bilateral:2:0.2", "grey"]
    result = ShapeBiasResult(
        list(CATEGORIES), [f"{i}.png" for i in range(count)], shape, texture, decided,
        torch.where(drawn < 0.5, decided, -1), kinds, case.names, counts,
        torch.stack([counts * (9 - k) // 10 for k in range(6)]), {"quantity": "S / (S + T)", "confidence": 0.95},
        {**case.record(), "logits": 1000, "ordinary": "pictures"},
    )  # fmt: skip
    result.save(case.folder / "shape-bias.safetensors")
    save_figure(plot_shape_bias(result), case.folder / "shape-bias.png")
    return write_report(case.folder / "shape-bias.safetensors")


@kind
def human_comparison(case):
    """The first names are networks."""
    from freqkit.data.test_sets.model_vs_human import CONDITIONS, SETS
    from freqkit.measures import HumanComparisonResult
    from freqkit.report import plot_human_comparison, save_figure, write_report

    conditions = [[name, one] for name in SETS for one in CONDITIONS.get(name, (("",), ()))[0]]
    place = torch.arange(len(conditions)).repeat_interleave(16)
    labels = torch.arange(len(place)) % 16
    makers = [*case.names[:20], "subject-01", "subject-02", "subject-03"]
    hard = case.random(len(place))
    skill = torch.linspace(0.4, 0.9, len(makers), dtype=torch.float64)[:, None]
    right = (hard + 0.3 * case.random(len(makers), len(place))) < skill
    responses = torch.where(right, labels, (labels + 3) % 16)
    paths = [f"{conditions[k][0]}/cat/cat{i}-dog1.png" for i, k in enumerate(place.tolist())]
    result = HumanComparisonResult(
        makers, len(case.names[:20]), paths, labels, place, conditions, responses,
        {"confidence": 0.95, "resamples": 100, "seed": 0},
        {**case.record(), "models": {}, "failures": [], "notes": ["colour cr: 16 images instead of 1280"]},
    )  # fmt: skip
    result.save(case.folder / "human-comparison.safetensors")
    save_figure(plot_human_comparison(result), case.folder / "human-comparison.png")
    return write_report(case.folder / "human-comparison.safetensors")


@kind
def adcs(case):
    from freqkit.measures import AdcsResult
    from freqkit.report import plot_adcs, save_figure, write_report

    c = case.classes
    values = ((2 * case.maps(share=0.3) - 1) * (c - 1)).round().to(torch.int16)
    about = {"preset": "default", "formula": "sum of signs", "energy": "mean of |DFT|", "channel": "grey"}
    result = AdcsResult(values, case.names, torch.full((c,), case.images), about, {**case.record(), "images": 7})
    result.save(case.folder / "adcs.safetensors")
    save_figure(plot_adcs(result), case.folder / "adcs.png")
    return write_report(case.folder / "adcs.safetensors")


@kind
def evaluation(case):
    from freqkit.measures.evaluation import COLUMNS, FORMAT, EvaluationResult

    rows = []

    def row(model, place, condition, metric, value, n=100, name=""):
        words = f"the largest of {case.classes} logits"
        rows.append({**dict.fromkeys(COLUMNS, ""), "definition": words, "model": model, "set": place,
                     "condition": condition, "class": name, "metric": metric, "value": value, "n": n,
                     "ci_low": max(value - 0.05, 0), "ci_high": min(value + 0.05, 1)})  # fmt: skip

    places = [("imagenet", "all"), ("imagenet-v2", "matched-frequency"), ("imagenet-c", "gaussian_noise/3"),
              ("imagenet", "fgsm (eps 0.0314, high frequencies)")]  # fmt: skip
    for model in (case.model, "other"):
        for i, (place, condition) in enumerate(places):
            row(model, place, condition, "top-1", 0.8 - 0.1 * i)
            row(model, place, condition, "mean TPR", 0.8 - 0.1 * i)
            row(model, place, condition, "filtered mean TPR", 0.4 - 0.1 * i)
            for t in range(1, 10):
                for group, n in (("shortcut", 10 - t), ("other", t)):
                    row(model, place, condition, f"AvgTPR {group}@0.{t}", float(case.random(1)), n)
                    row(model, place, condition, f"filtered AvgTPR {group}@0.{t}", float(case.random(1)), n)
            for name, tpr, fpr in zip(case.names, *(v.tolist() for v in case.rates()), strict=True):
                others = 50 * case.images
                for metric, value, n in (
                    ("TPR", 0.8, case.images),
                    ("FPR", 0.2 / case.classes, others),
                    ("filtered TPR", tpr, case.images),
                    ("filtered FPR", fpr, others),
                ):
                    row(model, place, condition, metric, value, n, name)  # fmt: skip
    identity = {
        "evaluation": FORMAT,
        "preset": "default",
        "base": "imagenet",
        "attacks": [],
        "generated": [],
        "dfm": "ab" * 8,
        "image_size": case.size,
        "resize": "squash",
        "sets": [
            {"set": a, "condition": b.replace("all", ""), "images": 100, "classes": case.classes} for a, b in places
        ],
    }
    EvaluationResult(rows, []).save(case.folder)
    case.write_record(
        identity=identity, model=case.model, models={case.model: {"record": case.record()["model"]}}, failures=[]
    )
    return case.page()


@kind
def study(case):
    from freqkit.measures import study

    values = case.random(8, case.classes)
    columns = [("", "all", metric) for metric in ("shape-bias", "LPP", "HPP", "bw_norm", "cf_norm", "pns_norm")]
    columns += [("imagenet", "all", "top-1"), ("imagenet-a", "all, 200 logits", "top-1")]
    rows = [
        {"model": name, "set": place, "condition": condition, "class": "", "metric": metric, "value": value,
         "definition": ""}
        for (place, condition, metric), line in zip(columns, values.tolist(), strict=True)
        for name, value in zip(case.names, line, strict=True)
    ]  # fmt: skip
    groups = {case.model: case.names[::2], "others": case.names[1::2]}
    added = [{**row, "model": f"mine, {row['model']}", "value": 0.5} for row in rows if row["model"] == case.names[0]]
    found = study(rows, groups=groups, apart={"Apart": case.model}, added=added, resamples=50)
    found.save(case.folder / "study.safetensors")
    return case.page()


@kind
def train(case):
    steps = [10 * i for i in range(20)]
    case.write_record(kind="training", model={"name": case.model, "trained": {"epochs": 3, "recipe": "plain"}},
                      result={"val": {"classes": {name: {"images": case.images, "accuracy": 0.5, "precision": 0.6,
                                                         "f1": 0.55} for name in case.names}}})  # fmt: skip
    with open(case.folder / "history.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [
                ("epoch", "lr", "loss", "accuracy", "val_loss", "val_accuracy"),
                *((i, 0.1, 2 / i, 1 - 1 / i, 2.2 / i, 0.9 - 0.8 / i) for i in (1, 2, 3)),
            ]
        )
    from freqkit.files.whole import write_csv

    curves = case.random(len(steps), case.classes).cummax(0).values.tolist()
    write_csv(case.folder / "learning.csv", ["step", "accuracy", *case.names],
              [{"step": s, "accuracy": 0.5, **dict(zip(case.names, row, strict=True))}
               for s, row in zip(steps, curves, strict=True)])  # fmt: skip
    return case.page()


@kind
def searchers(case):
    from freqkit.search import Comparison
    from freqkit.search.compare import COLUMNS

    rows = []
    for i, (name, effort, seeds) in enumerate([
        ("learned", 40, 3), ("learned", 120, 3), ("hfss", 50, 2), ("hfss", 500, 2), ("evolve", 4, 3), ("greedy", 1, 1),
        ("removal", 1, 1), ("gradient", 20, 3), ("learned-class-loss", 10, 3),
    ]):  # fmt: skip
        for seed in range(seeds):
            cost = 300 * effort * (1 + i)
            rows.append(
                {
                    **dict.fromkeys(COLUMNS, 0.05),
                    "searcher": name,
                    "effort": effort,
                    "seed": seed,
                    "forwards": cost,
                    "backwards": 0,
                    "forward equivalents": cost,
                    "seconds": 60.0,
                    "TPR-FPR": 0.3 + 0.02 * i + 0.02 * seed,
                    "loss": 3 - 0.2 * i,
                    "TPR": 0.5,
                    "FPR": 0.1,
                }
            )
    facts = {"runs": len(rows), "coverage": 0.05, "seeds": 3, "slow seeds": 2, "selection images per class": 30,
             "effort": {"learned": "steps", "hfss": "masks per stage"}, "model": case.record()["model"],
             "pool": case.record()["data"], "held out": case.record()["data"]}  # fmt: skip
    Comparison(rows, facts).save(case.folder)
    for name in ("learned-120-seed0", "hfss-500-seed0"):
        inner = Case(case.folder / name, case.classes, names=case.names, images=case.images, size=case.size)
        searched(inner, name.split("-")[0])
    return case.page()


@kind
def demo(case):
    """The demonstration has four classes of its own."""
    from freqkit.masks import DfmFile, save_dfm

    inner = Case(case.folder, 4, names=["C0", "C1", "C2", "C3"], images=case.images, size=32, model="small_convnet")
    searched(inner, "hfss")
    data = {**inner.record()["data"], "source": "synthetic", "variant": 1}
    inner.write_record(stages_done=[1, 2, 3], data=data, identity={"search": "hfss", "stages": [1, 2, 3]})
    save_dfm(case.folder / "dfm.safetensors", DfmFile(inner.maps(4), inner.names))
    row = {"loss": 0.5, "tpr": 0.9, "fpr": 0.02, "clean tpr": 1.0, "coverage": 0.03, "planted": 16, "kept": 32,
           "found": 12, "precision": 0.4, "recall": 0.75, "chance precision": 0.016, "enrichment": 25.0}  # fmt: skip
    found = {"classes": [{**row, "class": name} for name in inner.names], "accuracy": 0.9, "forwards": 1, "seconds": 1}
    (case.folder / "demo.json").write_text(json.dumps(found))
    return inner.page()


@kind
def compare(case):
    """Five runs side by side."""
    from freqkit.report import write_comparison

    folders = []
    for i in range(5):
        folder = case.folder / ("a_run_with_a_long_name_of_its_own" if i == 4 else f"run{i}")
        inner = Case(folder, case.classes, names=case.names, images=case.images, size=case.size, seed=100 * i)
        searched(inner, "learned")
        folders.append(folder)
    return write_comparison(folders, case.folder / "compare.html")


def make(kind, folder, classes, *, names="plain", images=50, size=32, model="cifar_resnet20"):
    """The page of one kind, below `folder`."""
    case = Case(folder, classes, names=names_of(classes, names), images=images, size=size, model=model)
    return KINDS[kind](case)


def main(args=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--names", default="plain", choices=["plain", "long", "joined", "hostile"])
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--pictures", action="store_true", help="Screenshots at 1280 and 400 px, light and dark.")
    given = parser.parse_args(args)
    pages = []
    for count in given.classes:
        for kind in given.kinds:
            began = time.monotonic()
            label = f"{kind}-{count}-{given.names}-{given.images}"
            model = LONG if given.names == "long" else HOSTILE[2] if given.names == "hostile" else "cifar_resnet20"
            page = make(kind, given.out / label, count, names=given.names, images=given.images, size=given.size,
                        model=model)  # fmt: skip
            print(f"{label}: {time.monotonic() - began:.1f} s, {page.stat().st_size / 1e6:.2f} MB, {page}")
            pages.append((label, page))
    if given.pictures:
        from tests.report.browser import Browser

        with Browser() as browser:
            for label, page in pages:
                for width, dark in ((1280, False), (400, False), (1280, True), (400, True)):
                    browser.open(page.resolve(), width=width, dark=dark)
                    browser.screenshot(given.out / f"{label}-{width}{'-dark' if dark else ''}.png")


if __name__ == "__main__":
    main()
