"""A resumed evaluation is of what it began with: images, weights, maps and classes; whatever names and dates say."""

import json
import os

import pytest

from freqkit.data import class_list, open_sets
from freqkit.engine.journal import Journal
from freqkit.errors import UsageError
from freqkit.masks import DfmFile
from freqkit.measures import Attack, evaluate
from freqkit.models import Classifier
from tests.measures.oracle import SIDE, Oracle, no_mean, oracle, put

WNIDS = class_list("imagenet")
A, B = WNIDS[1], WNIDS[2]


def tree(root):
    for label, name in ((1, A), (2, B)):
        for i in range(4):
            put(root / f"imagenet/val/{name}/{i}.png", label)
            put(root / f"imagenet-c/fog/1/{name}/{i}.png", label)
    return root


def maps(names=(A, B), flip=False):
    masks = no_mean().repeat(len(names), 1, 1)
    return DfmFile(1 - masks if flip else masks, list(names))


def run(root, out, model=None, dfm=None, resume=True, on=("imagenet", "c"), **how):
    sets = open_sets(list(on), root, relaxed=True)
    how = {"form": "eager", "attacks": [Attack(eps=0)], "generated": [("contrast", 1)], **how}
    return evaluate([("o", model or oracle())], sets, dfm or maps(), out=out, resume=resume, **how)


def swap(file, label):
    """Another picture under the same name, of the same size in bytes and of the same dates."""
    before = os.stat(file)
    put(file, label)
    data = file.read_bytes()
    assert len(data) <= before.st_size + 64
    with open(file, "ab") as more:
        more.write(bytes(max(0, before.st_size - len(data))))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(file).st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("block", [256, 3])
@pytest.mark.parametrize("place", [f"imagenet/val/{B}/3.png", f"imagenet-c/fog/1/{A}/0.png"])
def test_replaced_images_are_noticed(tmp_path, monkeypatch, place, block):
    monkeypatch.setattr("freqkit.measures.evaluation.passes.BLOCK", block)
    root, out = tree(tmp_path / "data"), tmp_path / "run"
    run(root, out, resume=False)
    before = {name: (out / name).read_bytes() for name in ("results.csv", "run.json")}
    again = run(root, out)  # nothing has changed: nothing is decoded or asked
    assert (again.record["decoded"], again.record["forwards"]) == (0, 0)
    assert (out / "results.csv").read_bytes() == before["results.csv"]
    before = {name: (out / name).read_bytes() for name in before}
    kept = (root / place).read_bytes()
    swap(root / place, 5)
    with pytest.raises(
        UsageError, match=rf"cannot resume, .*not those that were read when the run began \({place[-15:]}"
    ):
        run(root, out)
    assert {name: (out / name).read_bytes() for name in before} == before  # nothing that was found is lost
    (root / place).unlink()
    (root / place).write_bytes(b"")
    with pytest.raises(UsageError, match="not those that were read"):
        run(root, out)
    (root / place).write_bytes(kept)
    assert run(root, out).record["forwards"] == 0


def test_replaced_images_are_noticed_in_a_run_that_was_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("freqkit.measures.evaluation.passes.BLOCK", 4)
    root, out, put_before = tree(tmp_path / "data"), tmp_path / "run", Journal.put

    def put_some(self, key, **arrays):
        if len(self) == 3:  # the weights, the first block's images and their answers
            raise KeyboardInterrupt
        put_before(self, key, **arrays)

    monkeypatch.setattr(Journal, "put", put_some)
    with pytest.raises(KeyboardInterrupt):
        run(root, out, resume=False, attacks=())
    monkeypatch.setattr(Journal, "put", put_before)
    swap(root / f"imagenet/val/{A}/0.png", 7)
    with pytest.raises(UsageError, match="not those that were read"):
        run(root, out, attacks=())


def test_bad_images_that_are_mended_are_noticed(tmp_path):
    root, out = tree(tmp_path / "data"), tmp_path / "run"
    bad = root / f"imagenet/val/{A}/0.png"
    good = bad.read_bytes()
    bad.write_bytes(b"no image")
    how = {"on_bad_image": "skip", "on": ("imagenet",)}
    first = run(root, out, resume=False, **how)
    assert run(root, out, **how).rows == first.rows
    bad.write_bytes(good)
    with pytest.raises(UsageError, match="not those that were read"):
        run(root, out, **how)
    # With "error" the set has failed and nothing of it is kept, so a mended image is simply read.
    bad.write_bytes(b"no image")
    other = tmp_path / "other"
    with pytest.raises(UsageError, match="nothing could be evaluated"):
        run(root, other, resume=False, on=("imagenet",))
    bad.write_bytes(good)
    assert run(root, other, on=("imagenet",)).value("top-1", set="imagenet", condition="all") == 1


def test_shards_are_read_again_too(tmp_path):
    import tarfile

    names = [A, B]
    for i, name in enumerate(names):
        put(tmp_path / f"one/{name}/0.png", i)
    shards = tmp_path / "shards"
    shards.mkdir()

    def pack():
        with tarfile.open(shards / "0.tar", "w") as archive:
            for i, name in enumerate(names):
                archive.add(tmp_path / f"one/{name}/0.png", f"{i}.png")
                (tmp_path / "label").write_text(str(i))
                archive.add(tmp_path / "label", f"{i}.cls")
        os.utime(shards / "0.tar", ns=(1, 1))

    pack()
    how = {"resume": True, "form": "eager", "out": tmp_path / "run"}
    sets = open_sets([f"mine={shards}"])
    evaluate([("o", oracle(2))], sets, **{**how, "resume": False})
    assert evaluate([("o", oracle(2))], open_sets([f"mine={shards}"]), **how).record["forwards"] == 0
    put(tmp_path / f"one/{A}/0.png", 1)
    pack()
    with pytest.raises(UsageError, match="not those that were read"):
        evaluate([("o", oracle(2))], open_sets([f"mine={shards}"]), **how)


class Louder(Oracle):
    """The same weights in another network."""

    def extra_repr(self):
        return "louder"


def test_replaced_models_maps_and_classes_are_noticed(tmp_path):
    root, out = tree(tmp_path / "data"), tmp_path / "run"
    run(root, out, resume=False)
    before = (out / "results.csv").read_bytes(), (out / "run.json").read_bytes()
    other = oracle()
    other.network.wave += 1e-3

    def classifier(network, mean=0.0):
        return Classifier(network, mean=(mean,) * 3, std=(1.0,) * 3, num_classes=1000, input_size=(SIDE, SIDE))

    for how, said in (
        ({"model": other}, "other weights"),
        ({"model": classifier(Oracle(1000), 0.1)}, "other normalisation or size"),
        ({"model": classifier(Louder(1000))}, "other layers"),
        ({"dfm": maps(flip=True)}, "differs in dfm"),
        ({"dfm": maps([B, A])}, "differs in dfm"),
        ({"classes": WNIDS[1:] + WNIDS[:1]}, "differs in classes"),
        ({"attacks": [Attack(eps=1)]}, "differs in attacks"),
        ({"generated": [("contrast", 2)]}, "differs in generated"),
        ({"resize": "center-crop"}, "differs in resize"),
        ({"cross": 0.2}, "differs in cross"),
        ({"preset": "cvpr2025"}, "differs in"),
    ):
        with pytest.raises(UsageError, match=f"cannot resume, .*{said}"):
            run(root, out, **how)
        assert ((out / "results.csv").read_bytes(), (out / "run.json").read_bytes()) == before, how
    put(root / f"imagenet/val/{B}/9.png", 1)
    with pytest.raises(UsageError, match="differs in sets"):
        run(root, out)


def test_a_journal_without_digests_is_not_believed(tmp_path):
    """Runs of versions that kept none: their answers are asked again, and the new ones are kept with digests."""
    root, out = tree(tmp_path / "data"), tmp_path / "run"
    run(root, out, resume=False, on=("imagenet",))
    with Journal(out / "journal.bin") as journal:
        kept = {key: journal.get(key) for key in journal.keys() if "/read/" not in key}
        assert len(kept) < len(journal)
        journal.clear()
        for key, arrays in kept.items():
            journal.put(key, **arrays)
    put(root / f"imagenet/val/{A}/0.png", 7)
    found = run(root, out, on=("imagenet",))
    assert found.record["forwards"] > 0
    assert found.value("top-1", set="imagenet", condition="all") == 7 / 8
    assert run(root, out, on=("imagenet",)).rows == found.rows


def test_status_counts_no_digests_as_forwards(tmp_path):
    from freqkit.engine.run_directory import status

    root, out = tree(tmp_path / "data"), tmp_path / "run"
    found = run(root, out, resume=False, on=("imagenet",), attacks=(), generated=(), cross=0)
    assert found.record["forwards"] == status(out)["forwards_done"] == 16
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
