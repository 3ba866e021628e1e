"""A profile: what is planted is named, the budget is kept, a run that was stopped ends with the same bytes."""

import json

import pytest
import torch

from freqkit.data import ImageSet
from freqkit.engine.ring_noise import octaves
from freqkit.engine.stimuli import basis_vector
from freqkit.errors import UsageError
from freqkit.masks import ring
from freqkit.measures.profile import ProfilePlan, ProfileResult, in_turns, profile
from freqkit.measures.profile import budget as budgets
from freqkit.measures.profile.answered import Answered
from freqkit.measures.profile.parts import PARTS, ProfilePart, read_alone
from freqkit.measures.profile.parts import octaves as same_octaves
from freqkit.models import Classifier

SIZE = (32, 32)
LOW, HIGH = [(0, 4), (4, 0), (2, 3), (3, 2)], [(0, 12), (12, 0), (5, 11), (11, 5)]  # within 3.2-4.8, and 11.2-12.8


def two_bands(images_per_class=30):
    """A linear network that reads one frequency of each of two bands for every class, and images of them."""
    waves = torch.stack([basis_vector(*a, SIZE) + basis_vector(*b, SIZE) for a, b in zip(LOW, HIGH, strict=True)])
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 4))
    with torch.no_grad():
        network[1].weight.copy_(waves[:, None].expand(-1, 3, -1, -1).flatten(1) * 10)
        network[1].bias.copy_(torch.tensor([0.01, 0, 0, 0]))
    labels = torch.arange(4).repeat(images_per_class)
    noise = torch.randn(len(labels), 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 0.03
    pixels = 0.5 + 4 * waves[labels][:, None] + noise
    images = ImageSet((pixels.clamp(0, 1) * 255).round().to(torch.uint8), labels, list("abcd"),
                      [f"{i}.png" for i in range(len(labels))])  # fmt: skip
    return Classifier(network, mean=(0.5,) * 3, std=(0.5,) * 3, num_classes=4), images


@pytest.fixture(scope="module")
def planted():
    model, images = two_bands()
    return profile(model, images, budget="forwards=30000", batch_size=32, form="eager")


def test_the_two_bands_that_a_network_reads_are_named(planted):
    curves = planted.found["1", "pass-curves"]
    assert sorted((low, high) for low, high, *_ in read_alone(curves)) == [
        (pytest.approx(3.2), pytest.approx(4.8)), (pytest.approx(11.2), pytest.approx(12.8))
    ]  # fmt: skip
    said = next(sentence for sentence in planted.verdict if "by the bands of" in sentence)
    assert "3.2–4.8" in said and "11.2–12.8" in said


def test_noise_outside_of_both_bands_does_nothing_and_within_hurts(planted):
    noise = planted.found["1", "ring-noise"]
    accuracy = dict(zip(noise.conditions, noise.accuracy.tolist(), strict=True))
    assert accuracy["all"] == accuracy["noise at 0–2"] == accuracy["noise at 16–23"] == 1


def test_every_number_has_its_interval_and_its_definition(planted):
    assert planted.rows() and all(row["definition"] for row in planted.rows())
    rates = [row for row in planted.rows() if row["metric"] == "accuracy"]
    assert rates and all(row["low"] <= row["value"] <= row["high"] and row["n"] for row in rates)
    json.dumps(planted.facts)


def test_a_figure_is_of_a_part_that_has_one(planted):
    with pytest.raises(UsageError, match=r"of must be one of .*pass-curves.*; got 'clean'"):
        planted.plot(of="clean")


def test_it_survives_its_folder(planted, tmp_path):
    planted.save(tmp_path)
    again = ProfileResult.load(tmp_path)
    assert again.models == json.loads(json.dumps(planted.models)) and again.found.keys() == planted.found.keys()
    assert again.rows() == planted.rows()


def test_layers_and_phases_have_a_sentence_a_figure_and_rows_with_intervals():
    from freqkit.data import synthetic
    from freqkit.measures.profile.page import plot_profile
    from freqkit.models import load_model

    model, images = load_model("cifar_resnet20", num_classes=4), synthetic(1, images_per_class=4)
    found = profile(model, images, budget="forwards=1500", batch_size=16)
    parts = {part["name"]: part for part in found.models[0]["parts"]}
    layers, phases = parts["layer-spectra"], parts["amplitude-phase"]
    assert (layers["state"], phases["state"]) == ("finished", "finished") and phases["sentence"]
    result = found.found["1", "layer-spectra"]
    high = [row for row in layers["numbers"] if row["metric"] == "high"]
    assert [row["condition"] for row in high] == result.layers
    assert [row["value"] for row in high] == pytest.approx(result.high(result.trained).tolist())
    assert all(row["low"] < row["value"] < row["high"] for row in high)
    assert result.layers[0] in layers["sentence"] and result.layers[-1] in layers["sentence"]
    for name in ("layer-spectra", "amplitude-phase"):
        assert plot_profile(found, of=name).axes[0].has_data()


def test_a_part_that_this_version_does_not_know_is_left_out(planted, tmp_path):
    planted.save(tmp_path)
    facts = json.loads((tmp_path / "profile.json").read_text())
    facts["models"][0]["parts"].append({**facts["models"][0]["parts"][0], "name": "later"})
    (tmp_path / "profile.json").write_text(json.dumps(facts))
    (tmp_path / "1" / "parts" / "later.safetensors").write_bytes(b"")
    assert ProfileResult.load(tmp_path).found.keys() == planted.found.keys()


# ---- budgets


def test_budgets_are_read():
    parse = budgets.Budget.parse
    assert parse("90s") == budgets.Budget(90, "seconds") == parse(90)
    assert parse("1.5h") == budgets.Budget(5400, "seconds")
    assert parse("forwards=700") == budgets.Budget(700, "forwards")
    for wrong in ("10", "forwards=10m", "forwards=0", "", "ten", "-3m", True, None):
        with pytest.raises(UsageError, match="budget must be a time"):
            parse(wrong)
    with pytest.raises(UsageError, match="budget or quick"):
        profile(*two_bands(1), budget="10m", quick=True)


@pytest.mark.parametrize("amount", [100, 1000, 7919, 30000, 10**7])
def test_no_plan_costs_more_than_the_budget_and_little_is_left(amount):
    facts, prices = {"size": (33, 47), "classes": 7}, budgets.prices_in_forwards()
    found = budgets.plan(PARTS, amount, 211, prices, facts)
    costs = {one.name: one.cost for one in found}
    assert sum(costs.values()) <= amount
    assert all(one.images == 0 or one.images >= min(part.least, 211) for one, part in zip(found, PARTS, strict=True))
    assert all(one.images or one.reason for one in found)
    if all(0 < one.images < 211 for one in found):
        assert sum(costs.values()) > 0.9 * amount


def answered(images):
    n = len(images)
    return Answered(list(images.classes), ["all"], torch.full((1, 2), torch.nan, dtype=torch.float64),
                    images.labels[None].int(), images.labels.clone(), torch.arange(4), {"quantity": "x"},
                    {"data": {"images": n}, "forwards": n})  # fmt: skip


@pytest.mark.parametrize("slower", [(1.3, 0.7, 1.0), (2.0, 2.0, 2.0), (0.5, 0.4, 0.6), (1.0, 5.0, 0.2)])
def test_a_budget_in_time_is_kept_by_the_clock(monkeypatch, slower):
    """Parts that take longer or shorter than was thought, by a clock that only they move."""
    now = [0.0]

    def part(name, weight, factor):
        def run(asked, images, first):
            now[0] += factor * len(images) * 0.01
            return answered(images)

        return ProfilePart(name, name, "", weight, lambda n, facts: {"plain": n}, run, lambda r: r.rows(), None,
                           lambda r: f"{len(r.labels)} images.", Answered.joined)  # fmt: skip

    fakes = tuple(
        part(name, weight, factor) for name, weight, factor in zip("abc", (0.5, 0.3, 0.2), slower, strict=True)
    )
    monkeypatch.setattr("freqkit.measures.profile.PARTS", fakes)
    monkeypatch.setattr(budgets, "measured_prices", lambda *more: dict.fromkeys(budgets.UNITS, 0.01))
    model, images = two_bands(1500)
    found = profile(model, images, budget="30s", batch_size=32, clock=lambda: now[0])
    asked = 30 * (1 - budgets.RESERVE)
    assert 0.85 * asked <= now[0] <= 1.05 * asked
    for one in found.models[0]["parts"]:
        assert one["state"] in ("finished", "stopped") and one["images"] == one["forwards"] > 0


@pytest.mark.parametrize("slower, images, state", [(1.0, 564, "finished"), (2.4, 38, "stopped"), (2.99, 0, "skipped")])
def test_a_part_in_one_piece_gets_what_the_time_left_can_pay(monkeypatch, tmp_path, slower, images, state):
    """The first part takes longer than was thought, so that the second's share is not left."""
    now = [0.0]

    def part(name, factor, weight):
        def run(asked, images, first):
            now[0] += factor * len(images) * 0.01
            return answered(images)

        return ProfilePart(name, name, "", weight, lambda n, facts: {"plain": n}, run, lambda r: r.rows(), None,
                           lambda r: f"{len(r.labels)} images.", None)  # fmt: skip

    monkeypatch.setattr("freqkit.measures.profile.PARTS", (part("a", slower, 0.4), part("b", 1.0, 0.6)))
    monkeypatch.setattr(budgets, "measured_prices", lambda *more: dict.fromkeys(budgets.UNITS, 0.01))
    model, some = two_bands(1500)
    how = {"budget": "10s", "batch_size": 32, "clock": lambda: now[0], "out": tmp_path / "run"}
    found = profile(model, some, **how).models[0]["parts"][1]
    assert found["state"] == state and found["images"] == pytest.approx(images, abs=3)
    assert now[0] <= 10 or not images


def test_a_part_that_fails_or_is_absent_breaks_nothing(monkeypatch):
    def fails(asked, images, first):
        raise UsageError("it cannot be")

    def part(name, run, absent=""):
        return ProfilePart(name, name, "", 1, lambda n, facts: {"plain": n}, run, lambda r: r.rows(), None,
                           lambda r: "said", Answered.joined, absent=absent)  # fmt: skip

    monkeypatch.setattr("freqkit.measures.profile.PARTS", (
        part("a", fails), part("b", lambda asked, images, first: answered(images)),
        part("c", fails, "not in this version"),
    ))  # fmt: skip
    model, images = two_bands(4)
    found = {one["name"]: one for one in profile(model, images, budget="forwards=100").models[0]["parts"]}
    assert (found["a"]["state"], found["a"]["reason"]) == ("skipped", "it cannot be")
    assert found["b"]["state"] == "finished" and found["c"]["reason"] == "not in this version"


# ---- going on


@pytest.mark.parametrize("piece", [1, 6, 11])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(tmp_path, monkeypatch, piece):
    model, images = two_bands(8)
    how = {"budget": "forwards=6000", "batch_size": 16, "form": "eager"}
    profile(model, images, out=tmp_path / "whole", **how)
    from freqkit.measures.profile import _Profile

    own, count = _Profile._piece, [0]

    def stopping(self, *args):
        count[0] += 1
        if count[0] == piece:
            raise KeyboardInterrupt
        own(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(_Profile, "_piece", stopping)
        with pytest.raises(KeyboardInterrupt):
            profile(model, images, out=tmp_path / "stopped", **how)
    profile(model, images, out=tmp_path / "stopped", resume=True, **how)
    for name in ("profile.json", "profile.csv", "1/plan.json", *(f"1/parts/{part.name}.safetensors" for part in PARTS)):
        one, other = (tmp_path / folder / name for folder in ("whole", "stopped"))
        assert one.is_file() == other.is_file()
        assert not one.is_file() or one.read_bytes() == other.read_bytes(), name
    assert (tmp_path / "whole" / "profile.json").is_file()


def test_several_models_stand_side_by_side():
    model, images = two_bands(6)
    found = profile([("one", model), ("two", model)], images, budget="forwards=800", batch_size=16, form="eager")
    assert {row["model"] for row in found.rows()} == {"one", "two"}
    plan = profile([("one", model), ("two", model)], images, budget="forwards=800", dry_run=True)
    assert isinstance(plan, ProfilePlan) and {line["model"] for line in plan.table()} == {"one", "two"}
    with pytest.raises(UsageError, match="distinct names"):
        profile([("one", model), ("one", model)], images, budget="forwards=800")


# ---- its small parts


def test_classes_take_turns():
    _, images = two_bands(5)
    shuffled = images.subset(torch.randperm(len(images), generator=torch.Generator().manual_seed(1)))
    ordered = in_turns(shuffled, 0)
    assert sorted(ordered.paths) == sorted(images.paths)
    for turn in ordered.labels.view(5, 4):
        assert sorted(turn.tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (17, 64)])
def test_ring_noise_lies_in_its_ring_has_its_strength_and_hangs_on_nothing_else(size):
    from types import SimpleNamespace

    from freqkit.engine.ring_noise import RingNoise

    source = SimpleNamespace(images=torch.full((6, 3, *size), 128, dtype=torch.uint8),
                             pixels=lambda x: x.double() / 255, inputs=lambda x: x)  # fmt: skip
    rings = same_octaves(size)
    assert rings == octaves(size)
    noise = RingNoise([None, *rings], 0.1, seed=3)
    shown = noise.tile(source, slice(0, len(noise)), slice(0, 6))
    seen = shown.make(slice(0, len(noise)), slice(0, 6)).view(len(noise), 6, 3, *size) - 128 / 255
    assert seen[0].abs().max() == 0
    for k, limits in enumerate(rings, 1):
        inside = torch.fft.ifftshift(ring(size, *limits)).bool()
        power = torch.fft.fft2(seen[k]).abs().square()
        assert power[..., ~inside].sum() < 1e-12 * power.sum()
        assert float(seen[k].square().mean()) ** 0.5 == pytest.approx(0.1, rel=0.25 if k == 1 else 0.1)
    part = noise.tile(source, slice(2, 4), slice(3, 5)).make(slice(1, 2), slice(1, 2))
    assert torch.equal(part[0] - 128 / 255, seen[3, 4])
    later = RingNoise([None, *rings], 0.1, seed=3, first=4).tile(source, slice(3, 4), slice(0, 1))
    assert torch.equal(later.make(slice(0, 1), slice(0, 1))[0] - 128 / 255, seen[3, 4])


def test_gradients_of_pieces_join_to_those_of_all():
    from freqkit.measures import gradient_spectrum
    from freqkit.registry import MEASURES, module_of

    model, images = two_bands(5)
    whole = gradient_spectrum(model, images, batch_size=7)
    pieces = [
        gradient_spectrum(model, images.subset(range(*span)), batch_size=7) for span in ((0, 3), (3, 14), (14, 20))
    ]
    found = module_of(MEASURES, "gradient-spectrum").joined(pieces, whole.record)
    for name in ("means", "squares", "planes"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=1e-5, atol=1e-6, equal_nan=True)
    assert torch.equal(found.counts, whole.counts)


def test_pass_curves_of_pieces_join_to_those_of_all():
    from freqkit.measures import pass_curves
    from freqkit.registry import MEASURES, module_of

    model, images = two_bands(5)
    how = {"batch_size": 8, "form": "eager"}
    whole = pass_curves(model, images, **how)
    pieces = [pass_curves(model, images.subset(range(*span)), **how) for span in ((0, 3), (3, 20))]
    found = module_of(MEASURES, "pass-curves").joined(pieces, whole.record)
    assert torch.equal(found.answers, whole.answers) and found.means == whole.means
