"""What a run has read: a digest of every image's bytes, so that a resumed run notices images that were replaced."""

import hashlib
from pathlib import Path

import numpy as np

BYTES = 16  # of a digest; of what could not be read all are 0


class Fingerprinted:
    """A source of images (see `freqkit.data.TestSet`) that keeps a digest of each image it reads.

    The digest is of the bytes that are decoded, whatever the file's size and date say; of images that a source hands
    over decoded (arrays, data sets of a hub) it is of the pixels before they are fitted.

    Args:
        source: with `len()`, `.name(i)`, `.read(i, preprocessing)`, `.take(places)`.
    """

    def __init__(self, source):
        self.source, self._digests = source, {}

    def __len__(self):
        return len(self.source)

    def name(self, i):
        return self.source.name(i)

    def take(self, places):
        return Fingerprinted(self.source.take(places))

    def read(self, i, preprocessing):
        """uint8 [3, N, N]."""
        seen = _Seen(preprocessing)
        try:
            return self.source.read(i, seen)
        finally:
            self._digests[i] = seen.digest

    def digest(self, i):
        """The digest of image i, which is read and not decoded."""
        seen = _Seen(None)
        try:
            self.source.read(i, seen)
        except MemoryError:
            raise
        except Exception:
            # As when it was decoded: what cannot be read has the digest of nothing, and the caller compares.
            return seen.digest
        return seen.digest

    def digests(self, first, last):
        """uint8 [b, BYTES] of images first...last - 1, which were read; they are forgotten here."""
        return rows(self._digests.pop(i) for i in range(first, last))


def rows(digests):
    """uint8 [b, BYTES] of digests."""
    return np.stack([np.frombuffer(each, np.uint8) for each in digests])


class _Seen:
    """A `Preprocessing` that notes what it is given; None: that alone is done."""

    def __init__(self, preprocessing):
        self._preprocessing, self.digest = preprocessing, bytes(BYTES)

    def __getattr__(self, name):
        return getattr(self._preprocessing, name)

    def decode(self, source):
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        self.digest = hashlib.blake2b(data, digest_size=BYTES).digest()
        return None if self._preprocessing is None else self._preprocessing.decode(data)

    def fit(self, image):
        about = f"{image.mode} {image.size} ".encode()
        self.digest = hashlib.blake2b(about + image.tobytes(), digest_size=BYTES).digest()
        return None if self._preprocessing is None else self._preprocessing.fit(image)
