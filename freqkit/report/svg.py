"""Figures of the HTML report: small inline SVG that takes its colours from the page, light or dark.

Nothing here knows a result; colours are CSS classes of `templates/style.css` (`.s0` ... `.s6`, Okabe-Ito).
"""

import base64
import io
import itertools
import math
from html import escape as escape_html

from freqkit.text import printable, shorten

SIDE = 192  # pixels of a frequency plane
SERIES = 7  # colours, after which lines are dashed
LETTER, NARROW, SMALL = 7.2, 8.6, 10.6  # widths of a letter: as drawn, and on a narrow screen in charts and wide charts
NAME = 22  # letters of a name in a drawing; the whole name is shown when it is pointed at


def escape(text):
    """Text for an attribute or an element of SVG, printable."""
    return escape_html(printable(text))


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
    """-1.5 -> '−1.50', 1.5 -> '+1.50'.

    Example:
        >>> signed(1.5), signed(-0.25)
        ('+1.50', '−0.25')
    """
    return f"{value:+.{digits}f}".replace("-", "−")


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
    if max(picture.size) > 224:
        picture.thumbnail((224, 224))
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


class Axes:
    """A plot with axes: (x0, x1) and (y0, y1) on a rectangle, linear or logarithmic in y.

    Args:
        x, y: (low, high) of the data.
        width, height: of the whole figure, in pixels.
        alt: what the figure shows, in words.
        right: pixels left free for labels behind the lines.
        log, log_x: logarithmic in y, in x.
        shares: ticks in percent, of both axes, or with "y" of that one.
    """

    def __init__(self, x, y, *, x_label, y_label, alt, width=720, height=340, right=16, log=False, shares=False,
                 log_x=False):  # fmt: skip
        self.log, self.log_x = log, log_x
        self.x = tuple(math.log10(value) for value in x) if log_x else x
        self.y = tuple(math.log10(value) for value in y) if log else y
        letter = SMALL if width > 600 else NARROW
        across, up = _log_ticks(*self.x) if log_x else _ticks(*x), _log_ticks(*self.y) if log else _ticks(*y)
        marks = [self._say(value, shares=bool(shares)) for value in up]
        self.left, self.top = 32 + letter * max(map(len, marks), default=0), 14
        self.width, self.right = width, right
        self.inner = (width - self.left - right, height - self.top - 46)
        self.key = []  # (mark, name) of lines that are named at their ends, for narrow screens
        kind = "chart wide" if width > 600 else "chart"
        self.parts = [f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(alt)}">']
        bottom, end = self.top + self.inner[1], self.left + self.inner[0]
        for value in across:
            place = self.across(value)
            self.parts.append(f'<path class="ax" d="M{place:.1f} {bottom}v5"/>')
            self.text(place, bottom + 18, self._say(value, shares=shares is True), "middle")
        for value, words in zip(up, marks, strict=True):
            place = self.down(value)
            self.parts.append(f'<path class="gr" d="M{self.left:.1f} {place:.1f}H{end:.1f}"/>')
            self.text(self.left - 8, place + 4, words, "end")
        self.parts.append(f'<path class="ax" d="M{self.left:.1f} {bottom}H{end:.1f}"/>')
        self.text(self.left + self.inner[0] / 2, height - 8, x_label, "middle", "unit")
        self.parts.append(
            f'<text class="unit" transform="translate(16 {self.top + self.inner[1] / 2:g}) rotate(-90)"'
            f' text-anchor="middle">{escape(y_label)}</text>'
        )

    def _say(self, value, *, shares):
        if shares:
            return percent(value)
        if abs(value) >= 1e6:
            return f"{value / 1e6:g}M"
        return f"{value / 1e3:g}k" if abs(value) >= 1e4 else _minus(f"{value:g}")

    def across(self, value):
        low, high = self.x
        if self.log_x:
            value = math.log10(max(value, 1e-300))
        return self.left + self.inner[0] * ((value - low) / (high - low) if high > low else 0.5)

    def down(self, value):
        low, high = self.y
        if self.log:
            value = math.log10(max(value, 1e-300))
        share = (min(max(value, low), high) - low) / (high - low) if high > low else 0.5
        return self.top + self.inner[1] * (1 - share)

    def text(self, x, y, words, anchor="start", kind="", limit=None):
        kind = f' class="{kind}"' if kind else ""
        words = shorten(words, limit) if limit else words
        self.parts.append(f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    def line(self, points, index, *, name="", steps=False, kind="line"):
        """A line through (x, y) points in the series' colour, its name shown when pointed at."""
        path, before = [], None
        for x, y in points:
            place = (self.across(x), self.down(y))
            if before is None:
                path.append(f"M{place[0]:.1f} {place[1]:.1f}")
            elif steps:
                path.append(f"H{place[0]:.1f}" + (f"V{place[1]:.1f}" if place[1] != before[1] else ""))
            else:
                path.append(f"L{place[0]:.1f} {place[1]:.1f}")
            before = place
        dashed = f" d{index // SERIES}" if index >= SERIES else ""
        title = f"<title>{escape(name)}</title>" if name else ""
        self.parts.append(f'<path class="{kind} s{index % SERIES}{dashed}" d="{"".join(path)}">{title}</path>')

    def points(self, points, index, *, name=""):
        """A mark of the series' colour and shape at each (x, y, half the length of its bar or None)."""
        shape = list(MARKS.values())[index % len(MARKS)]
        for x, y, spread in points:
            left, top = self.across(x), self.down(y)
            if spread:
                low, high = self.down(y - spread), self.down(y + spread)
                self.parts.append(
                    f'<path class="line s{index % SERIES}" d="M{left:.1f} {low:.1f}V{high:.1f}'
                    f'M{left - 4:.1f} {low:.1f}h8M{left - 4:.1f} {high:.1f}h8"/>'
                )
            self.parts.append(
                f'<path class="mark s{index % SERIES} fs{index % SERIES}" transform="translate({left:.1f} {top:.1f})"'
                f' d="{shape}"><title>{escape(name)}</title></path>'
            )

    def names(self, labels):
        """Names behind the ends of lines, (y, name, series index), moved apart where they would meet."""
        gap, place = 14, sorted((self.down(y), name, index) for y, name, index in labels)
        at = [y for y, _, _ in place]
        for i in range(1, len(at)):
            at[i] = max(at[i], at[i - 1] + gap)
        over = at[-1] - (self.top + self.inner[1]) if at else 0
        for i in range(len(at) - 1, -1, -1):
            if over > 0:
                at[i] = min(at[i], (self.top + self.inner[1]) - gap * (len(at) - 1 - i))
        end = self.left + self.inner[0]
        for y, (old, name, _) in zip(at, place, strict=True):
            self.parts.append(f'<path class="lead" d="M{end + 2:.1f} {old:.1f}L{end + 9:.1f} {y:.1f}"/>')
            self.text(end + 12, y + 4, name, "start", "name end", int((self.right - 12) / NARROW))
        for _, name, index in sorted(labels, key=lambda label: -label[0]):
            self.key.append((line_mark(index % SERIES, f" d{index // SERIES}" if index >= SERIES else ""), name))

    def boxes_along(self, points, half=3):
        """Boxes that a line through (x, y) points fills, for `name_points`."""
        boxes = []
        for (x0, y0), (x1, y1) in itertools.pairwise((self.across(x), self.down(y)) for x, y in points):
            steps = max(1, math.ceil(math.hypot(x1 - x0, y1 - y0) / half))
            boxes += [_box(x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps, half) for i in range(steps + 1)]
        return boxes

    def name_points(self, named, blocked=(), most=None):
        """Names beside their points, drawn over everything; none where it would hit a mark, a name or `blocked`.

        Args:
            named: (x, y, name) in pixels of the figure, all marks, the most important first.
            blocked: boxes (left, top, right, bottom) that no name may touch.
            most: at most so many names.
        """
        taken, count = [*(_box(x, y, 6) for x, y, _ in named), *blocked], 0
        spots = ((9, -7, "start"), (9, 15, "start"), (-9, -7, "end"), (-9, 15, "end"), (9, 4, "start"), (-9, 4, "end"),
                 (0, -10, "middle"), (0, 20, "middle"), (-4, -11, "start"), (-4, 21, "start"))  # fmt: skip
        for x, y, name in named:
            if not name or (most is not None and count >= most):
                continue
            words = shorten(name, NAME)
            width = NARROW * len(words)
            for dx, dy, anchor in spots:
                left = x + dx - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
                box = (left, y + dy - 11, left + width, y + dy + 3)
                inside = box[0] > self.left and box[2] < self.width and box[1] > 0
                inside = inside and box[3] < self.top + self.inner[1]
                if inside and not any(_meet(box, other) for other in taken):
                    taken.append(box)
                    count += 1
                    self.text(x + dx, y + dy, words, anchor, "name")
                    break

    def svg(self):
        return "".join([*self.parts, "</svg>"])


def _log_ticks(low, high):
    """Powers of ten within [10^low, 10^high], or their 1, 2 and 5 times where there are few."""
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    ticks = [10.0**power for power in range(first, last + 1)]
    if len(ticks) < 3:
        ticks = [m * 10.0**p for p in range(first - 1, last + 1) for m in (1, 2, 5)]
    return [tick for tick in ticks if low - 1e-9 <= math.log10(tick) <= high + 1e-9]


def _ticks(low, high, most=7):
    """Round values within [low, high]."""
    if not high > low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / most))
    step = next(step * m for m in (1, 2, 5, 10, 20) if (high - low) / (step * m) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


MARKS = {
    "shortcut": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z",
    "default": "M-4.5-4.5h9v9h-9Z",
    "weak": "M0-5.5L5.2 4H-5.2Z",
    "none": "M-4-4L4 4M4-4L-4 4",
}


def line_mark(colour, dashes=""):
    """The mark of a line in a legend."""
    return f'<svg viewBox="-7 -7 14 14" aria-hidden="true"><path class="line s{colour}{dashes}" d="M-7 0H7"/></svg>'


def scatter(points, *, alt, bars=True):
    """True against false positive rates.

    Args:
        points: list of dicts: name, tpr, fpr, tpr_interval, fpr_interval, mark (a key of `MARKS`), href; of several
            runs also colour (number of a series) and title (what is shown when the mark is pointed at).
        alt: what the figure shows, in words.
        bars: draw the intervals. Names stand where there is room.
    """
    axes = Axes((0, 1), (0, 1), x_label="FPR: other classes' images given the class's name",
                y_label="TPR: the class's images recognised", alt=alt, width=500, height=440, right=24,
                shares=True)  # fmt: skip
    x0, y0, x1, y1 = axes.across(0), axes.down(0), axes.across(1), axes.down(1)
    axes.parts.append(f'<path class="even" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>')
    places = [(axes.across(point["fpr"]), axes.down(point["tpr"])) for point in points]
    words = "same answer whatever the image: TPR = FPR"
    half = NARROW * len(words) / 2  # its length on the slope, at most
    angle = math.atan2(y1 - y0, x1 - x0)
    drop = (17 * -math.sin(angle), 17 * math.cos(angle))  # under the line

    def along(share):
        """Boxes that the words on the diagonal fill when their middle is at `share`."""
        middle = (axes.across(share) + drop[0], axes.down(share) + drop[1])
        steps = [i / 12 for i in range(-12, 13)]
        return [_box(middle[0] + half * i * math.cos(angle), middle[1] + half * i * math.sin(angle), 9) for i in steps]

    def hidden(share):
        return sum(any(_meet(_box(*place, 6), box) for box in along(share)) for place in places)

    share = min((0.5, 0.45, 0.55, 0.4, 0.6, 0.35, 0.65), key=hidden)
    axes.parts.append(
        f'<text class="unit" text-anchor="middle" transform="translate({axes.across(share) + drop[0]:.1f}'
        f' {axes.down(share) + drop[1]:.1f}) rotate({math.degrees(angle):.1f})">{words}</text>'
    )
    ordered = sorted(points, key=lambda p: -(p["tpr"] - p["fpr"]))
    for point in ordered:
        x, y = axes.across(point["fpr"]), axes.down(point["tpr"])
        colour = f"s{point['colour']} fs{point['colour']}" if "colour" in point else f"m-{point['mark']}"
        if bars and point.get("tpr_interval"):
            (a, b), (c, d) = point["fpr_interval"], point["tpr_interval"]
            axes.parts.append(
                f'<path class="bar {colour}" d="M{axes.across(a):.1f} {y:.1f}H{axes.across(b):.1f}'
                f'M{x:.1f} {axes.down(c):.1f}V{axes.down(d):.1f}"/>'
            )
        title = point.get("title", point["name"])
        words = f"{title}: TPR {percent(point['tpr'])}, FPR {percent(point['fpr'])}"
        mark = (
            f'<path class="mark {colour}" transform="translate({x:.1f} {y:.1f})" d="{MARKS[point["mark"]]}">'
            f"<title>{escape(words)}</title></path>"
        )
        href = escape(point.get("href", ""))
        axes.parts.append(f'<a href="{href}">{mark}</a>' if href else mark)
    if len(points) <= 60:
        named = [(axes.across(point["fpr"]), axes.down(point["tpr"]), point["name"]) for point in ordered]
        axes.name_points(named, along(share), most=16)
    return axes.svg()


def _box(x, y, half):
    return (x - half, y - half, x + half, y + half)


def _meet(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


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


def _whole(name, words):
    """The whole name for whoever points at a cut one."""
    return "" if words == name else f"<title>{escape(name)}</title>"


def matrix(counts, rows, columns, *, alt, values=None, signed=False):
    """Counts as a grid of shaded squares; a square's number is shown when pointed at.

    Args:
        counts: list of R lists of C numbers, shown.
        rows, columns: names.
        values: the shades, in [0, 1] or [-1, 1] (`signed`); default each row's shares.
    """
    letters = max((len(f"{value:.0f}") for row in counts for value in row), default=1)
    room = 2 + 7.8 * letters  # in the type of narrow screens
    cell = max(26, room) if len(columns) <= 16 else max(15, 420 / len(columns))
    short = [[shorten(name, NAME) for name in side] for side in (rows, columns)]
    left = 12 + NARROW * max(map(len, short[0]))
    slanted = 12 + 0.71 * NARROW * max(map(len, short[1]))  # up, and beyond the last column
    top = slanted
    width, height = left + cell * len(columns) + slanted, top + cell * len(rows) + 4
    if values is None:
        values = [[value / (sum(row) or 1) for value in row] for row in counts]
    parts = [
        f'<svg class="chart matrix" style="max-width:{width:.0f}px" viewBox="0 0 {width:.0f} {height:.0f}" role="img"'
        f' aria-label="{escape(alt)}">'
    ]
    for j, (name, words) in enumerate(zip(columns, short[1], strict=True)):
        x = left + cell * (j + 0.5)
        parts.append(
            f'<text transform="translate({x + 3:.1f} {top - 6:.1f}) rotate(-45)">{escape(words)}{_whole(name, words)}'
            "</text>"
        )
    for i, name in enumerate(rows):
        y = top + cell * i
        parts.append(
            f'<text x="{left - 6:.1f}" y="{y + cell / 2 + 4:.1f}" text-anchor="end">{escape(short[0][i])}'
            f"{_whole(name, short[0][i])}</text>"
        )
        for j, other in enumerate(columns):
            shade = values[i][j]
            kind = "neg" if signed and shade < 0 else "pos"
            x = left + cell * j
            parts.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}"'
                f' fill-opacity="{abs(shade):.3f}"><title>{escape(f"{name} called {other}: {counts[i][j]:g}")}</title>'
                "</rect>"
            )
            if cell >= room and round(counts[i][j]):
                ink = "on" if abs(shade) > 0.55 else ""
                parts.append(
                    f'<text class="count {ink}" x="{x + cell / 2 - 0.5:.1f}" y="{y + cell / 2 + 3.5:.1f}"'
                    f' text-anchor="middle">{counts[i][j]:.0f}</text>'.replace(">-", ">−")
                )
    return "".join([*parts, "</svg>"])
