"""`freqkit rerun`: a finished run once more, and whether it gives the same bytes."""

import json
import shlex
from pathlib import Path

import click

from freqkit.cli.app import app, command
from freqkit.cli.options import JSON, options
from freqkit.cli.voice import say, say_json

# Files that hold the result and nothing of its making (times, sessions).
RESULTS = (
    "stage-*.safetensors",
    "dfm*.safetensors",
    "removal.safetensors",
    "tested.safetensors",
    "weights*.safetensors",
    "classes.csv",
    "history.csv",
    "results.csv",
    "comparison.csv",
    "learning.csv",
    "demo.json",
)


@command(app, "rerun")
@click.argument("run", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="NEW", help="Where the new run goes.")
@click.option("--overwrite", is_flag=True, help="Replace the run in NEW.")
@options(JSON)
@click.pass_context
def rerun(context, run, out, overwrite, as_json):
    """Do the run in DIR again from its run.yaml, and compare the results byte by byte.

    The batch size that the run measured for itself is kept, since rounding depends on it. Ends with 1 when a result
    differs: another torch, other images or weights, another number of threads or another processor.

    \b
    freqkit rerun runs/resnet20 --out runs/again
    """
    from freqkit.errors import UsageError
    from freqkit.files.reading import fit, read_yaml, shown
    from freqkit.files.whole import read_run

    run, out = Path(run), Path(out)
    file = run / "run.yaml"
    if not file.is_file():
        raise UsageError(f"{run}: holds no run.yaml, so it was not written by a command of freqkit.")
    config = fit(read_yaml(file, "run.yaml of a command"), {"command": str, "flags": dict}, file)
    name = config["command"]
    target = app.get_command(context, name)
    if target is None or not {"--config", "--out"} <= {one for part in target.params for one in part.opts}:
        raise UsageError(f"{file}: command must be one of freqkit that writes a run; got {shown(name, 40)}.")
    flags = ["--config", str(file), "--out", str(out)] + (["--overwrite"] if overwrite else [])
    if config["flags"].get("batch-size") == "auto":
        # a comparison has no record of its own: all its searches have the batch size of the first
        records = [run, *sorted(file.parent for file in run.glob("*/run.json"))]
        record = next((read_run(one) for one in records if (one / "run.json").is_file()), {})
        if "batch_size" in record:
            flags += ["--batch-size", str(record["batch_size"])]
    if name in ("search", "dfm") and config["flags"].get("split-fraction") is None and (run / "run.json").is_file():
        if "test" not in read_run(run).get("identity", {}):
            flags += ["--split-fraction", "1"]  # done before searches were tested
    say(shlex.join(["freqkit", *name.split(), *flags]))
    if as_json:
        flags.append("--json")
    with target.make_context(name, flags, parent=context.parent) as inner:
        if as_json:
            import contextlib
            import io

            with contextlib.redirect_stdout(io.StringIO()):
                target.invoke(inner)
        else:
            target.invoke(inner)
    same, other = compare(run, out)
    if as_json:
        say_json({"run": str(run), "out": str(out), "same": same, "different": other})
    if not same and not other:
        raise UsageError(f"{run}: holds no finished result to compare with.")
    if same:
        say(f"The same bytes as in {run}: {', '.join(same)}")
    if other:
        say(f"Other bytes than in {run}: {', '.join(other)}")
    return 1 if other else 0


def compare(first, second):
    """(names of result files that are equal, names that differ or are missing in `second`)."""
    names = sorted({path.name for pattern in RESULTS for path in Path(first).glob(pattern)})
    same = [name for name in names if _bytes(second / name) == _bytes(first / name)]
    return same, [name for name in names if name not in same]


def _bytes(path):
    if path.name == "demo.json" and path.is_file():
        from freqkit.files.reading import read_json

        known = read_json(path)
        known.pop("seconds", None)
        return json.dumps(known, sort_keys=True).encode()
    if path.name == "comparison.csv" and path.is_file():
        from freqkit.files.reading import read_csv

        rows = [row for _, row in read_csv(path, ())]
        return json.dumps([{name: row[name] for name in row if name != "seconds"} for row in rows]).encode()
    return path.read_bytes() if path.is_file() else None
