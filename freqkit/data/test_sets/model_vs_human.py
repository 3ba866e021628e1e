"""The 17 sets on which networks are compared with people, in sixteen categories (`freqkit.data.sixteen`).

Source: Geirhos et al., NeurIPS 2021 (arXiv 2106.07411), with the sets of Geirhos et al., NeurIPS 2018 (arXiv
1808.08750) and ICLR 2019 (arXiv 1811.12231): github.com/bethgelab/model-vs-human.
"""

import re
from pathlib import Path

import torch

from freqkit.data.sixteen import CATEGORIES
from freqkit.data.test_set import KnownSet
from freqkit.data.test_sets.folders import folders_in, images_in, one_folder_for_each_class
from freqkit.data.test_sets.sources import Files
from freqkit.errors import UsageError
from freqkit.files.reading import shown
from freqkit.text import composed

PREFIX = "human-"  # of the names by which they are asked for
_REACH = (1, 2, 4, 8, 16, 32, 64, 128)
# Set -> conditions as file names spell them, and those that `ood_mean` leaves out: the control and the hardest.
CONDITIONS = {
    "colour": (("cr", "bw"), ("cr",)),
    "contrast": (("c100", "c50", "c30", "c15", "c10", "c05", "c03", "c01"), ("c100", "c03", "c01")),
    "high-pass": (("inf", "3.0", "1.5", "1.0", "0.7", "0.55", "0.45", "0.4"), ("inf", "0.55", "0.45", "0.4")),
    "low-pass": (("0", "1", "3", "5", "7", "10", "15", "40"), ("0", "15", "40")),
    "phase-scrambling": (("0", "30", "60", "90", "120", "150", "180"), ("0", "150", "180")),
    "power-equalisation": (("0", "pow"), ("0",)),
    "false-colour": (("True", "False"), ("True",)),
    "rotation": (("0", "90", "180", "270"), ("0",)),
    "eidolonI": (tuple(f"{n}-10-10" for n in _REACH), ("1-10-10", "64-10-10", "128-10-10")),
    "eidolonII": (tuple(f"{n}-3-10" for n in _REACH), ("1-3-10", "32-3-10", "64-3-10", "128-3-10")),
    "eidolonIII": (tuple(f"{n}-0-10" for n in _REACH), ("1-0-10", "16-0-10", "32-0-10", "64-0-10", "128-0-10")),
    "uniform-noise": (("0.0", "0.03", "0.05", "0.1", "0.2", "0.35", "0.6", "0.9"), ("0.0", "0.6", "0.9")),
    "sketch": (("0",), ()),
    "stylized": (("0",), ()),
}
IMAGES = {
    "edge": 160, "silhouette": 160, "phase-scrambling": 1120, "power-equalisation": 1120, "false-colour": 1120,
    "sketch": 800, "stylized": 800,
}  # fmt: skip  # the others have 1280
FOLDERS = ("edge", "silhouette", "cue-conflict")  # a folder for each category; the others by session
SETS = (*FOLDERS, *CONDITIONS)


def cues_of(path: str) -> tuple[int, int]:
    """(shape, texture) of a cue-conflict image, places in `CATEGORIES`.

    Args:
        path: it ends in `SHAPE/SHAPE<n>-TEXTURE<m>.png`: the folder is the shape, what follows the last dash of the
            name, without digits, the texture.

    Raises:
        UsageError: the name has no texture, or one of the two is no category; the file is named.

    Example:
        >>> [CATEGORIES[place] for place in cues_of("cat/cat7-elephant2.png")]
        ['cat', 'elephant']
    """
    folder, name = composed(path).split("/")[-2:] if "/" in path else ("", path)
    stem = name.rpartition(".")[0]
    texture = re.sub("[0-9]", "", stem.rpartition("-")[2]) if "-" in stem else ""
    for what, word in (("a shape in the name of its folder", folder), ("a texture after the last dash", texture)):
        if word not in CATEGORIES:
            raise UsageError(
                f"cue-conflict: every image must be SHAPE/SHAPE1-TEXTURE1.png of the sixteen categories; {shown(path)}"
                f" has no category as {what}."
            )
    return CATEGORIES.index(folder), CATEGORIES.index(texture)


def image_key(name: str) -> str:
    """What an image is called whoever saw it: without the trial, the experiment and the observer.

    Args:
        name: of a file, or `imagename` of a raw-data table.

    Example:
        >>> image_key("0012_cl_s01_bw_bear_40_n02133161_1066.png"), image_key("airplane1-bicycle2.png")
        ('bw_bear_40_n02133161_1066.png', 'airplane1-bicycle2.png')
        >>> image_key("0001_s5n_s02_0_airplane_00_airplane1-bicycle2.png")
        'airplane1-bicycle2.png'
    """
    parts = name.rpartition("/")[2].split("_", 5)
    if len(parts) < 6:
        return name.rpartition("/")[2]
    # The sets of FOLDERS keep their plain names, which people's tables put behind the fields of a trial.
    plain = re.fullmatch(r"[0-9]+_([a-z]+[0-9]+(?:-[a-z]+[0-9]+)?\.\w+)", parts[5])
    return plain[1] if plain else "_".join(parts[3:])


def trial_of(name: str) -> tuple[str, str] | None:
    """(condition, category) of a file of a session, `TRIAL_x_x_CONDITION_CATEGORY_rest`; None of another name."""
    parts = name.split("_", 5)
    return (parts[3], parts[4]) if len(parts) == 6 else None


def in_folders(known, folder, check):
    """SET/CATEGORY/file."""
    [found] = one_folder_for_each_class(known, folder, check)
    if known.title == "cue-conflict":
        for i in range(len(found)):
            cues_of(found.source.name(i))
    return [found]


def in_sessions(known, folder, check):
    """SET/dnn/session-K/TRIAL_x_x_CONDITION_CATEGORY_rest, a `TestSet` for each condition."""
    dnn, found, others, count = folder / "dnn", {}, [], 0
    sessions = [name for name in folders_in(dnn) if name.startswith("session-")] if dnn.is_dir() else []
    if not sessions:
        raise UsageError(f"{known.name}: {str(folder)!r} must hold dnn/session-1, dnn/session-2, ...; it does not.")
    for session in sorted(sessions, key=lambda name: (len(name), name)):
        for file in images_in(dnn / session, others):
            condition, category = trial_of(file) or ("", "")
            if category not in CATEGORIES:
                raise UsageError(
                    f"{known.name}: every image must be called TRIAL_x_x_CONDITION_CATEGORY_rest, of the sixteen"
                    f" categories; got {shown(f'{session}/{file}')}."
                )
            found.setdefault(condition, []).append((CATEGORIES.index(category), f"dnn/{session}/{file}"))
            count += 1
    if not count:
        raise UsageError(f"{known.name}: {str(dnn)!r} holds no image in its sessions.")
    check.missing(known.parts, found, "conditions")
    check.some(sorted(set(found) - set(known.parts)), "conditions are none of the set")
    if count != known.images:
        check.fault(f"{count} images instead of {known.images}")
    check.notes += [f"{len(others)} files are no images and are left out"] if others else []
    order = [each for each in known.parts if each in found] + sorted(set(found) - set(known.parts))
    sets = []
    for condition in order:
        labels, names = zip(*found[condition], strict=True)
        sets.append(known.opened(Files(folder, names), torch.tensor(labels), list(check.notes), condition))
    return sets


def has_sessions(folder: Path) -> bool:
    """Whether a folder holds dnn/session-K."""
    return (folder / "dnn").is_dir()


def _has_categories(folder):
    return any((folder / category).is_dir() for category in CATEGORIES)


def _known(title):
    flat = title in FOLDERS
    file = "cat/cat7-elephant2.png" if title == "cue-conflict" else "cat/cat7.png"
    parts = () if flat else CONDITIONS[title][0]
    if not flat:
        file = f"dnn/session-1/0001_xx_dnn_{parts[0]}_cat_10_n02123045_1.png"
    below = f"{title}/CATEGORY/file" if flat else f"{title}/dnn/session-K/TRIAL_x_x_CONDITION_CATEGORY_rest"
    return KnownSet(
        name=PREFIX + title, title=title, classes="sixteen", parts=parts, example=(file,),
        images=IMAGES.get(title, 1280), read=in_folders if flat else in_sessions,
        places=tuple(f"{root}{title}" for root in ("model-vs-human/", "model-vs-human/datasets/", "datasets/", "")),
        holds=_has_categories if flat else has_sessions,
        tree=f"`model-vs-human/{below}`, scored in 16 categories by `freqkit human-comparison`",
        source="Geirhos et al., NeurIPS 2021: github.com/bethgelab/model-vs-human",
    )  # fmt: skip


KNOWN = tuple(_known(title) for title in SETS)
