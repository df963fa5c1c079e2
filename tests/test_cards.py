"""Cards say what the facts say, in a form the Hub reads."""

import json

import pytest
from huggingface_hub import ModelCard

from pecmae.errors import ConfigError
from pecmae.hub.card_marks import BEGIN, END, adopted, renewed
from pecmae.hub.cards import Measurement, ModelCardFacts, card_facts, dataset_type, facts_from_directory, render_card

FACTS = ModelCardFacts(name="my-model", labels=("fast|loud", 'the "blues"'), prototypes_per_class=3, license="mit")


def test_measured_results_become_the_hubs_model_index():
    measured = Measurement(
        value=0.875,
        metric_name="class-normalised accuracy",
        metric_type="accuracy",
        dataset_name="My songs",
        dataset_type="my-songs",
        split="test",
        command="pecmae evaluate DATA --model MODEL",
    )
    card = ModelCard(render_card("model", ModelCardFacts(name="m", labels=("a", "b"), metrics=(measured,))))
    (result,) = card.data.eval_results
    assert (result.metric_value, result.metric_type, result.dataset_name, result.dataset_split) == (
        0.875,
        "accuracy",
        "My songs",
        "test",
    )
    assert card.data.model_name == "m"
    assert "`pecmae evaluate DATA --model MODEL`" in card.text


def test_without_measurements_the_card_says_so():
    card = ModelCard(render_card("model", FACTS))
    assert card.data.eval_results is None
    assert "Nothing has been measured" in card.text


def test_labels_of_any_spelling_keep_the_table_and_the_example_whole():
    text = render_card("model", FACTS)
    assert r"| classes | 2: fast\|loud, the " + '"blues" |' in text
    assert 'model.sonify("fast|loud", seed=0)' in text
    assert "| prototypes | 3 per class, 6 in all |" in text


@pytest.mark.parametrize(
    ("autoencoder", "base_model", "row"),
    [
        (None, None, "| autoencoder | inside, in `autoencoder/` |"),
        ("encodecmae-diffusion-4s", "lpepino/encodecmae2wav", "| autoencoder | `encodecmae-diffusion-4s` |"),
        ("org/my-autoencoder", "org/my-autoencoder", "| autoencoder | `org/my-autoencoder` |"),
    ],
)
def test_the_autoencoder_is_named_where_it_comes_from(autoencoder, base_model, row):
    card = ModelCard(render_card("model", ModelCardFacts(name="m", labels=("a", "b"), autoencoder=autoencoder)))
    assert card.data.base_model == base_model
    assert row in card.text


def test_how_to_load_is_code_that_names_this_model():
    assert 'PECMAE.from_pretrained("org/m")' in render_card("model", ModelCardFacts(name="m", labels=("a",), load_id="org/m"))
    assert "PECMAE.from_pretrained()" in render_card("model", ModelCardFacts(name="m", labels=("a",), load_id=None))
    assert "Autoencoder.from_pretrained(" in render_card("autoencoder", ModelCardFacts(name="m"))


@pytest.mark.parametrize("family", ["model", "autoencoder"])
def test_every_card_cites_the_paper_encodecmae_and_encodec(family):
    text = render_card(family, FACTS)
    assert all(number in text for number in ("2402.09318", "2309.07391", "2210.13438"))


def test_a_model_without_labels_is_refused():
    with pytest.raises(ConfigError, match="fill in labels"):
        render_card("model", ModelCardFacts(name="m"))


def test_an_unknown_template_is_refused():
    with pytest.raises(ConfigError, match="choose one of model, autoencoder"):
        render_card("poem", FACTS)  # type: ignore[arg-type]


def test_facts_are_read_from_a_model_directory_and_can_be_overruled(tmp_path):
    (tmp_path / "autoencoder").mkdir()
    config = {
        "format_version": 1,
        "labels": ["a", "b"],
        "head": {"prototypes_per_class": 4, "adaptor": False},
        "autoencoder": None,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "autoencoder" / "config.json").write_text('{"format_version": 1, "segment_seconds": 2.5}')
    facts = facts_from_directory(tmp_path, name="other", license="cc0-1.0")
    assert facts == ModelCardFacts(
        name="other", license="cc0-1.0", labels=("a", "b"), prototypes_per_class=4, adaptor=False, segment_seconds=2.5
    )


def test_an_autoencoders_directory_has_no_facts_of_a_model(tmp_path):
    (tmp_path / "config.json").write_text('{"format_version": 1, "segment_seconds": 2.5}')
    with pytest.raises(ConfigError, match="no model with labels"):
        facts_from_directory(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("My songs (v2)", "my-songs-v2"),
        ("日本の歌", "own-data"),
        ("Музыка", "own-data"),
        ("Köln été", "koln-ete"),
        ("!!", "own-data"),
    ],
)
def test_a_data_set_of_any_name_has_a_type_that_the_hub_accepts(name, expected):
    assert dataset_type(name) == expected
    measured = Measurement(
        value=0.5,
        metric_name="a",
        metric_type="accuracy",
        dataset_name=name,
        dataset_type=dataset_type(name),
        split="test",
        command="x",
    )
    (result,) = ModelCard(render_card("model", ModelCardFacts(name="m", labels=("a",), metrics=(measured,)))).data.eval_results
    assert (result.dataset_name, result.dataset_type) == (name, expected)


@pytest.mark.parametrize("change", [{"dataset_type": ""}, {"dataset_name": " "}, {"value": float("nan")}])
def test_a_figure_that_the_hub_refuses_is_refused_here(change):
    known = {"value": 0.5, "metric_name": "a", "metric_type": "b", "dataset_name": "c", "dataset_type": "d"}
    measured = Measurement(**{**known, **change}, split="test", command="x")
    with pytest.raises(ConfigError, match="which the Hub refuses"):
        render_card("model", ModelCardFacts(name="m", labels=("a",), metrics=(measured,)))


OURS = render_card("model", ModelCardFacts(name="old", labels=("a", "b"), load_id="org/old"))


def edited(card: str) -> str:
    """What people do with a card."""
    card = card.replace("license: apache-2.0", "license: cc-by-nc-4.0\nlanguage: ca", 1)
    card = card.replace(BEGIN, f"Made in *València*.\n\n{BEGIN}")
    return card + "\n## My notes\nRecorded in the field.\n"


def test_what_a_person_wrote_survives_a_new_card():
    new = render_card("model", ModelCardFacts(name="new", labels=("x", "y", "z"), load_id="org/new"))
    text = renewed(edited(OURS), new)
    card = ModelCard(text)
    assert (card.data.license, card.data.language) == ("cc-by-nc-4.0", "ca")
    assert text.index("Made in *València*.") < text.index(BEGIN) < text.index(END) < text.index("Recorded in the field.")
    assert "| classes | 3: x, y, z |" in text
    assert "classes | 2" not in text
    assert "| licence | cc-by-nc-4.0 |" in text
    assert renewed(text, new) == text
    assert ModelCard(renewed(text, new, license_given=True)).data.license == "apache-2.0"


def test_a_card_without_marks_is_kept_whole_before_ours():
    new = render_card("model", FACTS)
    text = renewed("---\ntags: [mine]\n---\n# All mine\n", new)
    assert ModelCard(text).data.tags == ["mine", "audio", "music", "interpretability", "prototypes"]
    assert text.index("# All mine") < text.index(BEGIN)
    assert renewed(text, new) == text
    assert renewed("No header at all.\n", new).count(BEGIN) == 1


def test_a_card_that_is_still_true_changes_its_address_and_its_licence_alone():
    text = edited(OURS)
    assert adopted(text, None) == text.replace("| licence | apache-2.0 |", "| licence | cc-by-nc-4.0 |")
    assert adopted(text, "me/new") == adopted(text, None).replace('from_pretrained("org/old")', 'from_pretrained("me/new")')
    assert adopted("# Mine\n", "me/new") == "# Mine\n"


def test_a_header_that_is_no_yaml_is_named():
    with pytest.raises(ConfigError, match=r"README\.md: its header .* is no YAML"):
        renewed("---\nlicense: [\n---\n", OURS)


def test_a_misspelt_fact_is_refused_with_the_right_name():
    with pytest.raises(TypeError, match=r"'licence'; did you mean license\?"):
        card_facts({"name": "m", "licence": "mit"})
