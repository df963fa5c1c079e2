"""Recorded music is fetched as listed, checked, split apart and labelled by rule; no package manager is needed here."""

import csv
import io
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import real_audio
from pecmae.audio.segments import load_audio, write_audio
from pecmae.core.files import file_sha256
from pecmae.data.load import load_collection
from recorded_music.catalogue import CatalogueError, Track, attribution, check_splits, read_catalogue
from recorded_music.notes import distort, read_note_sources
from recorded_music.packages import Package, PackageError, read_packages
from recorded_music.speech import read_speech_sources
from recorded_music.styles import STYLES, choose, cut_effects, cut_styles, style_of, tagged_style

RATE = 24_000


def tone(pitch: float, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def packed(archive: Path, files: dict[str, np.ndarray | bytes], scratch: Path) -> None:
    """A package's archive with sounds of 48 kHz, and text."""
    with tarfile.open(archive, "w:gz") as opened:
        for name, content in files.items():
            if isinstance(content, np.ndarray):
                write_audio(scratch / "sound.flac", content, 48_000)
                content = (scratch / "sound.flac").read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


TRACK = {
    **{"seconds": 0.5, "artist": "", "title": "", "genre_tag": "", "heard": "rock", "clearness": 2.0},
    **{"licence": "CC0", "split": "train"},
}


@pytest.fixture
def store(tmp_path) -> Path:
    """Tables, and the archives they list: two packages of music, one of notes, one of speech."""
    store = tmp_path / "store"
    store.mkdir()
    copyright_of = "usr/share/doc/{}/copyright".format
    contents = {
        "loud-music": {
            "usr/share/loud/a.flac": tone(440, rate=48_000),
            "usr/share/loud/b.flac": tone(880, rate=48_000),
            "usr/share/loud/picture.png": b"unwanted",
            copyright_of("loud-music"): b"CC0",
        },
        "soft-music": {"usr/share/soft/c.flac": tone(220, rate=48_000), copyright_of("soft-music"): b"GPL"},
        "flute": {"package/A4.ogg": tone(440, rate=48_000), "package/notes/A#4.ogg": tone(466, rate=48_000)},
        "voices": {
            **{f"usr/share/voices/{n}.ogg": tone(200, 1.0, rate=48_000) for n in range(3)},
            copyright_of("voices"): b"CC-BY",
        },
    }
    for name, files in contents.items():
        packed(store / f"{name}.tgz", files, store)
    sums = {name: file_sha256(store / f"{name}.tgz") for name in contents}
    write_table(store / "packages.csv", [{"name": n, "version": "1", "sha256": s} for n, s in sums.items()])
    soft = {"package": "soft-music", "source": "usr/share/soft/c.flac"}
    write_table(
        store / "catalogue.csv",
        [
            TRACK | {"package": "loud-music", "source": "usr/share/loud/a.flac", "artist": "Ann"},
            TRACK | {"package": "loud-music", "source": "usr/share/loud/b.flac", "artist": "Bob", "clearness": 1.0},
            TRACK | soft | {"split": "test", "genre_tag": "Ambient", "clearness": 1.1},
        ],
    )  # fmt: skip
    note = {"package": "flute", "version": "1", "sha256": sums["flute"], "label": "flute", "drive_db": 0, "licence": "MIT"}
    write_table(store / "notes.csv", [note | {"author": "Eve"}])
    write_table(store / "speech.csv", [{"package": "voices", "language": "en", "licence": "CC-BY", "split": "test"}])
    return store


@pytest.fixture
def fetch(store) -> Callable[[Package, Path], Path]:
    """What stands for the clients; it counts what it is asked for in `fetch.asked`."""

    def fetch(package: Package, folder: Path) -> Path:
        fetch.asked.append(package.name)
        return Path(shutil.copy(store / f"{package.name}.tgz", folder))

    fetch.asked = []
    return fetch


def run(store: Path, output: Path, fetch, *more: str) -> None:
    real_audio.main(["--output", str(output), "--tables", str(store), *more], fetch=fetch)


def test_tracks_are_decoded_to_mono_24_khz_below_their_split_and_package(store, tmp_path, fetch):
    run(store, tmp_path / "out", fetch, "--what", "music")
    music = tmp_path / "out" / "music"
    found = sorted(path.relative_to(music).as_posix() for path in music.rglob("*.wav"))
    assert found == ["test/soft-music/soft/c.wav", "train/loud-music/loud/a.wav", "train/loud-music/loud/b.wav"]
    sound = load_audio(music / found[1], target_rate=RATE)
    assert len(sound) == RATE // 2
    assert np.abs(np.fft.rfft(sound)).argmax() == 220  # 440 Hz in half a second
    assert (music / "copyright" / "loud-music").read_bytes() == b"CC0"
    assert not list(tmp_path.rglob("*.png"))


def test_the_tables_beside_the_sound_say_whose_it_is_and_are_a_collection_to_fit(store, tmp_path, fetch):
    run(store, tmp_path / "out", fetch, "--what", "music")
    music = tmp_path / "out" / "music"
    with (music / "catalogue.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["artist"], row["licence"]) for row in rows][1] == ("train/loud-music/loud/b.wav", "Bob", "CC0")
    styles = tmp_path / "out" / "styles"
    collection = load_collection(styles)
    # b is heard with too little certainty.
    only_ambient = {"ambient": 1, "rock": 0}
    assert collection.counts == {"train": {"ambient": 0, "rock": 1}, "test": only_ambient, "tagged": only_ambient}
    assert collection.splits["train"][0].path == styles / "train/rock/loud-music.loud.a.wav"
    with (styles / "index.csv").open() as file:
        assert [row["labelled_by"] for row in csv.DictReader(file)] == ["MusiCNN", "tag", "tag"]


def test_clips_of_a_style_are_the_middle_minute(tmp_path):
    track = some_track(package="p", source="usr/share/games/x.ogg")
    sound = np.repeat(np.array([0.1, 0.2, 0.3], np.float32), [5 * RATE, 60 * RATE, 5 * RATE])
    (tmp_path / "music/train/p/games").mkdir(parents=True)
    write_audio(tmp_path / "music" / track.path, sound, RATE)
    cut_styles([track], tmp_path / "music", tmp_path / "styles")
    clip = load_audio(tmp_path / "styles/train/rock/p.games.x.wav", target_rate=RATE)
    assert len(clip) == 60 * RATE
    assert (clip.min(), clip.max()) == (pytest.approx(0.2, abs=1e-4), pytest.approx(0.2, abs=1e-4))


def test_packages_take_turns_until_there_are_enough_of_a_style():
    tracks = [some_track(package=name, source=f"usr/share/{n}") for name in "aab" for n in range(3)]
    tracks += [some_track(package="c", heard="jazz"), some_track(package="d", split="test")]
    chosen = [(track.package, label, split) for track, label, split in choose(tracks, most=4)]
    assert chosen == [
        *[("a", "rock", "train"), ("b", "rock", "train")] * 2,
        *[("c", "jazz", "train"), ("d", "rock", "test")],
    ]


def test_a_run_that_stopped_goes_on_where_it_was(store, tmp_path, fetch):
    run(store, tmp_path / "out", fetch)
    assert fetch.asked == ["loud-music", "soft-music", "flute", "voices"]
    first = (tmp_path / "out/music/train/loud-music/loud/a.wav").stat().st_mtime_ns
    (tmp_path / "out/music/train/loud-music/loud/b.wav").unlink()
    fetch.asked.clear()
    run(store, tmp_path / "out", fetch)
    assert fetch.asked == ["loud-music"]
    assert (tmp_path / "out/music/train/loud-music/loud/b.wav").exists()
    assert (tmp_path / "out/music/train/loud-music/loud/a.wav").stat().st_mtime_ns == first


def test_notes_and_speech_come_too(store, tmp_path, fetch):
    run(store, tmp_path / "out", fetch, "--what", "notes", "speech")
    assert sorted(path.name for path in (tmp_path / "out/notes/flute").glob("*.wav")) == ["flute.A4.wav", "flute.As4.wav"]
    (minute,) = (tmp_path / "out/speech/test/voices").glob("*.wav")
    assert len(load_audio(minute, target_rate=RATE)) == 3 * (RATE + RATE // 4)  # a second each, and a pause


def test_an_archive_with_another_hash_is_refused_in_a_sentence(store, tmp_path, fetch):
    packed(store / "soft-music.tgz", {"usr/share/soft/c.flac": tone(220)}, store)
    with pytest.raises(SystemExit, match=r"another build of soft-music"):
        run(store, tmp_path / "out", fetch, "--what", "music", "--package", "soft-music")


def test_a_package_without_a_licence_or_without_a_track_is_refused(store, tmp_path, fetch):
    sound, terms = {"usr/share/soft/c.flac": tone(9)}, {"usr/share/doc/soft-music/copyright": b"x"}
    for files, message in ((sound, "no copyright"), (terms, "holds no")):
        packed(store / "soft-music.tgz", files, store)
        sums = {"name": "soft-music", "version": "1", "sha256": file_sha256(store / "soft-music.tgz")}
        write_table(store / "packages.csv", [sums])
        with pytest.raises(SystemExit, match=message):
            run(store, tmp_path / "out", fetch, "--what", "music", "--package", "soft-music")


def some_track(**changes) -> Track:
    return replace(Track("p", "usr/share/x.ogg", 30.0, "", "", "", "rock", 2.0, "CC0", "train"), **changes)


@pytest.mark.parametrize(
    ("tag", "heard", "clearness", "style"),
    [
        *[("", "rock", 1.2, "rock"), ("", "rock", 1.19, None), ("", "classical", None, "classical"), ("", "folk", 9.0, None)],
        *[("Death Metal", "rock", 1.1, "metal"), ("death metal", "metal", 3.0, "metal"), ("Death Metal", "rock", 3.0, None)],
        ("Soundtrack", "jazz", 2.0, "jazz"),
    ],
)
def test_a_tag_counts_and_what_is_heard_counts_where_clear_and_not_contradicted(tag, heard, clearness, style):
    assert style_of(some_track(genre_tag=tag, heard=heard, clearness=clearness)) == style


def test_rain_and_sheep_are_no_music(tmp_path):
    rain = some_track(source="usr/share/games/Sounds/rain.ogg", heard="ambient")
    assert style_of(rain) is None
    write_audio(tmp_path / "loud.wav", tone(440), RATE)
    for track in (rain, some_track(source="usr/share/games/soundtrack/song.ogg")):
        (tmp_path / track.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "loud.wav", tmp_path / track.path)
    cut_effects([rain, some_track(source="usr/share/games/soundtrack/song.ogg")], tmp_path, tmp_path / "effects")
    assert [path.name for path in (tmp_path / "effects").iterdir()] == ["p.games.Sounds.rain.wav"]


def test_tags_of_test_tracks_are_a_set_of_their_own():
    contradicted = some_track(split="test", genre_tag="Death Metal")
    assert [(label, split) for _, label, split in choose([contradicted])] == [("metal", "tagged")]
    assert not list(choose([replace(contradicted, split="train")]))


@pytest.mark.parametrize("shared", [{"package": "p"}, {"package": "q", "artist": "an  artist"}])
def test_a_package_or_an_artist_in_two_splits_is_refused(shared):
    tracks = [some_track(artist="An Artist"), some_track(split="test", **shared)]
    with pytest.raises(CatalogueError, match="one split only"):
        check_splits(tracks)
    check_splits([some_track(), some_track(package="q", split="test")])  # nobody's name is no artist


def test_a_distorted_note_has_overtones_that_the_clean_one_has_not():
    clean = tone(300, 1.0)
    driven = distort(clean, 36)
    spectrum = np.abs(np.fft.rfft(driven))
    assert np.abs(driven).max() == pytest.approx(0.7, abs=1e-3)
    assert spectrum[900] > 0.2 * spectrum[300]
    assert np.abs(np.fft.rfft(clean))[900] < 1e-3 * spectrum[300]


def test_the_committed_tables_are_whole_and_every_package_is_known():
    tracks, packages = read_catalogue(), read_packages()
    assert {track.package for track in tracks} | {source.package for source in read_speech_sources()} == set(packages)
    assert all(len(one.sha256) == 64 for one in [*packages.values(), *read_note_sources()])
    assert len({track.path for track in tracks}) == len(tracks) == 657
    assert all(track.licence and track.seconds >= 20 for track in tracks)


def test_the_committed_attribution_is_that_of_the_catalogue():
    path = Path(real_audio.CATALOGUE).with_name("ATTRIBUTION.md")
    assert path.read_text(encoding="utf-8") == attribution(read_catalogue())
    assert "| `marsshooter-data` | 12 | CC-BY-SA-3.0 | Obsidian Shell |" in path.read_text(encoding="utf-8")


def test_every_style_has_fifteen_tracks_of_four_packages():
    by_style = {style: [track for track in read_catalogue() if style_of(track) == style] for style in STYLES}
    assert all(len(tracks) >= 15 and len({track.package for track in tracks}) >= 4 for tracks in by_style.values())
    assert all({"train", "validation", "test"} == {track.split for track in tracks} for tracks in by_style.values())
    assert {tagged_style(track) for track in read_catalogue()} <= {None, *STYLES}


def test_a_missing_client_is_told_in_a_sentence(tmp_path, monkeypatch):
    from recorded_music.packages import fetch_debian

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match=r"apt-get is missing; this needs a Debian system"):
        fetch_debian(Package("some-music", "1", "0" * 64), tmp_path)
