"""Pass curves on a page."""

import math

from freqkit.measures.pass_curves import FILTERS, FORMAT, PassCurvesResult, known, some_of, with_interval
from freqkit.measures.pass_curves.figure import place_of, plot_pass_curves, span_of
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.svg import percent
from freqkit.report.words import clean_cautions, clean_rows, span, weights_cautions


@part(files_of(FORMAT))
def pass_curves_part(path, record):
    """How much of the clean accuracy low, high and single bands of frequencies carry."""
    result = PassCurvesResult.load(path)
    about = result.record if record is None else {**result.record, **record}
    accuracy, limits, ratio, ratio_limits = result.shares()
    clean, shown = (
        result.clean,
        [k for kind in FILTERS for k in some_of([k for k, one in enumerate(result.filters) if one == kind])],
    )
    sentences = [f"Whole, {percent(clean.accuracy, 1)} of the images are recognised."]
    sentences += [_half(result, kind, ratio[:, 0]) for kind in ("low", "high") if kind in result.filters]
    if "band" in result.filters:
        best = max((k for k, kind in enumerate(result.filters) if kind == "band"), key=lambda k: float(accuracy[k, 0]))
        sentences.append(f"Of single bands the one {span_of(result.edges[best].tolist())} tells most:"
                         f" {percent(accuracy[best, 0], 1)} ({span(limits[best, 0].tolist())}).")  # fmt: skip
    if result.means:
        words = "; ".join(f"{name} {with_interval(*values, 3)}" for name, values in result.means.items())
        sentences.append(f"Means of ratios to clean accuracy (95% intervals over images): {words}.")
    if result.definition["encoding"] != "raw" and "high" in result.filters:
        sentences.append(f"Filtered pixels were encoded ({result.definition['encoding']}), which changes high-pass"
                         " accuracy much.")  # fmt: skip
    each = [
        [
            Cell(kind), Cell.of(cutoff, f"{cutoff:g}"), Cell(span_of(edges)),
            Cell.of(known(float(accuracy[k, 0])), f"{percent(accuracy[k, 0], 1)}, {span(limits[k, 0].tolist())}"),
            Cell.of(known(float(ratio[k, 0])), f"{ratio[k, 0]:.3f}, {ratio_limits[k, 0, 0]:.3f} … "
                    f"{ratio_limits[k, 0, 1]:.3f}" if clean.accuracy else "–"),
        ]
        for k, (kind, cutoff, edges) in enumerate(
            zip(result.filters, result.cutoffs.tolist(), result.edges.tolist(), strict=True))
    ]  # fmt: skip
    tpr = dict(zip(clean.classes, clean.tpr.tolist(), strict=True))
    classes = [
        [Cell(name), Cell.of(tpr.get(name), percent(tpr.get(name))),
         *(Cell.of(known(float(accuracy[k, c + 1])), percent(float(accuracy[k, c + 1]))) for k in shown)]
        for c, name in enumerate(result.classes) if name in tpr
    ]  # fmt: skip
    bands = ", and band-pass filters what lies between two" if "band" in result.filters else ""
    draw = drawing(lambda axis: plot_pass_curves(result, axis), 7.2, 3.6, _alt(result, accuracy), narrow=3.4)
    sections = [
        Section("Filters", [Table(
            [("filter", "left", "pass-curves"), ("cut-off", "right", "cutoff"), ("kept", "left", "pass-curves"),
             ("recognised, 95% interval", "right", "pass-curves"), ("ratio, 95% interval", "right", "ratio")],
            each)],
            f"Cut-offs are shares of half the shorter side. Filters: {result.definition['quantity']}. The interval of a"
            " ratio is that of two shares of the same images.", key="filters"),
        Section("Classes", [Table(
            [("class", "left", None), ("clean TPR", "right", "clean TPR"),
             *((result.names[k], "right", "pass-curves") for k in shown)], classes, search=True)],
            "Share of each class's images that are recognised, whole and through some of the filters; the table beside"
            " the file has all.", key="classes-through-filters"),
    ]  # fmt: skip
    return Part(
        "What low and high frequencies tell", sentences,
        [(percent(clean.accuracy, 1), "recognised, whole images"),
         *((f"{values[0]:.2f}", name) for name, values in result.means.items() if values[0] is not None)],
        [*model_rows(about), *clean_rows(clean), ("Filters", result.definition["quantity"]),
         ("Preset", result.definition.get("preset", "–"))],
        sections, cost_rows(about), provenance_rows(about), weights_cautions(about) + clean_cautions(clean),
        hero=[draw], hero_how="Share of all images recognised when low-pass filters keep what lies below the cut-off,"
        f" high-pass filters what lies above it{bands}; bands of colour: 95% intervals.",
        order=31, subtitle="Pass curves", clean=clean,
    )  # fmt: skip


def _half(result, kind, ratio):
    """Where half of the clean accuracy is kept."""
    at = [k for k, one in enumerate(result.filters) if one == kind and float(ratio[k]) >= 0.5]
    if not at:
        return f"No {kind}-pass filter that was tried keeps half of that."
    k = min(at, key=lambda k: result.edges[k, 1]) if kind == "low" else max(at, key=lambda k: result.edges[k, 0])
    left = percent(result.accuracy[k + 1], 1)
    return f"Half of that is kept by frequencies {_words_of(result.edges[k].tolist())} ({left})."


def _words_of(edges):
    low, high = edges
    return f"from {low:g} cycles/image up" if math.isinf(high) else f"below {high:g} cycles/image"


def _alt(result, accuracy):
    ends = []
    for kind in FILTERS:
        at = [k for k, one in enumerate(result.filters) if one == kind]
        if at:
            ends.append(f"{kind}-pass {percent(accuracy[at[0], 0])} at {place_of(result, at[0]):g} and"
                        f" {percent(accuracy[at[-1], 0])} at {place_of(result, at[-1]):g} cycles/image")  # fmt: skip
    return f"Accuracy over the cut-off; {'; '.join(ends)}."
