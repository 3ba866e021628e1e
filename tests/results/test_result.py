"""What holds of every result: the bytes of its files, the way back, tidy rows, its table and its figure."""

import hashlib

import made_up
import pytest

# Of the files that `made_up.save_all` writes, by the code before results had a common base: sha256, 16 digits.
BYTES = {
    "adcs-per.safetensors": "d2890df933b38c67",
    "adcs.safetensors": "62b6c16a249bfcca",
    "comparison/comparison.csv": "5603760497cec01a",
    "comparison/comparison.json": "77fd56a003680e48",
    "evaluation/results.csv": "21494eeed572100b",
    "gradient/classes.csv": "190592336b417642",
    "gradient/dfm-10.safetensors": "6baf660ce2f048e5",
    "gradient/dfm-5.safetensors": "9fe71015beeb9410",
    "gradient/removal.safetensors": "16094acf261a7431",
    "gradient/run.json": "c8a0a79bfd7b73ff",
    "learning.csv": "b49ac67662ed5d42",
    "learning.safetensors": "f3f241e6bbefe7e1",
    "maps.safetensors": "8e1c4ad85dd9f5d0",
    "rates.csv": "ea49ffd2741856e8",
    "rates.safetensors": "22726779902c6107",
    "removal/classes.csv": "9848a918e39b9e24",
    "removal/dfm-10.safetensors": "ec6585e79bca4eb7",
    "removal/dfm-5.safetensors": "a7c227f7e8fa1277",
    "removal/removal.safetensors": "25a39347168d5237",
    "removal/run.json": "d85a094604cdd50b",
    "search/classes.csv": "545dbd71f2918ec4",
    "search/dfm.safetensors": "8ef429a01339dc1f",
    "search/run.json": "2ce4e044b3e3a1f6",
    "search/stage-1.safetensors": "09423632158a1fbd",
    "search/stage-2.safetensors": "e0e4b89823ee2bad",
    "stop.csv": "6d62f7c1ebc0eea9",
    "stop.safetensors": "a0550985812a2565",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("freqkit.results.dfm_files.__version__", "0.1.0")
        made_up.save_all(folder)
    return folder


def test_files_keep_their_bytes(saved):
    found = {
        str(path.relative_to(saved)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(saved.rglob("*")) if path.is_file()
    }  # fmt: skip
    assert found == BYTES
