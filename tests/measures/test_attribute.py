"""Attribution of single images, against plain loops in numpy and networks whose frequencies are known."""

import numpy as np
import pytest
import torch
from torch import nn

import freqkit
from freqkit.data import ImageSet
from freqkit.errors import UsageError
from freqkit.measures import AttributeResult, attribute
from freqkit.measures.attribute.page import printed
from freqkit.measures.attribute.sets import CLEAR
from freqkit.models import Classifier

MEAN, STD = (0.4, 0.5, 0.45), (0.2, 0.3, 0.25)


def some_images(size, count=3, seed=0):
    pixels = torch.randint(0, 256, (count, 3, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 3, ["a", "b", "c"], [f"{i}.png" for i in range(count)])


def small_network(size):
    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(1, 3, *size))
    return Classifier(network, mean=MEAN, std=STD, num_classes=3)


def plain_bases(size):
    """For each pair, by its first bin: [(u, v), ...] its bins, as frequencies from 0; by counting."""
    height, width = size
    seen, pairs = set(), []
    for u in range(height):
        for v in range(width):
            if (u, v) not in seen:
                both = {(u, v), (-u % height, -v % width)}
                seen |= both
                pairs.append(sorted(both))
    return pairs


def plain_filter(x, mask):
    """An image [3, H, W] through a mask [H, W], DC first, by sums over waves."""
    height, width = mask.shape
    rows, columns = (np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in (height, width))
    spectrum = rows @ x @ columns
    return (rows.conj() @ (spectrum * mask) @ columns.conj()).real / (height * width)


def plain_logits(model, y):
    with torch.no_grad():
        return model.network.double()(torch.from_numpy(y)[None])[0].numpy()


def plain_odds(model, x, mask, answer):
    z = plain_logits(model, plain_filter(x, mask))
    return z[answer] - np.log(np.exp(np.delete(z, answer)).sum())


def inputs(images, i):
    x = images.images[i].double().numpy() / 255
    return (x - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (9, 6)])
def test_contributions_sets_and_curves_are_those_of_a_plain_loop(size):
    images, model = some_images(size), small_network(size)
    found = attribute(model, images, steps=3, rounds=12, points=5, dtype="float64", batch_size=2)
    model = model.double().eval()
    for i in range(len(images)):
        x, name = inputs(images, i), found.classes[int(found.answers[i])]
        z = plain_logits(model, x)
        answer = int(z.argmax())
        assert name == "abc"[answer] and int(found.logits[found.answers[i]]) == answer
        chance = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        assert float(found.probability[i]) == pytest.approx(chance[answer], abs=1e-9)
        attribution = np.fft.ifftshift(found.attribution[i].double().numpy())
        for bins in plain_bases(size)[::5]:
            slope, step = 0.0, 1e-5
            for alpha in (1 / 6, 3 / 6, 5 / 6):
                mask = np.full(size, alpha)
                ends = []
                for sign in (1, -1):
                    moved = mask.copy()
                    for u, v in bins:
                        moved[u, v] += sign * step
                    ends.append(plain_odds(model, x, moved, answer))
                slope += (ends[0] - ends[1]) / (2 * step) / 3
            for u, v in bins:
                assert attribution[u, v] == pytest.approx(slope / len(bins), abs=1e-5, rel=1e-4)
        for sets, stays in ((found.keeps, True), (found.removes, False)):
            mask = np.fft.ifftshift(sets[i].double().numpy())
            mirrored = np.roll(mask[::-1, ::-1], (1, 1), (0, 1))
            assert (mask == mirrored).all()
            if not stays and not int(found.removable[i]):
                assert mask.sum() == 0
                continue
            z = plain_logits(model, plain_filter(x, mask if stays else 1 - mask))
            assert (int(z.argmax()) == answer) == stays
        # the curves: after none, and after all
        for curve, ends in ((found.insertion, (0, 1)), (found.deletion, (1, 0))):
            for place, weight in zip((0, -1), ends, strict=True):
                z = plain_logits(model, x * weight)
                chance = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
                assert float(curve[i, place]) == pytest.approx(chance[answer], abs=1e-6)
    assert found.numbers[0] == 0 and found.numbers[-1] == len(plain_bases(size))
    assert torch.allclose(found.insertion_power[:, -1], torch.ones(len(images)))


class Reads(nn.Module):
    """Logit 0: the sum of inner products with waves, over their part of the image, less a threshold; logit 1: 0."""

    def __init__(self, size, bins, threshold):
        super().__init__()
        rows, columns = (torch.arange(n, dtype=torch.float64) / n for n in size)
        waves = [torch.cos(2 * torch.pi * (u * rows[:, None] + v * columns)) for u, v in bins]
        self.waves = nn.Parameter(torch.stack(waves).sum(0)[None].repeat(3, 1, 1).float() / (3 * size[0] * size[1]))
        self.threshold = threshold

    def forward(self, x):
        read = torch.einsum("bchw,chw->b", x, self.waves.to(x.dtype)) - self.threshold
        return torch.stack([read, torch.zeros_like(read)], 1)


def waves_image(size, bins, amplitudes, seed=0):
    """Grey waves of these amplitudes, and noise; uint8."""
    rows, columns = (torch.arange(n, dtype=torch.float64) / n for n in size)
    noise = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.04
    x = 0.5 + noise
    for (u, v), amplitude in zip(bins, amplitudes, strict=True):
        x = x + amplitude * torch.cos(2 * torch.pi * (u * rows[:, None] + v * columns))
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)[None].expand(3, -1, -1)


@pytest.mark.parametrize("size", [(16, 16), (13, 13), (15, 10)])
def test_a_network_that_reads_known_bins_gives_them_exactly(size):
    bins = [(1, 2), (3, 0), (2, -3), (0, 4)]
    picture = waves_image(size, bins, (0.10, 0.08, 0.09, 0.07)).contiguous()
    planted = torch.zeros(size, dtype=torch.uint8)
    for u, v in bins:
        for sign in (1, -1):
            planted[(size[0] // 2 + sign * u) % size[0], (size[1] // 2 + sign * v) % size[1]] = 1
    normal = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "num_classes": 2}
    x = (picture.double() / 255 - 0.5) / 0.25
    parts = [float((x * Reads(size, [one], 0.0).waves.detach()).sum()) for one in bins]
    assert min(parts) > 0
    # all are needed, and one of them missing changes the answer
    all_needed = Classifier(Reads(size, bins, sum(parts) - min(parts) / 2), **normal)
    found = freqkit.attribute(all_needed, picture, rounds=10)
    assert torch.equal(found.keeps[0], planted)
    assert int(found.removes[0].sum()) == 2 and (found.removes[0] <= planted).all()
    largest = found.attribution[0].flatten().argsort(descending=True)[: int(planted.sum())]
    assert planted.flatten()[largest].all() and found.labels.tolist() == [-1]
    # one is enough, and all of them must go
    one_enough = Classifier(Reads(size, bins, min(parts) / 2), **normal)
    found = attribute(one_enough, picture[None], rounds=10)
    assert torch.equal(found.removes[0], planted)
    assert int(found.keeps[0].sum()) == 2 and (found.keeps[0] <= planted).all()
    # a linear network's contributions are what it reads, and add up
    contribution = np.fft.ifftshift(found.attribution[0].double().numpy())
    for (u, v), part in zip(bins, parts, strict=True):
        both = contribution[u % size[0], v % size[1]] + contribution[-u % size[0], -v % size[1]]
        assert both == pytest.approx(part, rel=1e-4)
    assert float(found.odds[0, 1] - found.odds[0, 0]) == pytest.approx(contribution.sum(), rel=1e-4)


def test_what_the_empty_spectrum_answers_needs_nothing():
    size = (9, 8)
    network = Classifier(Reads(size, [(1, 1)], -100.0), mean=(0.5,) * 3, std=(0.2,) * 3, num_classes=2)
    found = attribute(network, some_images(size).images, rounds=3)
    assert found.keeps.sum() == 0 and found.share[:, 0].eq(0).all()
    assert found.removable.eq(0).all() and found.removes.sum() == 0 and found.share[:, 1].isnan().all()
    assert found.needed()[0] == [0.0, None] and found.ranked[:, 0].eq(0).all() and found.ranked[:, 1].isnan().all()
    assert "For 3 of 3 images no set was found" in (printed(found).verdict or "")


def test_images_do_not_depend_on_their_company(tmp_path):
    size = (12, 11)
    images, model = some_images(size, 6), small_network(size)
    how = {"steps": 3, "rounds": 8, "points": 4, "dtype": "float64"}
    together = attribute(model, images, **how)
    alone = [attribute(model, images.subset([i]), **how) for i in range(6)]
    for i, one in enumerate(alone):
        assert torch.equal(one.keeps[0], together.keeps[i]) and torch.equal(one.removes[0], together.removes[i])
        assert torch.allclose(one.attribution[0], together.attribution[i], atol=1e-6)


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path):
    images, model = some_images((8, 8), 6), small_network((8, 8))
    how = {"steps": 2, "rounds": 4, "points": 4, "batch_size": 2}
    attribute(model, images, out=tmp_path / "whole", **how)

    class Stops:
        def __init__(self):
            self.tiles = 0

        def start(self, *_, **__): ...
        def finish(self): ...
        def note(self, sentence): ...
        def advance(self, amount, **facts):
            self.tiles += 1
            if self.tiles == 2:
                raise RuntimeError("Stop")

    with pytest.raises(RuntimeError, match="Stop"):
        attribute(model, images, out=tmp_path / "cut", progress=Stops(), **how)
    attribute(model, images, out=tmp_path / "cut", resume=True, **how)
    whole, cut = ((tmp_path / name / "attribute.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_shares_areas_and_needed_by_hand():
    found = attribute(small_network((8, 8)), some_images((8, 8), 5), steps=1, rounds=2, points=3)
    found.keeps.zero_()
    for i in range(5):
        found.keeps[i].view(-1)[: 2 * i] = 1
    assert found.share[:, 0].tolist() == [i / 32 for i in range(5)]
    assert found.needed(0.8)[0][0] == 3 / 32 and found.needed(1.0)[0][0] == 4 / 32 and found.needed(0.2)[0][0] == 0
    x = found.numbers.double() / found.numbers[-1]
    for i in range(5):
        plain = sum(float((x[k + 1] - x[k]) * (found.insertion[i, k].double() + found.insertion[i, k + 1]) / 2)
                    for k in range(len(x) - 1))  # fmt: skip
        assert float(found.areas["insertion"][i]) == pytest.approx(plain)
    rows = {(row["metric"], row["class"], row["threshold"]): row for row in found.rows()}
    assert rows["answer kept", "", 0.05]["value"] == 0.4 and rows["answer kept", "", 0.05]["n"] == 5
    low, value, high = (rows["frequencies that keep", "", 0.8][name] for name in ("low", "value", "high"))
    assert low <= value <= high


def test_bad_questions_are_refused_in_a_sentence(tmp_path):
    model, images = small_network((8, 8)), some_images((8, 8))
    with pytest.raises(UsageError, match="images must have shape"):
        attribute(model, torch.zeros(8, 8))
    with pytest.raises(UsageError, match="attribute: steps must be an integer of at least 1; got 0"):
        attribute(model, images, steps=0)
    with pytest.raises(UsageError, match="attribute: quantile must be"):
        attribute(model, images, quantile=0)
    with pytest.raises(UsageError, match=r"images must be uint8, or floats in \[0, 1\]"):
        attribute(model, torch.full((3, 8, 8), 2.0))
    found = attribute(model, images, steps=1, rounds=1, points=2)
    with pytest.raises(UsageError, match="of must be the name of an image"):
        found.plot(of="nobody")
    found.save(tmp_path / "a.safetensors")
    found.keeps[0, 0, 0] = 7
    found.save(tmp_path / "b.safetensors")
    assert torch.equal(AttributeResult.load(tmp_path / "a.safetensors").removes, found.removes)
    with pytest.raises(UsageError, match="keeps must hold values in"):
        AttributeResult.load(tmp_path / "b.safetensors")
    assert CLEAR < 1e-3
