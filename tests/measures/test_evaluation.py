"""Trees whose every image says what the model will answer: all numbers are known in advance."""

import csv
import json
import os
import signal
import warnings

import pytest
import torch

from freqkit.data import class_list, load_images, open_sets
from freqkit.engine import Silent
from freqkit.engine.journal import Journal
from freqkit.errors import Interrupted, UsageError
from freqkit.masks import DfmFile, dfm_of_run, save_dfm
from freqkit.measures import Attack, SelectedOnTestSet, evaluate
from freqkit.measures.evaluation import parse_on
from freqkit.models import Classifier
from tests.measures.oracle import SIDE, Oracle, no_mean, oracle, put

WNIDS = class_list("imagenet")
ROBUST = class_list("imagenet-r")
A, B, C = WNIDS[1], WNIDS[2], WNIDS[4]  # all three are in ImageNet-R


def maps(names):
    return DfmFile(no_mean().repeat(len(names), 1, 1), list(names))


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, sentence):
        self.notes.append(sentence)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """imagenet (3 classes x 4), c (fog, 5 severities), r, v2, sct; `a` of filtered answers right in A, none in B, C."""
    root = tmp_path_factory.mktemp("data")
    for label, wnid, right in ((1, A, 4), (2, B, 1), (4, C, 0)):
        for i in range(4):
            # clean: all right; through the map: `right` of 4 right, else called 1
            put(root / f"imagenet/val/{wnid}/ILSVRC2012_val_{label:04d}{i:04d}.JPEG", label, label if i < right else 1)
        for severity in range(1, 6):
            for i in range(5):  # severity s: s of 5 wrong, called 900
                name = root / f"imagenet-c/weather/fog/{severity}/{wnid}/{i}.JPEG"
                put(name, 900 if i < severity else label, label)
        put(root / f"imagenet-r/{wnid}/art_0.jpg", label)
        put(root / f"imagenet-r/{wnid}/art_1.jpg", label - 1)  # second choice is the label
    return root


def test_every_number_of_a_small_world(tree):
    sets = open_sets(["imagenet", "c", "r"], tree, relaxed=True)
    model = oracle()
    result = evaluate([("oracle", model)], sets, maps([A, B, C]), image_size=SIDE, form="eager", cross=0.5)
    assert result.failures == []
    say = {"model": "oracle", "condition": "all", "set": "imagenet"}
    assert result.value("top-1", **say) == 1
    assert result.value("filtered top-1", **say) == 5 / 12
    assert result.value("filtered mean TPR", **say) == pytest.approx((1 + 0.25 + 0) / 3)
    assert result.rates("filtered TPR", **say) == {A: 1, B: 0.25, C: 0}
    assert result.rates("FPR", **say) == {A: 0, B: 0, C: 0}
    [row] = [r for r in result.rows if r["class"] == B and r["metric"] == "filtered TPR" and r["set"] == "imagenet"
             and r["condition"] == "all"]  # fmt: skip
    assert (row["n"], round(row["ci_low"], 4), round(row["ci_high"], 4)) == (4, 0.0456, 0.6994)  # Wilson, by hand
    # Half of the images were asked through another class's map: the answer there is what the picture says.
    crossed = [
        r for r in result.rows if r["metric"] == "filtered FPR" and r["condition"] == "all" and r["set"] == "imagenet"
    ]
    assert sum(r["n"] for r in crossed if r["class"]) == 6 == next(r["n"] for r in crossed if not r["class"])
    for severity in range(1, 6):
        found = {"set": "imagenet-c", "condition": f"fog/{severity}"}
        assert result.value("top-1", **found) == pytest.approx(1 - severity / 5)
        assert result.value("filtered top-1", **found) == 1
    mean = {"set": "imagenet-c", "condition": "mean of 5 conditions"}
    assert result.value("mean error", **mean) == pytest.approx(0.6)
    assert result.value("CE", set="imagenet-c", condition="fog") == pytest.approx(60 / 0.819324)
    assert not [row for row in result.rows if row["metric"] == "mCE"]  # one corruption is not fifteen
    # Groups: by the in-distribution rates everywhere, strictly above t.
    assert result.value("AvgTPR shortcut@0.2", **mean) == pytest.approx(0.4)
    sizes = {r["metric"]: r["n"] for r in result.rows if "AvgTPR" in r["metric"] and r["set"] == "imagenet-c"}
    assert (sizes["AvgTPR shortcut@0.2"], sizes["AvgTPR shortcut@0.3"], sizes["AvgTPR other@0.3"]) == (2, 1, 2)
    assert result.value("filtered AvgTPR shortcut@0.2", **say) == pytest.approx((1 + 0.25) / 2)
    # ImageNet-R among all logits, and among its own 200: there the second choice wins where the first is outside.
    outside = [label - 1 for label in (1, 2, 4) if WNIDS[label - 1] not in ROBUST]
    assert outside == [0, 3]
    assert result.value("top-1", set="imagenet-r", condition="all") == 0.5
    assert result.value("top-1", set="imagenet-r", condition="all, 200 logits") == pytest.approx((3 + 2) / 6)
    assert result.value("top-1", set="imagenet", condition="all, 200 logits of imagenet-r") == 1


def test_it_costs_two_forwards_and_one_decode(tree, tmp_path):
    sets = open_sets(["imagenet", "c"], tree, relaxed=True)
    images = sum(map(len, sets))
    network = Oracle(1000)
    model = Classifier(network, mean=(0.0,) * 3, std=(1.0,) * 3, num_classes=1000, input_size=(SIDE, SIDE))
    asked = []
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, args, out: asked.append(len(args[0])) if isinstance(module, Oracle) else None
    )
    try:
        result = evaluate(
            [("oracle", model)], sets, maps([A, B, C]), image_size=SIDE, form="eager", generated=[("contrast", 1)]
        )
    finally:
        handle.remove()
    conditions = images + len(sets[0])  # the generated corruption asks about imagenet's images once more, undecoded
    assert sum(asked) == result.record["forwards"] <= 2.2 * conditions
    assert result.record["decoded"] == images


def test_attacks_come_from_the_pictures_answers(tree):
    sets = open_sets(["imagenet"], tree, relaxed=True)
    attacks = [
        Attack(eps=0),
        Attack("pgd", eps=0, steps=3),
        Attack(eps=0, refilter=True),
        Attack(eps=0, loss="logit", clamp="clip"),
    ]
    result = evaluate([("oracle", oracle())], sets, maps([A, B, C]), image_size=SIDE, attacks=attacks)
    assert result.failures == []
    for attack in attacks:
        for metric in ("top-1", "filtered top-1"):
            clean = result.value(metric, set="imagenet", condition="all")
            assert result.value(metric, set="imagenet", condition=attack.title) == clean


def test_a_signal_stops_an_attack_between_two_steps(tree, tmp_path, monkeypatch):
    sets, net, after = open_sets(["imagenet"], tree, relaxed=True), oracle(), []
    how = {"image_size": SIDE, "attacks": [Attack("pgd", eps=0.1, steps=20, judged="last")], "form": "eager"}
    evaluate([("o", net)], sets, maps([A, B, C]), out=tmp_path / "whole", **how)
    plain = type(net.network).forward

    def forward(network, x):
        if x.requires_grad:
            after.append(len(x))
            if len(after) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
        return plain(network, x)

    monkeypatch.setattr(type(net.network), "forward", forward)
    with pytest.raises(Interrupted):
        evaluate([("o", net)], sets, maps([A, B, C]), out=tmp_path / "cut", **how)
    assert len(after) == 3
    monkeypatch.undo()
    evaluate([("o", net)], sets, maps([A, B, C]), out=tmp_path / "cut", resume=True, **how)
    assert (tmp_path / "cut" / "results.csv").read_bytes() == (tmp_path / "whole" / "results.csv").read_bytes()


def test_killed_runs_resume_to_the_same_bytes(tree, tmp_path, monkeypatch):
    monkeypatch.setattr("freqkit.measures.evaluation.passes.BLOCK", 5)
    sets = open_sets(["imagenet", "c/fog/3"], tree, relaxed=True)
    how = {
        "image_size": SIDE, "attacks": [Attack("pgd", eps=1, steps=2)], "generated": [("gaussian_noise", 2)],
        "form": "eager",
    }  # fmt: skip
    whole = tmp_path / "whole"
    evaluate([("o", oracle())], sets, maps([A, B, C]), out=whole, **how)
    cut = tmp_path / "cut"

    class Stop(Exception):
        pass

    class Killer(Silent):
        left = 7

        def advance(self, amount, **facts):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate([("o", oracle())], sets, maps([A, B, C]), out=cut, progress=Killer(), **how)
    assert json.loads((cut / "run.json").read_text())["status"] == "interrupted"
    result = evaluate([("o", oracle())], sets, maps([A, B, C]), out=cut, resume=True, **how)
    assert result.record["forwards_resumed"] > 0
    assert (cut / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    with pytest.raises(UsageError, match="differs in cross"):
        evaluate([("o", oracle())], sets, maps([A, B, C]), out=cut, resume=True, cross=0.1, **how)
    other = oracle()
    other.network.wave += 1e-3
    with pytest.raises(UsageError, match="other weights"):
        evaluate([("o", other)], sets, maps([A, B, C]), out=cut, resume=True, **how)
    rows = list(csv.DictReader(open(whole / "results.csv")))
    assert list(rows[0]) == [
        "model",
        "set",
        "condition",
        "class",
        "metric",
        "value",
        "ci_low",
        "ci_high",
        "n",
        "definition",
    ]


def test_a_fault_ends_what_it_touches_and_nothing_else(tree, tmp_path):
    for i in range(2):
        put(tmp_path / f"bad/{A}/{i}.png", 1)
    (tmp_path / f"bad/{A}/1.png").write_bytes(b"no image")
    put(tmp_path / f"nan/{A}/0.png", 777)
    sets = open_sets([f"bad={tmp_path / 'bad'}", f"nan={tmp_path / 'nan'}", "imagenet"], tree, relaxed=True)

    def broken():
        raise UsageError("load_model: no such weights.")

    models = [("gone", broken), ("wide", oracle(wrong_width=7)), ("o", oracle(nan_at=777))]
    progress = Notes()
    result = evaluate(models, sets, maps([A, B, C]), image_size=SIDE, progress=progress)
    said = {(f["model"], f["set"]): f["error"] for f in result.failures}
    assert said["gone", ""] == "load_model: no such weights."
    assert "1.png cannot be decoded (not an image)" in said["o", "bad"]
    assert said["o", "nan"] == f"the model gave a NaN or infinite logit for image {A}/0.png."
    assert said["wide", "imagenet"] == "evaluate: the model must give 1000 logits as it says; it gave 7."
    assert len(progress.notes) == len(result.failures) == 6
    assert result.value("top-1", set="imagenet", condition="all", model="o") == 1
    skipped = evaluate([("o", oracle(nan_at=777))], sets, maps([A]), image_size=SIDE, on_bad_image="skip")
    [row] = [r for r in skipped.rows if r["set"] == "bad" and r["metric"] == "top-1"]
    assert (row["value"], row["n"]) == (1, 1)
    with pytest.raises(UsageError, match="nothing could be evaluated: gone : load_model"):
        evaluate([("gone", broken)], sets, image_size=SIDE)


def test_published_protocol(tree):
    """The published preset: no FPR, an empty group counts 0, the crop by set, FGSM of 8/255 on the raw logit."""
    sets = open_sets(["imagenet", "c/fog/1", "r"], tree, relaxed=True)
    result = evaluate([("o", oracle())], sets, maps([A, B, C]), image_size=SIDE, preset="cvpr2025", attacks=[Attack()])
    assert not [row for row in result.rows if row["metric"] == "filtered FPR"]
    assert next(row["condition"] for row in result.rows if row["condition"].startswith("fgsm")) == (
        "fgsm linf 8/255, loss logit, clipped"
    )
    strict = evaluate([("o", oracle())], sets, maps([B]), image_size=SIDE)
    published = evaluate([("o", oracle())], sets, maps([B]), image_size=SIDE, preset="cvpr2025")
    where = {"set": "imagenet", "condition": "all"}
    assert strict.value("AvgTPR shortcut@0.9", **where) is None
    assert published.value("AvgTPR shortcut@0.9", **where) == 0
    from freqkit.measures.evaluation.protocol import Evaluating, Settings

    settings = Settings(sets, maps([A]), Evaluating(preset="cvpr2025", image_size=SIDE))
    assert [settings.preprocessing(each, oracle()).resize for each in sets] == ["center-crop", "squash", "center-crop"]


def test_filtering_before_normalising_is_the_published_way_on_imagenet_r(tree):
    """With the mean removed the two orders differ by -mean/std; the oracle with a mean sees it."""
    model = oracle()
    model = Classifier(Oracle(1000), mean=(0.2, 0.2, 0.2), std=(1.0,) * 3, num_classes=1000, input_size=(SIDE, SIDE))
    sets = open_sets(["imagenet", "r"], tree, relaxed=True)
    seen = []
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, args, out: seen.append(args[0].mean((1, 2, 3))) if isinstance(module, Oracle) else None
    )
    try:
        for preset in ("default", "cvpr2025"):
            evaluate([("o", model)], sets[1:], maps([A, B, C]), image_size=SIDE, preset=preset, cross=0, form="eager")
    finally:
        handle.remove()
    (_, default), (_, published) = seen[:2], seen[2:]
    assert default.abs().max() < 1e-5
    assert torch.allclose(published, torch.full_like(published, -0.2), atol=1e-5)


def test_answers_do_not_depend_on_batches(tree):
    """The last, ragged batch weighs no more than its images."""
    sets = open_sets(["imagenet", "c"], tree, relaxed=True)
    tables = [
        evaluate([("o", oracle())], sets, maps([A, B, C]), image_size=SIDE, batch_size=size).rows for size in (1, 5, 64)
    ]
    assert tables[0] == tables[1] == tables[2]


def test_small_sets_share_batches(tree, tmp_path):
    """75 settings of 50 images each are asked in full batches; each has the numbers it has alone; faults stay apart."""
    sets = open_sets(["c"], tree, relaxed=True)
    how = {"image_size": SIDE, "form": "eager", "batch_size": 16, "cross": 0.5}
    asked = []
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda module, args, out: asked.append(len(args[0])) if isinstance(module, Oracle) else None
    )
    try:
        together = evaluate([("o", oracle())], sets, maps([A, B, C]), out=tmp_path / "whole", **how)
    finally:
        handle.remove()
    images = 5 * 15
    # clean, filtered, and half of them through another's map; asked alone each set would take a batch for each
    assert sorted(asked)[-2 * (images // 16) :] == [16] * (2 * (images // 16))
    assert len(asked) == 3 * -(-images // 16)
    assert together.record["forwards"] == sum(asked) == 2 * images + 5 * 7
    alone = [row for one in sets for row in evaluate([("o", oracle())], [one], maps([A, B, C]), **how).rows]
    per_set = [row for row in together.rows if "AvgTPR" not in row["metric"] and "mean of" not in row["condition"]
               and row["metric"] != "CE"]  # fmt: skip
    assert per_set == [row for row in alone if "AvgTPR" not in row["metric"] and "mean of" not in row["condition"]]
    # A logit that is no number ends its own set; an image that cannot be read, too.
    put(tmp_path / f"imagenet-c/fog/1/{A}/0.png", 1)
    put(tmp_path / f"imagenet-c/fog/2/{A}/0.png", 777)
    put(tmp_path / f"imagenet-c/fog/3/{A}/0.png", 1)
    (tmp_path / f"imagenet-c/fog/3/{A}/1.png").write_bytes(b"no image")
    mixed = open_sets(["c"], tmp_path, relaxed=True)
    result = evaluate([("o", oracle(nan_at=777))], mixed, image_size=SIDE, form="eager", progress=Notes())
    assert [(f["condition"], f["error"][:24]) for f in result.failures] == [
        ("fog/3", "imagenet-c fog/3: n01443"), ("fog/2", "the model gave a NaN or "),
    ]  # fmt: skip
    assert result.value("top-1", condition="fog/1") == 1
    (tmp_path / f"imagenet-c/fog/3/{A}/0.png").write_bytes(b"no image either")
    nothing = evaluate([("o", oracle(nan_at=777))], mixed, image_size=SIDE, on_bad_image="skip", progress=Notes())
    assert not [row for row in nothing.rows if row["condition"] == "fog/3"]
    # What is killed between two sets of a shared block comes to the same bytes.
    cut = tmp_path / "cut"
    put_before = Journal.put

    def put_three(self, key, **arrays):
        if len(self) == 4:  # the weights and three sets
            raise KeyboardInterrupt
        put_before(self, key, **arrays)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "put", put_three)
        with pytest.raises(KeyboardInterrupt):
            evaluate([("o", oracle())], sets, maps([A, B, C]), out=cut, **how)
    evaluate([("o", oracle())], sets, maps([A, B, C]), out=cut, resume=True, **how)
    assert (cut / "results.csv").read_bytes() == (tmp_path / "whole" / "results.csv").read_bytes()


def test_maps_tested_on_the_images_of_their_selection(tmp_path):
    """Said once for each set, and put on record, also when only a part was selected on; by pixels, not by names."""
    for k, name in enumerate((A, B)):
        for i in range(6):
            put(tmp_path / f"val/{name}/{i}.png", k + 1, 10 * k + i)
            put(tmp_path / f"other/{name}/{i}.png", k + 1, 10 * k + i + 1)
    images = load_images(tmp_path / "val", image_size=SIDE)
    few = load_images(tmp_path / "val", image_size=SIDE, limit_per_class=4, seed=3)
    half, rest = few.split(0.5, seed=1)
    sets = open_sets([f"val={tmp_path / 'val'}", f"other={tmp_path / 'other'}"])

    def run(chosen, models=("o",), **how):
        record = {"identity": {"data": {"fingerprint": chosen.fingerprint}}, "data": chosen.record}
        dfm = dfm_of_run(no_mean().repeat(2, 1, 1), [A, B], record)
        save_dfm(tmp_path / "dfm.safetensors", dfm)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = evaluate(
                [(name, oracle()) for name in models],
                sets,
                tmp_path / "dfm.safetensors",
                attacks=[Attack(eps=0)],
                **how,
            )
        return found, [str(one.message) for one in caught if one.category is SelectedOnTestSet]

    for chosen, count in ((images, 12), (few, 8), (half, 4), (rest, 4)):
        found, said = run(chosen, models=("o", "twin"))
        assert found.record["selected_on"] == {"val": count, "other": 0}
        assert len(said) == 1 and f"selected on {count} of the 12 images of 'val'" in said[0]
        told = {(r["set"], r["condition"]) for r in found.rows if "the maps were selected on" in r["definition"]}
        assert told == {("val", "all"), ("val", "fgsm linf 0/255"), ("other", "all")}  # other: its groups are val's
        direct = [r for r in found.rows if "were selected on" in r["definition"] and "AvgTPR" not in r["metric"]]
        assert {r["set"] for r in direct} == {"val"} and all(r["metric"].startswith("filtered") for r in direct)
    found, said = run(load_images(tmp_path / "other", image_size=SIDE, limit_per_class=1), out=tmp_path / "run")
    assert found.record["selected_on"] == {"val": 0, "other": 2}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["selected_on"] == {"val": 0, "other": 2}
    again, said = run(
        load_images(tmp_path / "other", image_size=SIDE, limit_per_class=1), out=tmp_path / "run", resume=True
    )
    assert len(said) == 1 and again.record["forwards"] == 0  # told from the journal
    unknown = evaluate([("o", oracle())], sets, maps([A, B]))
    assert unknown.record["selected_on"] == {}


def test_images_are_read_as_the_search_read_them(tmp_path):
    from freqkit.measures.evaluation.protocol import Evaluating, Settings

    for i in range(2):
        put(tmp_path / f"val/{A}/{i}.png", 1)
    sets = open_sets([f"val={tmp_path / 'val'}"])

    def settings(dfm, resize=None, preset="default"):
        return Settings(sets, dfm, Evaluating(preset=preset, resize=resize))

    told, silent = maps([A]), maps([A])
    told.images = {"resize": "center-crop", "image_size": [SIDE, SIDE]}
    assert settings(told).preprocessing(sets[0], oracle()).resize == "center-crop"
    assert settings(told).notes == settings(silent).notes == settings(told, preset="cvpr2025").notes == []
    assert settings(silent, preset="cvpr2025").resize == "squash"
    assert (settings(silent).resize, settings(silent, "center-crop").notes) == ("own", [])
    [note] = settings(told, "squash").notes
    assert "searched on images read with resize=center-crop" in note
    progress = Notes()
    found = evaluate([("o", oracle())], sets, told, resize="squash", progress=progress)
    assert progress.notes == found.record["notes"] == [note]


def test_real_labels(tmp_path):
    for number, said in ((1, 1), (2, 2), (3, 5), (4, 1)):
        put(tmp_path / f"val/{A}/ILSVRC2012_val_{number:08d}.JPEG", said)
    (tmp_path / "real.json").write_text(json.dumps([[1, 7], [1, 7], [5], []]))
    sets = open_sets(["imagenet"], tmp_path, relaxed=True)
    result = evaluate([("o", oracle())], sets, image_size=SIDE)
    assert result.value("top-1", set="imagenet") == 0.5
    assert result.value("ReaL top-1", set="imagenet") == pytest.approx(2 / 3)


def test_what_is_on():
    sets, attacks, generated = parse_on("imagenet,v2, fgsm:eps=2 ,pgd-l2,generated/contrast")
    assert (sets, [a.title for a in attacks]) == (
        ["imagenet", "v2"], ["fgsm linf 2/255", "pgd l2 0.5, 20 steps, restarts 1"],
    )  # fmt: skip
    assert generated == [("contrast", s) for s in range(1, 6)]
    with pytest.raises(UsageError, match="everything once"):
        parse_on("fgsm,fgsm:eps=4")


def test_subsets_of_classes(tree, tmp_path):
    """A model of two of the classes is asked about their images alone, and its logits are its own."""
    sets = open_sets(["imagenet"], tree, relaxed=True)
    with pytest.raises(UsageError, match="which class each of the model's 2 logits is"):
        evaluate([("two", oracle(2))], sets, image_size=SIDE)
    result = evaluate([("two", oracle(2))], sets, image_size=SIDE, classes=[B, A])
    [row] = [r for r in result.rows if r["metric"] == "top-1"]
    # picture 1 -> logit 1 = A (right), picture 2 -> logit 2 % 2 = 0 = B (right)
    assert (row["value"], row["n"]) == (1, 8)
    with pytest.raises(UsageError, match="none of its classes"):
        evaluate([("two", oracle(2))], sets, image_size=SIDE, classes=["x", "y"])
