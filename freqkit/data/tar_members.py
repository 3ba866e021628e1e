"""Members of a tar file, block by block: damaged heads, cuts and archives behind the first never go unnoticed.

Python's `tarfile` ends silently at a damaged head that is not the first, and follows sizes that lead backwards.
"""

import os
import tarfile
from dataclasses import dataclass

from freqkit.errors import UsageError
from freqkit.files.reading import reading, regular
from freqkit.text import plain_line

BLOCK = 512
_LONG = 1 << 16  # bytes of a name or of further facts that stand before a member
_TAIL = 64 << 20  # bytes of padding that are looked through
_PLAIN = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
_KINDS = {
    tarfile.LNKTYPE: "a hard link", tarfile.SYMTYPE: "a symbolic link", tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device", tarfile.DIRTYPE: "a folder", tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}  # fmt: skip


@dataclass
class Member:
    """One entry of a tar file.

    Attributes:
        path: of the tar file. name: of the member. kind: "a plain file", "a symbolic link", ...
        offset, size: where its bytes lie in the tar file.
    """

    path: str
    name: str
    kind: str
    offset: int
    size: int

    @property
    def regular(self):
        return self.kind == "a plain file"

    @property
    def folder(self):
        return self.kind == "a folder"

    def read(self):
        """Its bytes."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def members_of(path, fault=None):
    """All members of an uncompressed tar file, in its order.

    Args:
        path: the file.
        fault: called with a sentence when the file ends without the zero block that ends an archive, as one that was
            cut between two members does. Default: that is an error.

    Returns:
        list of `Member`.

    Raises:
        UsageError: it is no tar file, is damaged or cut, or holds more behind its end.
    """
    path, expected = str(path), "a tar shard"
    regular(path, expected)
    with reading(path, expected), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(2) == b"\x1f\x8b":
            _refuse(path, "it is compressed (gzip); shards are read in place, so unpack it to .tar first")
        return _scan(file, size, path, fault)


def _refuse(path, what):
    raise UsageError(f"{path}: this is no readable tar shard ({what}).")


def _scan(file, size, path, fault):
    found, at, ahead, ahead_size = [], 0, None, None
    while True:
        if at == size and found and ahead is None:
            words = f"{path}: it ends behind {len(found)} members without the mark of an archive's end; it may be cut"
            if fault is None:
                raise UsageError(f"{words}.")
            fault(words)
            return found
        file.seek(at)
        head = file.read(BLOCK)
        if len(head) < BLOCK:
            _refuse(path, f"it is cut in the head of a member, at byte {size}")
        if not any(head):
            if ahead is not None:
                _refuse(path, f"it ends after a long name, at byte {at}")
            if not found:
                _refuse(path, "it holds no member")
            _check_tail(file, size, path, at)
            return found
        try:
            info = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError, OverflowError) as error:
            _refuse(path, f"the head at byte {at} is damaged: {plain_line(error, 60)}")
        length = info.size if ahead_size is None or info.type not in _PLAIN else ahead_size
        if info.type in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
            length = 0
        begin, name = at + BLOCK, info.name
        if not 0 <= length <= size - begin:
            name = plain_line(name, 60)
            _refuse(path, f"it is cut: {name!r} has {length} bytes by its head, and {size - begin} follow")
        at = begin + (length + BLOCK - 1) // BLOCK * BLOCK
        if at > size:
            _refuse(path, f"it is cut in the padding of {plain_line(name, 60)!r}, at byte {size}")
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X"):
            if length > _LONG:
                _refuse(path, f"the facts before a member, at byte {begin}, have {length} bytes")
            raw = file.read(length)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                ahead = raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")
            elif info.type in (tarfile.XHDTYPE, b"X"):
                facts = _facts(raw, path, begin)
                if any(key.startswith("GNU.sparse") for key in facts):
                    _refuse(path, f"the member behind byte {begin} is a sparse file")
                ahead = facts.get("path", ahead if ahead is not None else "")
                ahead_size = _number(facts["size"], path) if "size" in facts else None
            continue
        name = ahead or name
        kind = "a plain file" if info.type in _PLAIN else _KINDS.get(info.type, "of an unknown kind")
        if kind == "a plain file" and name.endswith("/"):
            kind = "a folder"  # as tar wrote them before it had a kind for folders
        found.append(Member(path, name.rstrip("/"), kind, begin, length))
        ahead = ahead_size = None


def _facts(raw, path, at):
    """Dict of a pax record: lines of a length in decimal, a space, `name=value` and a newline."""
    facts = {}
    while raw:
        digits, blank, _ = raw[:8].partition(b" ")
        length = int(digits) if blank and digits.isdigit() else 0
        line, sign, value = raw[len(digits) + 1 : max(length - 1, 0)].partition(b"=")
        if not sign or length > len(raw) or raw[length - 1 : length] != b"\n":
            _refuse(path, f"the facts before a member, at byte {at}, are damaged")
        facts[line.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        raw = raw[length:]
    return facts


def _number(text, path):
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        _refuse(path, f"a member has the size {plain_line(text, 30)!r}")
    return int(text)


def _check_tail(file, size, path, at):
    """Behind the zero block of the end there are zeros alone."""
    if size - at > _TAIL:
        _refuse(path, f"{size - at} bytes follow the end of the archive, at byte {at}")
    file.seek(at)
    while piece := file.read(1 << 20):
        if piece.count(0) != len(piece):
            _refuse(path, f"more follows the end of the archive, at byte {at}: two archives in one file, or damage")
