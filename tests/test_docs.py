"""The documentation: it builds without a complaint, its notebook runs, and README stays one page."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from pecmae.cli.app import app

ROOT = Path(__file__).parents[1]
# Pages whose Python is run from the first line to the last.
RUN = ("guide/embeddings.md", "guide/explore.md")


def test_the_site_builds_strictly(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    console = (tmp_path / "site" / "reference" / "console" / "index.html").read_text(encoding="utf-8")
    assert "pecmae classify" in console
    assert "--prototype" in console
    python = (tmp_path / "site" / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    assert "guidance_scale" in python
    # No network is needed to read it.
    pages = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("index.html"))
    assert re.findall(r'<(?:script|link)[^>]+(?:src|href)="https?://(?!huggingface|arxiv)[^"]+\.(?:js|css)"', pages) == []


def test_the_tutorial_runs():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "docs" / "tutorial.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT / "docs")}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    results = ["".join(output.get("data", {}).get("text/plain", "") for output in cell.outputs) for cell in code]
    assert "'jazz'" in results[1]
    assert "True" in results[3]


@pytest.mark.parametrize("page", RUN)
def test_what_a_page_shows_in_python_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {"__name__": "page"}
    for block in code:
        exec(block, names)
    assert capsys.readouterr().out.strip()


def test_every_room_of_the_house_is_described():
    house = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "src" / "pecmae").glob("*/__init__.py")}
    assert [room for room in sorted(rooms) if f"`{room}`" not in house] == []


def test_readme_is_one_page():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
)
def test_what_is_linked_exists(page):
    path = ROOT / page
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def documented_commands() -> Iterator[tuple[str, str]]:
    """Pages, and what they tell to type: lines of shell blocks, and code in prose."""
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        for line in [*lines, *re.findall(r"`(pecmae [a-z][^`\n]*)`", prose)]:
            for command in re.split(r"&&|\|", line):
                if re.match(r"(\.venv/bin/)?pecmae [a-z]", command.strip()):
                    yield path.relative_to(ROOT).as_posix(), command.strip()


@pytest.mark.parametrize(("page", "command"), sorted(set(documented_commands())))
def test_what_is_told_to_type_is_a_command_with_these_options(page, command):
    _, name, *arguments = shlex.split(command, comments=True)
    console = typer.main.get_command(app)
    assert name in console.commands, page
    try:
        console.commands[name].make_context(name, [*arguments])
    except Exception as error:
        # In prose a command may be named without what it works on.
        if type(error).__name__ != "MissingParameter":
            pytest.fail(f"{page}: {command}: {error}")
