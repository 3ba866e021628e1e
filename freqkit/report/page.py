"""A run's page: its parts found, rendered, and written whole or not at all."""

from pathlib import Path

from freqkit.errors import UsageError
from freqkit.report.blocks import render


def write_report(path, *, out=None, content=None):
    """Write the HTML report of a run directory, or of one result file.

    Args:
        path: a run directory, or a safetensors file of `freqkit rates` or `freqkit adcs`.
        content: what `freqkit.report.pages.parts_of(path)` gave, when it was read already.
        out: the file to write; default `report.html` in the directory, or the file's name with .html.

    Returns:
        Path of the report.

    Raises:
        UsageError: there is nothing that freqkit can show.
    """
    from freqkit.files.whole import atomic_write
    from freqkit.report.advice import again
    from freqkit.report.pages import parts_of

    path = Path(path)
    parts, record = content or parts_of(path)
    if not parts:
        status = (record or {}).get("status")
        why = f", for its run is {status} and has finished no stage yet" if status not in (None, "finished") else ""
        raise UsageError(f"{path}: holds no result that a report could show{why}.")
    whole = path.resolve()  # the name of "." is that of its folder
    if out is None:
        out = path / "report.html" if path.is_dir() else path.with_suffix(".html")
    out = Path(out)
    text = render(parts, where=whole.name, record=record, again=again(path))
    with atomic_write(out, "w") as file:
        file.write(text)
    return out
