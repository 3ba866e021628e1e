"""The same rates as `freqkit rates` on the same images; also with photographs and a trained network."""

import pytest
import torch

from freqkit.data import load_images, open_sets, synthetic, write_image_folder
from freqkit.masks import DfmFile, low_pass
from freqkit.measures import Attack, evaluate, rates
from freqkit.models import load_model


def agree(folder, model, maps, limit=None, **how):
    images = load_images(folder, image_size=32, limit_per_class=limit)
    want = rates(model, images, maps, batch_size=64)
    found = evaluate([("m", model)], open_sets([f"mine={folder}"], limit_per_class=limit), maps, image_size=32, **how)
    where = {"model": "m", "set": "mine", "condition": "all"}
    for metric, values in (
        ("filtered TPR", want.tpr),
        ("TPR", want.clean_tp / want.positives),
        ("FPR", want.clean_fp / want.negatives),
    ):
        assert found.rates(metric, **where) == pytest.approx(dict(zip(want.classes, values.tolist(), strict=True)))
    return found


def test_as_rates_says(tmp_path):
    write_image_folder(synthetic(1, images_per_class=12), tmp_path / "mine")
    maps = DfmFile(torch.stack([low_pass(32, 3 + 4 * k) for k in range(4)]).float(), ["C0", "C1", "C2", "C3"])
    agree(tmp_path / "mine", load_model("small_convnet", seed=5), maps)


@pytest.mark.measured
def test_photographs(cifar10_mini, resnet20_weights):
    model = load_model("cifar_resnet20", weights=resnet20_weights)
    classes = sorted(path.name for path in cifar10_mini.iterdir())
    maps = DfmFile(torch.stack([low_pass(32, 4 + k) for k in range(10)]).float(), classes)
    attacks = [Attack(eps=1), Attack("pgd", eps=1, steps=2)]
    found = agree(cifar10_mini, model, maps, 3, attacks=attacks, generated=[("contrast", 1), ("contrast", 5)])
    top = {(row["set"], row["condition"]): row["value"] for row in found.rows if row["metric"] == "top-1"}
    assert top["mine", "all"] > 0.7
    assert top["mine generated", "contrast/5"] < top["mine generated", "contrast/1"] < top["mine", "all"]
    assert top["mine", attacks[1].title] <= top["mine", attacks[0].title] < top["mine", "all"]
