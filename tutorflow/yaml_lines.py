"""YAML whose values know the line they came from, so that an error can point at it.

Differences from plain YAML 1.1, all to spare the reader a surprise: only `true` and `false` are
booleans (`no`, `on` and `yes` stay text), `10:30` is text and not 630, and a repeated key is an
error instead of silently winning.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from tutorflow.errors import ConfigurationError

YamlPath = tuple[str | int, ...]


class LineOf:
    """Maps a path such as `("sources", 0, "format")` to its line; 1 is the first line.

    Elements that the file does not have (a missing key, a tag that a validator put in) are
    skipped, so the answer is the line of the closest thing that is there.
    """

    def __init__(self, lines: Mapping[YamlPath, int]) -> None:
        self._lines = lines

    def __call__(self, path: Iterable[str | int]) -> int:
        return self._lines.get(self.known(path), 1)

    def known(self, path: Iterable[str | int]) -> YamlPath:
        """The part of the path that the file has."""
        found: YamlPath = ()
        for element in path:
            if (*found, element) in self._lines:
                found = (*found, element)
        return found


_REDEFINED = tuple(f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float"))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader with YAML 1.2's ideas of booleans and numbers."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REDEFINED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
        r"|^[-+]?\.inf$|^\.nan$"
    ),
    list("-+.0123456789"),
)


def load_yaml(path: Path) -> tuple[Any, LineOf]:
    """The file's data (`{}` for an empty file) and the line of every value in it.

    Raises ConfigurationError, with file and line, if the file is absent, is not UTF-8 text, is
    not YAML, or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[YamlPath, int] = {}
        if node is not None:
            _collect_lines(node, (), lines, path)
        data = {} if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line + 1, max(len(text.splitlines()), 1)) if mark else 1
        raise ConfigurationError(f"{path.name}:{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{path.name}:1: not valid YAML: {error}") from None
    finally:
        loader.dispose()
    return data, LineOf(lines)


def _collect_lines(
    node: yaml.Node, at: YamlPath, lines: dict[YamlPath, int], file: Path, line: int | None = None
) -> None:
    lines[at] = node.start_mark.line + 1 if line is None else line
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _collect_lines(item, (*at, index), lines, file)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            key_line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if (*at, key.value) in lines:
                where = show_path((*at, key.value))
                raise ConfigurationError(f"{file.name}:{key_line}: {where}: key given twice")
            _collect_lines(value, (*at, key.value), lines, file, key_line)


def show_path(path: Iterable[str | int]) -> str:
    """`("sources", 0, "format")` as `sources[0].format`."""
    shown = ""
    for element in path:
        if isinstance(element, int):
            shown += f"[{element}]"
        else:
            shown += f".{element}" if shown else element
    return shown


def explain(
    error: ValidationError, model: type[BaseModel], file: Path, line_of: LineOf
) -> ConfigurationError:
    """The validation error as one ConfigurationError: a line `file:line: path: fault` per fault."""
    faults: list[tuple[int, str]] = []
    for detail in error.errors():
        if detail["type"] == "default_factory_not_called":
            continue  # the fault it follows from is listed itself
        path = line_of.known(detail["loc"])
        if detail["type"] == "missing":
            path = (*path, detail["loc"][-1])
        line = line_of(detail["loc"])
        where = show_path(path)
        place = f"{file.name}:{line}: {where}" if where else f"{file.name}:{line}"
        faults.append((line, f"{place}: {_fault(detail, model)}"))
    return ConfigurationError("\n".join(text for _, text in sorted(faults, key=lambda f: f[0])))


def _fault(detail: Any, model: type[BaseModel]) -> str:
    if detail["type"] == "extra_forbidden":
        known = _keys_at(model, detail["loc"][:-1])
        return "unknown key" + did_you_mean(str(detail["loc"][-1]), known, otherwise="known keys")
    if detail["type"] == "missing":
        return "is missing; this key is required"
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if detail["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", str(detail["ctx"]["expected"]))
        return f"{message}, not {detail['input']!r}" + did_you_mean(str(detail["input"]), choices)
    if detail["type"] == "value_error" or isinstance(detail["input"], dict | list):
        return message
    return f"{message}, not {detail['input']!r}"


def did_you_mean(
    given: str, known: Iterable[str], otherwise: str | None = None, closeness: float = 0.6
) -> str:
    """`; did you mean 'format'?`, or, if nothing is close, `; <otherwise>: a, b` or nothing."""
    choices = sorted(known)
    close = difflib.get_close_matches(given, choices, n=1, cutoff=closeness)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; {otherwise}: {', '.join(choices)}" if otherwise and choices else ""


def _keys_at(model: type[BaseModel], path: Iterable[str | int]) -> set[str]:
    candidates = [model]
    for element in path:
        fields = [m.model_fields[element] for m in candidates if element in m.model_fields]  # type: ignore[index]
        if fields:
            candidates = [m for field in fields for m in _models_in(field.annotation)]
    return {field.alias or name for m in candidates for name, field in m.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]
