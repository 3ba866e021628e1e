"""Test sets of an evaluation: published ones as they are known, one as it was opened, and what decodes its images."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from freqkit.data.class_lists import class_list
from freqkit.data.folder import few
from freqkit.data.pictures import decoding_pool, reason_of, size_of
from freqkit.data.reading import choose
from freqkit.data.sixteen import CATEGORIES
from freqkit.errors import BadImageError, UsageError
from freqkit.text import plain_line

SAMPLED = 64  # images whose sizes are looked at


@dataclass
class TestSet:
    """Labelled images of one set under one condition, not read yet.

    Attributes:
        name: of the set, as in tables ("imagenet-c").
        condition: which part ("gaussian_noise/3", "matched-frequency", ""; never what is computed on the fly).
        classes: class names; label i is `classes[i]`.
        labels: int64 [n].
        source: what reads image i: `len()`, `.name(i)`, `.read(i, preprocessing)`.
        subset: class names that the set is made of when these are a known part of ImageNet (ImageNet-R, -A), whose
            logits alone are also scored; else None.
        notes: what differs from the published set (allowed by `relaxed`), what was left out, how classes are ordered.
        real: per image, tuple of the labels (positions among the ImageNet classes) that ReaL gives it, or None.
        official: False for what was generated here.
    """

    __test__ = False  # no pytest class

    name: str
    condition: str
    classes: list
    labels: torch.Tensor
    source: object
    subset: list | None = None
    notes: list = field(default_factory=list)
    real: list | None = None
    official: bool = True

    def __len__(self):
        return len(self.labels)

    @property
    def title(self):
        return f"{self.name} {self.condition}".strip()

    @property
    def sixteen(self):
        """Whether its classes are the sixteen categories of the comparison with people: groups of ImageNet's."""
        return tuple(self.classes) == CATEGORIES

    @property
    def counts(self):
        """int64 [classes]."""
        return torch.bincount(self.labels, minlength=len(self.classes))

    @property
    def record(self):
        """Facts for run.json. The fingerprint is over names, labels and classes; pixels are not read for it."""
        counts = self.counts
        digest = hashlib.sha256(json.dumps([self.name, self.condition, list(self.classes)]).encode())
        for i, label in enumerate(self.labels.tolist()):
            digest.update(os.fsencode(self.source.name(i)) + f"\0{label}\0".encode())
        return {
            "set": self.name,
            "condition": self.condition,
            "images": len(self),
            "classes": int((counts > 0).sum()),
            "least_per_class": int(counts[counts > 0].min()) if len(self) else 0,
            "most_per_class": int(counts.max()) if len(self) else 0,
            "official": self.official,
            "notes": list(self.notes),
            "names_sha256": digest.hexdigest(),
        }

    def limited(self, limit, seed=0):
        """At most `limit` images of each class, chosen by a hash of (seed, name), in the set's order."""
        if limit is None:
            return self
        names = [self.source.name(i) for i in range(len(self))]
        keep = choose(names, self.labels.tolist(), len(self.classes), limit, None, seed)
        return self.take(sorted(keep), f"at most {limit} images of each class (seed {seed})")

    def take(self, places, note=None):
        """The images at `places` (list of int)."""
        real = None if self.real is None else [self.real[i] for i in places]
        notes = [*self.notes, *([note] if note else [])]
        return replace(self, labels=self.labels[places], source=self.source.take(places), notes=notes, real=real)


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """A published test set: what it is called, where it lies, what the whole of it holds, and what reads it.

    It stands beside its reader, in `KNOWN` of a module that `freqkit.registry.TEST_SETS` names.

    Attributes:
        name: as it is asked for ("c"). title: as in tables ("imagenet-c").
        source: who published it, and where it is to be had.
        tree: how it lies on disk, in Markdown.
        example: paths of a small part of it, below its folder: images, or arrays of them (.npy).
        places: folders below a root in which it is looked for, the first that is there and `holds` it.
        read: function (known, folder, check) -> list of `TestSet`; it tells the `Check` how they differ from the whole.
        classes: the shipped list of its classes, or for counterparts of what stands for what.
        subset: whether these are a known part of ImageNet's, whose logits alone are also scored.
        per_class, images: how many every class has; how many there are.
        parts: names of its parts (corruptions, variants). extras: of more that may be there.
    """

    name: str
    title: str
    read: Callable
    source: str = ""
    tree: str = ""
    example: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    holds: Callable = Path.is_dir
    classes: str = "imagenet"
    subset: bool = False
    per_class: int | None = None
    images: int | None = None
    parts: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of its classes."""
        return class_list(self.classes)

    @property
    def whole(self) -> str:
        """What is checked, in words."""
        each, total = self.per_class, self.images or (self.per_class or 0) * len(self.names)
        words = [f"{len(self.names)} classes" + (f" of {each}" if each else "")]
        words += [f"{total} images"] if total else []
        if self.parts:
            words.append(f"{'in each of ' * bool(each)}{len(self.parts)} parts")
            words[-1] += f" (and {len(self.extras)})" if self.extras else ""
        return ", ".join(words)

    def opened(self, source, labels, notes, condition="", classes=None, real=None):
        """A `TestSet` of it."""
        own = self.names if classes is None else classes
        return TestSet(self.title, condition, own, labels, source, own if self.subset else None, notes, real)


class _Sizes:
    """In place of a `Preprocessing`: (height, width) of an image."""

    def decode(self, source):
        return size_of(source)

    def fit(self, image):
        return image.size[::-1]


def sizes_of(test_set):
    """(height, width) of up to `SAMPLED` images of a set, spread over it; one of each."""
    places = range(0, len(test_set), max(1, len(test_set) // SAMPLED))
    found = set()
    for i in places:
        try:
            found.add(test_set.source.read(i, _Sizes()))
        except MemoryError:
            raise
        except Exception:
            continue  # what cannot be read is said when it is decoded
    return found - {None}


RELAXABLE = "relaxed accepts that, and says so on record"


class Check:
    """What is asked of a set while it is opened, and what differs from the whole: an error, or if `relaxed` a note.

    Attributes:
        part: the only part that is wanted ("fog", "fog/3"), "" for all.
    """

    def __init__(self, name, relaxed=False, class_map=None, part=""):
        self.name, self.relaxed, self.class_map, self.part, self.notes = name, relaxed, class_map, part, []

    def wants(self, part):
        """Whether a part of the set is wanted, or parts of that part are."""
        wanted, part = f"{self.part}/", f"{part}/"
        return not self.part or part.startswith(wanted) or wanted.startswith(part)

    def fault(self, sentence):
        if not self.relaxed:
            raise UsageError(f"{self.name}: {sentence} ({RELAXABLE}).")
        self.notes.append(sentence)

    def some(self, names, words, prefix=""):
        """A fault that is said of `names`, if there are any."""
        if names:
            self.fault(f"{prefix}{len(names)} {words}: {few(names)}")

    def missing(self, wanted, there, what, prefix=""):
        """A fault when some of what the whole set has is not there."""
        missing = [name for name in wanted if name not in there]
        self.some(missing, f"of {len(wanted)} {what} are missing", prefix)


class Reader:
    """Decodes images with a few threads; the next block while the caller works on the last.

    Args:
        preprocessing: a `Preprocessing`.
        pool: an executor of threads to share; default an own one of as many threads as there are processors, at most 8.
            Threads do not change the result.

    Attributes:
        decoded: how many images were decoded so far.
    """

    def __init__(self, preprocessing, pool=None):
        self.preprocessing, self.decoded = preprocessing, 0
        self._pool, self._own = pool or decoding_pool(), pool is None

    def start(self, test_set, first, last):
        """Begin decoding images first...last - 1; the result goes to `finish`."""
        return [self._pool.submit(self._read, test_set.source, i) for i in range(first, last)]

    def finish(self, started):
        """(uint8 [b, 3, N, N], list of (position in the block, reason) of images that cannot be decoded)."""
        size, bad = self.preprocessing.image_size, []
        pixels = torch.zeros(len(started), 3, size, size, dtype=torch.uint8)
        for place, future in enumerate(started):
            image, reason = future.result()
            self.decoded += reason is None
            if reason is None:
                pixels[place] = torch.from_numpy(image)
            else:
                bad.append((place, reason))
        return pixels, bad

    def _read(self, source, i):
        try:
            return source.read(i, self.preprocessing), None
        except MemoryError:
            raise
        except Exception as error:
            # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more for damaged files; every
            # one ends on record or in the caller's error, by name.
            return None, reason_of(error)

    def close(self):
        if self._own:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def refuse_bad(test_set, bad, first):
    """A `BadImageError` that names the first of some images that cannot be decoded."""
    place, reason = bad[0]
    raise BadImageError(
        f"{test_set.title}: {plain_line(test_set.source.name(first + place), 200)} cannot be decoded ({reason}); "
        "mend or remove it, or leave such images out with on_bad_image='skip'."
    )
