"""What a study puts on the page: which biases go with which scores, how sure that is, and every model."""

from freqkit.measures.correlation import TOTAL, WITH_ADDED, StudyResult
from freqkit.measures.correlation.figures import AMONG, SCATTER, curves, heat_map, keys, scatter
from freqkit.measures.correlation.quantities import BIASES, CLEAN, CORRECTIONS, SCORES
from freqkit.report import figures
from freqkit.report.blocks import Cell, Panels, Part, Section, Table
from freqkit.report.inline import DPI, chart, drawing
from freqkit.report.pages import files_of, part
from freqkit.report.provenance import provenance_rows
from freqkit.report.svg import number, signed
from freqkit.report.words import listed
from freqkit.text import shorten

NAMED = 4  # relations that a sentence names
LETTERS = 40  # of a model's name
COLUMN, HEIGHT = 0.5, 1.75  # inches of a column of a heat map, and of a map
PANEL = (2.45, 2.3)  # of a scatter plot, four in a row


@part(files_of("freqkit-study-1"))
def study_part(path, record):
    """A finished `freqkit study`."""
    result = StudyResult.load(path)
    known = [one for one in result.published if one["p"] is not None]
    sure = [one for one in known if one["p"] < result.definition["alpha"]]
    held = [one for one in known if one["holm"] < result.definition["alpha"]]
    wrong = [one for one in result.checks if one["verdict"] == "wrong"]
    sections = [
        _heat_maps(result), _bias_by_bias(result), _scatters(result), _curves(result), _relations(result),
        _models(result), _checks(result),
    ]  # fmt: skip
    return Part(
        "Do biases tell how well models generalise?",
        verdict(result),
        [(str(result.record["models"]), "models"),
         (f"{len(sure)} of {len(known)}", "relations significant, one by one"),
         (str(len(held)), "after Holm's correction")],
        _asked(result), [one for one in sections if one is not None],
        [("Relations", f"{len(result.correlations) + len(result.biases)}"),
         ("Resamples of each interval", f"{result.definition['resamples']:,}")],
        provenance_rows(result.record),
        [f"{one['what']}: {one['found']}" for one in wrong] + result.notes, order=36, subtitle="Many models",
    )  # fmt: skip


def verdict(result) -> list[str]:
    """What is found: what survives correction, what hangs on few models, what clean accuracy tells already."""
    level, found = result.definition["alpha"], [one for one in result.published if one["p"] is not None]
    sure = [one for one in found if one["p"] < level]
    false, family = ([one for one in sure if one[name] < level] for name in ("bh", "holm"))
    sentences = [
        f"Of {len(found)} relations between a bias and a score {len(sure)} are significant one by one (p below"
        f" {level:g}); {len(false)} stay so when false discoveries are controlled (Benjamini-Hochberg), {len(family)}"
        " when a single false finding is (Holm)."
        + (f" The surest: {_named(sorted(family, key=lambda one: one['holm']))}." if family else "")
    ]  # fmt: skip
    lost = [one for one in sure if one["bh"] >= level]
    if lost:
        sentences.append(f"Lost already to the first correction: {_named(lost)}.")
    sentences += [_across(result, sure), *_hanging(result, sure)]
    fixed = [one for one in sure if one["partial_p"] is not None]
    if fixed:
        stay = [one for one in fixed if one["partial_p"] < level and (one["partial"] > 0) == (one["rho"] > 0)]
        turned = [one for one in fixed if one["partial_p"] < level and (one["partial"] > 0) != (one["rho"] > 0)]
        sentences.append(
            f"With clean accuracy held fixed {len(stay)} of {len(fixed)} stay significant"
            + (f", and {len(turned)} turn round" if turned else "") + "."
        )  # fmt: skip
    drawn = [one for one in sure if one["family_low"] is not None]
    if drawn and any(one["families"] < one["n"] for one in drawn):
        clear = [one for one in drawn if one["family_low"] > 0 or one["family_high"] < 0]
        sentences.append(
            f"When families of models are drawn in place of models, the interval of {len(clear)} of the {len(drawn)}"
            " that have one leaves out 0: variants of one recipe are no independent witnesses."
        )
    return sentences + _with_added(result, level)


def _with_added(result, level):
    """What changes when the added models count, too."""
    if not result.added:
        return []
    before = {(one["bias"], one["score"]): one for one in result.published if one["group"] == TOTAL}
    changed = [
        f"{_pair(before[one['bias'], one['score']])} becomes {signed(one['rho'])}"
        for one in result.correlations
        if one["group"] == WITH_ADDED and one["p"] is not None
        and (was := before[one["bias"], one["score"]])["p"] is not None and (one["p"] < level) != (was["p"] < level)
    ]  # fmt: skip
    names = listed([shorten(name, LETTERS) for name in result.added], NAMED)
    words = "none becomes significant or ceases to be so"
    if changed:
        words = f"these become significant or cease to be so: {listed(changed, NAMED)}"
    return [f"None of this counts {names}. With them, of the {len(before)} relations over all models {words}."]


def _across(result, sure):
    """Whether a bias goes the same way with every score in every group."""
    steady = []
    cells = len(SCORES) * len({one["group"] for one in result.published})
    for bias in BIASES:
        own = [one["rho"] > 0 for one in sure if one["bias"] == bias]
        if len(own) == cells and len(set(own)) == 1:
            steady.append(bias)
    if steady:
        return f"In all groups {listed(steady)} goes the same way with every score."
    best = {bias: sum(one["bias"] == bias for one in sure) for bias in BIASES}
    name = max(best, key=lambda bias: best[bias])
    same = len({one["rho"] > 0 for one in sure if one["bias"] == name}) == 1
    return (
        f"No bias goes the same way with all {len(SCORES)} scores in all groups; {name} comes nearest, significant in"
        f" {best[name]} of {cells} cells{'' if same else ', not of one sign'}."
    )


def _hanging(result, sure):
    """Which significant relations are so no longer without a few models."""
    most = result.definition["leave_out"]
    weak = sorted((one for one in sure if one["hangs_on"]), key=lambda one: len(one["hangs_on"]))
    if not most:
        return []
    models = "one model" if most == 1 else f"{most} models or fewer"
    if not weak:
        return [f"None of them hangs on {models}."]
    shown = [f"{_pair(one)} without {listed([shorten(name, LETTERS) for name in one['hangs_on']])}"
             for one in weak[:NAMED]]  # fmt: skip
    return [f"{len(weak)} hang on {models}, without which p is {result.definition['alpha']:g} or more: "
            f"{'; '.join(shown)}{f'; and {len(weak) - NAMED} more' if len(weak) > NAMED else ''}."]  # fmt: skip


def _pair(one):
    return f"{one['bias']} and {one['score']} ({one['group']}, {signed(one['rho'])})"


def _named(some):
    return listed([_pair(one) for one in some], NAMED)


def _heat_maps(result):
    width, height = 1.15 + COLUMN * len(result.groups), HEIGHT
    drawings = []
    for bias in BIASES:
        alt = f"Rank correlations of {bias} with four scores in {len(result.groups)} groups of models."
        drawings.append(
            (bias, chart(lambda axis, bias=bias: _map(axis, result, bias), width, height, alt, "chart whole"))
        )
    how = (
        "Rows: scores; columns: groups of models. Blue: models of a larger bias score higher; orange: lower. In"
        f" brackets: not significant by itself (p {result.definition['alpha']:g} or more). Point at a square for its"
        " interval."
    )
    return Section("Biases and scores", [Panels(drawings, wide=round(width * DPI))], how, key="correlations")


def _map(axis, result, name):
    heat_map(axis, result, name)
    for label in axis.get_xticklabels():
        label.set(rotation=0, ha="center", va="top")


def _bias_by_bias(result):
    side = 1.15 + COLUMN * len(BIASES)
    alt = "Rank correlations of the biases with each other, over all models."
    grid = chart(lambda axis: _map(axis, result, AMONG), side, 0.5 + 0.36 * len(BIASES), alt, "chart whole")
    return Section("Bias by bias", [Panels([("all models", grid)], wide=round(side * DPI))],
                   "As above, of two biases: where they go together, a score cannot tell them apart.",
                   key="biases")  # fmt: skip


def _scatters(result):
    blocks = [drawing(lambda axis: _key(axis, result), 8, 0.9, "Colours of the categories of models.", narrow=1.9)]
    rho = {(one["bias"], one["score"], one["group"]): one["rho"] for one in result.correlations}
    group = next(iter(result.groups))
    for bias in SCATTER:
        drawings = []
        for score in SCORES:
            if (result.values_of(bias) + result.values_of(score)).isnan().all():
                continue
            value = rho[bias, score, group]
            words = f"{bias}, {score}" + ("" if value is None else f": {signed(value)}")
            alt = f"Models by {bias} and {score}; rank correlation {'undefined' if value is None else signed(value)}."
            drawn = chart(lambda axis, pair=(bias, score): scatter(axis, result, *pair), *PANEL, alt)
            drawings.append((words, drawn))
        blocks += [Panels(drawings, wide=270, least=270)] * bool(drawings)
    how = (
        "A mark is a model, its colour the category, its name shown when it is pointed at; of adversarially trained"
        " ones circles are L2, squares L-infinity, larger the wider they were attacked."
        + (" Stars are the models that were added." if result.added else "")
    )
    return Section("Models by bias and score", blocks, how, key="scatter")


def _key(axis, result):
    axis.set_axis_off()
    figures.legend(axis, keys(result))


def _curves(result):
    if result.ratios.isnan().all():
        return None
    drawings = []
    for side, name in enumerate(("low-pass", "high-pass")):
        alt = f"Accuracy below {name} filters as a share of clean accuracy, a line for each model."
        drawings.append((name, chart(lambda axis, side=side: curves(axis, result, side), 5.2, 3.2, alt)))
    how = (
        "Accuracy below a filter as a share of clean accuracy; right: more of the spectrum is left. LPP and HPP are the"
        " means over cut-offs 10 to 50. Colours as above; a line's model is shown when it is pointed at."
    )
    return Section("Accuracy below filters", [Panels(drawings, wide=480)], how, key="filters")


def _relations(result):
    columns = [("relation", "left", "rank correlation"), ("group, models", "left", "apart"),
               ("rho", "right", "rank correlation"), ("p", "right", "p-value"), ("interval", "right", "interval"),
               ("over families", "right", "families"), ("partial", "right", "partial correlation"),
               ("B-H", "right", "corrected p"), ("Holm", "right", "corrected p"), ("without one", "right", "hangs on"),
               ("hangs on", "left", "hangs on")]  # fmt: skip
    alpha, most = result.definition["alpha"], result.definition["leave_out"]
    rows = []
    for one in (*result.correlations, *result.biases):
        hanging, partial = one["hangs_on"], one["partial"]
        on = "" if hanging is None else listed([shorten(name, LETTERS) for name in hanging]) if hanging else "none"
        fixed = "–" if partial is None else signed(partial)
        fixed = f"({fixed})" if one["partial_p"] is not None and one["partial_p"] >= alpha else fixed
        rows.append([
            Cell(f"{one['bias']}, {one['score']}"), Cell(f"{one['group']}, {one['n']}"), _signed(one["rho"]),
            _p(one["p"]), _span(one["low"], one["high"]), _span(one["family_low"], one["family_high"]),
            Cell.of(partial, fixed), _p(one["bh"]), _p(one["holm"]), _span(one["without_low"], one["without_high"]),
            Cell.of(None if hanging is None else len(hanging) or 99, on),
        ])  # fmt: skip
    how = (
        f"Spearman's rho and its two-sided p; {result.definition['confidence']:.0%} intervals over resampled models,"
        " and over resampled families; partial: clean accuracy held fixed, in brackets where that is not significant;"
        " B-H, Holm: p corrected for all relations that were asked together; without one: rho with any one model left"
        " out; hangs on: the fewest models without which the relation is not significant"
        + (f", none: no {most} of them." if most else " (not asked).")
    )
    return Section("Relations", [Table(columns, rows, search=True)], how, key="relations")


def _models(result):
    names = [name for name in result.names if name != "mCE"]
    columns = [("model", "left", None), ("category", "left", "study")]
    brief = {CLEAN: "clean", "Robustness": "Robust.", "Adversarial": "Adv."}
    columns += [(brief.get(name, name), "right", "clean accuracy" if name == CLEAN else "study") for name in names]
    rows, composites = [], result.composites
    for model, kind in zip(result.models, result.categories, strict=True):
        known = composites[model]
        numbers = [Cell.of(known[name], number(known[name])) for name in names]
        rows.append([Cell(model), Cell(kind.replace("_", " ")), *numbers])
    how = (
        "Scores and clean accuracy in percent; biases as they were measured; all to three digits, study-models.csv has"
    )
    return Section("Models", [Table(columns, rows, search=True)], f"{how} the others.", key="models")


def _checks(result):
    if not result.checks:
        return None
    rows = [[Cell(one["what"]), Cell(one["verdict"]), Cell(one["found"])] for one in result.checks]
    columns = [("column", "left", "check"), ("verdict", "left", None), ("found", "left", None)]
    return Section("Is the table what it says?", [Table(columns, rows)],
                   "Rates of so many images are whole numbers of them; good: all are. Notes tell what is to be known.",
                   key="checks")  # fmt: skip


def _asked(result):
    asked = result.definition
    rows = [("Tables", listed(result.record["sources"]))] if result.record.get("sources") else []
    rows += [(name, f"{len(models)} models") for name, models in result.groups.items()]
    if result.added:
        rows.append(("Added", listed(result.added)))
    rows += [("Mended", CORRECTIONS[name]) for name in asked["mend"]]
    return [*rows, ("Significant", f"p below {asked['alpha']:g}"), ("Left out at most", f"{asked['leave_out']} models"),
            ("Seed", str(asked["seed"]))]  # fmt: skip


def _signed(value):
    return Cell.of(value, "–" if value is None else signed(value))


def _p(value):
    return Cell.of(value, number(value, 2))


def _span(low, high):
    known = low is not None and high is not None
    return Cell.of(high - low if known else None, f"{signed(low)}…{signed(high)}" if known else "–")
