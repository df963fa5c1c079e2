"""What the console writes: harmless on a terminal, plain in files, whole for other programs."""

import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.cells import cell_len
from rich.text import Text

from pecmae.cli import console, main, results, support
from pecmae.core.files import atomic_write, user_path
from pecmae.errors import AudioWarning
from pecmae.explain.sounds import PrototypeSounds

ROW = {"path": "a/song.wav", "label": "jazz", "score": 0.9, "scores": {"jazz": 0.9, "rock": 0.1}, "duration": 3.0}


class Terminal(io.StringIO):
    """Standard output that says it is one."""

    def isatty(self) -> bool:
        return True


def table(row, output=None):
    writer = results.writer_of("table", [row["path"]], ("jazz", "rock"), None, output)
    return writer.head + writer.row(row) + writer.tail


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain.wav", "plain.wav"),
        ("Größe (日本)\u3000it's \\ [1].wav", "Größe (日本)\u3000it's \\ [1].wav"),
        ("x\033]0;EVIL\007y", r"$'x\x1b]0;EVIL\x07y'"),
        ("a\nb", r"$'a\nb'"),
        ("it's\t\\", r"$'it\'s\t\\'"),
        ("\x9bcsi", r"$'\u009bcsi'"),
        ("gpj.\u202eexe", r"$'gpj.\u202eexe'"),
        ("\udcff.wav", r"$'\xff.wav'"),
    ],
)
def test_names_are_quoted_where_a_terminal_would_obey_them(name, shown):
    assert console.quoted(name) == shown


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
@pytest.mark.parametrize("name", ["a\nb'c", "x\033\\y", "é\u202e\t"])
def test_a_quoted_name_is_the_shells_word_for_it(name):
    command = ["bash", "-c", f"printf %s {console.quoted(name)}"]
    assert subprocess.run(command, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}).stdout.decode() == name


def test_no_message_and_no_table_carries_an_escape_sequence(capsys, monkeypatch):
    console.say("x\033[31m\x07.wav: is silent", "warning")
    assert capsys.readouterr().err == "warning: x\\x1b[31m\\x07.wav: is silent\n"
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    shown = table(ROW | {"path": "\033]0;EVIL\007", "label": "\033[2J", "scores": {"\033[2J": 0.9, "\033[3J": 0.1}})
    assert "\033]" not in shown
    assert "\033[2J" not in shown
    assert "\033[3J" not in shown


@pytest.mark.parametrize("columns", ["0", "7", "30", "x"])
def test_a_file_gets_whole_lines_without_colours_whatever_the_terminal(monkeypatch, columns):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    row = ROW | {"path": "long/" * 40 + "song.wav"}
    lines = table(row, Path("out.txt")).splitlines()
    assert lines[1].split() == [row["path"], "jazz", "0.90", "rock", "0.10", "3.0", "s"]
    assert len(lines) == 2
    assert "song" in table(ROW)  # and a terminal of no width shows something


def plain(text):
    return Text.from_ansi(text).plain


@pytest.mark.parametrize("columns", [20, 25, 33, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("name", ["a.wav", "music/an album/" + "a long title " * 8 + ".flac", "音楽/" * 20 + "a.wav"])
def test_no_line_of_a_table_is_wider_than_the_terminal_and_no_name_is_cut(monkeypatch, columns, name):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    labels = ("a class with a long name of its own", "rock", "jazz")
    row = ROW | {"path": name, "label": labels[0], "scores": dict.fromkeys(labels, 0.33)}
    writer = results.writer_of("table", [name, "b"], labels, None, None)
    text = plain(writer.head + writer.row(row) + writer.row({"path": "b", "error": "no"}))
    assert max(cell_len(line) for line in text.splitlines()) <= columns
    assert Counter(name.replace(" ", "")) <= Counter(text)  # folded, not cut
    assert "0.90" in text
    if columns == 200:  # with room for all, nothing is left out
        assert text.splitlines()[0].split() == ["file", "label", "score", "then", "length"]


@pytest.mark.parametrize(
    ("said", "columns"), [("30", 30), ("0", 80), ("7", 80), ("-5", 80), ("x", 80), ("", 80), ("9" * 9, 80)]
)
def test_columns_that_no_terminal_has_are_not_believed(monkeypatch, said, columns):
    monkeypatch.setenv("COLUMNS", said)
    for name in ("__stdin__", "__stdout__", "__stderr__"):
        monkeypatch.setattr(sys, name, None)
    assert console.width() == columns


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_no_signal_cuts_a_row_in_two():
    shown = []

    def show(row):
        os.kill(os.getpid(), signal.SIGINT)
        shown.append(row["path"])

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started deaf to it
    try:
        done = support.each([Path("a"), Path("b")], "testing", iter([{}, {}]), show)
        assert (shown, done.interrupted) == (["a"], True)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("output", "asked", "layout"),
    [
        (None, None, "table"),
        (None, "jsonl", "jsonl"),
        ("-", "csv", "csv"),
        ("a.json", None, "json"),
        ("a.JSONL", None, "jsonl"),
        ("a.ndjson", None, "jsonl"),
        ("a.csv", "csv", "csv"),
        ("a.txt", None, "table"),
        ("a.log", "jsonl", "jsonl"),
        (os.devnull, None, "table"),
    ],
)
def test_the_suffix_of_the_output_decides(output, asked, layout):
    assert results.layout_of(None if output is None else Path(output), asked) == layout


@pytest.mark.parametrize(
    ("output", "asked", "words"),
    [
        ("x.parquet", None, r"x\.parquet: results are written as \.json, \.jsonl, .*; give a name that ends in one of them"),
        ("results", None, "results: results are written as"),
        ("a.json", "csv", "its name says json and --csv another"),
    ],
)
def test_a_suffix_that_says_nothing_or_something_else_is_refused(output, asked, words):
    with pytest.raises(ValueError, match=words):
        results.layout_of(Path(output), asked)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_and_its_lines_are_whole_after_any_number_of_rows(count):
    rows = [ROW | {"path": f"{number}.wav", "duration": float("nan")} for number in range(count)]
    expected = [row | {"duration": None, "scores": {"jazz": 0.9}} for row in rows]
    texts = {}
    for layout in ("json", "jsonl"):
        writer = results.writer_of(layout, [], (), 1, None)
        texts[layout] = writer.head + "".join(map(writer.row, rows)) + writer.tail
    assert json.loads(texts["json"]) == expected
    assert [json.loads(line) for line in texts["jsonl"].splitlines()] == expected


def test_json_holds_no_nan():
    assert json.loads(console.as_json([{"score": float("nan")}])) == [{"score": None}]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_csv_is_a_formula(start):
    row = ROW | {"path": f"{start}1+1.wav", "label": f"{start}x", "error": f"{start}y"}
    writer = results.writer_of("csv", [], ("jazz", "rock"), None, None)
    (flat,) = csv.DictReader(io.StringIO(writer.head + writer.row(row) + writer.tail, newline=""))
    assert (flat["path"], flat["label"], flat["error"]) == (f"'{start}1+1.wav", f"'{start}x", f"'{start}y")
    assert float(flat["score_jazz"]) == 0.9


def run(*arguments, **options):
    command = [sys.executable, "-c", "from pecmae.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, **options)


@pytest.mark.skipif(os.name == "nt", reason="descriptors")
def test_closed_standard_streams_are_named_before_any_work_and_cause_no_traceback():
    command = f'"{sys.executable}" -c "from pecmae.cli import main; main()"'
    script = f"{command} models >&-; echo $?; {command} classify none.wav 2>&- >&-; echo $?"
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["2", "2"]
    assert result.stderr == "error: standard output is closed; give a file with --output.\n"


def test_dash_is_the_standard_stream(tmp_path, tiny_model_dir, tone):
    soundfile.write(tmp_path / "song.wav", tone, 24_000)
    audio = (tmp_path / "song.wav").read_bytes()
    result = run("classify", "-", "--json", "-o", "-", "--model", tiny_model_dir, input=audio, cwd=tmp_path)
    (row,) = json.loads(result.stdout)
    assert (row["path"], row["num_segments"], result.returncode) == ("-", 3, 0)
    result = run("sonify", "-c", "jazz", "--prototype", 0, "--steps", 1, "-o", "-", "--model", tiny_model_dir, cwd=tmp_path)
    samples, rate = soundfile.read(io.BytesIO(result.stdout))
    assert (len(samples), rate) == (9_600, 24_000)
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]


@pytest.mark.parametrize("command", [["embed", "a.wav", "-o", "-"], ["sonify", "-o", "-", "-c", "jazz"]])
def test_what_is_several_files_does_not_go_to_standard_output(capsys, tmp_path, monkeypatch, tiny_model_dir, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main([*command, "--model", str(tiny_model_dir)])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: -: this ")
    assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_users_folder(monkeypatch, tmp_path, tiny_model, tiny_model_dir, tone):
    monkeypatch.setenv("HOME", str(tmp_path))
    soundfile.write(tmp_path / "song.wav", tone, 24_000)
    assert user_path("~/x") == tmp_path / "x"
    assert user_path("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    assert tiny_model.predict("~/song.wav").num_segments == 3
    with pytest.raises(SystemExit) as caught:
        main(["classify", "~/song.wav", "--output=~/out.json", "--model", str(tiny_model_dir)])
    assert caught.value.code == 0
    assert json.loads((tmp_path / "out.json").read_text())[0]["num_segments"] == 3


def test_a_full_disk_is_named_with_the_file(tmp_path):
    with pytest.raises(OSError, match=r"No space left.*song.txt") as caught, atomic_write(tmp_path / "song.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert console.sentence(caught.value) == f"{tmp_path / 'song.txt'}: No space left on device."
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_standard_output_that_is_full_is_one_sentence():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", "from pecmae.cli import main; main()", "models"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "error: standard output: No space left on device.\n")


def test_sounds_are_made_where_no_cache_can_be_written(tmp_path, tiny_model):
    (tmp_path / "file").write_text("in the way")
    sounds = PrototypeSounds(tiny_model, tmp_path / "file", num_inference_steps=1)
    with pytest.warns(AudioWarning, match="sounds cannot be kept there") as warned:
        sounds.make([(0, 0), (1, 0)])
    assert len(warned) == 1
    expected = tiny_model.sonify("blues", num_inference_steps=1)
    np.testing.assert_array_equal([sounds.get(0), sounds.get(1)], expected)
