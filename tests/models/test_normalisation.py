"""A network that is asked in another normalisation than its own: noticed by asking it, or said."""

import warnings

import pytest
import torch
from torch import nn

from freqkit.engine import score
from freqkit.errors import UsageError
from freqkit.models import Classifier, NormalisationWarning, load_model
from freqkit.models.normalisation import begins_with_statistics, own_normalisation

pytestmark = pytest.mark.usefixtures("one_thread")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETWORKS = '''
import torch
from torch import nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def body():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


class Own(nn.Module):
    """Keeps its statistics under some name, and uses them itself or leaves them to its users."""

    def __init__(self, names=("mean", "std"), used=True, buffers=True, scale=1):
        super().__init__()
        self.body, self.names, self.used, self.scale = body(), names, used, scale
        for name, values in zip(names, (MEAN, STD)):
            values = [scale * v for v in values]
            if buffers:
                self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
            else:
                setattr(self, name, values)

    def forward(self, x):
        if self.used:
            mean, std = (torch.as_tensor(getattr(self, name)).view(1, 3, 1, 1) for name in self.names)
            x = (self.scale * x - mean) / std
        return self.body(x)


def buffers():
    return Own()

def lists():
    return Own(buffers=False)

def pixel_mean():
    return Own(("pixel_mean", "pixel_std"), scale=255)

def left_to_users():
    return Own(used=False)

def nested():
    return nn.Sequential(Own(("image_mean", "image_std")))

class Normalize(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)

    def forward(self, x):
        return (x - self.a) / self.b

def first_layer():
    return nn.Sequential(Normalize(), body())

def unit_features():
    class Normalize(nn.Module):
        def forward(self, x):
            return x / x.norm(dim=1, keepdim=True)

    network = body()
    network.insert(4, Normalize())
    return network

def both():
    network = Own()
    network.mean_of_users = MEAN
    return network

class Hidden(nn.Module):
    def __init__(self):
        from torchvision import transforms

        super().__init__()
        self.body, self.prepare = body(), transforms.Compose([transforms.Normalize(MEAN, STD)])

    def forward(self, x):
        return self.body(self.prepare(x))

def composed():
    return Hidden()

def torchvisions():
    from torchvision import transforms

    return nn.Sequential(transforms.Normalize(MEAN, STD), body())

def wrapped():
    from freqkit.models import Classifier

    return Classifier(Own(), mean=MEAN, std=STD, num_classes=5)
'''


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "own_networks.py"
    path.write_text(NETWORKS)
    return path


SELF = ["buffers", "lists", "pixel_mean", "nested", "first_layer", "both", "composed", "torchvisions"]


@pytest.mark.parametrize("name", SELF)
def test_a_network_that_normalises_itself_gets_pixels(networks, name):
    if name in ("composed", "torchvisions"):
        pytest.importorskip("torchvision", reason="torchvision is not installed")
    model = load_model(f"{networks}:{name}")
    assert (model.mean, model.std) == ((0, 0, 0), (1, 1, 1)) and not model.doubts
    assert model.record["normalisation"] == "the network's own" and model.record["normalises_itself"]
    x = torch.rand(2, 3, 16, 16)
    plain = load_model(f"{networks}:left_to_users")
    torch.testing.assert_close(model(x), plain(x))  # once, as by the mean and std that the other leaves to its users
    with pytest.raises(UsageError, match=r"normalises its input itself \(by what it keeps as .*applied twice"):
        load_model(f"{networks}:{name}", mean=MEAN, std=STD)
    assert load_model(f"{networks}:{name}", mean=(0, 0, 0), std=(1, 1, 1)).std == (1, 1, 1)


def test_what_a_network_leaves_to_its_users_is_done(networks):
    model = load_model(f"{networks}:left_to_users")
    assert model.mean == pytest.approx(MEAN) and model.record["normalisation"] == "factory"
    assert load_model(f"{networks}:unit_features").record["normalisation"] == "none"


def test_asking_leaves_the_network_as_it_was(networks):
    for name in ("buffers", "lists", "first_layer"):
        model = load_model(f"{networks}:{name}")
        model.network.train()
        before = {key: value.clone() for key, value in model.network.state_dict().items()}
        drawn = torch.random.get_rng_state()
        attributes = {key: str(value) for key, value in vars(model.network).items()}
        assert own_normalisation(model.network)
        assert all(torch.equal(value, before[key]) for key, value in model.network.state_dict().items())
        assert {key: str(value) for key, value in vars(model.network).items()} == attributes
        assert model.network.training and torch.equal(torch.random.get_rng_state(), drawn)


def test_statistics_come_with_the_weights(networks, tmp_path):
    first = load_model(f"{networks}:left_to_users").network
    with torch.no_grad():
        first.mean.fill_(0.25)
    torch.save(first.state_dict(), tmp_path / "w.pt")
    assert load_model(f"{networks}:left_to_users", weights=tmp_path / "w.pt").mean == (0.25, 0.25, 0.25)


def test_twice_in_a_classifier_is_said(networks):
    with pytest.warns(NormalisationWarning, match="its images are normalised twice"):
        model = load_model(f"{networks}:wrapped")
    assert "normalised twice" in model.record["doubts"][0]
    layer = nn.BatchNorm2d(3)
    layer.running_mean.copy_(torch.tensor(MEAN)), layer.running_var.copy_(torch.tensor(STD) ** 2)
    layers = nn.Sequential(layer, nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.warns(NormalisationWarning, match="a batch norm whose statistics"):
        Classifier(layers, mean=MEAN, std=STD, num_classes=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier(layers, mean=(0,) * 3, std=(1,) * 3, num_classes=4)
    first = nn.Conv2d(3, 3, 1, groups=3)
    with torch.no_grad():
        first.weight.copy_(1 / torch.tensor(STD).view(3, 1, 1, 1))
        first.bias.copy_(-torch.tensor(MEAN) / torch.tensor(STD))
    assert "subtracts a mean of pixels" in begins_with_statistics(nn.Sequential(first, *layers[1:]))


@pytest.mark.parametrize(
    "mean, std, sentence",
    [
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "mean 0.485,0.456,0.406 and std 0.229,0.224,0.225"),
        ((103.53, 116.28, 123.675), (1, 1, 1), "mean 0.406,0.456,0.485 and std 0.0039,0.0039,0.0039"),
        ((0.485, 0.456, 0.406), (58.395, 57.12, 57.375), "mean 0.485,0.456,0.406 and std 0.229,0.224,0.225"),
        ((0, 0, 0), (255, 255, 255), "std 1,1,1"),
        ((0.485, 0.456, 0.406), (4.367, 4.464, 4.444), "if they are reciprocals, std is 0.229,0.224,0.225"),
        ((0.5, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "three finite numbers"),
        ((0.5, 0.5), (0.5, 0.5, 0.5), "three finite numbers"),
        ("555", "555", "must be three numbers"),
        (0.5, 0.5, "must be three numbers"),
    ],
)
def test_numbers_of_another_scale_are_refused_with_the_right_ones(mean, std, sentence):
    with pytest.raises(UsageError, match=sentence):
        load_model("small_convnet", mean=mean, std=std)


@pytest.mark.parametrize(
    "mean, std, sentence",
    [
        (MEAN, (0.0524, 0.0502, 0.0506), "looks like variances; their roots are 0.2289,0.2241,0.2249"),
        (MEAN, MEAN, "one may have been given twice"),
        (MEAN[::-1], STD[::-1], "the order B, G, R"),
        ((0.5,) * 3, (0.5,) * 3, "as given, while freqkit says"),
    ],
)
def test_numbers_that_may_be_wrong_are_said(mean, std, sentence):
    with pytest.warns(NormalisationWarning, match=sentence):
        model = load_model("cifar_resnet20", mean=mean, std=std)
    assert any(sentence in doubt for doubt in model.record["doubts"])


def test_half_and_half_is_a_normalisation_like_any_other():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = Classifier(nn.Flatten(), mean=(0.5,) * 3, std=(0.5,) * 3, num_classes=12)
    assert "doubts" not in model.record


class Images:
    def __init__(self, n=6):
        self.images = torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        self.labels, self.classes = torch.arange(n) % 3, ["a", "b", "c"]


class Ending(nn.Module):
    """A network with something after its logits."""

    def __init__(self, end, outputs=3):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.end = nn.Sequential(nn.Flatten(), nn.Linear(192, outputs)), end

    def forward(self, x):
        return self.end(self.body(x))


def classifier(end, outputs=3):
    return Classifier(Ending(end, outputs), mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=3)


@pytest.mark.parametrize("form", ["eager", "auto"])
@pytest.mark.parametrize("batch_size", [4, "auto"])
def test_what_is_no_logit_is_refused(form, batch_size):
    masks, how = torch.ones(1, 8, 8), {"form": form, "batch_size": batch_size}
    for end, sentence in (
        (nn.Softmax(1), "it returns probabilities"),
        (lambda logits: torch.dropout(logits, 0.5, True), "other logits in another batch"),
        (lambda logits: (logits - logits.mean(0)) / (logits.std(0) + 0.01), "other logits in another batch"),
    ):
        with pytest.raises(UsageError, match=sentence):
            score(classifier(end), Images(), masks, **how)
    with pytest.raises(UsageError, match="must return its 3 logits; got 7"):
        score(classifier(nn.Identity(), 7), Images(), masks, **how)
    plain, logged = (score(classifier(end), Images(), masks, **how) for end in (nn.Identity(), nn.LogSoftmax(1)))
    torch.testing.assert_close(plain.loss, logged.loss)  # the logarithm of probabilities is as good as logits


def test_training_mode_is_left_where_it_matters():
    """Dropout that knows evaluation mode is off, though the model was handed over in training mode."""
    model = classifier(nn.Dropout(0.5)).train()
    found, again = (score(model, Images(), torch.ones(1, 8, 8), batch_size=4) for _ in range(2))
    assert torch.equal(found.loss, again.loss) and model.training


def test_constants_in_a_forward_are_noticed_by_what_the_first_layer_is_given():
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))

    class Config:
        image_mean, image_std = MEAN, STD

    class Own(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.act, self.config = act, Config()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))

        def forward(self, x):
            return self.body(self.act(x))

    def doubts(act, mean=MEAN, std=STD):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NormalisationWarning)
            return Classifier(Own(act), mean=mean, std=std, num_classes=5, input_size=(16, 16)).doubts

    for act in (lambda x: (x - mean) / std, lambda x: 2 * x - 1, lambda x: (255 * x - 127.5) / 127.5):
        [doubt] = doubts(act)
        assert "arithmetic before its first layer" in doubt and "normalised twice" in doubt
        assert doubts(act, (0, 0, 0), (1, 1, 1)) == []
    for act in (lambda x: x, lambda x: 255 * x, lambda x: x.flip(1), lambda x: x.clamp(0.2, 0.8), nn.AvgPool2d(2)):
        assert doubts(act) == []
