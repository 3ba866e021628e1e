"""What measures put on the page: rates on a test set, class spectra."""

from freqkit.report.html import Cell, Drawing, Panels, Part, Section, Table
from freqkit.report.pages import files_of, part
from freqkit.report.readings import CONFIDENCE, readings_of
from freqkit.report.sections import (
    NAMED_LINES,
    class_table,
    clean_cautions,
    clean_rows,
    cost_rows,
    gallery,
    headline,
    model_rows,
    provenance_rows,
    rates_figure,
    steps_of,
    verdict,
    weights_cautions,
)
from freqkit.report.svg import Axes, matrix, percent, signed


@part(files_of("freqkit-rates-1"))
def rates_part(path, record):
    """Rates on a test set: intervals, and what is taken for what."""
    from freqkit.measures import RatesResult
    from freqkit.results.clean import CleanRates

    result = RatesResult.load(path)
    found = readings_of(result)
    clean = result.clean
    # Of the classes that have a map, in the order of the maps.
    mapped = CleanRates(result.classes, result.positives, result.clean_tp, result.clean_tp + result.clean_fp, [],
                        result.clean_confusion.shape[1], result.still)  # fmt: skip
    more = {}
    interval, confidence, how = result.definition["interval"], result.definition["confidence"], ""
    if (interval, confidence) != ("wilson", CONFIDENCE):  # asked for; the readings stand on those of every page
        low, high = result.difference_interval.T.tolist()
        words = f"{100 * confidence:g}% {interval}"
        more |= {f"{words}, from": low, f"{words}, to": high}
        how = f" {words}: the interval of TPR − FPR that was asked for."
    sections = [class_table(found, more, key="tested-classes", title="Rates on the test images", maps="", clean=mapped)]
    sections[0].how += how
    logits = result.clean_confusion.shape[1]
    if len(result.classes) == logits and logits <= 40:
        change = (result.own_row.double() / result.positives[:, None].clamp_min(1)).tolist()
        sections.append(
            Section(
                "What each class is taken for, through its own map",
                [
                    Drawing(
                        matrix(
                            result.own_row.tolist(), result.classes, result.classes, values=change,
                            alt="Rows: the images of a class seen through its map; columns: what the model calls them.",
                        )
                    )
                ],
                "Row: the images of a class, each seen through the map of that class. Column: the model's answer."
                " A dark diagonal means that the class survives its own filter.",
                key="taken-for",
            )
        )  # fmt: skip
    cautions = weights_cautions(result.record) + clean_cautions(clean)
    if result.selected_on_test_set:
        cautions.append("These maps were selected on the very images they are tested on, so the rates are too good.")
    elif result.selected_on_test_set is None:
        cautions.append(
            "It is not known on which images these maps were selected; if on these, the rates are too good."
        )
    about = result.record
    return Part(
        "How well each class is told apart through its frequencies", verdict(found, tested=True, clean=clean),
        headline(found, clean), [*model_rows(about), *clean_rows(clean),
          ("Intervals", f"{result.definition['interval']},"
          f" {100 * result.definition['confidence']:g}%")],
        [s for s in sections if s], cost_rows(about), provenance_rows(about), cautions, order=15,
        subtitle="On the test images", found=found, clean=clean, **rates_figure(found, maps=""),
    )  # fmt: skip


@part(files_of("freqkit-adcs-1"))
def adcs_part(path, record):
    """Class spectra compared."""
    from freqkit.measures import AdcsResult

    result = AdcsResult.load(path)
    values = result.maps.double()
    values = (values.mean(1) if values.ndim == 4 else values).numpy()
    top = max(1, len(result.classes) - 1)
    rows = result.table()
    bands = [name for name in rows[0] if name.startswith("band")]
    maps = [
        (row["class"], f"mean {signed(row['mean'])}", f"ADCS of {row['class']}: blue where it has more energy than most"
         " classes, orange where less.", plane / top)
        for row, plane in zip(rows, values, strict=True)
    ]  # fmt: skip
    radius, means = result.radial()
    means = means.mean(1) if means.ndim == 3 else means
    side = min(values.shape[-2:])
    inside = radius <= side / 2
    axes_names = result.classes[:NAMED_LINES]
    ranges = means[:, inside]
    axes = Axes(
        (0, float(radius[inside][-1])), (float(ranges.min()), float(ranges.max())), right=120,
        x_label="radius of the frequency, cycles/image", y_label="mean ADCS over the ring",
        alt="Mean ADCS of each class over rings of equal frequency.",
    )  # fmt: skip
    ends = []
    for i, name in enumerate(axes_names):
        points = list(zip(radius[inside].tolist(), means[i, inside].tolist(), strict=True))
        axes.line(points, i, name=name)
        ends.append((points[-1][1], name, i))
    axes.names(ends)
    strongest = max(rows, key=lambda row: row[bands[-1]])
    weakest = min(rows, key=lambda row: row[bands[-1]])
    low, high = max(rows, key=lambda row: row[bands[0]]), min(rows, key=lambda row: row[bands[0]])
    even = "all classes are even: none has more energy than the others."
    sentences = [
        f"At high frequencies (from {round(3 * side / 8)} cycles/image on) "
        + (f"{strongest['class']} has more energy than most classes (mean ADCS {signed(strongest[bands[-1]], 1)} of at"
           f" most {top:+d}), and {weakest['class']} less ({signed(weakest[bands[-1]], 1)})."
           if strongest[bands[-1]] > weakest[bands[-1]] else even),
        f"At low frequencies (below {round(side / 8)} cycles/image) "
        + (f"{low['class']} leads ({signed(low[bands[0]], 1)}) and {high['class']} comes last"
           f" ({signed(high[bands[0]], 1)})." if low[bands[0]] > high[bands[0]] else even),
        "This is a statement about the images alone: no model was asked.",
    ]  # fmt: skip
    cautions = result.cautions()
    if cautions:
        sentences = [f"In the few images at hand: {text[0].lower()}{text[1:]}" for text in sentences[:2]] + sentences[
            2:
        ]
    table = Table(
        [("class", "left", None), ("images", "right", None), ("mean", "right", "ADCS"), ("least", "right", None),
         ("most", "right", None), *((f"{name}", "right", "radial band") for name in bands)],
        [
            [Cell(row["class"], href=f"#adcs-{i}"), Cell.of(row["images"], f"{row['images']:,}"),
             Cell.of(row["mean"], signed(row["mean"])), Cell.of(row["least"], signed(row["least"], 0)),
             Cell.of(row["most"], signed(row["most"], 0)),
             *(Cell.of(row[name], signed(row[name])) for name in bands)]
            for i, row in enumerate(rows)
        ],
        search=True,
    )  # fmt: skip
    about = result.record
    return Part(
        "Where each class has more energy than the others",
        sentences,
        [(str(len(rows)), "classes compared"), (f"{about.get('images', 0):,}", "images")],
        [("Quantity", f"ADCS, preset {result.definition['preset']}"), ("Formula", result.definition["formula"]),
         ("Energy", result.definition["energy"]), ("Channels", result.definition["channel"])],
        [
            Section("Classes", [table], "Bands are quarters of half the image side, from low to high frequencies; the"
                    " last holds the corners too. +k: more energy than k more classes than those that have more.",
                    key="adcs-classes"),
            Section("ADCS maps", [gallery(maps, tuple(values.shape[-2:]), "adcs", signed=True)],
                    "Each bin is one frequency. Blue: the class has more energy there than most classes; orange: less;"
                    f" blank: as many above as below. Full colour is ±{top}.", key="adcs"),
            Section("ADCS by radius", [Drawing.of(axes)],
                    "The maps averaged over rings: left the coarse structure of the images, right the finest."
                    + (f" The first {NAMED_LINES} classes." if len(rows) > NAMED_LINES else ""), key="adcs-radius"),
        ],
        provenance_rows(about), cautions=cautions, order=30, subtitle="Class spectra",
    )  # fmt: skip


@part(files_of("freqkit-band-stop-1"))
def band_stop_part(path, record):
    """What classes are taken for when bands of frequencies are removed."""
    from freqkit.measures import BandStopResult

    result = BandStopResult.load(path)
    names, accuracy = result.names, result.accuracy.tolist()
    tpr = result.tpr.tolist()
    worst = min(range(len(names)), key=lambda p: accuracy[p + 1])
    best = max(range(len(names)), key=lambda p: accuracy[p + 1])
    hurt = max(
        ((p, c) for p in range(len(names)) for c in range(len(result.classes))),
        key=lambda one: _number(tpr[0][one[1]]) - _number(tpr[one[0] + 1][one[1]]),
    )
    without = [f"{name} ({_ranges(bands, result.edges)})" for name, bands in zip(names, result.removed, strict=True)]
    sentences = [
        f"Whole, {percent(accuracy[0], 1)} of the images are recognised. Without {without[worst]} only"
        f" {percent(accuracy[worst + 1], 1)} are, the most costly of these choices; without {without[best]} still"
        f" {percent(accuracy[best + 1], 1)}.",
        f"{result.classes[hurt[1]]} loses most: without {without[hurt[0]]} its TPR falls from"
        f" {percent(tpr[0][hurt[1]])} to {percent(tpr[hurt[0] + 1][hurt[1]])}.",
    ]
    fewest = int(result.confusion[0].sum(1).min())
    cautions = weights_cautions(result.record) + clean_cautions(result.clean)
    cautions += [steps_of(fewest).strip()] if steps_of(fewest) else []
    columns = [("class", "left", None), ("whole images", "right", "TPR")]
    columns += [(f"− {name}", "right", "TPR") for name in names]
    rows = [
        [Cell(name), *(Cell.of(values[c], percent(values[c])) for values in tpr)]
        for c, name in enumerate(result.classes)
    ]
    rows.append([Cell("all"), *(Cell.of(value, percent(value, 1)) for value in accuracy)])
    edges = ", ".join(f"{edge:g}" for edge in result.edges)
    sections = [
        Section("Classes", [Table(columns, rows, search=True)], "TPR of each class, whole and without the named"
                f" bands. Bands begin at radii of {edges} cycles/image; B1 is the lowest.",
                key="band-stop-classes"),
    ]  # fmt: skip
    if result.confusion.shape[2] == len(result.classes) <= 20:
        drawings = []
        for name, change in zip(names, result.relative_confusion.nan_to_num(0), strict=True):
            alt = (
                f"Relative confusion without {name}: rows true classes, columns the model's answers, in percent points."
            )
            grid = matrix(change.tolist(), result.classes, result.classes, alt=alt, values=(change / 100).tolist(),
                          signed=True)  # fmt: skip
            drawings.append((f"without {name}", grid))
        sections.append(
            Section("Relative confusion", [Panels(drawings)],
                    "Row: a class; column: the model's answer. How many percent points more (blue) or fewer (orange) of"
                    " a class's images get each name than without a filter. Blue off the diagonal is where a class goes"
                    " when its band is missing.", key="relative-confusion")
        )  # fmt: skip
    about = result.record
    return Part(
        "What classes are taken for when bands are removed", sentences,
        [(percent(accuracy[0]), "recognised, whole images"), (percent(accuracy[worst + 1]), f"without {names[worst]}")],
        [*model_rows(about), *clean_rows(result.clean), ("Bands begin at", f"{edges} cycles/image")],
        sections, cost_rows(about), provenance_rows(about), cautions, order=32, subtitle="Bands removed",
    )  # fmt: skip


def _ranges(bands, edges):
    """Radii of some bands in words, neighbours joined.

    Example:
        >>> _ranges((1, 2), [4, 8, 12]), _ranges((1, 3), [4, 8, 12]), _ranges((3, 4), [4, 8, 12])
        ('0–8 cycles/image', '0–4 and 8–12 cycles/image', 'from 8 cycles/image on')
    """
    limits = [0, *edges, None]
    joined = []
    for low, high in ((limits[band - 1], limits[band]) for band in sorted(bands)):
        if joined and joined[-1][1] == low:
            joined[-1][1] = high
        else:
            joined.append([low, high])
    words = [f"{low:g}–{high:g}" if high is not None else f"from {low:g}" for low, high in joined]
    return " and ".join(words) + " cycles/image" + (" on" if joined[-1][1] is None else "")


def _number(value):
    return 0.0 if value != value else value
