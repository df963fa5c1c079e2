"""The paper's second table at toy size: what is run, what is kept, what is written."""

import json
from pathlib import Path

import numpy as np
import pytest

import draw_table2
import reproduce_table2
from pecmae.audio.preparation import PUBLISHED
from pecmae.audio.segments import write_audio
from pecmae.errors import PecmaeError
from table2 import rows
from table2.page import findings
from table2.results import markdown, mean_and_half_width

RATE = 24_000


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, apart by their pitch, in the three splits."""
    folder, draws = tmp_path_factory.mktemp("music"), np.random.default_rng(0)
    time = np.arange(RATE) / RATE
    for label, pitch in (("high", 2000), ("low", 200)):
        for split, count in (("train", 6), ("validation", 2), ("test", 2)):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                wav = 0.3 * np.sin(2 * np.pi * pitch * (1 + 0.05 * number) * time) + draws.normal(0, 0.01, len(time))
                write_audio(folder / split / label / f"{number}.wav", wav.astype(np.float32), RATE)
    return folder


@pytest.fixture(scope="module")
def toy(music: Path, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a table that takes seconds."""
    cache = tmp_path_factory.mktemp("cache")
    tiny = ["--autoencoder", str(tiny_model_dir / "autoencoder"), "--cache", str(cache), "--no-check"]
    return ["--data", str(music), *tiny, "--steps", "3", "--batch-size", "4", "--evaluate-every", "2"]


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_every_row_is_measured_with_every_seed_and_finished_ones_are_kept(toy, tmp_path, monkeypatch):
    command = [*toy, "--output", str(tmp_path), "--seeds", "0", "1"]
    reproduce_table2.main([*command, "--rows", "PECMAE-1"])
    before = results(tmp_path)["rows"]["PECMAE-1"]
    monkeypatch.setitem(rows.ROWS, "PECMAE-1", None)  # whoever calls it fails
    reproduce_table2.main([*command, "--rows", "PECMAE-1", "PECMAE-NA-5", "MLP on ECMAE", "MLP on ECMAE-S"])
    found = results(tmp_path)["rows"]
    assert found["PECMAE-1"] == before
    assert {name: list(runs) for name, runs in found.items()} == {
        name: ["0", "1"] for name in ("PECMAE-1", "PECMAE-NA-5", "MLP on ECMAE", "MLP on ECMAE-S")
    }
    # D = 16, C = 2: 10 prototypes and a linear layer; 16 → 128 → 1, for two classes need one output.
    assert found["PECMAE-NA-5"]["0"]["parameters"] == 10 * 16 + 10 * 2 + 2
    assert found["MLP on ECMAE"]["0"]["parameters"] == 16 * 128 + 128 + 128 + 1
    assert "| PECMAE-NA-5 | 182 |" in (tmp_path / "table.md").read_text()


def test_apnet_is_a_row_too(toy, tmp_path):
    small = ["--apnet-steps", "2", "--apnet-batch-size", "4", "--apnet-channels", "2", "3", "2"]
    reproduce_table2.main([*toy, *small, "--output", str(tmp_path), "--seeds", "0", "--rows", "APNet-5"])
    (run,) = results(tmp_path)["rows"]["APNet-5"].values()
    # Convolutions both ways, ten prototypes of 2 channels by 20 frames by 30 bands, weights along frequency, a linear layer.
    convolutions = 2 * 25 * (2 + 2 * 3 + 3 * 2) + 2 * (2 + 3) + 2 + 1
    assert run["parameters"] == convolutions + 10 * (2 * 20 * 30 + 30 + 2) + 2
    assert 0 <= run["accuracy"] <= 1


def test_a_row_that_cannot_be_run_is_left_out_with_a_sentence(toy, tmp_path, monkeypatch):
    def unreachable(bench, seed):
        raise PecmaeError("the Hub cannot be reached; try again later.")

    monkeypatch.setitem(rows.ROWS, "MLP on ECMAE", unreachable)
    with pytest.raises(SystemExit, match="MLP on ECMAE: left out; the Hub cannot be reached") as stopped:
        reproduce_table2.main([*toy, "--output", str(tmp_path), "--seeds", "0", "--rows", "MLP on ECMAE", "PECMAE-1"])
    assert stopped.value.code not in (0, None)
    assert list(results(tmp_path)["rows"]) == ["PECMAE-1"]


def test_another_choice_needs_a_folder_of_its_own(toy, tmp_path):
    command = [*toy, "--output", str(tmp_path), "--seeds", "0", "--rows", "PECMAE-1"]
    reproduce_table2.main(command)
    with pytest.raises(SystemExit, match=r"holds a table of another kind \(head, initialisation\)"):
        reproduce_table2.main([*command, "--distance", "sum", "--initialisation", "interleaved"])


def choices(*options: str) -> rows.Choices:
    return reproduce_table2.choices_from_arguments(reproduce_table2.parse_arguments(["--data", "x", "--output", "y", *options]))


def test_presets_are_what_either_source_says():
    paper, code = choices("--preset", "paper"), choices("--preset", "published-code")
    assert (paper.head.distance_reduction, paper.head.classification_loss) == ("sum", "binary_cross_entropy")
    assert (code.head.distance_reduction, code.head.classification_loss) == ("mean", "cross_entropy")
    assert (paper.settings.weight_decay, code.settings.weight_decay) == (1e-5, 1e-4)
    assert (paper.initialisation, code.initialisation) == ("kmeans", "interleaved")
    assert code.preparation == PUBLISHED
    assert {each.settings.steps for each in (paper, code)} == {150_000}
    assert {(each.settings.batch_size, each.head.class_loss_weight) for each in (paper, code)} == {(256, 0.25)}


def test_an_ablation_changes_one_thing_of_the_preset():
    changed = choices("--preset", "paper", "--class-loss-weight", "0.5", "--batch-size", "32")
    assert (changed.head.class_loss_weight, changed.settings.batch_size) == (0.5, 32)
    assert changed.head.distance_reduction == "sum"
    assert changed.settings.weight_decay == 1e-5


def test_the_interval_over_seeds_is_students():
    # t(0.975, 2) = 4.3027, standard deviation 1, three seeds.
    mean, half = mean_and_half_width([80.0, 81.0, 82.0])
    assert (mean, half) == (81.0, pytest.approx(4.3027 / 3**0.5, abs=1e-3))
    assert mean_and_half_width([80.0]) == (80.0, None)


def test_the_papers_figures_stand_beside_named_as_such():
    runs = {"PECMAE-10": {"0": {"accuracy": 0.5, "parameters": 1234, "seconds": 7}}}
    lines = markdown(runs, "gtzan").splitlines()
    assert lines[0].endswith("| paper on gtzan (%) |")
    assert lines[2] == "| PECMAE-10 | 1,234 | 50.0 |  | 1 | 7 | 86.9 |"
    assert "86.9" not in markdown(runs)


def one(accuracy: float) -> dict:
    return {"0": {"accuracy": accuracy, "parameters": 1, "seconds": 1, "interval_95": None}}


def test_findings_say_whether_the_paper_is_borne_out():
    found = findings({"PECMAE-5": one(0.6), "PECMAE-NA-5": one(0.5), "PECMAE-1": one(0.7), "MLP on ECMAE-S": one(0.72)})
    assert "The paper finds that the adaptor helps; so it is here (PECMAE-5 60.0, PECMAE-NA-5 50.0)." in found
    assert "five prototypes a class are better than one; not here (PECMAE-5 60.0, PECMAE-1 70.0)." in found[1]
    assert found[-1] == "The best number of prototypes, PECMAE-1, is -2.0 points from the perceptron on the same z."
    assert not any("APNet" in sentence for sentence in found)


def test_the_page_puts_tables_of_the_same_data_together(toy, tmp_path):
    for rows_of_it, folder in ((["PECMAE-1"], "a"), (["MLP on ECMAE-S"], "b")):
        command = [*toy, "--output", str(tmp_path / folder), "--seeds", "0", "--rows", *rows_of_it]
        reproduce_table2.main(command)
    draw_table2.main([*(str(tmp_path / folder / "results.json") for folder in "ab"), "--page", str(tmp_path / "page.md")])
    text = (tmp_path / "page.md").read_text()
    assert text.count("| PECMAE-1 |") == text.count("| MLP on ECMAE-S |") == 1
    assert text.count("2 classes; clips: 12 train, 4 validation, 4 test.") == 1
    assert (tmp_path / "page.png").read_bytes()[1:4] == b"PNG"
