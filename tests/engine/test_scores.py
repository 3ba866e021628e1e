"""Scores against a plain loop: complex FFT, one image at a time, no freqkit operator."""

import math
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from freqkit.engine import Scorer, forward, score
from freqkit.engine.batches import tiling
from freqkit.errors import UsageError
from freqkit.masks import pack
from freqkit.ops import BitMasks
from tests.engine.small_world import Images, Listener, Small, Watcher, random_masks


def plain(model, images, masks, domain="normalised", class_index=None):
    """Per-image cross-entropies and answers, [K, n]: real part of the complex inverse, in float64."""
    network = model.double().eval()
    index = class_index or list(range(len(images.classes)))
    loss, answer = (
        torch.empty(len(masks), len(images.labels)).double(),
        torch.empty(len(masks), len(images.labels)),
    )
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (model.mean, model.std))
    for k, mask in enumerate(masks):
        for i in range(len(images.labels)):
            x = images.images[i].double() / 255
            if domain == "normalised":
                x = (x - mean) / std
            y = torch.fft.ifft2(torch.fft.fft2(x) * mask).real
            if domain == "pixels":
                y = (y - mean) / std
            with torch.no_grad():
                logits = network.network(y[None])
            loss[k, i] = F.cross_entropy(logits, torch.tensor([index[images.labels[i]]]))
            answer[k, i] = logits.argmax()
    model.float()
    return loss, answer.long()


def by_class(loss, answer, labels, classes, index):
    want = torch.stack([loss[:, labels == c].mean(1) for c in range(classes)], 1)
    correct = torch.stack([(answer[:, labels == c] == index[c]).sum(1) for c in range(classes)], 1)
    predicted = torch.stack([(answer == index[c]).sum(1) for c in range(classes)], 1)
    return want, correct, predicted


@pytest.mark.parametrize("domain", ["normalised", "pixels"])
@pytest.mark.parametrize("n, batch", [(17, 8), (5, 64), (40, 16)], ids=["ragged", "packed", "tiles"])
def test_equals_the_plain_loop(domain, n, batch):
    model, images, masks = Small(), Images(n), random_masks(7)
    got = score(model, images, masks.float(), batch_size=batch, domain=domain)
    want, correct, predicted = by_class(*plain(model, images, masks, domain), images.labels, 3, [0, 1, 2])
    assert got.loss.dtype == torch.float64 and got.loss.shape == (7, 3)
    torch.testing.assert_close(got.loss, want, atol=2e-5, rtol=2e-5)
    assert torch.equal(got.correct, correct) and torch.equal(got.predicted, predicted)
    counts = torch.bincount(images.labels, minlength=3)
    assert torch.equal(got.counts, counts)
    torch.testing.assert_close(got.tpr, correct / counts.double())
    torch.testing.assert_close(got.fpr, (predicted - correct) / (n - counts).double())
    torch.testing.assert_close(got.tpr_minus_fpr, got.tpr - got.fpr)


def test_float64_is_exact_and_lower_precision_is_near():
    model, images, masks = Small(), Images(12), random_masks(4)
    want, *_ = by_class(*plain(model, images, masks), images.labels, 3, [0, 1, 2])
    torch.testing.assert_close(
        score(model, images, masks, batch_size=8, dtype="float64").loss, want, atol=1e-12, rtol=1e-12
    )
    torch.testing.assert_close(
        score(model, images, masks, batch_size=8, dtype=torch.bfloat16).loss, want, atol=0.1, rtol=0.1
    )


def test_bit_masks_and_half_planes_equal_dense_masks():
    model, images = Small(), Images(9)
    bits = BitMasks(torch.randint(0, 256, (6, 4, 1), dtype=torch.uint8), (2, 2), (8, 8), "average")
    cells = torch.from_numpy(np.unpackbits(bits.bits.numpy(), axis=-1, bitorder="little"))[..., :4]
    centred = cells.repeat_interleave(2, 1).repeat_interleave(2, 2).float()
    dense = torch.fft.ifftshift(centred, dim=(-2, -1))
    want = score(model, images, dense, batch_size=16)
    torch.testing.assert_close(score(model, images, bits, batch_size=16).loss, want.loss, atol=1e-6, rtol=1e-6)
    partner = torch.roll(dense.flip((-2, -1)), (1, 1), (-2, -1))
    half = ((dense + partner) / 2)[..., :5]
    torch.testing.assert_close(score(model, images, half, batch_size=16).loss, want.loss, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("batch", [4, 5, 100])
def test_published_batches_equals_the_published_procedure(batch):
    model, images, masks = Small(logits=3), Images(23), random_masks(3)
    got = score(
        model,
        images,
        masks,
        batch_size=8,
        dtype="float64",
        reduction="published-batches",
        published_batch_size=batch,
    )
    network = model.double().eval()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (model.mean, model.std))
    x = (images.images.double() / 255 - mean) / std
    for k, mask in enumerate(masks):
        y = torch.fft.ifft2(torch.fft.fft2(x) * mask).real
        for c in range(3):
            total = 0.0
            for at in range(0, 23, batch):
                with torch.no_grad():
                    logits, labels = network.network(y[at : at + batch]), images.labels[at : at + batch]
                own = (labels == c)[:, None]
                total += F.cross_entropy(logits * own, labels * own[:, 0]).item()
            assert math.isclose(got.loss[k, c].item(), total, rel_tol=1e-10)


def test_class_index_maps_classes_to_logits():
    model, images, masks, index = Small(logits=6), Images(15), random_masks(3), [4, 0, 5]
    got = score(model, images, masks.float(), batch_size=8, class_index=index)
    want, correct, predicted = by_class(*plain(model, images, masks, class_index=index), images.labels, 3, index)
    torch.testing.assert_close(got.loss, want, atol=2e-5, rtol=2e-5)
    assert torch.equal(got.correct, correct) and torch.equal(got.predicted, predicted)


def test_a_tile_has_the_same_bits_whatever_runs_beside_it():
    model, images, masks = Small(), Images(50), random_masks(8).float()
    scorer = Scorer(model, images, batch_size=16)
    whole = scorer.score(masks)
    assert torch.equal(whole.loss, Scorer(model, images, batch_size=16).score(masks).loss)
    assert torch.equal(whole.loss[4:], scorer.score(masks[4:]).loss)
    starved = Scorer(model, images, batch_size=16, memory=20 * 3 * 8 * 5 * 8)
    assert starved.tiling.block <= 20
    torch.testing.assert_close(starved.score(masks).loss, whole.loss, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("memory", [1 << 30, 20_000], ids=["cached", "blocks"])
def test_each_image_with_a_mask_of_its_own(memory):
    model, images, masks = Small(), Images(23), random_masks(4).float()
    assignment = torch.arange(23) % 4
    scorer = Scorer(model, images, batch_size=8, memory=memory)
    whole = scorer.score(masks, per_sample=True)
    each = scorer.score_each(masks, assignment, per_sample=True)
    own = whole.samples["loss"][assignment, torch.arange(23)]
    torch.testing.assert_close(each.samples["loss"][0], own, atol=1e-5, rtol=1e-5)
    answers = whole.samples["answer"][assignment, torch.arange(23)]
    assert torch.equal(each.samples["answer"][0], answers)
    for c in range(3):
        members = images.labels == c
        assert each.loss[0, c].item() == pytest.approx(own[members].double().mean().item(), rel=1e-5)
        assert each.correct[0, c] == (answers[members] == c).sum() and each.predicted[0, c] == (answers == c).sum()
    assert torch.equal(scorer.score_each(masks[assignment]).correct, each.correct)
    some = torch.tensor([1, 2, 5, 9, 10, 12, 13, 14, 20, 22])
    losses, answered = scorer.predictions_each(masks, assignment[some], some)
    torch.testing.assert_close(losses.float(), own[some], atol=1e-5, rtol=1e-5)
    assert torch.equal(answered, answers[some].long())
    with pytest.raises(UsageError, match="each of the 23 images needs one of the 4 masks"):
        scorer.score_each(masks)


def test_samples_of_masks_without_twins_come_back_for_all(tmp_path):
    images, bits = Images(9), torch.tensor([[[7]] * 4, [[5]] * 4, [[7]] * 4], dtype=torch.uint8)
    scores = Scorer(Small(), images, batch_size=8).score(BitMasks(bits, (2, 2), (8, 8), "average"), per_sample=True)
    assert scores.record["forwards"] == 18 and scores.samples["loss"].shape == (3, 9)
    assert torch.equal(scores.samples["loss"][0], scores.samples["loss"][2])
    torch.testing.assert_close(
        scores.loss[:, 0], scores.samples["loss"][:, images.labels == 0].double().mean(1), atol=1e-6, rtol=1e-6
    )


def test_spectra_are_held_only_within_the_budget():
    model, masks = Small(), random_masks(3).float()
    few, many = Images(100), Images(1000)
    one = Scorer(model, few, batch_size=16).memory()["spectra"] // 100
    for images in (few, many):
        scorer = Scorer(model, images, batch_size=16, memory=50 * one)
        scorer.score(masks)
        assert sum(held.nbytes for held in scorer.spectra.held.values()) <= 50 * one
        assert scorer.memory()["spectra"] <= 50 * one
    assert len(Scorer(model, many, batch_size=16).tiling.blocks()) > 1
    roomy = Scorer(model, many, batch_size=16)
    roomy.score(masks)
    assert sum(held.nbytes for held in roomy.spectra.held.values()) == 1000 * one == roomy.memory()["spectra"]


def test_the_callers_model_stays_as_it_was():
    model, images = Small().train(), Images(9)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    score(model, images, random_masks(2).float(), batch_size=8, dtype="float64")
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in model.state_dict().items())


def test_rank_is_ascending_and_stable():
    scores = score(Small(), Images(9), random_masks(2)[[0, 1, 0, 1, 0]].float(), batch_size=9)
    for c, row in enumerate(scores.rank(5).tolist()):
        loss = scores.loss[:, c].tolist()
        assert row == sorted(range(5), key=lambda k: (loss[k], k))
    assert scores.rank(2).shape == (3, 2) and scores.rank(99).shape == (3, 5)
    with pytest.raises(ValueError, match="top must be at least 1"):
        scores.rank(0)


def test_progress_counts_every_forward():
    watcher = Watcher()
    score(Small(), Images(21), random_masks(5).float(), batch_size=8, progress=watcher)
    assert watcher.events == ["start", "finish"] and watcher.done == watcher.total == 105


def test_auto_batch_size_is_recorded():
    scorer = Scorer(Small(), Images(9))
    assert str(scorer.batch_size) in scorer.calibration
    assert scorer.score(random_masks(2).float()).record["batch_size"] == scorer.batch_size


class Broken(nn.Module):
    def __init__(self, inner, value):
        super().__init__()
        self.inner, self.value = inner, value

    def forward(self, x):
        logits = self.inner(x)
        if isinstance(self.value, Exception):
            raise self.value
        return torch.where((x.mean((1, 2, 3)) > 3)[:, None], self.value, logits)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_logits_name_mask_and_image(value):
    model, images = Small(), Images(20)
    images.images[:] = images.images.clamp(max=128)
    images.images[13] = 255  # the only image whose normalised mean exceeds 3, and only where DC is kept
    model.std = (0.1,) * 3
    model.network = Broken(model.network, value)
    masks = torch.ones(5, 8, 8)
    masks[:3, 0, 0] = 0
    with pytest.raises(FloatingPointError, match=r"for mask 3 and image 13 \(13.png\)"):
        score(model, images, masks, batch_size=8, form="eager")


def test_a_model_that_raises_is_named():
    model = Small()
    model.network = Broken(model.network, KeyError("odd"))
    with pytest.raises(RuntimeError, match="the model raised KeyError on the first 20 images: 'odd'"):
        score(model, Images(20), torch.ones(1, 8, 8), batch_size=8)
    with pytest.raises(RuntimeError, match=r"KeyError on masks 0...1, images 0...3: 'odd'"):
        score(model, Images(20), torch.ones(2, 8, 8), batch_size=8, form="eager")


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"batch_size": 0}, UsageError, 'batch_size must be "auto" or a positive integer; got 0'),
        ({"batch_size": True}, UsageError, "batch_size must be"),
        ({"domain": "log"}, ValueError, "domain must be one of normalised, pixels; got 'log'"),
        ({"dtype": "int8"}, ValueError, "dtype must be float32"),
        ({"reduction": "sum"}, ValueError, "reduction must be one of"),
        ({"reduction": "published-batches"}, UsageError, "published_batch_size must be a positive integer"),
        ({"class_index": [0, 1]}, UsageError, "class_index must give one logit"),
        ({"class_index": [0, 1, 1]}, UsageError, "must not name a logit twice"),
        ({"masks": torch.ones(2, 7, 8)}, UsageError, r"masks must have shape \[K, H, W\]"),
        ({"masks": [1, 2]}, TypeError, "masks must be BitMasks or a tensor"),
        ({"model": Small(4)}, UsageError, "the model has 4 logits but the images have 3 classes"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_bad_arguments(change, error, message):
    arguments = {
        "model": Small(),
        "images": Images(6),
        "masks": torch.ones(2, 8, 8),
        "batch_size": 4,
        **change,
    }
    model, images, masks = (arguments.pop(k) for k in ("model", "images", "masks"))
    with pytest.raises(error, match=message):
        score(model, images, masks, **arguments)


def test_no_masks_gives_empty_scores():
    scores = score(Small(), Images(6), torch.ones(0, 8, 8), batch_size=4)
    assert scores.loss.shape == (0, 3) and scores.rank(3).shape == (3, 0)


@pytest.mark.parametrize("images", [1, 2, 7, 40, 300, 1000, 1001, 5000])
@pytest.mark.parametrize("batch", [1, 16, 256])
def test_tiling_covers_every_pair_once_in_full_batches(images, batch):
    plan = tiling(images, batch)
    pairs = 0
    for first, last in plan.blocks():
        at = first
        for begin, end in plan.parts(first, last):
            assert begin == at and end - begin <= plan.part
            at = end
        assert at == last
        pairs += last - first
    assert pairs == images
    assert plan.part * plan.group <= batch
    assert plan.part * plan.group > 0.7 * batch or images == 1


class Hungry(nn.Module):
    """Runs out of memory above a number of images."""

    def __init__(self, inner, most):
        super().__init__()
        self.inner, self.most = inner, most

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("no more")
        return self.inner(x)


@pytest.mark.parametrize("n", [30, 4], ids=["images", "masks"])
def test_out_of_memory_halves_the_batch_and_says_so(n):
    images, masks, heard = Images(n), random_masks(9).float(), Listener()
    want = score(Small(), images, masks, batch_size=24, form="eager")
    model = Small()
    model.network = Hungry(model.network, 7)
    got = score(model, images, masks, batch_size=24, form="eager", progress=heard)
    torch.testing.assert_close(got.loss, want.loss, atol=1e-6, rtol=1e-6)
    assert heard.notes and all("cpu ran out of memory with a batch of" in note for note in heard.notes)
    assert len(heard.notes) <= 3
    model.network.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        score(model, images, masks, batch_size=24, form="eager", progress=heard)


@pytest.mark.parametrize("domain", ["normalised", "pixels"])
def test_folding_changes_only_rounding_and_is_recorded(domain):
    model, images, masks = Small(), Images(20), random_masks(5).float()
    for part in model.network:
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -1, 1)
            nn.init.uniform_(part.running_var, 0.5, 2)
    eager, folded = (Scorer(model, images, batch_size=16, domain=domain, form=form) for form in ("eager", "folded"))
    assert folded.form["form"] == "folded" and folded.form["difference after folding batch norms"] < 1e-5
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.forward.module.modules())
    torch.testing.assert_close(folded.score(masks).loss, eager.score(masks).loss, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_gives_the_same_losses_for_ragged_batches_too():
    model, images, masks = Small(), Images(21), random_masks(5).float()
    eager, compiled = (Scorer(model, images, batch_size=16, form=form) for form in ("eager", "compiled"))
    assert compiled.form["form"] == "compiled" and compiled.form["difference after compiling"] < 1e-4
    assert compiled.tiling.images % compiled.tiling.part
    torch.testing.assert_close(compiled.score(masks).loss, eager.score(masks).loss, atol=1e-5, rtol=1e-5)
    assert torch.equal(compiled.score(masks).loss, compiled.score(masks).loss)


class Untraceable(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) if x.sum() < 1e30 else self.inner(-x)


def test_a_network_that_cannot_be_folded_is_run_as_it_is_and_said_so():
    model, heard = Small(), Listener()
    model.network = Untraceable(model.network)
    scorer = Scorer(model, Images(9), batch_size=8, form="folded", progress=heard)
    assert scorer.form["form"] == "eager" and "folding batch norms failed (TraceError" in heard.notes[0]


def test_a_fold_that_changes_logits_is_not_used(monkeypatch):
    model, heard = Small(), Listener()
    model.network[1].running_mean += 1
    monkeypatch.setattr(forward, "_fold", lambda module: nn.Sequential(module[0], *module[2:]))
    scorer = Scorer(model, Images(9), batch_size=8, form="folded", progress=heard)
    assert scorer.form["form"] == "eager" and "changed a logit by" in heard.notes[0]


def test_spectra_in_float16_take_half_the_memory_and_hardly_change_a_loss():
    images, masks = Images(60, side=16), random_masks(12, side=16).float()
    exact = Scorer(Small(), images, batch_size=32)
    half = Scorer(Small(), images, batch_size=32, spectra="float16")
    one, other = exact.score(masks), half.score(masks)
    assert 2 * half.memory()["spectra"] == exact.memory()["spectra"]
    assert exact.economies()["spectra"] == "kept in float32" and half.economies()["spectra"] == "kept in float16"
    torch.testing.assert_close(other.loss, one.loss, rtol=2e-3, atol=1e-3)
    assert not torch.equal(other.loss, one.loss)
    # Room for halves alone: kept. No room for them either: exact ones, computed anew.
    room = exact.memory()["spectra"] // 2
    roomy = Scorer(Small(), images, batch_size=32, spectra="float16", memory=room)
    assert roomy.economies()["spectra"] == "kept in float16"
    tight = Scorer(Small(), images, batch_size=32, spectra="float16", memory=room - 1)
    assert tight.economies()["spectra"] == "recomputed"
    torch.testing.assert_close(tight.score(masks).loss, one.loss, rtol=1e-6, atol=1e-6)
    with pytest.raises(UsageError, match=r"spectra must be one of float32, float16; got 'int8'"):
        Scorer(Small(), images, batch_size=32, spectra="int8")


def test_each_image_is_transformed_once_while_its_spectrum_is_kept():
    images, masks = Images(50), random_masks(20).float()
    scorer = Scorer(Small(), images, batch_size=16)
    scorer.score(masks[:10])
    scorer.score(masks[10:])
    cells = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    twins = scorer.score(pack(cells[[0, 1, 2, 1, 0]], cell=(1, 1), size=(8, 8), symmetry="hermitian")).record
    assert (twins["forwards"], twins["forwards_saved_twins"], twins["forwards_saved_racing"]) == (150, 100, 0)
    found = scorer.economies()
    assert found["transforms"] == 50 and found["forwards"] == 50 * (10 + 10 + 3)
    assert 0.7 < found["batch_fill"] <= 1
