"""Options as data: a field says its default, its rule and its sentence, and everything else comes from it.

A group of options is a frozen dataclass that derives from `Options`, with `option(...)` for each field. From the fields
come the checks and their sentences, the run's identity, the keywords and the documentation of a function (`flat`), and
the flags of a command (`freqkit.cli.options`).
"""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from freqkit.errors import UsageError

RULE = "rule"  # key of a field's metadata


@dataclasses.dataclass(frozen=True)
class Rule:
    """What may stand in a field.

    Attributes:
        says: the sentence for documentation and --help.
        least, most: inclusive bounds; above, below: exclusive ones.
        choices: the values there are.
        identity: whether a result depends on it; False for what only says where and how to work.
        flag: how a command spells it; None: as the field; "": it has no flag.
    """

    says: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple | None = None
    identity: bool = True
    flag: str | None = None


def option(default: Any, says: str = "", **rule: Any) -> Any:
    """A field of `Options`; `rule`: see `Rule`."""
    return dataclasses.field(default=default, metadata={RULE: Rule(says, **rule)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all groups of options.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Draw(Options):
        ...     seed: int = option(0, "of the draws", least=0)
        >>> Draw.of("evolve", seed=-1)
        Traceback (most recent call last):
            ...
        freqkit.errors.UsageError: evolve: seed must be an integer of at least 0; got -1.
    """

    @classmethod
    def of(cls, owner: str, **values: Any) -> "Options":
        """The checked options of a function named `owner`.

        Raises:
            UsageError: a value breaks its field's rule.
        """
        hints = _hints(cls)
        for field in dataclasses.fields(cls):
            if field.name in values:
                _check(owner, field.name, values[field.name], hints[field.name], field.metadata[RULE])
        return cls(**values)

    def identity(self) -> dict:
        """What a result depends on: name -> value, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata[RULE].identity}


@functools.cache
def _hints(cls):
    return typing.get_type_hints(cls)


def _check(owner, name, value, kind, rule):
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and type(None) in kinds:
        return
    if rule.choices is not None:
        if not any(value is one or (type(value) is type(one) and value == one) for one in rule.choices):
            raise UsageError(f"{owner}: {name} must be one of {', '.join(map(str, rule.choices))}; got {value!r}.")
    elif bool in kinds:
        if not isinstance(value, bool):
            raise UsageError(f"{owner}: {name} must be True or False; got {value!r}.")
    elif float in kinds or int in kinds:
        if isinstance(value, str) and str in kinds:
            return
        number = (int, float) if float in kinds else int
        fits = isinstance(value, number) and not isinstance(value, bool) and _within(value, rule)
        if not fits:
            raise UsageError(f"{owner}: {name} must be {_in_words(name, rule, float in kinds)}; got {value!r}.")


def _within(value, rule):
    return (
        value == value
        and (rule.least is None or value >= rule.least)
        and (rule.most is None or value <= rule.most)
        and (rule.above is None or value > rule.above)
        and (rule.below is None or value < rule.below)
    )


def _in_words(name, rule, real):
    low = f"{rule.least} <= " if rule.least is not None else f"{rule.above} < " if rule.above is not None else ""
    high = f" <= {rule.most}" if rule.most is not None else f" < {rule.below}" if rule.below is not None else ""
    if not real:
        if rule.most is None:
            return f"an integer of at least {rule.least}" if rule.least is not None else "an integer"
        return f"an integer with {low}{name}{high}"
    return f"a number with {low}{name}{high}" if low or high else "a number"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scoring(Options):
    """How a model is asked; what `freqkit.engine.score` says of each holds everywhere."""

    domain: str = option("normalised", "where filters act: the normalised tensor, or pixels in [0, 1]")
    class_index: Any = option(None, "the logit of each class of the images; None: in their order")
    batch_size: int | str = option("auto", "images per forward; auto measures what is fastest", least=1)
    device: Any = option(None, "where the model is asked; None: where it is", identity=False)
    dtype: Any = option(None, "what the network computes in; None: its own")
    memory: int = option(1 << 30, "bytes that kept spectra may take; beyond, they are computed anew for every use")
    form: str = option(
        "auto", "the network as it is, with batch norms folded, or compiled; auto compiles for long runs"
    )
    spectra: str = option("float32", "how spectra are kept; float16 takes half the memory")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Running(Options):
    """Where a run stands, and how it goes on."""

    out: Any = option(None, "directory of the run: run.json, journal.bin and the results", identity=False)
    resume: bool = option(False, "continue the run in `out`, to the bits of an uninterrupted one", identity=False)
    overwrite: bool = option(False, "replace the run in `out`; only files written by freqkit go", identity=False)
    progress: Any = option(None, "a `freqkit.engine.Progress`", identity=False)
    dry_run: bool = option(False, "return a plan and do nothing else", identity=False)


def flat(*groups: type[Options]) -> Callable:
    """A decorator that gives `function(model, ..., *, own, scoring, ...)` the fields of `groups` as flat keywords.

    The function is written with one positional parameter for each group behind its own; keywords that only it has, and
    `**more`, stay as they are. It is called with the fields as keywords, which its signature, `help` and editors show.
    What the fields say is added to the docstring under Args.
    """

    def wrap(function):
        own, name = list(inspect.signature(function).parameters.values()), function.__name__
        plain = [one for one in own if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        heads, behind = plain[: len(plain) - len(groups)], own[len(plain) :]
        keywords = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=_hints(group)[field.name]
            )
            for group in groups
            for field in dataclasses.fields(group)
        ]
        signature = inspect.Signature(sorted([*heads, *behind, *keywords], key=lambda one: one.kind))
        named = [one.name for one in behind if one.kind is inspect.Parameter.KEYWORD_ONLY]
        more = [one.name for one in behind if one.kind is inspect.Parameter.VAR_KEYWORD]

        @functools.wraps(function)
        def call(*args, **values):
            try:
                given = signature.bind(*args, **values)
            except TypeError as error:
                raise TypeError(f"{name}() {error}") from None
            given.apply_defaults()
            chosen = [
                group.of(name, **{field.name: given.arguments[field.name] for field in dataclasses.fields(group)})
                for group in groups
            ]
            rest = {name: given.arguments[name] for name in named}
            for name_of_rest in more:
                rest.update(given.arguments[name_of_rest])
            return function(*(given.arguments[head.name] for head in heads), *chosen, **rest)

        call.__signature__ = signature
        call.groups = groups
        call.__doc__ = documented(function.__doc__, groups)
        return call

    return wrap


def documented(text: str | None, groups: tuple[type[Options], ...]) -> str | None:
    """A docstring with the fields of `groups` under its Args."""
    if not text or "    Args:\n" not in text:
        return text
    head, tail = text.split("    Args:\n", 1)
    own, gap, rest = tail.partition("\n\n")
    fields = (field for group in groups for field in dataclasses.fields(group))
    lines = [f"        {field.name}: {field.metadata[RULE].says} (default {field.default!r})." for field in fields]
    return f"{head}    Args:\n" + "\n".join([own.rstrip("\n"), *lines]) + gap + rest
