"""The documentation: it builds without a complaint, its notebook runs, and README stays one page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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
