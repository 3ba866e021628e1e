"""`evaluate --preset cvpr2024`: images whose colour says what the model will answer, so that every number is known."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from freqkit.data import class_list, open_sets
from freqkit.data.sixteen import CATEGORIES, MEMBERS
from freqkit.data.test_sets.corrupted import BAR, BENCHMARK, EXTRA, alexnet_errors
from freqkit.engine import Silent
from freqkit.errors import UsageError
from freqkit.measures import Attack, attack, evaluate
from freqkit.measures.evaluation import parse_on
from freqkit.measures.evaluation.page import as_published
from freqkit.models import Classifier
from freqkit.results.published import columns_of
from tests.measures.oracle import Oracle

WNIDS = class_list("imagenet")
IN_A = [WNIDS.index(name) for name in class_list("imagenet-a")]
IN_R = [WNIDS.index(name) for name in class_list("imagenet-r")]
PGD = "pgd linf 0.5/255, 40 steps of 2, restarts 1, last iterate"
REAL = {1: [[1], [1, 7], [900], []], 22: [[22], [], [22, 23], [5]], 404: [[], [3], [404], [404]]}  # by class
SAID = {1: [1, 7, 1, 1], 22: [22, 22, 23, 22], 404: [404, 404, 404, 3]}  # what the model says of each image


def flat(path, answer, side=12):
    """A picture of one colour that the oracle calls `answer`; a PNG, whatever it is called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = [30 + 20 * (answer // 10**k % 10) for k in range(3)]
    Image.fromarray(np.full((side, side + 5, 3), colour, np.uint8)).save(path, format="PNG")


def oracle():
    return Classifier(Oracle(1000), mean=(0.0,) * 3, std=(1.0,) * 3, num_classes=1000, name="oracle")


def wrong_at(corruption, severity):
    """How many of 6 images the model gets wrong, another number for every corruption."""
    place = (*BENCHMARK, *EXTRA, *BAR).index(corruption)
    return (place + severity) % 6


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root, number = tmp_path_factory.mktemp("study"), 0
    lists = [[] for _ in range(12)]
    for label, answers in SAID.items():
        for answer, known in zip(answers, REAL[label], strict=True):
            lists[number] = known
            number += 1
            flat(root / f"imagenet/val/{WNIDS[label]}/ILSVRC2012_val_{number:08d}.JPEG", answer)
    (root / "imagenet" / "real.json").write_text(json.dumps(lists))
    for folder, answers in {"2": [2, 2, 9], "10": [10], "100": [100, 1]}.items():
        for i, answer in enumerate(answers):
            flat(root / f"imagenetv2-matched-frequency-format-val/{folder}/{i}.jpeg", answer)
    for place, kinds in (("imagenet-c", (*BENCHMARK, *EXTRA)), ("imagenet-c-bar", BAR)):
        for kind in kinds:
            for severity in range(1, 6):
                for i in range(6):
                    answer = 9 if i < wrong_at(kind, severity) else 2
                    flat(root / f"{place}/{kind}/{severity}/{WNIDS[2]}/{i}.png", answer, side=8)
    for name, own in (("a", IN_A), ("r", IN_R)):
        inside, others = own[3], [k for k in range(1000) if k not in own and (k + 1) in own]
        # right, right among the set's own logits alone (the second choice), wrong
        for i, (label, answer) in enumerate([(inside, inside), (others[0] + 1, others[0]), (inside, own[9])]):
            flat(root / f"imagenet-{name}/{WNIDS[label]}/{i}.png", answer)
    for i, answer in enumerate([5, 5, 5, 6]):
        flat(root / f"imagenet-sketch/sketch/{WNIDS[5]}/{i}.JPEG", answer)
    for category, other in zip(CATEGORIES, reversed(CATEGORIES), strict=True):
        for i, answer in enumerate([MEMBERS[category][0], MEMBERS[category][-1], MEMBERS[other][0]]):
            flat(root / f"sixteen/{category}/{i}.png", answer)
    return root


ON = ["imagenet", "v2/matched-frequency", "c", "c-bar", "a", "r", "sketch"]


def opened(root, on=ON):
    return open_sets([*on, f"stylized-16={root / 'sixteen'}"], root, relaxed=True)


def test_every_number_of_the_preset(tree, monkeypatch):
    monkeypatch.setattr("freqkit.measures.evaluation.rows.REAL_BATCH", 5)
    monkeypatch.setattr("freqkit.measures.evaluation.rows.ATTACK_BATCH", 5)
    how = {"preset": "cvpr2024", "attacks": [Attack("pgd")], "image_size": 8, "form": "eager"}
    result = evaluate([("oracle", oracle())], opened(tree), **how)
    assert result.failures == []

    def value(metric, name, condition="all"):
        return result.value(metric, set=name, condition=condition)

    assert value("top-1", "imagenet") == 9 / 12
    # ReaL: 9 images have labels, 5 answers are among them; the published number is that of the last 12 % 5 images
    assert value("ReaL top-1", "imagenet") == pytest.approx(5 / 9)
    assert value("ReaL top-1 as published", "imagenet") == pytest.approx(1 / 2)
    assert value("top-1", "imagenet", PGD) == 9 / 12
    assert value("top-1 as published", "imagenet", PGD) == pytest.approx(1 - 3 / 15)
    assert value("top-1", "imagenet-v2", "matched-frequency") == pytest.approx(4 / 6)
    errors = {(k, s): wrong_at(k, s) / 6 for k in (*BENCHMARK, *EXTRA) for s in range(1, 6)}
    for (kind, severity), error in errors.items():
        assert value("top-1", "imagenet-c", f"{kind}/{severity}") == pytest.approx(1 - error)
    whole, standard = (
        1 - math.fsum(errors[k, s] for k in kinds for s in range(1, 6)) / (5 * len(kinds))
        for kinds in ((*BENCHMARK, *EXTRA), BENCHMARK)
    )
    assert value("mean top-1", "imagenet-c", "mean of 95 conditions") == pytest.approx(whole)
    assert value("mean top-1", "imagenet-c", "mean of 75 conditions") == pytest.approx(standard)
    assert whole != pytest.approx(standard, abs=1e-3)
    mce = sum(sum(errors[k, s] for s in range(1, 6)) / 5 / alexnet for k, alexnet in alexnet_errors().items()) / 15
    assert value("mCE", "imagenet-c", "mean of 95 conditions") == pytest.approx(100 * mce)
    bar = 1 - math.fsum(wrong_at(k, s) / 6 for k in BAR for s in range(1, 6)) / 50
    assert value("mean top-1", "imagenet-c-bar", "mean of 50 conditions") == pytest.approx(bar)
    for name in ("imagenet-a", "imagenet-r"):
        assert value("top-1", name) == pytest.approx(1 / 3)
        assert value("top-1", name, "all, 200 logits") == pytest.approx(2 / 3)
    assert value("top-1", "imagenet-sketch") == 3 / 4
    assert value("top-1", "stylized-16", "all, 16 categories") == pytest.approx(2 / 3)
    told = result.rates("TPR", model="oracle", set="stylized-16", condition="all, 16 categories")
    assert list(told) == list(CATEGORIES) and set(told.values()) == {2 / 3}
    about = {row["metric"]: row["definition"] for row in result.rows if row["set"] == "imagenet" and not row["class"]}
    assert "the last 2 images alone" in about["ReaL top-1 as published"]
    assert "those of full batches" in about["top-1 as published"]

    columns = {name for name, _ in columns_of(result.rows)}  # of the study's table
    assert columns >= {
        "imagenet", "imagenet-v2", "imagenet-a", "imagenet-r", "imagenet-sketch", "imagenet-real", "imagenet-c",
        "imagenet-cbar", "PGD-40/low", "fog_3", "spatter_5", "sparkles_1",
    }  # fmt: skip
    [section] = as_published(result)
    shown = {cells[1].text: [cell.text for cell in cells[2:]] for cells in section.blocks[0].rows}
    assert shown["ReaL top-1 on imagenet"] == ["50.0% (9.5%–90.5%)", "55.6% (26.7%–81.1%)"]
    assert shown["mean top-1 on imagenet-c, 95 conditions as published"] == ["57.9%", "57.3%"]

    plain = evaluate([("oracle", oracle())], opened(tree, ["imagenet"]), image_size=8)
    assert not [row for row in plain.rows if "as published" in row["metric"] or row["metric"] == "mean top-1"]


def test_images_are_224_and_cropped_but_for_corrupted_ones(tree):
    from freqkit.measures.evaluation.protocol import Evaluating, Settings

    sets = opened(tree, ["imagenet", "c/fog/1", "a"])
    settings = Settings(sets, None, Evaluating(preset="cvpr2024"))
    how = [settings.preprocessing(each, oracle()) for each in sets]
    assert [(each.image_size, each.resize, each.side) for each in how] == [
        (224, "center-crop", 256), (224, "squash", None), (224, "center-crop", 256), (224, "squash", None),
    ]  # fmt: skip
    assert Settings(sets, None, Evaluating(preset="cvpr2024", resize="squash")).identity["asked"] == ["resize"]


def linear(logits=2, side=3, seed=0):
    weights = torch.randn(logits, 3 * side * side, generator=torch.Generator().manual_seed(seed))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * side * side, logits, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(weights)
    return network, weights.double()


@pytest.mark.parametrize(
    "text", ["pgd-cvpr2024:eps=20:step=80", "pgd-cvpr2024:eps=20:step=80:restarts=2", "pgd:eps=20"]
)
def test_a_linear_model_flips_where_the_margin_says_so(text):
    """The worst change of x'w is eps |w|_1, and pixels far from 0 and 1 are not clipped."""
    network, weights = linear()
    images = torch.rand(101, 3, 3, 3, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25
    logits = images.double().flatten(1) @ weights.T
    said = logits.argmax(1)
    margin, reach = (logits[:, 0] - logits[:, 1]).abs(), 20 / 255 * (weights[0] - weights[1]).abs().sum()
    assert 20 < (margin < reach).sum() < 81 and (margin - reach).abs().min() > 1e-5
    found = attack(
        network, images, said, Attack.parse(text), mean=(0,) * 3, std=(1,) * 3, answers=said,
        keys=[str(i) for i in range(101)], batch_size=32,
    )  # fmt: skip
    assert torch.equal(found.answers != said, margin < reach)
    if "cvpr2024" in text:
        assert found.backwards == 101 * 40 or "restarts" in text  # none stops early
        flipped = (margin < reach).nonzero().flatten()
        assert torch.allclose((found.images - images)[flipped].abs(), torch.tensor(20 / 255), atol=1e-6)  # a corner


def test_the_last_iterate_counts_and_not_the_worst():
    """Steps of four times eps jump over a slab in the middle of the ball, in which the answer is another one."""

    class Slab(torch.nn.Module):
        def forward(self, x):
            mean = (x - 0.5).mean((1, 2, 3)) * 255
            return torch.stack([mean, (0.2 - (mean - 0.1).abs()) * 9], 1)  # wins near the image alone

    images = torch.full((6, 3, 4, 4), 0.5 + 0.45 / 255)
    said = Slab()(images).argmax(1)
    assert (said == 0).all()
    how = {"mean": (0,) * 3, "std": (1,) * 3, "answers": said, "keys": "abcdef"}
    last, worst = (
        attack(Slab(), images, said, Attack.parse(f"pgd-cvpr2024{more}"), **how) for more in ("", ":judged=worst")
    )
    assert (worst.answers == 1).all()
    assert last.answers.tolist() == [Slab()(x[None]).argmax().item() for x in last.images]


def test_what_the_preset_asks_of_attacks():
    for text in ("pgd", "pgd:eps=0.5", "pgd-cvpr2024"):
        assert Attack.parse(text).under("cvpr2024").title == PGD
    assert (
        Attack.parse("pgd:step=0.1:judged=worst").under("cvpr2024").title
        == "pgd linf 0.5/255, 40 steps of 0.1, restarts 1"
    )
    assert Attack.parse("fgsm").under("cvpr2024").eps == Attack.parse("autoattack").under("cvpr2024").eps == 0.5
    both = parse_on("pgd,pgd:step=0.03:judged=worst", "cvpr2024")[1]  # the right one beside it
    assert [each.under("cvpr2024").judged for each in both] == ["last", "worst"]
    assert Attack("pgd").title == "pgd linf 4/255, 20 steps, restarts 1" and "judged" not in Attack("pgd").options
    with pytest.raises(UsageError, match="judged must be one of worst, last; got 'first'"):
        Attack.parse("pgd:judged=first")
    with pytest.raises(UsageError, match="judged is of pgd"):
        Attack.parse("fgsm:judged=last")


def test_killed_and_resumed_to_the_same_bytes(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("freqkit.measures.evaluation.passes.BLOCK", 5)
    how = {"preset": "cvpr2024", "attacks": [Attack("pgd", steps=2)], "image_size": 8, "form": "eager"}
    sets = opened(tree, ["imagenet", "c/fog", "a"])

    class Killer(Silent):
        left = 9

        def advance(self, amount, **facts):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    evaluate([("o", oracle())], sets, out=whole, **how)
    with pytest.raises(KeyboardInterrupt):
        evaluate([("o", oracle())], sets, out=cut, progress=Killer(), **how)
    again = evaluate([("o", oracle())], sets, out=cut, resume=True, **how)
    assert again.record["forwards_resumed"] > 0
    assert (cut / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()


def test_sentences(tree, tmp_path):
    sets = opened(tree, [])
    small = Classifier(Oracle(7), mean=(0.0,) * 3, std=(1.0,) * 3, num_classes=7, name="seven")
    with pytest.raises(
        UsageError, match="its 16 categories are groups of the 1,000 classes of ImageNet; the model has 7"
    ):
        evaluate([("seven", small)], sets, image_size=8, classes=list("abcdefg"))
    with pytest.raises(UsageError, match="an attack needs images of the model's own classes"):
        only = evaluate([("o", oracle())], sets, image_size=8, attacks=[Attack("pgd")])
        raise UsageError(only.failures[0]["error"])
    shutil.copytree(tree / "imagenet", tmp_path / "imagenet")
    for text, words in (
        ("{", "real.json must be a list with a list of class numbers for every image"),
        ("[[1], 2]", "real.json must be a list with a list of class numbers for every image"),
        ("[[1000]]", "real.json must hold class numbers 0...999"),
    ):
        (tmp_path / "imagenet" / "real.json").write_text(text)
        with pytest.raises(UsageError, match=words) as caught:
            open_sets(["imagenet"], tmp_path, relaxed=True)
        assert "\n" not in str(caught.value)
    (tmp_path / "imagenet" / "real.json").write_text(json.dumps([[]] * 12))
    none = evaluate([("o", oracle())], open_sets(["imagenet"], tmp_path, relaxed=True), image_size=8, preset="cvpr2024")
    assert none.value("ReaL top-1", set="imagenet") is None is none.value("ReaL top-1 as published", set="imagenet")


def test_a_part_alone_is_not_asked_for_the_others(tree):
    """A strict tree may hold one part of ImageNet-v2, or one corruption, if no other is wanted."""
    with pytest.raises(UsageError, match="v2: matched-frequency: 997 of 1000 classes are missing"):
        open_sets(["v2/matched-frequency"], tree)
    with pytest.raises(UsageError, match="c: fog/3: 999 of 1000 classes are missing: n01440764"):
        open_sets(["c/fog/3"], tree)
    assert [each.condition for each in open_sets(["c/fog", "c/snow/2"], tree, relaxed=True)] == [
        *(f"fog/{s}" for s in range(1, 6)), "snow/2",
    ]  # fmt: skip
