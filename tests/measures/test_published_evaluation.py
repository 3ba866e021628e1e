"""The published evaluation once more, in plain loops that share no code with it, and what a preset leaves alone."""

import json

import numpy as np
import pytest
import torch
from oracle import SIDE, no_mean, oracle, put
from PIL import Image

from freqkit.data import class_list, open_sets
from freqkit.data.test_sets.corrupted import BENCHMARK, EXTRA
from freqkit.errors import UsageError
from freqkit.masks import DfmFile
from freqkit.measures import Attack, curves, evaluate
from freqkit.measures.evaluation import parse_on
from freqkit.models import Classifier

WNIDS = class_list("imagenet")
OWN = [WNIDS[i] for i in (0, 1, 2, 3, 4, 6)]  # of these n01443537, n01484850, n01494475, n01498041 are in ImageNet-R
IN_R = [name for name in OWN if name in class_list("imagenet-r")]
MEAN, STD = (0.4, 0.45, 0.5), (0.2, 0.25, 0.3)
CONDITIONS = [(name, s) for name in (*BENCHMARK[:2], EXTRA[0]) for s in (1, 2)]
CENTRE = slice((256 - SIDE) // 2, (256 - SIDE) // 2 + SIDE)
THRESHOLDS = [round(0.1 * k, 1) for k in range(1, 10)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pictures of 256 x 256 pixels, so that the published centre crop needs no resampling: tiles of a pattern of SIDE x
    SIDE pixels, which stands in the centre pixel by pixel; a network of one layer; random maps."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(3)
    base = {name: rng.integers(0, 256, (SIDE, SIDE, 3)) for name in OWN}

    def folder(place, names, count, noise):
        for name in names:
            (root / place / name).mkdir(parents=True)
            for i in range(count):
                changed = (base[name] + rng.normal(0, noise, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
                picture = changed.repeat(256 // SIDE, 0).repeat(256 // SIDE, 1)
                picture[CENTRE, CENTRE] = changed
                Image.fromarray(picture).save(root / place / name / f"{i}.png")

    folder("imagenet/val", OWN, 10, 200)
    folder("imagenet-r", IN_R, 7, 200)
    for name, severity in CONDITIONS:
        folder(f"imagenet-c/{name}/{severity}", OWN, 3, 120 * severity)
    torch.manual_seed(5)
    layer = torch.nn.Linear(3 * SIDE * SIDE, len(OWN)).double()
    with torch.no_grad():  # each class's logit is the likeness to its picture
        for k, name in enumerate(OWN):
            pixels = torch.from_numpy(base[name].transpose(2, 0, 1) / 255)
            way = (pixels - 0.5) / pixels.std()
            layer.weight[k] = way.flatten() / 30 + 0.01 * torch.randn(3 * SIDE * SIDE) + 0.004 * (k % 3 - 1)
    masks = torch.from_numpy(rng.random((len(OWN), SIDE, SIDE)) < 0.3).float()
    masks[:, SIDE // 2, SIDE // 2] = torch.tensor([0.0, 0, 0, 1, 0, 0])  # without DC the two orders differ
    return root, torch.nn.Sequential(torch.nn.Flatten(), layer.float()), masks


def read(file, crop):
    image = Image.open(file).convert("RGB")
    pixels = np.asarray(image)[CENTRE, CENTRE] if crop else np.asarray(image.resize((SIDE, SIDE), Image.BILINEAR))
    return pixels.transpose(2, 0, 1) / 255.0


def keep(planes, mask):
    found = np.empty_like(planes)
    for c in range(3):
        found[c] = np.fft.ifft2(np.fft.ifftshift(np.fft.fftshift(np.fft.fft2(planes[c])) * mask)).real
    return found


def normal(planes):
    return np.stack([(planes[c] - MEAN[c]) / STD[c] for c in range(3)])


def raw(planes):
    return np.stack([planes[c] * STD[c] + MEAN[c] for c in range(3)])


class Published:
    """Logits and columns, image by image."""

    def __init__(self, network, masks):
        self.weight = network[1].weight.detach().double().numpy()
        self.bias = network[1].bias.detach().double().numpy()
        self.masks = masks.numpy().astype(float)

    def logits(self, planes):
        return self.weight @ planes.reshape(-1) + self.bias

    def says(self, planes, among=None):
        z = self.logits(planes)
        places = range(len(z)) if among is None else among
        return max(places, key=lambda k: z[k])

    def seen(self, pixels, k, first):
        """An image through map k: filtered and then normalised, or the other way round."""
        return normal(keep(pixels, self.masks[k])) if first else keep(normal(pixels), self.masks[k])

    def attacked(self, planes, k, eps):
        """FGSM on minus the raw logit, in pixels, clipped; `planes` are normalised."""
        if self.says(planes) != k:
            return None
        gradient = -self.weight[k].reshape(planes.shape)
        pixels = raw(planes) + eps * np.sign(np.stack([gradient[c] / STD[c] for c in range(3)]))
        return self.says(normal(pixels.clip(0, 1)))

    def column(self, folder, names, crop, first=False, among=None, eps=None):
        """(dict class -> clean TPR, dict class -> filtered TPR) of a folder."""
        clean, filtered = {}, {}
        for name in names:
            k, hits, through, files = OWN.index(name), 0, 0, sorted((folder / name).iterdir())
            for file in files:
                pixels = read(file, crop)
                two = normal(pixels), self.seen(pixels, k, first)
                if eps is None:
                    said = [self.says(planes, among) for planes in two]
                else:
                    said = [self.attacked(planes, k, eps) for planes in two]
                hits, through = hits + (said[0] == k), through + (said[1] == k)
            clean[name], filtered[name] = (hits, len(files)), (through, len(files))
        return clean, filtered


def share(column):
    return {name: hits / n for name, (hits, n) in column.items()}


def groups(reference, values, names, empty):
    """AvgTPR of both groups at all thresholds: t = k / 10, strictly above by whole numbers."""
    found = {}
    for k, t in enumerate(THRESHOLDS, 1):
        inside = [name for name in names if 10 * reference[name][0] > k * reference[name][1]]
        for group, members in (("shortcut", inside), ("other", [name for name in names if name not in inside])):
            own = [values[name] for name in members]
            found[f"AvgTPR {group}@{t:g}"] = sum(own) / len(own) if own else empty
    return found


@pytest.mark.parametrize("preset", ["default", "cvpr2025"])
def test_every_column_as_published(world, preset):
    root, network, masks = world
    model = Classifier(network, mean=MEAN, std=STD, num_classes=len(OWN), input_size=(SIDE, SIDE))
    sets = open_sets(["imagenet", "c", "r"], root, relaxed=True)
    result = evaluate([("m", model)], sets, DfmFile(masks, OWN), preset=preset, classes=OWN, form="eager",
                      attacks=[Attack()], resize=None)  # fmt: skip
    assert result.failures == []
    published, plain = preset == "cvpr2025", Published(network, masks)
    empty = 0.0 if published else None
    crop = published  # the default squashes everything, as no search is on record
    base = plain.column(root / "imagenet/val", OWN, crop)
    as_r = plain.column(root / "imagenet/val", IN_R, crop, first=True)
    r_logits = sorted(OWN.index(name) for name in IN_R)
    r = {among: plain.column(root / "imagenet-r", IN_R, crop, published, places)
         for among, places in (("all", None), ("all, 4 logits", r_logits))}  # fmt: skip
    corrupted = {key: plain.column(root / f"imagenet-c/{key[0]}/{key[1]}", OWN, False) for key in CONDITIONS}

    def check(where, condition, columns):
        for metric, column in zip(("TPR", "filtered TPR"), columns, strict=True):
            assert result.rates(metric, model="m", set=where, condition=condition) == share(column), (where, condition)

    def check_groups(where, condition, reference, columns, names):
        for prefix, column in zip(("", "filtered "), columns, strict=True):
            for metric, value in groups(reference, column, names, empty).items():
                found = result.value(prefix + metric, set=where, condition=condition)
                assert found == pytest.approx(value, abs=1e-12), (where, condition, prefix + metric)

    check("imagenet", "all", base)
    check_groups("imagenet", "all", base[1], [share(one) for one in base], OWN)
    for key, columns in corrupted.items():
        check("imagenet-c", f"{key[0]}/{key[1]}", columns)
    taken = [key for key in CONDITIONS if not published or key[0] in BENCHMARK]
    assert len(taken) == (4 if published else 6)
    means = [{name: sum(share(corrupted[key][k])[name] for key in taken) / len(taken) for name in OWN} for k in (0, 1)]
    check_groups("imagenet-c", f"mean of {len(taken)} conditions", base[1], means, OWN)
    wrong = [1 - sum(h for h, _ in corrupted[key][0].values()) / 18 for key in taken]
    assert result.value("mean error", set="imagenet-c") == pytest.approx(sum(wrong) / len(wrong))
    assert as_r[1] != {name: base[1][name] for name in IN_R}  # the two orders give other rates here
    for condition, columns in r.items():
        check("imagenet-r", condition, columns)
        by = as_r[1] if published else base[1]
        check_groups("imagenet-r", condition, by, [share(one) for one in columns], IN_R)
    where = {"model": "m", "set": "imagenet", "condition": "all, filtered before normalised"}
    if published:
        assert result.rates("filtered TPR", **where) == share(as_r[1])
        check_groups("imagenet", where["condition"], as_r[1], [share(one) for one in as_r], IN_R)
        attacked = plain.column(root / "imagenet/val", OWN, crop, eps=8 / 255)
        check("imagenet", "fgsm linf 8/255, loss logit, clipped", attacked)
        check_groups("imagenet", "fgsm linf 8/255, loss logit, clipped", base[1], [share(c) for c in attacked], OWN)
    else:
        assert result.rates("filtered TPR", **where) == {}
    # Which classes of ImageNet-R are compared is said, and so is an eps that was meant in pixels of [0, 1].
    grouped = [note for note in result.record["notes"] if "the classes of ImageNet-R are grouped" in note]
    assert len(grouped) == published and all("filtered before they are normalised" in note for note in grouped)
    # By either reference some class is in another group, or the test would show nothing.
    assert groups(as_r[1], share(r["all"][0]), IN_R, 0) != groups(base[1], share(r["all"][0]), IN_R, 0)


def test_means_take_the_benchmark_alone_on_the_command_line_too():
    from freqkit.measures.evaluation import averaged

    assert [name for name in (*BENCHMARK, *EXTRA) if averaged(f"{name}/3", True)] == list(BENCHMARK)
    assert all(averaged(name, False) for name in (*BENCHMARK, *EXTRA))


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        ("fgsm", "fgsm linf 8/255, loss logit, clipped"),
        ("fgsm-cvpr2025", "fgsm linf 8/255, loss logit, clipped"),
        ("fgsm:eps=4", "fgsm linf 4/255, loss logit, clipped"),
        ("fgsm:eps=8", "fgsm linf 8/255, loss logit, clipped"),
        ("fgsm:loss=ce", "fgsm linf 8/255, clipped"),
        ("fgsm:eps=4:loss=ce:clamp=widen", "fgsm linf 4/255"),
        ("fgsm-l2", "fgsm l2 0.5"),
        ("pgd", "pgd linf 4/255, 20 steps, restarts 1"),
        ("pgd:eps=4:steps=20:step=0.5:restarts=0", "pgd linf 4/255, 20 steps of 0.5, restarts 0"),
        ("pgd:loss=ce:clamp=widen", "pgd linf 4/255, 20 steps, restarts 1"),
    ],
)
def test_a_preset_leaves_alone_what_is_asked(asked, runs):
    [attack] = parse_on(asked)[1]
    assert attack.under("cvpr2025").title == runs
    assert attack.under("cvpr2025").under("cvpr2025") == attack.under("cvpr2025")
    assert attack.under("default") is attack


def test_attacks_are_told_apart_under_the_preset(tmp_path):
    assert Attack() == Attack(eps=4.0, loss="ce")  # the same attack, of which more or less was asked
    assert (Attack().asked, Attack(eps=4.0).asked) == ((), ("eps",))
    assert len(parse_on("fgsm,fgsm:eps=4", "cvpr2025")[1]) == 2
    with pytest.raises(UsageError, match="everything once"):
        parse_on("fgsm,fgsm:eps=8", "cvpr2025")
    with pytest.raises(UsageError, match="within linf"):
        Attack.parse("fgsm-cvpr2025:norm=l2")
    put(tmp_path / "val/a/0.png", 0)
    put(tmp_path / "val/b/0.png", 1)
    sets = open_sets([f"val={tmp_path / 'val'}"])
    how = {"preset": "cvpr2025", "form": "eager"}
    with pytest.raises(UsageError, match="every attack must be given once"):
        evaluate([("o", oracle(2))], sets, attacks=[Attack(), Attack(eps=8)], **how)
    found = evaluate([("o", oracle(2))], sets, attacks=[Attack(eps=4), Attack()], out=tmp_path / "run", **how)
    assert found.record["attacks"] == {
        "fgsm linf 4/255, loss logit, clipped": "fgsm", "fgsm linf 8/255, loss logit, clipped": "fgsm-cvpr2025",
    }  # fmt: skip
    assert any("runs as fgsm-cvpr2025" in note for note in json.loads((tmp_path / "run/run.json").read_text())["notes"])


def test_resize_and_cross_that_are_asked_run_under_the_preset(world):
    root, network, masks = world
    model = Classifier(network, mean=MEAN, std=STD, num_classes=len(OWN), input_size=(SIDE, SIDE))
    sets, plain = open_sets(["imagenet"], root, relaxed=True), Published(network, masks)
    how = {"preset": "cvpr2025", "classes": OWN, "form": "eager"}
    squashed = plain.column(root / "imagenet/val", OWN, False)
    assert squashed != plain.column(root / "imagenet/val", OWN, True)
    found = evaluate([("m", model)], sets, DfmFile(masks, OWN), resize="squash", cross=0.5, **how)
    assert found.rates("TPR", model="m", set="imagenet", condition="all") == share(squashed[0])
    crossed = [row for row in found.rows if row["metric"] == "filtered FPR" and not row["class"]]
    assert [row["n"] for row in crossed] == [30]
    assert found.record["identity"]["asked"] == ["cross", "resize"]
    assert "asked" not in evaluate([("m", model)], sets, DfmFile(masks, OWN), **how).record["identity"]


def test_a_class_exactly_at_a_threshold_is_not_above_it():
    """At every threshold for every number of images at which a rate can be equal to it, however t was computed."""
    for n in range(1, 301):
        for k in range(1, 10):
            if k * n % 10:
                continue
            at = k * n // 10
            counts = torch.tensor([[at, at + 1, at - 1], [n, n, n]])
            for t in (
                k / 10,
                0.1 * k,
                1 - (10 - k) / 10,
                float(np.float32(k / 10)),
                float(np.arange(0.1, 1, 0.1)[k - 1]),
            ):
                tpr = torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64)
                found = curves(counts, tpr, thresholds=(t,))
                assert found.shortcut_size.tolist() == [1], (n, k, t)
                assert found.shortcut.tolist() == [0.2]
                assert curves(counts[0].double() / n, tpr, thresholds=(t,)).shortcut_size.tolist() == [1]
                assert curves(counts[0].float() / n, tpr, thresholds=(t,)).shortcut_size.tolist() == [1]
    # What averaging 75 copies of a rate does, as the published notebook: 0.3 of 10 images passes t = 0.3.
    copies = sum([3 / 10] * 75) / 75
    assert copies > 0.3
    with pytest.raises(UsageError, match="images recognised <= images"):
        curves((torch.tensor([3]), torch.tensor([2])), torch.tensor([0.5]))
    with pytest.raises(UsageError, match="two int tensors"):
        curves(torch.ones(2, 3), torch.ones(3))


def test_the_group_at_a_threshold_is_told_by_counts(tmp_path):
    a, b = WNIDS[1], WNIDS[2]
    for i in range(10):
        put(tmp_path / f"imagenet/val/{a}/{i}.png", 1, 1 if i < 3 else 9)
        put(tmp_path / f"imagenet/val/{b}/{i}.png", 2, 2 if i < 4 else 9)
    sets = open_sets(["imagenet"], tmp_path, relaxed=True)
    maps = DfmFile(no_mean().repeat(2, 1, 1), [a, b])
    result = evaluate([("o", oracle())], sets, maps, thresholds=(0.1 * 3, 1 - 0.6))
    sizes = {row["metric"]: row["n"] for row in result.rows if row["metric"].startswith("AvgTPR")}
    assert sizes == {"AvgTPR shortcut@0.3": 1, "AvgTPR other@0.3": 1, "AvgTPR shortcut@0.4": 0, "AvgTPR other@0.4": 2}
