import pytest
import torch

AWKWARD = '<b>"cat" & co</b>'


def made_up(classes, size=16, masks=30, images=20, seed=0, directory=None, names=None):
    """A finished search of two stages with random scores, saved when a directory is given."""
    from freqkit.masks import candidates, select
    from freqkit.results import Scores, SearchResult, StageResult

    generator = torch.Generator().manual_seed(seed)
    names = names or [f"class {i:03d}" for i in range(classes)]
    stages, parents = [], None
    for number in (1, 2):
        drawn = candidates(number, masks, size=(size, size), seed=seed, parents=parents).masks
        count = len(drawn.bits)
        loss = torch.rand(count, classes, generator=generator, dtype=torch.float64) * 5
        correct = torch.randint(0, images + 1, (count, classes), generator=generator)
        predicted = correct + torch.randint(0, 1 + images * (classes - 1) // 3, (count, classes), generator=generator)
        scores = Scores(loss, correct, predicted, torch.full((classes,), images), names)
        ranks = scores.rank(5)
        stages.append(StageResult(number, drawn, scores, ranks, torch.full((count,), number)))
        parents = [select(drawn, row) for row in ranks]
    record = {
        "format": "freqkit-run-1", "status": "finished", "stages_done": [1, 2], "forwards": 60 * classes * images,
        "seconds": 12.5, "device": "cpu", "threads": 1,
        "identity": {"search": "hfss", "preset": "default", "stages": [1, 2], "candidates": [masks, masks],
                     "keep": 0.6, "top": 5, "seed": seed, "versions": {"freqkit": "0", "torch": "1"}},
        "model": {"name": "a_model", "num_classes": classes, "state_sha256": "ab" * 32},
        "data": {"images": classes * images, "size": [size, size], "fingerprint": "cd" * 32, "root": "pictures"},
    }  # fmt: skip
    result = SearchResult.from_stages(stages, record)
    if directory is not None:
        result.save(directory)
    return result


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """(directory, result) of a small search of five classes, with example images; a class has an awkward name."""
    from freqkit.report import Example
    from freqkit.report.examples import save_examples

    folder = tmp_path_factory.mktemp("searched") / "run"
    names = [AWKWARD, "dog", "frog", "ship", "truck"]
    result = made_up(5, directory=folder, names=names)
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1)).numpy()
    save_examples(
        folder / "examples.safetensors",
        [Example(name, image, 0.5 + (image - 0.5) / 4, name, names[i % 2]) for i, name in enumerate(names)],
    )
    return folder, result
