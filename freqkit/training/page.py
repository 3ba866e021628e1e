"""What a training puts on the page: loss and accuracy by epoch, and when each class was learned."""

from freqkit.errors import UsageError
from freqkit.files.reading import number_in, read_csv
from freqkit.files.whole import of_cell
from freqkit.report import figures
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import named, part
from freqkit.report.provenance import duration, model_rows, provenance_rows
from freqkit.report.svg import number, percent
from freqkit.report.words import listed
from freqkit.results.figures import learning_lines
from freqkit.text import plain_line
from freqkit.training.figures import WORDS, components_of, plot_components, plot_course
from freqkit.training.schedules import HISTORY

LEARNED = 0.8  # F1 from which a class counts as learned


@part(named("history.csv"))
def training_part(path, record):
    """The epochs of a training run."""
    record = record or {}
    rows = _rows(path / "history.csv")
    held_out = rows[-1].get("val_accuracy") is not None
    last, kind = rows[-1], "val_" if held_out else ""
    where = "validation" if held_out else "training"
    accuracy = (record.get("result") or {}).get("val" if held_out else "train", {}) or {}
    best = max(reversed(rows), key=lambda row: _value(row.get(f"{kind}accuracy")))
    course = (
        "the last epoch was the best"
        if best is last
        else f"the best epoch was {best['epoch']:.0f} ({percent(best.get(f'{kind}accuracy'), 1)})"
    )
    sentences = [
        f"After {len(rows)} epochs the {where} accuracy is {percent(last.get(f'{kind}accuracy'), 1)}"
        f" (loss {number(last.get(f'{kind}loss'))} nats); {course}."
    ]
    if held_out and last.get("accuracy") is not None:
        gap = last["accuracy"] - last["val_accuracy"]
        sentences.append(
            f"On its training images the network reaches {percent(last['accuracy'], 1)}: {abs(100 * gap):.1f} percent"
            f" points {'more' if gap >= 0 else 'less'}."
        )
    sections = [_course(rows, "loss"), _course(rows, "accuracy")]
    components = components_of(rows[0])
    for images in ("val", "train"):
        names = components.get((images, "low"), {}).values()
        if any(row[name] is not None for row in rows for name in names):
            sections.append(_components(rows, images))
    learning = path / "learning.csv"
    if learning.exists():
        section, sentence = _learned(_rows(learning))
        sections.append(section)
        sentences.append(sentence)
    classes = accuracy.get("classes") if isinstance(accuracy, dict) else None
    if classes:
        sections.append(_classes(classes, where))
    model = record.get("model", {})
    data = (record.get("data") or {}).get("train") or {}
    recipe = model.get("trained") or {}
    asked = [*model_rows({"model": {**model, "trained": None}, "data": data}),
             *((key.replace("_", " ").capitalize(), "yes" if value is True else str(value))
               for key, value in recipe.items() if isinstance(value, (int, float, str)) and value
               and "fingerprint" not in key and "accuracy" not in key)]  # fmt: skip
    cost = [("Epochs", str(len(rows)))]
    if record.get("seconds"):
        cost.append(("Wall time", duration(record["seconds"])))
    if record.get("device"):
        cost.append(("Device", str(record["device"])))
    cautions = []
    if record.get("status") not in (None, "finished"):
        cautions.append(f"The training has not finished ({record['status']}).")
    return Part(
        f"Training of {model.get('name', 'a classifier')}", sentences,
        [(percent(last.get(f"{kind}accuracy"), 1), f"{where} accuracy"), (str(len(rows)), "epochs")],
        asked, sections, cost, provenance_rows({**record, "data": data}), cautions, order=40, subtitle="Training",
    )  # fmt: skip


def _rows(file):
    """A CSV of numbers as dicts; an empty field is None."""
    columns = ("epoch", "lr", "loss", "accuracy") if file.stem == "history" else ("step", "accuracy")
    rows = []
    for line, row in read_csv(file, columns, "the course of a training (CSV)"):
        known = {of_cell(key): value for key, value in row.items() if value not in ("", "nan")}
        found = {key: number_in(value, file, f"line {line}, {plain_line(key, 40)},") for key, value in known.items()}
        for key, value in found.items():
            if file.stem == "history" and key not in HISTORY:
                continue  # of an observer, which may be any number
            share = key not in ("epoch", "step", "lr", "loss", "val_loss")
            if not 0 <= value <= (1 if share else 1e30):
                least = f"line {line}, {plain_line(key, 40)}, must lie in 0..{1 if share else '1e30'}"
                raise UsageError(f"{file}: {least}; got {value:g}.")
        missing = [name for name in columns if name not in found]
        if missing:
            raise UsageError(f"{file}: line {line} has no {missing[0]}.")
        rows.append({**dict.fromkeys(map(of_cell, row)), **found})
    if not rows:
        raise UsageError(f"{file}: the course of a training was expected; it has no line but its head.")
    return rows


def _value(value):
    return -1.0 if value is None or value != value else value


def _course(rows, name):
    """One quantity by epoch, on training and validation images."""
    last = [("training", rows[-1].get(name)), ("validation", rows[-1].get(f"val_{name}"))]
    ends = ", ".join(f"{label} {value:.3g}" for label, value in last if value is not None)
    drawn = drawing(lambda axis: plot_course(axis, rows, name), 8.2, 2.8, f"{WORDS[name]} by epoch: at the end {ends}")
    how = {
        "loss": "Lower is better. Training values are running means over an epoch, while the weights still change.",
        "accuracy": "Share of the images that get the right name. Where the two lines part, the network memorises.",
    }[name]
    return Section(f"{name.capitalize()} by epoch", [drawn], how, key=name)


def _components(rows, images):
    """What the network tells from components alone, by epoch."""
    where = {"train": "training", "val": "validation"}[images]
    drawn = drawing(
        lambda axis: plot_components(axis, rows, images), 8.2, 3.4,
        f"Accuracy on components of the {where} images by epoch.", narrow=4.2,
    )  # fmt: skip
    how = (
        "Share of the images that get their name when the network sees only their frequencies below a radius (low,"
        " solid) or from it on (high, dashed), in cycles/image."
    )
    return Section(f"Accuracy by radius, {where} images", [drawn], how, key=f"components-{images}")


def _learned(rows):
    """F1 of each class by iteration, and since when it stays above `LEARNED`."""
    import numpy as np

    names = [key for key in rows[0] if key not in ("step", "accuracy")]
    since = {}
    for name in names:
        late = None
        for row in reversed(rows):
            if _value(row[name]) < LEARNED:
                break
            late = row["step"]
        since[name] = late
    order = sorted(names, key=lambda name: (since[name] is None, since[name] or 0))
    f1 = np.array([[[row[name] or 0 for name in names] for row in rows]])
    steps = [row["step"] for row in rows]
    drawn = drawing(
        lambda axis: learning_lines(axis, names, steps, f1), 8.2, 3.6, "F1 of each class by iteration.", narrow=4.2
    )
    how = (
        "How well each class is told apart (F1) as the training goes on: what a network picks up first may be a"
        " shortcut." + " The classes learned first and last." * (len(names) > figures.NAMED_LINES)
    )
    first = [name for name in order if since[name] is not None][:3]
    sentence = (
        f"First learned (F1 of {LEARNED:g} and more from then on): "
        + ", ".join(f"{name} from iteration {since[name]:.0f}" for name in first)
        + "."
        if first
        else f"No class reaches an F1 of {LEARNED:g} for good in the iterations that were followed: {listed(names)}."
    )
    return Section("What was learned first", [drawn], how, key="learned"), sentence


def _classes(classes, where):
    columns = [("class", "left", None), ("images", "right", None), ("accuracy", "right", "accuracy"),
               ("precision", "right", "precision"), ("F1", "right", "F1")]  # fmt: skip
    rows = [
        [Cell(name), Cell.of(row["images"], f"{row['images']:,}"),
         *(Cell.of(row[key], percent(row[key], 1)) for key in ("accuracy", "precision", "f1"))]
        for name, row in classes.items()
    ]  # fmt: skip
    how = f"On the {where} images at the end. Precision: how often the class's name is right when the model gives it."
    return Section("Classes", [Table(columns, rows, search=True)], how, key="trained-classes")
