"""Text of others (names of classes, models and files) on its way to a reader: shown as it is, never obeyed.

One rule for pages, figures, tables, progress and sentences of errors; imports nothing of freqkit. The one exception:
pages, figures and tables call ImageNet's classes, whose names are ids of WordNet, by their words (`called`).
"""

import functools
import re
import unicodedata
from pathlib import Path

LISTS = Path(__file__).with_name("data") / "lists"
WNID = re.compile(r"(?<![\w/.#-])n\d{8}(?![\w/-]|\.\w)")  # alone, or as a word of a sentence; no part of a file's name

SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format (bidi, zero width), surrogates, separators of lines
JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji are written with them; after ASCII they only hide


def printable(text, *, keep=""):
    """Text in which every character is seen: what a terminal, a browser or an editor would obey is spelled out.

    Args:
        text: str, or anything that str() takes.
        keep: characters that stay as they are, such as "\\n" of text that has lines of its own.

    Returns:
        str; control characters, bidirectional and zero-width ones, separators of lines and lone surrogates as
        `\\n`, `\\x1b`, `\\u202e`, `\\udc80`; letters of all scripts, emoji and backslashes as they are.

    Example:
        >>> printable("a\\x1b[31mb\\u202e"), printable("naïve 猫 $x$ [red]")
        ('a\\\\x1b[31mb\\\\u202e', 'naïve 猫 $x$ [red]')
    """
    text = str(text)
    if text.isprintable():  # most text, without a look at each character
        return text
    shown = []
    for place, sign in enumerate(text):
        joins = sign in JOINERS and place and not text[place - 1].isascii()
        if sign in keep or joins or unicodedata.category(sign) not in UNSEEN:
            shown.append(sign)
            continue
        code = ord(sign)
        wide = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
        shown.append(SHORT.get(sign, wide))
    return "".join(shown)


def called(text, *, keep=""):
    """`printable` text in which ImageNet's classes are called by their words instead of their ids (wnids).

    Example:
        >>> called("n01440764"), called("n01443537: 3 of n99999999"), called("val/n01440764/n01440764_1.JPEG")
        ('tench', 'goldfish: 3 of n99999999', 'val/n01440764/n01440764_1.JPEG')
    """
    text = printable(text, keep=keep)
    if "n0" not in text and "n1" not in text:  # most text
        return text
    return WNID.sub(lambda found: _words().get(found[0], found[0]), text)


@functools.cache
def _words():
    """wnid -> word, of ImageNet's 1000 classes."""
    texts = [(LISTS / f"{name}.txt").read_text(encoding="utf-8") for name in ("imagenet", "imagenet-names")]
    ids, names = ([line for line in text.splitlines() if not line.startswith("#")] for text in texts)
    return dict(zip(ids, names, strict=True))


def shorten(name, limit=22):
    """`name` on one line, as it is `called`, cut in the middle when it is longer than `limit` characters."""
    name = called(name)
    if len(name) <= limit:
        return name
    half = (limit - 1) // 2
    return f"{name[: limit - 1 - half]}…{name[-half:]}"


def plain_line(text, most=2000):
    """`text` on one line, printable, runs of white space made one blank, cut after `most` characters.

    Example:
        >>> plain_line("a\\n b\\x1b[2J")
        'a b\\\\x1b[2J'
    """
    text = " ".join(str(text)[: most + 1].split())
    return printable(text if len(text) <= most else text[:most] + "...")


def composed(name):
    """`name` in Unicode's composed form (NFC): macOS spells the names of folders in the other one."""
    return unicodedata.normalize("NFC", name)
