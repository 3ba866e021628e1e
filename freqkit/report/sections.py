"""Sections, tables and sentences that several kinds of result put on their pages."""

from freqkit.report.blocks import Cell, Gallery, Map, Section, Table
from freqkit.report.readings import MEANINGS, READINGS
from freqkit.report.svg import data_uri, number, percent, plane, plane_png, rate_bars
from freqkit.report.words import or_last, p_words

GALLERY = 40  # maps drawn at once; the others when they are asked for
TERMS = {"loss": "classwise loss", "selection TPR − FPR": "selection TPR-FPR"}  # of further columns
COMPARED = 40  # classes shown beside random masks
HELD = 3 << 19  # bytes of maps of a gallery that wait in the page


def class_table(found, more, *, key="classes", title="Classes", maps="map", clean=None):
    """The table of classes; `more` holds further numeric columns, name -> C values; `maps` is the prefix of the
    classes' maps on the page, to which the names lead; `clean` the `CleanRates` of the same classes, or None."""
    many = max((reading.positives for reading in found), default=0) >= 1000
    digits = 1 if many else 0
    columns = [("class", "left", None), ("reading", "left", None), ("clean TPR", "right", "clean TPR"),
               ("TPR and FPR", "left", "TPR-FPR"),
               ("TPR", "right", "TPR"), ("FPR", "right", "FPR"),
               ("TPR − FPR, 95% interval", "right", "TPR-FPR"), ("kept", "right", "coverage")]  # fmt: skip
    compared = any(one.p is not None for one in found)
    columns += [("random masks", "right", "random masks"), ("p", "right", "p")] * compared
    columns += [(name, "right", TERMS.get(name)) for name in more]
    columns += [("still recognised", "right", "still recognised"), ("images", "right", None)]
    whole, still = ([None] * len(found),) * 2
    if clean is not None:
        whole, still = clean.tpr.tolist(), clean.still_recognised.tolist()
    order = sorted(range(len(found)), key=lambda i: -or_last(found[i].difference))
    rows = []
    for i in order:
        one = found[i]
        low, high = one.difference_interval
        rows.append(
            [
                Cell(one.name, href=f"#{maps}-{i}" if maps else ""),
                Cell(READINGS[one.word], kind=f"r-{one.word}"),
                Cell.of(whole[i], percent(whole[i], digits)),
                Cell.of(one.difference, "", svg=rate_bars(one.tpr, one.fpr, one.tpr_interval, one.fpr_interval)),
                Cell.of(one.tpr, percent(one.tpr, digits)),
                Cell.of(one.fpr, percent(one.fpr, digits)),
                Cell.of(one.difference, f"{percent(one.difference, digits)}, {_span(low, high, digits)}"),
                Cell.of(one.kept, percent(one.kept, 1)),
                *(
                    [Cell.of(one.random, percent(one.random, digits)), Cell.of(one.p, p_words(one.p))]
                    if compared
                    else []
                ),
                *(Cell.of(values[i], _show(name, values[i])) for name, values in more.items()),
                Cell.of(still[i], percent(still[i], digits)),
                Cell.of(one.positives, f"{one.positives:,}"),
            ]
        )
    blank = {place for place, (name, *_) in enumerate(columns)
             if name in ("kept", "still recognised") and all(row[place].value is None for row in rows)}  # fmt: skip
    columns, *rows = ([one for place, one in enumerate(line) if place not in blank] for line in (columns, *rows))
    remain = any(name == "still recognised" for name, *_ in columns)
    how = (
        "Clean TPR: the class's whole images that are recognised, before anything is filtered"
        f"{'' if clean is not None else ' (not known of this run)'}. Then every class is seen only through its own map."
        " TPR (blue): the class's images recognised; FPR (orange): other classes' images given its name; lines are 95%"
        " intervals. "
        + "Random masks: the highest TPR − FPR of so many random masks of as many frequencies, p: how often the best of"
        " all classes comes up to this class's map, by counting. "
        * compared
        + "Still recognised: of the images that are recognised whole, those that are through the map, too. " * remain
    )
    words = [(READINGS[word], meaning) for word, meaning in MEANINGS.items()]
    return Section(title, [Table(columns, rows, search=True)], how.rstrip(), key=key, words=words)


def against_section(found, random, permuted=None):
    """Where each class's map lies among random masks: `random` float64 [N, C], `permuted` [P, C] or None."""
    from freqkit.report.inline import drawing
    from freqkit.report.rates import beside_random

    order = sorted((i for i, one in enumerate(found) if one.positives), key=lambda i: -or_last(found[i].difference))
    order = order[:COMPARED]
    if not order:
        return None
    chosen = [found[i] for i in order]
    best = chosen[0]
    alt = (
        f"TPR − FPR of {len(chosen)} classes through their maps, beside {len(random)} random masks each; {best.name}:"
        f" {percent(best.difference)}, random masks up to {percent(best.random)}."
    )
    draws = [random[:, order], None if permuted is None else permuted[:, order]]
    drawn = drawing(lambda axis: beside_random(axis, chosen, *draws), 7.2, 1.0 + 0.28 * len(chosen), alt, narrow=4.2)
    how = (
        f"Blue: the class's map, on the images of the table above. Grey: {len(random)} random masks of as many"
        " frequencies, of the same cells, on the same images. The dashed line is the highest grey mark of any class."
        + (" Orange: the maps that searches with permuted labels found." if permuted is not None else "")
        + (f" The first {COMPARED} of {len(found)} classes." if len(found) > COMPARED else "")
    )
    return Section("Beside random masks", [drawn], how, key="random-masks")


def _span(low, high, digits):
    """An interval of shares in percent; the sign of percent stands once."""
    return f"{percent(low, digits).rstrip('%')} … {percent(high, digits)}"


def kept_maps(found, masks, planted=None, *, key="maps", title="Dominant frequency maps"):
    """Maps of the kept frequencies."""
    import numpy as np

    masks = np.asarray(masks, dtype=np.float64)
    size = masks.shape[1:]
    radius = np.hypot(*np.meshgrid(np.arange(size[0]) - size[0] // 2, np.arange(size[1]) - size[1] // 2, indexing="ij"))
    order = sorted(range(len(found)), key=lambda i: -or_last(found[i].difference))
    entries = []
    for i in order:
        one, kept = found[i], masks[i] > 0
        middle = np.median(radius[kept]) if kept.any() else 0
        facts = f"TPR {percent(one.tpr)}, FPR {percent(one.fpr)}, keeps {percent(one.kept, 1)}"
        alt = (
            f"Map of {one.name}: keeps {percent(one.kept, 1)} of the {kept.size} frequencies, half of them within"
            f" {middle:.0f} cycles/image of DC."
        )
        entries.append((one.name, facts, alt, masks[i], i, None if not planted else planted.get(one.name)))
    how = (
        "Each map is the plane of frequencies, DC (the mean colour) at the cross, coarse structure near it, fine"
        " structure at the rim; a frequency and its mirror image through the middle are one. Blue bins are kept, pale"
        " ones at half weight; the network sees nothing else."
    )
    if planted:
        how += " Outlined bins are the ones that were planted."
    return Section(title, [gallery(entries, size, "map")], how, key=key)


def gallery(entries, size, prefix, *, signed=False):
    """A `Gallery` of (name, facts, alt, values[, number, outlined]); the first are drawn, the others held back."""
    import numpy as np

    shown, held, room, factor = [], [], HELD, 1
    for place, (name, facts, alt, values, *rest) in enumerate(entries):
        key = f"{prefix}-{rest[0] if rest else place}"
        outlined = rest[1] if len(rest) > 1 else None
        if place < GALLERY:
            png = plane_png(values, signed=signed)
            outlined = None if outlined is None else np.asarray(outlined)
            shown.append(Map(name, facts, alt, key, plane(size, alt, href=data_uri(png), outlined=outlined)))
            continue
        left = len(entries) - place
        png = plane_png(_coarse(values, factor), signed=signed)
        if len(png) * left > room:  # and so are those that follow: a map is not encoded twice
            factor += int((len(png) * left / room) ** 0.5)
            png = plane_png(_coarse(values, factor), signed=signed)
        facts += ", drawn coarser" * (factor > 1)
        room -= len(png)
        held.append(Map(name, facts, alt, key, png=png))
    return Gallery([*shown, *held], plane(size, "") if held else "")


def _coarse(values, factor):
    """Means over blocks of at least `factor` bins per side."""
    import numpy as np

    if factor == 1:
        return values
    values = np.nan_to_num(np.asarray(values, dtype=np.float64))
    height, width = values.shape
    while factor < min(height, width) and (height % factor or width % factor):
        factor += 1
    return values.reshape(height // factor, factor, width // factor, factor).mean((1, 3))


def _show(name, value):
    """A number of a further column: losses in nats, counts, and shares in percent."""
    if isinstance(value, int):
        return f"{value:,}"
    return number(value) if "loss" in name else percent(value, 1 if "%" in name else 0)  # asked intervals to a tenth
