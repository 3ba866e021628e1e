"""Pass curves against plain transforms, on networks that decode the intended answer, and by what it costs."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from freqkit.cli.app import app
from freqkit.data import ImageSet, synthetic, write_image_folder
from freqkit.engine import Scorer
from freqkit.engine.forward import Forward
from freqkit.errors import UsageError
from freqkit.measures import PassCurvesResult, pass_curves, square_filter
from freqkit.models import Classifier, load_model
from freqkit.results.load import load_result, results_of
from freqkit.results.rows import spell, unspell

ENCODINGS = ("raw", "clip", "maxnorm", "minmax", "uint8wrap")


def pictures(size, count=6, classes=3):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)
    names = [f"c{i}" for i in range(classes)]
    return ImageSet(images, torch.arange(count) % classes, names, [f"{i}.png" for i in range(count)])


class Means(nn.Module):
    """The logits are the means of channels."""

    def forward(self, x):
        return x.mean((2, 3))


def heard(size, **asked):
    """float64 [K + 1, n, 3, H, W] that the network was shown, and the result."""
    images, shown, original = pictures(size), [], Scorer._batch
    model = Classifier(Means(), mean=(0.0,) * 3, std=(1.0,) * 3, num_classes=3)

    def keep(self, what, versions, part, *rest):
        shown.append(what.make(versions, part).view(versions.stop - versions.start, -1, 3, *size).double())
        return original(self, what, versions, part, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scorer, "_batch", keep)
        result = pass_curves(model, images, batch_size=len(images), form="eager", **asked)
    return images, torch.cat(shown), result


# ---- plain twins, float64, by loops over the bins


def kept(size, kind, one, other, *, square, inclusive, dc):
    """complex-plane mask in fftfreq order, a bin at a time."""
    h, w = size
    mask = np.zeros(size)
    for i, j in np.ndindex(size):
        u, v = (i + h // 2) % h - h // 2, (j + w // 2) % w - w // 2
        if square:

            def inside(r, u=u, v=v):
                return -r <= u < r and -r <= v < r

            value = {"low": lambda: inside(one), "high": lambda: not inside(one),
                     "band": lambda: inside(other) and not inside(one)}[kind]()  # fmt: skip
        else:
            s = min(size)
            r = math.sqrt((u * s / h) ** 2 + (v * s / w) ** 2)

            def below(limit, r=r):
                return r <= limit if inclusive else r < limit

            value = {"low": lambda: below(one), "high": lambda: not below(one),
                     "band": lambda: below(other) and not below(one)}[kind]()  # fmt: skip
        mask[i, j] = value or (dc and (u, v) == (0, 0))
    return mask


def encoded(y, encoding):
    """[3, H, W] of one image."""
    if encoding == "clip":
        return np.minimum(np.maximum(y, 0), 1)
    if encoding == "maxnorm":
        return y / y.max() if y.max() > 0 else y
    if encoding == "minmax":
        spans = [(c.min(), c.max()) for c in y]
        return np.stack([(c - a) / (b - a) if b > a else c * 0 for c, (a, b) in zip(y, spans, strict=True)])
    if encoding == "uint8wrap":
        return (np.trunc(np.round(255 * y, 3)).astype(np.int64) % 256) / 255
    return y


@pytest.mark.parametrize("size", [(16, 16), (15, 18)], ids=str)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_discs_against_a_plain_twin(size, encoding):
    for inclusive, dc in ((False, True), (True, False)):
        images, shown, result = heard(
            size, radii=[2, 5], encoding=encoding, boundary="inclusive" if inclusive else "strict",
            dc="keep" if dc else "remove",
        )  # fmt: skip
        x = images.images.double().numpy() / 255
        wanted = [x]
        for kind, low, high in (("low", 2, 0), ("low", 5, 0), ("high", 2, 0), ("high", 5, 0), ("band", 2, 5)):
            mask = kept(size, kind, low, high, square=False, inclusive=inclusive, dc=dc)
            filtered = np.fft.ifft2(np.fft.fft2(x) * mask).real
            wanted.append(np.stack([encoded(one, encoding) for one in filtered]))
        assert len(shown) == len(wanted) == 1 + len(result.filters)
        away = (shown - torch.from_numpy(np.stack(wanted))).abs()
        if encoding == "uint8wrap":  # a level's edge may be met on either side
            assert (away > 1e-4).double().mean() < 2e-3
        else:
            assert away.max() < 2e-5


@pytest.mark.parametrize("side", [16, 20, 21, 33])
def test_squares_of_the_published_code(side):
    """Also where the square is empty or everything: such versions are shown once."""
    images, shown, result = heard((side, side), preset="cvpr2024", filters=["low", "high", "band"])
    x, half, wanted = images.images.double().numpy() / 255, side // 2, []
    cutoffs = [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99]
    assert result.cutoffs.tolist() == [*cutoffs, *cutoffs, *cutoffs[:-1]]
    for kind, low, high in (
        *(("low", int(c * half), 0) for c in cutoffs), *(("high", int((1 - c) * half), 0) for c in cutoffs),
        *(("band", int(a * half), int(b * half)) for a, b in itertools.pairwise(cutoffs)),
    ):  # fmt: skip
        mask = kept((side, side), kind, low, high, square=True, inclusive=False, dc=False)
        wanted.append(np.clip(np.fft.ifft2(np.fft.fft2(x) * mask).real, 0, 1))
    distinct = []
    for made in [x, *wanted]:
        if not any(np.abs(made - other).max() < 1e-9 for other in distinct):
            distinct.append(made)
    assert len(shown) == len(distinct) == result.record["forwards"] / len(images)
    assert (shown - torch.from_numpy(np.stack(distinct))).abs().max() < 2e-5
    right = np.stack([made.mean((2, 3)).argmax(1) for made in [x, *wanted]])
    clear = [np.ptp(np.sort(made.mean((2, 3)), 1)[:, 1:], 1) > 1e-4 for made in [x, *wanted]]
    assert (result.answers.numpy() == right)[np.stack(clear)].all()


def test_the_filter_itself():
    i, j = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    x = ((3 * i + 5 * j + (i * j) % 7) % 16).double()[None] / 15
    low, high = square_filter(x, "low", 0.3), square_filter(x, "high", 0.5)
    assert low.mean() == pytest.approx(0.495052083, abs=1e-9)
    assert low.square().sum() == pytest.approx(63.496869366, abs=1e-8)
    assert low[0, 3, 5] == pytest.approx(0.521328421, abs=1e-9)
    assert high.mean() == pytest.approx(0.117194217, abs=1e-9)
    assert high.square().sum() == pytest.approx(9.752624647, abs=1e-8)
    assert (square_filter(x, "low", 0.1) == 0).all() and (square_filter(x, "high", 0.9) - x).abs().max() < 1e-12
    batch = torch.rand(2, 4, 3, 12, 10)
    assert torch.equal(square_filter(batch, "high", 0.4)[1, 2], square_filter(batch[1, 2], "high", 0.4))
    for wrong in (0, 1, -0.2, True, "0.5", math.nan):
        with pytest.raises(UsageError, match="cutoff must be a number with 0 < cutoff < 1"):
            square_filter(x, "low", wrong)
    with pytest.raises(UsageError, match='kind must be "low" or "high"'):
        square_filter(x, "band", 0.5)
    with pytest.raises(UsageError, match="real tensor"):
        square_filter(torch.ones(4, 4, dtype=torch.long), "low", 0.5)


WAVES = {"slow": 2, "fast": 12}


class Waves(nn.Module):
    """Reads which of two waves is there: slow alone, fast alone, both, none (four logits)."""

    def forward(self, x):
        spectrum = torch.fft.fft2(x.mean(1).double()).abs() / x[0, 0].numel()
        slow, fast = (spectrum[:, 0, f] > 0.02 for f in WAVES.values())
        return nn.functional.one_hot((slow + 2 * fast).long(), 4).float() * 9


def waves(per_class=3, side=32):
    """Images whose class says which waves they have, none: flat grey."""
    t, made, labels = torch.arange(side) * 2 * torch.pi / side, [], []
    for label, phase in ((c, p) for c in range(4) for p in range(per_class)):
        line = 0.5 * torch.ones(side)
        line = line + 0.2 * (label & 1) * torch.cos(WAVES["slow"] * t + phase)
        line = line + 0.2 * (label // 2) * torch.cos(WAVES["fast"] * t + phase)
        made.append((255 * line).round().to(torch.uint8).expand(3, side, side))
        labels.append(label)
    names = ["none", "slow", "fast", "both"]
    return ImageSet(torch.stack(made), torch.tensor(labels), names, [f"{i}.png" for i in range(len(made))])


def test_a_mean_that_no_redrawing_changes_has_no_interval():
    """Nothing of the waves lies above half of the band, and all of them below a tenth of it."""
    model = Classifier(Waves(), mean=(0.4,) * 3, std=(0.5,) * 3, num_classes=4)
    images = waves()
    slow = images.subset(images.labels == 1)
    result = pass_curves(model, slow, preset="cvpr2024", cutoffs=[0.1, 0.2, 0.3, 0.4, 0.5],
                         batch_size=8, form="eager", resamples=100)  # fmt: skip
    assert result.means["HPP"] == [0.0, None, None]
    assert [row["low"] for row in result.rows() if row["metric"] == "HPP"] == [None]


def test_an_oracle_gets_what_the_filter_leaves():
    model = Classifier(Waves(), mean=(0.4,) * 3, std=(0.5,) * 3, num_classes=4)
    result = pass_curves(model, waves(), cutoffs=[0.05, 0.5, 0.9], batch_size=5, form="eager")
    assert result.record["forwards"] == 12 * (1 + 3 + 3 + 2 - 2)  # two keep what another keeps
    for kind, (low, high), answers in zip(result.filters, result.edges.tolist(), result.answers[1:], strict=True):
        slow, fast = low <= 2 < high, low <= 12 < high
        wanted = [(label & 1) * slow + 2 * (label // 2) * fast for label in result.labels.tolist()]
        assert answers.tolist() == wanted, (kind, low, high)
    assert result.accuracy.tolist() == [1, 0.25, 0.5, 1, 1, 0.5, 0.25, 0.5, 0.5]
    assert result.ratio.tolist() == result.accuracy[1:].tolist()
    rows = [row for row in result.rows() if row["metric"] == "accuracy" and row["class"] == "fast"]
    assert [row["value"] for row in rows] == [0, 0, 1, 1, 1, 0, 0, 1]
    assert {row["filter"] for row in rows} == {"low", "high", "band"} and rows[1]["radius"] == 8 == 16 * rows[1][
        "cutoff"
    ]


def test_one_decode_one_transform_and_a_forward_for_each_cut_off(monkeypatch):
    """22 cut-offs at 224 are 22 forwards of each image, and one of it whole."""
    from freqkit.engine import spectra

    transformed, original = [], spectra.spectrum
    monkeypatch.setattr(spectra, "spectrum", lambda x, **how: (transformed.append(len(x)), original(x, **how))[1])
    asked = []

    class Small(nn.Module):
        def forward(self, x):
            asked.append(len(x))
            return x.mean((2, 3))

    model = Classifier(Small(), mean=(0.5,) * 3, std=(0.2,) * 3, num_classes=3)
    images = pictures((224, 224), count=6)
    for memory in (1 << 30, 1):  # spectra kept, and made anew for each block
        transformed.clear()
        asked.clear()
        result = pass_curves(model, images, preset="cvpr2024", batch_size=4, form="eager", memory=memory)
        assert result.record["forwards"] == 23 * 6 and sum(transformed) == 6 + 1  # one, to know its bytes
        assert sum(asked) - 23 * 6 <= 8  # of the first batch, asked again by half
        assert len(result.names) == 22
    assert sorted({high for _, high in result.edges.tolist() if high < math.inf}) == [
        1, 11, 22, 33, 44, 56, 67, 78, 89, 100, 110]  # fmt: skip


def test_ratios_are_of_the_same_images():
    """Tallies, means and intervals by hand from the answers."""
    result = pass_curves(load_model("small_convnet", seed=3), synthetic(1, images_per_class=9), batch_size=32)
    right = (result.answers == result.labels).numpy()
    whole, seen = right[0], right[1:]
    both, alone, lost, neither = result.tallies().numpy()
    for c in range(5):
        own = np.ones(36, bool) if c == 0 else result.labels.numpy() == c - 1
        assert (both[:, c] == (seen & whole & own).sum(1)).all() and (alone[:, c] == (seen & ~whole & own).sum(1)).all()
        assert (lost[:, c] == (~seen & whole & own).sum(1)).all()
        assert (neither[:, c] == (~seen & ~whole & own).sum(1)).all()
    low = np.mean([seen[result.names.index(f"low {c}")].mean() / whole.mean() for c in (0.1, 0.2, 0.3, 0.4, 0.5)])
    high = np.mean([seen[result.names.index(f"high {c}")].mean() / whole.mean() for c in (0.9, 0.8, 0.7, 0.6, 0.5)])
    assert result.means["LPP"][0] == pytest.approx(low) and result.means["HPP"][0] == pytest.approx(high)
    assert result.means["HPP/(LPP+HPP)"][0] == pytest.approx(high / (low + high))
    assert all(least <= value <= most for value, least, most in result.means.values())
    table = result.table()
    assert len(table) == 32 * 5 and table[5]["class"] == "" and table[6]["class"] == "C0"
    row = next(row for row in result.rows() if row["metric"] == "ratio to clean" and row["class"] == "C2")
    again = unspell(spell(row))
    assert {name: again[name] for name in row} == row and row["filter"] == "low" and row["n"] == 9
    assert not pass_curves(load_model("small_convnet"), synthetic(1, images_per_class=2), radii=[3]).means


BAD = [
    ({"cutoffs": [0.5, 1]}, "cutoffs must be rising numbers with 0 < cutoff < 1"),
    ({"cutoffs": [0, 0.5]}, "cutoffs must be rising numbers with 0 < cutoff < 1"),
    ({"cutoffs": [0.5, 0.2]}, "cutoffs must be rising"),
    ({"cutoffs": []}, "cutoffs must be rising"),
    ({"radii": [4, 40]}, "radii above 0 and below 22.63, that of the corner"),
    ({"radii": [4], "cutoffs": [0.5]}, "give cutoffs or radii, not both"),
    ({"filters": ["low", "mid"]}, "filters must be some of low, high, band"),
    ({"cutoffs": [0.5], "filters": ["band"]}, "a band lies between two cut-offs"),
    ({"radii": [4, 8], "shape": "square"}, "radii are of discs"),
    ({"encoding": "clip", "domain": "normalised"}, 'needs a scorer of domain="pixels"'),
    ({"encoding": "png"}, "encoding must be one of raw, clip, maxnorm, minmax, uint8wrap"),
]


@pytest.mark.parametrize(("asked", "words"), BAD, ids=str)
def test_what_does_not_fit_is_refused(asked, words):
    with pytest.raises(UsageError, match=words):
        pass_curves(load_model("small_convnet"), synthetic(1, images_per_class=2), batch_size=8, **asked)


class Stop(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    model, images = load_model("small_convnet"), synthetic(1, images_per_class=6)
    asked = {"batch_size": 8, "form": "eager"}
    pass_curves(model, images, out=tmp_path / "whole", **asked)
    calls, original = [], Forward.__call__

    def die(self, x):
        calls.append(1)
        if len(calls) == 20:
            raise Stop
        return original(self, x)

    monkeypatch.setattr(Forward, "__call__", die)
    with pytest.raises(RuntimeError, match="Stop"):
        pass_curves(model, images, out=tmp_path / "cut", **asked)
    monkeypatch.setattr(Forward, "__call__", original)
    result = pass_curves(model, images, out=tmp_path / "cut", resume=True, **asked)
    for name in ("pass-curves.safetensors", "pass-curves.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    record = json.loads((tmp_path / "cut" / "run.json").read_text())
    assert (
        record["status"] == "finished" and 0 < record["economies"]["forwards"] < record["forwards"] == 33 * 24 - 24 * 2
    )
    assert torch.equal(load_result(tmp_path / "cut").answers, result.answers) and len(results_of(tmp_path / "cut")) == 1
    with pytest.raises(UsageError, match="cannot resume, for the run differs in encoding"):
        pass_curves(model, images, out=tmp_path / "cut", resume=True, encoding="clip", **asked)


def test_the_command(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, [str(one) for one in arguments])

    write_image_folder(synthetic(1, images_per_class=3), tmp_path / "images")
    flags = ["pass-curves", "--model", "small_convnet", "--num-classes", 4, "--data", tmp_path / "images"]
    done = run(*flags, "--out", tmp_path / "run", "--cutoffs", "0.2,0.6", "--filters", "low,band")
    assert done.exit_code == 0 and "low 0.2" in done.stdout and "band 0.2" in done.stdout
    for name in ("pass-curves.safetensors", "pass-curves.csv", "pass-curves.png", "report.html", "run.yaml"):
        assert (tmp_path / "run" / name).is_file(), name
    assert PassCurvesResult.load(tmp_path / "run" / "pass-curves.safetensors").names == [
        "low 0.2",
        "low 0.6",
        "band 0.2",
    ]
    facts = json.loads(run(*flags, "--preset", "cvpr2024", "--json").stdout)
    assert set(facts["means"]) == {"LPP", "HPP", "HPP/(LPP+HPP)"} and facts["definition"]["encoding"] == "clip"
    refused = run(*flags, "--cutoffs", "0.2,1.5")
    assert refused.exit_code == 2 and "cutoffs must be rising numbers with 0 < cutoff < 1" in refused.stderr
