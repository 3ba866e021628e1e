"""What the tests of killed and of several processes run, here or in a process of its own.

python tests/training/processes.py kill OUT OPTIMIZER
python tests/training/processes.py rank OUT FILE
"""

import json
import sys
import time

import torch
from torch import nn

from freqkit.data import synthetic
from freqkit.models import Classifier, load_model
from freqkit.training import train


def everything_with_state(out, optimizer, *, resume=False, progress=None):
    """Momenta, averages, plateau, warm-up, augmentation, mixing, dropout, curves."""
    model = load_model("small_convnet")
    model.network.head = nn.Sequential(nn.Dropout(0.5), model.network.head)
    train(
        model, synthetic(1, images_per_class=12), val_set=synthetic(1, images_per_class=5, seed=1), epochs=6,
        batch_size=16, lr=0.01, optimizer=optimizer, schedule="plateau", patience=0, warmup=1.5, ema=0.9,
        precision="bfloat16", augment=("crop", "flip", "randaugment"), mixup=0.2, cutmix=1.0, clip=1.0, follow=2,
        keep_every=2, out=out, resume=resume, progress=progress,
    )  # fmt: skip


def shared(out):
    """A network without BatchNorm, so that one process and two compute the same but for rounding."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * 7 * 7, 4),
        )  # fmt: skip
    model = Classifier(network, mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=4)
    asked = {True: 0, False: 0}

    def see(module, inputs, output):
        asked[module.training] += len(output)

    network.register_forward_hook(see)
    history = train(
        model, synthetic(1, images_per_class=9), val_set=synthetic(1, images_per_class=7, seed=1), epochs=3,
        batch_size=15, lr=0.05, augment=("crop", "flip"), follow=2, out=out,
    )  # fmt: skip
    weights = [parameter.flatten().tolist() for parameter in model.parameters()]
    return {**history, "weights": weights, "asked": [asked[True], asked[False]]}


def main(what, out, more):
    torch.set_num_threads(1)
    if what == "kill":

        def slowly(done, total):
            print(done, flush=True)
            time.sleep(0.05)

        everything_with_state(out, more, progress=slowly)
    else:
        torch.distributed.init_process_group("gloo")
        both = [shared(f"{out}/first"), shared(f"{out}/second")]
        torch.distributed.destroy_process_group()
        with open(more, "w") as file:
            json.dump(both, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
