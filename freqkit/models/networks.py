"""Built-in networks for small images. Each takes normalised images [B, 3, H, W] and returns logits."""

from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import nn


class OptionABlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters: every second pixel, new channels zero.

    Source: He et al., Deep Residual Learning (CVPR 2016), section 4.2, option A. The zero channels lie half
    before and half after the old ones, as in the widely used akamaster/pytorch_resnet_cifar10.
    """

    def __init__(self, width_in, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.padding = (width - width_in) // 2

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.padding:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    """ResNet-(6n+2) for CIFAR: three stages of n blocks, widths 16, 32, 64 (He et al. 2016, section 4.2)."""

    def __init__(self, depth, num_classes=10):
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(width_in, width, blocks, stride):
        first = OptionABlock(width_in, width, stride)
        return nn.Sequential(first, *(OptionABlock(width, width, 1) for _ in range(blocks - 1)))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class PlainBlock(nn.Module):
    """ReLU, 3x3 convolution, ReLU, 3x3 convolution, and a shortcut: 2x2 means, new channels zero on both sides."""

    def __init__(self, width_in, width, *, first=False):
        super().__init__()
        self.widens = width != width_in
        self.conv1 = nn.Conv2d(width_in, width, 3, 2 if self.widens else 1, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.first, self.padding = first, (width - width_in) // 2

    def forward(self, x):
        y = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.widens:
            # ceil_mode: of odd sides the convolution of stride 2 keeps the last pixel, too
            x = F.avg_pool2d(x, 2, ceil_mode=True)
            x = F.pad(x, (0, 0, 0, 0, self.padding, self.padding))
        return x + y


class PlainCifarResNet(nn.Module):
    """ResNet-32 without BatchNorm: widths 16, 32, 64, five blocks each, Glorot-uniform weights, no bias but the last.

    Source: Wang, Wu, Huang, Xing, CVPR 2020 (arXiv 1905.13545), whose text calls it ResNet-18; as released.
    """

    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        widths = [16] * 6 + [32] * 5 + [64] * 5
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(*(PlainBlock(a, b, first=place == 0) for place, (a, b) in enumerate(pairs)))
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        x = F.relu(self.blocks(F.relu(self.conv1(x))))
        return self.linear(x.mean((2, 3)))


class BasicBlock(nn.Module):
    """Residual block with a 1x1 convolution as shortcut where shapes change (option B)."""

    def __init__(self, width_in, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class CifarResNet18(nn.Module):
    """ResNet-18 with a 3x3 stem of stride 1 and no max-pool; keys as in torchvision's `resnet18`."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self.fc = nn.Linear(512, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class SmallConvNet(nn.Module):
    """Three 3x3 convolutions (16, 32, 64 channels; 23,956 parameters at 4 classes): quick on one core."""

    def __init__(self, num_classes=4):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, num_classes)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
PIXELS = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CENTRED = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

# name -> (constructor, number of classes, (mean, std)). The option-A ResNets take ImageNet's numbers
# because the published CIFAR-10 weights were trained with them.
BUILT_IN = {
    **{f"cifar_resnet{depth}": (partial(CifarResNet, depth), 10, IMAGENET) for depth in (20, 32, 44, 56, 110)},
    "cifar_resnet32_plain": (PlainCifarResNet, 10, PIXELS),
    "cifar_resnet18": (CifarResNet18, 10, CIFAR10),
    "small_convnet": (SmallConvNet, 4, CENTRED),
}
