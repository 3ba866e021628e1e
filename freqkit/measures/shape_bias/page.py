"""Shape bias on a page."""

from freqkit.measures.shape_bias import COLUMNS, FORMAT, ShapeBiasResult, cautions_of, sentences_of
from freqkit.measures.shape_bias.figure import plot_shape_bias, plot_suppressed
from freqkit.report.blocks import Cell, Part, Section, Table
from freqkit.report.inline import drawing
from freqkit.report.pages import files_of, part
from freqkit.report.provenance import cost_rows, model_rows, provenance_rows
from freqkit.report.svg import percent
from freqkit.report.words import span


@part(files_of(FORMAT))
def shape_bias_part(path, record):
    """Whether shape or texture decides, category by category."""
    result, table = ShapeBiasResult.load(path), []
    for row in result.table():
        counts = [Cell.of(row[name], str(row[name])) for name in COLUMNS[1:5]]
        words = percent(row["shape bias"])
        words += "" if row["shape bias"] is None else f" ({span((row['shape bias low'], row['shape bias high']))})"
        table.append([Cell(row["class"]), *counts, Cell.of(row["shape bias"], words),
                      Cell.of(row["texture recognised"], percent(row["texture recognised"]))])  # fmt: skip
    columns = [("class", "left", None), ("images", "right", None), ("called shape", "right", "called shape"),
               ("called texture", "right", "called shape"), ("called neither", "right", "called shape"),
               ("shape bias", "right", "shape-bias"), ("texture recognised", "right", "called shape")]  # fmt: skip
    how = (
        "Images of each category's shape whose texture is of another: by what they are called, and the shape bias of"
        " the category with its interval. Texture recognised: of the conflicting images with the texture of the"
        " category those that are called so."
    )
    alt = "Of the conflicting images of each category's shape the shares that are called by shape, texture and neither."
    sections = [
        Section("By shape or by texture", [drawing(lambda axis: plot_shape_bias(result, axis), 6.6, 5.4, alt)],
                "Blue: called by their shape; orange: by their texture. The shape bias is blue over blue and orange;"
                " what is grey it does not see.", key="shape-or-texture"),
        Section("Categories", [Table(columns, table, search=True)], how, key="categories"),
    ]  # fmt: skip
    if result.kinds:
        height = 1 + 0.32 * len(result.kinds)
        alt = "Accuracy on ordinary images, whole and without shape, texture or colour."
        sections.append(
            Section("Without shape, texture or colour",
                    [drawing(lambda axis: plot_suppressed(result, axis), 6.6, height, alt, narrow=height + 0.4)],
                    "Ordinary images: the further a mark lies left of the dashed line (whole images), the more the"
                    " answers rest on what was taken away: shape by patches, texture by smoothing, colour by grey."
                    " Lines are intervals. Cue conflict puts two cues against each"
                    " other; this asks after each alone.", key="suppressed")
        )  # fmt: skip
    (s, t), conflicts = result.called(), int(result.conflict.sum())
    images = result.congruent[1]
    asked = [*model_rows(result.record), ("Conflicting images", f"{conflicts:,}; {images} more are congruent")]
    large = [("undefined" if result.value is None else percent(result.value, 1), "shape bias")]
    if conflicts:
        large += [(percent(s / conflicts, 1), "called by shape"), (percent(t / conflicts, 1), "called by texture")]
    about = {
        **result.record,
        **{k: (record or {}).get(k) for k in ("seconds", "device", "sessions") if (record or {}).get(k)},
    }
    return Part(
        "Called by shape or by texture", sentences_of(result), large, asked, sections, cost_rows(about),
        provenance_rows(about), cautions_of(result), order=33, subtitle="Shape or texture",
    )  # fmt: skip
