"""What a comparison of searchers puts on the page: who finds the better masks, for how much work."""

import math

from freqkit.report.blocks import Cell, Gallery, Map, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import named, part
from freqkit.report.provenance import duration, model_rows, provenance_rows
from freqkit.report.svg import data_uri, number, percent, plane, plane_png
from freqkit.report.words import clean_cautions, clean_rows, listed, weights_cautions
from freqkit.search.figures import QUANTITIES, plot_comparison
from freqkit.search.plan import method_of

CLASSES = 6  # of which the maps of the searchers stand beside each other


@part(named("comparison.json"))
def comparison_part(path, record):
    """A run of `freqkit compare-searchers`, also an unfinished one."""
    from freqkit.search.compare import Comparison

    found = Comparison.load(path)
    rows = found.table()
    if not rows:
        return None
    facts, effort = found.facts, found.facts.get("effort", {})
    ranked = sorted(rows, key=lambda row: -row["TPR-FPR"])
    best, lowest = ranked[0], min(rows, key=lambda row: row["loss"])
    searchers = list(dict.fromkeys(row["searcher"] for row in rows))

    def called(row):
        return f"{row['searcher']} ({row['effort']} {effort.get(row['searcher'], '')})".replace(" )", ")")

    rank = "has the best masks" if len(searchers) > 1 else "is the only one here"
    sentences = [
        *([] if found.clean is None else [found.clean.sentence()]),
        f"On images that no searcher saw, {called(best)} {rank}: mean TPR − FPR"
        f" {_points(best)}, for {best['forward equivalents']:,.0f} forward-equivalents.",
    ]
    others = [row for row in ranked if row["searcher"] != best["searcher"]]
    if others:
        sentences.append(_against(found.rows, best, others[0], called))
        cheap = [row for row in others if row["forward equivalents"] < best["forward equivalents"] / 1.5]
        if cheap and cheap[0] is not others[0]:
            times = best["forward equivalents"] / cheap[0]["forward equivalents"]
            sentences.append(f"Of those that cost less, {called(cheap[0])} comes nearest: {_points(cheap[0])}, for a"
                             f" {_part_of(times)} of the work.")  # fmt: skip
    if lowest["searcher"] != best["searcher"]:
        sentences.append(
            f"The lowest class loss has {called(lowest)}: {number(lowest['loss'])} nats, at a TPR − FPR of"
            f" {percent(lowest['TPR-FPR'], 1)}; a low loss alone does not tell the class from the others."
        )
    if best["selection TPR-FPR"] == best["selection TPR-FPR"]:
        sentences.append(
            f"On the images that it searched, {best['searcher']} reached {percent(best['selection TPR-FPR'], 1)}: that"
            " is why masks are judged on others."
        )
    sections = [
        _means(rows, effort),
        Section("Class loss against the cost", [_curves(found, "loss", 7.2, 3.9)],
                "Mean cross-entropy of each class's held-out images seen through its own mask, lower is better."
                " Lines and bars as above.", key="loss"),
        _maps(path, found.rows),
        _all_runs(found.rows),
    ]  # fmt: skip
    data = facts.get("pool", {})
    asked = [
        *model_rows({"model": facts.get("model", {}), "data": data}),
        *clean_rows(found.clean),
        *_asked(facts, searchers, effort),
    ]
    seconds = sum(row["seconds"] for row in found.rows)
    forwards, backwards = (sum(row[name] for row in found.rows) for name in ("forwards", "backwards"))
    cost = [("Searches", f"{len(found.rows):,}"), ("Model forwards", f"{forwards:,}"),
            ("Model backwards", f"{backwards:,}"), ("Time of the searches", duration(seconds))]  # fmt: skip
    versions = next((v for v in (_search_record(path, row).get("versions") for row in found.rows) if v), {})
    kept = provenance_rows({"model": facts.get("model", {}), "data": data, "versions": versions})
    if facts.get("held out", {}).get("fingerprint"):
        kept.append(("Held-out images (fingerprint)", facts["held out"]["fingerprint"][:16] + "…"))
    how = (
        "TPR: share of a class's images still recognised through the class's mask; FPR: share of all others then taken"
        " for it. Each mark is a searcher at one effort; a line joins its efforts. Up: better masks; left: less work. A"
        " forward-equivalent is one image through the model; a backward counts two."
        + (" Bars: one standard deviation over seeds." if any(row["seeds"] > 1 for row in rows) else "")
    )
    return Part(
        f"Searchers compared on {facts.get('model', {}).get('name', 'one model')}", sentences,
        [(percent(best["TPR-FPR"], 1), f"held-out TPR − FPR ({best['searcher']})"),
         (f"{best['forward equivalents']:,.0f}", "forward-equivalents of it"),
         (f"{len(searchers)}", "searchers" if len(searchers) > 1 else "searcher")],
        asked, [section for section in sections if section], cost, kept, _cautions(found, rows), order=25,
        subtitle="Searchers compared", hero=[_curves(found, "TPR-FPR", 5, 4)], hero_how=how,
    )  # fmt: skip


def _points(row):
    """Mean TPR - FPR with its spread."""
    spread = f" ± {percent(row['TPR-FPR sd'], 1)} over {row['seeds']} seeds" if row["seeds"] > 1 else " (one seed)"
    return percent(row["TPR-FPR"], 1) + spread


def _part_of(times):
    words = {2: "half", 3: "third", 4: "quarter"}
    return words.get(round(times), f"{round(times)}th")


def _against(rows, best, second, called):
    """The best against the best of another searcher, seed by seed where both ran."""

    def of(row):
        return {r["seed"]: r["TPR-FPR"] for r in rows
                if (r["searcher"], r["effort"]) == (row["searcher"], row["effort"])}  # fmt: skip

    first, other = of(best), of(second)
    seeds = sorted(set(first) & set(other))
    gaps = [first[seed] - other[seed] for seed in seeds]
    text = (
        f"{called(second)} follows with {_points(second)}, for {second['forward equivalents']:,.0f} forward-equivalents"
    )
    if not gaps:
        return text + "."
    ahead = sum(gap > 0 for gap in gaps)
    if len(gaps) == 1:
        return f"{text}; on the one seed that both ran, {100 * gaps[0]:.1f} percent points lie between them."
    ends = list(dict.fromkeys(f"{100 * gap:.1f}" for gap in (min(gaps), max(gaps))))
    return (
        f"{text}; {best['searcher']} is ahead in {ahead} of {len(gaps)} seeds, by {' to '.join(ends)} percent points."
    )


def _curves(found, what, width, height):
    """Quality against cost, a colour and a mark per searcher."""
    rows = found.table()
    best = (max if what == "TPR-FPR" else min)(rows, key=lambda row: row[what])
    alt = (
        f"{QUANTITIES[what]} against cost of {len({row['searcher'] for row in rows})} searchers; the best is"
        f" {best['searcher']} with {percent(best[what], 1) if what == 'TPR-FPR' else number(best[what])}."
    )
    return drawing(lambda axis: plot_comparison(found, axis, what=what), width, height, alt)


def _means(rows, effort):
    columns = [("searcher", "left", None), ("effort", "right", None), ("seeds", "right", "seed"),
               ("TPR − FPR ± sd", "right", "TPR-FPR"), ("TPR", "right", "TPR"), ("FPR", "right", "FPR"),
               ("loss ± sd", "right", "classwise loss"), ("on searched images", "right", "TPR-FPR"),
               ("kept", "right", "coverage"),
               ("cost", "right", "forward-equivalents"), ("time", "right", None)]  # fmt: skip
    table = [
        [
            Cell(row["searcher"]),
            Cell.of(row["effort"], f"{row['effort']:,}"),
            Cell.of(row["seeds"], str(row["seeds"])),
            Cell.of(row["TPR-FPR"], _with_spread(row, "TPR-FPR", lambda value: percent(value, 1))),
            *(Cell.of(row[name], percent(row[name], 1)) for name in ("TPR", "FPR")),
            Cell.of(row["loss"], _with_spread(row, "loss", lambda value: f"{value:.2f}")),
            *(Cell.of(row[name], percent(row[name], 1)) for name in ("selection TPR-FPR", "touched")),
            Cell.of(row["forward equivalents"], f"{row['forward equivalents']:,.0f}"),
            Cell.of(row["seconds"], duration(row["seconds"])),
        ]
        for row in sorted(rows, key=lambda row: -row["TPR-FPR"])
    ]
    counted = "; ".join(f"{name}: {words}" for name, words in effort.items())
    how = (
        "One line per searcher and effort, best first: means over the classes and seeds, on held-out images unless"
        " said; on searched images: TPR − FPR there; sd: standard deviation over seeds; cost: forward-equivalents"
        " of one search, time: of one search." + (f" Effort counts, for {counted}." if counted else "")
    )
    return Section("Searchers", [Table(columns, table)], how, key="searchers")


def _with_spread(row, name, say):
    return say(row[name]) + (f" ± {say(row[f'{name} sd'])}" if row["seeds"] > 1 else "")


def _all_runs(rows):
    columns = [("searcher", "left", None), ("effort", "right", None), ("seed", "right", "seed"),
               ("TPR − FPR", "right", "TPR-FPR"), ("TPR", "right", "TPR"), ("FPR", "right", "FPR"),
               ("loss", "right", "classwise loss"), ("forwards", "right", "forward"), ("backwards", "right", None),
               ("time", "right", None)]  # fmt: skip
    table = [
        [Cell(row["searcher"]), *(Cell.of(row[name], f"{row[name]:,}") for name in ("effort", "seed")),
         *(Cell.of(row[name], percent(row[name], 1)) for name in ("TPR-FPR", "TPR", "FPR")),
         Cell.of(row["loss"], number(row["loss"])),
         *(Cell.of(row[name], f"{row[name]:,}") for name in ("forwards", "backwards")),
         Cell.of(row["seconds"], duration(row["seconds"]))]
        for row in rows
    ]  # fmt: skip
    how = "Every search by itself, on held-out images; the same lines are in comparison.csv."
    return Section("Every search", [Table(columns, table, search=True)], how, key="every-search")


def _folder(path, row):
    return path / f"{row['searcher']}-{row['effort']}-seed{row['seed']}"


def _search_record(path, row):
    from freqkit.files.whole import read_run

    folder = _folder(path, row)
    record = read_run(folder) if (folder / "run.json").is_file() else {}
    return {**record, "versions": record.get("identity", {}).get("versions") or record.get("versions")}


def _maps(path, rows):
    """The maps of each searcher at its largest effort, seed by the first, class by class."""
    from freqkit.results import load_result

    chosen = {}
    for row in rows:
        kept = chosen.get(row["searcher"])
        finished = _search_record(path, row).get("status") == "finished"
        if finished and (kept is None or (row["seed"], -row["effort"]) < (kept["seed"], -kept["effort"])):
            chosen[row["searcher"]] = row
    if not chosen:
        return None
    results = {name: load_result(_folder(path, row)) for name, row in chosen.items()}
    classes = list(next(iter(results.values())).classes)
    maps = []
    for place, label in enumerate(classes[:CLASSES]):
        for column, (name, result) in enumerate(results.items()):
            values, row = result.masks[place], result.table()[place]
            facts = f"{name}: keeps {percent(row['coverage'], 1)}"
            alt = f"Map of {label} found by {name}: keeps {percent(row['coverage'], 1)} of the frequencies."
            drawn = plane(tuple(values.shape), alt, href=data_uri(plane_png(values)))
            maps.append(Map(label, facts, alt, f"map-{place}-{column}", drawn))
    seed = next(iter(chosen.values()))["seed"]
    how = (
        f"What each searcher keeps of each class (blue), at its largest effort, seed {seed}: other frequencies can"
        " serve equally well, so maps of like rates may differ."
    )
    if len(classes) > CLASSES:
        how += f" The first {CLASSES} of {len(classes)} classes; the others are in the folders of the searches."
    return Section(
        "Maps side by side", [Gallery(maps, columns=len(results) * max(1, 5 // len(results)))], how, key="maps"
    )


def _asked(facts, searchers, effort):
    if not facts.get("pool"):
        return [("Searchers", listed(searchers, 9))]
    held = facts["held out"]
    return [
        ("Held-out images", f"{held.get('images', 0):,} of {held.get('root') or held.get('source')}"),
        ("Searched on", f"{facts['selection images per class']} images per class, drawn anew for each seed"),
        ("Share of the bins to keep", percent(facts["coverage"], 1)),
        ("Seeds", f"{facts['seeds']}" + (f"; {facts['slow seeds']} of hfss, removal and greedy"
                                         if facts["slow seeds"] != facts["seeds"] else "")),
        *((name, method_of(name)) for name in searchers),
    ]  # fmt: skip


def _cautions(found, rows):
    cautions = weights_cautions(found.facts) + clean_cautions(found.clean)
    planned = found.facts.get("runs")
    if not found.facts:
        cautions.append("What was asked is not on record, so the comparison may not have finished.")
    if planned and len(found.rows) < planned:
        cautions.append(
            f"The comparison has not finished: {len(found.rows)} of {planned} searches are done, so the means are over"
            " unequal numbers of seeds."
        )
    single = [f"{row['searcher']} ({row['effort']})" for row in rows if row["seeds"] == 1]
    if single:
        cautions.append(f"One seed only, so no spread, for {listed(single, 9)}.")
    asked = found.facts.get("coverage")
    uneven = [row for row in rows if asked and not math.isclose(row["touched"], asked, rel_tol=0.15)]
    if uneven:
        words = listed([f"{row['searcher']} {row['effort']}: {percent(row['touched'], 1)}" for row in uneven], 9)
        cautions.append(f"Not all keep the share that was asked for ({percent(asked, 1)}); rates are only comparable at"
                        f" like shares: {words}.")  # fmt: skip
    return cautions
