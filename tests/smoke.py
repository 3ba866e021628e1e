"""Whether an installed freqkit works: the operator against float64, and a search with its page. No test framework.

python tests/smoke.py [--operator native|plain]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch


def filtered(images, masks):
    """float64 [K, B, C, H, W] by torch's complex transform; masks [K, H, W], DC at [0, 0]."""
    spectra = torch.fft.fft2(images.double())
    return torch.fft.ifft2(spectra * masks.double()[:, None, None]).real


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operator", choices=["native", "plain"], help="what must run here")
    wanted = parser.parse_args(arguments).operator

    def freqkit(*words):
        done = subprocess.run([sys.executable, "-m", "freqkit", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"freqkit {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    about = json.loads(freqkit("info", "--json"))
    from freqkit.ops import spectral_filter

    runs = about["built"]["operator"].split()[0]  # "native" or "plain torch"
    if wanted not in (None, runs):
        raise SystemExit(f"the operator that runs is {runs}, not {wanted}: {about}")
    for size in ((32, 32), (31, 17), (96, 96), (224, 224)):
        generator = torch.Generator().manual_seed(size[0])
        images = torch.randn(2, 3, *size, generator=generator)
        masks = (torch.rand(3, *size, generator=generator) < 0.5).float()
        error = (spectral_filter(images, masks) - filtered(images, masks)).abs().max().item()
        if not error < 1e-5:
            raise SystemExit(f"spectral_filter at {size}: an error of {error:g}")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        images = Path(folder) / "images"
        freqkit("data", "synthetic", "--out", str(images), "--images-per-class", "4")
        freqkit(
            "search", "--model", "small_convnet", "--data", str(images), "--num-classes", "4", "--out", str(run),
            "--steps", "2", "--device", "cpu",
        )  # fmt: skip
        made = {path.name for path in run.iterdir()}
        if not {"report.html", "run.json", "run.yaml", "classes.csv"} <= made:
            raise SystemExit(f"a search left {sorted(made)} alone")
    print(f"freqkit works here: operator {runs}, torch {torch.__version__}, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
