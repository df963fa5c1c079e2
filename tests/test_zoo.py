"""The zoo's table, and that every entry has a card and every card an entry."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from huggingface_hub import ModelCard

from pecmae.hub.cards import facts_from_directory
from pecmae.hub.zoo import SHARED_AUTOENCODER, ZOO, embedded_directory, find_entry, known_names

CARDS = Path(__file__).parents[1] / "hub_cards"


@pytest.fixture(scope="module")
def render() -> ModuleType:
    """hub_cards/render.py as a module."""
    spec = importlib.util.spec_from_file_location("render", CARDS / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_zoo_does_not_import_torch_or_huggingface_hub():
    code = "import pecmae.hub.zoo, sys; print(sorted({'torch', 'huggingface_hub', 'numpy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_names_and_aliases_are_unique():
    names = [name for entry in ZOO.values() for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        ZOO["mini"] = ZOO["mini"]  # type: ignore[index]


def test_an_alias_finds_its_entry():
    assert find_entry("pecmae-mini") is ZOO["mini"]
    assert find_entry("mini") is ZOO["mini"]
    assert find_entry("Mini") is None


def test_known_names_are_the_ones_with_weights():
    embedded = ["mini", "mini-instruments", "mini-styles"]
    assert known_names() == [*embedded, "encodecmae-diffusion-4s", "encodecmae-diffusion-10s"]
    assert known_names("model") == embedded
    assert known_names("autoencoder") == ["encodecmae-diffusion-4s", "encodecmae-diffusion-10s"]


@pytest.mark.parametrize("seconds", [4, 10])
def test_published_autoencoders_lie_where_their_authors_put_them(seconds):
    entry = ZOO[f"encodecmae-diffusion-{seconds}s"]
    folder = f"models/DiffTransformerAE2L8L1CLS-{seconds}s"
    assert (entry.repo_id, entry.codec_repo_id) == ("lpepino/encodecmae2wav", "facebook/encodec_24khz")
    assert (entry.weights_file, entry.config_file) == (f"{folder}/weights.pt", f"{folder}/config.gin")
    assert entry.segment_seconds == seconds


def test_the_papers_models_are_there_at_every_number_of_prototypes():
    for dataset, classes in (("gtzan", 10), ("medley", 8), ("xai", 24)):
        for name in (*(f"pecmae-{dataset}-{k}" for k in (1, 3, 5, 10, 20, 40)), f"pecmae-{dataset}-na-5"):
            entry = ZOO[name]
            assert len(set(entry.labels)) == classes
            assert str(entry.prototypes_per_class) == name.rpartition("-")[2]
            assert not entry.available


@pytest.mark.parametrize("entry", ZOO.values(), ids=lambda entry: entry.name)
def test_what_cannot_be_loaded_says_how_to_make_it(entry):
    if entry.available:
        assert entry.make_command is None
        return
    assert f"--prototypes-per-class {entry.prototypes_per_class} " in entry.make_command
    assert ("--no-adaptor" in entry.make_command) == (not entry.adaptor)


def test_every_entry_has_a_card_and_every_card_an_entry(render):
    cards = {path.name for path in CARDS.glob("*.md")} - {"README.md"}
    assert cards == {f"{render.card_name(entry)}.md" for entry in ZOO.values()}


def test_cards_and_table_are_up_to_date(render):
    outdated = [path.name for path, text in render.rendered_files().items() if path.read_text(encoding="utf-8") != text]
    assert not outdated, "run: python hub_cards/render.py"


@pytest.mark.parametrize("entry", ZOO.values(), ids=lambda entry: entry.name)
def test_a_card_says_whether_weights_exist(entry, render):
    text = (CARDS / f"{render.card_name(entry)}.md").read_text(encoding="utf-8")
    assert ("No weights of this model exist yet" in text) == (not entry.available)
    if entry.make_command is not None:
        assert entry.make_command in text


@pytest.mark.parametrize("entry", ZOO.values(), ids=lambda entry: entry.name)
def test_a_card_has_the_hubs_metadata_and_no_figures_of_the_paper_in_it(entry, render):
    data = ModelCard.load(CARDS / f"{render.card_name(entry)}.md").data
    assert data.library_name == "pecmae"
    assert data.license == entry.license
    assert data.pipeline_tag == ("audio-classification" if entry.kind == "model" else "feature-extraction")
    # The paper's figures are of its authors' weights: they stand in the text, never in the model index.
    measured = 0 if data.eval_results is None else len(data.eval_results)
    assert measured == 0 or entry.available


def test_the_papers_figures_stand_on_the_right_cards(render):
    # Table 2 of the paper, some of its corners.
    for name, row in (
        ("pecmae-gtzan-1", "| PECMAE-1 | GTZAN | 80.8 |"),
        ("pecmae-gtzan-10", "| PECMAE-10 | GTZAN | 86.9 |"),
        ("pecmae-medley-na-5", "| PECMAE-NA-5 | Medley-Solos-DB | 66.8 |"),
        ("pecmae-xai-40", "| PECMAE-40 | XAI-Genre | 53.6 |"),
    ):
        assert row in (CARDS / f"{name}.md").read_text(encoding="utf-8")


EMBEDDED = [entry for entry in ZOO.values() if entry.source == "embedded"]


@pytest.mark.parametrize("entry", EMBEDDED, ids=lambda entry: entry.name)
def test_the_embedded_models_are_what_the_table_says(entry):
    facts = facts_from_directory(embedded_directory(entry.name))
    assert facts.labels == entry.labels
    assert facts.segment_seconds == entry.segment_seconds
    assert facts.autoencoder == (None if entry.name == SHARED_AUTOENCODER else SHARED_AUTOENCODER)


def test_the_package_holds_one_autoencoder():
    stored = sorted(embedded_directory().parent.rglob("autoencoder/model.safetensors"))
    assert stored == [embedded_directory() / "autoencoder" / "model.safetensors"]
