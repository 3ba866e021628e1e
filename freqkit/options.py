"""Options as data: a field says its default, its rule and its sentence, and everything else comes from it.

A group of options is a frozen dataclass that derives from `Options`, with `option(...)` for each field. From the fields
come the checks and their sentences, the run's identity, the keywords and the documentation of a function (`flat`), and
the flags of a command (`freqkit.cli.options`).
"""

import dataclasses
import functools
import inspect
import os
import textwrap
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import torch

from freqkit.errors import UsageError

if typing.TYPE_CHECKING:
    from typing_extensions import Self

RULE = "rule"  # key of a field's metadata


@dataclasses.dataclass(frozen=True)
class Rule:
    """What may stand in a field.

    Attributes:
        says: for documentation and --help, what the field is: a clause without a full stop.
        least, most: inclusive bounds; above, below: exclusive ones.
        choices: the values there are.
        must: what it must be, in words, where those made of the bounds would not do.
        identity: whether a result depends on it; False for what only says where and how to work.
        flag: whether commands have a flag for it; a name: how it is spelled there.
        help: what --help says in place of `says`.
        metavar: how --help shows the value.
        kind: how the flag is written, a name in `freqkit.cli.values.KINDS`, where type and bounds do not say it.
        usual: the flag's default, where it is another than the field's, or written otherwise.
        switch: (name, value) of a flag without a value that sets the field to `value`.
    """

    says: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple | None = None
    must: str | None = None
    identity: bool = True
    flag: bool | str = True
    help: str | None = None
    metavar: str | None = None
    kind: str | None = None
    usual: Any = None
    switch: tuple[str, Any] | None = None


def option(default: Any, says: str = "", **rule: Any) -> Any:
    """A field of `Options`; `rule`: see `Rule`."""
    return dataclasses.field(default=default, metadata={RULE: Rule(says, **rule)})


def rule_of(field: dataclasses.Field) -> Rule:
    """The rule of a field of `Options`."""
    return field.metadata[RULE]


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
    def of(cls, owner: str, **values: Any) -> "Self":
        """The checked options of a function named `owner`, as it uses them.

        Raises:
            UsageError: a value breaks its field's rule, or together they break another.
        """
        hints = hints_of(cls)
        for field in dataclasses.fields(cls):
            if field.name in values:
                _check(owner, field.name, values[field.name], hints[field.name], rule_of(field))
        return cls(**values).check(owner)

    @classmethod
    def fields(cls) -> "dict[str, dataclasses.Field]":
        """Name -> field."""
        return {field.name: field for field in dataclasses.fields(cls)}

    def check(self, owner: str) -> "Self":
        """The options as they are used, after rules that concern several of them, or more than a bound; see `of`."""
        return self

    def identity(self) -> dict:
        """What a result depends on: name -> value, in the order of the fields."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if rule_of(f).identity}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@functools.cache
def hints_of(cls: type[Options]) -> dict:
    """The annotations of a group's fields, by name."""
    return typing.get_type_hints(cls)


def kinds_of(hint: Any) -> tuple:
    """What an annotation allows: `int | str | None` -> (int, str, NoneType)."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _check(owner, name, value, hint, rule):
    kinds = kinds_of(hint)
    if value is None and type(None) in kinds:
        return
    if rule.choices is not None:
        fits = any(value is one or (type(value) is type(one) and value == one) for one in rule.choices)
        must = f"one of {', '.join(map(str, rule.choices))}"
    elif isinstance(value, bool) and bool in kinds:
        return
    elif float in kinds or int in kinds:
        if not isinstance(value, (int, float)) and set(kinds) - {int, float, type(None)}:
            return  # a list, or a word, of which the field's owner knows more
        number = (int, float) if float in kinds else int
        fits = isinstance(value, number) and not isinstance(value, bool) and _within(value, rule)
        must = _in_words(name, rule, float in kinds)
    elif bool in kinds:
        fits, must = False, "True or False"
    else:
        return
    if not fits:
        raise UsageError(f"{owner}: {name} must be {rule.must or must}; got {value!r}.")


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

    domain: str = option(
        "normalised", "where filters act: the normalised tensor, or pixels in [0, 1]", choices=("normalised", "pixels")
    )
    class_index: Sequence[int] | torch.Tensor | None = option(
        None, "the logit of each class of the images; None: in their order"
    )
    batch_size: int | str = option(
        "auto", "pairs of image and mask per forward; auto measures what is fastest", least=1,
        must='"auto" or a positive integer',
    )  # fmt: skip
    device: str | torch.device | None = option(None, "where the model is asked; None: where it is", identity=False)
    dtype: str | torch.dtype | None = option(None, "what the network computes in; None: its own")
    memory: int = option(
        1 << 30, "bytes that kept spectra may take; beyond, they are computed anew for every use, and one block of "
        "images is held alone, which changes how images are cut into tiles, and so last bits", least=1,
        must="a positive number of bytes", kind="size", metavar="SIZE", usual="1GiB",
        help="what kept spectra may take; when they need more, they are computed anew for every use",
    )  # fmt: skip
    form: str = option(
        "auto", "the network as it is (eager), with batch norms folded, or compiled; auto compiles for long runs",
        choices=("auto", "eager", "folded", "compiled"),
    )  # fmt: skip
    spectra: str = option(
        "float32", "how spectra are kept; float16 takes half the memory and 11 bits of every coefficient",
        choices=("float32", "float16"),
    )  # fmt: skip

    def check(self, owner):
        if isinstance(self.batch_size, str) and self.batch_size != "auto":
            must = rule_of(self.fields()["batch_size"]).must
            raise UsageError(f"{owner}: batch_size must be {must}; got {self.batch_size!r}.")
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Directory(Options):
    """Where a run stands, and how it goes on."""

    out: str | os.PathLike | None = option(
        None, "directory of the run: run.json, journal.bin and the results", identity=False
    )
    resume: bool = option(
        False, "continue the run in `out`, to the bits of an uninterrupted one; refused when anything differs on which "
        "the result depends", identity=False,
    )  # fmt: skip
    overwrite: bool = option(False, "replace the run in `out`; only files written by freqkit go", identity=False)
    progress: Any = option(None, "a `freqkit.engine.Progress`", identity=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Running(Directory):
    """The same of a run that can be planned."""

    dry_run: bool = option(False, "return a `Plan` and do nothing else", identity=False)


def flat(function: Callable | None = None, *, owner: str | None = None) -> Callable:
    """A decorator that gives the fields of a function's groups of options as flat keywords.

    Parameters that are annotated as `Options` are filled with checked ones, made of the keywords that the function is
    called with, which its signature, `help` and editors show. What the fields say is added to the docstring under Args.
    All other parameters, and `**more`, stay as they are.

    Args:
        owner: the name in its errors; None: the function's.

    Example:
        >>> @flat
        ... def search(images, scoring: Scoring):
        ...     return scoring.form
        >>> search(None, form="eager")
        'eager'
    """
    if function is None:
        return functools.partial(flat, owner=owner)
    written = inspect.signature(function)
    groups = {
        name: one.annotation for name, one in written.parameters.items()
        if isinstance(one.annotation, type) and issubclass(one.annotation, Options)
    }  # fmt: skip
    others = [one for name, one in written.parameters.items() if name not in groups]
    keywords = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints_of(group)[field.name]
        )
        for group in groups.values()
        for field in dataclasses.fields(group)
    ]
    signature = written.replace(parameters=sorted([*others, *keywords], key=lambda one: one.kind))

    @functools.wraps(function)
    def call(*args, **values):
        try:
            given = signature.bind(*args, **values)
        except TypeError as error:
            raise TypeError(f"{function.__name__}() {error}") from None
        given.apply_defaults()
        given = given.arguments
        options = {
            name: group.of(owner or function.__name__, **{f.name: given[f.name] for f in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        rest = {one.name: given[one.name] for one in others if one.kind is not inspect.Parameter.VAR_KEYWORD}
        more = (given[one.name] for one in others if one.kind is inspect.Parameter.VAR_KEYWORD)
        return function(**rest, **options, **next(more, {}))

    made: Any = call
    made.__signature__ = signature
    made.groups = tuple(groups.values())
    made.__doc__ = documented(function.__doc__, made.groups)
    return made


def documented(text: str | None, groups: Sequence[type[Options]]) -> str | None:
    """A docstring with the fields of `groups` under its Args."""
    head, args, tail = inspect.cleandoc(text or "").partition("\nArgs:\n")
    if not args:
        return text
    own, gap, rest = tail.partition("\n\n")
    fields = [
        textwrap.fill(
            f"{field.name}: {rule_of(field).says} (default {field.default!r}).", 116,
            initial_indent="    ", subsequent_indent="        ", break_long_words=False,
        )
        for group in groups for field in dataclasses.fields(group)
    ]  # fmt: skip
    return head + args + "\n".join([own.rstrip("\n"), *fields]) + gap + rest
