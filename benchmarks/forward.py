"""How near a model's forwards are to the machine: python -m benchmarks.forward --model NAME [--weights FILE]

Measures the float32 rate of large matrix products with the same number of threads, counts the floating-point operations
of one image, and times forms of the network at several batch sizes, in turns. The floor is the time per image if the
network ran at the rate of the matrix product. Figures are the least of several rounds: other work on the machine only
adds.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness

SIZES = (8, 16, 32, 64, 128, 256)
FORMS = ("eager", "folded", "blocked", "compiled", "compiled bfloat16", "folded bfloat16")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, nargs="+", default=SIZES)
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: seconds of all threads together")
    parser.add_argument("--json")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    clock = time.perf_counter if args.clock == "wall" else time.process_time

    from torch.utils.flop_counter import FlopCounterMode

    from freqkit.models import load_model

    model = load_model(args.model, weights=args.weights).eval()
    one = torch.randn(1, 3, args.size, args.size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.network(one)
    flops = counter.get_total_flops()

    made = {form: make(model, form) for form in args.forms}
    square = torch.randn(2048, 2048), torch.randn(2048, 2048)

    def multiply():
        torch.mm(*square)

    best = {("product", 0): 1e9, **{(form, size): 1e9 for form in args.forms for size in args.batch}}
    inputs = {size: torch.randn(size, 3, args.size, args.size) for size in args.batch}
    inputs = {size: x.contiguous(memory_format=torch.channels_last) for size, x in inputs.items()}
    for turn in range(args.rounds + 1):
        took = least(multiply, 1, clock) / (2 * 2048**3)
        best["product", 0] = min(best["product", 0], took)
        for size, x in inputs.items():
            repeats = max(1, 64 // size)
            for form, run in made.items():
                took = least(lambda run=run, x=x: run(x), repeats, clock) / size
                if turn:  # the first round compiles
                    best[form, size] = min(best[form, size], took)
    rate = 1 / best["product", 0]
    floor = flops * best["product", 0]
    print(f"{args.model} at {args.size}: {flops / 1e6:.1f} MFLOP per image; {args.threads} threads, {args.clock} clock")
    print(f"product of 2048 x 2048: {rate / 1e9:.0f} GFLOP/s, so the floor is {floor * 1e3:.3f} ms per image")
    reference = made[args.forms[0]](inputs[args.batch[-1]]).float()
    rows = []
    for form in args.forms:
        got = made[form](inputs[args.batch[-1]]).float()
        difference = ((got - reference).abs().max() / reference.abs().max()).item()
        times = "  ".join(f"{size}: {best[form, size] * 1e3:.3f}" for size in args.batch)
        fastest = min(best[form, size] for size in args.batch)
        share = floor / fastest
        print(f"{form:18s} ms per image at batch {times}; {share:.0%} of the rate; logits differ by {difference:.0e}")
        for size in args.batch:
            rows.append({"form": form, "batch": size, "ms": best[form, size] * 1e3, "difference": difference})
    if args.json:
        harness.save(args.json, [{"flops": flops, "gflops": rate / 1e9, "floor_ms": floor * 1e3}, *rows])
    return 0


def least(run, repeats, clock):
    run()
    began = clock()
    for _ in range(repeats):
        run()
    return (clock() - began) / repeats


def make(model, form):
    """A function from normalised images to logits."""
    import copy

    from freqkit.engine.forward import _fold

    eager = copy.deepcopy(model.network).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    name, _, dtype = form.partition(" ")
    network = eager if name == "eager" else _fold(eager) or eager
    if name == "blocked":  # TorchScript's frozen graph in oneDNN's own layouts
        with torch.no_grad():
            scripted = torch.jit.freeze(torch.jit.trace(eager, torch.randn(2, 3, 32, 32)))
            network = torch.jit.optimize_for_inference(scripted)
    if name == "compiled":
        network = torch.compile(network, dynamic=False, options={"freezing": True})
    low = getattr(torch, dtype) if dtype else None

    def run(x):
        with torch.inference_mode(name != "blocked"), torch.no_grad():
            with torch.autocast("cpu", dtype=low, enabled=low is not None):
                return network(x)

    return run


if __name__ == "__main__":
    sys.exit(main())
