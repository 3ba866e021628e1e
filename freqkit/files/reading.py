"""Files that others wrote: one reader per format, which says in one sentence what is wrong with a file.

Whatever a file holds, a reader here either gives plain values of the kinds that were asked for, or raises a
`UsageError` that names the file, what was expected, and at most a line of what came. Sizes, depths and kinds are
checked before anything large is made of them.
"""

import csv
import hashlib
import io
import json
import math
import re
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from freqkit.errors import MissingFile, UsageError
from freqkit.text import plain_line, printable

TEXT = 16 << 20  # bytes of a text file; JSON of that size takes half a gigabyte when it is nothing but brackets
DEPTH = 40  # of lists and objects in each other
POINTER = b"version https://git-lfs.github.com/spec/"
_WORDS = {
    dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a whole number", float: "a number",
    type(None): "null",
}  # fmt: skip


def shown(value, most=80):
    """A piece of what a file holds, for a sentence: one line, cut, control characters escaped, nothing looked into.

    Example:
        >>> shown("a\\x1b[2J\\nb"), shown((1, 2)), shown("x" * 100, 5)
        ("'a\\\\x1b[2J\\\\nb'", 'a tuple', "'xxxx...'")
    """
    if isinstance(value, str):
        text = value if len(value) <= most else value[: most - 1] + "..."
        return f"'{printable(text)}'"
    if isinstance(value, (bool, float, type(None))) or (type(value) is int and -(2**64) < value < 2**64):
        return str(value)
    if type(value) is int:
        return "a whole number of more than 64 bits"
    return _WORDS.get(type(value)) or f"a {type(value).__name__.strip('_').lower()}"


def refuse(path, expected, found):
    """Raise the sentence of all readers."""
    raise UsageError(f"{path}: {expected} was expected; {found}.")


@contextmanager
def reading(path, expected, *errors):
    """A block that reads `path` with a format's library, whose `errors` end as one sentence.

    Only calls of that library belong into the block: an error of ours shall stay one. Whether the file is there, is a
    file, is empty or is a Git LFS pointer is checked first.

    Args:
        path: the file. expected: what it should be, "a table (CSV)". errors: the library's exceptions.

    Raises:
        MissingFile: there is no such file (a `UsageError` and a FileNotFoundError).
        UsageError: it cannot be read as what was expected.

    Example:
        >>> import tempfile
        >>> with reading(tempfile.mkdtemp(), "a table"):
        ...     pass
        Traceback (most recent call last):
        ...
        freqkit.errors.UsageError: ...: a table was expected; it is a folder.
    """
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            refuse(path, expected, "it is a folder")
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                start = file.read(len(POINTER))
            if start == POINTER:
                refuse(path, expected, "it is a Git LFS pointer to it (`git lfs pull` fetches the file itself)")
            if not start:
                refuse(path, expected, "it is empty")
        yield
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise MissingFile(f"{path}: {expected} was expected; there is no such file.") from error
    except UnicodeDecodeError as error:
        refuse(path, expected, f"it is no UTF-8 text (byte {error.start})")
    except OSError as error:
        refuse(path, expected, f"it cannot be read ({error.strerror or plain_line(error, 120)})")
    except errors as error:
        refuse(path, expected, f"it is none, or damaged ({plain_line(error, 120).rstrip('.') or 'it ends too soon'})")


def regular(path, expected):
    """Refuse what is no ordinary file, such as a device, which could be read for ever."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        refuse(path, expected, "it is no ordinary file")


@dataclass(frozen=True)
class Number:
    """A kind of value (see `fit`): a number in least..most."""

    least: float
    most: float


class Row:
    """A kind of value (see `fit`): a list of as many values as `kinds`, each of its own kind."""

    def __init__(self, *kinds):
        self.kinds = kinds


COUNT = range(2**53)  # a kind of value: how many of something there are
SECONDS = Number(0, 1e12)


# ---- text -----------------------------------------------------------------------------------------------------------


def read_text(path, expected="a text file (UTF-8)", most=TEXT):
    """The text of a UTF-8 file without its byte-order mark; line ends as they are.

    Raises:
        MissingFile, UsageError: see `reading`; also for more than `most` bytes, UTF-16, and NUL characters.
    """
    with reading(path, expected), open(path, "rb") as file:
        data = file.read(most + 1)
        if len(data) > most:
            refuse(path, expected, f"it has more than {most >> 20} MiB")
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            refuse(path, expected, "it is UTF-16, no UTF-8; save it as UTF-8")
        text = data.decode("utf-8-sig")
    if "\0" in text:
        refuse(path, expected, "it is no text (it holds NUL characters)")
    return text


def file_sha256(path) -> str:
    """SHA-256 of a file's bytes, in hex, read a piece at a time."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_head(path, expected="a table (CSV)"):
    """Names of the columns of a CSV file, as `read_csv` takes them."""
    text = read_text(path, expected)
    with reading(path, expected, csv.Error):
        return next(csv.reader(io.StringIO(text, newline=""), strict=True), [])


def read_csv(path, columns, expected="a table (CSV)"):
    """Rows of a CSV file with a head: a list of (line number, dict).

    Args:
        columns: those that must be there; others may be.

    Raises:
        MissingFile, UsageError: see `reading`; also for a column that is missing or there twice, and for a row with
            more or fewer fields than the head.
    """
    text = read_text(path, expected)
    with reading(path, expected, csv.Error):
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        head = next(lines, [])
        for name in columns:
            if head.count(name) != 1:
                had = shown(", ".join(head))
                refuse(path, f"{expected} with the columns {', '.join(columns)}", f"its first line is {had}")
        rows = []
        for row in lines:
            if not row:
                continue
            if len(row) != len(head):
                refuse(path, expected, f"line {lines.line_num} has {len(row)} fields where the head has {len(head)}")
            rows.append((lines.line_num, dict(zip(head, row, strict=True))))
    return rows


def number_in(text, path, where, kind=float):
    """The number that a field of a table holds; a sentence when it is none, or not finite."""
    try:
        value = kind(text) if isinstance(text, (str, int, float)) and not isinstance(text, bool) else math.nan
        if math.isfinite(value) and (kind is float or abs(value) < 2**63):
            return value
    except (TypeError, ValueError, OverflowError):
        pass
    words = "a whole number" if kind is int else "a finite number"
    raise UsageError(f"{path}: {where} must be {words}; got {shown(text)}.")


# ---- JSON -----------------------------------------------------------------------------------------------------------


def parse_json(text, where, *, finite=True):
    """Plain values of JSON text, strictly: no name twice, no number beyond 64 bits, no half of a surrogate pair.

    Args:
        where: names the text in errors. finite: refuse NaN and infinity.

    Raises:
        UsageError: the text is no such JSON, or nested more than 40 deep.

    Example:
        >>> parse_json('{"a": [1, 2.5]}', "here")
        {'a': [1, 2.5]}
    """

    def wrong(what):
        raise UsageError(f"{where}: JSON was expected; {what}.")

    def whole(digits):
        if len(digits) > 21 or not -(2**63) <= int(digits) < 2**64:
            wrong(f"it holds a whole number of more than 64 bits ({len(digits)} digits)")
        return int(digits)

    def real(digits):
        value = float(digits)
        if finite and not math.isfinite(value):
            wrong(f"it holds {shown(digits, 24)}, which is no finite number")
        return value

    def pairs(items):
        found = dict(items)
        if len(found) != len(items):
            names = [name for name, _ in items]
            wrong(f"it holds {shown(next(name for name in names if names.count(name) > 1))} twice in one object")
        return found

    if _too_deep(text):
        wrong(f"it is nested more than {DEPTH} deep")
    try:
        value = json.loads(text, parse_int=whole, parse_float=real, parse_constant=real, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        wrong(f"it is none from line {error.lineno}, column {error.colno} on ({error.msg.lower()})")
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            wrong("it holds half of a surrogate pair, which is no character")
    return value


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def _too_deep(text):
    """Whether lists and objects stand in each other more than DEPTH deep: asked before any is made."""
    depth = 0
    for found in _BRACKETS.finditer(text):
        mark = found[0]
        if mark in "[{":
            depth += 1
            if depth > DEPTH:
                return True
        elif mark in "]}":
            depth -= 1
    return False


def read_json(path, kind=dict, expected="a JSON file", *, finite=True):
    """The content of a JSON file, of the given kind (see `fit`).

    Raises:
        MissingFile, UsageError: see `reading` and `parse_json`.
    """
    return fit(parse_json(read_text(path, expected), path, finite=finite), kind, path)


def fit(value, kind, path, where=""):
    """`value` when it is of a kind, else a sentence that says where it is not.

    Args:
        kind: str, bool, int, float (any number), dict, list, None, or object (anything); a range or a `Number`, whole
            numbers or numbers within it; a tuple of kinds, any of which will do; [kind], a list of such; a `Row`;
            {"name": kind, "name?": kind}, an object with these names, the second of which may be missing; {str: kind},
            an object of any names.

    Example:
        >>> fit({"a": [1, None]}, {"a": [(int, None)], "b?": str}, "x.json")
        {'a': [1, None]}
        >>> fit({"a": [1, "b"]}, {"a": [int]}, "x.json")
        Traceback (most recent call last):
        ...
        freqkit.errors.UsageError: x.json: a[1] must be a whole number; got 'b'.
    """
    if not _is(value, kind):
        if isinstance(kind, (dict, list)) and isinstance(value, type(kind)):
            _inside(value, kind, path, where)
        else:
            alternatives = [k for k in kind if isinstance(k, (dict, list))] if isinstance(kind, tuple) else []
            for alternative in alternatives:
                if isinstance(value, type(alternative)):
                    _inside(value, alternative, path, where)
            got = f"got {shown(value, 40)}"
            raise UsageError(f"{path}: {where or 'the content'} must be {_words(kind)}; {got}.")
    return value


def _is(value, kind):
    if isinstance(kind, Row):
        same = isinstance(value, list) and len(value) == len(kind.kinds)
        return same and all(map(_is, value, kind.kinds))
    if isinstance(kind, tuple):
        return any(_is(value, one) for one in kind)
    if isinstance(kind, list):
        return isinstance(value, list) and all(_is(item, kind[0]) for item in value)
    if isinstance(kind, dict):
        if not isinstance(value, dict):
            return False
        if str in kind:
            return all(_is(item, kind[str]) for item in value.values())
        return all(
            _is(value[name.rstrip("?")], wanted) if name.rstrip("?") in value else name.endswith("?")
            for name, wanted in kind.items()
        )
    if kind is None:
        return value is None
    if isinstance(kind, range):
        return isinstance(value, int) and not isinstance(value, bool) and value in kind
    if isinstance(kind, Number):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and kind.least <= value <= kind.most
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _inside(value, kind, path, where):
    """Raise for the first item of a list, or the first name of an object, that does not fit."""
    if isinstance(kind, list):
        for place, item in enumerate(value):
            fit(item, kind[0], path, f"{where}[{place}]")
    elif str in kind:
        for name, item in value.items():
            fit(item, kind[str], path, f"{where}.{plain_line(name, 40)}".lstrip("."))
    else:
        for name, wanted in kind.items():
            name, there = name.rstrip("?"), f"{where}.{name.rstrip('?')}".lstrip(".")
            if name in value:
                fit(value[name], wanted, path, there)
            elif f"{name}?" not in kind:
                raise UsageError(f"{path}: {there} is missing.")


def _words(kind):
    if isinstance(kind, tuple):
        return " or ".join(_words(one) for one in kind)
    if isinstance(kind, range):
        return f"a whole number in {kind.start}..{kind.stop - 1}"
    if isinstance(kind, Number):
        return f"a number in {kind.least:g}..{kind.most:g}"
    if isinstance(kind, Row):
        return f"a list of {', '.join(_words(one) for one in kind.kinds)}"
    return "null" if kind is None else _WORDS.get(type(kind) if isinstance(kind, (dict, list)) else kind, "a value")


# ---- YAML -----------------------------------------------------------------------------------------------------------


def read_yaml(path, expected="a YAML or JSON file"):
    """The content of a YAML file: an object, plain values, lists and objects in it.

    Raises:
        MissingFile, UsageError: see `reading`; also for tags, dates, a name that stands twice, more than 40 levels,
            more than 1 MiB, and for references to lists and objects (a few lines of which can stand for more than any
            memory holds).
    """
    import yaml

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                anchor = self.peek_event().anchor
                if not isinstance(self.anchors.get(anchor), yaml.ScalarNode):
                    refuse(
                        path, expected, f"it refers to a list or an object (*{shown(anchor, 20)[1:-1]}); write it out"
                    )
            self.depth += 1
            if self.depth > DEPTH:
                refuse(path, expected, f"it is nested more than {DEPTH} deep")
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

        def construct_mapping(self, node, deep=False):
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                refuse(path, expected, f"it holds {shown(twice, 40)} twice in one object")
            return super().construct_mapping(node, deep)

    text = read_text(path, expected, most=1 << 20)
    with reading(path, expected, yaml.YAMLError, ValueError, OverflowError):
        content = yaml.load(text, Loader)
    if not isinstance(content, dict):
        refuse(path, f"{expected} with names and values", f"its content is {shown(content, 40)}")
    _plain(content, path, expected)
    return content


def _plain(value, path, expected):
    if isinstance(value, dict):
        for key, item in value.items():
            _plain(key, path, expected)
            _plain(item, path, expected)
    elif isinstance(value, list):
        for item in value:
            _plain(item, path, expected)
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        refuse(path, expected, "it holds a whole number of more than 64 bits")
    elif not isinstance(value, (str, int, float, bool, type(None))):
        refuse(path, expected, f"it holds {shown(value)}; write it in quotation marks")


# ---- safetensors ----------------------------------------------------------------------------------------------------


def read_tensors(path, expected, *, format=None, tensors=None, facts=None, sizes=None, hint=""):
    """(tensors, facts) of a safetensors file.

    Args:
        expected: what it should be, "a stage of a search".
        format: what its header must name as `format`, at its top or in its entry `freqkit`.
        tensors: name -> "dtype sizes", such as "float64 K C": a letter stands for one number throughout, "any" for all
            dtypes, "int16|int32 *" for either in any shape; names that
            end in "?" may be missing, others than these may not be there. None: any.
        facts: a kind (see `fit`) for the header's values, which are JSON where the kind is not str; if format stands in
            the entry `freqkit`, for the object there. None: the header as it is, strings.
        sizes: letters that are known, as {"C": "classes"}: as many as the list of that name among the facts has.
        hint: added when it is no safetensors file.

    Raises:
        MissingFile, UsageError: see `reading`.
    """
    header, read = _safetensors(path, expected, hint)
    packed = format is not None and "freqkit" in header
    found = fit(parse_json(header["freqkit"], f"{path}, header", finite=False), dict, path) if packed else header
    named = header.get("format", found.get("format"))
    if format is not None and named != format:
        what = re.sub("^an? ", "", expected)
        raise UsageError(f"{path}: this is no {what} of freqkit (its header names {shown(named, 40)} as format).")
    if facts is not None:
        if not packed:
            asked = {name.rstrip("?"): kind for name, kind in facts.items()}
            found = {
                name: text if asked[name] is str else parse_json(text, f"{path}, {name} in its header", finite=False)
                for name, text in header.items()
                if name in asked
            }
        fit(found, facts, path)
    given = read(tensors)
    if tensors is not None:
        bound = {letter: (len(found[name]), f"names in {name}") for letter, name in (sizes or {}).items()}
        _check_tensors(given, tensors, bound, path)
    return given, found


def _safetensors(path, expected, hint):
    from safetensors import SafetensorError, safe_open

    regular(path, expected)

    def read(wanted):
        names = None if wanted is None else {name.rstrip("?") for name in wanted}
        with reading(path, expected, *errors), safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if names is None or name in names}

    # The library reports dtypes that this torch lacks by AttributeError, sizes beyond 64 bits by OverflowError.
    errors = (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OverflowError, RuntimeError)
    with reading(path, expected):
        try:
            with safe_open(str(path), framework="pt") as file:
                header = file.metadata() or {}
        except errors as error:
            refuse(path, expected, f"it is not a safetensors file{hint}, or is damaged ({_reason(error)})")
    return header, read


def _reason(error):
    """What safetensors says, without the names of its own types."""
    words = {
        "HeaderTooSmall": "shorter than a header", "HeaderTooLarge": "the header is longer than allowed",
        "InvalidHeaderLength": "the header is longer than the file", "InvalidHeader": "the header is no UTF-8",
        "InvalidHeaderDeserialization": "the header is no JSON of tensors", "InvalidHeaderStart": "no header",
        "MetadataIncompleteBuffer": "the file is cut off or has more than its header tells",
        "InvalidOffset": "tensors overlap or leave gaps", "TensorInvalidInfo": "a tensor's size and bytes differ",
        "ValidationOverflow": "a tensor is larger than any memory",
    }  # fmt: skip
    text = str(error)
    return next((sentence for name, sentence in words.items() if re.search(rf"\b{name}\b", text)), plain_line(text, 80))


def _check_tensors(given, layout, bound, path):
    for name, wanted in layout.items():
        optional, name = name.endswith("?"), name.rstrip("?")
        if name not in given:
            if optional:
                continue
            raise UsageError(f"{path}: the tensor {name} is missing.")
        dtypes, *letters = wanted.split()
        value = given[name]
        dtype = str(value.dtype).removeprefix("torch.")
        if dtypes != "any" and dtype not in dtypes.split("|"):
            raise UsageError(f"{path}: the tensor {name} must be {dtypes.replace('|', ' or ')}; got {dtype}.")
        if letters == ["*"]:
            continue
        if value.dim() != len(letters):
            shape = ", ".join(letters)
            raise UsageError(f"{path}: the tensor {name} must have shape [{shape}]; got {list(value.shape)}.")
        for letter, size in zip(letters, value.shape, strict=True):
            most, whose = bound.setdefault(letter, (size, f"in the tensor {name}"))
            if letter.isdigit():
                most, whose = int(letter), "always"
            if size != most:
                raise UsageError(
                    f"{path}: the tensor {name} must have shape [{', '.join(letters)}] with {letter}={most} ({whose}); "
                    f"got {list(value.shape)}."
                )


def in_range(tensor, least, most, path, name):
    """Refuse a tensor of the file with a value outside least..most."""
    if tensor.numel() and not (least <= tensor.min().item() and tensor.max().item() <= most):
        raise UsageError(f"{path}: the tensor {name} must hold values in {least}..{most}; it does not.")
