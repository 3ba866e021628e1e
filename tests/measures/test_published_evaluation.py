"""The published evaluation once more, in plain loops that share no code with it, and what a preset leaves alone."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from freqkit.data import class_list, open_sets
from freqkit.data.test_sets.corrupted import BENCHMARK, EXTRA
from freqkit.errors import UsageError
from freqkit.masks import DfmFile
from freqkit.measures import Attack, curves, evaluate
from freqkit.measures.evaluation import parse_on
from freqkit.models import Classifier
from tests.measures.oracle import SIDE, no_mean, oracle, put

WNIDS = class_list("imagenet")
MEAN, STD = (0.4, 0.45, 0.5), (0.2, 0.25, 0.3)
CENTRE = slice((256 - SIDE) // 2, (256 - SIDE) // 2 + SIDE)


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


# Ten classes, in an order of logits that is no alphabet's: seven are in ImageNet-R, five in ImageNet-A, one in neither.
WIDE = [WNIDS[i] for i in (13, 1, 8, 6, 17, 0, 2, 15, 4, 11)]
IN = {name: [one for one in WIDE if one in class_list(f"imagenet-{name}")] for name in "ra"}
V2 = {"matched-frequency": 450, "threshold-0.7": 350, "top-images": 250}  # noise of their images
# Top-1 errors of AlexNet on ImageNet-C, as Hendrycks and Dietterich (2019) published them.
ALEXNET = {
    "gaussian_noise": 0.886428, "shot_noise": 0.894468, "impulse_noise": 0.922640, "defocus_blur": 0.819880,
    "glass_blur": 0.826268, "motion_blur": 0.785948, "zoom_blur": 0.798360, "snow": 0.866816, "frost": 0.826572,
    "fog": 0.819324, "brightness": 0.564592, "contrast": 0.853204, "elastic_transform": 0.646056,
    "pixelate": 0.717840, "jpeg_compression": 0.606500,
}  # fmt: skip
ALL_C = [(name, severity) for name in (*ALEXNET, "spatter") for severity in range(1, 6)]


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """(folder of all sets, {(set, condition): {class: folder}}, weights, biases, maps).

    Where the published scripts crop, pictures have 256 x 256 pixels, so that the crop needs no resampling: a pattern of
    SIDE x SIDE pixels stands in the centre pixel by pixel, and enlarged around it. The network is one layer.
    """
    root, rng = tmp_path_factory.mktemp("wide"), np.random.default_rng(11)
    base = {name: rng.integers(0, 256, (SIDE, SIDE, 3)) for name in WIDE}
    places = {}

    def folder(where, key, names, count, noise, *, large=False, numbered=False):
        places[key] = {name: root / where / (str(WNIDS.index(name)) if numbered else name) for name in names}
        for name, place in places[key].items():
            place.mkdir(parents=True)
            for i in range(count):
                changed = (base[name] + rng.normal(0, noise, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
                picture = changed
                if large:
                    picture = changed.repeat(256 // SIDE, 0).repeat(256 // SIDE, 1)
                    picture[CENTRE, CENTRE] = changed
                Image.fromarray(picture).save(place / f"{i}.png")

    folder("imagenet/val", ("imagenet", "all"), WIDE, 10, 420, large=True)
    folder("imagenet-r", ("imagenet-r", "all"), IN["r"], 4, 500, large=True)
    folder("imagenet-a", ("imagenet-a", "all"), IN["a"], 4, 900, large=True)
    folder("sketch", ("imagenet-sketch", "all"), WIDE, 3, 450)
    for condition, noise in V2.items():
        where = f"imagenet-v2/imagenetv2-{condition}-format-val"
        folder(where, ("imagenet-v2", condition), WIDE, 3, noise, numbered=True)
    for k, (name, severity) in enumerate(ALL_C):
        folder(f"imagenet-c/{name}/{severity}", ("imagenet-c", f"{name}/{severity}"), WIDE, 1, 60 * severity + k)
    weights = np.stack([(v := base[name].transpose(2, 0, 1).ravel() / 255 - 0.5) / v.std() for name in WIDE]) / 30
    weights = (weights + 0.01 * rng.normal(size=weights.shape)).astype(np.float32)
    biases = rng.normal(0, 0.2, len(WIDE)).astype(np.float32)
    masks = (rng.random((len(WIDE), SIDE, SIDE)) < 0.35).astype(np.float32)
    # Without DC it matters whether filtering or normalising comes first.
    masks[:, SIDE // 2, SIDE // 2] = [0, 1, 0, 0, 1, 0, 1, 0, 0, 1]
    return root, places, weights, biases, masks


def network_of(weights, biases):
    layer = torch.nn.Linear(3 * SIDE * SIDE, len(WIDE))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        layer.bias.copy_(torch.from_numpy(biases))
    network = torch.nn.Sequential(torch.nn.Flatten(), layer)
    return Classifier(network, mean=MEAN, std=STD, num_classes=len(WIDE), input_size=(SIDE, SIDE))


class Whole:
    """All rows of an evaluation, written down from the specification: {(set, condition, class, metric): numbers}."""

    def __init__(self, places, weights, biases, masks, published):
        self.places, self.published = places, published
        self.weights, self.biases, self.masks = (v.astype(np.float64) for v in (weights, biases, masks))
        self.rows = {}
        self.columns = {}  # (set, condition, scoring) -> {class: [TPR, filtered TPR]}
        self.reference = {}  # class -> (recognised through its map, images), in distribution
        self.reference_r = {}  # the same of pixels that are filtered before they are normalised

    def logits(self, planes):
        return self.weights @ planes.ravel() + self.biases

    def filtered(self, pixels, k, pixels_first):
        return normal(keep(pixels, self.masks[k])) if pixels_first else keep(normal(pixels), self.masks[k])

    def images(self, key, pixels_first=False):
        """(label, pixels [3, H, W], normalised filtered planes) of a set."""
        squashed = not self.published or key[0] in ("imagenet-c", "imagenet-v2", "imagenet-sketch")
        for name, place in self.places[key].items():
            k = WIDE.index(name)
            for file in place.iterdir():
                pixels = read(file, not squashed)
                yield k, pixels, self.filtered(pixels, k, pixels_first)

    def put(self, key, label, metric, hits, n):
        if not n:
            return
        p, z = hits / n, 1.959963984540054
        middle, half = (p + z * z / (2 * n)), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
        scale = 1 + z * z / n
        self.rows[(*key, label, metric)] = p, max(0, (middle - half) / scale), min(1, (middle + half) / scale), n

    def count(self, key, said, *, scoring="all", attacked=False, top=None):
        """The rows of one way of scoring; `said`: (label, answer, answer through the label's map) of each image."""
        where = (key[0], key[1] if scoring == "all" else f"{key[1]}, {scoring}")
        labels = sorted({k for k, *_ in said})
        for which, prefix in ((1, ""), (2, "filtered ")):
            rates = []
            for c in labels:
                own = [one[which] for one in said if one[0] == c]
                self.put(where, WIDE[c], f"{prefix}TPR", own.count(c), len(own))
                rates.append(own.count(c) / len(own))
                self.columns.setdefault((*key, scoring), {}).setdefault(WIDE[c], []).append(rates[-1])
                if which == 1 and not attacked:
                    others = [one[1] for one in said if one[0] != c]
                    self.put(where, WIDE[c], "FPR", others.count(c), len(others))
                if which == 2:
                    known = [one[2] for one in said if one[0] == one[1] == c]
                    self.put(where, WIDE[c], "filtered TPR of recognised", known.count(c), len(known))
            self.put(where, "", f"{prefix}top-1", sum(one[which] == one[0] for one in said), len(said))
            self.rows[(*where, "", f"{prefix}mean TPR")] = sum(rates) / len(rates), None, None, len(rates)
        whole = [one for one in said if one[0] == one[1]]
        self.put(where, "", "filtered TPR of recognised", sum(one[2] == one[0] for one in whole), len(whole))
        if top is not None:
            self.put(where, "", "top-5", sum(top), len(top))

    def of_set(self, key, parts=()):
        """Rows among all logits, and among those of a part of the classes: (its name, its classes)."""
        seen = [
            (k, self.logits(normal(pixels)), self.logits(planes))
            for k, pixels, planes in self.images(key, self.published and key[0] == "imagenet-r")
        ]
        for scoring, names in (("all", WIDE), *parts):
            among = [WIDE.index(name) for name in names]
            inside = [one for one in seen if one[0] in among]

            def largest(z, among=among):
                return max(among, key=lambda j: z[j])

            top = None
            if len(among) > 5:
                top = [k in sorted(among, key=lambda j: -z[j])[:5] for k, z, _ in inside]
            self.count(key, [(k, largest(z), largest(f)) for k, z, f in inside], scoring=scoring, top=top)
        return seen

    def in_distribution(self):
        key = ("imagenet", "all")
        parts = [(f"{len(IN[one])} logits of imagenet-{one}", IN[one]) for one in "ra"]
        seen = self.of_set(key, parts)
        for c, name in enumerate(WIDE):
            own = [int(np.argmax(f)) for k, _, f in seen if k == c]
            self.reference[name] = own.count(c), len(own)
        if self.published:
            return
        images = list(self.images(key))  # FPR through the maps: every image through every other class's map
        logits = {
            c: [self.logits(self.filtered(pixels, c, False)) for _, pixels, _ in images] for c in range(len(WIDE))
        }
        for scoring, names in (("all", WIDE), *parts):
            among, taken, asked = [WIDE.index(name) for name in names], 0, 0
            where = (key[0], key[1] if scoring == "all" else f"{key[1]}, {scoring}")
            for c in among:
                others = [z for (k, *_), z in zip(images, logits[c], strict=True) if k != c and k in among]
                wrong = sum(max(among, key=lambda j: z[j]) == c for z in others)
                self.put(where, WIDE[c], "filtered FPR", wrong, len(others))
                taken, asked = taken + wrong, asked + len(others)
            self.put(where, "", "filtered FPR", taken, asked)

    def in_distribution_as_r(self):
        """The in-distribution column of the published script of ImageNet-R, of that set's classes."""
        key, said = ("imagenet", "all, filtered before normalised"), []
        for k, pixels, planes in self.images(("imagenet", "all"), True):
            if WIDE[k] in IN["r"]:
                said.append((k, int(np.argmax(self.logits(normal(pixels)))), int(np.argmax(self.logits(planes)))))
        self.count(key, said)
        for c, name in enumerate(WIDE):
            own = [f for k, _, f in said if k == c]
            if own:
                self.reference_r[name] = own.count(c), len(own)
        # Clean rates stand in the usual column.
        for where in [where for where in self.rows if where[:2] == key]:
            if not where[3].startswith("filtered") or where[3].endswith("recognised"):
                del self.rows[where]

    def attack(self, title, eps, loss, widen):
        """FGSM in pixels, of the image and of the filtered image, on what was right; the rest counts as wrong."""
        scale = np.array(STD)[:, None, None]

        def after(k, planes):
            z = self.logits(planes)
            if int(np.argmax(z)) != k:
                return -1
            share = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            towards = -self.weights[k] if loss == "logit" else (share - np.eye(len(z))[k]) @ self.weights
            pixels = raw(planes)
            low, high = (np.minimum(pixels, 0), np.maximum(pixels, 1)) if widen else (0, 1)
            moved = pixels + eps * np.sign(towards.reshape(planes.shape) / scale)
            return int(np.argmax(self.logits(normal(np.clip(moved, low, high)))))

        key = ("imagenet", title)
        images = self.images(("imagenet", "all"))
        self.count(
            key, [(k, after(k, normal(pixels)), after(k, planes)) for k, pixels, planes in images], attacked=True
        )

    def corruptions(self):
        error = {}
        for name, severity in ALL_C:
            seen = self.of_set(("imagenet-c", f"{name}/{severity}"))
            error[name, severity] = sum(int(np.argmax(z)) != k for k, z, _ in seen) / len(seen)
        taken = [key for key in ALL_C if not self.published or key[0] in ALEXNET]
        where = f"mean of {len(taken)} conditions"
        each = {name: sum(error[name, s] for s in range(1, 6)) / (5 * ALEXNET[name]) for name in ALEXNET}
        for name, value in each.items():
            self.rows["imagenet-c", name, "", "CE"] = 100 * value, None, None, 5
        self.rows["imagenet-c", where, "", "mCE"] = 100 * sum(each.values()) / 15, None, None, 15
        self.rows["imagenet-c", where, "", "mean error"] = (
            sum(error[key] for key in taken) / len(taken), None, None, len(taken),
        )  # fmt: skip

    def groups(self):
        """AvgTPR of every set, of subsets and corruptions as the mean of each class's rates over them."""
        gathered = {}
        for (name, condition, scoring), column in self.columns.items():
            several = name in ("imagenet-v2", "imagenet-c")
            if name == "imagenet-c" and self.published and condition.split("/")[0] not in ALEXNET:
                continue
            gathered.setdefault((name, "mean" if several else condition, scoring), []).append(column)
        for (name, condition, scoring), columns in gathered.items():
            where = f"mean of {len(columns)} conditions" if condition == "mean" else condition
            where += "" if scoring == "all" else f", {scoring}"
            as_r = self.published and (name == "imagenet-r" or condition.endswith("before normalised"))
            reference = self.reference_r if as_r else self.reference
            rates = {one: [sum(c[one][i] for c in columns) / len(columns) for i in (0, 1)] for one in columns[0]}
            for k in range(1, 10):
                high = [one for one in rates if 10 * reference[one][0] > k * reference[one][1]]
                for group, members in (("shortcut", high), ("other", [one for one in rates if one not in high])):
                    for i, prefix in enumerate(("", "filtered ")):
                        own = [rates[one][i] for one in members]
                        value = sum(own) / len(own) if own else 0.0 if self.published else None
                        metric = f"{prefix}AvgTPR {group}@{k / 10:g}"
                        self.rows[name, where, "", metric] = value, None, None, len(own)


@pytest.mark.parametrize("preset", ["default", "cvpr2025"])
def test_every_row_of_every_set(wide, preset):
    root, places, weights, biases, masks = wide
    published = preset == "cvpr2025"
    model = network_of(weights, biases)
    sets = open_sets(["imagenet", "v2", "c", "r", "a", "sketch"], root, relaxed=True)
    maps = DfmFile(torch.from_numpy(masks), WIDE)
    result = evaluate([("m", model)], sets, maps, preset=preset, classes=WIDE, form="eager", attacks=[Attack()])
    assert result.failures == []

    twin = Whole(places, weights, biases, masks, published)
    twin.in_distribution()
    if published:
        twin.in_distribution_as_r()
        twin.attack("fgsm linf 8/255, loss logit, clipped", 8 / 255, "logit", False)
    else:
        twin.attack("fgsm linf 4/255", 4 / 255, "ce", True)
    twin.corruptions()
    for condition in V2:
        twin.of_set(("imagenet-v2", condition))
    twin.of_set(("imagenet-sketch", "all"))
    for one in "ra":
        twin.of_set((f"imagenet-{one}", "all"), [(f"{len(IN[one])} logits", IN[one])])
    twin.groups()

    found = {
        (row["set"], row["condition"], row["class"], row["metric"]): [
            row[key] for key in ("value", "ci_low", "ci_high", "n")
        ]
        for row in result.rows
        # Beside the in-distribution set the maps through which images of other classes go are drawn.
        if row["metric"] != "filtered FPR" or row["set"] == "imagenet"
    }
    assert sorted(found.keys() - twin.rows.keys()) == [] and sorted(twin.rows.keys() - found.keys()) == []
    wrong = {key: (found[key], numbers) for key, numbers in twin.rows.items() if not same(found[key], numbers)}
    assert wrong == {}
    # What is compared is neither all right nor all wrong, and tells the ways of scoring apart.
    for key in (("imagenet", "all"), ("imagenet-r", "all"), ("imagenet-a", "all"), ("imagenet-sketch", "all")):
        top_1, top_5 = (found[(*key, "", f"top-{k}")][0] for k in (1, 5))
        assert 0.1 < top_1 < top_5 < 1, key
    assert found["imagenet-r", "all", "", "top-1"] != found["imagenet-r", "all, 7 logits", "", "top-1"]
    assert found["imagenet-r", "all, 7 logits", "", "top-5"] != found["imagenet-r", "all", "", "top-5"]
    # The two references of ImageNet-R's classes differ here, and which one is taken is said.
    if published:
        assert any(twin.reference[name] != twin.reference_r[name] for name in IN["r"])
    grouped = [note for note in result.record["notes"] if "the classes of ImageNet-R are grouped" in note]
    assert len(grouped) == published and all("filtered before they are normalised" in note for note in grouped)
    assert len({found["imagenet-v2", condition, "", "top-1"][0] for condition in V2}) == 3


def same(found, expected):
    return all(
        (a is None and b is None) or a == pytest.approx(b, abs=1e-9) for a, b in zip(found, expected, strict=True)
    )


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


def test_resize_and_cross_that_are_asked_run_under_the_preset(wide):
    root, places, weights, biases, masks = wide
    model, maps = network_of(weights, biases), DfmFile(torch.from_numpy(masks), WIDE)
    sets = open_sets(["imagenet"], root, relaxed=True)
    how = {"preset": "cvpr2025", "classes": WIDE, "form": "eager"}
    columns = []
    for published in (False, True):  # squashed, cropped
        twin = Whole(places, weights, biases, masks, published)
        twin.of_set(("imagenet", "all"))
        columns.append({one: both[0] for one, both in twin.columns["imagenet", "all", "all"].items()})
    assert columns[0] != columns[1]
    found = evaluate([("m", model)], sets, maps, resize="squash", cross=0.5, **how)
    assert found.rates("TPR", model="m", set="imagenet", condition="all") == pytest.approx(columns[0])
    crossed = [row for row in found.rows if row["metric"] == "filtered FPR" and not row["class"]]
    assert [row["n"] for row in crossed] == [50]
    assert found.record["identity"]["asked"] == ["cross", "resize"]
    assert "asked" not in evaluate([("m", model)], sets, maps, **how).record["identity"]


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
