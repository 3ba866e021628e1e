"""Sentences and numbers in words that several kinds of result put on their pages."""

from freqkit.report.readings import READINGS
from freqkit.report.svg import percent


def clean_rows(clean):
    """The first fact of a page: how many whole images the network recognises."""
    if clean is None:
        return [("Clean accuracy", "not known: the run did not ask the whole images")]
    low, high = clean.interval
    return [("Clean accuracy", f"{percent(clean.accuracy, 1)} ({percent(low, 1)}–{percent(high, 1)}) of"
             f" {clean.images:,} whole images; guessing would give {percent(clean.chance, 1)}")]  # fmt: skip


def listed(names, limit=5):
    """a, b and c; long lists are cut.

    Example:
        >>> listed(["a", "b", "c"]), listed(list("abcdefgh"), 3)
        ('a, b and c', 'a, b, c and 5 more')
    """
    names = [str(name) for name in names]
    if len(names) > limit:
        return f"{', '.join(names[:limit])} and {len(names) - limit} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def headline(found, clean=None):
    """The large numbers above the verdict."""
    if not found:
        return []
    whole = [] if clean is None else [(percent(clean.accuracy, 1), "of the whole images recognised")]
    shortcuts = [one for one in found if one.word == "shortcut"]
    best = max(found, key=lambda one: or_last(one.difference))
    kept = sorted(one.kept for one in found)[len(found) // 2]
    return [
        *whole,
        (f"{len(shortcuts):,} of {len(found):,}", "classes with a shortcut"),
        (percent(best.difference), f"highest TPR − FPR ({best.name})"),
        (percent(kept, 1), "of the frequencies kept (median)"),
    ]


def verdict(found, *, tested=False, clean=None, where="on the images that were searched"):
    """What rates say, in sentences with numbers and intervals; `clean`: `CleanRates` of the classes, or None; `tested`:
    on test images, else on those of `where`."""
    groups = {word: sorted((one for one in found if one.word == word), key=lambda one: -one.difference)
              for word in READINGS}  # fmt: skip
    where = "on the test images" if tested else where
    tested = tested or "held out" in where
    kept = sorted({percent(one.kept, 1): one.kept for one in found if one.kept == one.kept}.items(), key=lambda k: k[1])
    share = f" ({kept[0][0]}{f' to {kept[-1][0]}' if len(kept) > 1 else ''} of all)" if kept else ""
    sentences = ["" if clean is None else clean.sentence()]
    sentences += [
        f"The model saw each class through that class's own few frequencies alone{share}. TPR: the share of its images"
        " recognised so. FPR: the share of all other images then taken for it. A shortcut is a class with a high TPR"
        " and a low FPR."
    ]
    if groups["shortcut"]:
        best = groups["shortcut"][0]
        count = len(groups["shortcut"])
        sentences.append(
            f"{listed([one.name for one in groups['shortcut']])} {'is' if count == 1 else 'are'} recognised by few"
            f" frequencies alone, {where}. {best.name}: {rates_words(best)}."
        )
    else:
        best = max(found, key=lambda one: or_last(one.difference))
        sentences.append(
            f"No class has a clear shortcut {where}: nowhere does the interval of TPR − FPR lie above 50%. The nearest"
            f" is {best.name}: {rates_words(best)}."
        )
    sentences += random_sentences(found)
    if groups["weak"]:
        chance = " (Fisher's exact test, 2.5%"
        chance += ")" if tested else ", as if the maps had not been chosen on these very images)"
        first = groups["weak"][0]
        sentences.append(
            f"{listed([one.name for one in groups['weak']])} {'is' if len(groups['weak']) == 1 else 'are'} told apart"
            f" through few frequencies more often than by chance{chance}, but weakly (TPR − FPR at most"
            f" {percent(first.difference)}, interval {span(first.difference_interval)})."
        )
    if unsure := [one for one in groups["unsure"] if one.difference_interval[0] <= 0]:
        one = unsure[0]
        sentences.append(
            f"{listed([each.name for each in unsure])}: recognised, but on so few images the interval of TPR − FPR"
            f" reaches 0 ({one.name}: {round(one.tpr * one.positives)} of {one.positives}, interval"
            f" {span(one.difference_interval)}), so it may be an answer that is given whatever the image."
        )
    if groups["default"]:
        worst = max(groups["default"], key=lambda one: one.fpr)
        sentences.append(
            f"{listed([one.name for one in groups['default']])}: recognised, but so is much else. That is what the"
            f" model answers when it sees little ({worst.name} for {percent(worst.fpr)} of all other images), not"
            " recognition."
        )
    if few := [one for one in groups["unsure"] + groups["none"] if one.difference_interval[0] > 0]:
        one = few[0]
        sentences.append(
            f"{listed([each.name for each in few])}: too few images to tell recognition from chance ({one.name}:"
            f" {round(one.tpr * one.positives)} of {one.positives}, TPR 95% interval {span(one.tpr_interval)}; by"
            " Fisher's exact test so many may be called so by chance)."
        )
        groups["none"] = [one for one in groups["none"] if one not in few]
    if groups["none"]:
        count = len(groups["none"])
        sentences.append(
            f"{listed([one.name for one in groups['none']])} {'is' if count == 1 else 'are'} not recognised through"
            f" {'its map' if count == 1 else 'their maps'}: {'it needs' if count == 1 else 'they need'} more of the"
            " spectrum, or a longer search."
        )
    if untested := groups["untested"]:
        count = len(untested)
        sentences.append(
            f"{listed([one.name for one in untested])} {'is' if count == 1 else 'are'} not tested: of so few images"
            " none could be held out."
        )
    if clean is not None and clean.still is not None and int(clean.correct.sum()):
        hits, trials = int(clean.still.sum()), int(clean.correct.sum())
        sentences.append(
            f"Of the {trials:,} images that are recognised whole, {hits:,} ({percent(hits / trials)}) are still"
            " recognised through the map of their class."
        )
    return [sentence for sentence in sentences if sentence]


def random_sentences(found):
    """Where the maps lie against random masks, and searches with permuted labels."""
    rated = [one for one in found if one.p is not None]
    if not rated:
        return []
    draws, classes = rated[0].draws, len(rated)
    among = f"corrected for {classes} classes" if classes > 1 else "one class"
    own = sorted((one for one in rated if one.word == "shortcut"), key=lambda one: -one.difference)
    highest = max(rated, key=lambda one: one.random)
    reach = f"{percent(highest.random)} at most ({highest.name})"
    if own:
        worst = max(one.p for one in own)
        sentences = [
            f"Random masks of as many frequencies do not reach {'that' if len(own) == 1 else 'those'}: of {draws} for"
            f" each class, TPR − FPR comes to {reach} (p {'=' if len(own) == 1 else '≤'} {p_words(worst)}, {among})."
        ]
    else:
        best = max(rated, key=lambda one: or_last(one.difference))
        sentences = [
            f"Of {draws} random masks of as many frequencies for each class, TPR − FPR comes to {reach}; {best.name}'s"
            f" map to {percent(best.difference)} (p = {p_words(best.p)}, {among})."
        ]
    if random := [one for one in rated if one.word == "random"]:
        one = max(random, key=lambda one: one.random)
        sentences.append(
            f"{listed([each.name for each in random])}: recognised by few frequencies, but random masks, or searches"
            f" with permuted labels, do as well ({one.name}: {percent(one.random)} through one of its own {draws}), so"
            " nothing is said for these frequencies."
        )
    if permuted := [one.permuted for one in rated if one.permuted is not None]:
        best = max(rated, key=lambda one: or_last(one.difference))
        sentences.append(
            f"The same search with permuted labels came to a TPR − FPR of {percent(max(permuted))} at most on held-out"
            f" images; {best.name}'s map to {percent(best.difference)} (p = {p_words(best.p_permuted)}, {among})."
        )
    return sentences


def p_words(value):
    """A p in two digits, a dash of none.

    Example:
        >>> p_words(1 / 21), p_words(1.0), p_words(0.0004), p_words(None)
        ('.048', '1', '.0004', '–')
    """
    return "–" if value is None else f"{value:.2g}".removeprefix("0")


def random_cautions(found):
    """That nothing says how far random masks come, where a class is said to have a shortcut."""
    if not any(one.word == "shortcut" and one.p is None for one in found):
        return []
    return [
        "Random masks were not asked, so it is not known whether any mask of as many frequencies would do as well;"
        " the command `rates` asks them."
    ]


def few_cautions(found):
    """What few images do to rates, as a sentence of its own."""
    fewest = min((one.positives for one in found if one.positives), default=0)
    return [sentence] if (sentence := steps_of(fewest).strip()) else []


def rates_words(one):
    """TPR, FPR and the share of frequencies of one class, with intervals."""
    return (
        f"TPR {percent(one.tpr)} (95% interval {span(one.tpr_interval)}), FPR {percent(one.fpr)}"
        f" ({span(one.fpr_interval)}), with {percent(one.kept, 1)} of the frequencies"
    )


def span(interval):
    return f"{percent(interval[0])}–{percent(interval[1])}"


def selection_cautions(found):
    """What the reader of a search's own rates must know."""
    fewest = min((one.positives for one in found if one.positives), default=0)
    return [
        "The maps were chosen on the very images on which these rates are measured, so they are too good."
        f"{steps_of(fewest)} Test them on other images."
    ]


def steps_of(fewest):
    """What few images do to a rate, as a sentence with a blank before it; nothing from 100 images of a class on.

    Example:
        >>> steps_of(20)
        ' A class has as few as 20 images: its rates come in steps of 5%.'
        >>> steps_of(1), steps_of(100)
        (' A class has one image: its TPR is 0% or 100%.', '')
    """
    if not 0 < fewest < 100:
        return ""
    if fewest == 1:
        return " A class has one image: its TPR is 0% or 100%."
    step = percent(1 / fewest, 0 if 100 % fewest == 0 else 1)
    return f" A class has as few as {fewest} images: its rates come in steps of {step}."


def weights_cautions(record):
    """A network that was never trained has no shortcuts to find, one that is asked otherwise than trained none of its
    own."""
    model = record.get("model", {})
    known = model.get("source") in ("built-in", "timm")
    cautions = [f"{doubt}." for doubt in model.get("doubts") or ()]
    if known and not (model.get("weights") or model.get("pretrained") or model.get("trained")):
        cautions.insert(
            0, f"{model.get('name')} has random weights: nothing on this page says anything about a trained network."
        )
    return cautions


def clean_cautions(clean):
    """What whole images say against the network being the one that was meant."""
    return [] if clean is None else clean.cautions()


def same_maps(classes, masks):
    """Classes whose maps are one and the same: what is found through it says nothing of either alone."""
    groups = {}
    for name, mask in zip(classes, masks, strict=True):
        groups.setdefault(mask.numpy().tobytes(), []).append(name)
    twins = [names for names in groups.values() if len(names) > 1]
    if not twins:
        return []
    words = "; ".join(listed(names) for names in twins[:3])
    more = f", and {len(twins) - 3} more such groups" if len(twins) > 3 else ""
    return [f"The same map, bin by bin, was found for {words}{more}: such a map is no class's own."]


def more_than_asked(level, found):
    """Says what is kept where that is not the share that was asked for: cells come whole, and ties together."""
    kept = sorted(one.kept for one in found if one.kept == one.kept)
    if not kept or (abs(kept[0] - level) < 0.1 * level and abs(kept[-1] - level) < 0.1 * level):
        return []
    low, high = percent(kept[0], 1), percent(kept[-1], 1)
    words = low if low == high else f"{low} to {high}"
    return [
        f"{percent(level, 1)} of the frequencies were asked for, {words} are kept: a cell of frequencies goes in or out"
        " as a whole, with all that tie with it, and each with its mirror image."
    ]


def known(value):
    """A number, None when it is not one."""
    return value if value is not None and value == value and abs(value) != float("inf") else None


def or_last(value):
    """What a difference of rates is sorted by, highest first: what is no number comes last."""
    return -2.0 if known(value) is None else value
