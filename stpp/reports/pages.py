"""How a report is written: one HTML page with its pictures inside, and the same in Markdown.

Both are made from templates that extend ``page.html.j2`` and ``page.md.j2``, beside this file.
"""

from __future__ import annotations

import base64
import io
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stpp.files.outputs import new_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A picture as a report shows it.

    Parameters
    ----------
    name : of its file
    alt : what it shows, for who cannot see it
    caption : beneath it
    png : its bytes
    """

    name: str
    alt: str
    caption: str
    png: bytes

    @classmethod
    def of(cls, name: str, figure: Figure, alt: str, caption: str) -> Picture:
        """A figure drawn in the house style."""
        from stpp.reports.plotting import house_style

        with house_style():
            file = io.BytesIO()
            figure.savefig(file, format="png")
        return cls(name, alt, caption, file.getvalue())

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on a page, in CSS pixels: two thirds of its own, for 1.5 of them are one."""
        width, height = struct.unpack(">II", self.png[16:24])
        return round(width / 1.5), round(height / 1.5)

    @property
    def uri(self) -> str:
        """The picture itself as an address, so that the page needs no other file."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def write_pages(directory: Path, templates: Path, content: Mapping[str, Any]) -> Path:
    """Write ``report.html``, one page with its pictures inside, and ``report.md`` with its pictures beside it.

    Parameters
    ----------
    directory : exists; what is there under these names is replaced
    templates : the folder of ``report.html.j2`` and ``report.md.j2``
    content : what they show by name: ``title``, ``verdict`` (lines), texts, pictures, and lists and mappings of these

    Returns
    -------
    the path of ``report.html``
    """
    for picture in _pictures(content):
        with new_file(directory / picture.name, force=True) as path:
            path.write_bytes(picture.png)
    for name in ("report.md", "report.html"):
        with new_file(directory / name, force=True) as path:
            path.write_text(rendered(templates / f"{name}.j2", content), encoding="utf-8")
    return directory / "report.html"


def rendered(template: Path, content: Mapping[str, Any]) -> str:
    """A page from a template such as ``report.html.j2``, which may extend those beside this file.

    In HTML everything is escaped, and in Markdown shown as it is.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        # Markdown is escaped before: its tables and lists are made of the same text
        autoescape=template.name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(content if environment.autoescape else _markdown(content))


def _pictures(content: Mapping[str, Any]) -> Iterator[Picture]:
    for value in content.values():
        yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Picture))


def _markdown(value: Any) -> Any:
    """Content whose texts Markdown shows as they are: no markup, no HTML, no table cells of their own."""
    if value is None:
        return None
    if isinstance(value, Picture):
        return replace(value, alt=_markdown(value.alt), caption=_markdown(value.caption))
    if isinstance(value, Mapping):
        return {name: _markdown(one) for name, one in value.items()}
    if not isinstance(value, str):
        return [_markdown(one) for one in value]
    text = " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*|]|\](?=[(\[:]))", r"\\\1", text)
