"""The study of many models against the published numbers, plain loops, and planted tables."""

import csv
import itertools
import json
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from freqkit.errors import UsageError
from freqkit.measures import StudyResult, study
from freqkit.measures.correlation.checks import check_table
from freqkit.measures.correlation.quantities import BIASES, SCORES, degenerate
from freqkit.results.load import rows_of
from freqkit.results.published import read_benchmark
from freqkit.results.rows import unspell
from freqkit.results.store import Store
from freqkit.statistics import (
    benjamini_hochberg,
    correlation_p,
    drawn_anew,
    holm,
    partial_correlation,
    rank_correlations,
)

GROUPS = ("Total", "AT", "Other")
# Spearman over all, adversarially trained and other models; n: not significant
PUBLISHED = {
    "shape-bias": "-.7614 -.9786 -.6019 | -.5293 -.9071 -.2276n | .1387n -.0107n .4124 | .4662 .4393n .0381n",
    "HPP": ".6486 .8071 .4037 | .7859 .7464 .6146 | .5327 -.2321n .5859 | -.3965 -.5857 .5257",
    "bw_norm": "-.7160 -.7211 -.5654 | -.7593 -.6178 -.5355 | -.3111 .3479n -.1520n | .4911 .6468 -.2972n",
}


@pytest.fixture(scope="module")
def table(shared_data):
    return shared_data("biases-study", "benchmark.csv")


@pytest.fixture(scope="module")
def categories(shared_data):
    return shared_data("biases-study", "r50_categories.json")


@pytest.fixture(scope="module")
def rows(table):
    return read_benchmark(table)


@pytest.fixture(scope="module")
def found(rows, categories):
    return study(rows, groups=categories, resamples=200)


# --- a plain reading of the same file, which shares no code


def plain(table, categories):
    """(model -> name -> value, group -> models), by the csv module and mean()."""
    with open(table, newline="") as file:
        lines = {line["model"]: line for line in csv.DictReader(file)}
    kinds = json.loads(categories.read_text())
    models = [model for names in kinds.values() for model in names]
    values = {}
    for model in models:
        line = lines[model]
        own = values[model] = {name: float(line[name] if name == "shape-bias" else line[f"metric/criticalband/{name}"])
                               for name in ("shape-bias", "bw_norm", "cf_norm", "pns_norm")}  # fmt: skip
        for name, side in (("LPP", "LFC"), ("HPP", "HFC")):
            keys = [key for key in line if f"/{side}/" in key and 0.09 < float(key.rsplit("/", 1)[1]) < 0.51]
            own[name] = statistics.mean(float(line[key]) for key in keys)
        accuracy = {key.removeprefix("top1_acc/"): value for key, value in line.items()}
        for name, parts in (
            ("ID", ("imagenet", "imagenet-v2", "imagenet-real")),
            ("Robustness", ("imagenet-a", "imagenet-c", "imagenet-cbar")),
            ("Concepts", ("imagenet-sketch", "imagenet-r", "stylized")),
            ("Adversarial", ("PGD-40/low",)),
        ):
            own[name] = statistics.mean(float(accuracy[part]) for part in parts)
    robust = kinds["adversarial_training"]
    return values, {"Total": models, "AT": robust, "Other": [model for model in models if model not in robust]}


def ranks(values):
    """Average ranks, by counting."""
    return [sum(other < one for other in values) + (values.count(one) + 1) / 2 for one in values]


def spearman(x, y):
    """Pearson's correlation of ranks, in sums; None where one does not vary."""
    x, y = ranks(x), ranks(y)
    a, b = ([one - statistics.mean(each) for one in each] for each in (x, y))
    size = math.sqrt(sum(one * one for one in a) * sum(one * one for one in b))
    return sum(one * other for one, other in zip(a, b, strict=True)) / size if size else None


def test_every_cell_of_the_published_tables(found, table, categories):
    values, groups = plain(table, categories)
    cells = {(one["bias"], one["score"], one["group"]): one for one in found.correlations}
    assert len(cells) == 72 and [len(models) for models in found.groups.values()] == [48, 15, 33]
    assert set(cells) == set(itertools.product(BIASES, SCORES, GROUPS))
    among = {frozenset((one["bias"], one["score"])): one for one in found.biases}
    assert len(among) == len(found.biases) == 15
    pairs = {(a, b, "Total"): among[frozenset((a, b))] for a, b in itertools.combinations(BIASES, 2)}
    for (a, b, group), one in {**cells, **pairs}.items():
        x, y = ([values[model][name] for model in groups[group]] for name in (a, b))
        assert one["rho"] == pytest.approx(spearman(x, y), abs=1e-12) and one["n"] == len(x)
        assert one["p"] == pytest.approx(stats.spearmanr(x, y).pvalue, rel=1e-9, abs=1e-15)
    for bias, line in PUBLISHED.items():
        for score, three in zip(SCORES, line.split(" | "), strict=True):
            for group, text in zip(GROUPS, three.split(), strict=True):
                one = cells[bias, score, group]
                assert one["rho"] == pytest.approx(float(text.rstrip("n")), abs=5e-5)
                assert (one["p"] >= 0.05) == text.endswith("n")


def test_composites_extremes_and_mce(found, rows):
    known = found.composites
    for model, numbers in (
        ("tv_resnet50", (0.214646, 0.632931, 0.006887, 75.263022, 26.950203, 32.457772, 18.390345)),
        ("resnet50_trained_on_SIN", (0.813922, 0.558385, 0.044686, 60.700961, 26.301104, 53.712193, 12.328165)),
        ("tv2_resnet50", (0.171910, 0.660561, 0.013462, 80.032016, 38.808205, 36.146420, 39.899696)),
    ):
        assert [known[model][name] for name in ("shape-bias", "LPP", "HPP", *SCORES)] == pytest.approx(
            numbers, abs=6e-7
        )
    for name, least, most in (
        ("shape-bias", "resnet50.a3_in1k", "resnet50_trained_on_SIN"),
        ("LPP", "resnet50_swav", "resnet50_deepaugment_augmix"), ("HPP", "robust_resnet50_l2_eps3", "resnet50_prime"),
        ("ID", None, "tv2_resnet50"), ("Robustness", None, "resnet50_pixmix_180ep"),
        ("Concepts", None, "resnet50_trained_on_SIN_and_IN"), ("Adversarial", None, "robust_resnet50_linf_eps1.0"),
    ):  # fmt: skip
        assert least is None or min(known, key=lambda model, name=name: known[model][name]) == least
        assert max(known, key=lambda model, name=name: known[model][name]) == most
    every = study(rows, resamples=0, leave_out=0).composites  # no groups: all 70
    for model, mce in (("tv_resnet50", 76.432), ("resnet50_deepaugment", 60.024), ("tv2_resnet50", 65.632),
                       ("resnet50_untrained", 129.218)):  # fmt: skip
        assert every[model]["mCE"] == pytest.approx(mce, abs=5e-4)
    assert every["resnet50_lpmix"]["mCE"] is None


def test_a_published_table_is_what_it_says(found, rows):
    verdicts = {one["what"]: one["verdict"] for one in found.checks}
    assert list(verdicts.values()).count("good") == 12 and "wrong" not in verdicts.values()
    notes = {one["what"]: one["found"] for one in found.checks if one["verdict"] == "note"}
    for what, words in (("imagenet-real", "326 images"), ("PGD-40/low", "50,048"), ("bw, cf, pns", "32 of them"),
                        ("imagenet-c, extra corruptions", "up to 2.02 points")):  # fmt: skip
        assert words in notes[what]
    own = [row for row in rows if row["model"] in found.models]
    words = {one.what: one.found for one in check_table(own)}
    assert (
        words["bw_norm, cf_norm, pns_norm"].startswith("20 different fits among 48") and "27 of" in words["bw, cf, pns"]
    )
    bent = [dict(row) for row in own]
    for row in bent:
        if row["model"] == "resnet50_dino" and (row["set"], row["condition"]) == ("imagenet-a", "all, 200 logits"):
            row["value"] += 1e-5
        if row["model"] == "resnet50_swav" and row["condition"] == "fog/3":
            row["value"] += 0.0004  # still a whole number of images, but their mean is another
    wrong = {one.what: one.found for one in check_table(bent) if one.verdict == "wrong"}
    assert set(wrong) == {"imagenet-a", "imagenet-c, mean"}
    assert "resnet50_dino" in wrong["imagenet-a"] and "resnet50_swav" in wrong["imagenet-c, mean"]


# --- statistics against what is plain


def test_resamples_have_the_ranks_of_the_table_written_out():
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(size=17), rng.integers(0, 4, 17), rng.integers(0, 2, 17), np.ones(17)])
    counts = drawn_anew(np.arange(17), 40, seed=3)
    assert (counts.sum(1) == 17).all() and not np.array_equal(counts, drawn_anew(np.arange(17), 40, 3, stream=1))
    pairs = [(0, 1), (1, 2), (0, 3)]
    got = rank_correlations(values, pairs, counts)
    for line, drawn in zip(got, counts, strict=True):
        written = np.repeat(values, drawn, axis=1)
        for rho, (a, b) in zip(line, pairs, strict=True):
            expected = spearman(written[a].tolist(), written[b].tolist())
            assert math.isnan(rho) if expected is None else rho == pytest.approx(expected, abs=1e-12)
    owners = np.array([0, 0, 1, 2, 2, 2])
    drawn = drawn_anew(owners, 500, seed=0)
    assert all((drawn[:, owners == k] == drawn[:, owners == k][:, :1]).all() for k in range(3))
    assert (drawn[:, [0, 2, 3]].sum(1) == 3).all() and abs(drawn[:, 0].mean() - 1) < 0.15


def test_partial_correlation_is_that_of_what_clean_accuracy_leaves():
    rng = np.random.default_rng(1)
    z = rng.normal(size=30)
    x, y = (stats.rankdata(z + rng.normal(size=30)) for _ in range(2))
    z = stats.rankdata(z)

    def rest(v):
        return v - np.polyval(np.polyfit(z, v, 1), z)

    expected = np.corrcoef(rest(x), rest(y))[0, 1]
    rho = rank_correlations(np.stack([x, y, z]), [(0, 1), (0, 2), (1, 2)])[0]
    assert partial_correlation(*rho) == pytest.approx(expected, abs=1e-12)
    t = expected * math.sqrt(27 / (1 - expected**2))
    assert correlation_p(expected, 30, given=1) == pytest.approx(2 * stats.t.sf(abs(t), 27), rel=1e-9)
    assert correlation_p(1.0, 5) == 0 and math.isnan(correlation_p(0.5, 2))


def test_corrected_p_by_plain_loops():
    p = np.random.default_rng(2).uniform(size=25) ** 3
    order = sorted(range(25), key=lambda k: p[k])
    stepped, largest = {}, 0.0
    for place, k in enumerate(order):
        largest = max(largest, (25 - place) * p[k])
        stepped[k] = min(1.0, largest)
    assert holm(p).tolist() == pytest.approx([stepped[k] for k in range(25)])
    assert benjamini_hochberg(p).tolist() == pytest.approx(stats.false_discovery_control(p).tolist())
    with_unknown = np.append(p, math.nan)
    assert holm(with_unknown)[:25].tolist() == holm(p).tolist() and math.isnan(holm(with_unknown)[25])


def told(**columns):
    """Tidy rows of made-up models; sets are named by the columns of `SETS` they stand for."""
    places = {
        "imagenet": ("imagenet", "all", "top-1"), "v2": ("imagenet-v2", "matched-frequency", "top-1"),
        "real": ("imagenet", "all", "ReaL top-1"),
        "pgd": ("imagenet", "pgd linf 0.5/255, 40 steps of 2, restarts 1, last iterate", "top-1"),
    }  # fmt: skip
    return [
        {"model": f"m{k}", "class": "", "value": value, "definition": "",
         **dict(zip(("set", "condition", "metric"), places.get(name, ("", "all", name.replace("_bias", "-bias"))),
                    strict=True))}
        for name, values in columns.items() for k, value in enumerate(values) if value is not None
    ]  # fmt: skip


def relation(result, bias, score, group="Total"):
    return next(one for one in (*result.correlations, *result.biases)
                if (one["bias"], one["score"], one["group"]) == (bias, score, group))  # fmt: skip


def test_what_a_relation_hangs_on_by_every_choice():
    x = np.arange(12.0)
    y = np.array([5, 2, 7, 0, 6, 1, 4, 3, 8, 9, 10, 11.0])  # without its end there is no relation
    result = study(told(shape_bias=x, pgd=y / 500), resamples=0, leave_out=3)
    one = relation(result, "shape-bias", "Adversarial")
    assert one["p"] < 0.05

    def p_without(gone):
        kept = [k for k in range(12) if k not in gone]
        return stats.spearmanr(x[kept], y[kept]).pvalue

    fewest = next((n for n in (1, 2, 3) if max(map(p_without, itertools.combinations(range(12), n))) >= 0.05), None)
    assert fewest in (1, 2, 3) and len(one["hangs_on"]) == fewest
    assert p_without([int(name[1:]) for name in one["hangs_on"]]) >= 0.05
    alone = [stats.spearmanr(np.delete(x, k), np.delete(y, k)).statistic for k in range(12)]
    assert (one["without_low"], one["without_high"]) == pytest.approx((min(alone), max(alone)))
    firm = relation(
        study(told(shape_bias=np.arange(9), pgd=np.arange(9) / 10), resamples=0), "shape-bias", "Adversarial"
    )
    assert firm["hangs_on"] == [] and firm["rho"] == 1 and firm["p"] == 0


def test_variants_of_one_recipe_do_not_count_as_many():
    """Twenty variants that agree make an interval over models that is sure, and one over families that is not."""
    x = np.concatenate([[3.0, 1, 4, 2, 5], np.arange(20) + 10.0])
    y = np.concatenate([[4.0, 5, 1, 3, 2], np.arange(20) + 10.0])
    families = {"recipe": [f"m{k}" for k in range(5, 25)]}
    one = relation(study(told(shape_bias=x, pgd=y), families=families, resamples=2000), "shape-bias", "Adversarial")
    assert one["families"] == 6 and one["low"] > 0.8 and one["family_low"] < 0 < one["family_high"]
    alone = study(told(shape_bias=x, pgd=y), resamples=500)
    one = relation(alone, "shape-bias", "Adversarial")
    assert (one["family_low"], one["family_high"], one["families"]) == (one["low"], one["high"], 25)
    again, other = (study(told(shape_bias=x, pgd=y), resamples=500, seed=seed) for seed in (0, 1))
    assert again.correlations == alone.correlations != other.correlations


def test_the_bootstrap_covers_what_is_planted():
    rng, hits = np.random.default_rng(5), 0
    for _ in range(60):
        x, y = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 60).T
        one = relation(study(told(shape_bias=x, pgd=y), resamples=300, leave_out=0), "shape-bias", "Adversarial")
        hits += one["low"] <= 6 / math.pi * math.asin(0.3) <= one["high"]
    assert hits >= 50


# --- what is missing or odd is said


def test_a_constant_column_is_undefined_and_missing_values_are_said():
    accuracy = [0.5, 0.6, 0.7, 0.8, 0.9]
    made = told(shape_bias=[0.3] * 5, LPP=[0.1, 0.2, 0.4, None, 0.5], imagenet=accuracy, v2=[*accuracy[:4], None],
                pgd=accuracy)  # fmt: skip
    result = study(made, resamples=50)
    one = relation(result, "shape-bias", "Adversarial")
    assert (one["rho"], one["p"], one["low"], one["bh"], one["hangs_on"]) == (None,) * 5 and one["n"] == 5
    assert relation(result, "LPP", "Adversarial")["n"] == 4 and relation(result, "HPP", "ID")["n"] == 0
    assert result.composites["m0"]["ID"] == pytest.approx(50) and result.composites["m0"]["Concepts"] is None
    notes = " ".join(result.notes)
    assert "LPP is missing for 1 of 5 models, which its correlations leave out: m3." in notes
    assert (
        "HPP is known of no model" in notes and "ID is the mean without imagenet-real for m0, m1, m2 and m3." in notes
    )
    assert "ID is the mean without imagenet-v2 and imagenet-real for m4." in notes


def test_degenerate_fits_are_said_and_left_out_when_asked(rows):
    fits = [(4.738505, 38.854456, 1), (10.456492, 114.495, 0.516747), (10.321973, 2.9e-6, 0.088117),
            (11295.35, 3681.95, 0.999988)]  # fmt: skip
    assert degenerate(*np.array(fits).T).tolist() == [False, False, True, True]
    every = study(rows, resamples=0, leave_out=0)
    assert any("1 fits of the critical band are degenerate and count as they stand: resnet50_untrained" in note
               for note in every.notes)  # fmt: skip
    mended = study(rows, resamples=0, leave_out=0, mend=("fits", "pgd", "c15"))
    assert mended.composites["resnet50_untrained"]["bw_norm"] is None
    assert mended.composites["tv_resnet50"]["Adversarial"] == pytest.approx(18.312, abs=5e-7)
    assert relation(mended, "bw_norm", "ID")["n"] == relation(every, "bw_norm", "ID")["n"] - 1
    moved = [abs(mended.composites[m]["Robustness"] - one["Robustness"]) for m, one in every.composites.items()]
    assert max(moved) == pytest.approx(2.02 / 3, abs=0.01)
    with pytest.raises(UsageError, match="mend must be some of pgd, c15, fits"):
        study(rows, mend=("all",))


def test_tables_that_cannot_be_are_refused_in_one_sentence(table, tmp_path):
    lines = table.read_text().splitlines()
    bad = tmp_path / "bad.csv"
    for change, words in (
        (lambda: [*lines, lines[5]], r"a model must be there once; '.*' is in lines 6 and 72"),
        (
            lambda: [*lines[:3], lines[3].replace(",", ",oops", 1), *lines[4:]],
            r"line 4, top1_acc/imagenet, must be a finite",
        ),
        (lambda: [lines[0] + ",shape-bias", *(line + ",1" for line in lines[1:])], "'shape-bias' is there twice"),
        (lambda: [lines[0], *lines[1:4], ",".join(lines[4].split(",")[:-2])], "line 5 has 1598 fields"),
    ):
        bad.write_text("\n".join(change()) + "\n")
        with pytest.raises(UsageError, match=words):
            read_benchmark(bad)
    with pytest.raises(UsageError, match="rows must hold values of the study"):
        study([])


@pytest.mark.parametrize("between", ["\u2028", "\x0b", "\n"])
def test_a_name_of_a_column_may_hold_what_parts_lines_elsewhere(between, tmp_path):
    (tmp_path / "table.csv").write_text(f'model,"my{between}score"\nresnet50,3\n')
    (row,) = read_benchmark(tmp_path / "table.csv")
    assert row["value"] == 3 and row["model"] == "resnet50"


def test_groups_that_cannot_be(rows, categories, tmp_path):
    groups = json.loads(categories.read_text())
    found = study(rows, groups={**groups, "more": ["nobody", "resnet18"]}, resamples=0, leave_out=0)
    assert any(note == "The groups name models of which there is no row: nobody." for note in found.notes)
    assert len(found.models) == 49 and any("21 models are in no category" in note for note in found.notes)
    for kinds, apart, words in (
        ({**groups, "more": ["tv_resnet50"]}, None, "'tv_resnet50' is in 'baseline' and 'more'"),
        ({"a": ["nobody"]}, None, "they name none of them"),
        (groups, {"X": "none"}, "apart must be names of their own and some of baseline"),
        (None, {"X": "baseline"}, "apart needs groups"),
    ):
        with pytest.raises(UsageError, match=words):
            study(rows, groups=kinds, apart=apart, resamples=0)
    (tmp_path / "groups.json").write_text('{"a": [1]}')
    with pytest.raises(UsageError, match=r"groups.json: a\[0\] must be a text"):
        study(rows, groups=tmp_path / "groups.json")
    split = study(rows, groups=groups, apart={"Big": "augmentation"}, resamples=0, leave_out=0)
    assert {name: len(models) for name, models in split.groups.items()} == {"Total": 48, "Big": 12, "Other": 36}


# --- models that are added


def test_added_models_stand_among_the_others_and_change_no_published_number(found, rows, categories, tmp_path):
    """The baseline written as rows of an evaluation and of measures: it falls upon its own published line."""
    store = Store(tmp_path / "own.sqlite")
    base = [row for row in rows if row["model"] == "tv_resnet50"]
    kept = [
        {**row, "definition": "top-1, here", "metric": row["metric"].removesuffix(" as published")} for row in base
        if not row["metric"].startswith("metric/") and row["metric"] != "mean top-1"
    ]  # fmt: skip
    store.add([*kept, {**kept[0], "model": "mine", "set": "imagenet", "value": 0.7, "metric": "top-1"}], source="here")
    result = study(rows, groups=categories, added=store.rows(), resamples=200)
    assert result.added == ["tv_resnet50 (added)", "mine"] and result.categories[-2:] == ["added"] * 2
    own, other = (result.composites[name] for name in ("tv_resnet50", "tv_resnet50 (added)"))
    assert own == pytest.approx(other, rel=1e-12)
    published = [one for one in result.correlations if one["group"] != "With added"]
    assert published == found.correlations and result.biases == found.biases
    ranked = relation(result, "bw_norm", "Adversarial", "With added")
    assert ranked["n"] == 49 and relation(result, "bw_norm", "ID", "With added")["n"] == 49
    notes = " ".join(result.notes)
    assert "mine has no shape-bias, LPP, HPP, bw_norm, cf_norm, pns_norm, Robustness, Concepts and Adversarial" in notes
    assert "ID of mine is the mean without imagenet-v2 and imagenet-real" in notes
    assert all(f"tv_resnet50 (added): accuracy {how}" in notes for how in ("on ReaL", "under PGD"))
    other = study(rows, groups=categories, added=[{**row, "definition": "disc, 16-way"} for row in kept], resamples=0)
    assert any("bw_norm, cf_norm and pns_norm of tv_resnet50 (added): disc, 16-way" in note for note in other.notes)


def test_rows_are_taken_only_where_they_measure_the_same():
    def one(**more):
        return {"model": "m", "set": "imagenet-a", "condition": "all, 200 logits", "class": "", "metric": "top-1",
                "value": 0.5, "definition": "", **more}  # fmt: skip

    others = (
        {"condition": "all"}, {"metric": "filtered top-1"}, {"set": "imagenet-stylized"}, {"class": "cat"},
        {"condition": "all, 200 logits of imagenet-r"}, {"set": "imagenet", "condition": "fgsm linf 4/255"},
    )  # fmt: skip
    for row in (one(**each) for each in others):
        with pytest.raises(UsageError, match="rows must hold values of the study"):
            study([row])
    assert study([one()], resamples=0).composites["m"]["Robustness"] == 50
    people = {"set": "stylized", "condition": "all", "metric": "accuracy", "definition": "right among 16 categories"}
    tidy = {**unspell(one(set="imagenet-r")), "value": 0.1}  # as `result.rows()` gives it
    found = study([one(**people), one(set="imagenet-sketch", condition="all"), tidy], resamples=0)
    assert found.composites["m"]["Concepts"] == pytest.approx((50 + 50 + 10) / 3)


# --- result, page, command


def test_a_result_survives_a_round_trip_and_gives_rows(found, tmp_path):
    found.save(tmp_path / "study.safetensors")
    again = StudyResult.load(tmp_path / "study.safetensors")
    assert again.quantities.equal(found.quantities) and again.ratios.nan_to_num().equal(found.ratios.nan_to_num())
    for name in ("models", "categories", "groups", "correlations", "biases", "notes", "checks", "definition", "record"):
        assert getattr(again, name) == getattr(found, name)
    with open(tmp_path / "study.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 87 and float(lines[0]["rho"]) == found.correlations[0]["rho"]
    rows = {(row["model"], row["metric"], row["condition"]): row["value"] for row in found.rows()}
    assert rows["tv_resnet50", "ID", "all"] == pytest.approx(75.263022)
    assert rows["", "Spearman of LPP and ID", "AT"] == pytest.approx(-0.9893, abs=5e-5)
    assert {row["metric"] for row in rows_of(tmp_path / "study.safetensors")} >= {"ID", "mCE"}


def test_the_page_says_what_survives_and_fits(found, tmp_path):
    from freqkit.report import write_report

    found.save(tmp_path / "study.safetensors")
    page = write_report(tmp_path / "study.safetensors")
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < 5e6 and "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")
    sure = sum(one["p"] < 0.05 for one in found.correlations)
    held = sum(one["holm"] < 0.05 for one in found.correlations)
    few = sum(bool(one["hangs_on"]) for one in found.correlations)
    assert f"{sure} are significant one by one" in text and f", {held} when a single" in text
    assert f"{few} hang on 3 models or fewer" in text and "<title>tv_resnet50 (baseline)<" in text
    axis = found.plot().axes[0].figure.subplots()
    assert found.plot(axis, of="LPP") is axis and "LPP" in axis.get_title(loc="left")
    with pytest.raises(UsageError, match="of must be one of shape-bias"):
        found.plot(axis, of="ID")
