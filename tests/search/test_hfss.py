"""The search on real photographs and a real network, against a slow search in plain torch written here."""

import copy
import json
import os
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from freqkit import masks as mask_room
from freqkit.data import load_images, synthetic
from freqkit.engine import Interrupted, Silent, status
from freqkit.errors import UsageError
from freqkit.models import Classifier, load_model
from freqkit.results import SearchResult
from freqkit.search import hfss
from tests.search.published_code import hfss_masks
from tests.tiny import tiny_model

SIDE = 32


@pytest.fixture(scope="module")
def cifar(cifar10_mini):
    images = load_images(cifar10_mini, image_size=SIDE, limit_per_class=4)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(3))
    return images.subset(order)  # mixed classes, so that published batches differ in their composition


@pytest.fixture(scope="module")
def resnet(resnet20_weights):
    return load_model("cifar_resnet20", weights=resnet20_weights)


# ---- the slow search --------------------------------------------------------------------------


def filtered_logits(model, images, mask):
    """One mask, all images, by the complex transform of normalised float64 images; the mask is centred."""
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (model.mean, model.std))
    x = (images.images.double() / 255 - mean) / std
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1)) * mask.double()
    y = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
    with torch.no_grad():
        return model.network(y.float()).double()


def class_mean(logits, labels, classes):
    return [F.cross_entropy(logits[labels == c], labels[labels == c]).item() for c in range(classes)]


def published(logits, labels, classes, batch=12):
    """As the released code does it: other classes' rows are multiplied by nought and labelled 0."""
    totals = []
    for c in range(classes):
        total = 0.0
        for at in range(0, len(labels), batch):
            own = (labels[at : at + batch] == c)[:, None]
            total += F.cross_entropy(logits[at : at + batch] * own, labels[at : at + batch] * own[:, 0]).item()
        totals.append(total)
    return totals


def slow_stage(model, images, masks, loss, top):
    """Losses [K][C] and, per class, the `top` masks of lowest loss."""
    classes = len(images.classes)
    losses = [loss(filtered_logits(model, images, mask), images.labels, classes) for mask in masks]
    ranks = [sorted(range(len(masks)), key=lambda k: (losses[k][c], k))[:top] for c in range(classes)]
    return losses, ranks


def close(result_stage, losses, ranks):
    torch.testing.assert_close(
        result_stage.scores.loss, torch.tensor(losses, dtype=torch.float64), atol=2e-4, rtol=2e-4
    )
    assert result_stage.ranks.tolist() == ranks


def test_published_preset_equals_a_slow_search_with_its_own_generator(cifar, resnet):
    number, top = [9, 9, 9, 9], 2
    result = hfss(
        resnet,
        cifar,
        preset="cvpr2025",
        candidates=number,
        keep=0.6,
        top=top,
        seed=42,
        published_batch_size=12,
        batch_size=64,
        split_fraction=1,
    )
    parents, lasting = None, None
    for stage in (1, 2, 3, 4):
        masks = hfss_masks(SIDE, stage, number[stage - 1], 0.6, 42, parents)
        assert len(masks) == len(result.stages[stage - 1].scores) == (3 if stage == 4 else 9)
        losses, ranks = slow_stage(resnet, cifar, [torch.from_numpy(m) for m in masks], published, top)
        close(result.stages[stage - 1], losses, ranks)
        parents, lasting = [[masks[k] for k in row] for row in ranks], (masks, losses, ranks)
    masks, losses, ranks = lasting
    for c, row in enumerate(result.table()):
        raw = masks[ranks[c][0]]
        mirrored = np.roll(raw[::-1, ::-1], (1, 1), (0, 1))
        assert np.array_equal(result.masks[c].numpy(), (raw + mirrored) / 2)
        answers = filtered_logits(resnet, cifar, torch.from_numpy(raw)).argmax(1)
        own = cifar.labels == c
        assert row["class"] == cifar.classes[c] and row["stage"] == 4 and row["images"] == 4
        assert row["TPR"] == (answers[own] == c).double().mean().item()
        assert row["FPR"] == pytest.approx((answers[~own] == c).double().mean().item())
        assert row["TPR-FPR"] == pytest.approx(row["TPR"] - row["FPR"])
        assert row["loss"] == pytest.approx(losses[ranks[c][0]][c], rel=1e-4)
        assert row["coverage"] == (result.masks[c] > 0).double().mean().item()


def test_default_preset_equals_a_slow_search_over_the_same_draws(cifar, resnet):
    result = hfss(resnet, cifar, candidates=9, top=2, seed=5, batch_size=64, split_fraction=1)
    previous = None
    for stage in (1, 2, 3, 4):
        drawn = mask_room.candidates(stage, 9, size=SIDE, seed=5, parents=previous).masks
        losses, ranks = slow_stage(resnet, cifar, mask_room.effective(drawn), class_mean, 2)
        close(result.stages[stage - 1], losses, ranks)
        previous = [mask_room.select(drawn, row) for row in ranks]
    for c in range(10):
        assert torch.equal(result.masks[c], mask_room.effective(drawn)[ranks[c][0]])
    assert set(result.masks.unique().tolist()) <= {0.0, 1.0}
    assert result.forwards == (1 + 4 * 9) * 40


# ---- behaviour, on a small network and planted images -----------------------------------------


@pytest.fixture(scope="module")
def images():
    return synthetic(images_per_class=6)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


SMALL = {"candidates": 12, "top": 3, "batch_size": 8}
FILES = ["classes.csv", "dfm.safetensors", *(f"stage-{i}.safetensors" for i in (1, 2, 3, 4))]


def contents(path):
    return {name: (path / name).read_bytes() for name in FILES}


class StopAfter(Silent):
    """Ends the run in a given way after a number of tiles."""

    def __init__(self, tiles, action):
        self.left, self.action, self.resumed = tiles, action, 0

    def advance(self, amount, resumed=False, **facts):
        self.resumed += amount * resumed
        self.left -= amount > 0
        if self.left == 0:
            self.action()

    def note(self, sentence):
        pass


def test_every_file_is_written_and_loads_back(model, images, tmp_path):
    result = hfss(model, images, out=tmp_path / "run", **SMALL, split_fraction=1)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted([*FILES, "journal.bin", "run.json"])
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished" and record["stages_done"] == [1, 2, 3, 4]
    assert record["identity"]["seed"] == 0 and record["identity"]["data"]["fingerprint"] == images.fingerprint
    assert record["forwards"] == (1 + 4 * 12) * 24 and record["batch_size"] == 8
    assert 0 < record["seconds_in_model"] < record["seconds"]
    again = SearchResult.load(tmp_path / "run")
    assert again.table() == result.table()
    assert torch.equal(again.masks, result.masks) and again.forwards == result.forwards
    assert torch.equal(mask_room.load_dfm(tmp_path / "run" / "dfm.safetensors").masks, result.masks)
    lines = (tmp_path / "run" / "classes.csv").read_text().splitlines()
    assert lines[0].startswith("class,loss,TPR,FPR,TPR-FPR,coverage") and len(lines) == 5
    again.save(tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(tmp_path / "run")


def test_a_search_is_the_same_with_and_without_files_and_in_any_directory(model, images, tmp_path):
    plain = hfss(model, images, **SMALL, split_fraction=1)
    hfss(model, images, out=tmp_path / "a", **SMALL, split_fraction=1)
    hfss(model, images, out=tmp_path / "b", **SMALL, split_fraction=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert plain.table() == SearchResult.load(tmp_path / "a").table()


@pytest.mark.parametrize("tiles", [1, 11, 12, 13, 30, 47])
def test_resume_ends_with_the_same_bytes(model, images, tmp_path, tiles):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    hfss(model, images, out=whole, **SMALL, split_fraction=1)
    with pytest.raises(Interrupted):
        hfss(
            model,
            images,
            out=cut,
            progress=StopAfter(tiles, lambda: os.kill(os.getpid(), signal.SIGTERM)),
            **SMALL,
            split_fraction=1,
        )
    seen = status(cut)
    assert seen["status"] == "interrupted" and seen["forwards_done"] == tiles * 24
    assert seen["forwards_total"] == (1 + 4 * 12) * 24 and seen["stage"] == (
        1 + (tiles - 2) // 12 if tiles > 1 else None
    )
    with pytest.raises(UsageError, match="has not finished"):
        SearchResult.load(cut)
    watcher = StopAfter(-1, None)
    hfss(model, images, out=cut, resume=True, progress=watcher, **SMALL, split_fraction=1)
    assert contents(cut) == contents(whole)
    record = json.loads((cut / "run.json").read_text())
    assert record["sessions"] == 2 and record["forwards_resumed"] == watcher.resumed > 0


def test_a_failing_model_loses_nothing(model, images, tmp_path):
    def fail():
        raise OSError("the cable")

    with pytest.raises(OSError, match="the cable"):
        hfss(model, images, out=tmp_path / "a", progress=StopAfter(40, fail), **SMALL, split_fraction=1)
    assert json.loads((tmp_path / "a" / "run.json").read_text())["status"] == "failed"
    hfss(model, images, out=tmp_path / "a", resume=True, **SMALL, split_fraction=1)
    hfss(model, images, out=tmp_path / "b", **SMALL, split_fraction=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_resume_of_a_calibrated_run_keeps_its_batch_size(model, images, tmp_path):
    arguments = {**SMALL, "batch_size": "auto"}
    first = hfss(model, images, out=tmp_path, **arguments, split_fraction=1)
    again = hfss(model, images, out=tmp_path, resume=True, **arguments, split_fraction=1)
    assert again.record["batch_size"] == first.record["batch_size"]
    assert again.record["forwards_resumed"] == again.forwards


def test_resume_is_refused_when_the_answer_would_differ(model, images, tmp_path):
    hfss(model, images, out=tmp_path, **SMALL, split_fraction=1)
    with pytest.raises(UsageError, match="not empty"):
        hfss(model, images, out=tmp_path, **SMALL, split_fraction=1)
    with pytest.raises(UsageError, match=r"differs in seed \(there 0, now 1\)"):
        hfss(model, images, out=tmp_path, resume=True, seed=1, **SMALL, split_fraction=1)
    with pytest.raises(UsageError, match="differs in data"):
        hfss(model, synthetic(images_per_class=6, seed=1), out=tmp_path, resume=True, **SMALL, split_fraction=1)
    other = Classifier(
        torch.nn.Sequential(*model.network[:3], torch.nn.Linear(600, 4)),
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        num_classes=4,
    )
    with pytest.raises(UsageError, match="differs in model"):
        hfss(other, images, out=tmp_path, resume=True, **SMALL, split_fraction=1)
    assert (
        hfss(model, images, out=tmp_path, overwrite=True, seed=1, **SMALL, split_fraction=1).record["identity"]["seed"]
        == 1
    )


def test_more_candidates_never_do_worse_within_a_stage(model, images):
    few, more = (hfss(model, images, stages=1, candidates=n, top=3, batch_size=16, split_fraction=1) for n in (15, 45))
    assert torch.equal(few.stages[0].candidates.bits, more.stages[0].candidates.bits[:15])
    torch.testing.assert_close(few.stages[0].scores.loss, more.stages[0].scores.loss[:15], atol=1e-6, rtol=1e-6)
    assert (more.loss <= few.loss + 1e-6).all()
    assert (more.curves[0].diff(dim=0) <= 0).all() and torch.equal(more.curves[0][-1], more.loss)


def test_masks_nest_and_elites_never_get_worse(model, images):
    plain = hfss(model, images, **SMALL, split_fraction=1)
    for before, after in zip(plain.stages, plain.stages[1:], strict=False):
        parents = mask_room.effective(mask_room.select(before.candidates, before.ranks.unique()))
        inside = [(parents >= child).all((1, 2)).any() for child in mask_room.effective(after.candidates)]
        assert all(inside)
    elite = hfss(model, images, elitism=True, **SMALL, split_fraction=1)
    best = torch.stack([stage.curve[-1] for stage in elite.stages])
    assert (best.diff(dim=0) <= 0).all()
    assert len(elite.stages[1].scores) > 12 and set(elite.stage.tolist()) <= {1, 2, 3, 4}


@pytest.mark.parametrize("keep", [True, False])
def test_dc_can_be_forced(model, images, keep):
    result = hfss(model, images, keep_dc=keep, stages=2, **SMALL, split_fraction=1)
    assert all((mask_room.dc_weight(stage.candidates) == float(keep)).all() for stage in result.stages)
    assert result.dc.tolist() == [float(keep)] * 4


def test_published_duplicates_stay_but_are_scored_once(model, images):
    result = hfss(
        model, images, preset="cvpr2025", candidates=120, stages=1, top=3, seed=42, batch_size=64, split_fraction=1
    )
    stage = result.stages[0]
    first, inverse = mask_room.unique(stage.candidates)
    assert len(first) < 120 == len(stage.scores)
    assert result.forwards == (1 + len(first)) * 24 and result.record["forwards_saved"] == (120 - len(first)) * 24
    assert torch.equal(stage.scores.loss, stage.scores.loss[first][inverse])


def test_classes_without_images_are_left_out(images):
    wide = Classifier(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 6)),
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        num_classes=6,
    )
    some = type(images)(images.images, images.labels + 1, ["none", *images.classes, "nobody"], images.paths)
    result = hfss(wide, some, parents="per_class", **SMALL, split_fraction=1)
    assert result.classes == images.classes and result.masks.shape == (4, 32, 32)
    assert result.record["classes_without_images"] == 2


@pytest.mark.measured
def test_racing_finds_the_same_masks_with_fewer_forwards(tmp_path, model):
    images = synthetic(images_per_class=100)
    arguments = {"candidates": 40, "top": 2, "stages": 2, "batch_size": 64}
    whole = hfss(model, images, **arguments, split_fraction=1)
    raced = hfss(model, images, risk=0.01, out=tmp_path / "a", **arguments, split_fraction=1)
    assert torch.equal(raced.masks, whole.masks)
    for a, b in zip(raced.stages, whole.stages, strict=True):
        assert torch.equal(a.ranks, b.ranks)
    torch.testing.assert_close(raced.loss, whole.loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(raced.tpr, whole.tpr)
    torch.testing.assert_close(raced.fpr, whole.fpr)
    assert raced.forwards < 0.9 * whole.forwards
    assert raced.record["forwards_saved"] > 0 and raced.record["identity"]["risk"] == 0.01
    stop = StopAfter(50, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        hfss(model, images, risk=0.01, out=tmp_path / "b", progress=stop, **arguments, split_fraction=1)
    hfss(model, images, risk=0.01, out=tmp_path / "b", resume=True, **arguments, split_fraction=1)
    names = ["classes.csv", "dfm.safetensors", "stage-1.safetensors", "stage-2.safetensors"]
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


@pytest.mark.parametrize(
    "change",
    [{}, {"elitism": True}, {"preset": "cvpr2025", "keep": 0.6, "seed": 0}],
    ids=["default", "elites", "published"],
)
def test_certain_stopping_changes_nothing_but_the_forwards(tmp_path, model, images, change):
    arguments = {"candidates": 42, "top": 2, "stages": 2, "batch_size": 32, **change}
    model = copy.deepcopy(model)
    with torch.no_grad():  # an untrained network has nearly the same loss under all masks
        model.network[-1].weight *= 30
    whole = hfss(model, images, out=tmp_path / "whole", **arguments, split_fraction=1)
    found = hfss(model, images, stopping="certain", out=tmp_path / "found", **arguments, split_fraction=1)
    assert found.forwards < 0.9 * whole.forwards
    for a, b in zip(found.stages, whole.stages, strict=True):
        assert torch.equal(a.candidates.bits, b.candidates.bits) and torch.equal(a.ranks, b.ranks)
        labels = torch.arange(4)[:, None]
        assert torch.equal(a.scores.loss[a.ranks, labels], b.scores.loss[b.ranks, labels])
    for name in ("classes.csv", "dfm.safetensors"):
        assert (tmp_path / "found" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    record = found.record
    assert record["forwards_saved_certain"] > 0 == record["forwards_saved_racing"]
    assert record["identity"]["stopping"] == "certain"
    stop = StopAfter(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        hfss(model, images, stopping="certain", out=tmp_path / "cut", progress=stop, **arguments, split_fraction=1)
    again = hfss(model, images, stopping="certain", out=tmp_path / "cut", resume=True, **arguments, split_fraction=1)
    assert 0 < again.record["forwards_resumed"] < again.forwards
    for name in ("classes.csv", "dfm.safetensors", "stage-1.safetensors", "stage-2.safetensors"):
        assert (tmp_path / "found" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name


def test_dry_run_counts_what_the_run_does(model, images, tmp_path):
    plan = hfss(model, images, out=tmp_path / "none", dry_run=True, **SMALL, split_fraction=1)
    assert not (tmp_path / "none").exists()
    assert plan.forwards == hfss(model, images, **SMALL, split_fraction=1).forwards == 24 + 1152
    assert [row["cells"] for row in plan.table()] == [4, 8, 16, 32]
    assert plan.seconds > 0 and plan.memory["process"] > plan.memory["images"] == 24 * 3 * 32 * 32


@pytest.mark.parametrize(
    "change, message",
    [
        ({"preset": "iccv"}, "preset must be one of default, cvpr2025; got 'iccv'"),
        ({"stages": 5}, "not exceed 4 at this size; got 5"),
        ({"stages": [2, 3]}, "stages must begin at 1"),
        ({"stages": "1-4"}, "stages must be a number"),
        ({"candidates": [10, 20]}, "one for each of the 4 stages"),
        ({"candidates": 0}, "candidates must be a positive integer"),
        ({"preset": "cvpr2025", "candidates": 2}, "stage 1 has no candidates for candidates=2"),
        ({"keep": 0}, "keep must be a number with 0 < keep <= 1; got 0"),
        ({"top": 0}, "top must be an integer of at least 1; got 0"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"parents": "some"}, "parents must be 'any' or 'per_class'; got 'some'"),
        ({"preset": "cvpr2025", "parents": "per_class"}, "draws parents of any class"),
        ({"keep_dc": "yes"}, "keep_dc must be"),
        ({"risk": 1}, "risk must be a number with 0 <= risk < 1; got 1"),
        ({"risk": 0.1, "preset": "cvpr2025"}, "cannot race"),
        ({"stopping": "soon"}, "stopping must be one of never, certain; got 'soon'"),
        ({"stopping": "certain", "risk": 0.1}, "certain stopping takes no risk"),
        ({"resume": True}, "resume and overwrite need out"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_bad_arguments(model, images, change, message):
    with pytest.raises(UsageError, match=message):
        hfss(model, images, **{**SMALL, **change}, split_fraction=1)


def test_odd_sizes_are_refused(model, images):
    odd = type(images)(images.images[..., :31, :31], images.labels, images.classes, images.paths)
    with pytest.raises(UsageError, match="even"):
        hfss(model, odd, **SMALL, split_fraction=1)
