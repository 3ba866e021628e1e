"""Names of classes: what may be one, how a list of them is read, and the lists that come with freqkit."""

import functools
import os
import re
import unicodedata
from pathlib import Path

from freqkit.errors import UsageError
from freqkit.files.reading import read_text, refuse, regular, shown
from freqkit.text import composed, plain_line

LISTS = Path(__file__).with_name("lists")
MOST_CLASSES = 100_000  # labels beyond it are taken for damage before a name is made for each; ImageNet-21k has 21,843
_LONGEST = 1000  # characters of a name
_LINE = 1 << 16  # characters of a line
_ENDS = re.compile(r"\r\n|\n|\r")


SHIPPED = ("imagenet", "imagenet-a", "imagenet-r", "cifar10", "cifar100")  # lists of classes that one may ask for


def class_list(name):
    """Class names of a shipped list: "imagenet", "imagenet-r", "imagenet-a", "sixteen", "cifar10", "cifar100".

    Example:
        >>> len(class_list("imagenet")), class_list("imagenet-r")[0]
        (1000, 'n01443537')
    """
    return list(shipped_lines(name))


@functools.cache
def shipped_lines(name):
    """Lines of a shipped file but its comments, as a tuple."""
    return tuple(line for _, line in read_lines(LISTS / f"{name}.txt") if not line.startswith("#"))


def read_lines(path, expected="a text file (UTF-8)"):
    """Lines of a text file that are not empty: a list of (number of the line from 1, the line without outer blanks).

    A line ends with CR, LF or both, and with nothing else that Unicode calls a separator: names may hold those.

    Args:
        path: UTF-8, with or without byte-order mark. expected: what it should be, for errors.

    Raises:
        UsageError: the file is not there, or not such a text (UTF-16, Latin-1, binary), or has absurd lines.

    Example:
        >>> import pathlib, tempfile
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "names.txt"
        >>> _ = file.write_bytes(b"\\xef\\xbb\\xbfcat\\r\\n\\r\\n owl \\n")
        >>> read_lines(file)
        [(1, 'cat'), (3, 'owl')]
    """
    regular(path, expected)
    lines = _ENDS.split(read_text(path, expected))
    for number, line in enumerate(lines, 1):
        if len(line) > _LINE:
            refuse(path, expected, f"line {number} has {len(line)} characters")
    stripped = ((number, line.strip(" \t")) for number, line in enumerate(lines, 1))
    return [(number, line) for number, line in stripped if line]


def read_names(path, expected="a list of class names, one a line (UTF-8)"):
    """Class names of a text file, in its order; see `read_lines` and `check_names`."""
    lines = read_lines(path, expected)
    if not lines:
        refuse(path, expected, "it holds no name")
    return check_names([line for _, line in lines], str(path), [f"line {number}" for number, _ in lines])


def class_names(classes, who="load_images"):
    """The names that a caller gave as `classes`: a sequence of them, the name of a shipped list, or a text file."""
    if isinstance(classes, str) and classes in SHIPPED:
        return class_list(classes)
    if isinstance(classes, (str, os.PathLike)):
        if not Path(classes).is_file():
            came = plain_line(str(classes), 200)
            raise UsageError(
                f"{who}: classes must be a list of names, {', '.join(SHIPPED)}, or a text file; {came!r} is no file."
            )
        return read_names(classes)
    classes = list(classes)
    if not classes or not all(isinstance(name, str) for name in classes):
        raise UsageError(f"{who}: classes must be distinct names; got {len(classes)} entries.")
    return check_names(classes, f"{who}: classes")


def of_logits(names, model):
    """Names of all of a model's logits when there are 1000 and `names` are some of ImageNet's (wnids), else None.

    Example:
        >>> from types import SimpleNamespace
        >>> model = SimpleNamespace(num_classes=1000)
        >>> len(of_logits(["n01443537", "n01440764"], model)), of_logits(["cat", "dog"], model)
        (1000, None)
    """
    known = class_list("imagenet")
    fits = getattr(model, "num_classes", None) == len(known) > len(names) and set(names) <= set(known)
    return known if fits else None


def check_names(names, where, places=None):
    """Names of classes in Unicode's composed form (NFC), which are the same however a file system spells them.

    Args:
        names: list of str. where: begins the sentence of an error. places: where each name stands, for errors.

    Raises:
        UsageError: two names are one (a label would be merged with another, such as ImageNet's two "crane"), or one
            is `unfit`.

    Example:
        >>> check_names(["cafe\\u0301", "owl"], "here") == ["caf\\u00e9", "owl"]
        True
        >>> check_names(["cat", "cat", "owl"], "classes.txt")
        Traceback (most recent call last):
        ...
        freqkit.errors.UsageError: classes.txt: classes must be distinct names; 'cat' stands twice, as 0 and as 1.
    """
    found, result = {}, []
    for place, name in enumerate(names):
        fault = unfit(name)
        if fault:
            at = places[place] if places else f"number {place}"
            raise UsageError(f"{where}: the name of a class {fault}; {at} is {shown(name)}.")
        name = composed(name)
        if name in found:
            first, second = (places[i] if places else i for i in (found[name], place))
            raise UsageError(
                f"{where}: classes must be distinct names; {shown(name)} stands twice, as {first} and as {second}."
            )
        found[name] = place
        result.append(name)
    return result


def unfit(name):
    """Why a text is no name of a class, or None.

    Example:
        >>> unfit("a\\nb"), unfit("zebra crossing"), unfit("\\udce9t\\udce9")
        ('must hold no control character', None, 'must be UTF-8')
    """
    if not name or not name.strip(" \t"):
        return "must not be empty"
    if len(name) > _LONGEST:
        return f"must have at most {_LONGEST} characters"
    kinds = {unicodedata.category(character) for character in name}
    if "Cs" in kinds:
        return "must be UTF-8"
    if "Cc" in kinds:
        return "must hold no control character"
    if "\ufeff" in name:
        return "must hold no byte-order mark"
    return None


def check_files(names, where):
    """Refuse names of files that are not UTF-8: no table, page or list could hold them."""
    for name in names:
        if not name.isprintable() and any(unicodedata.category(character) == "Cs" for character in name):
            raise UsageError(f"{where}: names of files must be UTF-8; got {shown(name)}.")


def sorted_folders(folder, who):
    """Names of the class folders in a folder, sorted in their composed form; hidden ones are left out.

    Raises:
        UsageError: one of the names is `unfit`, or two are one but for their spelling.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    names.sort(key=lambda name: (composed(name), name))
    place = f"{who}: {plain_line(str(folder))!r}"
    check_names(names, place, [f"folder {shown(name)}" for name in names])
    return names


def order_note(names):
    """A sentence when numbered folders are sorted as text, in which 10 comes before 2; else None.

    Example:
        >>> order_note(["0", "1", "10", "2"])[:77]
        'numbered class folders are sorted as text (0, 1, 10, 2), so label 2 is folder'
        >>> order_note(["00", "01", "10"]), order_note(["cat", "dog"])
        (None, None)
    """
    parts = [re.fullmatch(r"(\D*)([0-9]+)(\D*)", name) for name in names]
    if not all(parts) or len({(part[1], part[3]) for part in parts}) != 1:
        return None
    numbers = [int(part[2]) for part in parts]
    place = next((i for i, number in enumerate(sorted(numbers)) if number != numbers[i]), None)
    if place is None:
        return None
    first = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (
        f"numbered class folders are sorted as text ({first}), so label {place} is folder {names[place]!r}; "
        "if the labels of the model are the numbers, give the names in numeric order, one a line (--classes FILE)"
    )
