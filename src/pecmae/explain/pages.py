"""From data to a page of one file: no server, no network, and no text of a user's that could act as markup."""

import base64
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from pecmae.core.files import atomic_write, display_name
from pecmae.prototypes.measures import numbers_within_class

if TYPE_CHECKING:
    from pecmae.classifier import TrackClassifier

# Nothing may be loaded from anywhere, and no script may run but the page's own.
_POLICY = (
    "default-src 'none'; img-src data:; media-src blob:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
    "base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Page(ABC):
    """What every page says of the model that it is about."""

    # As people should read it.
    model: str
    labels: tuple[str, ...]
    # Class of each prototype, as an index into labels, and its number within the class.
    prototype_labels: tuple[int, ...]
    prototype_numbers: tuple[int, ...]
    segment_seconds: float
    # Whether prototypes are heard by recordings near them, of a model that cannot sonify them.
    recorded: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.model,
            "labels": list(self.labels),
            "prototype_labels": list(self.prototype_labels),
            "prototype_numbers": list(self.prototype_numbers),
            "segment_seconds": self.segment_seconds,
            "recorded": self.recorded,
        }

    @abstractmethod
    def to_html(self) -> str:
        """Return the page: one file that needs nothing else."""

    def write(self, output: str | os.PathLike[str]) -> None:
        """Write the page, whole or not at all."""
        with atomic_write(output) as temporary:
            temporary.write_text(self.to_html(), encoding="utf-8")


def model_facts(model: "TrackClassifier", name: str) -> dict[str, Any]:
    """The fields of `Page`, of a model that people call `name`."""
    own = model.head.prototype_labels.cpu().numpy()
    return {
        "model": readable(name),
        "labels": tuple(map(readable, model.labels)),
        "prototype_labels": tuple(own.tolist()),
        "prototype_numbers": tuple(numbers_within_class(own)),
        "segment_seconds": model.segment_seconds,
        "recorded": model.example_sounds is not None,
    }


def render_page(
    name: str, data: Mapping[str, Any], sounds: Mapping[str, Mapping[str, str]] | None = None, **context: Any
) -> str:
    """Render one of the package's pages.

    Parameters
    ----------
    name : str
        Of the template NAME.html.j2 and of its script NAME.js.
    data : mapping
        Values for JSON by the id of the element that will hold them; what the page's script reads.
    sounds : mapping, optional
        Compressed sound, as `pecmae.audio.compression.encoded` returns it, by the id of the element that will hold it.
    **context
        Further names for the template.

    Returns
    -------
    str
        HTML in which nothing refers to another file.
    """
    script = "(() => {\n'use strict';\n" + _source("common.js") + "\n" + _source(f"{name}.js") + "\n})();"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(f"{name}.html.j2")
        .render(
            policy=_POLICY.format(digest=digest),
            style=Markup(_source("common.css")),
            script=Markup(script),
            data={key: script_json(value) for key, value in data.items()},
            sounds=sounds or {},
            **context,
        )
    )


def script_json(value: Any) -> Markup:
    """Format `value` as JSON that can stand inside a script element, whatever its strings hold."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def readable(text: object) -> str:
    """Return a name as text that any encoding can write."""
    return display_name(str(text))


def clock(seconds: float) -> str:
    """Format a moment of a track: 1:02 or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _source(name: str) -> str:
    return (files("pecmae") / "pages" / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["clock"] = clock
    environment.filters["signed"] = lambda value, digits=2: f"{value:+.{digits}f}".replace("-", "−")
    return environment
