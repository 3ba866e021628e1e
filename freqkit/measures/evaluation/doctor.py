"""Checks that come before an evaluation: are the sets complete, is the model asked as it was trained?"""

from dataclasses import dataclass

import torch

from freqkit.data.folder import few
from freqkit.data.preprocessing import Preprocessing, of_model, settle
from freqkit.data.test_set import RELAXABLE, Reader, sizes_of
from freqkit.data.test_sets.known import known_set, open_sets, place_of
from freqkit.engine.forward import Forward
from freqkit.errors import UsageError
from freqkit.measures.rates import wilson
from freqkit.models import as_classifier
from freqkit.registry import TEST_SETS

LOOKED_AT = 64  # images of a set that are decoded
FAULTS = 6  # of a set that are said


@dataclass
class Finding:
    """One check.

    Attributes:
        verdict: "good", "wrong", or "note": worth knowing.
        what: was checked. found: one sentence.
    """

    verdict: str
    what: str
    found: str


def check_sets(names, root, *, relaxed=False, class_map=None):
    """Recognise and check sets below a folder.

    Args:
        names: of sets; empty: every known set that is there.
        root, relaxed, class_map: see `freqkit.data.open_sets`.

    Returns:
        (list of `Finding`, list of the opened `TestSet`).
    """
    if not names:
        if root is None:
            raise UsageError("doctor: give the folder of the sets (data_dir), or their names.")
        names = [name for name in TEST_SETS if place_of(name, root) is not None]
        if not names:
            return [Finding("wrong", str(root), f"holds none of the known sets ({', '.join(TEST_SETS)}).")], []
    findings, opened = [], []
    for name in names:
        try:
            sets = open_sets([name], root, relaxed=relaxed, class_map=class_map)
        except (UsageError, OSError) as error:
            findings.append(Finding("wrong", name, _faults(name, " ".join(str(error).split()), root, class_map)))
            continue
        opened += sets
        images, notes = sum(map(len, sets)), list(dict.fromkeys(note for each in sets for note in each.notes))
        classes = int((sum(each.counts for each in sets) > 0).sum())
        words = f"{images} images of {classes} classes" + (f" in {len(sets)} conditions" if len(sets) > 1 else "")
        findings.append(Finding("note" if notes else "good", name, "; ".join([words, *notes[:4]])))
        looked, bad = _undecodable(sets)
        if bad:
            words = f"{len(bad)} of {looked} that were looked at cannot be decoded: {few(bad)}"
            findings.append(Finding("wrong", f"{name}: images", words))
    return findings, opened


def _faults(name, first, root, class_map):
    """What is wrong with a set that could not be opened: the first fault, or all if more can be known; and what the
    whole set has."""
    base = name.partition("=")[0].partition("/")[0]
    if base not in TEST_SETS or RELAXABLE not in first:
        return first
    try:
        sets = open_sets([name], root, relaxed=True, class_map=class_map)
        found = list(dict.fromkeys(note for each in sets for note in each.notes))
    except (UsageError, OSError):
        found = [first]
    more = [f"and {len(found) - FAULTS} more"] * (len(found) > FAULTS)
    return "; ".join([*found[:FAULTS], *more, f"the whole has {known_set(base).whole}"])


def _undecodable(sets):
    """(how many images, spread over the sets, were decoded; names of those that could not be, with the reason)."""
    looked, bad, how = 0, [], Preprocessing(8)
    each = max(1, LOOKED_AT // len(sets))
    with Reader(how) as reader:
        for test_set in sets:
            some = test_set.take(list(range(len(test_set)))[:: max(1, len(test_set) // each)][:each])
            looked += len(some)
            _, faults = reader.finish(reader.start(some, 0, len(some)))
            bad += [f"{some.source.name(place)} ({reason})" for place, reason in faults]
    return looked, bad


def check_model(model, sets, *, image_size=None, resize="own", images=500, published=None):
    """The model's transform, normalisation and, on the first plain set, its accuracy.

    Normalisation is checked by asking, not by reading: the accuracy must be higher than for images that were normalised
    twice, than for images that were not normalised at all, and than for images with red and blue exchanged.

    Args:
        model: a `Classifier`. sets: list of `TestSet`.
        image_size, resize: what is to be used in an evaluation.
        images: how many images the accuracies are measured on.
        published: a results CSV of timm to compare with.

    Returns:
        list of `Finding`.
    """
    model = as_classifier(model, "doctor")
    size = image_size or (model.input_size or (None,))[0]
    findings = []
    if size is None:
        raise UsageError("doctor: image_size must be given, the model takes images of any size.")
    if model.input_size and tuple(model.input_size) != (size, size):
        findings.append(Finding("note", "image size", f"{size} pixels; the model was made for {model.input_size[0]}."))
    kind = model.record.get("normalisation")
    words = f"mean {_numbers(model.mean)}, std {_numbers(model.std)}, inside the model (from: {kind})"
    doubtful = kind in ("none", None) or model.doubts
    findings.append(Finding("note" if doubtful else "good", "normalisation", words))
    findings += [Finding("note", "normalisation, doubt", f"{doubt}.") for doubt in model.doubts]
    plain = next((each for each in sets if each.condition == ""), None)
    settled = settle("doctor", resize, size, model, lambda: set() if plain is None else sizes_of(plain))
    used, own = settled.how or Preprocessing(size, "own", size), of_model(model, size)
    if own is None:
        words = f"{settled.words}; the model does not say which one it was published with."
        findings.append(Finding("note", "transform", words))
    else:
        same = (used.side, used.method) == (own.side, own.method)
        words = f"published: {own.words}; used: {'the same' if used == own else used.words}"
        findings.append(Finding("good" if same else "note", "transform", words))
    if plain is None:
        return findings
    logit = {name: i for i, name in enumerate(_names(model, plain))}
    known = [i for i, label in enumerate(plain.labels.tolist()) if plain.classes[label] in logit]
    if not known:
        return [*findings, Finding("wrong", "classes", f"none of the classes of {plain.title} is the model's.")]
    known = known[:: max(1, len(known) // images)][:images]
    some = plain.take(known)
    targets = torch.tensor([logit[some.classes[label]] for label in some.labels.tolist()])
    ways = {"used": used, **({"published": own} if own is not None and own != used else {})}
    shares = {}
    for way, how in ways.items():
        normal, twice, never, swapped, number = _accuracies(model, some, targets, how)
        [low, high] = wilson(torch.tensor([normal]), torch.tensor([number]))[0].tolist()
        shares[way] = normal / number, low, high
        words = (
            f"{100 * normal / number:.1f}% ({100 * low:.1f} .. {100 * high:.1f}) of {number} images of {plain.title}"
        )
        findings.append(Finding("good", f"top-1, transform {way}", words))
        if way == "used":
            order = normal >= max(twice, never, swapped)
            words = (
                f"{100 * normal / number:.1f}% as it is, {100 * twice / number:.1f}% normalised twice, "
                f"{100 * never / number:.1f}% not normalised, {100 * swapped / number:.1f}% in the order B, G, R"
            )
            findings.append(Finding("good" if order else "wrong", "normalisation, by asking", words))
    findings.append(_published(model, shares, plain, published))
    return findings


def _names(model, plain):
    from freqkit.data.class_lists import class_list

    if model.num_classes == 1000:
        return class_list("imagenet")
    if len(plain.classes) == model.num_classes:
        return plain.classes
    raise UsageError(f"doctor: which class each of the model's {model.num_classes} logits is, is not known.")


def _accuracies(model, some, targets, how):
    """Right answers when normalised once, twice, never, once in the order B, G, R; the number of readable images."""
    forward, hits, number = Forward(model), [0, 0, 0, 0], 0
    mean, std = (torch.tensor(v, device=forward.device).view(1, 3, 1, 1) for v in (model.mean, model.std))
    with Reader(how) as reader:
        for first in range(0, len(some), 64):
            last = min(first + 64, len(some))
            pixels, bad = reader.finish(reader.start(some, first, last))
            good = [i for i in range(last - first) if i not in {place for place, _ in bad}]
            x = pixels[good].to(forward.device).float() / 255
            once = (x - mean) / std
            for k, z in enumerate((once, (once - mean) / std, x, (x.flip(1) - mean) / std)):
                said = forward(z.contiguous(memory_format=torch.channels_last)).argmax(1).cpu()
                hits[k] += int((said == targets[first:last][good]).sum())
            number += len(good)
    if number == 0:
        raise UsageError(f"doctor: no image of {some.title} can be decoded.")
    return *hits, number


def _published(model, shares, plain, published):
    from freqkit.results.store import read_timm

    if published is None:
        return Finding("note", "published accuracy", "not compared: timm's package holds none; give its results CSV.")
    rows = {row["model"]: row for row in read_timm(published) if row["metric"].endswith("top-1")}
    names = [model.name, f"{model.record.get('architecture')}.{model.record.get('tag')}"]
    row = next((rows[name] for name in names if name in rows), None)
    if row is None:
        return Finding("note", "published accuracy", f"{model.name} is not in the file.")
    value, low, high = shares.get("published", shares["used"])
    words = f"{100 * row['value']:.1f}% published, {100 * value:.1f}% ({100 * low:.1f} .. {100 * high:.1f}) here"
    return Finding("good" if low <= row["value"] <= high else "wrong", "published accuracy", words)


def _numbers(values):
    return "/".join(f"{v:.3g}" for v in values)
