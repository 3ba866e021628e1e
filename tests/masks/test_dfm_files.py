"""DFM files, and published pickles read without executing them."""

import codecs
import io
import json
import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest
import torch

from freqkit.errors import UsageError
from freqkit.masks import (
    DfmFile,
    candidates,
    content_hash,
    effective,
    import_pickle,
    load_dfm,
    read_pickle,
    save_dfm,
)
from tests.masks import slow_masks


def example(**changes):
    masks = effective(candidates(1, 3, size=32, preset="cvpr2025").masks)
    values = {"masks": masks, "classes": ["cat", "dog", "ox ½"], "preset": "cvpr2025", "stage": 1, "seed": 42}
    return DfmFile(
        **{
            **values,
            "model_hash": "ab",
            "data_hash": "cd",
            "extra": {"loss": [1, 2.5, 3]},
            "images": {"resize": "squash"},
            **changes,
        }
    )


def test_a_file_comes_back_as_it_was(tmp_path):
    path, dfm = tmp_path / "dfm.safetensors", example()
    save_dfm(path, dfm)
    back = load_dfm(path)
    assert torch.equal(back.masks, dfm.masks) and back.masks.dtype == torch.float32
    for name in ("classes", "preset", "stage", "seed", "model_hash", "data_hash", "extra", "images", "freqkit_version"):
        assert getattr(back, name) == getattr(dfm, name)
    assert torch.equal(back["dog"], dfm.masks[1]) and len(back) == 3
    assert content_hash(back.masks) == content_hash(dfm.masks)
    save_dfm(path, DfmFile(dfm.masks, dfm.classes))
    assert load_dfm(path).stage is None and load_dfm(path).model_hash is None
    assert os.listdir(tmp_path) == ["dfm.safetensors"]


def test_files_that_do_not_tell_of_their_images_load(tmp_path):
    """As versions before the record wrote them: without the entry."""
    from safetensors import safe_open

    save_dfm(tmp_path / "old.safetensors", example(images={}))
    with safe_open(tmp_path / "old.safetensors", framework="pt") as file:
        assert "images" not in file.metadata()
    assert load_dfm(tmp_path / "old.safetensors").images == {}
    with pytest.raises(UsageError, match="images must be a dict; got list"):
        save_dfm(tmp_path / "bad.safetensors", example(images=[1]))


def test_the_file_is_plain_safetensors_with_its_coverage(tmp_path):
    path, dfm = tmp_path / "dfm.safetensors", example()
    save_dfm(path, dfm)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
    about = header["__metadata__"]
    assert header["masks"]["dtype"] == "F32" and header["masks"]["shape"] == [3, 32, 32]
    assert about["layout"] == "centred" and about["format"] == "freqkit-dfm-1"
    shares = json.loads(about["coverage"])
    for k in range(3):
        assert shares["touched"][k] == (dfm.masks[k] > 0).double().mean().item()
        assert abs(shares["power"][k] - dfm.masks[k].double().square().mean().item()) < 1e-12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"masks": torch.ones(3, 32)}, r"\[C, H, W\]"),
        ({"masks": torch.ones(3, 4, 4, dtype=torch.int64)}, "float tensor"),
        ({"masks": torch.ones(0, 4, 4), "classes": []}, "none of them 0"),
        ({"masks": torch.full((3, 4, 4), float("nan"))}, "finite"),
        ({"masks": torch.full((3, 4, 4), 1.5)}, r"\[0, 1\]"),
        ({"masks": torch.eye(4).flip(0).expand(3, 4, 4).tril()}, "equal at f and -f"),
        ({"classes": ["cat", "dog"]}, "each of the 3 masks once; got 2"),
        ({"classes": ["cat", "cat", "dog"]}, "2 of them distinct"),
        ({"classes": [0, 1, 2]}, "strings"),
        ({"stage": "s1"}, "stage"),
        ({"preset": None}, "preset"),
        ({"extra": []}, "extra"),
    ],
)
def test_bad_content_is_named_and_nothing_is_written(tmp_path, changes, words):
    with pytest.raises(UsageError, match=words):
        save_dfm(tmp_path / "dfm.safetensors", example(**changes))
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "dfm.safetensors"
    save_dfm(path, example())
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError)):
        save_dfm(path, example(extra={"loss": float("nan")}))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["dfm.safetensors"]


def test_bad_files_are_named(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError, match="no DFM file"):
        load_dfm(tmp_path / "absent.safetensors")
    path = tmp_path / "dfm.pkl"
    path.write_bytes(pickle.dumps({0: np.ones((4, 4))}))
    with pytest.raises(UsageError, match=r"not a safetensors file.*masks import"):
        load_dfm(path)
    good = tmp_path / "good.safetensors"
    save_dfm(good, example())
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-100])
    with pytest.raises(UsageError, match="not a safetensors file"):
        load_dfm(tmp_path / "cut.safetensors")
    fine = {"format": "freqkit-dfm-1", "layout": "centred", "classes": '["a"]'}
    masks = torch.ones(1, 4, 4)
    for tensors, header, words in (
        ({"weight": masks}, fine, "tensor 'masks'"),
        ({"masks": masks}, None, "format"),
        ({"masks": masks}, {**fine, "format": "other"}, "format"),
        ({"masks": masks}, {**fine, "layout": "torch"}, "layout"),
        ({"masks": masks}, {**fine, "classes": "[a"}, "damaged header"),
        ({"masks": masks}, {**fine, "classes": '["a", "b"]'}, "each of the 1 masks"),
        ({"masks": masks}, {name: fine[name] for name in ("format", "layout")}, "classes"),
        ({"masks": masks * 2}, fine, r"\[0, 1\]"),
    ):
        save_file(tensors, path, metadata=header)
        with pytest.raises(UsageError, match=words):
            load_dfm(path)


# ---- pickles -----------------------------------------------------------------------------------------------


def written(tmp_path, content, protocol=4):
    path = tmp_path / "dfm.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "f8", ">f8", "f2", "?"])
def test_arrays_of_every_protocol_and_type_are_read(tmp_path, protocol, dtype):
    rng = np.random.default_rng(0)
    one, many = (rng.random(shape) < 0.5 for shape in ((6, 8), (3, 6, 8)))
    content = {
        np.int64(1): one.astype(dtype),
        0: [plane.astype(dtype) for plane in many],
        2: np.asfortranarray(many.astype(dtype)),
        7: (one.astype(dtype)[::2, ::2].repeat(2, 0).repeat(2, 1),),
    }
    masks = read_pickle(written(tmp_path, content, protocol))
    assert list(masks) == [0, 1, 2, 7]
    assert all(value.dtype == np.float32 and value.flags.c_contiguous for value in masks.values())
    assert (masks[0] == many).all() and (masks[1][0] == one).all() and (masks[2] == many).all()


def test_both_module_paths_of_numpy_are_read(tmp_path):
    new = pickle.dumps({"a": np.ones((2, 2))}, protocol=2)
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert (b"_core" in new) != (b"_core" in old) or b"numpy.core" in new
    for content in (new, old):
        assert (read_pickle(written(tmp_path, content))["a"] == 1).all()


def test_import_gives_effective_masks_and_names(tmp_path):
    rng = np.random.default_rng(1)
    stored = {c: [(rng.random((8, 8)) < 0.5).astype(float) for _ in range(2)] for c in (1, 0)}
    path = written(tmp_path, stored)
    dfm = import_pickle(path, classes=["cat", "dog"], rank=1)
    assert dfm.classes == ["cat", "dog"] and dfm.preset == "imported"
    assert (dfm.masks[0].numpy() == slow_masks.effective(stored[0][1])).all()
    assert (dfm.masks[1].numpy() == slow_masks.effective(stored[1][1])).all()
    assert dfm.extra == {"source": "dfm.pkl", "rank": 1, "keys": [0, 1], "symmetric_as_stored": False}
    save_dfm(tmp_path / "dfm.safetensors", dfm)
    assert torch.equal(load_dfm(tmp_path / "dfm.safetensors").masks, dfm.masks)
    assert import_pickle(path).classes == ["0", "1"]
    assert import_pickle(path, classes={0: "x", 1: "y", 2: "z"}).classes == ["x", "y"]
    for arguments, words in (
        ({"rank": 2}, "rank 2"),
        ({"rank": -1}, "rank"),
        ({"classes": ["one"]}, "2 names"),
        ({"classes": {0: "x"}}, r"missing \[1\]"),
        ({"classes": ["x", "x"]}, "distinct"),
    ):
        with pytest.raises(UsageError, match=words):
            import_pickle(path, **arguments)


class Reduced:
    def __init__(self, *reduction):
        self.reduction = reduction

    def __reduce__(self):
        return self.reduction


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (lambda mark: Reduced(os.system, (f"touch {mark}",)), "system"),
        (lambda mark: Reduced(eval, (f"open({str(mark)!r}, 'w')",)), "eval"),
        (lambda mark: Reduced(exec, (f"open({str(mark)!r}, 'w')",)), "exec"),
        (lambda mark: Reduced(open, (str(mark), "w")), "open"),
        (lambda mark: Reduced(getattr, (np.ndarray, "tofile")), "getattr"),
        (lambda mark: Reduced(np.save, (str(mark), 1)), "numpy"),
        (lambda mark: Reduced(np.fromfile, (str(mark),)), "numpy"),
        (lambda mark: Reduced(codecs.encode, ("a", "rot13")), "rot13"),
        (lambda mark: Reduced(codecs.decode, (b"a", "hex")), "decode"),
        (lambda mark: OrderedDict(a=1), "OrderedDict|array"),
        (lambda mark: {1, 2}, "array"),
        (lambda mark: np.array([[None, 1], [os.system, "x"]], dtype=object), "system|no objects"),
        (lambda mark: np.array([[None, 1], [2, "x"]], dtype=object), "no objects"),
        (lambda mark: np.zeros((2, 2), dtype=[("a", "f4"), ("b", "O")]), "plain numbers"),
        (lambda mark: np.zeros((2, 2), dtype=[("a", "f4")]), "plain numbers"),
        (lambda mark: np.array([["a", "b"]]), "plain numbers"),
        (lambda mark: np.ones((2, 2), complex), "plain numbers"),
        (lambda mark: np.ones((2, 2), "M8[s]"), "plain numbers"),
        (lambda mark: np.ma.masked_array(np.ones((2, 2))), "refused"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_everything_else_is_refused_and_never_run(tmp_path, payload, words, protocol):
    mark = tmp_path / "it-ran"
    for content in ({0: payload(mark)}, {0: [np.ones((2, 2)), payload(mark)]}):
        with pytest.raises(UsageError, match=words):
            read_pickle(written(tmp_path, content, protocol))
    assert not mark.exists()


def test_torch_files_are_refused_with_a_sentence(tmp_path):
    for new_format, words in (
        (True, "zip archive"),
        (False, "is refused|not a readable pickle|must hold a dict"),
    ):
        path = tmp_path / "weights.pt"
        torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=new_format)
        with pytest.raises(UsageError, match=words):
            read_pickle(path)
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, protocol=2)
    pickler.persistent_id = lambda item: ("storage",) if isinstance(item, torch.Tensor) else None
    pickler.dump({0: torch.ones(2)})
    with pytest.raises(UsageError, match="torch storages"):
        read_pickle(written(tmp_path, stream.getvalue()))


# Hand-made streams: what pickle.dumps would never write.
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
DTYPE = b"cnumpy\ndtype\n(S'f8'\nI00\nI01\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"", "it is empty"),
        (b"\x80\x04", "not a readable pickle"),
        (b"garbage", "not a readable pickle"),
        (b"(dI0\n" + ARRAY + b"s.", "array or a list of arrays"),  # an array that was never described
        (b"(dI0\n" + ARRAY + b"(I1\n(I1\nI9\nt" + DTYPE + b"I00\nS'12345678'\ntbs.", "bytes do not fit"),
        (b"(dI0\n" + ARRAY + b"(I1\n(I1\nI-1\nt" + DTYPE + b"I00\nS''\ntbs.", "shape"),
        (
            b"(dI0\n" + ARRAY + b"(I1\n(I1\nI1\nt" + DTYPE + b"I00\n(lNatbs.",
            "bytes do not fit",
        ),  # a list as data
        (b"(dI0\n" + ARRAY + b"(I1\n(I1\nI1\ntNI00\nS'12345678'\ntbs.", "numpy does not write"),
        (b"(dI0\ncnumpy\ndtype\n(S'O8'\ntRs.", "no objects"),
        (b"(dI0\ncnumpy\ndtype\n(S'f8'\ntR(I3\nS'<'\nN(S'a'\ntNI-1\nI-1\nI63\ntbs.", "structured"),
        (b"cnumpy\ndtype\n(dS'_function'\nI1\nsb.", "refused"),  # state set on a function
        (b"cnumpy\ndtype\nN}S'_function'\nI1\ns\x86b.", "refused"),
        (b"cnumpy\ndtype\n)\x81.", "not a readable pickle"),  # a function used as a class
        (b"cnumpy\ndtype.type\n.", "dtype.type"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"I1\n.", "must hold a dict"),
        (b"(d.", "empty dict"),
        (b"(d(I1\nI2\ntI1\ns.", "a class must be"),
        (b"(dI0\n(ls.", "empty list"),
        (b"(dI0\nI5\ns.", "array or a list of arrays; got int"),
    ],
)
def test_crafted_streams_are_refused(tmp_path, stream, words):
    with pytest.raises(UsageError, match=words):
        read_pickle(written(tmp_path, stream))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({0: np.ones((4, 4)), 1: np.ones((4, 5))}, "one size"),
        ({0: [np.ones((4, 4)), np.ones((5, 4))]}, "one size"),
        ({0: np.ones(4)}, "one size"),
        ({0: np.ones((0, 4))}, "non-empty"),
        ({0: np.full((4, 4), np.nan)}, "finite"),
        ({0: np.ones((4, 4)), "a": np.ones((4, 4))}, "all by ints or all by strings"),
        ({True: np.ones((4, 4))}, "a class must be"),
        ({1.5: np.ones((4, 4))}, "a class must be"),
        ([np.ones((4, 4))], "must hold a dict"),
        (np.ones((4, 4)), "must hold a dict"),
    ],
)
def test_contents_that_are_no_masks_are_named(tmp_path, content, words):
    with pytest.raises(UsageError, match=words):
        read_pickle(written(tmp_path, content))


def test_loss_maps_are_no_masks(tmp_path):
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        import_pickle(written(tmp_path, {0: np.full((4, 4), 3.0)}))
    with pytest.raises(FileNotFoundError):
        import_pickle(tmp_path / "absent.pkl")
