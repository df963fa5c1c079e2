"""The fuzzer finds what it looks for, and a small seeded part of what it reads does well."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fuzz
from hostile.audio import audio_cases, crafted_files
from hostile.cases import Case
from hostile.models import model_cases, table_cases
from hostile.trials import Outcome, Trials, judged, library
from misbehaving import misbehaving


@pytest.fixture(scope="module")
def answer() -> Callable[[Case], None]:
    return library()


# Some of the crafted headers take seconds each; the fuzzer itself reads all of them.
@pytest.mark.parametrize(("make_cases", "count"), [(audio_cases, 40), (model_cases, 12), (table_cases, 18)])
def test_a_seeded_part_is_read_or_refused_in_a_sentence(make_cases, count, answer, tmp_path):
    outcomes = [(case, *judged(case, answer)) for case in make_cases(tmp_path, count, seed=1)]
    assert len(outcomes) == count
    assert [found for found in outcomes if found[1] not in ("read", "refused")] == []
    messages = [message for _, verdict, message in outcomes if verdict == "refused"]
    assert messages
    assert all("\n  File" not in message and len(message) < 2000 for message in messages)


def test_the_same_seed_writes_the_same_files(tmp_path):
    first, again, other = (list(audio_cases(tmp_path / str(n), 30, seed)) for n, seed in enumerate((5, 5, 6)))
    # libsndfile writes the time into some of them, so only the lengths are alike.
    lengths = [[case.path.stat().st_size for case in cases] for cases in (first, again, other)]
    assert lengths[0] == lengths[1] != lengths[2]
    assert [case.how for case in first] == [case.how for case in again]


def test_every_crafted_header_is_another_file():
    found = list(crafted_files(np.random.default_rng(0)))
    assert len(found) > 250
    assert len({(extension, content) for extension, _, content in found}) > 0.9 * len(found)


def test_what_goes_wrong_is_told_apart_and_the_next_case_is_read(tmp_path):
    expected = {
        "fail": "traceback", "read": "read", "refuse": "refused", "lie": "wrong", "grow": "large", "die": "died",
        "work": "late", "again": "read",
    }  # fmt: skip
    with Trials(misbehaving, seconds=1.0, megabytes=150) as trials:
        found = [trials.run(Case("audio", tmp_path, how)) for how in expected]
    assert [outcome.verdict for outcome in found] == list(expected.values())
    assert [outcome.well for outcome in found] == [verdict in ("read", "refused") for verdict in expected.values()]
    assert "KeyError: 'rate'" in found[0].message


def test_the_summary_counts_and_the_status_tells(tmp_path, monkeypatch, capsys):
    outcomes = [
        Outcome(Case("audio", Path("a.wav"), "truncated"), "read", "", 0.5, 300.0),
        Outcome(Case("audio", Path("b.wav"), "noise"), "died", "the interpreter ended with -11", 0.0, 0.0),
    ]
    for some, status in ((outcomes, 1), (outcomes[:1], 0)):
        monkeypatch.setattr(fuzz, "run", lambda *given, some=some: some)
        with pytest.raises(SystemExit) as ended:
            fuzz.main(["--output", str(tmp_path / "summary.json")])
        assert ended.value.code == status
        assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "summary.json").read_text())
    found = fuzz.summary(outcomes)
    assert found["cases"] == {"audio": {"died": 1, "read": 1}}
    assert (found["slowest_seconds"], found["largest_megabytes"]) == (0.5, 300)
    assert [(one["file"], one["how"], one["verdict"]) for one in found["failures"]] == [("b.wav", "noise", "died")]


def test_cases_that_did_not_do_well_are_kept(tmp_path, monkeypatch):
    class Fussy(Trials):
        def run(self, case: Case) -> Outcome:
            return Outcome(case, "late" if case.path.suffix == ".flac" else "read", "", 0.0, 0.0)

    monkeypatch.setattr(fuzz, "Trials", Fussy)
    (tmp_path / "kept").mkdir()
    found = fuzz.run(audio_cases(tmp_path / "cases", 40, seed=0), tmp_path / "kept", 40)
    late = sorted(f"audio-{outcome.case.path.name}" for outcome in found if not outcome.well)
    assert late
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == late
    assert not list((tmp_path / "cases").iterdir())
