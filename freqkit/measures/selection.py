"""Whether maps are tested on the images on which they were selected: their rates are then too good."""

from freqkit.data.image_set import fingerprint, split_names
from freqkit.data.reading import choose


class SelectedOnTestSet(UserWarning):
    """Masks are tested on the images on which they were selected: their rates are too good."""


def selected_places(dfm, size, classes, paths, labels, digests):
    """Which images of a test set the maps of a file were selected on.

    The file holds the fingerprint of its images and by which rule they were taken from a folder (a number for each
    class, a share, one part of a split). The test set, and what the rule takes of it, are compared with the
    fingerprint: it tells pixels, names, labels and order, so a match is certain, while images that were decoded in
    another way, or chosen by another rule, go unnoticed.

    Args:
        dfm: a `freqkit.masks.DfmFile`.
        size: (H, W) of the decoded images.
        classes, paths, labels: names of the classes; of each image its name and the position of its class.
        digests: of each image the bytes of `freqkit.data.image_set.pixel_digest`.

    Returns:
        list of int, the places of the images that both have, [] for none; None when the file does not tell.

    Example:
        >>> import torch
        >>> from freqkit.data import synthetic
        >>> from freqkit.data.image_set import pixel_digest
        >>> from freqkit.masks import DfmFile
        >>> images = synthetic(images_per_class=2)
        >>> half, _ = images.split(0.5)
        >>> dfm = DfmFile(torch.ones(4, 32, 32), images.classes, data_hash=half.fingerprint, images=half.record)
        >>> digests = [pixel_digest(image) for image in images.images.numpy()]
        >>> selected_places(dfm, (32, 32), images.classes, images.paths, images.labels.tolist(), digests)
        [1, 3, 4, 7]
    """
    if dfm.data_hash is None:
        return None
    present = sorted(set(labels))
    known = [classes[label] for label in present]
    place = {label: k for k, label in enumerate(present)}
    tried = []
    for places in _candidates(dfm.images, paths, labels, len(classes)):
        if not places or places in tried:
            continue
        tried.append(places)
        own = [paths[i] for i in places], [labels[i] for i in places], [digests[i] for i in places]
        found = [fingerprint(size, classes, *own)]
        if len(known) < len(classes):  # a folder of some classes knows no others
            found.append(fingerprint(size, known, own[0], [place[label] for label in own[1]], own[2]))
        if dfm.data_hash in found:
            return places
    return []


def _candidates(how, paths, labels, classes):
    """Places of all images, then of those that the recorded rule takes."""
    everything = list(range(len(paths)))
    yield everything
    rule = how.get("limit_per_class"), how.get("split_fraction"), how.get("seed", 0)
    chosen = choose(paths, labels, classes, *rule) if rule[:2] != (None, None) else everything
    yield chosen
    subset = how.get("subset")
    if not subset or subset.get("part") not in ("selection", "rest"):
        return
    groups = {}
    for i in chosen:
        groups.setdefault(labels[i], []).append(i)
    kept = set()
    for group in groups.values():
        kept |= {group[k] for k in split_names([paths[i] for i in group], subset["fraction"], subset["seed"])}
    yield [i for i in chosen if (i in kept) == (subset["part"] == "selection")]
