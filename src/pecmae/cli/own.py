"""The commands that make a model of one's own data: fit it, evaluate it, publish it."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pecmae.cli import console, support
from pecmae.cli.options import Data, DataCache, Dataset, Device, GroupBy, Layout, Model, Root
from pecmae.core.files import user_path

if TYPE_CHECKING:
    from pecmae.data.collection import Collection

Preset = Literal["default", "paper"]
Loss = Literal["cross_entropy", "binary_cross_entropy"]


def fit(
    data: Data,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", parser=user_path, help="Folder of the run; one found there is continued."
        ),
    ],
    dataset: Dataset = None,
    root: Root = None,
    group_by: GroupBy = None,
    layout: Layout = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without the clips that the check complains of.")] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Do not look at the files before the work.")] = False,
    autoencoder: Annotated[
        str | None, typer.Option(metavar="A", help="Directory, Hub id or name of an autoencoder (default: pecmae-mini's)")
    ] = None,
    revision: Annotated[str | None, typer.Option(metavar="R", help="Commit, tag or branch of a Hub id.")] = None,
    cache: DataCache = None,
    prototypes: Annotated[
        int, typer.Option("--prototypes", "--prototypes-per-class", metavar="K", min=1, help="Prototypes of each class.")
    ] = 10,
    no_adaptor: Annotated[bool, typer.Option("--no-adaptor", help="Use the prototypes as they are (PECMAE-NA).")] = False,
    distance: Annotated[Literal["mean", "sum"], typer.Option(help="How squared differences are reduced.")] = "mean",
    kernel_scale: Annotated[
        float, typer.Option(metavar="S", help="Similarity is exp(-S · distance): the larger, the nearer a segment must lie.")
    ] = 1.0,
    temperature: Annotated[float, typer.Option(metavar="T", help="What the loss divides logits by.")] = 0.1,
    own_weights: Annotated[
        bool, typer.Option("--own-weights", help="Let each prototype speak for its own class alone.")
    ] = False,
    project: Annotated[bool, typer.Option("--project", help="Set every prototype onto a training segment in the end.")] = False,
    loss: Annotated[Loss, typer.Option(help="Classification loss.")] = "cross_entropy",
    class_loss_weight: Annotated[float, typer.Option(metavar="L", help="Share of the classification loss, 0 to 1.")] = 0.25,
    refit_linear: Annotated[
        float | None,
        typer.Option(metavar="PENALTY", help="Fit the linear layer alone in the end; PENALTY, such as 0.001, holds it back."),
    ] = None,
    evaluate_every: Annotated[int, typer.Option(metavar="N", min=1, help="Steps between looks at the validation loss.")] = 500,
    dtype: Annotated[str, typer.Option(metavar="T", help="Stored precision: float32, float16 or bfloat16.")] = "float32",
    calibration_share: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Of the training clips, held out to learn how far answers can be trusted; 0: none."),
    ] = 0.1,
    bundle: Annotated[
        bool, typer.Option("--bundle", help="Store the autoencoder in the model, not where a Hub id leads to.")
    ] = False,
    preset: Annotated[
        Preset, typer.Option(help="Settings: default, or paper, which is the same for 150 000 steps.")
    ] = "default",
    steps: Annotated[int | None, typer.Option(metavar="N", min=1, help="Optimizer steps in all (default: 5000)")] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", min=1, help="Segments a step (default: 256)")] = None,
    learning_rate: Annotated[float | None, typer.Option(metavar="R", help="Its peak (default: 0.001)")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Steps between checkpoints (default: 500)")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="Of splits, weights and batches.")] = 0,
    stop_after: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="End early with a checkpoint; run again to continue.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Fit prototypes on labelled audio.

    DATA is a folder LABEL/… or SPLIT/LABEL/…, a table of labels and paths, or a folder of tables. DIR/model is the result, for
    --model DIR/model. The same command continues what was interrupted.
    """
    support.require("accelerate", "pecmae fit", "train")
    support.check_output_folder(output)
    from pecmae.finetuning import fit as fit_model
    from pecmae.prototypes.fitting import HEAD_SETTINGS, PAPER_SETTINGS, HeadFit

    given = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "checkpoint_every": checkpoint_every,
        "seed": seed,
    }
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = replace(PAPER_SETTINGS if preset == "paper" else HEAD_SETTINGS, **changed)
    head = HeadFit(
        prototypes_per_class=prototypes,
        adaptor=not no_adaptor,
        distance_reduction=distance,
        kernel_scale=kernel_scale,
        temperature=temperature,
        own_weights=own_weights,
        project=project,
        classification_loss=loss,
        class_loss_weight=class_loss_weight,
        refit_penalty=refit_linear,
        evaluate_every=evaluate_every,
    )
    try:
        result = fit_model(
            _collection(data, dataset, root, group_by, layout),
            output,
            autoencoder=autoencoder,
            revision=revision,
            head=head,
            settings=settings,
            calibration_share=calibration_share,
            cache=cache,
            check=not no_check,
            skip_bad=skip_bad,
            bundle=bundle or None,
            dtype=dtype,
            stop_after=stop_after,
            progress=True,
        )
    except KeyboardInterrupt:
        from pecmae.training.runs import how_to_go_on

        console.say(how_to_go_on(output))
        raise
    report = result.report()
    if as_json:
        console.deliver(console.as_json(report), None)
        return
    for split, accuracy in report["class_normalised_accuracy"].items():
        console.say(f"{split}: class-normalised accuracy {accuracy:.3f} of {len(result.evaluations[split].true)} tracks")
    console.deliver(f"{output / 'model'}\n", None)


def evaluate(
    data: Data,
    model: Model = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="train, validation, test, another split of DATA, or all: audio new to the model")
    ] = "test",
    dataset: Dataset = None,
    root: Root = None,
    group_by: GroupBy = None,
    layout: Layout = None,
    seeds: Annotated[int, typer.Option(metavar="N", min=0, help="Sounds of each prototype to hear; 0: none.")] = 8,
    round_trips: Annotated[
        int, typer.Option(metavar="N", min=0, help="Tracks to decode and encode again, all segments of each.")
    ] = 20,
    no_health: Annotated[
        bool, typer.Option("--no-health", help="Do not compare the prototypes with the training split.")
    ] = False,
    explanations: Annotated[
        bool, typer.Option("--explanations", help="Ask whether the reasons are true; reads some of the audio again.")
    ] = False,
    unknown: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Sound that is none of the classes: is it called unknown? May be given again."),
    ] = None,
    cache: DataCache = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=user_path, help="Draw the confusion matrix (.png, .svg, .pdf).")
    ] = None,
    reliability: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=user_path, help="Draw how often labels of a confidence are right (likewise)."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            parser=user_path,
            help="Write the report: .json the whole, .txt what people read; a folder, all that a paper needs.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    device: Device = None,
) -> None:
    """Measure a model on labelled audio.

    And on the sounds of its own prototypes.

    DATA is what `pecmae fit` takes. Where it has no splits, the model says which clips it was not fitted on.
    """
    pictures = (".png", ".svg", ".pdf")
    folder = output if output is not None and output != console.STREAM and (output.is_dir() or not output.suffix) else None
    file = output if folder is None else None
    for path, endings in ((picture, pictures), (reliability, pictures), (file, (".json", ".txt"))):
        if path is not None:
            support.check_output_file(path)
            support.check_ending(path, endings)
    if folder is not None:
        support.require("matplotlib", "a folder of --output", "plot")
        support.make_folder(folder)
    others = [user_path(path) for path in unknown or ()]
    for path in others:
        if not path.exists():
            support.refuse(f"{path}: no such file or folder; check the path.")
    collection = _collection(data, dataset, root, group_by, layout)
    loaded = support.load_model(model, device, "auto")
    from pecmae.evaluation.report import evaluate_model

    report = evaluate_model(
        loaded,
        collection,
        split=split,
        cache=cache,
        seeds=seeds,
        round_trips=round_trips,
        health=not no_health,
        explanations=explanations,
        unknown=others,
        progress=True,
    )
    for note in report.notes:
        console.say(note, "warning")
    if picture is not None:
        report.evaluation.plot().savefig(picture, dpi=150)
    if reliability is not None:
        from pecmae.evaluation.plots import plot_reliability

        plot_reliability(report.values["confidence"]).savefig(reliability, dpi=150)
    if folder is not None:
        from pecmae.evaluation.paper_files import write_paper_files

        console.deliver_names(write_paper_files(report, folder))
    if file is not None:
        text = file.suffix.lower() == ".txt"
        console.deliver(console.render_evaluation(report.values) if text else console.as_json(report.values), file)
    if as_json:
        console.deliver(console.as_json(report.values), None)
    elif output is None:
        console.deliver(console.render_evaluation(report.values), None)


def calibrate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", parser=user_path, help="A model's directory, such as RUN/model.")],
    data: Annotated[str, typer.Option("--data", metavar="DATA", help="Labelled audio, as `pecmae fit` takes it.")],
    dataset: Dataset = None,
    root: Root = None,
    group_by: GroupBy = None,
    layout: Layout = None,
    cache: DataCache = None,
    device: Device = None,
) -> None:
    """Learn how far a model's answers can be trusted.

    From clips of DATA that it has not met, 20 or more: a split "calibration", or those that are neither of its training nor of
    a test. Answers then have a probability, and say when they are unsure or unlike all that the model knows. Weights stay as
    they are.
    """
    collection = _collection(data, dataset, root, group_by, layout)
    loaded = support.load_model(str(model), device, "auto")
    from pecmae.evaluation.trust import calibrate_model

    calibration, failed = calibrate_model(loaded, collection, cache=cache, progress=True)
    for path, why in failed.items():
        console.say(f"{path} is left out: {why}", "warning")
    temperature = f"temperature {calibration.temperature:.3g}, the head's own is {loaded.head.config.temperature:.3g}"
    console.say(f"calibrated on {calibration.num_tracks} tracks: {temperature}")
    console.deliver_names([calibration.save(model)])


def reproduce(
    run: Annotated[Path, typer.Argument(metavar="RUN", parser=user_path, help="Folder that pecmae fit wrote.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", parser=user_path, help="Folder of the new run (default: RUN/reproduced)"),
    ] = None,
    cache: DataCache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Fit a model again from its record, and compare.

    Says what has changed since: versions, machine, data. The exit status is 1 where the weights are not the same to the last
    bit.
    """
    support.require("accelerate", "pecmae reproduce", "train")
    support.check_output_folder(run / "reproduced" if output is None else output)
    from pecmae.reproduction import reproduce as fit_again

    found = fit_again(run, output, cache=cache, progress=True)
    for name, changes in found.changes.items():
        for change in changes:
            console.say(f"{name}: {change}", "warning")
    if as_json:
        console.deliver(console.as_json(found.to_dict()), None)
    else:
        for split, (before, now) in found.accuracy.items():
            console.say(f"{split}: class-normalised accuracy {before} then, {now} now")
        said = "the same weights to the last bit" if found.same else f"other weights, by {found.largest_difference:.2g} at most"
        console.deliver(f"{said}\n", None)
    if not found.same:
        raise typer.Exit(1)


def push(
    directory: Annotated[Path, typer.Argument(metavar="DIR", parser=user_path, help="A model's directory, such as RUN/model.")],
    repo_id: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository on the Hub; made if it is new.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option(metavar="R", help="Branch to push to.")] = None,
    message: Annotated[str, typer.Option(metavar="TEXT", help="What the commit says.")] = "Model of pecmae",
) -> None:
    """Publish a model's directory on the Hub.

    It goes as it is, with its card and all that lies in it.

    Log in with `hf auth login` first, or set HF_TOKEN.
    """
    from pecmae.hub.publish import push_directory

    with console.spinner(f"pushing {directory}"):
        address = push_directory(directory, repo_id, private=private, revision=revision, message=message)
    console.deliver(f"{address}\n", None)


def _collection(data: str, dataset: str | None, root: Path | None, group_by: str | None, layout: str | None) -> "Collection":
    from pecmae.data.load import load_collection

    return load_collection(data, dataset=dataset, root=root, group_by=group_by, layout=layout)


def export(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Directory or Hub id (default: pecmae-mini)")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", parser=user_path, help="Folder of the graph; made.")
    ] = Path("onnx"),
    form: Annotated[Literal["onnx"], typer.Option("--format", help="What to write.")] = "onnx",
) -> None:
    """Write a model for programs without torch.

    model.onnx goes from segments of sound to z, similarities and logits; model.json beside it says what goes in and how scores
    are made of what comes out.
    """
    support.require("onnx", "export", "onnx")
    support.check_output_folder(output)
    support.make_folder(output)
    loaded = support.load_model(model, "cpu", "float32")
    from pecmae.interop.onnx import FACTS, GRAPH, export_onnx

    with console.spinner(f"exporting {model or 'pecmae-mini'}"):
        export_onnx(loaded, output)
    console.deliver_names([output / GRAPH, output / FACTS])
