"""What callers, command lines, resumed runs and run.yaml rest on stays: names, defaults, identities.

`interfaces.json` was written by the code at b516818, before options were data (since then the flag --rescore of `dfm`
knows the bounds that its value always had, --weights takes folders, too, --dfm directories of runs, `evaluate` has
one more preset, `train` three more optimisers and the spelling --optimiser, no --out is needed for --dry-run, and
images are read as the model was published where `resize` is not given, which what run.yaml of earlier runs holds is
not touched by):
`PYTHONPATH=THAT_CODE python tests/test_interfaces.py tests/interfaces.json`.
"""

import inspect
import json
import sys
import tempfile
from pathlib import Path

import click
import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore:Caution")  # of a network that knows nothing
KEPT = Path(__file__).with_suffix(".json").with_name("interfaces.json")


def functions():
    from freqkit import data, models, search, training
    from freqkit.measures import adcs, attack, band_stop, evaluate, rates

    searchers = ("hfss", "learned", "evolve", "greedy", "removal", "gradient", "estimate_removal", "compare_searchers")
    return {
        **{name: getattr(search, name) for name in searchers},
        "rates": rates, "adcs": adcs, "band_stop": band_stop, "evaluate": evaluate, "attack": attack,
        "train": training.train, "load_model": models.load_model, "load_images": data.load_images,
    }  # fmt: skip


def signature(function):
    """Positional names in order; keyword -> default, as text."""
    found = inspect.signature(function).parameters.values()
    kinds = inspect.Parameter
    return {
        "positional": [
            [one.name, None if one.default is kinds.empty else _plain(one.default)]
            for one in found if one.kind is kinds.POSITIONAL_OR_KEYWORD
        ],
        "keywords": {
            one.name: None if one.default is kinds.empty else _plain(one.default)
            for one in found if one.kind is kinds.KEYWORD_ONLY
        },
    }  # fmt: skip


def _plain(default):
    return "a function" if callable(default) else repr(default)


def signatures():
    return {name: signature(function) for name, function in functions().items()}


def flags():
    """Command -> flag -> what it takes."""
    from freqkit.cli.app import app

    found = {}

    def walk(group, path):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                walk(command, (*path, name))
            else:
                found[" ".join((*path, name))] = {
                    max(one.opts, key=len): _flag(one) for one in command.params if isinstance(one, click.Option)
                }

    walk(app, ())
    return found


def _flag(option):
    about = option.to_info_dict()
    kind = about["type"]
    kept = {key: kind[key] for key in ("choices", "min", "max", "min_open", "max_open") if kind.get(key) is not None}
    default = about["default"]
    return {
        "parameter": option.name,
        "spellings": sorted([*option.opts, *option.secondary_opts]),
        "type": kind["name"],
        **{key: sorted(value) if key == "choices" else value for key, value in kept.items()},
        "required": option.required,
        "multiple": option.multiple,
        "is_flag": option.is_flag,
        "default": default if isinstance(default, (str, int, float, bool)) else None,
    }


def small_world():
    """A model and images that are the same whatever draws random numbers."""
    from freqkit.data import ImageSet
    from freqkit.models import Classifier

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 3))
    with torch.no_grad():
        network[1].weight.copy_((torch.arange(3 * 768) % 11 - 5).view(3, 768) / 64)
        network[1].bias.zero_()
    model = Classifier(network, mean=(0.5,) * 3, std=(0.25,) * 3, num_classes=3)
    pixels = (torch.arange(6 * 768) * 37 % 251).to(torch.uint8).view(6, 3, 16, 16)
    images = ImageSet(pixels, torch.arange(6) // 2, ["a", "b", "c"], [f"{'aabbcc'[i]}/{i}.png" for i in range(6)])
    return model, images


SEARCHES = {
    "hfss": [
        {"candidates": 3, "top": 1, "stages": 1},
        {"candidates": [4, 3], "top": 2, "stages": [1, 2], "keep": 0.5, "seed": 3, "parents": "per_class",
         "elitism": True, "keep_dc": True, "risk": 0.5},
        {"preset": "cvpr2025", "candidates": 3, "top": 1, "stages": 1, "published_batch_size": 5},
        {"candidates": 3, "top": 1, "stages": 1, "stopping": "certain", "domain": "pixels", "risk": 0},
    ],
    "learned": [
        {"steps": 1},
        {"steps": 2, "coverage": 0.2, "objective": "class-loss", "own": 1, "others": 2, "rate": 1, "levels": 2,
         "starts": "narrow", "seed": 5},
        {"steps": 1, "starts": ["narrow", "wide"], "class_index": [2, 0, 1], "memory": 1 << 20, "form": "folded"},
    ],
    "evolve": [
        {"generations": 1, "candidates": 2},
        {"generations": 2, "candidates": 3, "elite": 1, "guided": False, "seed": 2, "objective": "class-loss",
         "coverage": 0.3, "spectra": "float16"},
    ],
    "greedy": [
        {},
        {"tolerance": 1, "coverage": 0.5, "order": "outer-first", "passes": 30, "dtype": "float64"},
    ],
    "removal": [
        {"patch": 8},
        {"patch": 4, "levels": (0.1, 0.5), "level": 0.5, "ties": "exclude"},
        {"patch": 8, "preset": "iccv2023", "published_batch_size": 4},
    ],
    "gradient": [
        {"patch": 8},
        {"patch": 4, "draws": 1, "curvature": "signs", "rescore": 0, "seed": 1, "levels": [0.25], "level": 0.25,
         "gradient_batch": 3},
    ],
}  # fmt: skip
EVALUATIONS = [
    {},
    {"preset": "cvpr2025", "cross": 0.5, "thresholds": (0.4,), "confidence": 0.9, "seed": 4, "batch_size": 7,
     "resize": "center-crop", "on_bad_image": "skip"},
]  # fmt: skip


def identity(name, settings, model, images):
    from freqkit import search

    if "dtype" in settings:
        settings = {**settings, "dtype": getattr(torch, settings["dtype"])}
    how = {
        "batch_size": 8,
        "device": "cpu",
        "form": "eager",
        "split_fraction": 1,
    }  # of runs of before searches were tested
    result = getattr(search, name)(model, images, **{**how, **settings})
    return _kept(result.record["identity"])


def _kept(found):
    """As it stands in run.json, without the versions of what made it."""
    found.pop("versions")
    return json.dumps(found)


def evaluation_identity(settings, model, images, folder):
    from freqkit.data import open_sets, write_image_folder
    from freqkit.masks import DfmFile
    from freqkit.measures import evaluate

    root = Path(folder) / "mine"
    if not root.is_dir():
        write_image_folder(images, root)
    sets = open_sets([f"mine={root}"])
    maps = DfmFile(torch.ones(3, 16, 16), ["a", "b", "c"])
    found = evaluate([("small", model)], sets, maps, image_size=16, device="cpu", **settings)
    return _kept(found.record["identity"]).replace(str(folder), "FOLDER")


CONFIGS = {
    "search": [
        "--data {images} --model small_convnet --num-classes 4 --stages 1-2 --candidates 4,6 --seed 1"
        " --preset cvpr2025",
        "--data {images} --model small_convnet --num-classes 4 --steps 3 --objective contrast --memory 2MiB",
        "--data {images} --model small_convnet --num-classes 4 --searcher gradient --rescore 0.1 --coverage 0.1 -b 8",
    ],
    "dfm": ["--data {images} --model small_convnet --num-classes 4 --levels 0.1,0.2 --method gradient --draws 1"],
    "rates": ["--data {images} --model small_convnet --num-classes 4 --dfm {file} --interval bootstrap --rest"
              " --split-fraction 0.5 --mean 0.5,0.5,0.5 --std 0.2,0.2,0.2"],
    "band-stop": ["--data {images} --model small_convnet --num-classes 4 --edges 3,9 --remove 1 --remove-dc"],
    "adcs": ["--data {images} --image-size 32 --preset iccv2023 --double --mean 0.5,0.5,0.5 --std 0.2,0.2,0.2"],
    "evaluate": ["--model small_convnet --num-classes 4 --on mine={images},fgsm --dfm {file} --cross 0.5 --seed 2"],
    "train": ["--data {images} --model small_convnet --recipe cifar --epochs 3 --follow 5 --augment none --lr 0.1"],
    "compare-searchers": ["--data {images} --model small_convnet --num-classes 4 --held-out {images} --seeds 2"
                          " --effort learned=1,2 --effort evolve=3 --searchers learned,evolve"],
    "demo": ["--seed 3"],
}  # fmt: skip


def config(name, arguments):
    """The flags that run.yaml of a command gets."""
    from freqkit.cli.app import app
    from freqkit.cli.records import flags_of

    command = app.get_command(click.Context(app), name)
    with command.make_context(name, [*arguments, "--out", "out"]) as context:
        return flags_of(context)


def places(folder):
    """What stands for {images} and {file}."""
    images, file = Path(folder) / "images", Path(folder) / "dfm.safetensors"
    (images / "a").mkdir(parents=True, exist_ok=True)
    file.touch()
    return {"images": str(images), "file": str(file)}


def everything():
    model, images = small_world()
    with tempfile.TemporaryDirectory() as folder:
        where = places(folder)
        configs = {
            name: [config(name, [part.format(**where) for part in line.split()]) for line in lines]
            for name, lines in CONFIGS.items()
        }
        return {
            "signatures": signatures(),
            "flags": flags(),
            "identities": {
                **{name: [identity(name, one, model, images) for one in many] for name, many in SEARCHES.items()},
                "evaluate": [evaluation_identity(one, model, images, folder) for one in EVALUATIONS],
            },
            "configs": json.loads(json.dumps(configs).replace(where["images"], "{images}").replace(
                where["file"], "{file}")),
        }  # fmt: skip


@pytest.fixture(scope="module")
def kept():
    return json.loads(KEPT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", functions())
def test_every_keyword_is_still_taken_with_its_default(kept, name):
    before, now = kept["signatures"][name], signature(functions()[name])
    assert now["positional"] == before["positional"]
    assert {key: now["keywords"].get(key, "missing") for key in before["keywords"]} == before["keywords"]


def test_every_flag_is_still_taken(kept):
    now = flags()
    for command, before in kept["flags"].items():
        assert {flag: now[command].get(flag) for flag in before} == before, command


@pytest.mark.parametrize("name,place", [(name, i) for name, many in SEARCHES.items() for i in range(len(many))])
def test_identities_of_searches_are_the_same_bytes(kept, name, place):
    assert identity(name, SEARCHES[name][place], *small_world()) == kept["identities"][name][place]


@pytest.mark.parametrize("place", range(len(EVALUATIONS)))
def test_identities_of_evaluations_are_the_same_bytes(kept, place, tmp_path):
    assert evaluation_identity(EVALUATIONS[place], *small_world(), tmp_path) == kept["identities"]["evaluate"][place]


@pytest.mark.parametrize("name", CONFIGS)
def test_run_yaml_of_earlier_runs_is_read_as_it_was(kept, name, tmp_path):
    import yaml

    where = places(tmp_path)
    for line, before in zip(CONFIGS[name], kept["configs"][name], strict=True):
        flags = json.loads(json.dumps(before).replace("{images}", where["images"]).replace("{file}", where["file"]))
        asked = {key: value for key, value in flags.items() if key != "resize"}  # what it is then is up to the images
        assert known(config(name, [part.format(**where) for part in line.split()]), asked) == asked
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump({"command": name, "flags": flags}), encoding="utf-8")
        assert known(config(name, ["--config", str(file)]), flags) == flags


def known(found, before):
    """Without flags that have come since."""
    return json.loads(json.dumps({name: value for name, value in found.items() if name in before}))


if __name__ == "__main__":
    # a line for each function, command and searcher
    parts = [
        f'"{part}": {{\n' + ",\n".join(f'"{name}": {json.dumps(value)}' for name, value in content.items()) + "}"
        for part, content in everything().items()
    ]
    Path(sys.argv[1]).write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
