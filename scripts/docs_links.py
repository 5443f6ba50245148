"""Checks a built site: every link leads to a page and a place on it, and every page is linked to.

``python scripts/docs_links.py SITE``. The builder checks links between Markdown pages; this finds
what it does not, such as images and entries of the navigation without a file.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

NOT_LINKED = {"404.html", "index.html"}
LOADING = {"script", "img", "iframe", "link", "source"}


class Page(HTMLParser):
    """The ids of a page, what it links to, and what it loads from other hosts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the ids and addresses of one element."""
        values = dict(attrs)
        self.ids |= {value for key in ("id", "name") if (value := values.get(key))}
        for address in filter(None, (values.get("href"), values.get("src"))):
            if not urlsplit(address).scheme and not address.startswith("//"):
                self.links.append(address)
            elif tag in LOADING and not address.startswith("data:"):
                self.loads.append(address)


def problems(site: Path) -> list[str]:
    """One line for each fault of the site."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    faults = []
    linked: set[Path] = set()
    for path, page in pages.items():
        where = path.relative_to(site)
        faults += [f"{where}: loads {address}" for address in page.loads]
        for link in page.links:
            address = urlsplit(link)
            base = site if address.path.startswith("/") else path.parent
            target = (base / unquote(address.path).lstrip("/")).resolve() if address.path else path
            fragment = unquote(address.fragment)
            if not target.exists():
                faults.append(f"{where}: {link} does not exist")
            elif fragment and target in pages and fragment not in pages[target].ids:
                faults.append(f"{where}: {link} has no such place")
            elif target != path:
                linked.add(target)
    alone = {path for path in pages if path not in linked and path.name not in NOT_LINKED}
    return faults + [f"{path.relative_to(site)}: no page links to it" for path in sorted(alone)]


def main() -> int:
    """Print the faults; 1 where there are any."""
    faults = problems(Path(sys.argv[1]).resolve())
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
