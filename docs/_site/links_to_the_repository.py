"""Links of the pages to files outside of `docs/`: on the site they lead to the repository."""

import re
from pathlib import Path

# The target of a Markdown link to a file.
RELATIVE = re.compile(r"(?<=\]\()([\w./-]+(?:#[\w-]+)?)(?=\))")

INCLUDED = re.compile(r"^```{include} (\S+)\n```$", re.MULTILINE)


def rewrite(text: str, folder: Path, root: Path, repository: str) -> str:
    """Return the Markdown of a page in ``folder`` with full addresses for files outside `docs/`."""

    def replace(match: re.Match[str]) -> str:
        path, _, fragment = match[1].partition("#")
        target = (folder / path).resolve()
        if target.is_relative_to(root / "docs"):
            if folder.is_relative_to(root / "docs"):
                return match[1]
            address = target.relative_to(root / "docs").as_posix()
            return f"{address}#{fragment}" if fragment else address
        kind = "tree" if target.is_dir() else "blob"
        address = f"{repository}/{kind}/main/{target.relative_to(root).as_posix()}"
        return f"{address}#{fragment}" if fragment else address

    return RELATIVE.sub(replace, text)


def read(app, docname: str, source: list[str]) -> None:
    """Rewrite a page as it is read, with the pages that it includes."""
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return
    root = Path(app.srcdir).parent

    def include(match: re.Match[str]) -> str:
        file = (page.parent / match[1]).resolve()
        app.env.note_dependency(str(file))
        return rewrite(file.read_text(encoding="utf-8"), file.parent, root, app.config.repository)

    text = rewrite(source[0], page.parent, root, app.config.repository)
    source[0] = INCLUDED.sub(include, text)


def setup(app) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_config_value("repository", "", "env", str)
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
