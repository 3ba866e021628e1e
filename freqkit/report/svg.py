"""Pictures of the HTML report that are no charts (those are `inline.py`): planes of frequencies, bars in the cells of a
table, photographs; and numbers in words. Colours are CSS classes of `templates/style.css`.
"""

import base64
import io
import math
from html import escape as escape_html

from freqkit.text import called

SIDE = 192  # pixels of a frequency plane
LETTER = 7.2  # pixels, the width of a letter


def escape(text):
    """Text for an attribute or an element of SVG, printable."""
    return escape_html(called(text))


def number(value, digits=3):
    """12.3456 -> '12.3'; None, NaN and infinity -> '–'.

    Example:
        >>> number(12.3456), number(float("nan"))
        ('12.3', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    shown = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e+" in shown else shown  # 999.9 rounds up to 1e+03


def signed(value, digits=2):
    """-1.5 -> '−1.50', 1.5 -> '+1.50'; what is rounded to nought has no minus.

    Example:
        >>> signed(1.5), signed(-0.25), signed(-0.001)
        ('+1.50', '−0.25', '+0.00')
    """
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def percent(value, digits=0):
    """0.125 -> '12%'; None and NaN -> '–'.

    Example:
        >>> percent(0.128), percent(0.128, 1), percent(None)
        ('13%', '12.8%', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    words = f"{100 * value:.{digits}f}"
    return f"{words.replace('-', '−') if float(words) else words.lstrip('-')}%"


def data_uri(data, kind="png"):
    """Bytes of a picture as an address that needs no network."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def plane_png(values, *, signed=False):
    """A frequency plane as PNG bytes whose blank is transparent, so that it stands on light and dark.

    Args:
        values: real `[H, W]`; in [0, 1], or in [-1, 1] when `signed`; NaN is blank.
        signed: blue above nought, orange below; else blue alone.
    """
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.asarray(values, dtype=np.float64))
    if signed:
        levels = 15
        index = np.rint(np.clip(values, -1, 1) * levels).astype(np.int16) + levels
        shades = range(-levels, levels + 1)
        palette = [(31, 119, 210) if shade >= 0 else (224, 110, 20) for shade in shades]
        alpha = [round(255 * (abs(shade) / levels) ** 0.8) for shade in shades]
        bits = 8
    else:
        known = np.unique(values)
        levels = 2 if np.isin(known, (0, 0.5, 1)).all() else 15
        index = np.rint(np.clip(values, 0, 1) * levels)
        palette = [(31, 119, 210)] * (levels + 1)
        alpha = [round(255 * shade / levels) for shade in range(levels + 1)]
        bits = 2 if levels == 2 else 4
    picture = Image.frombytes("P", index.shape[::-1], index.astype(np.uint8).tobytes())
    picture.putpalette([channel for colour in palette for channel in colour])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", bits=bits, transparency=bytes(alpha), optimize=True)
    return buffer.getvalue()


def photo_uri(image):
    """An image, array [3, H, W] in [0, 1], as PNG when small and JPEG when large."""
    import numpy as np
    from PIL import Image

    pixels = np.rint(np.clip(np.transpose(np.asarray(image, dtype=np.float64), (1, 2, 0)), 0, 1) * 255)
    picture = Image.fromarray(pixels.astype(np.uint8))
    buffer = io.BytesIO()
    if max(picture.size) <= 64:
        picture.save(buffer, "PNG", optimize=True)
        return data_uri(buffer.getvalue())
    if max(picture.size) > 192:
        picture.thumbnail((192, 192))  # it is shown at 96, on fine screens with two pixels to one
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    return data_uri(buffer.getvalue(), "jpeg")


def plane(size, alt, *, href="", outlined=None):
    """A frequency plane with axes in cycles/image; DC is marked, positive vertical frequency is down.

    Args:
        size: (H, W) in bins.
        alt: what the picture shows, in words.
        href: address of the picture that fills the plane.
        outlined: optional bool array `[H, W]`, centred: bins to outline.
    """
    height, width = size
    tall = SIDE * height / width
    # the axis title stands left of the longest number
    left, top = 27 + LETTER * max(len(_minus(value)) for value in _plane_ticks(height)), 6

    def across(frequency):
        return left + (frequency + width // 2 + 0.5) / width * SIDE

    def down(frequency):
        return top + (frequency + height // 2 + 0.5) / height * tall

    box = f"0 0 {left + SIDE + 8:g} {top + tall + 36:g}"
    parts = [
        f'<svg class="plane" viewBox="{box}" role="img" aria-label="{escape(alt)}">',
        f'<rect class="paper" x="{left:g}" y="{top}" width="{SIDE}" height="{tall:g}"/>',
        f'<image x="{left:g}" y="{top}" width="{SIDE}" height="{tall:g}" preserveAspectRatio="none" href="{href}"/>',
    ]
    if outlined is not None:
        dx, dy = SIDE / width, tall / height
        for row, column in zip(*(places.tolist() for places in outlined.nonzero()), strict=True):
            x, y = left + column * dx, top + row * dy
            parts.append(f'<rect class="known" x="{x:g}" y="{y:g}" width="{dx:g}" height="{dy:g}"/>')
    parts.append(f'<rect class="frame" x="{left:g}" y="{top}" width="{SIDE}" height="{tall:g}"/>')
    x, y = across(0), down(0)
    parts.append(f'<path class="dc" d="M{x - 4:g} {y:g}h8M{x:g} {y - 4:g}v8"/>')
    for value in _plane_ticks(width):
        x = across(value)
        parts.append(f'<path class="ax" d="M{x:g} {top + tall:g}v4"/>')
        parts.append(f'<text x="{x:g}" y="{top + tall + 15:g}" text-anchor="middle">{_minus(value)}</text>')
    for value in _plane_ticks(height):
        y = down(value)
        parts.append(f'<path class="ax" d="M{left:g} {y:g}h-4"/>')
        parts.append(f'<text x="{left - 6:g}" y="{y + 3.5:g}" text-anchor="end">{_minus(value)}</text>')
    parts.append(
        f'<text class="unit" x="{left + SIDE / 2:g}" y="{top + tall + 31:g}" text-anchor="middle">'
        "horizontal, cycles/image</text>"
        f'<text class="unit" transform="translate(11 {top + tall / 2:g}) rotate(-90)" text-anchor="middle">'
        "vertical, cycles/image</text></svg>"
    )
    return "".join(parts)


def _plane_ticks(size):
    quarter = size // 4
    return [-2 * quarter, -quarter, 0, quarter] if quarter else [0]


def _minus(value):
    return str(value).replace("-", "−")


def rate_bars(tpr, fpr, tpr_interval=None, fpr_interval=None):
    """TPR and FPR with intervals on a line from 0 to 100%, small enough for a table cell."""
    parts = ['<svg class="rates" viewBox="-4 0 108 18" aria-hidden="true"><path class="gr" d="M0 9H100"/>']
    for value, interval, y, kind in ((tpr, tpr_interval, 5, "s0"), (fpr, fpr_interval, 13, "s3")):
        if value is None or not math.isfinite(value):
            continue
        if interval:
            parts.append(f'<path class="line {kind}" d="M{100 * interval[0]:.1f} {y}H{100 * interval[1]:.1f}"/>')
        parts.append(f'<circle class="f{kind}" cx="{100 * value:.1f}" cy="{y}" r="3.2"/>')
    return "".join([*parts, "</svg>"])
