"""An evaluation as the files that a paper needs."""

import csv
import json

import numpy as np
import pytest

from pecmae.evaluation.confidence import Confidence
from pecmae.evaluation.paper_files import latex_table, write_paper_files
from pecmae.evaluation.report import EvaluationReport
from pecmae.evaluation.tracks import Evaluation
from test_own import fitted as fitted  # fixtures
from test_own import music as music
from test_own import run as run

LABELS = ("a_1", "b & c")


@pytest.fixture
def report() -> EvaluationReport:
    scores = np.array([[0.9, 0.1], [0.25, 0.75], [0.4, 0.6], [0.2, 0.8]], np.float32)
    evaluation = Evaluation(
        LABELS,
        ("one", "=two", "three", "four"),
        np.array([0, 1, 0, 1]),
        scores.argmax(1),
        scores.max(1),
        {},
        scores,
    )
    health = {"prototypes": [{
        "prototype": "a_1 0", "label": "a_1", "usage": 0.12345, "purity": 1.0, "relative_distance": 0.5,
        "nearest": [{"track": "x.wav", "label": "a_1", "offset": 4.0, "distance": 0.1}],
    }]}  # fmt: skip
    values = {
        "data": "my_data",
        "split": "test",
        "tracks": evaluation.to_dict(),
        "confidence": {"scores": Confidence(scores, evaluation.true).to_dict()},
        "prototypes": health,
    }
    return EvaluationReport(evaluation=evaluation, notes=(), values=values)


def rows(path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline="")))


def test_every_file_holds_what_it_says(report, tmp_path):
    pytest.importorskip("matplotlib")
    written = write_paper_files(report, tmp_path / "paper")
    assert sorted(path.name for path in written) == sorted(path.name for path in (tmp_path / "paper").iterdir())
    folder = tmp_path / "paper"
    found = rows(folder / "predictions.csv")
    assert found[2] == {
        "track": "three", "true": "a_1", "label": "b & c", "correct": "0", "score": "0.600", "score_a_1": "0.400",
        "score_b & c": "0.600",
    }  # fmt: skip
    assert found[1]["track"] == "'=two"
    assert rows(folder / "confusion.csv") == [
        {"true": "a_1", "a_1": "1", "b & c": "1"}, {"true": "b & c", "a_1": "0", "b & c": "2"},
    ]  # fmt: skip
    (prototype,) = rows(folder / "prototypes.csv")
    assert (prototype["usage"], prototype["nearest_track"], prototype["nearest_offset"]) == ("0.123", "x.wav", "4.000")
    assert [row["confidence"] for row in rows(folder / "reliability.csv")] == ["0.600", "0.750", "0.800", "0.900"]
    assert json.loads((folder / "report.json").read_text())["prototypes"]["prototypes"][0]["usage"] == 0.12345
    for name in ("confusion", "reliability"):
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_is_latex_that_nothing_breaks(report):
    text = latex_table(report)
    assert r"a\_1 & 2 & 50.0 \\" in text
    assert r"b \& c & 2 & 100.0 \\" in text
    assert "mean recall & 4 & 75.0 (" in text
    assert r"my\_data" in text


def test_the_console_writes_the_folder_or_a_file(fitted, run, music, tmp_path):
    pytest.importorskip("matplotlib")
    quick = ("--model", fitted / "model", "--seeds", 0, "--round-trips", 0, "--no-health")
    status, out, err = run("evaluate", music, *quick, "--output", tmp_path / "paper")
    assert status == 0, err
    assert str(tmp_path / "paper" / "table.tex") in out.splitlines()
    assert len(rows(tmp_path / "paper" / "predictions.csv")) > 2
    status, _, err = run("evaluate", music, *quick, "--output", tmp_path / "report.docx")
    assert status == 2
    assert ".json or .txt" in err
