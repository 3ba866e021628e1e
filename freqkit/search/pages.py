"""What searches put on the page: the hierarchical search, removal and gradient ranking, the demonstration."""

from freqkit.errors import UsageError
from freqkit.files.reading import COUNT, Number, read_json
from freqkit.files.whole import CLEAN
from freqkit.report import figures
from freqkit.report.advice import test_of
from freqkit.report.blocks import Cell, Drawing, Facts, Part, Section, Table
from freqkit.report.examples import examples_section
from freqkit.report.inline import drawing
from freqkit.report.pages import named, part
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.rates import rates_figure
from freqkit.report.readings import readings
from freqkit.report.sections import against_section, class_table, gallery, kept_maps
from freqkit.report.svg import data_uri, number, percent, plane, plane_png
from freqkit.report.words import (
    clean_cautions,
    clean_rows,
    few_cautions,
    headline,
    listed,
    more_than_asked,
    random_cautions,
    same_maps,
    selection_cautions,
    verdict,
    weights_cautions,
)
from freqkit.results.clean import CleanRates
from freqkit.results.figures import search_curves
from freqkit.search.plan import method_of


@part(lambda path: [path] if path.is_dir() and any(path.glob("stage-*.safetensors")) else [])
def search_part(path, record):
    """The hierarchical search: maps, rates, examples and the course of the losses."""
    from freqkit.results import SearchResult, StageResult
    from freqkit.results.search_result import unlike_published

    record = record or {}
    done = record.get("stages_done", [])
    if not done:
        return None
    stages = [StageResult.load(path / f"stage-{n}.safetensors") for n in done]
    finished = record.get("status") == "finished"
    tested = SearchResult.load_test(path, record, stages[-1].scores.classes) if finished else None
    result = SearchResult.from_stages(stages, record, tested)
    found, (subtitle, where) = readings_of_search(result), where_of(result)
    planted = planted_bins(record.get("data", {}))
    columns = {"loss": result.rated(result.loss)[0].tolist(), **selected(result)}
    if len(set(result.stage.tolist())) > 1:
        columns["stage"] = result.stage.tolist()
    sections = [
        class_table(found, columns, clean=result.clean),
        random_section(found, result.tested),
        kept_maps(found, result.masks, planted),
        *examples_section(path),
        # The other searchers try masks that are a single class's: there is no pool to draw a curve over.
        losses_section(result) if record.get("identity", {}).get("search", "hfss") == "hfss" else None,
    ]
    cautions = weights_cautions(record) + clean_cautions(result.clean) + test_cautions(result, found)
    cautions += same_maps(result.classes, result.masks)
    if record.get("status") != "finished":
        cautions.insert(0, f"The search has not finished ({record.get('status')}): this is stage {done[-1]} of"
                        f" {len(record.get('identity', {}).get('stages', done))}.")  # fmt: skip
    identity = record.get("identity", {})
    asked = [*model_rows(record), *clean_rows(result.clean), *test_rows(result), *settings_rows(identity)]
    if (differs := record.get("differs_from_published")) is not None:
        asked.append(("Unlike the released code", unlike_published(differs) or "nothing that is on record"))
    name = record.get("model", {}).get("name", "the model")
    advice = advice_of(path, result, "dfm.safetensors")
    return Part(
        f"Frequency shortcuts of {name}", verdict(found, clean=result.clean, where=where),
        headline(found, result.clean), asked, [s for s in sections if s],
        cost_rows(record), provenance_rows(record), cautions, order=20,
        subtitle=subtitle, found=found, masks=result.masks, clean=result.clean,
        advice=advice, **rates_figure(found),
    )  # fmt: skip


@part(named("removal.safetensors"))
def removal_part(path, record):
    """The removal or gradient search: what losing a frequency costs, and the maps of the costliest."""
    import numpy as np

    from freqkit.results import RemovalResult
    from freqkit.results.removal_result import dfm_name

    if (record or {}).get("status") != "finished":
        return None
    result = RemovalResult.load(path)
    found, (subtitle, where) = readings_of_search(result), where_of(result)
    columns = {"loss": result.rated(result.mask_loss)[0].tolist(), "unfiltered loss": result.baseline.tolist()}
    increase = result.maps("increase").numpy()
    scale = np.array([np.nanpercentile(np.abs(one), 99) if np.isfinite(one).any() else 1.0 for one in increase])
    scale = np.where(scale > 0, scale, 1.0)
    size = tuple(increase.shape[1:])
    maps = []
    for i, name in enumerate(result.classes):
        facts = f"full colour: ±{number(scale[i], 2)} nats"
        alt = f"What removing a frequency costs {name}: blue where its loss grows, orange where it falls."
        maps.append((name, facts, alt, increase[i] / scale[i]))
    identity = record.get("identity", {})
    estimated = identity.get("search") == "gradient"
    sections = [
        class_table(found, {**columns, **selected(result)}, key="dfm-classes", clean=result.clean),
        random_section(found, result.tested),
        kept_maps(found, result.masks, planted_bins(record.get("data", {})), key="dfm",
                  title=f"Dominant frequency maps at {100 * result.level:g}% of the bins"),
        *examples_section(path),
        Section(
            "What removing a frequency costs",
            [gallery(maps, size, "cost", signed=True)],
            "Each bin is one frequency (with its conjugate partner). Blue: without it the class's loss rises, so the"
            " class leans on it; orange: the loss falls. Every map is scaled by its own 99th percentile."
            + (" Bins that were not measured show the estimate from gradients." if estimated else ""),
            key="cost",
        ),
    ]  # fmt: skip
    asked = [
        *model_rows(record),
        *clean_rows(result.clean),
        *test_rows(result),
        ("Method", "removal of one frequency after the other" if not estimated else "ranking by gradients"),
        ("Preset", str(identity.get("preset", "–"))),
        ("Maps at", ", ".join(f"{100 * level:g}%" for level in result.levels)),
        ("Shown", f"{100 * result.level:g}%"),
    ]
    name = record.get("model", {}).get("name", "the model")
    cautions = weights_cautions(record) + clean_cautions(result.clean) + test_cautions(result, found)
    cautions += same_maps(result.classes, result.masks) + more_than_asked(result.level, found)
    return Part(
        f"Dominant frequencies of {name}", verdict(found, clean=result.clean, where=where),
        headline(found, result.clean), asked, [s for s in sections if s],
        cost_rows(record), provenance_rows(record), cautions, order=21,
        subtitle=subtitle.replace("searched", "ranked"), found=found, masks=result.masks, clean=result.clean,
        advice=advice_of(path, result, dfm_name(result.level)), **rates_figure(found),
    )  # fmt: skip


@part(named("demo.json"))
def demo_part(path, record):
    """The demonstration: how much of the planted shortcut was found again."""
    share = (Number(0, 1), None)
    one = {
        "class": str, "loss": (float, None), "coverage": Number(0, 1),
        **dict.fromkeys(("planted", "kept", "found"), COUNT),
        **dict.fromkeys(("clean tpr", "tpr", "fpr", "precision", "recall", "chance precision"), share),
        "enrichment": (float, None), "images?": COUNT, "others?": COUNT,
    }  # fmt: skip
    kinds = {"classes": [one], "accuracy?": share, "clean?": CLEAN}
    found = read_json(path / "demo.json", kinds, "what the demonstration found")
    if not found["classes"] or not found["classes"][0]["kept"]:
        raise UsageError(f"{path / 'demo.json'}: the first class must keep something.")
    row = found["classes"][0]
    highest = min(row["planted"], row["kept"]) / row["kept"]
    table = Table(
        [("class", "left", None), ("whole images, TPR", "right", "TPR"), ("through its map, TPR", "right", "TPR"),
         ("FPR", "right", "FPR"), ("loss", "right", "classwise loss"), ("kept", "right", "coverage")],
        [
            [Cell(one["class"], href=f"#map-{i}"),
             *(Cell.of(one[key], percent(one[key], 1)) for key in ("clean tpr", "tpr", "fpr")),
             Cell.of(one["loss"], number(one["loss"])), Cell.of(one["coverage"], percent(one["coverage"], 1))]
            for i, one in enumerate(found["classes"])
        ],
    )  # fmt: skip
    hero = {}
    planted = planted_bins((record or {}).get("data", {}))
    if planted and (path / "dfm.safetensors").is_file():
        from freqkit.masks import load_dfm

        dfm = load_dfm(path / "dfm.safetensors")
        mask, bins = dfm[row["class"]].numpy(), planted[row["class"]].numpy()
        alt = (
            f"Map of {row['class']}; {row['found']} of the {row['planted']} planted bins, outlined, are among the kept."
        )
        drawn = plane(mask.shape, alt, href=data_uri(plane_png(mask)), outlined=bins)
        hero = {
            "hero": [Drawing(drawn)],
            "hero_how": f"The plane of frequencies, DC at the cross. Blue: what the search kept for {row['class']}."
            " Outlined: what was planted, of which the search was told nothing.",
        }
    clean = CleanRates.of_record(found, *([one.get(key, DEMO_IMAGES) for one in found["classes"]]
                                          for key in ("class", "images")))  # fmt: skip
    own, *others = _demo_readings(found["classes"])
    others = [one.name for one in others if one.word != "shortcut"]
    sentences = [
        *([] if clean is None else [clean.sentence()]),
        f"{row['found']} of the {row['planted']} planted frequencies of {row['class']} were found again (recall"
        f" {percent(row['recall'])}; a blind map of the same size would hold {percent(row['coverage'])}).",
        f"On images that neither training nor search has seen, {row['class']} is recognised through"
        f" {percent(row['coverage'], 1)} of the frequencies in {percent(row['tpr'])} of its images, and"
        f" {percent(row['fpr'])} of the other images are taken for it:"
        f" {'a shortcut' if own.word == 'shortcut' else 'no clear shortcut'}.",
    ]
    if others:
        sentences.append(
            f"{listed(others)}: the interval of TPR − FPR does not lie above 50%, so few frequencies are not enough for"
            f" {'it' if len(others) == 1 else 'them'}, or the name is given whatever the image."
        )
    return Part(
        "The demonstration: a planted shortcut, found again",
        sentences,
        [(f"{row['found']} of {row['planted']}", "planted frequencies found"),
         (f"{row['enrichment']:.1f}×", "better than chance"), (percent(row["tpr"]), f"of {row['class']} recognised"),
         (percent(row["fpr"]), f"of the others taken for {row['class']}")],
        clean_rows(clean) if clean is not None else [],
        [Section("Unseen images, class by class", [table, Facts([
            ("Recall: planted bins that are kept", f"{row['found']} of {row['planted']} = {percent(row['recall'], 1)};"
             f" by chance {percent(row['coverage'], 1)}, at best 100%"),
            ("Precision: kept bins that are planted",
             f"{row['found']} of {row['kept']} = {percent(row['precision'], 1)};"
             f" by chance {percent(row['chance precision'], 1)}, at best {percent(highest, 1)}")])],
            "TPR: share of the class's images still recognised when only the map's frequencies are left. FPR: share of"
            " all other images that are then called this class. A shortcut has a high TPR and a low FPR.",
            key="unseen")],
        cautions=clean_cautions(clean), order=10, subtitle="On unseen images", **hero,
    )  # fmt: skip


def _demo_readings(rows):
    """`Reading`s of the demonstration's classes; files of older versions do not count the images: they are even."""
    columns = [[one[key] for one in rows] for key in ("class", "tpr", "fpr")]
    images = [one.get("images", DEMO_IMAGES) for one in rows]
    others = [one.get("others", DEMO_IMAGES * (len(rows) - 1)) for one in rows]
    return readings(*columns, images, others, [one["coverage"] for one in rows])


DEMO_IMAGES = 250  # unseen images of each class in demonstrations that do not count them
WORDS = {
    "candidates": "masks drawn per stage", "keep": "share of the cells kept", "top": "masks per class that go on",
    "risk": "risk to lose a true winner", "stopping": "when losing masks are stopped",
    "coverage": "share of the bins kept",
}  # fmt: skip
# Said elsewhere on the page, or of no interest to a reader.
UNSHOWN = {"search", "model", "data", "versions", "memory", "device", "class_index", "batch_size", "dtype", "form"}


def settings_rows(identity):
    """What a search was asked, from the part of run.json that names everything its result depends on."""
    method = identity.get("search", "hfss")
    rows = [("Method", method_of(method))]
    for name, value in identity.items():
        unused = (name == "risk" and not value) or (name == "stopping" and value == "never")
        if name in UNSHOWN or value is None or isinstance(value, (bool, dict)) or unused:
            continue
        if isinstance(value, list):
            value = ", ".join(f"{one:,}" if isinstance(one, int) else str(one) for one in value)
        rows.append((WORDS.get(name, name.replace("_", " ")).capitalize(), str(value)))
    return rows


def losses_section(result):
    """Best loss so far against the masks tried, class by class or as quantiles."""
    losses, stages = [stage.scores.loss for stage in result.stages], [stage.number for stage in result.stages]
    lowest = min((float(loss[loss.isfinite()].min()) for loss in losses if loss.isfinite().any()), default=None)
    if lowest is None:
        return None
    few, images = len(result.classes) <= figures.NAMED_LINES, result.stages[-1].scores.images
    drawn = drawing(
        lambda axis: search_curves(losses, result.classes, axis, stages=stages), 8.2, 3.6,
        f"Lowest loss of each class against the masks tried, over {len(stages)} stages.", narrow=4.2 if few else None,
    )  # fmt: skip
    how = (
        "How low the loss of each class's best mask is after so many masks, each tried on"
        f" {images:,} images; it starts anew at every stage, whose masks"
        " are finer and keep less. A flat end means that more masks of this kind would hardly help; a falling one that"
        " they would. Logarithmic."
        + ("" if few else " The line is the median class, the band the middle half of the classes.")
    )
    return Section("The search", [drawn], how, key="search")


def planted_bins(data):
    """The planted bins of a synthetic set, class -> bool [H, W], or None."""
    if data.get("source") != "synthetic":
        return None
    from freqkit.data import synthetic

    truth = synthetic(data["variant"], images_per_class=1, size=data["size"][0]).truth
    # only the planted set of C0 is a shortcut; the others' bins fill whole bands
    return {name: bins for name, bins in truth.items() if int(bins.sum()) <= bins.shape[0]}


def readings_of_search(result):
    """`Reading`s of a `SearchResult` or `RemovalResult`, on held-out images where there are such, else on those that it
    searched."""
    kept = [row["coverage"] for row in result.table()]
    tested, rated = result.tested, result.held_out or result
    others = int(rated.counts.sum()) - rated.counts
    beside = (None, None) if tested is None else (tested.null, tested.permuted)
    return readings(result.classes, rated.tpr, rated.fpr, rated.counts, others, kept, *beside)


def selected(result):
    """The column of the table that says what the maps came to where they were selected; {} without held-out images."""
    return {} if result.held_out is None else {"selection TPR − FPR": result.tpr_minus_fpr.tolist()}


def advice_of(path, result, maps):
    """What to do next with the maps of a search, in a file of that name."""
    return test_of(path, maps) if result.held_out is None and (path / maps).is_file() else []


def random_section(found, tested):
    """Where the maps lie against random masks, and against searches with permuted labels; None where none were."""
    if tested is None or not len(tested.null):
        return None
    permuted = tested.permuted if len(tested.permuted) else None
    return against_section(found, tested.null, permuted)


def where_of(result):
    """On which images the readings of a search stand: (subtitle, the same in a sentence)."""
    if result.held_out is not None:
        return "On images that were held out", "on the images that were held out"
    return "On the images that were searched", "on the images that were searched"


def test_rows(result):
    """How the search was tested: rows of `Facts`."""
    asked = result.record.get("identity", {}).get("test") or {}
    rows = []
    if (held := result.held_out) is not None:
        parts = f"{int(result.counts.sum()):,} images, and the {int(held.counts.sum()):,} others"
        how = f"share {asked.get('split_fraction', 0):g}, seed {asked.get('seed')}"
        rows.append(("Selected on, tested on", f"{parts} ({how})"))
    if result.tested is not None and len(result.tested.null):
        rows.append(("Random masks", f"{len(result.tested.null)} beside each class's map"))
    if result.tested is not None and len(result.tested.permuted):
        rows.append(("Searches with permuted labels", f"{len(result.tested.permuted)}"))
    return rows


def test_cautions(result, found):
    """What a reader of the rates must know of the images that they are of."""
    if result.held_out is None:
        return selection_cautions(found)
    return [*few_cautions(found), *random_cautions(found)]
