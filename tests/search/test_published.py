"""Whole published searches against `published_code`: the same images, every column of every file."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from freqkit import masks as mask_room
from freqkit.data import ImageSet
from freqkit.engine import Interrupted, score
from freqkit.errors import UsageError
from freqkit.masks import load_dfm
from freqkit.measures import rates
from freqkit.models import Classifier
from freqkit.search import hfss, removal, removal_cells, removal_masks
from tests.search import published_code

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def image_set(counts, side, seed=0, mixed=False):
    """Noise with a wave of its own in each class, sorted by class unless `mixed`."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    wave = np.cos(2 * np.pi * np.arange(1, len(counts) + 1)[:, None] * np.arange(side) / side)
    pixels = 128 + 50 * wave[labels][:, None, None, :] + generator.normal(0, 40, (len(labels), 3, side, side))
    order = generator.permutation(len(labels)) if mixed else np.arange(len(labels))
    images = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)[order])
    labels = torch.from_numpy(labels[order])
    paths = [f"c{label}/{i}" for i, label in enumerate(labels.tolist())]
    return ImageSet(images, labels, [f"c{c}" for c in range(len(counts))], paths)


def networks(classes, side, seed=0):
    """The same network twice: for freqkit and for `published_code`."""
    torch.manual_seed(seed)
    layers = torch.nn.Linear(3 * side * side, 24), torch.nn.ReLU(), torch.nn.Linear(24, classes)
    network = torch.nn.Sequential(torch.nn.Flatten(), *layers).double()
    with torch.no_grad():
        layers[2].weight *= 6
    weights = [value.detach().numpy() for value in network.parameters()]
    return Classifier(network, mean=MEAN, std=STD, num_classes=classes), published_code.Network(MEAN, STD, *weights)


HOW = {"dtype": "float64", "batch_size": 500, "form": "eager"}


# ---- HFSS ----------------------------------------------------------------------------------------------------


def published_search(images, published, **how):
    return published_code.hfss(published, images.images.numpy(), images.labels.numpy(), **how)


def equal_stages(result, expected, images, searched):
    """Masks, losses, every place of the top, counts, of every stage."""
    labels = images.labels.numpy()
    assert len(result.stages) == len(expected)
    for stage, want in zip(result.stages, expected, strict=True):
        raw = mask_room.unpack(mask_room.refine(stage.candidates, (1, 1))).numpy()
        assert np.array_equal(
            mask_room.effective(stage.candidates), [published_code.effective(m) for m in want["masks"]]
        )
        assert raw.shape == (len(want["masks"]), *images.images.shape[-2:])
        assert np.allclose(stage.scores.loss, np.array(want["losses"])[:, searched], rtol=1e-9, atol=1e-9)
        assert stage.ranks.tolist() == [want["ranks"][c] for c in searched]
        answers = want["logits"].argmax(-1)
        for place, c in enumerate(searched):
            assert np.array_equal(stage.scores.correct[:, place], (answers[:, labels == c] == c).sum(1))
            assert np.array_equal(stage.scores.predicted[:, place], (answers == c).sum(1))
        assert stage.born.tolist() == [stage.number] * len(want["masks"])


def whole_columns(published, images, c, answers):
    """What is recognised of class c before anything is filtered, and how much of that still is by `answers` [n]."""
    labels = images.labels.numpy()
    whole = published.logits(published.normalised(images.images.numpy())).argmax(1)
    right = (whole == c) & (labels == c)
    return {
        "clean TPR": right.sum() / (labels == c).sum(),
        "clean FPR": ((whole == c) & (labels != c)).sum() / (labels != c).sum(),
        "recognised whole": right.sum(),
        "still recognised": (answers[right] == c).mean() if right.any() else None,
    }


def expected_row(images, expected, c, published):
    last = expected[-1]
    best = last["ranks"][c][0]
    plane = published_code.effective(last["masks"][best])
    tpr, fpr = published_code.rates(last["logits"][best], images.labels.numpy(), c)
    half = len(plane) // 2
    return {
        "class": images.classes[c], "loss": last["losses"][best][c], "TPR": tpr, "FPR": fpr, "TPR-FPR": tpr - fpr,
        "coverage": (plane > 0).mean(), "full": (plane == 1).mean(), "power": (plane**2).mean(),
        "DC": plane[half, half], "stage": len(expected), "images": int((images.labels == c).sum()),
        **whole_columns(published, images, c, last["logits"][best].argmax(1)),
    }  # fmt: skip


def equal_rows(rows, expected):
    assert [row["class"] for row in rows] == [row["class"] for row in expected]
    for row, want in zip(rows, expected, strict=True):
        assert list(row) == list(want)
        for name in set(want) - {"class"}:
            nothing = want[name] is None
            assert row[name] in (None, "") if nothing else float(row[name]) == pytest.approx(want[name], rel=1e-9), name


def test_the_published_order_and_all_places_of_the_top_on_220_images(tmp_path):
    """440 images of 10 classes of 30 to 58, half of them drawn; batches of 50 and a rest of 20."""
    from sklearn.model_selection import StratifiedShuffleSplit

    pool = image_set([30, 58, 40, 48, 44, 36, 52, 44, 50, 38], 32)
    model, published = networks(10, 32)
    split = StratifiedShuffleSplit(n_splits=1, random_state=42, test_size=0.5)
    _, order = next(split.split(np.zeros(len(pool)), pool.labels.numpy()))
    images = pool.subset(order)
    assert len(images) == 220
    numbers = [21, 21, 21, 36]
    expected = published_search(images, published, numbers=numbers, keep=0.6, seed=42, top=10, batch=50)
    how = {"preset": "cvpr2025", "candidates": numbers, "keep": 0.6, "published_batch_size": 50, **HOW}
    result = hfss(model, pool, published_order=0.5, out=tmp_path / "run", **how)
    assert len(result.stages[3].scores) == 12  # a third where cells are single bins
    equal_stages(result, expected, images, range(10))
    rows = [expected_row(images, expected, c, published) for c in range(10)]
    equal_rows(result.table(), rows)
    with open(tmp_path / "run" / "classes.csv") as file:
        equal_rows(list(csv.DictReader(file)), rows)
    for number, want in enumerate(expected, 1):
        file = load_file(tmp_path / "run" / f"stage-{number}.safetensors")
        assert np.allclose(file["loss"], want["losses"], rtol=1e-9) and file["ranks"].tolist() == want["ranks"]
    dfm = load_dfm(tmp_path / "run" / "dfm.safetensors").masks
    best = [published_code.effective(expected[-1]["masks"][row[0]]) for row in expected[-1]["ranks"]]
    assert np.array_equal(dfm, best)
    # In the order of the folder batches hold other images, and other masks come first.
    ours = hfss(model, images.subset(images.labels.argsort(stable=True)), stages=1, **{**how, "candidates": 21})
    assert ours.stages[0].ranks.tolist() != expected[0]["ranks"]


def test_certain_stopping_finds_the_published_maps():
    images = image_set([9, 7, 8], 16, mixed=True)
    model, published = networks(3, 16)
    expected = published_search(images, published, numbers=[18, 18, 18], keep=0.8, seed=42, top=3, batch=7)
    how = {"preset": "cvpr2025", "candidates": 18, "keep": 0.8, "seed": 42, "top": 3, "published_batch_size": 7}
    result = hfss(model, images, stopping="certain", **how, **HOW)
    assert [stage.ranks.tolist() for stage in result.stages] == [want["ranks"] for want in expected]
    equal_rows(result.table(), [expected_row(images, expected, c, published) for c in range(3)])


@pytest.mark.parametrize("stopping", ["never", "certain"])
def test_a_class_without_images_still_has_parents(stopping):
    """Its loss is ln K for every batch and every mask, so that the first masks are its best, and may be drawn."""
    images = image_set([6, 0, 5, 7], 16, mixed=True)
    model, published = networks(4, 16)
    expected = published_search(images, published, numbers=[30, 30, 30], keep=0.6, seed=7, top=4, batch=5)
    assert expected[0]["ranks"][1] == [0, 1, 2, 3]
    assert expected[0]["losses"][0][1] == pytest.approx(4 * math.log(4))
    how = {"preset": "cvpr2025", "candidates": 30, "keep": 0.6, "seed": 7, "top": 4, "published_batch_size": 5}
    result = hfss(model, images, stopping=stopping, **how, **HOW)
    if stopping == "never":
        equal_stages(result, expected, images, [0, 2, 3])
    equal_rows(result.table(), [expected_row(images, expected, c, published) for c in (0, 2, 3)])


def test_a_stopped_run_in_published_order_goes_on(tmp_path):
    pool = image_set([12, 12, 12], 16)
    model, _ = networks(3, 16)
    how = {
        "preset": "cvpr2025", "candidates": 9, "top": 2, "published_batch_size": 4, "published_order": 0.3,
        "dtype": "float64", "batch_size": 8,
    }  # fmt: skip
    whole = hfss(model, pool, **how)

    class Stop:
        tiles = 0

        def start(self, title, total, unit="forwards"):
            pass

        def advance(self, amount, **facts):
            self.tiles += 1
            if self.tiles == 5:
                raise Interrupted(2)

        def finish(self):
            pass

        def note(self, sentence):
            pass

    with pytest.raises(Interrupted):
        hfss(model, pool, **how, out=tmp_path / "run", progress=Stop())
    with pytest.raises(UsageError, match="differs in data"):
        hfss(model, pool, **{**how, "published_order": 0.5}, out=tmp_path / "run", resume=True)
    resumed = hfss(model, pool, **how, out=tmp_path / "run", resume=True)
    assert resumed.record["forwards_resumed"] > 0
    assert [torch.equal(a.scores.loss, b.scores.loss) for a, b in zip(whole.stages, resumed.stages, strict=True)]
    assert torch.equal(whole.masks, resumed.masks)


def test_what_differs_from_the_released_code_is_noted_and_recorded(tmp_path):
    from freqkit.engine import Silent

    class Listener(Silent):
        def __init__(self):
            self.notes = []

        def note(self, sentence):
            self.notes.append(sentence)

    images, heard = image_set([40, 40, 40], 32), Listener()
    model, _ = networks(3, 32)
    how = {"preset": "cvpr2025", "batch_size": 64, "form": "eager", "dtype": "float64", "progress": heard}
    hfss(model, images, candidates=6, keep=0.6, seed=0, stages=1, top=2, out=tmp_path / "run", **how)
    record = json.loads((tmp_path / "run" / "run.json").read_text())["differs_from_published"]
    assert record["keep"] == {"here": 0.6, "published": 0.8} and record["seed"] == {"here": 0, "published": 42}
    assert record["candidates"]["here"] == 6 and record["stages"] == {"here": [1], "published": [1, 2, 3, 4]}
    assert record["images"]["here"] == "120 images in their order" and record["top"]["here"] == 2
    told = [note for note in heard.notes if note.startswith("unlike the released code")]
    assert len(told) == 1 and "keep 0.6 (there: 0.8)" in told[0]
    assert "published_batch_size" not in record and "resize" not in record
    plan = hfss(model, images, published_order=True, dry_run=True, **how)
    assert plan.record["differs_from_published"] == {} and plan.images == 6
    assert "differs_from_published" not in hfss(model, images, dry_run=True, batch_size=64, dtype="float64").record


def test_the_preset_means_the_same_from_python_as_from_the_command_line():
    images = image_set([6, 5, 7], 16, mixed=True)
    model, _ = networks(3, 16)

    def run(**how):
        found = hfss(model, images, candidates=9, stages=2, top=2, **how, **HOW)
        return found.record["identity"]["keep"], found.record["identity"]["seed"], found.masks

    keep, seed, masks = run(preset="cvpr2025")
    assert (keep, seed) == (0.8, 42) and torch.equal(masks, run(preset="cvpr2025", keep=0.8, seed=42)[2])
    assert run(preset="cvpr2025", keep=0.6, seed=0)[:2] == (0.6, 0) == run()[:2]  # what is asked for is what runs


# ---- DFM -----------------------------------------------------------------------------------------------------


def test_batches_without_the_class_are_left_out():
    """60 images of 10 classes in batches of 12: each class is in one batch, with six images: half its mean and half
    ln 10."""
    images = image_set([6] * 10, 16)
    model, published = networks(10, 16)
    result = removal(model, images, patch=8, preset="iccv2023", published_batch_size=12, **HOW)
    plain = removal(model, images, patch=8, preset="default", split_fraction=1, **HOW)
    assert torch.allclose(result.baseline, (plain.baseline + math.log(10)) / 2, rtol=1e-12)
    logits = published.logits(published.normalised(images.images.numpy()))
    assert np.allclose(result.baseline, published_code.dfm_losses(logits, images.labels.numpy(), 12), rtol=1e-12)
    how = {"published_batch_size": 12, "dtype": "float64", "batch_size": 60}
    whole = torch.ones(1, 16, 16)
    dfm, hfss_loss = (
        score(model, images, whole, reduction=reduction, **how).loss[0]
        for reduction in ("published-batches-of-class", "published-batches")
    )
    assert torch.allclose(hfss_loss - dfm, torch.full((10,), 4 * math.log(10), dtype=torch.float64))


@pytest.mark.parametrize("preset", ["iccv2023", "dfm_v2023"])
@pytest.mark.parametrize(
    ("patch", "counts", "batch", "mixed"),
    [
        (1, [6] * 10, 12, False),
        (2, [3, 9, 1, 5, 0, 4], 5, True),  # a class without images, one of one image, a last batch of two
        (4, [5, 4, 7], 100, False),
        (3, [5, 4, 7], 7, True),  # patches that do not divide the side
        (5, [5, 4, 7], 3, False),
        (6, [5, 4, 7], 5, True),
        (7, [5, 0, 7], 5, False),
        (11, [5, 4, 7], 1, True),
        (16, [5, 4, 7], 4, False),
    ],
)
def test_every_column_of_a_published_removal(preset, patch, counts, batch, mixed, tmp_path):
    side, shares = 16, (0.01, 0.05, 0.2, 0.95)
    images = image_set(counts, side, mixed=mixed)
    model, published = networks(len(counts), side)
    pixels, labels = images.images.numpy(), images.labels.numpy()
    strip = preset == "dfm_v2023"
    baseline, maps, chosen = published_code.dfm(
        published, pixels, labels, patch=patch, strip=strip, batch=batch, shares=shares
    )
    result = removal(
        model, images, patch=patch, preset=preset, published_batch_size=batch, levels=shares, level=0.2,
        out=tmp_path / "run", **HOW,
    )  # fmt: skip
    present = [c for c, count in enumerate(counts) if count]
    assert result.classes == [images.classes[c] for c in present]
    assert np.allclose(result.baseline, baseline[present], rtol=1e-10)
    assert np.allclose(result.maps("loss"), maps[present], rtol=1e-10, atol=1e-12)
    scored = maps[present].any(0)
    increase = np.where(scored, maps[present] - baseline[present][:, None, None], np.nan)
    assert np.allclose(result.maps("increase"), increase, rtol=1e-9, atol=1e-9, equal_nan=True)
    for share in shares:
        # Losses are those of a float64 network on both sides, up to the last bits; equal masks have equal losses.
        kept = np.stack([effective_choice(maps[c], share) for c in present])
        assert np.array_equal(kept, result.selected(share).numpy())
    planes = [published_code.effective(plane) for plane in kept_at(result, 0.2)]
    assert np.array_equal(result.masks, planes)
    assert np.array_equal(load_dfm(tmp_path / "run" / "dfm-20.safetensors").masks, planes)
    spectrum, rows = published_code.spectra(published.normalised(pixels)), []
    for c, plane in zip(present, planes, strict=True):
        logits = published.logits(published_code.filtered(spectrum, plane))
        tpr, fpr = published_code.rates(logits, labels, c)
        rows.append({
            "class": images.classes[c], "loss": published_code.dfm_losses(logits, labels, batch)[c], "TPR": tpr,
            "FPR": fpr, "TPR-FPR": tpr - fpr, "coverage": (plane > 0).mean(), "full": (plane == 1).mean(),
            "power": (plane**2).mean(), "DC": plane[side // 2, side // 2], "images": counts[c],
            "unfiltered loss": baseline[c], **whole_columns(published, images, c, logits.argmax(1)),
        })  # fmt: skip
    equal_rows(result.table(), rows)
    assert all(chosen[share].shape == maps.shape for share in shares)


def effective_choice(plane, share):
    """The thresholded map; values that agree but for their last bits are one."""
    plane = np.round(plane, 9)
    return plane >= sorted(plane.ravel())[-int(share * plane.size)]


def kept_at(result, share):
    return result.selected(share).numpy().astype(float)


@pytest.mark.parametrize(("side", "patch"), [(16, 3), (16, 5), (16, 12), (18, 6), (15, 1), (15, 4), (224, 100)])
@pytest.mark.parametrize("preset", ["iccv2023", "dfm_v2023"])
def test_patches_of_any_size(side, patch, preset):
    expected = published_code.removal_masks(side, patch, preset == "dfm_v2023")
    cells, owner = removal_cells((side, side), patch, preset)
    assert len(cells) == len(expected)
    got = mask_room.effective(removal_masks((side, side), patch, preset))
    assert torch.equal(got, mask_room.effective(torch.from_numpy(np.stack(expected)).float()))
    scores = np.full((side, side), -1)
    for k, blocks in enumerate(published_code.removal_places(side, patch)):
        for row, column in blocks:
            scores[row : row + patch, column : column + patch] = k
    same = owner.numpy() == scores
    assert np.array_equal(owner >= 0, scores >= 0)
    assert all(torch.equal(got[a], got[b]) for a, b in zip(owner[~same].tolist(), scores[~same].tolist(), strict=True))


def test_patches_refused():
    with pytest.raises(UsageError, match="must be a multiple of 3 for patch 3"):
        removal_cells((16, 16), 3)
    with pytest.raises(UsageError, match="patch must be at most the side of 16x16 images; got 17"):
        removal_cells((16, 16), 17, "iccv2023")


# ---- rates ---------------------------------------------------------------------------------------------------


def test_every_column_of_rates():
    """Confusion counts, both intervals by their formulas, and what the maps cover."""
    images = image_set([7, 12, 9, 5], 16, mixed=True)
    model, published = networks(4, 16)
    pixels, labels = images.images.numpy(), images.labels.numpy()
    found = removal(model, images, patch=2, preset="iccv2023", level=0.3, levels=(0.3,), **HOW)
    dfm = found.dfm()
    table = rates(model, image_set([7, 12, 9, 5], 16, seed=3, mixed=True), dfm, null=0, **HOW).table()
    other = image_set([7, 12, 9, 5], 16, seed=3, mixed=True)
    pixels, labels = other.images.numpy(), other.labels.numpy()
    clean = published.logits(published.normalised(pixels)).argmax(1)
    spectrum, z = published_code.spectra(published.normalised(pixels)), 1.959963984540054

    def wilson(hits, n):
        p = hits / n
        middle, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - width) / (1 + z * z / n), (middle + width) / (1 + z * z / n)

    for c, (row, plane) in enumerate(zip(table, dfm.masks.numpy(), strict=True)):
        matrix = np.zeros((4, 4), int)
        answers = published.logits(published_code.filtered(spectrum, plane)).argmax(1)
        for true, said in zip(labels, answers, strict=True):
            matrix[true, said] += 1
        positives, total = matrix[c].sum(), matrix.sum()
        hits, false = matrix[c, c], matrix[:, c].sum() - matrix[c, c]
        (low, high), (false_low, false_high) = wilson(hits, positives), wilson(false, total - positives)
        tpr, fpr = hits / positives, false / (total - positives)
        want = {
            "class": f"c{c}", "images": positives, "others": total - positives, "TPR": tpr, "TPR low": low,
            "TPR high": high, "FPR": fpr, "FPR low": false_low, "FPR high": false_high, "TPR-FPR": tpr - fpr,
            "TPR-FPR low": tpr - fpr - math.hypot(tpr - low, false_high - fpr),
            "TPR-FPR high": tpr - fpr + math.hypot(high - tpr, fpr - false_low),
            "clean TPR": (clean[labels == c] == c).mean(), "clean FPR": (clean[labels != c] == c).mean(),
            "coverage": (plane > 0).mean(), "power": (plane.astype(float) ** 2).mean(),
        }  # fmt: skip
        whole = whole_columns(published, other, c, answers)
        want |= {name: whole[name] for name in ("recognised whole", "still recognised")}
        want |= {"random masks": None, "p": None}
        assert list(row) == list(want)
        for name, value in want.items():
            exact = name == "class" or value is None
            assert row[name] == (value if exact else pytest.approx(value, rel=1e-9, abs=1e-12)), name
