"""Changes of a policy as unified diffs of its file; everything else in it stays as it is."""

from __future__ import annotations

import difflib
import re

from tutorflow.policy.model import default_policy_path
from tutorflow.settings import Settings
from tutorflow.yaml_lines import LineOf, load_yaml

Key = tuple[str, int, str]  # rule, position of the level, parameter


def number_changed(settings: Settings, key: Key, new: float) -> str:
    """The diff that gives one parameter of one level another number."""
    name, position, parameter = key
    lines, line_of = _policy_file(settings)
    number = line_of(("rules", name, "levels", position, "when", parameter)) - 1
    pattern = rf"(?<![\w.]){re.escape(parameter)}:\s*[-+.\w]+"
    return _diff(
        settings, lines, number, re.sub(pattern, f"{parameter}: {new:g}", lines[number], count=1)
    )


def switched_off(settings: Settings, name: str) -> str:
    """The diff that disables a rule, which stays in the file."""
    lines, line_of = _policy_file(settings)
    own = line_of.known(("rules", name, "enabled"))
    if own[-1] == "enabled":
        number = line_of(own) - 1
        line = re.sub(r"\benabled:\s*true\b", "enabled: false", lines[number], count=1)
        return _diff(settings, lines, number, line)
    number = line_of(("rules", name, "title")) - 1
    indent, title, rest = lines[number].partition("title:")
    between = ", " if indent.strip() else f"\n{indent}"  # on one line with others, or on its own
    return _diff(settings, lines, number, f"{indent}enabled: false{between}{title}{rest}")


def _policy_file(settings: Settings) -> tuple[list[str], LineOf]:
    path = settings.policy_path or default_policy_path()
    _, line_of = load_yaml(path)
    return path.read_text(encoding="utf-8-sig").splitlines(keepends=True), line_of


def _diff(settings: Settings, lines: list[str], number: int, line: str) -> str:
    """The diff of the file with another line at a place, 0 = first."""
    after = [*lines[:number], *line.splitlines(keepends=True), *lines[number + 1 :]]
    file = "policy.yml" if settings.policy_path is None else settings.policy_path.name
    return "".join(difflib.unified_diff(lines, after, f"a/{file}", f"b/{file}", n=2))
