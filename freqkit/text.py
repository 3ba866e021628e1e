"""Text of others (names of classes, models and files) on its way to a reader: shown as it is, never obeyed.

One rule for pages, figures, tables, progress and sentences of errors; imports nothing of freqkit.
"""

import unicodedata

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


def shorten(name, limit=22):
    """`name` on one line, printable, cut in the middle when it is longer than `limit` characters."""
    name = printable(name)
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
