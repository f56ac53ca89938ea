"""Draw charts: static SVG pictures, and the script that makes them interactive, both with Vega from vl-convert-python.

Vega runs in V8, which takes up to 290 MB and could crash: it has a process of its own.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from embsweep.core.subprocess import run_in_subprocess

_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset(
    {
        *("svg", "g", "path", "rect", "line", "circle", "text", "tspan", "title", "desc", "defs"),
        *("clipPath", "linearGradient", "radialGradient", "stop"),
    }
)
_LOCAL_URL = re.compile(r"url\(\s*['\"]?#([^'\")]+)['\"]?\s*\)")


@dataclass(frozen=True)
class Pictures:
    """A static picture of each specification as SVG, and the script that makes pictures interactive."""

    svgs: tuple[str, ...]
    script: str


def draw(specs: Sequence[Mapping[str, Any]]) -> Pictures:
    """Draw every specification, and build the script, in a process of its own.

    Raises:
        EmbsweepError: If the process dies.
        ValueError: If a specification is not valid.
    """
    texts = [json.dumps(spec) for spec in specs]
    svgs, script = run_in_subprocess(_draw, texts, Path(__file__).with_name("charts.js").read_text("utf-8"))
    return Pictures(tuple(svgs), script)


def is_lite(spec: Mapping[str, Any]) -> bool:
    """Return whether a specification is of Vega-Lite, not of Vega."""
    return "vega-lite" in str(spec.get("$schema", ""))


def _draw(specs: Sequence[str], snippet: str) -> tuple[list[str], str]:
    import vl_convert

    svgs = [
        vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
        if is_lite(json.loads(spec))
        else vl_convert.vega_to_svg(spec, allowed_base_urls=[])
        for spec in specs
    ]
    return svgs, vl_convert.javascript_bundle(snippet)


def clean_svg(text: str, key: str) -> Markup:
    """Return a picture for a page with others: its ids begin with `key`, and it refers to nothing outside itself.

    Args:
        text: The picture, an SVG document.
        key: Key of its chart.

    Raises:
        ValueError: If it has elements or attributes that a picture does not need, such as a script.
    """
    root = ET.fromstring(text)  # noqa: S314 - Vega has written it, and escapes all texts
    for element in root.iter():
        name = element.tag.removeprefix(f"{{{_SVG}}}")
        if name not in _ELEMENTS:
            raise ValueError(f"the picture {key} has the element {name}")
        element.attrib = {attribute: _own_ids(value, attribute, key) for attribute, value in element.attrib.items()}
    root.attrib.pop("version", None)
    ET.register_namespace("", _SVG)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - serialised from allowed elements


def _own_ids(value: str, attribute: str, key: str) -> str:
    if attribute.startswith("on") or attribute.endswith("href"):
        raise ValueError(f"the picture {key} has the attribute {attribute}")
    if attribute == "id":
        return f"{key}-{value}"
    return _LOCAL_URL.sub(rf"url(#{key}-\1)", value)
