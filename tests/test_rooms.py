"""How the house is built: imports go one way, and what is public stays where it is."""

import ast
import importlib
import zipfile
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pecmae

SOURCE = Path(pecmae.__file__).parent
# Each imports only what stands before it.
ORDER = (
    *("errors", "core", "audio", "hub", "autoencoder", "data", "training", "prototypes", "checkpoints"),
    *("model_files", "classifier", "model", "explain", "baselines", "evaluation", "finetuning", "reproduction"),
    *("catalogue", "editing", "interop", "explorer", "cli"),
)
PUBLIC = {
    "pecmae": (
        *("AudioError", "AudioWarning", "Autoencoder", "AutoencoderConfig", "AutoencoderReference", "CheckpointError"),
        *("ConfigError", "Explanation", "HubError", "PECMAE", "PecmaeError", "Prediction", "PrototypeHead"),
        *("PrototypeHeadConfig", "VDiffusionScheduler", "fit", "pipeline"),
    ),
    "pecmae.audio": ("Segment", "find_audio_files", "iter_segments", "load_audio", "write_audio"),
    "pecmae.autoencoder": ("Autoencoder", "AutoencoderConfig"),
    "pecmae.checkpoints": ("convert_autoencoder", "convert_autoencoder_files", "convert_codec", "convert_prototype_head"),
    "pecmae.cli": ("main",),
    "pecmae.data": ("Clip", "Collection", "load_collection"),
    "pecmae.evaluation": ("Evaluation", "evaluate_embedded"),
    "pecmae.interop": ("AudioClassificationPipeline", "export_onnx", "pipeline"),
    "pecmae.prototypes": ("PrototypeHead", "PrototypeHeadConfig"),
}


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted names below `pecmae` and files of all modules but the package's own door."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name and parts[-1] != "__main__":
            yield name, path


def imports(path: Path, known: set[str]) -> set[str]:
    """Modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("pecmae.") for alias in node.names if alias.name.startswith("pecmae.")}
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pecmae":
            module = node.module.removeprefix("pecmae").removeprefix(".") if node.module else ""
            for alias in node.names:
                inner = f"{module}.{alias.name}".removeprefix(".")
                found.add(inner if inner in known else module)
    return found & known


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    files = dict(modules())
    return {name: imports(path, set(files)) for name, path in files.items()}


def test_every_room_has_its_place_in_the_order(graph):
    assert {name.split(".")[0] for name in graph} <= set(ORDER)


def test_imports_go_one_way(graph):
    upward = {
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others
        if ORDER.index(other.split(".")[0]) > ORDER.index(name.split(".")[0])
    }
    assert upward == set()


def test_imports_go_in_no_circle(graph):
    # A room's door hands names on lazily, so it takes no part.
    files = {name for name in graph if not (SOURCE / name).is_dir()}
    try:
        TopologicalSorter({name: graph[name] & files for name in files}).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_the_graph_of_imports_is_read_from_the_code(graph):
    assert {"autoencoder.model", "prototypes.head", "hub.resolve"} <= graph["model"] | graph["model_files"]
    assert len(graph) > 70


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_stay_where_they_are(module):
    found = importlib.import_module(module)
    assert [name for name in PUBLIC[module] if not hasattr(found, name)] == []


# Small, and imported by one other module alone, but a subject of its own.
ALONE = {
    "autoencoder.decoding": "z to sound, beside embedding, which is sound to z",
    "autoencoder.denoiser": "a part of the paper",
    "autoencoder.summarizer": "a part of the paper",
    "baselines.time_average": "a system of the paper, for the scripts of examples/",
    "catalogue.summary": "what an archive holds in numbers; the others are about making and searching it",
    "checkpoints": "public names of published checkpoints",
    "cli.decoder_notes": "what foreign libraries write to standard error",
    "core.ahead": "a thread that any loop can use; embedding is not about threads",
    "evaluation.leave_one_out": "fits heads, which needs the extra that evaluating does not",
    "explorer.walks": "a moment's way to another class, beside the session that knows who asked",
    "prototypes.published": "the published layout, for checkpoints",
    "training.diffusion": "a stage of training, for the scripts of examples/",
    "training.interruptions": "what a signal does to training; the loop knows steps",
}


def test_no_small_module_stands_alone_without_a_reason(graph):
    importers = Counter(other for others in graph.values() for other in others)
    small = {name for name, path in modules() if path.name != "__init__.py" and len(path.read_text().splitlines()) < 70}
    assert {name for name in small if importers[name] < 2} == set(ALONE)


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    builders = pytest.importorskip("hatchling.builders.wheel")
    (wheel,) = builders.WheelBuilder(str(SOURCE.parents[1])).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if not name.startswith(f"pecmae-{pecmae.__version__}.dist-info/")}
        information = [name.partition("/")[2] for name in archive.namelist() if name not in found]
    tracked = {path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert found == {path.relative_to(SOURCE.parent).as_posix() for path in tracked}
    assert {path.suffix for path in tracked} == {".py", ".typed", ".j2", ".js", ".css", ".html", ".json", ".md", ".safetensors"}
    assert sorted(information) == ["METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"]
    assert "pecmae/py.typed" in found


def test_every_room_says_what_it_is_for():
    rooms = {path.parent for path in SOURCE.rglob("*.py") if path.parent != SOURCE}
    assert [room.name for room in rooms if not (ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or "")] == []
