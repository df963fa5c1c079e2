"""Whole archives: a Parquet data set that resumes, survives bad files and dying workers, and can be searched."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import soundfile

from pecmae import PECMAE, ConfigError, PecmaeError
from pecmae.catalogue import Catalogue, CatalogueSettings, build_catalogue, similar_tracks
from pecmae.catalogue import run as run_module
from pecmae.catalogue import work as work_module
from pecmae.catalogue.pool import PoolSettings, work_on
from pecmae.catalogue.schema import Rows, SourceTrack, failed_row
from pecmae.catalogue.search import TrackEmbeddings
from pecmae.catalogue.sources import find_tracks, is_address
from pecmae.catalogue.store import FACTS_FILE, CatalogueWriter
from pecmae.catalogue.summary import summarise
from test_own import run as run  # a fixture

RATE = 24_000
EVERYTHING = ("labels", "reasons", "embeddings")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Seven tones of 1.1 s, and a file that is none."""
    folder = tmp_path / "archive"
    (folder / "deep").mkdir(parents=True)
    for number in range(7):
        write_tone(folder / ("deep" if number % 2 else "") / f"{number}.wav", 200 * (number + 1))
    (folder / "bad.wav").write_bytes(b"RIFFxxxxWAVE")
    return folder


def write_tone(path: Path, pitch: float) -> None:
    t = np.arange(round(1.1 * RATE)) / RATE
    noise = np.random.default_rng(int(pitch)).normal(0, 0.01, len(t))
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * t) + noise, RATE)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Work in this process; the groups of ids that were worked on."""
    groups: list[list[str]] = []

    def work_here(
        tracks: Iterator[SourceTrack], settings: PoolSettings, *, work: Callable, prepare: Callable, arguments, failed
    ):
        prepare(*arguments)
        waiting = list(tracks)
        for start in range(0, len(waiting), 3):
            group = waiting[start : start + 3]
            groups.append([track.id for track in group])
            yield work(group)

    monkeypatch.setattr(run_module, "work_on", work_here)
    monkeypatch.setattr(work_module.torch, "set_num_threads", lambda count: None)
    return groups


@pytest.fixture
def settings(tiny_model_dir: Path) -> CatalogueSettings:
    return CatalogueSettings(model=str(tiny_model_dir), what=EVERYTHING, device="cpu", dtype="float32")


def ids(catalogue: Catalogue) -> list[str]:
    return sorted(catalogue.to_arrow()["id"].to_pylist())


def test_rows_are_what_the_model_answers(archive, inline, settings, tiny_model_dir, tmp_path):
    progress = build_catalogue(str(archive), tmp_path / "out", settings)
    assert (progress.found, progress.done, progress.failed) == (8, 8, 1)
    found, model = Catalogue(tmp_path / "out"), PECMAE.from_pretrained(tiny_model_dir, device="cpu", dtype="float32")
    rows = {row["path"]: row for row in found.to_arrow().to_pylist()}
    path = str(archive / "0.wav")
    prediction = model.predict(path)
    assert rows[path]["label"] == prediction.label
    assert dict(rows[path]["scores"]) == pytest.approx(prediction.scores, abs=1e-6)
    assert rows[path]["duration"] == pytest.approx(1.1)
    assert rows[path]["size"] == (archive / "0.wav").stat().st_size
    assert rows[str(archive / "bad.wav")]["label"] is None
    assert found.errors() == [(str(archive / "bad.wav"), rows[str(archive / "bad.wav")]["error"])]
    segments = [row for row in found.to_arrow("segments").to_pylist() if row["id"] == path]
    assert [row["offset"] for row in segments] == pytest.approx([0, 0.4, 0.8])
    assert [row["label"] for row in segments] == [model.labels[k] for k in prediction.segment_logits.argmax(1)]
    winners = prediction.segment_similarities.argmax(1)
    assert [row["prototype"] for row in segments] == [model.prototype_name(m) for m in winners]
    assert segments[0]["similarity"] == pytest.approx(prediction.segment_similarities[0].max(), abs=1e-6)
    assert len(segments[0]["reasons"]) == 3
    embeddings = found.dataset("embeddings").to_table().filter(pc.field("id") == path)
    z = np.stack([np.array(row, np.float32) for row in embeddings["z"].to_pylist()])
    assert z == pytest.approx(model.embed(path), abs=2e-3 * float(np.abs(z).max()))


def test_the_same_command_does_what_is_missing_and_no_more(archive, inline, settings, tmp_path):
    build_catalogue([str(archive / "deep")], tmp_path / "out", settings)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    inline.clear()
    progress = build_catalogue([str(archive)], tmp_path / "out", settings)
    assert (progress.found, progress.there, progress.done) == (8, 3, 5)
    assert not any("deep" in name for group in inline for name in group)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    assert {name: after[name] for name in before} == before
    assert len(ids(Catalogue(tmp_path / "out"))) == len(set(ids(Catalogue(tmp_path / "out")))) == 8
    assert build_catalogue([str(archive)], tmp_path / "out", settings).done == 0


def test_what_changed_is_done_again_when_asked(archive, inline, settings, tmp_path):
    build_catalogue([str(archive)], tmp_path / "out", settings)
    write_tone(archive / "0.wav", 5000)
    os.utime(archive / "0.wav", ns=(1, 1))
    assert build_catalogue([str(archive)], tmp_path / "out", settings).done == 0
    assert build_catalogue([str(archive)], tmp_path / "out", replace(settings, refresh=True)).done == 1
    found = Catalogue(tmp_path / "out")
    assert len(ids(found)) == len(set(ids(found))) == 8
    (row,) = [row for row in found.to_arrow().to_pylist() if row["path"] == str(archive / "0.wav")]
    assert row["modified"] == 1
    for table in ("segments", "embeddings"):
        assert sorted(set(found.to_arrow(table)["id"].to_pylist())) == [name for name in ids(found) if "bad" not in name]
        assert found.to_arrow(table).num_rows == 7 * 3


def test_what_failed_is_tried_again_when_asked(archive, inline, settings, tmp_path):
    said: list[tuple[str, str]] = []
    build_catalogue([str(archive)], tmp_path / "out", settings, on_error=lambda *found: said.append(found))
    assert [source for source, _ in said] == [str(archive / "bad.wav")]
    write_tone(archive / "bad.wav", 700)
    assert build_catalogue([str(archive)], tmp_path / "out", replace(settings, retry_errors=True)).done == 1
    assert Catalogue(tmp_path / "out").errors() == []
    assert len(ids(Catalogue(tmp_path / "out"))) == 8


def test_another_model_or_other_tables_are_refused(archive, inline, settings, tiny_model, tmp_path):
    build_catalogue([str(archive / "deep")], tmp_path / "out", settings)
    with pytest.raises(ConfigError, match="labels,reasons,embeddings"):
        build_catalogue([str(archive)], tmp_path / "out", replace(settings, what=("labels",)))
    other = tmp_path / "other"
    tiny_model.with_head(type(tiny_model.head)(tiny_model.head.config), tiny_model.labels).save_pretrained(other)
    with pytest.raises(ConfigError, match="the catalogue there is of the model"):
        build_catalogue([str(archive)], tmp_path / "out", replace(settings, model=str(other)))


def test_a_part_that_was_cut_off_counts_for_nothing(archive, inline, settings, tmp_path):
    build_catalogue([str(archive)], tmp_path / "out", settings)
    whole = Catalogue(tmp_path / "out").to_arrow("segments").num_rows
    (part,) = (tmp_path / "out" / "segments").iterdir()
    (tmp_path / "out" / "segments" / "ffff.parquet").write_bytes(part.read_bytes())  # its tracks were never written
    assert Catalogue(tmp_path / "out").to_arrow("segments").num_rows == whole
    CatalogueWriter(tmp_path / "out", Catalogue(tmp_path / "out").facts)
    assert [path.name for path in (tmp_path / "out" / "segments").iterdir()] == [part.name]


def test_the_folder_says_what_it_holds(archive, inline, settings, tmp_path):
    build_catalogue([str(archive / "deep")], tmp_path / "out", replace(settings, what=("labels",)))
    facts = json.loads((tmp_path / "out" / FACTS_FILE).read_text())
    assert facts["what"] == ["labels"]
    assert facts["labels"] == ["blues", "jazz", "rock"]
    with pytest.raises(ConfigError, match="--what reasons"):
        Catalogue(tmp_path / "out").to_arrow("segments")
    with pytest.raises(ConfigError, match="no catalogue"):
        Catalogue(tmp_path)


def test_others_read_it_as_it_is(archive, inline, settings, tmp_path):
    build_catalogue([str(archive)], tmp_path / "out", settings)
    pandas = pytest.importorskip("pandas")
    assert len(pandas.read_parquet(tmp_path / "out" / "tracks")) == 8
    assert len(Catalogue(tmp_path / "out").to_pandas("embeddings")) == 21
    assert pq.read_schema(next((tmp_path / "out" / "tracks").iterdir())).names[:3] == ["id", "path", "label"]


def test_a_summary_counts(archive, inline, settings, tmp_path):
    build_catalogue([str(archive)], tmp_path / "out", settings)
    found = summarise(Catalogue(tmp_path / "out"))
    assert (found["tracks"], found["errors"]) == (8, 1)
    assert found["hours"] == pytest.approx(7 * 1.1 / 3600)
    assert sum(found["labels"].values()) == 7
    assert found["unsure"] is None
    assert sum(found["prototypes"].values()) == 21
    values = list(found["unexplained"].values())
    assert values == sorted(values)


class TestSearch:
    @pytest.fixture
    def catalogue(self, tmp_path, archive, inline, settings) -> Catalogue:
        build_catalogue([str(archive)], tmp_path / "out", settings)
        return Catalogue(tmp_path / "out")

    def test_it_is_the_cosine_of_centred_means(self, catalogue, archive, tiny_model_dir):
        model = PECMAE.from_pretrained(tiny_model_dir, device="cpu", dtype="float32")
        paths = [path for path in ids(catalogue) if "bad" not in path]
        tracks = [model.embed_track(path) for path in paths]
        means = np.stack([np.average(track.z.numpy(), axis=0, weights=track.weights) for track in tracks])
        centred = means - means.mean(0)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        expected = {path: value for path, value in zip(paths, centred @ centred[0], strict=True) if path != paths[0]}
        found = similar_tracks(catalogue, paths[0], count=3)
        assert [item.path for item in found] == sorted(expected, key=lambda path: -expected[path])[:3]
        assert [item.similarity for item in found] == pytest.approx(sorted(expected.values())[::-1][:3], abs=0.03)

    def test_a_file_from_elsewhere_finds_its_like(self, catalogue, archive, tiny_model_dir):
        model = PECMAE.from_pretrained(tiny_model_dir, device="cpu", dtype="float32")
        embeddings = TrackEmbeddings(catalogue)
        track = model.embed_track(archive / "2.wav")
        (nearest,) = embeddings.nearest(embeddings.vector(track.z.numpy(), track.weights), 1)
        assert nearest.path == str(archive / "2.wav")
        assert nearest.similarity == pytest.approx(1, abs=0.01)

    def test_a_track_that_is_not_there_is_one_sentence(self, catalogue):
        with pytest.raises(ConfigError, match=r"nowhere\.mp3: the catalogue .* holds no such track"):
            similar_tracks(catalogue, "nowhere.mp3")


class TestSources:
    def found(self, *sources: object) -> tuple[list[SourceTrack], list[tuple[str, str]]]:
        errors: list[tuple[str, str]] = []
        return list(find_tracks([str(source) for source in sources], lambda *error: errors.append(error))), errors

    def test_a_list_names_ids_and_paths_beside_it(self, archive):
        (archive / "list.csv").write_text("track_id,artist,path\nA,x,0.wav\nB,y,deep/1.wav\nC,z,gone.wav\n")
        tracks, errors = self.found(archive / "list.csv")
        assert [(track.id, Path(track.path).name, track.size is None) for track in tracks] == [
            ("A", "0.wav", False), ("B", "1.wav", False), ("C", "gone.wav", True),
        ]  # fmt: skip
        assert errors == []

    @pytest.mark.parametrize("name", ["list.tsv", "list.jsonl", "list.parquet"])
    def test_lists_come_in_many_forms(self, archive, name):
        rows = [{"id": 7, "uri": "0.wav"}, {"id": 8, "uri": "s3://bucket/a.mp3"}]
        path = archive / name
        if name.endswith("parquet"):
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif name.endswith("jsonl"):
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            path.write_text("id\turi\n7\t0.wav\n8\ts3://bucket/a.mp3\n")
        tracks, _ = self.found(path)
        assert [(track.id, track.path) for track in tracks] == [("7", str(archive / "0.wav")), ("8", "s3://bucket/a.mp3")]

    def test_what_is_wrong_with_a_source_stops_no_other(self, archive):
        (archive / "no.csv").write_text("a,b\n1,2\n")
        tracks, errors = self.found(archive / "nowhere", archive / "no.csv", archive / "0.wav", archive / "0.wav")
        assert [Path(track.path).name for track in tracks] == ["0.wav"]
        assert [Path(source).name for source, _ in errors] == ["nowhere", "no.csv"]
        assert "name the one with the paths so" in errors[1][1]

    def test_a_drive_is_no_address(self):
        assert is_address("gs://bucket/song.mp3")
        assert not is_address(r"C:\music\song.mp3")

    def test_addresses_are_read(self, archive, inline, settings, tmp_path):
        fsspec = pytest.importorskip("fsspec")
        with fsspec.open("memory://songs/0.wav", "wb") as file:
            file.write((archive / "0.wav").read_bytes())
        addresses = ["memory://songs/0.wav", "memory://songs/gone.wav", "nothing://at/all.wav"]
        build_catalogue([*addresses, str(archive / "0.wav")], tmp_path / "out", settings)
        rows = {row["id"]: row for row in Catalogue(tmp_path / "out").to_arrow().to_pylist()}
        assert rows[addresses[0]]["scores"] == rows[str(archive / "0.wav")]["scores"]
        assert "gone.wav" in rows[addresses[1]]["error"]
        assert "cannot be opened" in rows[addresses[2]]["error"]


# Work for processes that die or hang, importable by them.
def nothing() -> None:
    """Prepare nothing."""


def rows_or_death(tracks: Sequence[SourceTrack]) -> list[Rows]:
    for track in tracks:
        if track.id == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if track.id == "hangs":
            time.sleep(60)
    return [failed_row(track, "fine", "") for track in tracks]


def broken(tracks: Sequence[SourceTrack]) -> list[Rows]:
    raise PecmaeError("the model is gone")


def test_a_track_that_kills_or_hangs_its_worker_harms_no_other():
    tracks = [SourceTrack(name, name) for name in ("a", "b", "dies", "c", "hangs", "d", "e")]
    options = {"prepare": nothing, "arguments": (), "failed": lambda track, error: failed_row(track, error, "")}
    groups = work_on(tracks, PoolSettings(workers=2, group=4, time_limit=4.0), work=rows_or_death, **options)
    found = {row["id"]: row["error"] for group in groups for rows in group for row in rows["tracks"]}
    assert {name for name, error in found.items() if error == "fine"} == {"a", "b", "c", "d", "e"}
    assert "ended the process" in found["dies"]
    assert "longer than 4 s" in found["hangs"]
    with pytest.raises(PecmaeError, match="the model is gone"):
        list(work_on(tracks[:1], PoolSettings(), work=broken, **options))


BUILD = """
import sys
from pecmae.catalogue import CatalogueSettings, build_catalogue, run
if __name__ == "__main__":
    run.PART_TRACKS = 8
    from pecmae.catalogue.pool import PoolSettings
    settings = CatalogueSettings(model=sys.argv[1], what=("labels", "reasons"), dtype="float32", pool=PoolSettings(group=4))
    print(build_catalogue([sys.argv[2]], sys.argv[3], settings))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_kill_loses_no_row_and_doubles_none(tiny_model_dir, inline, settings, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(60):
        write_tone(folder / f"{number}.wav", 100 + 10 * number)
    (tmp_path / "build.py").write_text(BUILD)
    command = [sys.executable, str(tmp_path / "build.py"), str(tiny_model_dir), str(folder), str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(list((tmp_path / "out").glob("tracks/*.parquet"))) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    process.wait()
    there = ids(Catalogue(tmp_path / "out"))
    assert 8 <= len(there) == len(set(there))
    progress = build_catalogue([str(folder)], tmp_path / "out", replace(settings, what=("labels", "reasons")))
    assert progress.there == len(there)
    found = Catalogue(tmp_path / "out")
    assert ids(found) == sorted(str(path) for path in folder.iterdir())
    assert found.to_arrow("segments").num_rows == 60 * 3


def test_the_console_makes_continues_and_searches(archive, run, tiny_model_dir, inline, tmp_path):
    out = tmp_path / "out"
    make = ("catalogue", archive, "--output", out, "--model", tiny_model_dir, "--what", "labels,embeddings,reasons")
    status, printed, err = run(*make)
    assert (status, printed) == (1, f"{out}\n")
    assert "8 tracks: 8 done, 1 of them failed" in err
    assert "bad.wav" in err
    status, _, err = run(*make)
    assert (status, "8 were there already" in err) == (0, True)
    status, printed, _ = run("catalogue", "--errors", "--output", out, "--json")
    assert [Path(row["path"]).name for row in json.loads(printed)] == ["bad.wav"]
    status, printed, _ = run("catalogue", "--summary", "--output", out)
    assert "8, 0.0 hours" in printed
    status, printed, _ = run("similar", archive / "0.wav", "--catalogue", out, "--top", 2, "--json")
    assert len(json.loads(printed)) == 2
    write_tone(tmp_path / "new.wav", 200)
    status, printed, _ = run("similar", tmp_path / "new.wav", "--catalogue", out, "--top", 1)
    assert "0.wav" in printed
    status, _, err = run("catalogue", archive)
    assert (status, "--output DIR" in err) == (2, True)
    status, _, err = run(*make[:-1], "labels,moods")
    assert (status, "'moods' is none of" in err) == (1, True)
