"""A small made-up result of every kind, the same on every machine: for what must hold of all of them."""

import math

import torch

CLASSES = ["cat", "=1+1", "'s dog"]
RECORD = {
    "selected_on_test_set": False, "forwards": 40, "batch_size": 8, "classes": CLASSES,
    "model": {"name": "net", "num_classes": 4, "state_sha256": "ab", "mean": [0.5, 0.25, 0.1]},
    "data": {"images": 12, "size": [8, 8], "fingerprint": "cd", "resize": "squash"},
    "versions": {"freqkit": "0", "torch": "1"},
}  # fmt: skip
COUNTS = torch.tensor([5, 4, 3])


def waves(*shape, scale=1.0):
    """float64 in 0..scale, all different."""
    count = math.prod(shape)
    return scale * (torch.arange(count, dtype=torch.float64) * 0.6180339887 % 1).view(shape)


def confusions(*shape):
    """int64 [.., 3, 4]: the images of `COUNTS`, by the logits that win."""
    drawn = (waves(*shape, 3, 3, scale=0.4) * COUNTS[:, None]).floor().long()
    return torch.cat([COUNTS[:, None] - drawn.sum(-1, keepdim=True), drawn], -1)


def rates():
    from freqkit.measures import RatesResult, newcombe, wilson

    whole = confusions(3)
    own = torch.arange(3)
    clean = confusions()
    column, rest = whole[own, :, own], COUNTS.sum() - COUNTS
    tp = column[own, own]
    fp = column.sum(1) - tp
    return RatesResult(
        CLASSES, COUNTS, rest, tp, fp, clean[own, own], clean[:, own].sum(0) - clean[own, own], clean,
        whole[own, own], column, waves(3), waves(3) / 2, wilson(tp, COUNTS), wilson(fp, rest),
        newcombe(tp, COUNTS, fp, rest), whole, torch.minimum(tp, clean[own, own]), own,
        {"interval": "wilson", "confidence": 0.95, "domain": "normalised"}, RECORD,
    )  # fmt: skip


def band_stop():
    from freqkit.measures import BandStopResult

    return BandStopResult(
        CLASSES, [(1,), (1, 3)], [1.0, 2.5], confusions(3), torch.tensor([2, 0, 3]), waves(2, 8, 8).round().float(),
        {"quantity": "band-stop", "keep_dc": True}, RECORD,
    )  # fmt: skip


def adcs(channel="grey"):
    from freqkit.measures import AdcsResult

    shape = (3, 3, 8, 8) if channel == "per" else (3, 8, 8)
    definition = {"preset": "default", "channel": channel, "formula": "signs", "energy": "mean", "mean": None}
    return AdcsResult((waves(*shape, scale=5) - 2).round().to(torch.int16), CLASSES, COUNTS, definition, RECORD)


def answers(count):
    """int32 [count, 12] to the images of `COUNTS`."""
    return waves(count, 12, scale=4).floor().int()


LABELS = torch.arange(3).repeat_interleave(COUNTS)


def pass_curves():
    from freqkit.measures import PassCurvesResult

    edges = torch.tensor([[0, 1], [0, 2], [1, math.inf], [2, math.inf], [1, 2]], dtype=torch.float64)
    return PassCurvesResult(
        CLASSES, ["low", "low", "high", "high", "band"], torch.tensor([0.25, 0.5, 0.25, 0.5, 0.25]).double(), edges,
        answers(6), LABELS, torch.tensor([2, 0, 3]), {"LPP": [0.5, 0.25, 0.75], "HPP": [None, None, None]},
        {"quantity": "disc", "confidence": 0.95, "encoding": "raw"}, {**RECORD, "logits": 4},
    )  # fmt: skip


def critical_band():
    from freqkit.measures import CriticalBandResult

    deviations, centres = torch.tensor([0.02, 0.16]).double(), torch.tensor([2.0, 4.0, 8.0]).double()
    return CriticalBandResult(
        CLASSES, deviations, centres, centres / 2, answers(7), LABELS, torch.tensor([2, 0, 3]),
        {"cf": [None, None, 0.0], "cf_norm": [1.0, 9.0, 0.5]},
        {"quantity": "top-1", "confidence": 0.95, "reference": "no-noise", "threshold": 0.5}, RECORD,
    )  # fmt: skip


def shape_bias():
    from freqkit.data.sixteen import CATEGORIES
    from freqkit.measures import ShapeBiasResult

    paths = ["cat/cat1-dog1.png", "dog/dog1-cat2.png", "dog/dog2-dog3.png"]
    return ShapeBiasResult(
        list(CATEGORIES), paths, torch.tensor([7, 10, 10]), torch.tensor([10, 7, 10]), torch.tensor([7, 0, 10]),
        torch.tensor([-1, 7, 10]), ["whole", "patches:4", "grey"], CLASSES, COUNTS,
        torch.stack([COUNTS, COUNTS - 2, COUNTS - 1]), {"quantity": "S / (S + T)", "confidence": 0.95},
        {**RECORD, "logits": 1000, "ordinary": "imagenet"},
    )  # fmt: skip


def human_comparison():
    from freqkit.measures import HumanComparisonResult

    labels, place = torch.arange(12) % 4, torch.arange(12) % 3
    responses = torch.stack([(labels + (torch.arange(12) % n == 1)) % 16 for n in (3, 4, 5, 6)])
    responses[2, 3], responses[3, 4] = -1, -2
    names = [f"{name}/{i}.png" for i, name in enumerate(["colour", "colour", "edge"] * 4)]
    return HumanComparisonResult(
        ["net", "=1+1", "subject-01", "subject-02"], 2, names, labels, place,
        [["colour", "cr"], ["colour", "bw"], ["edge", ""]], responses,
        {"confidence": 0.95, "resamples": 100, "seed": 0},
        {"models": {}, "failures": [{"model": "other", "error": "it is not there"}], "notes": ["colour cr: a note"],
         "forwards": 24, "versions": {"freqkit": "0", "torch": "1"}},
    )  # fmt: skip


def learning():
    from freqkit.results import LearningCurves

    return LearningCurves(CLASSES, torch.tensor([0, 10]), confusions(2), {"images": "training"}, RECORD)


def dfm():
    from freqkit.masks import DfmFile, effective

    return DfmFile(effective(waves(3, 8, 8).float()), CLASSES, "default", 2, 0, "ab", None, {"share": 0.05}, "0",
                   {"resize": "squash"})  # fmt: skip


def clean_record():
    from freqkit.results.clean import CleanRates

    return CleanRates.of_confusion(CLASSES, confusions(), torch.arange(3), torch.tensor([1, 0, 0])).record


def stages():
    from freqkit.masks import candidates
    from freqkit.results import Scores, StageResult

    found = []
    for number in (1, 2):
        masks = candidates(1, 4, size=(16, 16)).masks
        correct = (waves(4, 3) * COUNTS).round().long()
        others = (waves(3, 4).T * (12 - COUNTS)).round().long()
        scores = Scores(waves(4, 3, scale=3), correct, correct + others, COUNTS, CLASSES, record={"batch_size": 4})
        found.append(StageResult(number, masks, scores, scores.rank(2), torch.full((4,), number)))
    return found


def search():
    from freqkit.results import SearchResult

    record = {**RECORD, "status": "finished", "stages_done": [1, 2], "clean": clean_record(), "seconds": 1.5,
              "identity": {"search": "hfss", "preset": "default", "seed": 0, "data": RECORD["data"]}}  # fmt: skip
    return SearchResult.from_stages(stages(), record)


def removal(estimate=True):
    from freqkit.results import RemovalResult

    owner = torch.arange(64).view(8, 8)
    owner[0, 0] = -1
    loss = 1 + waves(64, 3)
    if estimate:
        loss[::2] = torch.nan
    record = {**RECORD, "status": "finished", "backwards": 24, "clean": clean_record(),
              "identity": {"search": "gradient" if estimate else "removal", "seed": 0}}  # fmt: skip
    return RemovalResult(
        CLASSES, COUNTS, owner, loss, 1 + waves(3), waves(64, 3) - 0.2 if estimate else None, (0.05, 0.1), 0.05,
        "include", waves(3, scale=2), (waves(3) * COUNTS).round() / COUNTS,
        (waves(3, scale=0.5) * (12 - COUNTS)).round() / (12 - COUNTS), record,
    )  # fmt: skip


def estimate():
    from freqkit.search.gradient import GradientEstimate

    owner = torch.arange(64).view(8, 8)
    owner[0, 0] = -1
    first = waves(64, 3) - 0.5
    return GradientEstimate(first, waves(64, 3, scale=0.1), waves(3), owner, COUNTS, 12, 24, {"seed": 1}, CLASSES)


def evaluation():
    from freqkit.measures import EvaluationResult

    columns = "model set condition class metric value ci_low ci_high n definition".split()
    about = "largest of 4 logits"
    rows = [
        ("net", "imagenet", "all", "", "top-1", 0.5, 0.25, 0.75, 12, about),
        ("net", "imagenet", "all", "cat", "TPR", 0.8, 0.4, 0.95, 5, about),
        ("net", "imagenet", "all", "cat", "filtered FPR", 0.0, 0.0, 0.3, 7, about),
        ("net", "imagenet", "all, 2 logits of imagenet-r", "", "filtered top-1", 0.5, 0.25, 0.75, 12, about),
        ("net", "imagenet", "all, filtered before normalised", "", "filtered mean TPR", 0.5, None, None, 3, about),
        ("net", "imagenet", "all", "=1+1", "filtered TPR of recognised", None, None, None, 0, about),
        ("net", "imagenet-c", "fog/3", "", "top-1", 0.25, 0.1, 0.5, 12, about),
        ("net", "imagenet-c", "mean of 2 conditions", "", "filtered AvgTPR shortcut@0.5", 1 / 3, None, None, 2, about),
        ("net", "imagenet-c", "mean of 2 conditions, 2 logits", "", "AvgTPR other@0.1", None, None, None, 0, about),
        ("net", "imagenet-c", "fog", "", "CE", 81.25, None, None, 5, about),
    ]
    rows = [dict(zip(columns, row, strict=True)) for row in rows]
    failures = [{"model": "net", "set": "imagenet-a", "condition": "", "error": "it is not there"}]
    return EvaluationResult(rows, failures, {"status": "finished", "failures": failures,
                                             "identity": {"evaluation": "freqkit-evaluation-1"}})  # fmt: skip


def comparison():
    from freqkit.search import Comparison
    from freqkit.search.compare import COLUMNS

    rows = [
        {**dict(zip(COLUMNS, waves(len(COLUMNS)).tolist(), strict=True)), "searcher": name, "effort": 4, "seed": seed,
         "forwards": 100 + seed, "backwards": 8, "forward equivalents": 116 + seed}
        for name, seed in (("learned", 0), ("learned", 1), ("greedy", 0))
    ]  # fmt: skip
    return Comparison(rows, {"model": RECORD["model"], "coverage": 0.05, "seeds": 2, "effort": {"learned": "steps"},
                             "clean": {**clean_record(), "classes": CLASSES, "counts": COUNTS.tolist()}})  # fmt: skip


KINDS = {
    "rates": rates, "band-stop": band_stop, "pass-curves": pass_curves, "critical-band": critical_band,
    "shape-bias": shape_bias, "human-comparison": human_comparison,
    "adcs": adcs, "adcs per channel": lambda: adcs("per"),
    "learning": learning, "dfm": dfm, "stage": lambda: stages()[1], "search": search, "gradient": removal,
    "removal": lambda: removal(False), "estimate": estimate, "evaluation": evaluation, "comparison": comparison,
}  # fmt: skip


def save_all(folder):
    """Write one of every kind below `folder`."""
    from freqkit.masks import save_dfm

    for name, result in (("rates", rates()), ("stop", band_stop()), ("adcs", adcs()), ("adcs-per", adcs("per")),
                         ("learning", learning())):  # fmt: skip
        result.save(folder / f"{name}.safetensors")
    save_dfm(folder / "maps.safetensors", dfm())
    for name, result in (("search", search()), ("removal", removal(False)), ("gradient", removal()),
                         ("comparison", comparison())):  # fmt: skip
        result.save(folder / name)
    (folder / "evaluation").mkdir()
    evaluation().save(folder / "evaluation")
