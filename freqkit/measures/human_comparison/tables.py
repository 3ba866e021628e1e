"""Tables of raw data, as the comparison with people publishes them: facts of each trial, one a line."""

from pathlib import Path

from freqkit.data.sixteen import CATEGORIES
from freqkit.data.test_sets.model_vs_human import SETS
from freqkit.errors import UsageError
from freqkit.files.reading import read_csv, shown

HEAD = ("subj", "session", "trial", "rt", "object_response", "category", "condition", "imagename")


def tables_of(observers):
    """[(set, who answered, trials)] of CSV files, and of folders that hold them."""
    found = []
    for given in [observers] if isinstance(observers, (str, Path)) else observers:
        path = Path(given)
        files = sorted(path.rglob("*.csv")) if path.is_dir() else [path]
        if not files:
            raise UsageError(f"human_comparison: {str(path)!r} holds no table of raw data (.csv).")
        for file in files:
            found += _table(file)
    return found


def _table(file):
    name = next((each for each in SETS if file.name.startswith(f"{each}_")), None)
    if name is None:
        raise UsageError(
            f"{file}: a table of raw data must be called SET_SUBJECT_session-1.csv, SET one of {', '.join(SETS)}."
        )
    wanted = [column for column in HEAD if column != "session"]  # of people it is called Session
    by_maker = {}
    for line, row in read_csv(file, wanted, "a table of raw data (CSV)"):
        answer, category = row["object_response"], row["category"]
        if category not in CATEGORIES or answer not in (*CATEGORIES, "na"):
            bad = category if category not in CATEGORIES else answer
            raise UsageError(f"{file}: line {line} must name one of the sixteen categories; got {shown(bad)}.")
        by_maker.setdefault(row["subj"], []).append({**row, "file": str(file)})
    return [(name, maker, trials) for maker, trials in by_maker.items()]
