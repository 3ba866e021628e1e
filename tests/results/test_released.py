"""Files of the two published repositories: what is written is read as their code reads it, and by the restricted
reader; what they write is read."""

import csv
import pickle
import pickletools

import numpy as np
import pytest
import torch

from freqkit.errors import UsageError
from freqkit.files.pickles import load_plain
from freqkit.masks import effective, import_pickle, load_dfm, select
from freqkit.results.load import rows_of
from freqkit.results.mask_pickles import read_pickle
from freqkit.results.released import dfm_of, export_pickle, read_losses
from freqkit.results.released_tables import export_evaluation, read_evaluation
from tests.results import made_up


def filtered(image, mask):
    """As both repositories filter: the whole transform, centred, times the mask; the real part."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(image))
    return torch.fft.ifft2(torch.fft.ifftshift(spectrum * torch.as_tensor(np.asarray(mask)))).real


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    made_up.search().save(folder)
    return folder


def test_masks_of_a_search_are_read_as_parents_and_by_the_evaluation(run, tmp_path):
    path = tmp_path / "saved_DFMs_stage2.pkl"
    assert export_pickle(run, path, "hfss") == {"classes": 3, "each": 2, "size": [16, 16]}
    with open(path, "rb") as file:
        masks = pickle.load(file)
    stage, image = made_up.stages()[1], torch.rand(3, 16, 16)
    for c in range(3):  # the search: class, rank, times cells
        for rank in range(2):
            kept = masks[c][rank] * np.ones((16, 16))
            own = effective(select(stage.candidates, int(stage.ranks[c, rank])))[0]
            torch.testing.assert_close(filtered(image, kept).float(), filtered(image, own).float())
    for i in range(len(masks)):  # the evaluation: the first of each number in turn
        masks[i] = masks[i][0]
    assert np.asarray(masks[2]).shape == (16, 16)
    assert [one.shape for one in read_pickle(path).values()] == [(2, 16, 16)] * 3
    assert torch.equal(import_pickle(path).masks, effective(select(stage.candidates, stage.ranks[:, 0])))


@pytest.mark.parametrize("symmetry", ["average", "hermitian"])
def test_published_masks_leave_as_they_were_drawn(tmp_path, symmetry):
    stage = made_up.stages()[0]
    bits = stage.candidates._replace(symmetry=symmetry)
    type(stage)(1, bits, stage.scores, stage.ranks, stage.born).save(tmp_path / "stage-1.safetensors")
    export_pickle(tmp_path / "stage-1.safetensors", tmp_path / "a.pkl", "hfss")
    drawn = read_pickle(tmp_path / "a.pkl")
    for c in range(3):
        own = torch.from_numpy(drawn[c][0])
        assert ((own == 0) | (own == 1)).all()
        assert torch.equal(effective(own), effective(select(bits, int(stage.ranks[c, 0])))[0])


def test_pickles_name_what_older_and_newer_numpy_know(run, tmp_path):
    export_pickle(run, tmp_path / "a.pkl", "hfss")
    names = {argument for code, argument, _ in pickletools.genops((tmp_path / "a.pkl").read_bytes())
             if "GLOBAL" in code.name}  # fmt: skip
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype", "_codecs encode"} & names
    assert "numpy.core.multiarray _reconstruct" in names


def test_maps_and_losses_of_removals(tmp_path):
    made_up.removal(False).save(tmp_path / "dfm")
    result = made_up.removal(False)
    export_pickle(tmp_path / "dfm/dfm-5.safetensors", tmp_path / "dfm_5.pkl", "dfm")
    with open(tmp_path / "dfm_5.pkl", "rb") as file:
        maps = pickle.load(file)
    for i in maps:  # every number in the file, as it comes
        mask = np.array(maps[i])
        assert mask.shape == (8, 8) and (mask == 1).sum() == (result.dfm(0.05).masks[i] == 1).sum()
    export_pickle(tmp_path / "dfm", tmp_path / "loss1.pkl", "dfm-loss")
    with open(tmp_path / "loss1.pkl", "rb") as file:
        losses = pickle.load(file)
    flat = np.sort(np.array(losses[1]), axis=None)
    kept = np.array(losses[1]) >= flat[-int(0.1 * 64)]
    assert torch.equal(import_pickle(tmp_path / "loss1.pkl", level=0.1).masks[1],
                       effective(torch.from_numpy(kept).float()))  # fmt: skip
    with pytest.raises(UsageError, match="if these are losses"):
        import_pickle(tmp_path / "loss1.pkl")
    made_up.removal(True).save(tmp_path / "estimated")
    with pytest.raises(UsageError, match="estimated, not removed"):
        export_pickle(tmp_path / "estimated", tmp_path / "x.pkl", "dfm-loss")


def test_lowest_losses_of_a_search(run, tmp_path):
    export_pickle(run, tmp_path / "track.pkl", "hfss-loss", stage=1)
    with open(tmp_path / "track.pkl", "rb") as file:
        track = pickle.load(file)
    assert np.array_equal(np.array([track[c] for c in range(3)]).T, made_up.stages()[0].curve.numpy())
    assert {key: value.tolist() for key, value in read_losses(tmp_path / "track.pkl").items()} == track


@pytest.mark.parametrize("protocol", range(6))
def test_losses_that_the_released_code_wrote_are_tensors(tmp_path, protocol):
    planes = {c: torch.rand(8, 8) for c in range(2)}
    track = {c: [torch.tensor(2.0), torch.tensor(1.5, dtype=torch.float64)] for c in range(2)}
    for name, value in (("planes", planes), ("track", track)):
        (tmp_path / name).write_bytes(pickle.dumps(value, protocol))
    assert np.array_equal(read_losses(tmp_path / "planes")[1], planes[1].numpy().astype(float))
    assert read_losses(tmp_path / "track")[0].tolist() == [2.0, 1.5]
    with pytest.raises(UsageError, match="holds torch tensors"):
        load_plain(tmp_path / "planes")


def test_damaged_tensors_in_a_pickle_are_refused_and_nothing_runs(tmp_path):
    whole = pickle.dumps({0: torch.rand(4, 4)})
    for place in range(0, len(whole), 7):
        for byte in (0, 0x52, 0xFF):
            (tmp_path / "a").write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            try:
                read_losses(tmp_path / "a")
            except UsageError:
                pass  # any other error is a fault
    trap = pickle.dumps({0: torch.rand(2)}).replace(b"_load_from_bytes", b"_load_from_bytez")
    (tmp_path / "a").write_bytes(trap)
    with pytest.raises(UsageError, match="holds torch tensors"):
        read_losses(tmp_path / "a")


def test_classes_get_the_numbers_of_their_names(run, tmp_path):
    names = ["'s dog", "cat", "=1+1"]
    export_pickle(run, tmp_path / "a.pkl", "hfss", classes=names)
    export_pickle(run, tmp_path / "b.pkl", "hfss")
    one, other = read_pickle(tmp_path / "a.pkl"), read_pickle(tmp_path / "b.pkl")
    assert list(one) == [0, 1, 2] and np.array_equal(one[0], other[2]) and np.array_equal(one[1], other[0])
    with pytest.raises(UsageError, match="names what is not there, owl"):
        export_pickle(run, tmp_path / "c.pkl", "hfss", classes=[*names, "owl"])
    with pytest.raises(UsageError, match="the stages there are 1, 2; got 3"):
        export_pickle(run, tmp_path / "c.pkl", "hfss", stage=3)


def test_maps_of_an_earlier_stage(run):
    stage = made_up.stages()[0]
    assert torch.equal(dfm_of(run, 1).masks, effective(select(stage.candidates, stage.ranks[:, 0])))
    assert torch.equal(dfm_of(run).masks, load_dfm(run / "dfm.safetensors").masks) and dfm_of(run, 1).stage == 1


def evaluated():
    from freqkit.measures import EvaluationResult

    rows = []
    for k, (place, condition) in enumerate([("imagenet", "all"), ("imagenet-c", "fog/3"), ("imagenet-v2", "matched")]):
        for metric in ("TPR", "filtered TPR"):
            for i, name in enumerate(made_up.CLASSES):
                value = (1 + i + 3 * k + 10 * (metric != "TPR")) / 32
                rows.append({"model": "rn18", "set": place, "condition": condition, "class": name, "metric": metric,
                             "value": value, "ci_low": None, "ci_high": None, "n": 5, "definition": ""})  # fmt: skip
    about = {"base": "imagenet", "sets": [{"set": "imagenet", "condition": ""}]}
    return EvaluationResult(rows, [], {"identity": about})


def test_evaluations_leave_and_come_back(tmp_path):
    written = export_evaluation(evaluated(), tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in written] == [
        "IN_C/rn18_s6test1severity3fog.csv", "INv2/rn18_s6test1matched.csv",
    ]  # fmt: skip
    with open(written[0]) as file:
        lines = list(csv.DictReader(file))
    columns = ("Class_id", "Org_acc", "Org_DFM_acc", "Corrupt_acc", "Corrupt_DFM_acc")
    assert [float(lines[1][name]) for name in columns] == [1, 2 / 32, 12 / 32, 5 / 32, 15 / 32]
    assert rows_of(written[0]) == read_evaluation(written[0])
    rows = read_evaluation(written[0], classes=made_up.CLASSES)
    found = {(row["set"], row["condition"], row["metric"], row["class"]): row["value"] for row in rows}
    assert found["imagenet-c", "fog/3", "filtered TPR", "=1+1"] == 15 / 32
    assert found["imagenet", "training images", "mean TPR", ""] == pytest.approx(2 / 32)
    assert {row["model"] for row in rows} == {"rn18"}


def test_classes_that_were_not_come_to_are_left_out(tmp_path):
    (tmp_path / "INr").mkdir()
    path = tmp_path / "INr/rn18_s6test1IN_r.csv"
    lines = [f"{i},{i},{0.5 * (i in (2, 5))},0.25,0,0\n".replace("0.25", "0.25" if i in (2, 5) else "0")
             for i in range(1000)]  # fmt: skip
    path.write_text(",Class_id,Org_acc,Org_DFM_acc,Corrupt_acc,Corrupt_DFM_acc\n" + "".join(lines))
    rows = read_evaluation(path)
    assert {row["class"] for row in rows} == {"", "n01484850", "n01496331"}
    assert {row["set"] for row in rows} == {"imagenet", "imagenet-r"}
    path.write_text(path.read_text().replace("0.25", "1.25", 1))
    with pytest.raises(UsageError, match=r"line 4 must hold a number of a class and accuracies in \[0, 1\]"):
        read_evaluation(path)
