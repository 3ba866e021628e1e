"""Values of flags: what they may be, and the sentence when they are not."""

import difflib
import os
import re
from pathlib import Path

import click


class Folder(click.Path):
    """A folder that is there; near spellings beside it are named when it is not."""

    def __init__(self):
        super().__init__(exists=True, file_okay=False)

    def convert(self, value, param, ctx):
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            path = Path(value)
            beside = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
            near = difflib.get_close_matches(path.name, beside, n=1)
            if near:
                error.message += f" Did you mean {str(path.parent / near[0])!r}?"
            raise


class Stages(click.ParamType):
    """`1-4`, `2,3` or `3` -> [1, 2, 3, 4], [2, 3], [3]."""

    name = "stages"

    def convert(self, value, param, ctx):
        if isinstance(value, (list, tuple)):
            return list(value)
        stages = []
        for part in value.split(","):
            match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
            if not match:
                self.fail(f"must look like 1-4 or 2,3; got {value!r}.", param, ctx)
            first, last = int(match[1]), int(match[2] or match[1])
            if first < 1 or last < first or last > 99:
                self.fail(f"must be stages that start at 1 and rise; got {value!r}.", param, ctx)
            stages += range(first, last + 1)
        if stages != sorted(set(stages)):
            self.fail(f"must rise, each stage once; got {value!r}.", param, ctx)
        return stages


class Counts(click.ParamType):
    """`500` -> 500, `200,400,800` -> [200, 400, 800]."""

    name = "n[,n...]"

    def convert(self, value, param, ctx):
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isdecimal() and int(part) >= 1 for part in parts):
            self.fail(f"must be a number >= 1, or one per stage as 200,400,800; got {value!r}.", param, ctx)
        counts = [int(part) for part in parts]
        return counts[0] if len(counts) == 1 else counts


class BatchSize(click.ParamType):
    """`auto`, or a number of at least 1."""

    name = "auto|n"

    def convert(self, value, param, ctx):
        if value == "auto" or isinstance(value, int):
            return value
        if not (value.isdecimal() and int(value) >= 1):
            self.fail(f"must be auto or a number >= 1; got {value!r}.", param, ctx)
        return int(value)


class Memory(click.ParamType):
    """`512MiB`, `1.5GiB`, `2GB` or a number of bytes -> bytes."""

    name = "size"

    def convert(self, value, param, ctx):
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
        units = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
        size = float(match[1]) * units.get(match[2].lower(), 0) if match else 0
        if size < 1:
            self.fail(f"must be a size such as 512MiB or 2GiB; got {value!r}.", param, ctx)
        return int(size)


class Classes(click.Path):
    """A list of classes that comes with freqkit, or a text file."""

    name = "file"

    def __init__(self):
        super().__init__(exists=True, dir_okay=False)

    def convert(self, value, param, ctx):
        from freqkit.data.class_lists import SHIPPED

        return value if value in SHIPPED else super().convert(value, param, ctx)


class Share(click.ParamType):
    """A number in (0, 1]."""

    name = "share"

    def convert(self, value, param, ctx):
        try:
            share = float(value)
        except ValueError:
            share = float("nan")
        if not 0 < share <= 1:
            self.fail(f"must lie in (0, 1]; got {value!r}.", param, ctx)
        return share


class Risk(click.ParamType):
    """A number in [0, 1)."""

    name = "risk"

    def convert(self, value, param, ctx):
        try:
            risk = float(value)
        except ValueError:
            risk = float("nan")
        if not 0 <= risk < 1:
            self.fail(f"must lie in [0, 1); got {value!r}.", param, ctx)
        return risk


class ResultFile(click.Path):
    """The file of a result: `runs/a` is `runs/a.safetensors`, and a folder (there, or written with a slash) holds
    it under the name of its kind, `runs/` -> `runs/rates.safetensors`."""

    name = "file"

    def __init__(self, file, *endings):
        super().__init__(dir_okay=False)
        self.file, self.endings = file, endings or (Path(file).suffix,)

    def convert(self, value, param, ctx):
        path = Path(value)
        if path.is_dir() or str(value).endswith(os.sep):
            path = path / self.file
        elif not path.suffix:
            path = path.with_name(path.name + self.endings[0])
        elif path.suffix.lower() not in self.endings:
            self.fail(f"must end in {' or '.join(self.endings)}, or be a folder; got {value!r}.", param, ctx)
        return super().convert(str(path), param, ctx)


class Triple(click.ParamType):
    """`0.5,0.5,0.5` -> (0.5, 0.5, 0.5)."""

    name = "r,g,b"

    def convert(self, value, param, ctx):
        parts = value.split(",") if isinstance(value, str) else value
        try:
            triple = tuple(float(part) for part in parts)
        except (TypeError, ValueError):
            triple = ()
        if len(triple) != 3:
            self.fail(f"must be three numbers as 0.5,0.5,0.5; got {value!r}.", param, ctx)
        return triple


class Shares(click.ParamType):
    """`0.01,0.05` -> (0.01, 0.05)."""

    name = "share[,share...]"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        return tuple(Share().convert(part, param, ctx) for part in value.split(","))


class Device(click.ParamType):
    """`auto`, `cpu`, `cuda` or `cuda:N`; whether it is there is asked when the command runs."""

    name = "device"

    def convert(self, value, param, ctx):
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            self.fail(f"must be auto, cpu, cuda or cuda:N; got {value!r}.", param, ctx)
        return value


# How a flag is written whose field's type and bounds do not say it (`freqkit.options.Rule.kind`).
KINDS = {"stages": Stages, "counts": Counts, "triple": Triple, "shares": Shares, "numbers": lambda: click.STRING,
         "size": Memory, "folder": Folder, "names": lambda: click.STRING,
         "whole": lambda: click.IntRange(1)}  # fmt: skip


def numbers_of(text, flag):
    """`4,8,12` -> [4.0, 8.0, 12.0]; None of None.

    Raises:
        UsageError: it is something else.
    """
    from freqkit.errors import UsageError

    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{flag} must be numbers as 4,8,12; got {text!r}.") from None


def resolve_device(name):
    """`auto` -> cuda when torch sees a GPU, else cpu; asking for a GPU that is not there is an error.

    Of several ranks on a machine each takes the GPU of its own number. A run whose operator is not the native one says
    so here, once, before its work.
    """
    import torch

    from freqkit.cli.voice import say
    from freqkit.errors import UsageError, torchrun
    from freqkit.ops.extension import notice

    context = click.get_current_context(silent=True)
    told = {} if context is None else context.meta
    if torchrun()[0] == 0 and "freqkit.operator" not in told:
        told["freqkit.operator"] = sentence = notice()
        if sentence:
            say(sentence)

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    _, size, local = torchrun()
    if name == "cuda" and size > 1:
        name = f"cuda:{local}"
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(name.partition(":")[2] or 0)
        if index >= count:
            raise UsageError(f"--device must name a device that torch sees ({count} GPUs); got {name}.")
    return name
