"""Networks and people on the same images: planted answers, plain loops, tables read and written, faults."""

import json

import numpy as np
import pytest
import torch

from freqkit import wrap
from freqkit.data import open_sets
from freqkit.data.sixteen import CATEGORIES, MEMBERS
from freqkit.data.test_sets.model_vs_human import CONDITIONS, FOLDERS, PREFIX, SETS
from freqkit.errors import UsageError
from freqkit.measures import HumanComparisonResult, error_consistency, human_comparison, read_raw
from freqkit.report import write_report
from freqkit.results.load import load_result
from tests.measures.oracle import SIDE, Oracle, oracle, put

HEAD = "subj,Session,trial,rt,object_response,category,condition,imagename\n"


def answer(name, condition, place, category):
    """What the picture of an image of a category says: its category in all conditions but the dropped ones, and there
    in every third image; of the third one of every condition another category."""
    dropped = condition in CONDITIONS.get(name, ((), ()))[1]
    right = place % 3 == 0 if dropped else place != 2
    return category if right else CATEGORIES[(CATEGORIES.index(category) + 3) % 16]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """All 17 sets, four images of a condition, in the published layout."""
    root = tmp_path_factory.mktemp("mvh")
    for name in SETS:
        for condition in CONDITIONS.get(name, (("",), ()))[0]:
            for place, category in enumerate(("cat", "dog", "oven", "knife")):
                file = f"dnn/session-1/{place:04}_x_dnn_{condition}_{category}_10_n{place}_{place}.png"
                if name in FOLDERS:
                    file = f"{category}/{category}{place}{'-truck1' * (name == 'cue-conflict')}.png"
                put(root / name / file, MEMBERS[answer(name, condition, place, category)][0])
    return root


@pytest.fixture(scope="module")
def sets(root):
    return open_sets([PREFIX + name for name in SETS], root, relaxed=True)


@pytest.fixture(scope="module")
def found(sets):
    return human_comparison([("oracle", oracle())], sets, batch_size=16, form="eager")


def test_an_oracle_is_right_exactly_where_its_images_say_so(found):
    assert found.sets == list(SETS) and found.record["forwards"] == len(found.names) == 4 * (
        3 + sum(len(own) for own, _ in CONDITIONS.values())
    )
    for name in SETS:
        conditions, dropped = CONDITIONS.get(name, (("",), ()))
        hits = sum((answer(name, c, p, "cat") == "cat") for c in conditions for p in range(4))
        assert found.counts(0, found.among(name)) == (hits, 4 * len(conditions))
        assert found.counts(0, found.among(name, kept=True)) == (
            3 * (len(conditions) - len(dropped)), 4 * (len(conditions) - len(dropped)),
        )  # fmt: skip
    assert found.ood_mean(0) == 0.75
    low, high = found.ood_interval(0)
    assert 0.6 < low < 0.75 < high < 0.9
    rows = {(row["set"], row["condition"], row["metric"]): row for row in found.rows()}
    assert rows["model-vs-human", "all", "ood_mean"]["value"] == 0.75
    assert rows["contrast", "c03", "accuracy"]["value"] == 0.5 and rows["contrast", "c15", "accuracy"]["value"] == 0.75
    assert (
        rows["colour", "all", "accuracy"]["value"] == 5 / 8 and rows["colour", "all", "OOD accuracy"]["value"] == 0.75
    )
    assert rows["cue-conflict", "all", "shape-bias"]["value"] == 1  # cat, dog, knife; the oven is called neither
    assert rows["cue-conflict", "all", "shape-bias"]["n"] == 3


def test_ood_mean_needs_every_set(sets):
    some = human_comparison([("oracle", oracle())], [one for one in sets if one.name != "edge"], batch_size=16)
    assert some.ood_mean(0) is None and "ood_mean" not in {row["metric"] for row in some.rows()}


def test_kappa_of_planted_decisions_and_against_a_plain_loop():
    chance = np.random.default_rng(0)
    a, b = (torch.from_numpy(chance.random(20_000) < share) for share in (0.7, 0.4))
    assert error_consistency(a, a) == 1 and abs(error_consistency(a, b)) < 0.02
    half = torch.arange(10) < 5
    assert error_consistency(half, ~half) == -1 and -1 < error_consistency(a, ~a) < 0
    assert error_consistency(torch.ones(5, dtype=torch.bool), torch.ones(5, dtype=torch.bool)) is None
    for seed in range(5):
        chance = np.random.default_rng(seed)
        one, other = chance.random(37) < 0.6, chance.random(37) < 0.8
        same = sum(x == y for x, y in zip(one, other, strict=True)) / 37
        p, q = one.sum() / 37, other.sum() / 37
        expected = p * q + (1 - p) * (1 - q)
        found = error_consistency(torch.from_numpy(one), torch.from_numpy(other))
        assert found == pytest.approx((same - expected) / (1 - expected), abs=1e-12)
    with pytest.raises(UsageError, match="bool tensors"):
        error_consistency(a, a.long())


def made(responses, labels, place, conditions, asked=1, makers=None, resamples=400):
    """A result of planted answers."""
    makers = makers or ["net", *(f"subject-{i:02}" for i in range(1, len(responses)))]
    names = [f"{conditions[k][0]}/cat/{i}.png" for i, k in enumerate(place)]
    return HumanComparisonResult(
        makers, asked, names, torch.tensor(labels), torch.tensor(place), conditions, torch.tensor(responses),
        {"confidence": 0.95, "resamples": resamples, "seed": 0}, {"forwards": 0},
    )  # fmt: skip


def test_consistency_is_the_mean_over_kept_conditions_and_people_by_a_plain_loop():
    chance = np.random.default_rng(3)
    conditions = [["colour", "cr"], ["colour", "bw"], ["rotation", "0"], ["rotation", "90"], ["rotation", "270"]]
    place = [int(k) for k in chance.integers(5, size=300)]
    labels = chance.integers(16, size=300)
    responses = np.where(chance.random((4, 300)) < 0.6, labels, (labels + 1) % 16)
    responses[2, ::7] = -2  # one of the people did not see every image
    responses[3, ::11] = -1  # another gave no answer
    result = made(responses.tolist(), labels.tolist(), place, conditions)
    for name, kept in (("colour", [1]), ("rotation", [3, 4])):
        of_people = []
        for person in (1, 2, 3):
            kappas = []
            for k in kept:
                own = [i for i in range(300) if place[i] == k and responses[person, i] != -2]
                pairs = [(responses[0, i] == labels[i], responses[person, i] == labels[i]) for i in own]
                p, q = (sum(pair[side] for pair in pairs) / len(own) for side in (0, 1))
                expected = p * q + (1 - p) * (1 - q)
                kappas.append((sum(a == b for a, b in pairs) / len(own) - expected) / (1 - expected))
            of_people.append(sum(kappas) / len(kappas))
        value, low, high, n = result.consistency(name, [0], [1, 2, 3])[0]
        assert value == pytest.approx(sum(of_people) / 3, abs=1e-12) and low < value < high
        assert n == sum(place[i] in kept for i in range(300))


def test_intervals_hold_planted_consistency_as_often_as_they_say():
    """Two that share a planted part of their errors; images redrawn."""
    inside, truth = 0, 0.5
    for seed in range(60):
        chance = np.random.default_rng(seed)
        a = chance.random(160) < 0.5
        b = np.where(chance.random(160) < truth, a, chance.random(160) < 0.5)  # kappa is the share that is copied
        answers = [np.where(each, 3, 4).tolist() for each in (a, b)]
        result = made(answers, [3] * 160, [0] * 160, [["sketch", "0"]], resamples=300)
        _, low, high, _ = result.consistency("sketch", [0], [1])[0]
        inside += low < truth < high
    assert 52 <= inside <= 60


def test_same_other_and_opposite_answers(tmp_path):
    right, wrong = [3] * 8, [4] * 8
    half, other = right[:4] + wrong[:4], wrong[:4] + right[:4]
    crossed = [3, 3, 4, 4, 3, 3, 4, 4]
    result = made([half, half, other, crossed, right], right, [0] * 8, [["sketch", "0"]], asked=5,
                  makers=["a", "same", "opposite", "crossed", "perfect"])  # fmt: skip
    values = {one: result.consistency("sketch", [0], [r])[0][0] for r, one in enumerate(result.makers) if r}
    assert values == {"same": 1, "opposite": -1, "crossed": 0, "perfect": 0}
    perfect = made([right, right], right, [0] * 8, [["sketch", "0"]])
    assert perfect.consistency("sketch", [0], [1])[0] == (None, None, None, 8)
    result.save(tmp_path / "found.safetensors")
    text = write_report(tmp_path / "found.safetensors").read_text()
    assert "Networks among each other" in text and "No answers of people were given" in text


def people(folder, found, name, subject, mistakes):
    """The table of a person who is right but for images of the places `mistakes`, as published."""
    lines = []
    for trial, i in enumerate(found.among(name).nonzero().flatten().tolist()):
        category, file = CATEGORIES[found.labels[i]], found.names[i].rpartition("/")[2]
        condition = found.conditions[found.place[i]][1] or "0"
        own = int(file[:4]) if file[0] == "0" else int(file[-5])
        said = category if own not in mistakes else "na" if own % 2 else "bear"
        if name in FOLDERS:
            file = f"{trial:04}_x_s01_0_{category}_00_{file}"
        else:
            file = f"{trial + 70:04}_x_s01_{file.split('_', 3)[3]}"
        lines.append(f"{subject},1,{trial},0.5,{said},{category},{condition},{file}\n")
    path = folder / name / f"{name}_{subject}_session_1.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + "".join(lines))
    return path


def test_tables_of_people_are_compared_and_written_tables_read_back(tmp_path, found, sets):
    for name in ("colour", "edge"):
        people(tmp_path / "raw", found, name, "subject-01", {2})
        people(tmp_path / "raw", found, name, "subject-02", {1, 3})
    some = [one for one in sets if one.name in ("colour", "edge")]
    both = human_comparison([("oracle", oracle())], some, [tmp_path / "raw"], batch_size=16, out=tmp_path / "run")
    assert [both.makers[r] for r in both.people] == ["subject-01", "subject-02"] and both.asked == 1
    # The oracle errs on image 2 (of colour's kept condition), as the first person does.
    alike = both.consistency("colour", [0], [1])[0][0]
    assert alike == both.consistency("edge", [0], [1])[0][0] == 1
    assert both.consistency("edge", [0], [2])[0][0] == pytest.approx(error_consistency(
        torch.tensor([True, True, False, True]), torch.tensor([True, False, True, False])))  # fmt: skip
    assert int((both.responses == -1).sum()) == 6  # "na" is no answer, and wrong
    metrics = {
        (row["model"], row["set"], row["condition"]) for row in both.rows() if row["metric"] == "error consistency"
    }
    assert ("oracle", "edge", "with people") in metrics and ("subject-02", "colour", "with people") in metrics
    again = load_result(tmp_path / "run")
    assert isinstance(again, HumanComparisonResult) and again.rows() == both.rows()
    assert "Errors on the same images as people" in write_report(tmp_path / "run").read_text()
    both.write_raw(tmp_path / "written")
    head = (tmp_path / "written" / "edge" / "edge_oracle_session-1.csv").read_text().splitlines()
    assert head[0] == HEAD.strip().replace("Session", "session") and head[1] == "oracle,1,1,NaN,cat,cat,NaN,cat0.png"
    read = read_raw([tmp_path / "written", tmp_path / "raw"])
    assert read.asked == 0 and len(read.names) == len(both.names)
    before, after = ([row for row in one.table() if row["model"] == "oracle"] for one in (both, read))
    assert before == after


@pytest.mark.parametrize(("change", "said"), [
    (lambda text: text.replace("object_response", "answer"), "with the columns subj"),
    (lambda text: text.replace(",dog,dog,", ",zebra,dog,"), r"line \d+ must name one of the sixteen.* 'zebra'"),
    (lambda text: text.replace(",dog,dog,", ",dog,cat,"), "is called cat, elsewhere otherwise"),
    (lambda text: text + text.splitlines()[-1] + "\n", "stands twice"),
])  # fmt: skip
def test_a_faulty_table_is_refused_by_name(tmp_path, found, sets, change, said):
    path = people(tmp_path, found, "edge", "subject-01", set())
    path.write_text(change(path.read_text()))
    edge = [one for one in sets if one.name == "edge"]
    with pytest.raises(UsageError, match=said) as error:
        human_comparison([("oracle", oracle())], edge, [path], batch_size=4)
    assert path.name in str(error.value)
    path.rename(tmp_path / "mine.csv")
    with pytest.raises(UsageError, match=r"must be called SET_SUBJECT"):
        read_raw([tmp_path / "mine.csv"])


def test_a_model_of_other_classes_fails_alone(sets):
    edge = [one for one in sets if one.name == "edge"]
    two = human_comparison([("ten", oracle(10)), ("oracle", lambda: oracle())], edge, batch_size=4)
    assert two.makers == ["oracle"] and two.record["failures"][0]["model"] == "ten"
    assert "must have ImageNet's 1,000 classes" in two.record["failures"][0]["error"]
    with pytest.raises(UsageError, match=r"no model could be asked: .*1,000 classes"):
        human_comparison([("ten", oracle(10))], edge, batch_size=4)
    with pytest.raises(UsageError, match="nothing to compare"):
        human_comparison([], [])


class Broken(Oracle):
    """Raises in the second set."""

    def forward(self, x):
        if self.asked >= 12:
            raise KeyboardInterrupt
        return super().forward(x)


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path, sets):
    some = [one for one in sets if one.name in ("edge", "colour", "rotation")]
    how = {"batch_size": 4, "form": "eager", "memory": 8 * 960}

    def model(net):
        return wrap(net(1000), (0, 0, 0), (1, 1, 1), num_classes=1000, input_size=(SIDE, SIDE), name="oracle")

    with pytest.raises(KeyboardInterrupt):
        human_comparison([("oracle", model(Broken))], some, out=tmp_path / "run", **how)
    again = model(Oracle)
    human_comparison([("oracle", again)], some, out=tmp_path / "run", resume=True, **how)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["forwards_before"] > 0
    human_comparison([("oracle", again)], some, out=tmp_path / "whole", **how)
    for name in ("human-comparison.safetensors", "human-comparison.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_command(tmp_path, root):
    from click.testing import CliRunner

    from freqkit.cli.app import app

    def run(*words):
        return CliRunner().invoke(app, ["human-comparison", *map(str, words)])

    model = "--model", "small_convnet", "--num-classes", 1000, "--image-size", 32, "--batch-size", 16
    done = run(*model, "--data", root, "--on", "edge,colour", "--relaxed", "--out", tmp_path / "run", "--raw",
               tmp_path / "raw", "--json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["ood_mean"] == {"small_convnet": None} and {row["set"] for row in facts["table"]} == {"edge", "colour"}
    assert (tmp_path / "run" / "report.html").is_file() and (tmp_path / "raw" / "edge").is_dir()
    alone = run("--observers", tmp_path / "raw")
    assert alone.exit_code == 0 and "small_convnet" in alone.stdout
    for words, said in (
        ((*model, "--data", root, "--on", "zebra"), "--on must list sets"), (model, "--data must be given"),
        ((*model, "--data", tmp_path), "holds none"), (("--data", root), "--model must be given"),
    ):  # fmt: skip
        refused = run(*words)
        assert refused.exit_code == 2 and said in refused.stderr
