"""Calls as users write them, for the type checker of `make lint`; never run. A wrong one that passes is an error."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

import torch
from torch.utils.data import DataLoader, TensorDataset

import freqkit
from freqkit import measures, search
from freqkit.data import ImageSet, load_images
from freqkit.masks import DfmFile
from freqkit.models import Classifier


def right(images: ImageSet, dfm: DfmFile) -> None:
    model: Classifier = freqkit.load_model("cifar_resnet20", weights="weights.safetensors", num_classes=10)
    others: ImageSet = load_images("images", image_size=32, resize="center-crop")
    found = search.hfss(
        model, images, candidates=[200, 400], stages=2, out="run", resume=True, device=torch.device("cpu")
    )
    freqkit.learned(model, images, objective="contrast", batch_size=64, dtype=torch.bfloat16)
    if not isinstance(found, search.Plan):
        print(found.masks.shape, measures.rates(model, others, found, interval="bootstrap").tpr)
    print(measures.adcs(images, channel="per").maps, measures.rates(model, images, dfm).record)
    freqkit.score(model, images, torch.ones(1, 32, 32), spectra="float16")
    pair = torch.rand(4, 3, 32, 32), torch.arange(4)
    freqkit.learned(torch.nn.Flatten(), DataLoader(TensorDataset(*pair)))
    print(measures.adcs(pair).maps, measures.rates(model, "images", dfm).tpr)


def wrong(model: Classifier, images: ImageSet) -> None:
    search.learned(model, images, stepps=3)  # pyright: ignore[reportCallIssue]
    search.evolve(model, images, objective="contrast")  # pyright: ignore[reportArgumentType]
    search.greedy(model, 3)  # pyright: ignore[reportArgumentType]
    search.greedy(model)  # pyright: ignore[reportCallIssue]
    measures.rates(model, images, images)  # pyright: ignore[reportArgumentType]
    load_images("images", on_bad_image="ignore")  # pyright: ignore[reportArgumentType]
