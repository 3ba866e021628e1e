"""Images as people hold them give the very set that a folder of the same pictures gives, or one sentence."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import freqkit
from freqkit.data import ImageSet, as_images, load_images, synthetic, write_image_folder, write_npy
from freqkit.errors import UsageError
from freqkit.models import Classifier

pytestmark = pytest.mark.filterwarnings("ignore:Caution")  # of a network that knows nothing
SIDE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    drawn = synthetic(images_per_class=3, size=SIDE)
    paths = [f"{label}/{i:06d}.png" for i, label in enumerate(drawn.labels.tolist())]
    root = tmp_path_factory.mktemp("folder") / "images"
    write_image_folder(ImageSet(drawn.images, drawn.labels, ["0", "1", "2", "3"], paths), root)
    return root


@pytest.fixture(scope="module")
def expected(folder):
    return load_images(folder, image_size=SIDE)


class Pictures(Dataset):
    """Like a dataset of torchvision."""

    def __init__(self, images, labels, classes=None, transform=None):
        self.images_, self.labels_, self.transform = images, labels, transform or (lambda picture: picture)
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.labels_)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.images_[i].permute(1, 2, 0).numpy())), int(self.labels_[i])


def to_tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def stacked(some):
    return tuple(zip(*some, strict=True))


class Streamed(IterableDataset):
    def __init__(self, pairs):
        self.pairs = pairs

    def __iter__(self):
        return iter(self.pairs)


class Features:
    """A stand-in of a Hugging Face dataset: columns with types, items that are dicts."""

    def __init__(self, pictures, kinds, **columns):
        self.pictures, self.columns = pictures, columns
        self.features = {key: type(kind, (), {"names": ["0", "1", "2", "3"]})() for key, kind in kinds.items()}

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        image, label = self.pictures[i]
        return {"img": image, "kind": label, **{key: values[i] for key, values in self.columns.items()}}


def columns(pictures, **kinds):
    return Features(pictures, kinds or {"img": "Image", "kind": "ClassLabel"})


HELD = {
    "tensors": lambda x, y: (x, y),
    "floats": lambda x, y: [x.float() / 255, y.int()],
    "list of labels": lambda x, y: (x, y.tolist()),
    "halves": lambda x, y: (x.half() / 255, y),
    "doubles of numpy": lambda x, y: (x.numpy() / 255, y.numpy()),
    "numpy, channels last": lambda x, y: (x.permute(0, 2, 3, 1).numpy(), y.numpy().astype(np.uint8)),
    "other byte order": lambda x, y: ((x.numpy() / 255).astype(">f4"), y.numpy().astype(">i2")),
    "with gradients": lambda x, y: ((x.double() / 255).requires_grad_(), y),
    "TensorDataset": TensorDataset,
    "dataset of pictures": Pictures,
    "dataset of tensors": lambda x, y: Pictures(x, y, transform=to_tensor),
    "list": lambda x, y: list(Pictures(x, y)),
    "generator": lambda x, y: (pair for pair in Pictures(x, y)),
    "batches": lambda x, y: ((x[i : i + 5], y[i : i + 5]) for i in range(0, len(x), 5)),
    "dicts": lambda x, y: [{"pixel_values": image, "label": label} for image, label in zip(x, y, strict=True)],
    "columns": lambda x, y: columns(Pictures(x, y)),
    "shards": lambda x, y: Streamed([
        {"__key__": f"{i:04d}", "__url__": "shard-000.tar", "png": picture, "cls": label}
        for i, (picture, label) in enumerate(Pictures(x, y))
    ]),
    "loader": lambda x, y: DataLoader(TensorDataset(x, y), 5),
    "loader of floats": lambda x, y: DataLoader(Pictures(x, y, transform=to_tensor), 5, num_workers=1),
    "loader of pictures": lambda x, y: DataLoader(Pictures(x, y), 5, collate_fn=stacked),
    "loader without batches": lambda x, y: DataLoader(Pictures(x, y, transform=to_tensor), None),
    "loader of columns": lambda x, y: DataLoader(columns(Pictures(x, y, transform=to_tensor)), 5),
    "loader of a stream": lambda x, y: DataLoader(Streamed(list(Pictures(x, y, transform=to_tensor))), 5),
}  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("held", HELD)
def test_gives_what_a_folder_gives(held, expected):
    found = as_images(HELD[held](expected.images, expected.labels))
    assert torch.equal(found.images, expected.images) and torch.equal(found.labels, expected.labels)
    assert found.images.is_contiguous()
    assert found.fingerprint == expected.fingerprint and found.paths == expected.paths
    assert "notes" not in found.record and "rounded_by" not in found.record


def test_an_image_set_is_itself(expected):
    assert as_images(expected) is expected


def test_files_keep_their_names(folder):
    """An ImageFolder, a part of it, and loaders of both; squashed as `load_images` squashes."""
    datasets, transforms = pytest.importorskip("torchvision.datasets"), pytest.importorskip("torchvision.transforms")
    small = transforms.Compose([transforms.Resize((12, 12)), transforms.ToTensor()])
    held, expected = datasets.ImageFolder(str(folder), small), load_images(folder, image_size=12)
    assert as_images(held).fingerprint == as_images(DataLoader(held, 4)).fingerprint == expected.fingerprint
    places = [7, 2, 9]
    assert as_images(DataLoader(Subset(held, places))).fingerprint == expected.subset(places).fingerprint
    assert as_images(Subset(Subset(held, [0, *places]), [1, 2, 3])).fingerprint == expected.subset(places).fingerprint
    turned = datasets.ImageFolder(str(folder), small, target_transform=lambda label: 3 - label)
    assert as_images(turned).paths[0] == "3/000000.png"  # its names are those of other labels


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 4))
    made.mean, made.std = (0.5,) * 3, (0.25,) * 3
    return made


def test_a_search_gives_what_it_gives_for_a_folder(net, expected):
    loader = DataLoader(TensorDataset(expected.images.float() / 255, expected.labels), 5)
    result, of_folder = (
        freqkit.learned(net, images, steps=2, batch_size=8, split_fraction=1) for images in (loader, expected)
    )
    assert torch.equal(result.masks, of_folder.masks) and result.table() == of_folder.table()
    assert result.record["identity"] == of_folder.record["identity"]
    assert result.dfm().data_hash == expected.fingerprint


ASKED = {
    "hfss": {"candidates": 3, "top": 1, "stages": 1}, "evolve": {"generations": 1, "candidates": 2}, "greedy": {},
    "removal": {"patch": 8}, "gradient": {"patch": 8}, "estimate_removal": {"patch": 8},
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_every_searcher_takes_a_loader(name, net, expected):
    from freqkit import search

    held = DataLoader(TensorDataset(expected.images, expected.labels), 5)
    found, of_folder = (getattr(search, name)(net, images, **ASKED[name]) for images in (held, expected))
    values = ("first_order",) if name == "estimate_removal" else ("masks",)
    assert all(torch.equal(getattr(found, value), getattr(of_folder, value)) for value in values)


def test_every_other_function_takes_arrays(net, expected, folder):
    from freqkit import measures, training
    from freqkit.engine.examples import examples_of
    from freqkit.masks import DfmFile
    from freqkit.search import compare_searchers

    pair, ones = (expected.images, expected.labels), torch.ones(1, SIDE, SIDE)
    assert torch.equal(freqkit.score(net, pair, ones).loss, freqkit.score(net, expected, ones).loss)
    dfm = DfmFile(ones, ["2"])
    assert torch.equal(measures.rates(net, pair, dfm).tp, measures.rates(net, expected, dfm).tp)
    assert torch.equal(measures.pass_curves(net, pair).answers, measures.pass_curves(net, expected).answers)
    assert torch.equal(measures.adcs(pair).maps, measures.adcs(expected).maps)
    assert training.evaluate(net, pair) == training.evaluate(net, expected)
    assert (
        examples_of(net, pair, ones, ["2"])[0].after.tolist()
        == examples_of(net, expected, ones, ["2"])[0].after.tolist()
    )
    model = Classifier(net, mean=net.mean, std=net.std, num_classes=4, input_size=(SIDE, SIDE))
    assert training.evaluate(model, folder) == training.evaluate(net, expected)
    brighter = 255 - expected.images
    compared = compare_searchers(
        net, (brighter, expected.labels), pair, searchers=["learned"], efforts={"learned": [1]}, per_class=1, seeds=1,
    )  # fmt: skip
    assert compared.rows[0]["searcher"] == "learned"
    own = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 4))
    own.mean, own.std = net.mean, net.std
    assert training.train(own, pair, val_set=pair, epochs=1)["val"]["images"] == len(expected)


def test_a_folder_at_the_size_of_the_model(net, folder, tmp_path):
    sized = Classifier(net, mean=net.mean, std=net.std, num_classes=4, input_size=(8, 8))
    assert as_images(str(folder), model=sized).fingerprint == load_images(folder, image_size=8).fingerprint
    write_npy(load_images(folder, image_size=8), tmp_path)
    assert len(as_images(tmp_path)) == 12  # arrays have a size
    assert as_images(folder).images.shape[2:] == (SIDE, SIDE)  # all have that
    sized.input_size = (8, 6)
    with pytest.raises(UsageError, match="become squares, and the model takes"):
        as_images(folder, model=sized)


def test_classes_are_called_by_who_knows_them(net, expected):
    x, y = expected.images, expected.labels
    names = ["crane", "ant", "crane", "bee", "cow"]
    model = Classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(768, 5)), mean=net.mean, std=net.std, num_classes=5, class_names=names
    )
    assert as_images((x, y), model=model).classes == ["crane (0)", "ant", "crane (2)", "bee", "cow"]
    found = as_images((x, y), model=model, class_index=[4, 3, 1, 0])
    assert found.classes == ["cow", "bee", "ant", "crane"] and found.paths[0] == "cow/000000.png"
    assert as_images(Pictures(x, y, ["d", "c", "b", "a"]), model=model).classes == ["d", "c", "b", "a"]
    imagenet = Pictures(x, y, [("tench", "Tinca tinca"), ("crane",), ("crane", "bird"), ("a/b",)])
    assert as_images(imagenet).classes == ["tench", "crane (1)", "crane (2)", "a/b"]
    assert as_images(imagenet).paths[-1] == "a_b/000011.png"
    few = freqkit.score(net, (x[:6], y[:6]), torch.ones(1, SIDE, SIDE))  # images of two of the four logits
    assert few.counts.tolist() == [3, 3, 0, 0]


def test_rounding_is_on_record(expected):
    x = (expected.images.float() + 0.25) / 255
    found = as_images((x.clamp(0, 1), expected.labels))
    assert torch.equal(found.images, expected.images)
    assert found.record["rounded_by"] == pytest.approx(0.25, abs=1e-3)
    assert found.record["notes"] == ["floats are rounded to steps of 1/255, by up to 0.250 of one"]


def test_grey_becomes_rgb(expected):
    grey = expected.images[:, :1]
    for held in (grey, grey[:, 0], grey.permute(0, 2, 3, 1)):
        assert torch.equal(as_images((held, expected.labels)).images, grey.expand(-1, 3, -1, -1))


def test_large_arrays_are_read_in_blocks():
    class Mapped:
        """An array that does not fit into memory."""

        shape, dtype, most = (1000, 3, 4, 4), np.dtype(np.float32), 0

        def __getitem__(self, part):
            numbers = range(1000)[part]
            self.most = max(self.most, len(numbers))
            return np.full((len(numbers), 3, 4, 4), 0.2, np.float32)

    held = Mapped()
    assert len(as_images((held, np.arange(1000) % 2))) == 1000 and held.most <= 64


def random_flip(picture):
    tensor = to_tensor(picture)
    return tensor + (1 - tensor) * torch.rand(())


def test_what_differs_each_time_is_told(expected):
    x, y = expected.images, expected.labels
    with pytest.warns(UserWarning, match="as_images: images: the loader takes them by a RandomSampler.*fingerprint"):
        shuffled = as_images(DataLoader(TensorDataset(x, y), 5, shuffle=True))
    assert "RandomSampler" in shuffled.record["notes"][0] and sorted(shuffled.labels.tolist()) == y.tolist()
    before, drawn = torch.get_rng_state(), (i / 64 for i in range(64))
    with pytest.warns(UserWarning, match="draws its images at random"):
        as_images(Pictures(x, y, transform=lambda picture: torch.zeros(3, 4, 4) + next(drawn)))
    assert torch.equal(before, torch.get_rng_state())
    with pytest.warns(UserWarning, match="draws its images at random"):
        as_images(DataLoader(Pictures(x, y, transform=random_flip), 5))
    with pytest.warns(UserWarning, match="the loader gives 10 images, and its dataset has 12"):
        as_images(DataLoader(TensorDataset(x, y), 5, drop_last=True))


def broken(picture):
    raise OSError("truncated file.")


X, Y = torch.rand(6, 3, 4, 4), torch.arange(6) % 2
BYTES = (255 * X).byte()
NORMALISED = (X - 0.5) / 0.2
FAULTS = {
    "normalised": ((NORMALISED, Y), r"floats in \[0, 1\]; those of image 0 are in -.*give mean= and std= of"),
    "0..255 as floats": ((255 * X, Y), "divide by their largest possible value"),
    "NaN": ((torch.where(X == X.max(), torch.nan, X), Y), r"are in nan..nan \(no NaN"),
    "integers": ((BYTES.long(), Y), "be uint8, or floats in .*; got torch.int64"),
    "complex": ((X.cfloat(), Y), "be uint8, or floats in .*; got torch.complex64"),
    "objects": ((np.array([None] * 6), np.zeros(6, int)), "be uint8, or floats in .*; got object"),
    "4 channels": ((torch.rand(6, 4, 8, 8), Y), r"have 3 channels \(RGB\) or 1, .*; got 4 in \[6, 4, 8, 8\]"),
    "flat": ((torch.rand(6, 48), Y), r"have shape \[n, 3, H, W\], each \[3, H, W\]; got \[6, 48\]"),
    "no pixels": ((torch.rand(6, 3, 0, 4), Y), r"have shape .*; got \[6, 3, 0, 4\]"),
    "empty": ((X[:0], Y[:0]), "hold at least one image; got none"),
    "empty list": ([], "hold at least one image; got none"),
    "empty loader": (DataLoader([]), "hold at least one image; got none"),
    "labels of other number": ((X, Y[:5]), r"have a label each; got shapes \[6, 3, 4, 4\] and \[5\]"),
    "one-hot": ((X, torch.eye(6).long()), r"have one label each; got labels \[6, 6\]"),
    "float labels": ((X, Y.float()), "have integers as labels; got torch.float32"),
    "bool labels": ((X, Y.bool()), "have integers as labels; got torch.bool"),
    "names as labels": ([(X[0], "cat")], "have integers as labels; got 'cat'"),
    "negative labels": ((X, Y - 1), "have labels that are not negative; got -1..0"),
    "one class": ((X, 0 * Y), "be of at least two classes; all 6 have label 0"),
    "unequal": ([(X[0], 0), (X[1, :, :3], 1)], r"be of equal size .*; image 1 has 3x4, those before 4x4"),
    "two types": ([(X[0], 0), (BYTES[1], 1)], "have one type; got uint8 after float32"),
    "images alone": (X, "be an ImageSet, .*; got a Tensor"),
    "a number": (3, "be an ImageSet, .*; got a int"),
    "splits": ({"train": 1, "test": 2}, "got a dict of train, test: give one"),
    "triples": ([(X[0], 0, "a.png")], r"item 0 must be \(image, label\); got 3 parts"),
    "no pairs": ([X[0]], r"item 0 must be \(image, label\); got a Tensor"),
    "dicts of others": ([{"tif": X[0], "cls": 0}], "item 0 must hold one image and one label, .*; got tif, cls"),
    "files of a shard": ([{"__key__": "0", "png": b"\x89PNG", "cls": b"0"}], "be decoded, .*; got the bytes of a file"),
    "unreadable": (Pictures(BYTES, Y, transform=broken), r"item 0 cannot be read \(OSError: truncated file\)"),
    "unreadable batch": (DataLoader(Pictures(BYTES, Y), 2), r"batch 0 cannot be read \(TypeError: default_collate"),
    "picture without white": ([(Image.new("F", (4, 4)), 0)], r"image 0 cannot be read \(ValueError: mode F has no"),
    "label beyond the names": (Pictures(BYTES, Y + 1, ["a", "b"]), "labels in 0..1, for the 2 classes of the data"),
    "no column of labels": (
        columns(Pictures(BYTES, Y), img="Image", kind="Value"), "one ClassLabel .*; got img Image, kind Value"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_one_sentence(fault):
    held, told = FAULTS[fault]
    with pytest.raises(UsageError, match=rf"^search: pool\b.*{told}") as caught:
        as_images(held, "search", name="pool")
    assert str(caught.value).count("\n") == 0 and str(caught.value).endswith(".")


def test_labels_beyond_the_logits(net, expected):
    model = Classifier(net, mean=net.mean, std=net.std, num_classes=4)
    with pytest.raises(UsageError, match=r"^learned: images must have labels in 0..3, for the 4 logits of the"):
        freqkit.learned(net, (expected.images, expected.labels + 1))
    with pytest.raises(UsageError, match=r"labels in 0..1, for the 2 entries of class_index; got 0..3"):
        as_images((expected.images, expected.labels), model=model, class_index=[2, 1])
    named = Pictures(expected.images, expected.labels, ["a", "b", "c", "d", "e"])
    with pytest.raises(UsageError, match="of no more classes than the model has logits, 4; got 5"):
        as_images(named, model=model)
