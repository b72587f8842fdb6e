"""The pages under `docs/` and the READMEs: links, the reference, the index of errors, snippets."""

import ast
import importlib
import inspect
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from documents import DOCS

import flash
import flash.cli
import flash_lazy.cli
import flash_pubsub.cli
import flash_ws
from flash import Flash
from flash.testing import FlashClient
from flash_ws import CloseCode

ROOT = Path(__file__).parents[2]
PACKAGES = (flash, flash_ws, flash_pubsub, flash_lazy)
REFERENCE = DOCS / "reference"


def tracked(*patterns: str) -> list[Path]:
    """The files of the repository that match, new ones included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [file for line in listed.splitlines() if (file := ROOT / line).is_file()]


PAGES = tracked("*.md")


def relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


# -- links


def without_code(text: str) -> str:
    """Markdown without its code, in which there are no links."""
    return re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchor_of(heading: str) -> str:
    """The anchor that code-hosting sites and the site give to a heading."""
    bare = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", bare).replace(" ", "-")


def anchors(file: Path) -> set[str]:
    text = re.sub(
        r"^ *```.*?^ *```", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        anchor = anchor_of(heading)
        number = 1
        while anchor in found:
            anchor = f"{anchor_of(heading)}-{number}"
            number += 1
        found.add(anchor)
    return found


def broken_links(page: Path, text: str) -> Iterator[str]:
    for link in re.findall(r"\]\(([^)\s]+)", without_code(text)):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            yield f"{link}: there is no {path}"
        elif not target.is_relative_to(ROOT):
            yield f"{link}: outside of the repository"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"{link}: {path or page.name} has no heading for it"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_link_leads_to_a_file_and_a_heading(page):
    assert not list(broken_links(page, page.read_text(encoding="utf-8")))


def test_broken_links_are_found():
    page = DOCS / "live.md"
    text = "[a](none.md) [b](live.md#operating) [c](live.md#no-such) [d](#groups) `[e](none)`"
    assert [line.partition(":")[0] for line in broken_links(page, text)] == [
        "none.md",
        "live.md#no-such",
    ]


def test_the_readmes_of_the_packages_lead_to_full_addresses():
    """They are shown where the packages are listed, without the repository around them."""
    for readme in ROOT.glob("packages/*/README.md"):
        links = re.findall(r"\]\(([^)\s]+)", without_code(readme.read_text(encoding="utf-8")))
        assert links, readme
        assert all(link.startswith("https://") for link in links), readme


# -- the site


def pages_of_the_site() -> set[str]:
    found = {file.relative_to(DOCS).with_suffix("").as_posix() for file in DOCS.rglob("*.md")}
    return found - {"README", "index"}


def test_every_page_is_in_the_navigation_and_in_the_list_of_the_folder():
    listed = set()
    for index in DOCS.rglob("index.md"):
        folder = index.parent.relative_to(DOCS).as_posix()
        for tree in re.findall(r"```{toctree}\n(.*?)```", index.read_text(), re.DOTALL):
            entries = [line for line in tree.splitlines() if line and not line.startswith(":")]
            listed |= {entry if folder == "." else f"{folder}/{entry}" for entry in entries}
    assert pages_of_the_site() <= listed
    assert not {page for page in listed if not list(DOCS.glob(f"{page}.*"))}
    readme = (DOCS / "README.md").read_text(encoding="utf-8")
    chapters = {page for page in pages_of_the_site() if "/" not in page or page.endswith("/index")}
    assert not {page for page in chapters if f"]({page}." not in readme}


# -- the reference


def described() -> set[str]:
    """The dotted names that the reference describes."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in REFERENCE.glob("*.rst"))
    return set(re.findall(r"^\.\. (?:auto|py:)\w+:: ([\w.]+)", text, re.MULTILINE))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_is_in_the_reference(package):
    assert not {f"{package.__name__}.{name}" for name in package.__all__} - described()


def test_the_test_kit_is_in_the_reference():
    import flash.testing

    assert not {f"flash.testing.{name}" for name in flash.testing.__all__} - described()


def test_the_modules_for_add_ons_are_in_the_reference():
    document = (DOCS / "architecture.md").read_text(encoding="utf-8")
    section = document.partition("## What add-ons may build on")[2]
    kept = set(re.findall(r"`(flash\.[\w.]+)`", section)) - {"flash.testing"}
    assert len(kept) > 10
    sources = "\n".join(
        file.read_text(encoding="utf-8")
        for package in ("flash-ws", "flash-pubsub", "flash-lazy")
        for file in (ROOT / "packages" / package / "src").rglob("*.py")
    )
    for name in kept:
        module = importlib.import_module(name)
        inner = [each.name for each in pkgutil.iter_modules(getattr(module, "__path__", []))]
        # Of a room that is kept, the modules that add-ons import.
        used = {f"{name}.{each}" for each in inner if f"{name}.{each} import" in sources}
        assert (used or {name}) <= described(), name


def test_the_reference_describes_nothing_that_is_not_there():
    for name in described():
        module, _, rest = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ImportError:
            if name == "flash_pubsub.FlashSharedStorage":  # of a newer Dash
                continue
            assert hasattr(importlib.import_module(module), rest), name


# -- the index of errors


def exceptions() -> set[str]:
    """Every exception that the packages define, by the module that defines it."""
    found = set()
    for package in PACKAGES:
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "dash_storage" in info.name or info.name == "flash.enrich":
                continue  # They need a newer Dash, and another package.
            module = importlib.import_module(info.name)
            found |= {
                value
                for name, value in vars(module).items()
                if inspect.isclass(value)
                and issubclass(value, BaseException)
                and value.__module__ == info.name
                and not name.startswith("_")
            }
    return found


def test_the_index_has_every_exception_with_cause_and_remedy():
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)`[^|]*\| ([^|]*)\| ([^|]*)\|$", text, re.MULTILINE)
    listed = {}
    for name, cause, remedy in rows:
        module, _, attribute = name.rpartition(".")
        listed[getattr(importlib.import_module(module), attribute)] = name
        assert cause.strip(), name
        assert remedy.strip() or "base class" in cause, name
    assert not {error for error in exceptions() if error not in listed}
    assert len(listed) == len(rows)


def test_the_index_has_every_close_code():
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (4\d{3}) \| `(\w+)` \| ([^|]*)\| [^|]+\|$", text, re.MULTILINE)
    written = {(int(number), name, "reconnects" in cause) for number, name, cause in rows}
    assert written == {(code.number, code.name, code.reconnects) for code in CloseCode}


# -- snippets

# Names that a snippet uses and leaves to the reader.
LEFT_TO_THE_READER = {
    "README.md": {"fetch_regions"},
    "packages/flash-lazy/README.md": {"database", "ORDERS", "draw", "heavy"},
}
# Pages whose apps another test serves and uses as the text says.
SERVED_ELSEWHERE = {
    "background.md",
    "embedding.md",
    "lazy.md",
    "live.md",
    "pubsub.md",
    "testing.md",
    "tutorial.md",
}
# Its blocks are parts of the files in `examples/tutorial`.
PARTS_OF_FILES = "tutorial.md"


@dataclass(frozen=True)
class Snippet:
    """One block of code of a page."""

    page: Path
    line: int
    code: str

    def __str__(self) -> str:
        return f"{relative(self.page)}:{self.line}"


def snippets(language: str) -> list[Snippet]:
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    return [
        Snippet(page, text.count("\n", 0, match.start()) + 2, match[1])
        for page, text in texts.items()
        for match in pattern.finditer(text)
    ]


PYTHON = snippets("python")


def test_python_blocks_have_the_names_that_they_use(tmp_path):
    for number, snippet in enumerate(PYTHON):
        if snippet.page.name == PARTS_OF_FILES:
            continue
        ast.parse(snippet.code, str(snippet))
        (tmp_path / f"{number}.py").write_text(snippet.code, encoding="utf-8")
    ruff = Path(sys.executable).with_name("ruff")
    command = [ruff, "check", "--isolated", "--quiet", "--output-format", "concise"]
    rules = ["--select", "F", "--ignore", "F401,F704", "--preview", tmp_path]
    found = subprocess.run([*command, *rules], capture_output=True, text=True, cwd=tmp_path).stdout
    missing = []
    for line in found.splitlines():
        number, text = re.match(r".*?(\d+)\.py:(.*)", line).groups()
        snippet = PYTHON[int(number)]
        name = re.search(r"Undefined name `(\w+)`", text)
        if name is None or name[1] not in LEFT_TO_THE_READER.get(relative(snippet.page), ()):
            missing.append(f"{snippet}: {text}")
    assert not missing


def flash_names(tree: ast.AST) -> dict[str, object]:
    """What a snippet imports of the four packages, by the names that it gives to it."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in {
            package.__name__ for package in PACKAGES
        }:
            module = importlib.import_module(node.module)
            for alias in node.names:
                if alias.name != "*":
                    found[alias.asname or alias.name] = getattr(module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in {package.__name__ for package in PACKAGES}:
                    importlib.import_module(alias.name)
    return found


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_a_python_block_imports_what_there_is_and_gives_arguments_that_are_taken(snippet):
    tree = ast.parse(snippet.code)
    names = flash_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        called = names.get(node.func.id)
        if called is None or not (called.__module__ or "").startswith("flash"):
            continue
        taken = inspect.signature(called).parameters
        if any(each.kind is each.VAR_KEYWORD for each in taken.values()):
            continue
        given = {keyword.arg for keyword in node.keywords if keyword.arg}
        assert given <= taken.keys(), f"{snippet}: {node.func.id}"


APPS = [
    snippet
    for snippet in PYTHON
    if re.search(r"^app = Flash\(", snippet.code, re.MULTILINE)
    and snippet.page.is_relative_to(DOCS)
    and snippet.page.name not in SERVED_ELSEWHERE
]


@pytest.mark.parametrize("snippet", APPS, ids=str)
async def test_an_app_in_a_page_starts_and_shows_its_layout(snippet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "app.py"
    path.write_text(snippet.code, encoding="utf-8")
    names = {"__name__": "app", "__file__": str(path)}
    exec(compile(snippet.code, path, "exec"), names)
    app: Flash = names["app"]
    async with FlashClient(app) as client:
        if app.layout is None:
            return
        if "/log-in" in snippet.code:
            refused = await client.get("/")
            assert (refused.status, refused.headers["location"]) == (302, "/log-in")
            wrong = await client.post("/log-in", form={"name": "ada", "password": "wrong"})
            assert wrong.status == 401
            await client.post("/log-in", form={"name": "ada", "password": "lovelace"})
            assert "Hello, ada" in (await client.layout("/")).text
        assert list((await client.layout("/")).walk())


# -- commands


def commands() -> Iterator[tuple[Snippet, list[str]]]:
    for snippet in snippets("sh"):
        code = snippet.code.replace("\\\n", " ")
        for line in code.splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"\w+=.*", words[0]):
                words.pop(0)
            if words:
                yield snippet, words


def test_commands_have_the_options_that_pages_give_them(capsys):
    parsers = {
        "flash": flash.cli._parser(),
        "flash-pubsub": flash_pubsub.cli._parser(),
        "flash-lazy": flash_lazy.cli._parser(),
    }
    seen = set()
    for snippet, [program, *arguments] in commands():
        if program in parsers:
            seen.add(program)
            try:
                parsers[program].parse_args(arguments)
            except SystemExit:
                pytest.fail(f"{snippet}: {program} {arguments}: {capsys.readouterr().err}")
    assert seen == set(parsers)


def test_make_has_the_targets_that_pages_name():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word
        for page in PAGES
        for word in re.findall(r"`make ([a-z-]+)[`\s]", page.read_text(encoding="utf-8"))
    }
    named |= {arguments[0] for _, [program, *arguments] in commands() if program == "make"}
    assert "test" in named
    assert named <= targets


# -- the site as it is built


def test_the_whole_site_is_built_without_a_warning(tmp_path):
    program = Path(sys.executable).with_name("sphinx-build")
    options = ["-W", "--keep-going", "-q", "-d", tmp_path / "doctrees"]
    built = subprocess.run(
        [program, *options, DOCS, tmp_path / "html"], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    # In one test, since the site is built once for each process of the run otherwise.
    loads_nothing_from_elsewhere(tmp_path / "html")
    is_searched_without_a_server(tmp_path / "html")


def loads_nothing_from_elsewhere(site):
    loaded = set()
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded |= set(re.findall(r"<(?:script|img|iframe)\b[^>]*\bsrc=\"([^\"]+)\"", text))
        loaded |= set(re.findall(r"<link\b[^>]*\bhref=\"([^\"]+)\"", text))
    assert any("furo" in each for each in loaded)
    assert not {each for each in loaded if re.match(r"(?:https?:)?//", each)}
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", sheet.read_text()), sheet


def is_searched_without_a_server(site):
    reference = site / "reference"
    assert 'id="flash_lazy.MemoryCache"' in (reference / "flash_lazy.html").read_text("utf-8")
    assert "--trusted-proxies" in (reference / "command-lines.html").read_text("utf-8")
    # A script holds the index, so that pages opened as files can load it, too.
    index = (site / "searchindex.js").read_text("utf-8")
    assert index.startswith("Search.setIndex(")
    assert "memorycache" in index
    # What lies outside of `docs/` is in the repository.
    assert "/blob/main/CONTRIBUTING.md" in (site / "index.html").read_text("utf-8")
