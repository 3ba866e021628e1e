"""Searches test themselves: on planted truth, against plain loops, and where there is nothing to find."""

import json

import pytest
import torch

from freqkit.data import ImageSet, synthetic
from freqkit.errors import UsageError
from freqkit.masks import effective, random_alike
from freqkit.models import Classifier, load_model
from freqkit.report import write_report
from freqkit.report.readings import against, readings
from freqkit.results import load_result
from freqkit.search import hfss, learned, removal
from freqkit.search.pages import readings_of_search
from freqkit.training import train
from tests.search.test_lineages import StopAfter

pytestmark = pytest.mark.filterwarnings("ignore:(Caution|Not tested)")
SIDE, PLANTED = 16, 6
PAIRS = torch.tensor([(1, 2), (2, 5), (3, 1), (5, 4), (6, 2), (4, 6), (1, 6), (2, 3), (3, 5), (5, 1), (6, 6), (4, 3)])
HOW = {"coverage": 0.1, "steps": 30, "batch_size": 64, "form": "eager"}


def waves():
    """float32 [12, 2, H, W], cosine and sine of each planted frequency."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    phase = 2 * torch.pi * (PAIRS[:, 0, None, None] * y + PAIRS[:, 1, None, None] * x) / SIDE
    return torch.stack([phase.cos(), phase.sin()], 1)


class Oracle(torch.nn.Module):
    """Says A (or B) of an image that holds five at least of its six planted frequencies, and else "other"."""

    def __init__(self):
        super().__init__()
        self.register_buffer("waves", waves())

    def forward(self, x):
        energy = (torch.einsum("bhw,kphw->bkp", x.mean(1), self.waves) * 2 / SIDE**2).square().sum(2)
        present = (energy / (energy + 2e-3)).unflatten(1, (2, PLANTED)).sum(2)
        return 4 * torch.cat([present, torch.full_like(present[:, :1], 2.9)], 1)


def oracle():
    return Classifier(Oracle(), mean=(0.0,) * 3, std=(1.0,) * 3, num_classes=3)


def planted_images(each=24):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(each)
    pixels = 0.5 + 0.02 * torch.randn(3 * each, SIDE, SIDE, generator=generator)
    phases = 2 * torch.pi * torch.rand(3 * each, 2 * PLANTED, generator=generator)
    both = torch.stack([phases.cos(), phases.sin()], 2)
    for c in range(2):
        own = slice(c * PLANTED, (c + 1) * PLANTED)
        pixels[labels == c] += 0.06 * torch.einsum("bkp,kphw->bhw", both[labels == c, own], waves()[own])
    pixels = (255 * pixels.clamp(0, 1)).round().to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous()
    names = ["A", "B", "other"]
    return ImageSet(pixels, labels, names, [f"{names[c]}/{i}.png" for i, c in enumerate(labels.tolist())])


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    out = tmp_path_factory.mktemp("tested") / "run"
    return learned(oracle(), planted_images(), out=out, null_labels=1, **HOW), out


@torch.no_grad()
def called(model, images, mask):
    """int64 [n], what images are called through a dense centred mask, by float64 transforms."""
    x = torch.fft.fft2(images.images.double() / 255) * torch.fft.ifftshift(mask.double(), dim=(-2, -1))
    return model.network(torch.fft.ifft2(x).real.float()).argmax(1)


def test_a_planted_shortcut_is_one_on_images_that_did_not_select(searched):
    result, _ = searched
    found = {one.name: one for one in readings_of_search(result)}
    assert [found[name].word for name in "AB"] == ["shortcut"] * 2 and found["other"].word != "shortcut"
    assert all(one.p == pytest.approx(1 / 21) and one.random < 0.5 for one in (found["A"], found["B"]))
    assert all(one.p_permuted == pytest.approx(1 / 2) and one.permuted < 0.6 for one in (found["A"], found["B"]))


def test_rates_and_random_masks_are_those_of_a_plain_loop_over_held_out_images(searched):
    result, out = searched
    model, (selection, held) = oracle(), planted_images().split(0.5, 0)
    assert result.counts.equal(selection.counts) and result.tested.counts.equal(held.counts)
    drawn = random_alike(result.masks, 20)
    masks = [result.masks, *(effective(drawn.masks)[line] for line in drawn.index)]
    for images, tpr, fpr in ((selection, result.tpr, result.fpr), (held, result.tested.tpr, result.tested.fpr)):
        for c in range(3):
            hit = called(model, images, result.masks[c]) == c
            own = images.labels == c
            assert (tpr[c], fpr[c]) == (hit[own].double().mean(), hit[~own].double().mean())
    for number, line in enumerate(masks[1:]):
        for c in range(3):
            hit, own = called(model, held, line[c]) == c, held.labels == c
            assert result.tested.null[number, c] == pytest.approx(
                float(hit[own].double().mean() - hit[~own].double().mean())
            )
    row = result.table()[0]
    assert row["TPR"] == result.tested.tpr[0] and row["selection TPR-FPR"] == result.tpr_minus_fpr[0]
    again = load_result(out)
    assert again.table() == result.table() and again.rows() == result.rows()
    page = write_report(out).read_text()
    for words in ("on the images that were held out", "Beside random masks", "selection TPR − FPR",
                  "The same search with permuted labels", "p ≤ .048, corrected for 3 classes"):  # fmt: skip
        assert words in page, words
    assert "were chosen on the very images" not in page


class StopIn(StopAfter):
    """Ends the run in the first report of a piece of work, the n-th of that title."""

    def __init__(self, title, nth=1):
        super().__init__(0)
        self.title, self.nth, self.now = title, nth, None

    def start(self, title, total, unit="forwards"):
        self.nth -= title == self.title
        self.now = title

    def advance(self, amount, **facts):
        if self.now == self.title and self.nth == 0:
            raise self.Stop


@pytest.mark.parametrize("stop", [StopIn("random masks"), StopIn("exact scores", 2)])  # the second: labels permuted
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(searched, tmp_path, stop):
    _, out = searched
    with pytest.raises(StopAfter.Stop):
        learned(oracle(), planted_images(), out=tmp_path, null_labels=1, progress=stop, **HOW)
    learned(oracle(), planted_images(), out=tmp_path, null_labels=1, resume=True, **HOW)
    for name in ("tested.safetensors", "dfm.safetensors", "classes.csv"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes(), name


def test_of_a_network_that_was_trained_on_random_labels_nothing_is_a_shortcut():
    images = synthetic(1, images_per_class=24, size=16)
    model = load_model("small_convnet", num_classes=4, seed=1)
    dealt = images.labels[torch.randperm(96, generator=torch.Generator().manual_seed(0))]
    train(model, ImageSet(images.images, dealt, images.classes, images.paths), epochs=4, batch_size=16, seed=0)
    result = learned(model, images, **{**HOW, "steps": 10})
    assert not [one for one in readings_of_search(result) if one.word == "shortcut"]


def test_false_alarms_stay_below_the_stated_rate():
    """All maps random, classes of unlike difficulty that hang together: how often any p is 5% or less."""
    generator = torch.Generator().manual_seed(0)
    classes, draws, rounds = 7, 20, 4000
    spread, base = torch.linspace(0.05, 0.4, classes), torch.linspace(0, 0.3, classes)
    index = random_alike(torch.ones(classes, 4, 4), draws).index
    alarms = 0
    for _ in range(rounds):
        shared = torch.randn(draws + classes, 1, generator=generator)
        own = torch.randn(draws + classes, classes, generator=generator)
        values = (10 * (base + spread * (0.7 * shared + 0.7 * own))).round() / 10  # rates come in steps
        found = values[draws:].diagonal()  # each class has a map of its own
        null = values[:draws].gather(0, index)
        alarms += bool((against(found, null).p <= 0.05).any())
    assert alarms / rounds < 1 / 21 + 3 * (0.05 * 0.95 / rounds) ** 0.5


def test_no_class_that_random_masks_reach_is_a_shortcut():
    null = torch.zeros(20, 2, dtype=torch.float64)
    about = (["a", "b"], [0.9, 0.9], [0.0, 0.0], [100, 100], [100, 100], [0.1, 0.1])
    assert [one.word for one in readings(*about, null)] == ["shortcut"] * 2
    null[3, 1] = 0.9  # one draw of b
    assert [one.word for one in readings(*about, null)] == ["random"] * 2  # p = 2/21 for both
    many = torch.zeros(100, 2, dtype=torch.float64)
    many[3, 1] = 0.95
    assert [one.word for one in readings(*about, many)] == ["shortcut", "random"]
    many[:5, 0] = 0.95
    assert [one.word for one in readings(*about, many)] == ["random"] * 2
    assert [one.word for one in readings(*about, permuted=null)] == ["random"] * 2
    nothing = readings(["a"], [float("nan")], [0.0], [0], [5], [0.1], null[:, :1] * float("nan"))
    assert nothing[0].word == "untested" and nothing[0].p is None


def test_a_class_with_one_image_is_not_tested(tmp_path):
    model, images = load_model("small_convnet", num_classes=4), synthetic(images_per_class=4, size=16)
    images = images.subset([0, *range(4, 16)])
    with pytest.warns(RuntimeWarning, match="Not tested, for of so few images none can be held out: C0"):
        result = learned(model, images, out=tmp_path, **{**HOW, "steps": 1})
    assert result.tested.counts.tolist() == [0, 2, 2, 2] and readings_of_search(result)[0].word == "untested"
    assert result.table()[0]["p"] is None and "C0 is not tested" in write_report(tmp_path).read_text()
    alone = learned(model, images.subset([0, 4, 7, 10]), **{**HOW, "steps": 1})
    assert alone.tested is None and alone.counts.tolist() == [1, 1, 1, 1]


def test_runs_of_before_go_on_as_they_were_begun(tmp_path):
    model, images = oracle(), planted_images(6)
    how, (half, _) = {**HOW, "steps": 3}, images.split(0.5, 0)
    for name, begun, asked in (("whole", images, {}), ("share", half, {"split_fraction": 0.5})):
        before = learned(model, begun, out=tmp_path / name, split_fraction=1, **how)
        assert "test" not in json.loads((tmp_path / name / "run.json").read_text())["identity"]
        after = learned(model, images, out=tmp_path / name, resume=True, **asked, **how)
        assert after.masks.equal(before.masks) and after.tested is None
        assert after.record["forwards_resumed"] == after.forwards
    with pytest.raises(UsageError, match="differs in"):
        learned(model, images, out=tmp_path / "whole", resume=True, split_fraction=0.5, **how)


def test_published_presets_take_all_images():
    model, images = oracle(), planted_images(4)
    few = {"batch_size": 16, "form": "eager"}
    found = [
        hfss(model, images, preset="cvpr2025", candidates=3, top=1, stages=1, **few),
        removal(model, images, preset="iccv2023", patch=8, **few),
    ]
    assert [(one.counts.tolist(), one.tested) for one in found] == [([4, 4, 4], None)] * 2
    beside = removal(model, images, preset="iccv2023", patch=8, null=19, **few)
    assert beside.held_out is None and beside.tested.null.shape == (19, 3)
    assert removal(model, images, patch=8, **few).counts.tolist() == [2, 2, 2]


@pytest.mark.parametrize("asked", [{"null": 18}, {"split_fraction": 0}, {"split_fraction": 1, "null_labels": 1}])
def test_what_does_not_fit_is_refused(asked):
    with pytest.raises(UsageError, match=r"learned: (null|split_fraction)"):
        learned(oracle(), planted_images(2), **asked)


def test_a_dry_run_counts_the_test():
    model, images = oracle(), planted_images(8)
    how = {**HOW, "steps": 2, "null_labels": 1}
    plan, result = learned(model, images, dry_run=True, **how), learned(model, images, **how)
    assert (plan.forwards, plan.backwards) == (result.forwards, result.backwards)
    words = [part["work"] for part in plan.stages]
    assert words[-3:] == ["held-out images", "random masks", "searches with permuted labels"]
    few = {"candidates": 4, "stages": 1, "top": 1, "batch_size": 16}
    assert hfss(model, images, dry_run=True, **few).forwards >= hfss(model, images, **few).forwards
