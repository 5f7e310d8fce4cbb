"""The README says what is there. `python tests/test_readme.py` writes the contract into it anew."""

import re
from pathlib import Path

import typer

from flows.cli import app
from tutorflow.publish import contract_markdown
from tutorflow.pull.formats import EVENT_TYPES, FORMATS
from tutorflow.roster_columns import ROSTER

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- contract -->\n", "<!-- end of contract -->"


def with_contract(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + contract_markdown().strip() + "\n" + END + rest.partition(END)[2]


def test_the_contract_in_the_readme_is_the_contract() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == with_contract(text), "run `python tests/test_readme.py`"


def test_the_readme_names_every_command_and_no_other() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = set(re.findall(r"tutorflow (?:--home \S+ )?([a-z]+)", README.read_text()))
    assert set(commands) - {"simulate", "demo"} <= named
    assert {name for name in named if name not in commands} <= {"is"}


def test_the_readme_names_every_event_type_and_canonical_column() -> None:
    text = README.read_text(encoding="utf-8")
    columns = [c.name for c in FORMATS["canonical"].tables[0].columns if c.name != "learner_id"]
    assert [name for name in (*EVENT_TYPES, *columns) if name not in text] == []


def test_the_readme_names_every_roster_file() -> None:
    text = README.read_text(encoding="utf-8")
    assert [name for name in ROSTER if f"`{name.removesuffix('.csv')}`" not in text] == []


if __name__ == "__main__":
    README.write_text(with_contract(README.read_text(encoding="utf-8")), encoding="utf-8")
