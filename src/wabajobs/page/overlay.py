"""Our templates beside Flower's own, and a few lines added to Flower's."""

import logging
from pathlib import Path
from typing import Any, Final

from tornado.template import BaseLoader, Template

OURS: Final = Path(__file__).parent / "templates"

ADDED: Final = {
    # The first list of the navigation holds the tabs.
    "navbar.html": ("</ul>", "tab.html"),
    "task.html": ('<div class="detail-actions">\n', "story_link.html"),
}
"""Templates of Flower's: the place that is looked for, and the file whose text goes there."""

_log = logging.getLogger(__name__)


class Overlay(BaseLoader):
    """Loads our templates and Flower's; names are looked for in our folder first."""

    def __init__(self, flowers: str, **options: Any) -> None:
        """Lay our folder over the folder of Flower's templates."""
        super().__init__(**options)
        self._flowers = Path(flowers)

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:  # noqa: ARG002 (both are flat)
        """Return the name as it is."""
        return name

    def _create_template(self, name: str) -> Template:
        ours = OURS / name
        text = ours.read_text() if ours.is_file() else with_ours(name, (self._flowers / name).read_text())
        return Template(text, name=name, loader=self)


def with_ours(name: str, text: str) -> str:
    """Return the text of a template of Flower's with our lines in it.

    Where the place is not found, Flower's template stays as it is: better no tab than no Flower.
    """
    if name not in ADDED:
        return text
    place, file = ADDED[name]
    before, found, after = text.partition(place)
    if not found:
        _log.warning("this version of Flower has no place for ours in %s", name)
        return text
    ours = (OURS / file).read_text()
    return before + (ours + found if place.startswith("</") else found + ours) + after
