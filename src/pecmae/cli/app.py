"""The console: each command does what the Python interface does, for people and for programs.

Exit status: 0 all well, 1 something failed (it is named, the rest is done), 2 wrong usage, 130 interrupted, 143 terminated:
what was done by then is kept.
Nothing heavy is imported before a command needs it: `--help` answers at once.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from pecmae.cli import archives, console, doctor, explore, own, pages, results, signals, support
from pecmae.cli.decoder_notes import without_decoder_notes
from pecmae.cli.options import BatchSize, Device, Dtype, Guidance, Model, Paths, Seed, Steps
from pecmae.core.batches import is_out_of_memory
from pecmae.core.files import user_path
from pecmae.errors import PecmaeError

# What one wants → the commands that do it.
GROUPS = {
    "Hear and label": ("classify", "sonify", "embed"),
    "Understand": ("explain", "gallery", "explore"),
    "Many tracks": ("catalogue", "similar"),
    "Make your own": ("fit", "evaluate", "calibrate", "reproduce"),
    "Publish": ("push", "export", "convert"),
    "The rest": ("models", "doctor"),
}


# Of typer itself, or of click where typer stands on it; neither calls it by a public name.
_WrongUsage: type[Exception] = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


class Grouped(TyperGroup):
    """A list of commands in groups, by what one wants."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group."""
        listed = {name for names in GROUPS.values() for name in names}
        rest = [name for name in self.list_commands(ctx) if name not in listed]
        width = max(len(name) for name in self.list_commands(ctx))
        for title, names in [*GROUPS.items(), *([("The rest", rest)] if rest else [])]:
            found = [(name, command) for name in names if (command := self.get_command(ctx, name)) is not None]
            with formatter.section(title):
                limit = formatter.width - 6 - width
                formatter.write_dl([(name.ljust(width), command.get_short_help_str(limit)) for name, command in found])


app = typer.Typer(
    cls=Grouped,
    help="Classify audio by prototypes you can listen to.",
    pretty_exceptions_enable=False,
    # Help in plain text: the frames that rich draws cost as much time again as all the rest of --help.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the console and exit; every error that a user can cause is one line on standard error."""
    console.prepare_streams()
    try:
        with without_decoder_notes(), console.audio_warnings_as_lines(), signals.as_interruptions() as received:
            # Not standalone, where it would print wrong usage in words and lines of its own.
            status = app(args=arguments, prog_name="pecmae", standalone_mode=False) or 0
    except _WrongUsage as error:
        console.say(_wrong_usage(error), "error")
        sys.exit(2)
    except (PecmaeError, OSError) as error:
        console.say(console.sentence(error), "error")
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        console.say("there is not enough memory; close other programs, or use --device cpu.", "error")
        sys.exit(1)
    if status == signals.INTERRUPTED:
        console.say("terminated" if received else "interrupted")
        status = 128 + received[0] if received else status
    sys.exit(status)


def _wrong_usage(error: Any) -> str:
    """What is wrong with the words of a command, as a sentence like ours."""
    command = error.ctx.command_path if error.ctx else "pecmae"
    message = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    more = " See" if message.endswith("?") else "; see"
    return f"{command}: {message[:1].lower()}{message[1:]}{more} {command} --help."


def _print_version(wanted: bool) -> None:
    if wanted:
        from pecmae import __version__

        print(f"pecmae {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)


@app.command()
def classify(
    paths: Paths,
    model: Model = None,
    top: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Classes to show of each file (default: 3, or all in JSON and CSV)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list with one object a file.")] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Print JSON Lines, an object a file.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with one row a file.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=user_path,
            help="Write here instead, as .json, .jsonl, .csv or .txt.",
        ),
    ] = None,
    device: Device = None,
    dtype: Dtype = "auto",
    batch_size: BatchSize = None,
) -> None:
    """Label audio files.

    Each row is shown as soon as it is known. Scores lie between 0 and 1, durations are in seconds. Files that fail are named,
    and the others are done.
    """
    layout = _layout({"json": as_json, "jsonl": as_jsonl, "csv": as_csv}, output)
    files, missing = support.find(paths)
    classifier = support.load_model(model, device, dtype) if files else None
    names = [*(row["path"] for row in missing), *map(support.name_of, files)]
    labels, calibrated = (classifier.labels, classifier.calibration is not None) if classifier else ((), False)
    writer = results.writer_of(layout, names, labels, top, output, calibrated=calibrated)
    done = support.Done()
    with console.delivery(output) as write:
        write(writer.head)
        for row in missing:
            write(writer.row(row))
        if classifier is not None:
            found = classifier.predict_many(files, batch_size=batch_size)
            outcomes = (item if isinstance(item, Exception) else item.to_dict() for item in found)
            done = support.each(files, "classifying", outcomes, lambda row: write(writer.row(row)))
        write(writer.tail)
    support.finish(done.after(len(missing)))


@app.command()
def sonify(
    classes: Annotated[
        list[str] | None, typer.Option("--class", "-c", metavar="NAME", help="A class; may be repeated (default: all)")
    ] = None,
    prototype: Annotated[
        int | None, typer.Option(metavar="K", min=0, help="One prototype of each class, counted from 0 (default: all)")
    ] = None,
    model: Model = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            parser=user_path,
            help="An audio file for one prototype (- is WAV on standard output), a folder for several "
            "(default: CLASS-K.wav in this folder)",
        ),
    ] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = "auto",
) -> None:
    """Make prototypes audible, each a sound file.

    Prints the files written; existing ones are replaced.
    """
    sounds = support.load_model(model, device, dtype)
    names = list(dict.fromkeys(classes or sounds.labels))
    try:
        chosen = sounds.prototype_indices(names, prototype)
    except ValueError as error:
        support.refuse(str(error))
    named = [(label, int(number)) for label, _, number in (sounds.prototype_name(row).rpartition(" ") for row in chosen)]
    targets = support.sound_files(named, sounds.labels, output)
    support.make_folder(targets[0].parent)
    support.check_output_file(targets[0])
    from pecmae.audio.level import for_playing
    from pecmae.audio.segments import write_audio

    written: list[Path] = []
    try:
        with console.progress_bar("sonifying", len(chosen)) as advance:
            pairs = [(index, seed) for index in chosen]
            audio = sounds.sonify_each(pairs, num_inference_steps=steps, guidance_scale=guidance)
            for path, samples in zip(targets, audio, strict=True):
                playable = for_playing(samples, sounds.sampling_rate)
                if path == console.STREAM:
                    support.write_wav_to_standard_output(playable, sounds.sampling_rate)
                else:
                    write_audio(path, playable, sounds.sampling_rate)
                    written.append(path)
                advance()
    finally:
        console.deliver_names(written)


@app.command()
def embed(
    paths: Paths,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", parser=user_path, help="Folder for the .safetensors files; made."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="M",
            help="Directory, Hub id, or an autoencoder's name (default: the embedded pecmae-mini)",
            show_default=False,
        ),
    ] = None,
    device: Device = None,
    dtype: Dtype = "auto",
    batch_size: BatchSize = None,
) -> None:
    """Save the embeddings of audio files.

    Each file FOLDER/a/b.mp3 gives DIR/a/b.mp3.safetensors with z (segments, width), offsets (in samples), and as metadata
    path, sampling_rate (Hz), segment_seconds and duration (s).
    """
    support.check_output_folder(output)
    files, missing = support.find(paths)
    done = support.Done().after(len(missing))
    if files:
        support.make_folder(output)
        autoencoder = support.load_autoencoder(model, device, dtype)
        outcomes = support.embedded(autoencoder, files, support.mirrored(files, paths, output), batch_size)
        done = support.each(files, "embedding", outcomes).after(len(missing))
        console.say(f"embedded {done.total - done.failed} of {done.total} files into {output}")
    support.finish(done)


@app.command()
def convert(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", parser=user_path, help="The published weights.pt.")],
    config: Annotated[Path, typer.Option(metavar="CONFIG_GIN", parser=user_path, help="The config.gin beside it.")],
    codec: Annotated[
        Path, typer.Option(metavar="CODEC", parser=user_path, help="The EnCodec weights: .th, .safetensors or their folder.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", parser=user_path, help="Directory of the converted model; made.")
    ],
) -> None:
    """Convert a published autoencoder."""
    for path in (weights, config, codec):
        if not path.exists():
            support.refuse(f"{path}: no such file; check the path.")
    support.check_output_folder(output)
    with console.spinner(f"converting {weights}"):
        from pecmae.autoencoder.model import convert_autoencoder_files

        convert_autoencoder_files(weights, config, codec).save_pretrained(output)
    console.deliver_names([output])


@app.command()
def models(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False) -> None:
    """List what can be loaded by name."""
    support.check_output_file(console.STREAM)
    rows = support.zoo_rows()
    console.deliver(console.as_json(rows) if as_json else console.render_zoo(rows), None)


pages.register(app)
app.command()(explore.explore)
archives.register(app)
app.command()(own.fit)
app.command()(own.evaluate)
app.command()(own.calibrate)
app.command()(own.reproduce)
app.command()(own.push)
app.command()(own.export)
app.command()(doctor.doctor)


def _layout(asked: Mapping[results.Layout, bool], output: Path | None) -> results.Layout:
    chosen = [layout for layout, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        support.refuse(f"--{chosen[0]} and --{chosen[1]} exclude each other; choose one.")
    support.check_output_file(output or console.STREAM)
    try:
        return results.layout_of(output, chosen[0] if chosen else None)
    except ValueError as error:
        support.refuse(str(error))


if __name__ == "__main__":
    main()
