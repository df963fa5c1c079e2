"""Fill reference/console.md with the commands and options as the console itself has them."""

from typing import Any

import typer
from typer.cli import get_docs_for_click

from pecmae.cli.app import app

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated text in the place of the mark."""
    if MARK not in markdown:
        return markdown
    command = typer.main.get_command(app)
    with typer.Context(command, info_name="pecmae") as context:
        text = get_docs_for_click(obj=command, ctx=context, name="pecmae")
    # The page has a title of its own.
    return markdown.replace(MARK, text.partition("\n")[2])
