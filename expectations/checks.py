"""The checks of a suite, read from its YAML file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tutorflow.publish.verdict import Severity

SUITES = ("landed_events", "marts", "candidates", "outcomes")


@dataclass(frozen=True)
class Check:
    """One expectation over one frame.

    Attributes:
        check_id: `<suite>.<name>`, stable.
        frame: name of the frame it looks at.
        expect: name of the Great Expectations expectation, without the leading `Expect`.
        arguments: the expectation's own arguments; `{$PARAMETER: name}` is filled in at run time.
        fails: what a failing row is, to go after its count.
        remedy: what to do about it.
        show: columns of a failing row to keep; empty means all.
    """

    suite: str
    check_id: str
    frame: str
    severity: Severity
    expect: str
    arguments: Mapping[str, Any]
    fails: str
    remedy: str
    show: tuple[str, ...] = field(default=())


@cache
def checks(suite: str) -> tuple[Check, ...]:
    """The checks of a suite, in the order of its file."""
    path = Path(__file__).with_name(f"{suite}.yml")
    return tuple(
        _check(suite, name, spec)
        for name, spec in yaml.safe_load(path.read_text(encoding="utf-8")).items()
    )


def _check(suite: str, name: str, spec: Mapping[str, Any]) -> Check:
    ((expect, arguments),) = spec["expect"].items()
    return Check(
        suite=suite,
        check_id=f"{suite}.{name}",
        frame=spec["frame"],
        severity=spec["severity"],
        expect=expect,
        arguments=arguments or {},
        fails=spec["fails"],
        remedy=spec["remedy"],
        show=tuple(spec.get("show", ())),
    )
