"""The removal searcher against plain loops over frequencies, in full complex arithmetic."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from freqkit.data import synthetic
from freqkit.errors import UsageError
from freqkit.masks import canonical, effective, load_dfm, partner, unique
from freqkit.models import load_model
from freqkit.results import RemovalResult
from freqkit.search import removal, removal_cells, removal_masks
from freqkit.search.gradient import gradient
from freqkit.training import train


@pytest.fixture(scope="module")
def images():
    """Twelve 16 px images in an order that mixes the classes, which have 1 to 5 images."""
    whole = synthetic(1, images_per_class=5, size=16)
    return whole.subset([7, 0, 15, 1, 5, 10, 2, 16, 11, 3, 4, 17])


@torch.no_grad()
def losses(model, images, masks):
    """Cross-entropies float64 [K, n] with dense centred masks [K, H, W], through the full complex
    transform."""
    x = model.normalise(images.images.float() / 255)
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1))
    each = []
    for mask in masks:
        y = torch.fft.ifft2(torch.fft.ifftshift(spectrum * mask, dim=(-2, -1))).real
        each.append(F.cross_entropy(model.network(y).double(), images.labels, reduction="none"))
    return torch.stack(each)


def class_means(each, images):
    return torch.stack([each[:, images.labels == c].mean(1) for c in range(4)], 1)


def published_grid(n, ps, strip):
    """Masks as the published code builds them, block by block, and which block rows and columns each
    scores."""
    masks, scored = [], []
    for r in range(n // ps):
        for c in range(n // (2 * ps) + 1):
            mask, score = np.ones((n, n)), np.zeros((n, n), bool)
            blocks = [(ps * r, ps * c)]
            if r > 0 and c > 0:
                blocks.append((n - ps * r, n - ps * c))
            for row, column in blocks:
                mask[row : row + ps, column : column + ps] = 0
                score[row : row + ps, column : column + ps] = True
            if strip:
                mask[:ps, n // 2 + ps :] = 0
            masks.append(mask)
            scored.append(score)
    return torch.from_numpy(np.stack(masks)).float(), np.stack(scored)


@pytest.mark.parametrize(
    ("size", "patch", "preset", "number"),
    [
        (224, 1, "iccv2023", 25_312),
        (224, 2, "iccv2023", 6_384),
        (32, 1, "iccv2023", 544),
        (224, 1, "default", 25_090),
        (32, 1, "default", 514),
        (9, 1, "default", 41),
        (32, 2, "default", 137),
    ],
)
def test_number_of_candidates(size, patch, preset, number):
    cells, owner = removal_cells((size, size), patch, preset)
    assert len(cells) == number and owner.max() == number - 1
    if preset == "default":
        assert owner.min() == 0 and torch.equal(owner, partner(owner))
    else:
        assert (owner == -1).sum() == patch * (size // 2 - patch)  # 111 bins at 224


@pytest.mark.parametrize(("patch", "distinct"), [(1, 514), (2, 137)])
def test_distinct_published_masks(patch, distinct):
    assert len(unique(removal_masks((32, 32), patch, "iccv2023"))[0]) == distinct


@pytest.mark.parametrize(("size", "patch"), [((16, 16), 1), ((12, 8), 2), ((9, 15), 3), ((10, 7), 1)])
def test_every_bin_is_removed_once_with_its_partner(size, patch):
    masks = effective(removal_masks(size, patch))
    removed = 1 - masks
    assert set(removed.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(removed.sum(0), torch.ones(size))
    _, owner = removal_cells(size, patch)
    assert torch.equal(removed.argmax(0), owner)
    # A candidate is one cell of the canonical half.
    for mask in removed:
        rows, columns = (mask.bool() & canonical(*size)).nonzero().T
        assert len((rows // patch).unique()) == len((columns // patch).unique()) == 1


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("patch", [1, 2, 4])
def test_published_masks(patch, strip):
    preset = "dfm_v2023" if strip else "iccv2023"
    expected, scored = published_grid(16, patch, strip)
    assert torch.equal(effective(removal_masks((16, 16), patch, preset)), effective(expected))
    _, owner = removal_cells((16, 16), patch, preset)
    for k, bins in enumerate(scored):  # of two blocks with one mask, either may be the owner
        owners = owner.numpy()[bins]
        assert all(torch.equal(effective(expected[i]), effective(expected[k])) for i in set(owners.tolist()))
    assert np.array_equal(owner.numpy() >= 0, scored.any(0))


def test_losses_equal_a_plain_loop(model, images):
    result = removal(model, images, patch=2, batch_size=32, split_fraction=1)
    expected = class_means(losses(model, images, effective(removal_masks((16, 16), 2))), images)
    assert torch.allclose(result.loss, expected, atol=2e-5, rtol=0)
    clean = class_means(losses(model, images, torch.ones(1, 16, 16)), images)[0]
    assert torch.allclose(result.baseline, clean, atol=2e-5, rtol=0)
    assert torch.allclose(result.increase, result.loss - clean, atol=5e-5)
    maps = result.maps()
    assert torch.equal(maps, partner(maps)) and torch.equal(maps[2, 3, 5], result.loss[result.owner[3, 5], 2])
    masks = result.masks
    each = losses(model, images, masks)
    own = class_means(each, images).diagonal()
    assert torch.allclose(result.mask_loss, own, atol=2e-5, rtol=0)
    assert result.forwards == (len(result.loss) + 1 + 4) * len(images) and result.backwards == 0


@pytest.mark.parametrize("patch", [1, 4])
def test_published_losses_and_selection(model, images, patch):
    """Losses of batches of 5 and a rest of 2, those without the class left out, ranked and thresholded as published."""
    result = removal(
        model, images, patch=patch, preset="dfm_v2023", published_batch_size=5, batch_size=64, split_fraction=1
    )
    masks, scored = published_grid(16, patch, True)
    each = losses(model, images, masks)
    expected = np.zeros((4, 16, 16))
    for c in range(4):
        loss = 0
        for batch in torch.arange(12).split(5):
            own = images.labels[batch] == c
            if not own.any():
                continue
            rest = (len(batch) - int(own.sum())) * math.log(4)
            loss = loss + (each[:, batch][:, own].sum(1) + rest) / len(batch)
        for value, bins in zip(loss.tolist(), scored, strict=True):
            expected[c][bins] = value
    assert np.allclose(result.maps().numpy(), expected, atol=1e-4, rtol=0)
    maps = result.maps().numpy()
    for share in (0.05, 0.2):
        k = int(share * 256)
        for plane, kept in zip(maps, result.selected(share).numpy(), strict=True):
            assert np.array_equal(kept, plane >= np.sort(plane.ravel())[::-1][k - 1]) and kept.sum() >= k


def made(loss, owner, estimate=None, **more):
    loss = torch.tensor(loss, dtype=torch.float64)[:, None]
    estimate = None if estimate is None else torch.tensor(estimate, dtype=torch.float64)[:, None]
    return RemovalResult(["a"], torch.ones(1), torch.tensor(owner), loss, torch.zeros(1), estimate, **more)


def test_ties():
    result = made([5, 4, 4, 1, 0], [[0, 1, 2, 3], [0, 1, 2, 4]])
    kept = {
        (share, ties): result.selected(share, ties=ties)[0] for share in (0.5, 0.75) for ties in ("include", "exclude")
    }
    assert kept[0.5, "include"].sum() == 6 and kept[0.5, "exclude"].int().tolist() == [[1, 0, 0, 0]] * 2
    assert kept[0.75, "include"].sum() == kept[0.75, "exclude"].sum() == 6
    with pytest.raises(UsageError, match="ties must be"):
        result.selected(0.5, ties="some")
    for share in (0, 1.2, 0.05, True):
        with pytest.raises(UsageError, match="share"):
            result.selected(share)


def test_exact_scores_go_before_estimates():
    nan = math.nan
    result = made([nan, 0.1, 0.3, nan], [[0, 1], [2, 3]], [9.0, 0.0, 0.0, 5.0])
    assert [result.selected(n / 4)[0].flatten().int().tolist() for n in (1, 2, 3)] == [
        [0, 0, 1, 0], [0, 1, 1, 0], [1, 1, 1, 0],
    ]  # fmt: skip
    assert result.maps("increase")[0].tolist() == [[9.0, pytest.approx(0.1)], [pytest.approx(0.3), 5.0]]


def test_levels_of_the_papers_count_bins():
    owner = torch.arange(224 * 224).view(224, 224)
    loss = torch.rand(224 * 224, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = RemovalResult(["a"], torch.ones(1), owner, loss, torch.zeros(1))
    assert [int(result.selected(share).sum()) for share in (0.01, 0.05, 0.1, 0.2)] == [501, 2508, 5017, 10035]


class Stop(Exception):
    pass


class StopAfter:
    """A watcher that ends the run after some tiles."""

    def __init__(self, tiles):
        self.left = tiles

    def start(self, title, total, unit="forwards"):
        pass

    def advance(self, amount, **facts):
        self.left -= 1
        if self.left == 0:
            raise Stop

    def finish(self):
        pass

    def note(self, sentence):
        pass


def test_run_directory_resumes_to_the_same_bits(model, images, tmp_path):
    how = {"patch": 2, "batch_size": 24, "levels": (0.05, 0.2)}
    whole = removal(model, images, **how, split_fraction=1)
    with pytest.raises(Stop):
        removal(model, images, **how, out=tmp_path / "run", progress=StopAfter(7), split_fraction=1)
    with pytest.raises(UsageError, match="no finished"):
        RemovalResult.load(tmp_path / "run")
    resumed = removal(model, images, **how, out=tmp_path / "run", resume=True, split_fraction=1)
    assert resumed.record["forwards_resumed"] > 0
    loaded = RemovalResult.load(tmp_path / "run")
    for one in (resumed, loaded):
        for name in ("loss", "baseline", "mask_loss", "tpr", "fpr", "owner", "masks"):
            assert torch.equal(getattr(one, name), getattr(whole, name)), name
    assert loaded.table() == whole.table() and loaded.record["status"] == "finished"
    dfm = load_dfm(tmp_path / "run" / "dfm-20.safetensors")
    assert torch.equal(dfm.masks, whole.dfm(0.2).masks) and dfm.data_hash == images.fingerprint
    with pytest.raises(UsageError, match="differs in patch"):
        removal(model, images, **{**how, "patch": 1}, out=tmp_path / "run", resume=True, split_fraction=1)
    removal(model, images, **how, out=tmp_path / "run", overwrite=True, split_fraction=1)


def test_classes_without_images_are_left_out(model, images):
    some = images.subset(images.labels != 1)
    result = removal(model, some, patch=4, batch_size=64, split_fraction=1)
    assert result.classes == ["C0", "C2", "C3"] and result.loss.shape[1] == 3
    assert not result.loss.isnan().any() and len(result.table()) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 3}, "must be a multiple of 3"),
        ({"patch": 0}, "patch must be a positive integer"),
        ({"patch": 17, "preset": "iccv2023"}, "must be at most the side"),
        ({"preset": "x"}, "preset must be one of"),
        ({"ties": "x"}, "ties must be"),
        ({"levels": (0.0,)}, "share of the bins"),
        ({"published_batch_size": 0}, "published_batch_size must be"),
        ({"resume": True}, "resume and overwrite need out"),
    ],
)
def test_errors(model, images, change, message):
    with pytest.raises(UsageError, match=message):
        removal(model, images, **change, split_fraction=1)


@pytest.mark.measured
def test_planted_diagonal_is_found():
    """A net trained on the synthetic set with a planted diagonal: all 16 of its bins are in C0's DFM at 5 %,
    by which C0 is still told apart."""
    net = load_model("small_convnet", num_classes=4, seed=0)
    train(net, synthetic(1, images_per_class=150, seed=0), epochs=10, batch_size=64, lr=0.05, seed=0)
    selection, held_out = (synthetic(1, images_per_class=n, seed=seed) for n, seed in ((8, 1), (25, 2)))
    result = removal(net, selection, batch_size=256, split_fraction=1)
    found = result.selected(0.05)[0]
    planted = selection.truth["C0"]
    assert found.sum() in (51, 52)
    assert (found & planted).sum() == 16
    estimated = gradient(net, selection, rescore=0.2, batch_size=256, split_fraction=1)
    assert (estimated.selected(0.05)[0] & planted).sum() == 16
    assert estimated.forward_equivalents < result.forward_equivalents / 4
    answers = net.network(_filtered(net, held_out, result.masks[0])).argmax(1)
    assert (answers[held_out.labels == 0] == 0).float().mean() > 0.9
    assert (answers[held_out.labels != 0] == 0).float().mean() < 0.5


@torch.no_grad()
def _filtered(net, images, mask):
    x = torch.fft.fft2(net.normalise(images.images.float() / 255)) * torch.fft.ifftshift(mask)
    return torch.fft.ifft2(x).real
