"""A figure of matplotlib's as inline SVG: text stays text, and its colours are those of the page, light or dark.

What `figures.note` says of an artist is shown when it is pointed at, or where a click on it leads. There are no ids, no
definitions and no styles of matplotlib's in what is drawn, and the same figure gives the same bytes.
"""

import functools
import textwrap
import warnings
from collections.abc import Callable

from freqkit.report import figures
from freqkit.report.blocks import Drawing
from freqkit.report.svg import escape

DPI = 110  # units of the drawing per inch: CSS pixels
BROAD = 4.2  # inches; a chart that is wider is drawn a second time for narrow screens
NARROW = 3.15  # inches of that drawing
TYPE = 12.2  # pixels of the letters of a chart, as style.css has them
LETTER = 6.5  # pixels of a letter of an axis's name, as wide as they come
BLACK = f"var(--c{figures.CYCLE.index(figures.BLACK)})"  # of text that has no colour of its own
LETTERS = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}  # of matplotlib's codes of a path
COLOURS = {
    **{colour.lower(): f"c{place}" for place, colour in enumerate(figures.CYCLE)},
    figures.INK.lower(): "ink", figures.FAINT.lower(): "soft", figures.GRID.lower(): "grid",
    figures.RULE.lower(): "rule", "#ffffff": "paper",
}  # fmt: skip


def drawing(draw: Callable, width: float, height: float, alt: str, *, narrow: float | None = None) -> Drawing:
    """A `Drawing` of one chart; a broad one is drawn for narrow screens as well, and the page shows one of them.

    Args:
        draw: draws on a matplotlib axis, which is alone on a figure of ours.
        width, height: inches.
        alt: what the chart shows, in words.
        narrow: inches, the height on a narrow screen; default as high.
    """
    if width <= BROAD:
        return Drawing(chart(draw, width, height, alt))
    broad = chart(draw, width, height, alt, "chart broad")
    return Drawing(broad + chart(draw, NARROW, narrow or height, alt, "chart narrow"))


def chart(draw: Callable, width: float, height: float, alt: str, kind: str = "chart") -> str:
    """The markup of one chart; `kind`: its CSS classes; see `drawing`."""
    figure = figures.new_figure(width, height)
    figure.set_dpi(DPI)
    figure.get_layout_engine().set(w_pad=0.07, h_pad=0.06)  # letters of the page are taller than those measured
    axis = figure.subplots()
    draw(axis)
    width, height = figure.bbox.size
    label = textwrap.fill(axis.get_xlabel(), int((width - 70) / LETTER))
    # Lines of the page are higher than those that matplotlib measures, in some versions more than in others.
    axis.set_xlabel(label, **({"linespacing": 1.4} if "\n" in label else {}))
    noted = {}
    for place, artist in enumerate(figure.findobj(lambda artist: hasattr(artist, "on_page"))):
        artist.set_gid(f"note-{place}")
        noted[artist.get_gid()] = artist
    for each in (figure, *figure.axes):
        each.patch.set_visible(False)  # the page is the ground
    renderer = _renderer()(width, height, noted)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # of matplotlib's own font; a browser finds another
        figure.draw(renderer)
    return (
        f'<svg class="{kind}" width="{width:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" role="img"'
        f' aria-label="{escape(alt)}">{"".join(renderer.parts)}</svg>'
    )


@functools.cache
def _renderer():
    import numpy as np
    from matplotlib.backend_bases import RendererBase
    from matplotlib.cbook import strip_math
    from matplotlib.colors import to_hex
    from matplotlib.transforms import Affine2D

    def colour(rgb):
        code = to_hex(rgb[:3])
        return f"var(--{COLOURS[code]})" if code in COLOURS else code

    class PageRenderer(RendererBase):
        """What matplotlib draws, as elements of SVG with the page's colours."""

        def __init__(self, width, height, noted):
            super().__init__()
            self.width, self.height, self.noted = width, height, noted
            self.parts, self.groups = [], []

        def get_canvas_width_height(self):
            return self.width, self.height

        def points_to_pixels(self, points):
            return points * DPI / 72

        def open_group(self, s, gid=None):
            self.groups.append(gid)

        def close_group(self, s):
            self.groups.pop()

        def put(self, tag, about, words="", place=0):
            """An element, with what is noted of its artist; `place`: which of the artist's marks it is."""
            noted = self.noted.get(self.groups[-1])
            title, href = (
                one if isinstance(one, str) else one[place] for one in (noted.on_page if noted else ("", ""))
            )
            inner = words + (f"<title>{escape(title)}</title>" if title else "")
            element = f"<{tag} {about}>{inner}</{tag}>" if inner else f"<{tag} {about}/>"
            self.parts.append(f'<a href="{escape(href)}">{element}</a>' if href else element)

        def look(self, gc, face):
            forced = gc.get_alpha() if gc.get_forced_alpha() else None
            said = []
            for name, paint in (("fill", face), ("stroke", gc.get_rgb() if gc.get_linewidth() else None)):
                alpha = 0 if paint is None else forced if forced is not None else paint[3] if len(paint) > 3 else 1
                if alpha:
                    said.append(f'{name}="{colour(paint)}"' + (f' {name}-opacity="{alpha:.2g}"' if alpha < 1 else ""))
                    if name == "stroke":
                        said.append(f'stroke-width="{self.points_to_pixels(gc.get_linewidth()):.2g}"')
            dashes = gc.get_dashes()[1]
            if dashes is not None:
                said.append(f'stroke-dasharray="{" ".join(f"{self.points_to_pixels(one):.2g}" for one in dashes)}"')
            return " ".join(said)

        def shape(self, path, transform, clip=None, filled=False):
            """(tag, attributes) of a path whose lines and areas end at `clip`, or None when nothing is left."""
            curved = path.codes is not None and 4 in path.codes
            if curved and set(path.codes.tolist()) == {1, 4, 79}:  # curves alone: a circle
                (left, low), (right, high) = path.get_extents(transform).get_points()
                x, y, radius = (left + right) / 2, self.height - (low + high) / 2, (right - left) / 2
                return "circle", f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
            if clip is not None and filled:
                path, transform, clip = path.transformed(transform).clip_to_bbox(clip), Affine2D(), None
            clip = None if clip is None else clip.extents
            path = path.cleaned(transform, remove_nans=True, clip=clip, simplify=not curved, curves=True)
            words, before = [], 0
            points = np.round(path.vertices * (1, -1) + (0, self.height), 1).tolist()
            for (x, y), code in zip(points, path.codes.tolist(), strict=True):
                if not code:
                    break
                letter = "" if (before, code) in ((1, 2), (2, 2), (3, 3), (4, 4)) else LETTERS[code]
                words.append(letter if letter == "Z" else f"{letter}{x:g} {y:g}")
                before = code
            return ("path", f'd="{" ".join(words)}"') if words else None

        def draw_path(self, gc, path, transform, rgbFace=None):
            shape = self.shape(path, transform, gc.get_clip_rectangle(), rgbFace is not None)
            if shape is not None:
                self.put(shape[0], f"{self.look(gc, rgbFace)} {shape[1]}")

        def draw_markers(self, gc, marker_path, marker_trans, path, trans, rgbFace=None):
            clip, places = gc.get_clip_rectangle(), trans.transform(np.asarray(path.vertices, dtype=float))
            if not places.any():  # an area comes as one mark at (0, 0)
                self.draw_path(gc, marker_path, marker_trans, rgbFace)
                return
            mark = 'class="mark" ' if len(marker_path.vertices) > 2 else ""  # else a tick or the end of a bar
            self.parts.append(f"<g {self.look(gc, rgbFace)}>")
            for place, (x, y) in enumerate(places):
                if np.isfinite(x + y) and (clip is None or clip.padded(1).contains(x, y)):
                    tag, there = self.shape(marker_path, marker_trans + Affine2D().translate(x, y))
                    self.put(tag, mark + there, place=place)
            self.parts.append("</g>")

        def draw_image(self, gc, x, y, im, transform=None):
            """A matrix of `planes.matrix`, square by square."""
            image = self.noted[gc.get_gid()]
            values, titles = np.asarray(image.get_array(), dtype=float), image.on_page[0]
            rows, columns = values.shape
            place = image.axes.transData.transform
            xs = place([(column - 0.5, 0) for column in range(columns + 1)])[:, 0]
            ys = self.height - place([(0, row - 0.5) for row in range(rows + 1)])[:, 1]
            shades = np.nan_to_num(values / max(map(abs, image.get_clim())))
            for i, j in np.ndindex(rows, columns):
                kind, w, h = "neg" if shades[i, j] < 0 else "pos", xs[j + 1] - xs[j] - 1, ys[i + 1] - ys[i] - 1
                self.parts.append(
                    f'<rect class="{kind}" x="{xs[j]:.1f}" y="{ys[i]:.1f}" width="{w:.1f}" height="{h:.1f}"'
                    f' fill-opacity="{abs(shades[i, j]):.2g}"><title>{escape(titles[i][j])}</title></rect>'
                )

        def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
            # The letters of the page are not those that were measured: what is centred or ends somewhere, still does.
            side = "left"
            if mtext is not None:
                side = mtext.get_ha() if angle % 360 == 0 or mtext.get_rotation_mode() == "anchor" else "center"
            share, anchor = {"left": (0, ""), "center": (0.5, "middle"), "right": (1, "end")}[side]
            length = share * self.get_text_width_height_descent(s, prop, ismath)[0]
            turned = np.deg2rad(angle)
            x, y = x + length * np.cos(turned), y - length * np.sin(turned)
            size, paint = self.points_to_pixels(prop.get_size_in_points()), colour(gc.get_rgb())
            at = f'transform="translate({x:.1f} {y:.1f}) rotate({-angle:g})"' if angle else f'x="{x:.1f}" y="{y:.1f}"'
            style = f"font-size:{size:.3g}px;" * (abs(size - TYPE) > 0.4)
            style += f"fill:{paint}" * (paint != BLACK)
            at += f' text-anchor="{anchor}"' * bool(anchor) + f' style="{style.rstrip(";")}"' * bool(style)
            at += ' class="count"' * (self.groups[-1] == "count")
            self.put("text", at, escape(strip_math(s) if ismath else s))

    return PageRenderer
