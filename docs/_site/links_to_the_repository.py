"""Links of the pages to files outside of `docs/`: on the site they lead to the repository."""

import re
from pathlib import Path

# The target of a Markdown link that begins by leaving the folder.
OUTSIDE = re.compile(r"(?<=\]\()((?:\.\./)+[^)\s]+)(?=\))")


def rewrite(text: str, folder: Path, root: Path, repository: str) -> str:
    """Return the Markdown of a page in ``folder`` with full addresses for files outside `docs/`."""

    def replace(match: re.Match[str]) -> str:
        path, _, fragment = match[1].partition("#")
        target = (folder / path).resolve()
        if target.is_relative_to(root / "docs"):
            return match[1]
        kind = "tree" if target.is_dir() else "blob"
        address = f"{repository}/{kind}/main/{target.relative_to(root).as_posix()}"
        return f"{address}#{fragment}" if fragment else address

    return OUTSIDE.sub(replace, text)


def read(app, docname: str, source: list[str]) -> None:
    """Rewrite a page as it is read."""
    page = Path(app.env.doc2path(docname))
    if page.suffix == ".md":
        source[0] = rewrite(source[0], page.parent, Path(app.srcdir).parent, app.config.repository)


def setup(app) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_config_value("repository", "", "env", str)
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
