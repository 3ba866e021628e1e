"""The sets of the comparison with people as they lie on disk, whole and damaged."""

import pytest

from freqkit.data import open_sets
from freqkit.data.sixteen import CATEGORIES
from freqkit.data.test_sets.known import known_set
from freqkit.data.test_sets.model_vs_human import CONDITIONS, IMAGES, PREFIX, SETS, cues_of, image_key
from freqkit.errors import UsageError
from tests.measures.oracle import put

# Conditions that the published mean leaves out, as the study of many models states them.
DROPPED = {
    "colour": "cr", "contrast": "c100 c03 c01", "high-pass": "inf 0.55 0.45 0.4", "low-pass": "0 15 40",
    "phase-scrambling": "0 150 180", "power-equalisation": "0", "false-colour": "True", "rotation": "0",
    "eidolonI": "1-10-10 64-10-10 128-10-10", "eidolonII": "1-3-10 32-3-10 64-3-10 128-3-10",
    "eidolonIII": "1-0-10 16-0-10 32-0-10 64-0-10 128-0-10", "uniform-noise": "0.0 0.6 0.9",
}  # fmt: skip


def test_the_17_sets_have_their_published_sizes_and_dropped_conditions():
    assert len(SETS) == len(set(SETS)) == 17 and sum(IMAGES.get(name, 1280) for name in SETS) == 18_080
    for name, (conditions, dropped) in CONDITIONS.items():
        assert set(dropped) == set(DROPPED.get(name, "").split()) <= set(conditions)
        assert IMAGES.get(name, 1280) % len(conditions) == 0 and known_set(PREFIX + name).parts == conditions


def test_sessions_become_conditions_in_the_published_order(tmp_path):
    folder = tmp_path / "contrast" / "dnn"
    for session in (1, 2, 10):
        for condition in ("c05", "c100"):
            for category in ("oven", "airplane"):
                put(folder / f"session-{session}" / f"0001_cop_dnn_{condition}_{category}_10_n1_{session}.png", 404)
    sets = open_sets(["human-contrast"], tmp_path, relaxed=True)
    assert [(each.title, len(each)) for each in sets] == [("contrast c100", 6), ("contrast c05", 6)]
    first = sets[0]
    assert [CATEGORIES[label] for label in first.labels.tolist()] == ["airplane", "oven"] * 3
    assert [first.source.name(i).split("/")[1] for i in (0, 2, 4)] == ["session-1", "session-2", "session-10"]
    notes = "6 of 8 conditions are missing", "12 images instead of 1280"
    assert all(any(note in own for own in first.notes) for note in notes)


@pytest.mark.parametrize(("file", "named"), [
    ("colour/dnn/session-1/0001_cl_dnn_cr_zebra_10_n1_1.png", "0001_cl_dnn_cr_zebra_10_n1_1.png"),
    ("colour/dnn/session-1/cat1.png", "session-1/cat1.png"),
    ("cue-conflict/cat/cat1.png", "cat/cat1.png"),
    ("cue-conflict/cat/cat1-zebra2.png", "cat/cat1-zebra2.png"),
    ("colour/dnn/cat/a.png", "must hold dnn/session-1"),
    ("edge/zebra/a.png", "it holds zebra"),
])  # fmt: skip
def test_what_is_no_image_of_a_set_is_named_in_one_sentence(tmp_path, file, named):
    put(tmp_path / file, 404)
    name = f"human-{file.split('/')[0]}={tmp_path / file.split('/')[0]}"
    with pytest.raises(UsageError) as error:
        open_sets([name], relaxed=True)
    assert named in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_condition_is_a_fault_that_relaxed_accepts(tmp_path):
    put(tmp_path / "colour" / "dnn" / "session-1" / "0001_cl_dnn_sepia_cat_10_n1_1.png", 281)
    with pytest.raises(UsageError, match="relaxed accepts"):
        open_sets(["human-colour"], tmp_path)
    [found] = open_sets(["human-colour"], tmp_path, relaxed=True)
    assert found.condition == "sepia" and "1 conditions are none of the set: sepia" in " ".join(found.notes)


def test_names_tell_cues_and_the_image_whoever_saw_it():
    assert cues_of("some/where/bear/bear10-oven1.png") == (CATEGORIES.index("bear"), CATEGORIES.index("oven"))
    with pytest.raises(UsageError, match="no category as a shape"):
        cues_of("bear10-oven1.png")
    pairs = [
        ("0012_cl_s01_bw_bear_40_n02133161_1066.png", "dnn/session-1/0400_cl_dnn_bw_bear_40_n02133161_1066.png"),
        ("0001_ske_s07_0_cat_00_cat-0052-sketch-1.png", "0099_ske_dnn_0_cat_00_cat-0052-sketch-1.png"),
        ("0001_edg_s01_0_airplane_00_airplane1.png", "edge/airplane/airplane1.png"),
        ("0001_s5n_s01_0_airplane_00_airplane1-bicycle2.png", "airplane/airplane1-bicycle2.png"),
    ]
    assert [image_key(one) == image_key(other) for one, other in pairs] == [True] * 4
    assert image_key(pairs[0][0]) != image_key(pairs[0][0].replace("_bw_", "_cr_"))
