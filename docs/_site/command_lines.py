"""The directive ``command-line``: what an `argparse` parser takes, for the reference.

.. command-line:: flash.cli:_parser
"""

import argparse
from collections.abc import Iterator
from importlib import import_module

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """The parser and those of its commands, each with the help that its parent has of it."""
    yield parser, ""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                yield command, helps.get(name, "")


def arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Each argument of a parser as it is written, and what it does."""
    formatter = parser.formatter_class(prog=parser.prog)
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        said = formatter._expand_help(action) if action.help else ""
        yield formatter._format_action_invocation(action), said


def lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The reference of a program, as reStructuredText."""
    for command, said in commands(parser):
        yield from (command.prog, "-" * len(command.prog), "", command.description or said, "")
        usage = " ".join(command.format_usage().removeprefix("usage: ").split())
        yield from (".. code-block:: text", "", f"   {usage}", "")
        for written, does in arguments(command):
            sentence = does[:1].upper() + does[1:]
            yield from (f"``{written}``", f"   {sentence}" if sentence else "", "")


class CommandLine(SphinxDirective):
    """See the module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a section for the program and one for each of its commands."""
        module, _, name = self.arguments[0].partition(":")
        parser = getattr(import_module(module), name)()
        return self.parse_content_to_nodes_of(list(lines(parser)))

    def parse_content_to_nodes_of(self, text: list[str]) -> list[nodes.Node]:
        """Parse text in which there are headings."""
        self.content = StringList(text, source=self.arguments[0])
        return self.parse_content_to_nodes(allow_section_headings=True)


def setup(app) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
