"""The model card of a winner: sentence-transformers' own card, with every number from the evidence.

The library's template is rendered with its own card data; sections that it does not have are inserted at fixed lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from embsweep.reports.card.render import build_context, render
from embsweep.selection.evidence import Evidence

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_PLACES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "This is a [sentence-transformers]": ("notices",),
        "## Model Details\n": ("result",),
        "<!--\n### Direct Usage (Transformers)": ("shorter",),
        "### Metrics\n": ("test", "stored", "slices"),
        "<!--\n## Bias, Risks and Limitations": ("choice", "data", "verification"),
        "{% if all_hyperparameters %}": ("run",),
        "{{ eval_lines }}": ("log_note",),
        '- Python: {{ version["python"] }}': ("versions",),
    }
)
"""A line of the library's template → the sections that go before it, each a template beside this file."""


def build_card(evidence: Evidence, model: SentenceTransformer) -> str:
    """Build README.md of the model: YAML front matter and Markdown as the hub renders them.

    `model` is only inspected, neither run nor changed. No network is used.

    Raises:
        ValueError: If the template of the installed sentence-transformers is not the one this was written for.
    """
    from huggingface_hub import ModelCard

    from embsweep.reports.card.data import build_card_data

    context = build_context(evidence)
    tables = {dim: render("metrics", context, dim=dim).strip() for dim in evidence.dims}
    data: Any = build_card_data(evidence, model, tables)
    template = add_places(data.template_path.read_text("utf-8"))
    sections = {name: render(name, context) for names in _PLACES.values() for name in names}
    card = ModelCard.from_template(data, template_str=template, sections=sections)
    return str(card.content)


def add_places(template: str) -> str:
    """Add a placeholder for each of our sections to the library's `template`."""
    for line, names in _PLACES.items():
        if template.count(line) != 1:
            raise ValueError(f"{line!r} occurs {template.count(line)} times in sentence-transformers' card template")
        places = "".join("{{ sections." + name + " }}" for name in names)
        template = template.replace(line, places + line)
    return template
