"""Triplets, against a plain float64 loop and networks of which it is known what they look at."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from freqkit.data import ImageSet
from freqkit.errors import Interrupted, UsageError
from freqkit.measures import TripletsResult, triplets
from freqkit.measures.triplets import COMBINATIONS, TRIPLET
from freqkit.models import Classifier


def plain_part(image, r, side):
    """One channel at a time, the DFT as a product of matrices, a frequency at a time."""
    height, width = image.shape[1:]
    rows, columns = (np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in (height, width))
    short = min(height, width)
    out = np.zeros_like(image)
    for channel, plane in enumerate(image):
        found = rows @ plane @ columns
        for i, j in itertools.product(range(height), range(width)):
            u, v = (i + height // 2) % height - height // 2, (j + width // 2) % width - width // 2
            distance = np.sqrt((u * short / height) ** 2 + (v * short / width) ** 2)
            if (distance < r) != (side == "low"):
                found[i, j] = 0
        out[channel] = (rows.conj() @ found @ columns.conj()).real / (height * width)
    return out


def plain_rank(image, k):
    """By the eigenvectors of the Gram matrix, which share no code with a singular value decomposition."""
    out = np.zeros_like(image)
    for channel, plane in enumerate(image):
        _, vectors = np.linalg.eigh(plane.T @ plane)
        some = vectors[:, ::-1][:, :k]
        out[channel] = plane @ some @ some.T
    return out


@pytest.mark.parametrize("size", [(16, 16), (13, 13), (12, 17)])
def test_answers_are_those_of_a_plain_loop(size):
    chance = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (7, 3, *size), generator=chance, dtype=torch.uint8)
    images = ImageSet(pixels, torch.arange(7) % 3, ["a", "b", "c"], [str(i) for i in range(7)])
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(1, 3, *size))
    model = Classifier(network, mean=(0.4, 0.4, 0.3), std=(0.2, 0.3, 0.2), num_classes=3)
    found = triplets(model, images, r=3, rank=2, dtype="float64", batch_size=4)
    model = model.double().eval()
    for i, image in enumerate(pixels.double().numpy() / 255):
        low, leading = plain_part(image, 3, "low"), plain_rank(image, 2)
        for p, part in enumerate([image, low, plain_part(image, 3, "high"), leading, image - leading]):
            # the model refuses pixels that no image has, its network does not
            mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (model.mean, model.std))
            logits = model.network(((torch.from_numpy(part) - mean) / std)[None])[0]
            assert int(found.answers[p, i]) == int(logits.argmax()), (p, i)
            if i in found.shown.tolist():
                row = found.shown.tolist().index(i)
                best = logits.softmax(0).sort(descending=True)
                assert found.confidences[row, p].numpy() == pytest.approx(best.values.detach().numpy(), abs=1e-5)
                assert np.allclose(found.pictures[row, p].numpy(), part, atol=2e-3)


class Reads(nn.Module):
    """Logit 1 where a wave of 2 cycles is stronger than `share` of one of 6 cycles, else logit 0; and the mean decides
    nothing."""

    def __init__(self, size=16):
        super().__init__()
        at = torch.arange(size) / size
        self.waves = nn.Parameter(torch.stack([torch.cos(2 * torch.pi * f * at) for f in (2, 6)]))

    def forward(self, x):
        low, high = torch.einsum("bhw,kw->kb", x.mean(1), self.waves) / 16
        return torch.stack([torch.full_like(low, 0.4), 2 * high - 3 * low.abs() * (high < 0.3)], 1)


def planted(amplitudes):
    """Images with waves of 2 and 6 cycles of these strengths, all of class 1."""
    at = torch.arange(16) / 16
    made = [0.5 + low * torch.cos(4 * torch.pi * at) + high * torch.cos(12 * torch.pi * at) for low, high in amplitudes]
    pixels = (torch.stack(made)[:, None, None].expand(-1, 3, 16, 16) * 255).round().to(torch.uint8)
    return ImageSet(
        pixels.contiguous(), torch.ones(len(made), dtype=torch.int64), ["a", "b"], list(map(str, amplitudes))
    )


def test_a_network_that_reads_high_waves_alone_makes_triplets():
    model = Classifier(Reads(), mean=(0, 0, 0), std=(1, 1, 1), num_classes=2)
    images = planted([(0.0, 0.2), (0.2, 0.2), (0.2, 0.0), (0.0, 0.0), (0.1, 0.25)])
    found = triplets(model, images, r=4, rank=0, batch_size=4)
    plain = [[int(model.network(torch.from_numpy(x)[None]).argmax()) for x in parts] for parts in (
        (image, plain_part(image, 4, "low").astype(np.float32), plain_part(image, 4, "high").astype(np.float32))
        for image in images.images.float().numpy() / 255)]  # fmt: skip
    assert found.answers.T.tolist() == plain
    assert found.triplets.tolist() == [i for i, one in enumerate(plain) if one == [1, 0, 1]] and 0 in found.triplets
    assert found.splits == ("frequency",) and found.ratio is None


def test_combinations_are_counted_and_add_up():
    parts = torch.tensor([[w, low, high] for w, low, high in itertools.product((1, 0), repeat=3) for _ in range(3)]).T
    labels = torch.tensor([0, 1, 1] * 8)
    answers = torch.where(parts.bool(), labels, 1 - labels)
    control = torch.cat([answers[:1], answers[2:], answers[1:2]])  # low and high have changed places
    found = TripletsResult(
        ["a", "b"], ["whole", "low", "high", "leading", "rest"], torch.cat([answers, control[1:]]).int(), labels,
        torch.tensor([0, 1]), torch.tensor([]).long(), torch.zeros(0, 5, 3, 8, 8).half(), torch.zeros(0, 5, 2),
        torch.zeros(0, 5, 2).long(), {"quantity": "", "confidence": 0.95, "r": 4.0, "rank": 2}, {"logits": 2},
    )  # fmt: skip
    assert found.tallies[0].tolist() == [[3, 1, 2]] * 8 and found.tallies.sum((1, 2)).tolist() == [48, 48]
    assert COMBINATIONS[TRIPLET] == (True, False, True) and found.triplets.tolist() == [6, 7, 8]
    assert found.tallies[1, COMBINATIONS.index((True, True, False)), 0] == 3
    assert found.ratio[0] == 1.0 and found.ratio[1] < 1 < found.ratio[2]
    line = next(one for one in found.table() if (one["whole"], one["low"], one["high"]) == ("right", "wrong", "right"))
    assert (line["images"], line["count"], line["share"]) == (24, 3, 0.125) and line["share low"] < 0.125
    assert len(found.rows()) == 2 * 8 * 3
    assert sum(row["value"] for row in found.rows() if row["class"] == "" and row["condition"] == "frequency") == 1


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    from freqkit.data import synthetic
    from freqkit.models import load_model
    from tests.engine.small_world import Watcher

    model, images = load_model("small_convnet", num_classes=4, seed=2), synthetic(1, images_per_class=40)

    class Stops(Watcher):
        def advance(self, amount, **facts):
            super().advance(amount, **facts)
            if self.done > 150:
                raise Interrupted(2)

    whole = triplets(model, images, r=5, batch_size=16, out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        triplets(model, images, r=5, batch_size=16, out=tmp_path / "run", progress=Stops())
    triplets(model, images, r=5, batch_size=16, out=tmp_path / "run", resume=True)
    one, other = (tmp_path / name / "triplets.safetensors" for name in ("whole", "run"))
    assert one.read_bytes() == other.read_bytes()
    assert whole.definition["rank"] == min(
        range(1, 32), key=lambda k: abs(k * (64 - k) - whole.definition["frequencies"])
    )


def test_bad_arguments_are_refused():
    model, images = Classifier(Reads(), mean=(0, 0, 0), std=(1, 1, 1), num_classes=2), planted([(0.1, 0.1)])
    with pytest.raises(UsageError, match="there must be a frequency on the high side"):
        triplets(model, images, r=12, batch_size=4)
    with pytest.raises(UsageError, match="rank must be an integer with 0 <= rank <= 15"):
        triplets(model, images, r=4, rank=16, batch_size=4)
    with pytest.raises(UsageError, match="r must be a number with 0 < r"):
        triplets(model, images, r=0, batch_size=4)
    with pytest.raises(UsageError, match='domain must be "pixels"'):
        triplets(model, images, r=4, domain="normalised", batch_size=4)
