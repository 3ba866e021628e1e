"""Shape bias: images that say what shall be answered, a plain loop, and everything that is undefined or refused."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from freqkit import wrap
from freqkit.data import ImageSet, class_list, load_images
from freqkit.data.sixteen import CATEGORIES, MEMBERS, category_of
from freqkit.errors import UsageError
from freqkit.measures import ShapeBiasResult, shape_bias
from freqkit.registry import MEASURES, module_of
from freqkit.report import write_report
from tests.measures.oracle import SIDE, Oracle, oracle, picture, put

MEMBER = {name: members[0] for name, members in MEMBERS.items()}


def tree(root, answers):
    """Cue-conflict images on disk: name -> the logit that is to be answered."""
    for name, logit in answers.items():
        put(root / name.partition("-")[0].rstrip("0123456789") / f"{name}.png", logit)
    return load_images(root, image_size=SIDE)


def planned():
    """Of every category three conflicting images and a congruent one; names with digits, and what is answered."""
    answers = {}
    for place, shape in enumerate(CATEGORIES):
        others = [CATEGORIES[(place + step) % 16] for step in (1, 2, 5)]
        answers |= {
            f"{shape}1-{others[0]}10": MEMBER[shape], f"{shape}10-{others[1]}2": MEMBER[others[1]],
            f"{shape}3-{others[2]}3": MEMBER[CATEGORIES[(place + 9) % 16]], f"{shape}4-{shape}2": MEMBER[shape],
        }  # fmt: skip
    answers["cat1-chair10"] = 282  # another cat than the first
    answers["dog1-elephant10"] = 0  # of no category
    return answers


def test_an_oracle_gets_exactly_what_its_images_say(tmp_path):
    result = shape_bias(oracle(), tree(tmp_path / "cues", planned()), batch_size=7)
    assert len(result.paths) == 64 and int(result.conflict.sum()) == 48 and result.congruent == (16, 16)
    # 16 x (shape, texture, neither), but for the image of no category.
    assert result.called() == (15, 16) and result.called(result.winner) == (15, 16)
    assert result.value == 15 / 31 and result.record["forwards"] == 64
    assert int((result.winner == -1).sum()) == 1 and (result.decided >= 0).all()
    table = {row["class"]: row for row in result.table()}
    assert (table["cat"]["images"], table["cat"]["called shape"], table["cat"]["called texture"]) == (3, 1, 1)
    assert table["cat"]["shape bias"] == 0.5 and table["dog"]["shape bias"] == 0
    rows = {(row["metric"], row["logits"], row["class"]): row for row in result.rows()}
    bias = rows["shape-bias", None, ""]
    assert (bias["value"], bias["n"], bias["set"]) == (15 / 31, 31, "cue-conflict") and bias["low"] < bias["value"]
    assert rows["shape accuracy", 1000, ""]["value"] == 15 / 48 and rows["texture share", None, ""]["value"] == 16 / 64
    result.save(tmp_path / "found.safetensors")
    assert ShapeBiasResult.load(tmp_path / "found.safetensors").rows() == result.rows()


def test_counts_are_those_of_a_plain_loop():
    chance = np.random.default_rng(0)
    shape, texture, decided = (torch.from_numpy(chance.integers(16, size=400)) for _ in range(3))
    winner = torch.from_numpy(chance.integers(-1, 16, size=400))
    result = ShapeBiasResult(list(CATEGORIES), [str(i) for i in range(400)], shape, texture, decided, winner)
    for answers in (decided, winner):
        s = t = 0
        for a, b, c in zip(shape.tolist(), texture.tolist(), answers.tolist(), strict=True):
            s, t = s + (a != b and c == a), t + (a != b and c == b)
        assert result.called(answers) == (s, t)
    for place, row in enumerate(result.table()):
        own = [(a, b, c) for a, b, c in zip(shape.tolist(), texture.tolist(), decided.tolist(), strict=True) if a != b]
        of_shape = [each for each in own if each[0] == place]
        assert row["images"] == len(of_shape) and row["called shape"] == sum(c == a for a, _, c in of_shape)
        assert row["called texture"] == sum(c == b for _, b, c in of_shape)
        of_texture = [c == place for _, b, c in own if b == place]
        assert row["texture recognised"] == pytest.approx(sum(of_texture) / len(of_texture))


def test_nothing_called_either_way_is_undefined_and_said(tmp_path):
    images = tree(tmp_path / "cues", {"cat1-dog1": 404, "dog1-cat1": 404, "oven1-oven2": 766})
    result = shape_bias(oracle(), images, batch_size=2)
    assert result.value is None and result.called() == (0, 0) and result.congruent == (1, 1)
    [row] = [row for row in result.rows() if row["metric"] == "shape-bias" and not row["class"]]
    assert (row["value"], row["low"], row["n"]) == (None, None, 0)
    result.save(tmp_path / "found.safetensors")
    assert "the shape bias is undefined" in write_report(tmp_path / "found.safetensors").read_text()
    alone = tree(tmp_path / "same", {"oven1-oven2": 766, "cat1-cat2": 281})
    said = module_of(MEASURES, "shape-bias").printed(shape_bias(oracle(), alone, batch_size=2)).verdict
    assert "there is no shape bias" in said


def test_sixteen_named_categories_will_do_and_other_classes_will_not(tmp_path):
    images = tree(tmp_path, {"cat1-dog1": 0, "dog1-cat1": 1})
    names = list(reversed(CATEGORIES))

    class Sixteen(nn.Module):
        def forward(self, x):
            red = ((x * 255).mean((2, 3))[:, 0] - 30) / 20  # 0: called cat; 1: called cat as well
            return (
                nn.functional.one_hot(torch.full_like(red, names.index("cat")).long(), 16).float() * 3
                + 0 * red[:, None]
            )

    model = wrap(Sixteen(), (0, 0, 0), (1, 1, 1), num_classes=16, class_names=names, input_size=(SIDE, SIDE))
    result = shape_bias(model, images, batch_size=2)
    assert result.called() == result.called(result.winner) == (1, 1)
    with pytest.raises(UsageError, match=r"must have ImageNet's 1,000 classes, or 16 that are named airplane.* has 10"):
        shape_bias(oracle(10), images)


def test_a_name_without_a_texture_is_refused(tmp_path):
    put(tmp_path / "cat" / "cat1.png", 0)
    put(tmp_path / "dog" / "dog1-cat1.png", 0)
    with pytest.raises(UsageError, match=r"'cat/cat1.png' has no category as a texture"):
        shape_bias(oracle(), load_images(tmp_path, image_size=SIDE))


def test_ordinary_images_without_colour_are_answered_as_their_grey_ones_are(tmp_path):
    from PIL import Image

    wnids = class_list("imagenet")
    logits = [0, 7, 340, 404, 999]
    pixels = np.stack([picture(logit, 0) for logit in logits])
    images = ImageSet(
        torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), list(range(5)), [wnids[i] for i in logits],
        [f"{i}.png" for i in logits],
    )  # fmt: skip
    cues = tree(tmp_path, {"cat1-dog1": 281, "dog1-cat1": 281})
    result = shape_bias(oracle(), cues, ordinary=images, suppress=["patches:2", "grey"], batch_size=3)
    assert result.kinds == ["whole", "patches:2", "grey"] and result.counts.tolist() == [1] * 5
    grey = np.stack([np.asarray(Image.fromarray(each).convert("L").convert("RGB")) for each in pixels])
    answers = oracle()(torch.from_numpy(grey).permute(0, 3, 1, 2) / 255).argmax(1)
    expected = [[1] * 5, [1] * 5, (answers == torch.tensor(logits)).long().tolist()]
    assert result.correct.tolist() == expected and 0 < sum(expected[2]) < 5
    values = {row["condition"]: row["value"] for row in result.rows() if row["metric"] == "top-1"}
    assert values == {"whole": 1, "patches:2": 1, "grey": sum(expected[2]) / 5}
    assert result.record["forwards"] == 2 + 15 and category_of(404) == 0
    with pytest.raises(UsageError, match=r"WordNet ids; 'cat' is none"):
        shape_bias(oracle(), cues, ordinary=cues)
    for kinds in ([], ["whole"], ["grey", "grey"], ["blur"], "grey"):
        with pytest.raises(UsageError, match=r"suppress must list|a kind must be"):
            shape_bias(oracle(), cues, suppress=kinds)


class Broken(Oracle):
    """Raises after some batches; before the first, half of it is asked several times."""

    def forward(self, x):
        if self.asked >= 16:
            raise KeyboardInterrupt
        return super().forward(x)


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path):
    cues = tree(tmp_path / "cues", planned())
    how = {"batch_size": 4, "form": "eager", "memory": 8 * 960}  # eight spectra, so that tiles are small

    def model(net):
        return wrap(net(1000), (0, 0, 0), (1, 1, 1), num_classes=1000, input_size=(SIDE, SIDE), name="oracle")

    with pytest.raises(KeyboardInterrupt):
        shape_bias(model(Broken), cues, out=tmp_path / "run", **how)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    again = model(Oracle)
    shape_bias(again, cues, out=tmp_path / "run", resume=True, **how)
    shape_bias(again, cues, out=tmp_path / "whole", **how)
    for name in ("shape-bias.safetensors", "shape-bias.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["forwards_before"] > 0


def test_the_command_on_real_cue_conflicts(run_command, shared_data, tmp_path):
    result = run_command(
        "shape-bias", "--model", "small_convnet", "--num-classes", "1000", "--data", shared_data("cue-conflict-mini"),
        "--image-size", "32", "--batch-size", "32", "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    facts = json.loads(result.stdout)
    assert facts["images"] == 160 and facts["conflicting"] + facts["congruent"]["images"] == 160
    assert facts["S"] + facts["T"] <= facts["conflicting"] and len(facts["categories"]) == 16
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.fixture
def run_command():
    from click.testing import CliRunner

    from freqkit.cli.app import app

    def call(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.stderr
        return result

    return call
