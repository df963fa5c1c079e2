"""Write the card of every entry of the zoo, the table in README.md and that in docs/pecmae-mini.md.

They are made from pecmae.hub.zoo, facts.json, what examples/mini/mini_evidence.py measured, and the templates.

python hub_cards/render.py           # write what is out of date
python hub_cards/render.py --check   # write nothing; exit with 1 if something is out of date
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pecmae.hub.cards import ModelCardFacts, PaperResult, facts_from_directory, render_card
from pecmae.hub.zoo import SHARED_AUTOENCODER, ZOO, ZooEntry, embedded_directory

HERE = Path(__file__).parent
# What was measured of the embedded model is read by the scripts that measured it.
sys.path.append(str(HERE.parent / "examples" / "mini"))

from evidence import bars_table, card_section, measurements, read_evidence  # noqa: E402

TABLE_START, TABLE_END = "<!-- table: start -->", "<!-- table: end -->"
# Shows how the embedded models do.
PAGE = HERE.parent / "docs" / "pecmae-mini.md"
HUB = "https://huggingface.co"


def card_name(entry: ZooEntry) -> str:
    """Name of an entry's card: the full name, where the entry has a short one."""
    return entry.aliases[0] if entry.aliases else entry.name


def variant(entry: ZooEntry) -> str:
    """Name of a model within the paper: "10", or "NA-5" without adaptor."""
    return f"{'' if entry.adaptor else 'NA-'}{entry.prototypes_per_class}"


def card_facts(entry: ZooEntry, facts: dict[str, Any]) -> ModelCardFacts:
    """Collect what the zoo, facts.json and, for the embedded model, its own configuration say of an entry."""
    common = {
        "name": card_name(entry),
        "summary": entry.description,
        "license": entry.license,
        "limits": tuple(facts["limits"].get(entry.name) or facts["limits"].get(entry.dataset) or ()),
        "segment_seconds": entry.segment_seconds,
    }
    if entry.source == "published":
        source_url = f"{HUB}/{entry.repo_id}"
        training_data = facts["training_data"][entry.name]
        return ModelCardFacts(**common, load_id=entry.name, training_data=training_data, source_url=source_url)
    if entry.source == "embedded":
        load_id = None if entry.name == SHARED_AUTOENCODER else entry.name
        common |= {"load_id": load_id, "training_data": facts["training_data"][entry.name]}
        directory = embedded_directory(entry.name)
        if (directory / "config.json").is_file():
            del common["segment_seconds"]
            evidence = read_evidence(HERE / f"{card_name(entry)}.evidence.json", directory)
            if evidence is not None:
                common |= {"metrics": measurements(evidence), "evidence": card_section(evidence)}
            return facts_from_directory(directory, **common)
        return ModelCardFacts(**common, labels=entry.labels)
    accuracy = facts["paper_accuracy"][entry.dataset][variant(entry)]
    return ModelCardFacts(
        **common,
        labels=entry.labels,
        prototypes_per_class=entry.prototypes_per_class,
        adaptor=entry.adaptor,
        autoencoder="encodecmae-diffusion-4s",
        load_id="OUT",
        training_data=facts["dataset_notes"][entry.dataset],
        make_command=entry.make_command,
        paper_results=(PaperResult(model=f"PECMAE-{variant(entry)}", dataset=entry.dataset or "", accuracy=accuracy),),
    )


def zoo_table() -> str:
    """Return the rows of README.md's table."""
    status = {
        "embedded": "in the package",
        "published": "downloaded on first use",
        "unpublished": "no weights yet",
    }
    rows = ["| name | kind | classes | prototypes per class | segment | weights |", "|---|---|---|---|---|---|"]
    for entry in ZOO.values():
        prototypes = variant(entry) if entry.prototypes_per_class else "–" if entry.kind == "autoencoder" else "see card"
        rows.append(
            f"| [`{entry.name}`]({card_name(entry)}.md) | {entry.kind} | {len(entry.labels) or '–'} | {prototypes} "
            f"| {entry.segment_seconds:g} s | {status[entry.source]} |"
        )
    return "\n".join(rows)


def rendered_files() -> dict[Path, str]:
    """Return all that this script writes, by path."""
    facts = json.loads((HERE / "facts.json").read_text(encoding="utf-8"))
    cards = {HERE / f"{card_name(entry)}.md": render_card(entry.kind, card_facts(entry, facts)) for entry in ZOO.values()}
    for entry in ZOO.values():
        if entry.source == "embedded" and embedded_directory(entry.name).is_dir():
            cards[embedded_directory(entry.name) / "README.md"] = cards[HERE / f"{card_name(entry)}.md"]
    cards[HERE / "README.md"] = with_table(HERE / "README.md", zoo_table())
    if measured := all_evidence():
        cards[PAGE] = with_table(PAGE, bars_table(measured))
    return cards


def all_evidence() -> dict[str, Any]:
    """What was measured of each embedded model, as far as it was."""
    names = [entry for entry in ZOO.values() if entry.source == "embedded" and embedded_directory(entry.name).is_dir()]
    found = {one.name: read_evidence(HERE / f"{card_name(one)}.evidence.json", embedded_directory(one.name)) for one in names}
    return {name: evidence for name, evidence in found.items() if evidence is not None}


def with_table(path: Path, table: str) -> str:
    """The text of a file with a table between its marks."""
    before, rest = path.read_text(encoding="utf-8").split(TABLE_START)
    _, after = rest.split(TABLE_END)
    return f"{before}{TABLE_START}\n{table}\n{TABLE_END}{after}"


def main() -> int:
    """Write or check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if something is out of date")
    check = parser.parse_args().check
    outdated = {
        path: text for path, text in rendered_files().items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    }
    for path, text in outdated.items():
        print(f"{'out of date' if check else 'written'}: {path}", file=sys.stderr)
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
