"""Each of the engine's economies off and on: python -m benchmarks.economies --data DIR --model NAME --weights FILE

For every row the same masks and images are scored twice, without and with the economy, in turns: processor time per
image and mask (of all threads), and how much any loss differs. Ratios above 1 mean that the economy is worth it. With
--peak the peak memory of a process that scores 1,000 and then 20,000 images instead.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--model")
    parser.add_argument("--weights")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--masks", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--compiled", action="store_true", help="also the compiled network")
    parser.add_argument("--peak", action="store_true")
    parser.add_argument("--json")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if args.peak:
        peak((1000, 20_000, 1000, 20_000))
        return 0

    from freqkit.data import load_images
    from freqkit.engine import Scorer
    from freqkit.masks import candidates, concat, select
    from freqkit.models import load_model

    model = load_model(args.model, weights=args.weights).eval()
    images = load_images(args.data, image_size=args.size, limit_per_class=args.per_class)
    masks = candidates(1, args.masks, size=args.size).masks
    few = images.subset(images.labels == 0).subset(torch.arange(10))
    base = {"form": "folded", "batch_size": args.batch_size}

    def scorer(on=None, **how):
        return Scorer(model, images if on is None else on, **{**base, **how})

    def one_by_one(service):
        """The same masks, each alone: no batch is shared, no twin is seen."""
        return torch.cat([service.score(select(masks, slice(k, k + 1))).loss for k in range(args.masks)])

    twins = concat([masks, masks])
    plain, rows = scorer(), []
    forms = {"bfloat16 asked for": {"dtype": "bfloat16"}}
    if args.compiled:
        forms = {"compiled": {"form": "compiled"}, **forms}
    cases = {
        "images decoded once": (plain, plain, "decoded"),
        "spectra kept": (scorer(memory=1 << 16), plain, None),
        "spectra in float16": (plain, scorer(spectra="float16"), None),
        "twins scored once": (plain, plain, "twins"),
        "masks packed with 10 images": (scorer(on=few), scorer(on=few), "packed"),
        "batch norm folded": (scorer(form="eager"), plain, None),
        **{name: (plain, scorer(**how), None) for name, how in forms.items()},
        "certain stopping, top 1": (plain, plain, "certain"),
        "racing at risk 0.01, top 1": (plain, plain, "race"),
    }
    for name, (off, on, special) in cases.items():
        ratios, difference = [], 0.0
        for turn in range(args.rounds + 1):
            began = time.process_time()
            if special == "packed":
                without = one_by_one(off)
            elif special == "decoded":
                for _ in range(args.masks):
                    load_images(args.data, image_size=args.size, limit_per_class=args.per_class)
                without = off.score(masks).loss
            elif special == "twins":
                without = torch.cat([off.score(masks).loss] * 2)
                off.score(masks)
            else:
                without = off.score(masks).loss
            middle = time.process_time()
            if special == "certain":
                scores = on.certain(masks, top=1)
            elif special == "race":
                scores = on.race(masks, top=1, risk=0.01)
            else:
                if special == "decoded":
                    load_images(args.data, image_size=args.size, limit_per_class=args.per_class)
                scores = on.score(twins if special == "twins" else masks)
            result, end = scores.loss, time.process_time()
            if turn:  # the first round fills what is kept
                ratios.append((middle - began) / (end - middle))
            there = without.isfinite() & result.isfinite()
            change = (result[there] - without[there]).abs() / without[there].abs().clamp_min(1e-6)
            difference = max(difference, change.max().item())
        ratio = statistics.median(ratios)
        asked = scores.record["forwards"] / (len(result) * len(on.labels))
        note = f"{on.economies()['spectra_bytes'] / 1e6:.1f} MB of spectra" if "spectra" in name else ""
        note = f"{asked:.3f} of the forwards" if asked < 1 else note
        print(f"{name:28s} {ratio:5.2f}x  losses differ by {difference:.0e} of their value  {note}")
        rows.append({"economy": name, "ratio": ratio, "difference": difference, "forwards": asked})
    if args.json:
        harness.save(args.json, rows)
    return 0


def peak(counts, memory=64 << 20, batch_size=256):
    """Peak private memory in MiB while scoring so many images, which lie in a file, with `memory` bytes for spectra."""
    import tempfile

    from freqkit.engine import Scorer, Silent
    from freqkit.masks import candidates
    from freqkit.models import load_model

    model, masks = load_model("small_convnet", num_classes=10), candidates(1, 2, size=32).masks
    peaks = []

    class Highest(Silent):
        value = 0

        def advance(self, amount, **facts):
            with open("/proc/self/status", encoding="ascii") as file:
                own = next(line for line in file if line.startswith("RssAnon"))
            self.value = max(self.value, int(own.split()[1]) / 1024)

    class Stored:
        def __init__(self, path, count):
            self.images = torch.from_file(path, size=count * 3072, dtype=torch.uint8).view(count, 3, 32, 32)
            self.labels = torch.arange(count) % 10
            self.classes = [str(label) for label in range(10)]

    with tempfile.NamedTemporaryFile() as file:
        file.write(torch.randint(0, 256, (max(counts) * 3072,), dtype=torch.uint8).numpy().tobytes())
        file.flush()
        for count in counts:
            seen = Highest()
            scorer = Scorer(model, Stored(file.name, count), batch_size=batch_size, memory=memory, form="folded")
            scorer.score(masks, progress=seen)
            peaks.append(seen.value)
            print(f"{count:6d} images: at most {seen.value:.0f} MiB, spectra {scorer.economies()['spectra']}")
    return peaks


if __name__ == "__main__":
    sys.exit(main())
