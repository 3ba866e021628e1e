"""Sections, tables and sentences that several kinds of result put on their pages."""

from pathlib import Path

from freqkit.report.html import Cell, Drawing, Gallery, Map, Pairs, Section, Table
from freqkit.report.readings import READINGS, RULE
from freqkit.report.svg import MARKS, Axes, data_uri, number, percent, photo_uri, plane, plane_png, rate_bars, scatter

GALLERY = 40  # maps drawn at once; the others when they are asked for
HELD = 3 << 19  # bytes of maps of a gallery that wait in the page
NAMED_LINES = 10  # lines that get a name in a figure


def class_table(found, more, *, key="classes", title="Classes", maps="map", clean=None):
    """The table of classes; `more` holds further numeric columns, name -> C values; `maps` is the prefix of the
    classes' maps on the page, to which the names lead; `clean` the `CleanRates` of the same classes, or None."""
    many = max((reading.positives for reading in found), default=0) >= 1000
    digits = 1 if many else 0
    columns = [("class", "left", None), ("reading", "left", None), ("clean TPR", "right", "clean TPR"),
               ("TPR and FPR", "left", "TPR-FPR"),
               ("TPR", "right", "TPR"), ("FPR", "right", "FPR"),
               ("TPR − FPR, 95% interval", "right", "TPR-FPR"), ("kept", "right", "coverage")]  # fmt: skip
    columns += [(name, "right", {"loss": "classwise loss"}.get(name)) for name in more]
    columns += [("still recognised", "right", "still recognised"), ("images", "right", None)]
    whole, still = ([None] * len(found),) * 2
    if clean is not None:
        whole, still = clean.tpr.tolist(), clean.still_recognised.tolist()
    order = sorted(range(len(found)), key=lambda i: -_finite(found[i].difference))
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
                *(Cell.of(values[i], _show(name, values[i])) for name, values in more.items()),
                Cell.of(still[i], percent(still[i], digits)),
                Cell.of(one.positives, f"{one.positives:,}"),
            ]
        )
    how = (
        "Clean TPR: the class's whole images that are recognised, before anything is filtered"
        f"{'' if clean is not None else ' (not known of this run)'}. Then every class is seen only through its own map."
        " TPR (blue): the class's images recognised; FPR (orange): other classes' images given its name; lines are 95%"
        " intervals. Still recognised: of the images that are recognised whole, those that are through the map, too. "
        + RULE[0].upper()
        + RULE[1:]
    )
    return Section(title, [Table(columns, rows, search=True)], how, key=key)


def _span(low, high, digits):
    """An interval of shares in percent; the sign of percent stands once."""
    return f"{percent(low, digits).rstrip('%')} … {percent(high, digits)}"


def clean_rows(clean):
    """The first fact of a page: how many whole images the network recognises."""
    if clean is None:
        return [("Clean accuracy", "not known: the run did not ask the whole images")]
    low, high = clean.interval
    return [("Clean accuracy", f"{percent(clean.accuracy, 1)} ({percent(low, 1)}–{percent(high, 1)}) of"
             f" {clean.images:,} whole images; guessing would give {percent(clean.chance, 1)}")]  # fmt: skip


def kept_maps(found, masks, planted=None, *, key="maps", title="Dominant frequency maps"):
    """Maps of the kept frequencies."""
    import numpy as np

    masks = np.asarray(masks, dtype=np.float64)
    size = masks.shape[1:]
    radius = np.hypot(*np.meshgrid(np.arange(size[0]) - size[0] // 2, np.arange(size[1]) - size[1] // 2, indexing="ij"))
    order = sorted(range(len(found)), key=lambda i: -_finite(found[i].difference))
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


def examples_section(path):
    """Images before and after, when the run kept them."""
    from freqkit.report.examples import load_examples

    path = Path(path)
    file = (path if path.is_dir() else path.parent) / "examples.safetensors"
    if not file.exists():
        return []
    from freqkit.report.examples import brighten

    by_class = {}
    for example in load_examples(file):
        after, gain = brighten(example.after)
        by_class.setdefault(example.label, []).append(
            {
                "before": photo_uri(example.before),
                "after": photo_uri(after),
                "said_before": example.predicted_before,
                "said_after": example.predicted_after + (f" ×{gain:.1f}" if gain > 1.05 else ""),
                "right_before": example.predicted_before == example.label,
                "right_after": example.predicted_after == example.label,
            }
        )
    return [
        Section(
            "Images before and after",
            [Pairs(list(by_class.items()))],
            "The first images of each class (not the best): as they are, and with only the frequencies of the class's"
            " map. Under each the model's answer, ✓ when it is the true class. ×n: the contrast of a faint filtered"
            " image is raised n times for the eye, not for the model.",
            key="examples",
        )
    ]


def rates_figure(found, *, maps="map"):
    """The scatter of TPR against FPR, to stand beside the verdict: keywords of `Part`."""
    points = [
        {"name": one.name, "tpr": one.tpr, "fpr": one.fpr, "tpr_interval": one.tpr_interval,
         "fpr_interval": one.fpr_interval, "mark": one.word,
         "href": f"#{maps}-{i}" if maps else ""}
        for i, one in enumerate(found) if _known(one.difference) is not None
    ]  # fmt: skip
    if not points:
        return {}
    counts = {word: sum(one.word == word for one in found) for word in READINGS}
    legend = [
        (f'<svg viewBox="-7 -7 14 14" aria-hidden="true"><path class="mark m-{word}" d="{MARKS[word]}"/></svg>',
         f"{READINGS[word]} ({counts[word]})")
        for word in READINGS if counts[word]
    ]  # fmt: skip
    best = max(points, key=lambda p: p["tpr"] - p["fpr"])
    alt = (
        f"TPR against FPR of {len(points)} classes; the largest difference has {best['name']}:"
        f" TPR {percent(best['tpr'])}, FPR {percent(best['fpr'])}."
    )
    how = (
        "One mark per class, seen through its own map. Top left: recognised, and only when it is there. On the dashed"
        " line the model's answer has nothing to do with the image, however high TPR is."
        + (" Lines are 95% intervals." if len(points) <= 20 else "")
        + " Point at a mark for its name and rates."
    )
    return {"hero": [Drawing(scatter(points, alt=alt, bars=len(points) <= 20), legend)], "hero_how": how}


def losses_section(result):
    """Best loss so far against forwards, class by class or as quantiles."""
    import numpy as np

    images = result.stages[-1].scores.images
    start, lines, ends = 0, [], []
    curves, edges = [], [0]
    for stage in result.stages:
        loss = np.where(np.isfinite(stage.scores.loss), stage.scores.loss, np.inf)
        curves.append(np.minimum.accumulate(loss, axis=0))
        start += len(loss) * images
        edges.append(start)
    finite = np.concatenate([curve[np.isfinite(curve)] for curve in curves])
    if not finite.size:
        return None
    low, high = max(1e-3, float(finite.min()) / 1.3), max(float(finite.max()) * 1.1, 2e-3)
    few = len(result.classes) <= NAMED_LINES
    axes = Axes(
        (0, edges[-1]), (low, high), log=True, right=120 if few else 20,
        x_label=f"model forwards (masks tried × {images:,} images)", y_label="best loss so far (nats)",
        alt=f"Lowest loss of each class against forwards, over {len(result.stages)} stages.",
    )  # fmt: skip
    bottom = axes.top + axes.inner[1]
    for i, stage in enumerate(result.stages):
        x = axes.across(edges[i])
        if i:
            axes.parts.append(f'<path class="gr" d="M{x:.1f} {axes.top}V{bottom}"/>')
        axes.text(x + 4, axes.top + 9, f"stage {stage.number}")
    for i, curve in enumerate(curves):
        places = edges[i] + (1 + np.arange(len(curve))) * images
        if few:
            for index in range(curve.shape[1]):
                lines.append((index, _steps(places, curve[:, index])))
        else:
            below, middle, above = np.quantile(curve, [0.25, 0.5, 0.75], axis=1)
            keep = np.unique(np.linspace(0, len(places) - 1, 200).astype(int))
            band = [
                *zip(places[keep], above[keep], strict=True),
                *zip(places[keep][::-1], below[keep][::-1], strict=True),
            ]
            path = "L".join(f"{axes.across(x):.1f} {axes.down(y):.1f}" for x, y in band)
            axes.parts.append(f'<path class="band fs0" d="M{path}Z"/>')
            lines.append((0, list(zip(places[keep], middle[keep], strict=True))))
    for index, points in lines:
        if points:
            axes.line(points, index, name=result.classes[index] if few else "median class", steps=True)
    if few:
        ends = [(float(curves[-1][-1, i]), name, i) for i, name in enumerate(result.classes)
                if np.isfinite(curves[-1][-1, i])]  # fmt: skip
        axes.names(ends)
    how = (
        "How low the loss of each class's best mask is after so much work; it starts anew at every stage, whose masks"
        " are finer and keep less. A flat end means that more masks of this kind would hardly help; a falling one that"
        " they would. Logarithmic."
        + ("" if few else " The line is the median class, the band the middle half of the classes.")
        + (" Losses below 0.001 are drawn at the lower edge." if finite.min() < 1e-3 else "")
    )
    return Section("The search", [Drawing.of(axes)], how, key="search")


def _steps(places, values):
    """Only the points at which a running minimum changes, and its end."""
    import numpy as np

    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return []
    changes = [known[0], *(i for i in known[1:] if values[i] != values[i - 1])]
    if changes[-1] != len(values) - 1:
        changes.append(len(values) - 1)
    return [(float(places[i]), float(values[i])) for i in changes]


def listed(names, limit=5):
    """a, b and c; long lists are cut.

    Example:
        >>> listed(["a", "b", "c"]), listed(list("abcdefgh"), 3)
        ('a, b and c', 'a, b, c and 5 more')
    """
    names = [str(name) for name in names]
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def headline(found, clean=None):
    """The large numbers above the verdict."""
    if not found:
        return []
    whole = [] if clean is None else [(percent(clean.accuracy, 1), "of the whole images recognised")]
    shortcuts = [one for one in found if one.word == "shortcut"]
    best = max(found, key=lambda one: _finite(one.difference))
    kept = sorted(one.kept for one in found)[len(found) // 2]
    return [
        *whole,
        (f"{len(shortcuts)} of {len(found)}", "classes with a shortcut"),
        (percent(best.difference), f"highest TPR − FPR ({best.name})"),
        (percent(kept, 1), "of the frequencies kept (median)"),
    ]


def verdict(found, *, tested=False, clean=None):
    """What rates say, in sentences with numbers and intervals; `clean`: `CleanRates` of the classes, or None."""
    groups = {word: sorted((one for one in found if one.word == word), key=lambda one: -one.difference)
              for word in READINGS}  # fmt: skip
    where = "on the test images" if tested else "on the images that were searched"
    kept = sorted({percent(one.kept, 1): one.kept for one in found if one.kept == one.kept}.items(), key=lambda k: k[1])
    share = f" ({kept[0][0]}{f' to {kept[-1][0]}' if len(kept) > 1 else ''} of all)" if kept else ""
    sentences = ["" if clean is None else clean.sentence()]
    sentences += [
        f"The model saw each class through that class's own few frequencies alone{share}. TPR: the share of its images"
        " recognised so. FPR: the share of all other images then taken for it. A shortcut is a class with a high TPR"
        " and a low FPR."
    ]
    if groups["shortcut"]:
        best = groups["shortcut"][0]
        count = len(groups["shortcut"])
        sentences.append(
            f"{listed([one.name for one in groups['shortcut']])} {'is' if count == 1 else 'are'} recognised by few"
            f" frequencies alone, {where}. {best.name}: {rates_words(best)}."
        )
    else:
        best = max(found, key=lambda one: _finite(one.difference))
        sentences.append(
            f"No class has a clear shortcut {where}: nowhere does the interval of TPR − FPR lie above 50%. The nearest"
            f" is {best.name}: {rates_words(best)}."
        )
    if groups["weak"]:
        chance = " (Fisher's exact test, 2.5%"
        chance += ")" if tested else ", as if the maps had not been chosen on these very images)"
        first = groups["weak"][0]
        sentences.append(
            f"{listed([one.name for one in groups['weak']])} {'is' if len(groups['weak']) == 1 else 'are'} told apart"
            f" through few frequencies more often than by chance{chance}, but weakly (TPR − FPR at most"
            f" {percent(first.difference)}, interval {span(first.difference_interval)})."
        )
    unsure = [one for one in groups["default"] if one.fpr < 0.5]
    groups["default"] = [one for one in groups["default"] if one not in unsure]
    if unsure:
        one = unsure[0]
        sentences.append(
            f"{listed([each.name for each in unsure])}: recognised, but on so few images the interval of TPR − FPR"
            f" reaches 0 ({one.name}: {round(one.tpr * one.positives)} of {one.positives}, interval"
            f" {span(one.difference_interval)}), so it may be an answer that is given whatever the image."
        )
    if groups["default"]:
        worst = max(groups["default"], key=lambda one: one.fpr)
        sentences.append(
            f"{listed([one.name for one in groups['default']])}: recognised, but so is much else. That is what the"
            f" model answers when it sees little ({worst.name} for {percent(worst.fpr)} of all other images), not"
            " recognition."
        )
    if few := [one for one in groups["none"] if one.difference_interval[0] > 0]:
        one = few[0]
        sentences.append(
            f"{listed([each.name for each in few])}: too few images to tell recognition from chance ({one.name}:"
            f" {round(one.tpr * one.positives)} of {one.positives}, TPR 95% interval {span(one.tpr_interval)}; by"
            " Fisher's exact test so many may be called so by chance)."
        )
        groups["none"] = [one for one in groups["none"] if one not in few]
    if groups["none"]:
        count = len(groups["none"])
        sentences.append(
            f"{listed([one.name for one in groups['none']])} {'is' if count == 1 else 'are'} not recognised through"
            f" {'its map' if count == 1 else 'their maps'}: {'it needs' if count == 1 else 'they need'} more of the"
            " spectrum, or a longer search."
        )
    if clean is not None and clean.still is not None and int(clean.correct.sum()):
        hits, trials = int(clean.still.sum()), int(clean.correct.sum())
        sentences.append(
            f"Of the {trials:,} images that are recognised whole, {hits:,} ({percent(hits / trials)}) are still"
            " recognised through the map of their class."
        )
    return [sentence for sentence in sentences if sentence]


def rates_words(one):
    """TPR, FPR and the share of frequencies of one class, with intervals."""
    return (
        f"TPR {percent(one.tpr)} (95% interval {span(one.tpr_interval)}), FPR {percent(one.fpr)}"
        f" ({span(one.fpr_interval)}), with {percent(one.kept, 1)} of the frequencies"
    )


def span(interval):
    return f"{percent(interval[0])}–{percent(interval[1])}"


def selection_cautions(found):
    """What the reader of a search's own rates must know."""
    fewest = min((one.positives for one in found if one.positives), default=0)
    return [
        "The maps were chosen on the very images on which these rates are measured, so they are too good."
        f"{steps_of(fewest)} Test them on other images."
    ]


def steps_of(fewest):
    """What few images do to a rate, as a sentence with a blank before it; nothing from 100 images of a class on.

    Example:
        >>> steps_of(20)
        ' A class has as few as 20 images: its rates come in steps of 5%.'
        >>> steps_of(1), steps_of(100)
        (' A class has one image: its TPR is 0% or 100%.', '')
    """
    if not 0 < fewest < 100:
        return ""
    if fewest == 1:
        return " A class has one image: its TPR is 0% or 100%."
    step = percent(1 / fewest, 0 if 100 % fewest == 0 else 1)
    return f" A class has as few as {fewest} images: its rates come in steps of {step}."


def weights_cautions(record):
    """A network that was never trained has no shortcuts to find, one that is asked otherwise than trained none of its
    own."""
    model = record.get("model", {})
    known = model.get("source") in ("built-in", "timm")
    cautions = [f"{doubt}." for doubt in model.get("doubts") or ()]
    if known and not (model.get("weights") or model.get("pretrained") or model.get("trained")):
        cautions.insert(
            0, f"{model.get('name')} has random weights: nothing on this page says anything about a trained network."
        )
    return cautions


def clean_cautions(clean):
    """What whole images say against the network being the one that was meant."""
    return [] if clean is None else clean.cautions()


def same_maps(classes, masks):
    """Classes whose maps are one and the same: what is found through it says nothing of either alone."""
    groups = {}
    for name, mask in zip(classes, masks, strict=True):
        groups.setdefault(mask.numpy().tobytes(), []).append(name)
    twins = [names for names in groups.values() if len(names) > 1]
    if not twins:
        return []
    words = "; ".join(listed(names) for names in twins[:3])
    more = f", and {len(twins) - 3} more such groups" if len(twins) > 3 else ""
    return [f"The same map, bin by bin, was found for {words}{more}: such a map is no class's own."]


def more_than_asked(level, found):
    """Says what is kept where that is not the share that was asked for: cells come whole, and ties together."""
    kept = sorted(one.kept for one in found if one.kept == one.kept)
    if not kept or (abs(kept[0] - level) < 0.1 * level and abs(kept[-1] - level) < 0.1 * level):
        return []
    low, high = percent(kept[0], 1), percent(kept[-1], 1)
    words = low if low == high else f"{low} to {high}"
    return [
        f"{percent(level, 1)} of the frequencies were asked for, {words} are kept: a cell of frequencies goes in or out"
        " as a whole, with all that tie with it, and each with its mirror image."
    ]


def planted_bins(data):
    """The planted bins of a synthetic set, class -> bool [H, W], or None."""
    if data.get("source") != "synthetic":
        return None
    from freqkit.data import synthetic

    truth = synthetic(data["variant"], images_per_class=1, size=data["size"][0]).truth
    # only the planted set of C0 is a shortcut; the others' bins fill whole bands
    return {name: bins for name, bins in truth.items() if int(bins.sum()) <= bins.shape[0]}


def model_rows(record):
    model, data = record.get("model", {}), record.get("data", {})
    rows = []
    if model:
        classes = f", {model['num_classes']} classes" if model.get("num_classes") else ""
        rows.append(("Model", f"{model.get('name', '–')}{classes}"))
        weights = model.get("weights")
        if isinstance(weights, dict):
            rows.append(("Weights", str(weights.get("file"))))
        elif model.get("trained"):
            rows.append(("Weights", f"trained here, {model['trained'].get('epochs')} epochs"))
        elif model.get("pretrained"):
            rows.append(("Weights", "published by timm"))
    if data:
        side = "×".join(str(n) for n in data.get("size", []))
        source = data.get("root") or data.get("source") or "–"
        rows.append(("Images", f"{data.get('images', 0):,} of {source}{', ' + side + ' px' if side else ''}"))
        subset = data.get("subset")
        if isinstance(subset, dict):
            rows.append(("Part of the set", ", ".join(f"{key} {value}" for key, value in subset.items())))
        if data.get("limit_per_class"):
            rows.append(("Limit", f"{data['limit_per_class']} images per class"))
        if data.get("split_fraction"):
            rows.append(("Split", f"{percent(data['split_fraction'])} of each class"))
    return rows


def cost_rows(record):
    rows = []
    forwards, seconds = record.get("forwards"), record.get("seconds")
    work, unit = forwards, "forwards"
    if forwards:
        rows.append(("Model forwards", f"{forwards:,}"))
    if record.get("backwards"):
        rows.append(("Model backwards", f"{record['backwards']:,}"))
        work, unit = forwards + 2 * record["backwards"], "forward-equivalents"
        rows.append(("Forward-equivalents", f"{work:,} (a backward counts two)"))
    if record.get("forwards_saved"):
        rows.append(("Forwards saved by stopping and equal masks", f"{record['forwards_saved']:,}"))
    if seconds:
        rows.append(("Wall time", duration(seconds)))
        if forwards:
            rows.append(("Speed", f"{work / seconds:,.0f} {unit}/s"))
        if record.get("seconds_in_model") and not _of_one_session(record):
            rows.append(("In the model", percent(record["seconds_in_model"] / seconds)))
    if record.get("device"):
        count = record.get("threads")
        threads = f", {count} thread{'s' if count > 1 else ''}" if count else ""
        rows.append(("Device", f"{record['device']}{threads}"))
    if record.get("sessions", 1) > 1:
        rows.append(("Sessions", f"{record['sessions']} (resumed)"))
    return rows


def _of_one_session(record):
    """Whether the seconds in the model are those of the last session alone, as in runs of before 1.1 that went on."""
    return record.get("sessions", 1) > 1 and not record.get("seconds_of_all_sessions")


def duration(seconds):
    """3725 -> '1 h 2 min'.

    Example:
        >>> duration(3725), duration(75), duration(4.26)
        ('1 h 2 min', '1 min 15 s', '4.3 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"


def provenance_rows(record):
    rows = []
    versions = record.get("identity", {}).get("versions") or record.get("versions") or {}
    if versions:
        rows.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    weights = record.get("model", {}).get("state_sha256")
    if weights:
        rows.append(("Weights (SHA-256)", weights[:16] + "…"))
    data = record.get("data", {}).get("fingerprint")
    if data:
        rows.append(("Images (fingerprint)", data[:16] + "…"))
    return rows


def _show(name, value):
    """A number of a further column: losses in nats, counts, and shares in percent."""
    if isinstance(value, int):
        return f"{value:,}"
    return number(value) if "loss" in name else percent(value, 1 if "%" in name else 0)  # asked intervals to a tenth


def _known(value):
    """A number to sort by, None when it is not one."""
    return value if value is not None and value == value and abs(value) != float("inf") else None


def _finite(value):
    known = _known(value)
    return -2.0 if known is None else known
