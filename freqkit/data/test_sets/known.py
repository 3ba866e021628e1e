"""The test sets there are, by name; each stands beside its reader, in a module that the registry names.

Any other name must come with its place (`NAME=PATH`): an ImageFolder, a folder of webdataset shards, or `hf:DATASET`.
"""

import difflib
import importlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from freqkit.data.class_lists import MOST_CLASSES, order_note, unfit
from freqkit.data.test_set import Check, KnownSet, TestSet
from freqkit.data.test_sets.counterparts import read_counterparts
from freqkit.data.test_sets.folders import by_class, folders_in, number_below, read_folders, read_members, shards_in
from freqkit.data.test_sets.sources import hub_dataset
from freqkit.errors import UsageError
from freqkit.files.reading import shown
from freqkit.registry import TEST_SETS
from freqkit.text import composed, plain_line


def known_set(name: str) -> KnownSet:
    """The `KnownSet` of a name in `freqkit.registry.TEST_SETS`.

    Example:
        >>> known_set("a").whole
        '200 classes, 7500 images'
    """
    return next(known for known in importlib.import_module(TEST_SETS[name]).KNOWN if known.name == name)


def open_sets(
    names: Iterable[str],
    root: str | Path | None = None,
    *,
    relaxed: bool = False,
    class_map: dict[str, str] | str | Path | None = None,
    limit_per_class: int | None = None,
    seed: int = 0,
    on_fault: Callable[[str, Exception], object] | None = None,
) -> list[TestSet]:
    """Find, recognise and check test sets.

    Args:
        names: of sets (`freqkit.registry.TEST_SETS`), or `NAME=PATH`; `c:gaussian_noise,fog:3` style parts are
            `c/gaussian_noise` or `c/gaussian_noise/3`.
        root: the folder that holds them (`--data-dir`).
        relaxed: missing classes, folders that are no class, and other counts than published become notes of the set
            instead of errors.
        class_map: for "sct" and other counterpart sets: dict counterpart class -> class of the model, or a file of
            lines `counterpart = class`; default the published one.
        limit_per_class, seed: see `TestSet.limited`.
        on_fault: None: the first fault is raised; else called as `on_fault(name, error)`, and the others are opened.

    Returns:
        list of `TestSet`.

    Raises:
        UsageError: a set is not there, or not what its name says; one sentence.

    Example:
        >>> import tempfile, pathlib
        >>> from freqkit.data import synthetic, write_image_folder
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> write_image_folder(synthetic(1, images_per_class=2), root / "mine")
        >>> [found] = open_sets([f"planted={root / 'mine'}"])
        >>> found.title, len(found), found.classes
        ('planted', 8, ['C0', 'C1', 'C2', 'C3'])
    """
    found = []
    for name in names:
        try:
            sets = _open_one(name, root, relaxed, class_map)
        except (UsageError, OSError) as error:
            if on_fault is None:
                raise
            on_fault(name, error)
            continue
        found += [each.limited(limit_per_class, seed) for each in sets]
    return found


def _open_one(text, root, relaxed, class_map):
    name, _, place = text.partition("=")
    name, _, part = name.partition("/")
    check = Check(name, relaxed, class_map, part)
    if name not in TEST_SETS:
        if not place:
            near = difflib.get_close_matches(name, TEST_SETS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{name!r} is no known set ({', '.join(TEST_SETS)}); give any other as NAME=PATH.{hint}")
        return [_other(place, check)]
    if place and not Path(place).is_dir():
        raise UsageError(f"{name}: {place!r} is not a folder.")
    known = known_set(name)
    sets = known.read(known, Path(place) if place else _find(known, root), check)
    if part:
        sets = [each for each in sets if f"{each.condition}/".startswith(f"{part}/")]
        if not sets:
            raise UsageError(f"{name}: has no part {part!r}.")
    return sets


def place_of(name: str, root: str | Path | None) -> Path | None:
    """Where a known set lies below `root`, or None."""
    try:
        return _find(known_set(name), root)
    except UsageError:
        return None


def _find(known, root):
    if root is None:
        raise UsageError(f"{known.name}: data_dir must be given, the folder that holds the sets.")
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"data_dir must be a folder; {str(root)!r} is not.")
    for folder in (root / place for place in known.places):
        if folder.is_dir() and known.holds(folder):
            return folder
    raise UsageError(f"{known.name}: not found in {str(root)!r}; looked for {', '.join(known.places)}.")


def _other(place, check):
    """The one `TestSet` that lies at `place`, whatever it is."""
    name = check.name
    known = KnownSet(name=name, title=name, read=read_counterparts)
    if place.startswith("hf:"):
        source, texts, classes = hub_dataset(place[3:])
        index = {own: label for label, own in enumerate(classes)}
        return known.opened(*by_class(source, [index[composed(text)] for text in texts]), [], classes=classes)
    folder = Path(place)
    if not folder.is_dir():
        raise UsageError(f"{name}: {place!r} is not a folder.")
    if check.class_map is not None:
        [found] = read_counterparts(known, folder, check)
        return found
    classes = [composed(entry) for entry in folders_in(folder)]
    shards = [] if classes else shards_in(folder, check)
    if shards:
        source, texts = read_members(shards, check)
        classes, labels = _labels(source, texts, name)
        return known.opened(*by_class(source, labels), check.notes, classes=classes)
    if not classes:
        raise UsageError(f"{name}: {place!r} must hold one folder for each class, or tar shards; it has neither.")
    found = read_folders(known, folder, check, classes=classes)
    note = order_note(classes)
    check.notes += [note] if note else []
    return found


def _labels(source, texts, name):
    """(class names, labels) of what stands in the .cls of shards: numbers, or names."""
    if all(re.fullmatch("[0-9]+", text) for text in texts):
        labels = [number_below(text, MOST_CLASSES) for text in texts]
        if -1 in labels:
            came = shown(texts[labels.index(-1)])
            raise UsageError(f"{name}: numbers in .cls must lie below {MOST_CLASSES}; got {came}.")
        return [str(i) for i in range(max(labels) + 1)], labels
    texts = [composed(text) for text in texts]
    for text, (path, member, *_) in zip(texts, source.rows, strict=True):
        if unfit(text):
            raise UsageError(f"{path}: the label of {plain_line(member, 200)} {unfit(text)}; got {shown(text)}.")
    classes = sorted(set(texts))
    index = {own: label for label, own in enumerate(classes)}
    return classes, [index[text] for text in texts]
