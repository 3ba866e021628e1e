"""The critical band on a page."""

from freqkit.measures.critical_band import ENDS, FORMAT, HUMAN, MEASURED, WORDS, CriticalBandResult, sentences_of
from freqkit.measures.critical_band.figure import fit_on, plot_critical_band
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.svg import number, percent
from freqkit.report.words import span, weights_cautions
from freqkit.statistics import wilson


@part(files_of(FORMAT))
def critical_band_part(path, record):
    """In which band of frequencies noise hides objects."""
    result = CriticalBandResult.load(path)
    about = result.record if record is None else {**result.record, **record}
    found, (hits, trials) = result.values_found, result._by_class()
    matrix, limits = result.accuracy, wilson(hits[:, 0], trials[:, 0], result.definition["confidence"])
    low, high = (result._matrix(one) for one in limits.T)
    plain = float(matrix[0, 0])
    sentences = [f"Grey and at a contrast of {percent(result.definition.get('contrast', 0.2))}, without noise,"
                 f" {percent(plain, 1)} of the images are recognised.", *sentences_of(result, found)]  # fmt: skip
    grid = [
        [Cell.of(c, f"{c:g}"), Cell.of(m, f"{m:.3g}"),
         *(Cell.of(float(one), f"{percent(float(one), 1)}, {span((float(least), float(most)))}")
           for one, least, most in zip(matrix[1:, b], low[1:, b], high[1:, b], strict=True)),
         Cell.of(raw, str(raw)), Cell.of(norm, str(norm))]
        for b, (c, m, raw, norm) in enumerate(
            zip(result.centres.tolist(), result.medians.tolist(), *map(result.thresholds, (False, True)), strict=True))
    ]  # fmt: skip
    fits = [
        [Cell(f"{name}{end}"), Cell(f"{WORDS[name][0]}{f', {WORDS[name][1]}' if WORDS[name][1] else ''}"),
         Cell.of(found[f"{name}{end}"], number(found[f"{name}{end}"], 4) if found[f"{name}{end}"] is not None
                 else "undefined"),
         Cell(_limits(result.intervals.get(f"{name}{end}"))),
         Cell(f"{HUMAN[name][0]:g} ± {HUMAN[name][1]:g}; all together {HUMAN[name][2]:g}")]
        for end in reversed(ENDS) for name in MEASURED
    ]  # fmt: skip
    share = hits.double() / trials
    bands, deviations = len(result.centres), len(result.deviations)
    noisy = share[1 : 1 + bands * deviations].view(bands, deviations, -1).mean(1)
    classes = [
        [Cell(name), Cell.of(float(share[0, c]), percent(float(share[0, c]))),
         *(Cell.of(float(value), percent(float(value))) for value in noisy[:, c])]
        for c, name in enumerate(result.classes, 1) if int(trials[0, c])
    ]  # fmt: skip
    alt = f"Accuracy over the band of the noise, for {deviations} strengths; without noise {percent(plain)}."
    steps = ", ".join(map(str, result.thresholds(True)))
    sections = [
        Section("Bands", [Table(
            [("centre", "right", "critical-band"), ("median of the power", "right", "critical-band"),
             *((f"sd {sd:g}", "right", "critical-band") for sd in result.deviations.tolist()),
             ("threshold", "right", "critical-band"), ("normalised", "right", "critical-band")], grid)],
            "Nominal centre and measured median of each band's noise, cycles/image; share of the images recognised at "
            "each standard deviation of the noise, with 95% intervals; how many of the strongest noises are too much.",
            key="bands"),
        Section("The band", [
            drawing(lambda axis: fit_on(axis, result), 5.2, 3.0, f"Normalised thresholds of the bands: {steps}."),
            Table([("name", "left", "critical-band"), ("", "left", "critical-band"),
                   ("value", "right", "critical-band"),
                   ("95% interval over images", "left", "critical-band"), ("people", "left", "critical-band")], fits)],
            "Marks: thresholds; curves: the bells fitted to them; grey: the band of people, mean of 14 observers.",
            key="band"),
        Section("Classes", [Table(
            [("class", "left", None), ("no noise", "right", "critical-band"),
             *((f"{c:g}", "right", "critical-band") for c in result.centres.tolist())], classes, search=True)],
            "Share of each class's images recognised without noise, and on the mean of all strengths in noise of each "
            "band (nominal centres, cycles/image).", key="classes-in-noise"),
    ]  # fmt: skip
    return Part(
        "In which band of frequencies noise hides objects", sentences,
        [(percent(plain, 1), "recognised at low contrast"),
         *((number(found[f"{name}_norm"]), WORDS[name][0]) for name in MEASURED if found[f"{name}_norm"] is not None)],
        [*model_rows(about), ("Answers", result.definition["quantity"])], sections, cost_rows(about),
        provenance_rows(about), weights_cautions(about),
        hero=[drawing(lambda axis: plot_critical_band(result, axis), 7.2, 3.6, alt, narrow=3.4)],
        hero_how="Share of all images recognised in noise of one octave band, for each standard deviation of the noise;"
        " bands of colour: 95% intervals.", order=33, subtitle="Critical band",
    )  # fmt: skip


def _limits(interval):
    if interval is None or interval[0] is None:
        return "undefined"
    low, high, share = interval
    return f"{number(low)} to {number(high)}" + (
        f", defined in {percent(share)} of the redrawings" if share < 1 else ""
    )
