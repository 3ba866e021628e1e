"""Stub files: what editors and type checkers see of functions whose keywords are made from options. By `make docs`."""

import collections.abc
import importlib
import inspect
import types
import typing

import freqkit
from freqkit.options import rule_of

HEAD = "# Written by `make docs` from the code: signatures that are made from options (freqkit/options.py).\n"
ROOMS = ("data", "engine", "measures", "models", "search", "training")  # whose packages offer such functions


def stubs() -> dict[str, str]:
    """File name below freqkit/ -> text.

    Example:
        >>> "def evolve(" in stubs()["search/__init__.pyi"]
        True
    """
    made = {f"{room}/__init__.pyi": _room(importlib.import_module(f"freqkit.{room}")) for room in ROOMS}
    about = vars(freqkit)
    offered = [f"from {place} import {name} as {name}" for name, place in sorted(about["_PUBLIC"].items())]
    offered += [f"from freqkit import {name} as {name}" for name in about["_MODULES"]]
    made["__init__.pyi"] = HEAD + "\n".join([*offered, "", "__version__: str"]) + "\n"
    return made


def _room(package):
    imports, plain, functions = {"from typing import Any"}, [], []
    for name in sorted(package.__all__):
        found = getattr(package, name)
        if inspect.isfunction(found) and hasattr(found, "groups"):
            functions.append(_function(name, found, imports))
        elif inspect.isclass(found) or inspect.isfunction(found):
            plain.append(f"from {found.__module__} import {found.__name__} as {name}")
        else:
            plain.append(f"{name}: Any")
    offered = {line.rpartition(" as ")[2] for line in plain}
    imports = {line for line in imports if line.rpartition(" ")[2] not in offered}
    return HEAD + "\n".join([*sorted(imports), *plain, "", *functions]) + "\n"


def _function(name, function, imports):
    signature = inspect.signature(function)
    choices = {name: rule_of(field).choices for group in function.groups for name, field in group.fields().items()}
    lines, keywords = [], False
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not keywords:
            keywords = True
            lines.append("*")
        hint = _hint(one.annotation, imports, choices.get(one.name))
        default = "" if one.default is one.empty else f" = {_default(one.default)}"
        stars = "**" if one.kind is one.VAR_KEYWORD else ""
        lines.append(f"{stars}{one.name}: {hint}{default}")
    inside = "".join(f"    {line},\n" for line in lines)
    return f"def {name}(\n{inside}) -> {_hint(signature.return_annotation, imports)}: ...\n"


def _default(value):
    return "..." if callable(value) else repr(value)


def _hint(hint, imports, choices=None):
    if choices is not None:
        imports.add("from typing import Literal")
        optional = isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)
        words = f"Literal[{', '.join(map(repr, choices))}]"
        return f"{words} | None" if optional else words
    if hint is None or hint is type(None):
        return "None"
    if isinstance(hint, types.UnionType):
        return " | ".join(_hint(one, imports) for one in typing.get_args(hint))
    if isinstance(hint, list):  # of the arguments of a Callable
        return f"[{', '.join(_hint(one, imports) for one in hint)}]"
    origin = typing.get_origin(hint)
    if origin is not None:
        inside = ", ".join(_hint(one, imports) for one in typing.get_args(hint))
        return f"{_named(origin, imports)}[{inside}]"
    if hint is typing.Any or hint is inspect.Parameter.empty:
        return "Any"
    return "..." if hint is Ellipsis else _named(hint, imports)


def _named(kind, imports):
    room = kind.__module__
    if room == "builtins":
        return kind.__name__
    if kind in vars(collections.abc).values() or room.startswith("freqkit."):
        imports.add(f"from {'collections.abc' if not room.startswith('freqkit.') else room} import {kind.__name__}")
        return kind.__name__
    room = "pathlib" if room.startswith("pathlib.") else room
    imports.add(f"import {room}")
    return f"{room}.{kind.__name__}"
