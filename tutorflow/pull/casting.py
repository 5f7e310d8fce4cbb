"""From texts to typed values, and the reasons why a row cannot be taken in (SQL expressions).

A reason never quotes the value, which could be personal, but shows its shape: digits as 9,
letters as a.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tutorflow.engine import identifier, literal
from tutorflow.pull.formats import SQL_TYPES, Column, Table

_KINDS = {
    "timestamp": "a timestamp",
    "integer": "a whole number",
    "bigint": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "json": "a JSON object",
}
_TRUE = "('true', 't', 'yes', 'y', '1', '1.0')"
_FALSE = "('false', 'f', 'no', 'n', '0', '0.0')"

FUTURE_TOLERANCE = "interval 1 hour"


@dataclass(frozen=True)
class Casting:
    """The SQL that turns a table's texts into typed rows.

    `present`: the landed names of the columns that the file has; `timezone`: of times without an
    offset, None if the source declares none; `day_zone`: in which calendar days are cut; `now`:
    SQL of the instant of the pull.
    """

    table: Table
    present: Collection[str]
    timezone: str | None
    day_zone: str
    now: str

    def rows(self, records: str) -> str:
        """The relation of typed rows: the landed columns (the learner still as the source's user
        id, defaults not yet filled in), `_row`, `_line`, `_extra`, `_occurred_at`, `_is_good`, and
        `_reason`, which costs nothing unless it is asked for."""
        columns = [column for column in self.table.columns if column.name in self.present]
        cleaned = [f"{_clean(column)} as {identifier(column.name)}" for column in columns]
        typed = [f"{self._typed(column)} as {_typed_name(column)}" for column in columns]
        faults = [fault for column in columns for fault in self._faults(column)]
        are_good = " and ".join(["_fault is null", *(f"not ({test})" for test, _ in faults)])
        reasons = [f"case when {test} then {text} end" for test, text in faults]
        too_late = literal(f"{self._clock()}: more than 1 h in the future")
        return f"""
            select
                * exclude (_are_good, _reasons, _is_ahead),
                _are_good and not _is_ahead as _is_good,
                nullif(concat_ws('; ', _reasons, case when _is_ahead then {too_late} end), '')
                    as _reason
            from (
                select *, coalesce({self._is_ahead()}, false) as _is_ahead
                from (
                    select *, {self.occurred_at()} as _occurred_at
                    from (
                        select
                            {", ".join(self._landed(column) for column in self.table.columns)},
                            _row, _line, _extra,
                            {are_good} as _are_good,
                            coalesce(_fault, nullif(concat_ws('; ', {", ".join(reasons)}), ''))
                                as _reasons
                        from (
                            select *, {", ".join(typed)}
                            from (
                                select {", ".join(cleaned)}, _row, _line, _extra, _fault
                                from ({records})
                            )
                        )
                    )
                )
            )
        """

    def times_without_offset(self, records: str) -> str:
        """A list per row: for every timestamp column of the file its name, the line of its first
        time without an offset (null: there is none), and whether any time has one."""
        shown = []
        for column in self.table.columns:
            if column.type == "timestamp" and column.name in self.present:
                text = _clean(column)
                naive = f"min(_line) filter ({_is_naive(text)})"
                aware = f"coalesce(bool_or({_has_offset(text)}), false)"
                shown.append(f"({literal(column.in_file)}, {naive}, {aware})")
        return f"select [{', '.join(shown)}] from ({records})"

    def _landed(self, column: Column) -> str:
        if column.name not in self.present:
            type_ = "varchar" if column.type == "learner" else SQL_TYPES[column.type]
            return f"null::{type_} as {identifier(column.name)}"
        return f"{_typed_name(column)} as {identifier(column.name)}"

    def _typed(self, column: Column) -> str:
        text = identifier(column.name)
        if column.pattern:
            text = f"case when regexp_full_match({text}, {literal(column.pattern)}) then {text} end"
        match column.type:
            case "timestamp":
                return self._timestamp(text)
            case "integer" | "bigint":
                whole = f"regexp_full_match({text}, '[+-]?[0-9]+([.]0*)?')"
                value = f"try_cast(split_part({text}, '.', 1) as {SQL_TYPES[column.type]})"
                return f"case when {whole} then {value} end"
            case "number":
                value = f"try_cast({text} as double)"
                return f"case when isfinite({value}) then {value} end"
            case "boolean":
                truth = f"case when lower({text}) in {_TRUE} then true"
                return f"{truth} when lower({text}) in {_FALSE} then false end"
            case "json":
                is_object = f"case when json_type({text}) = 'OBJECT' then {text} end"
                return f"case when json_valid({text}) then {is_object} end"
            case "text" | "learner":
                return text

    def _timestamp(self, text: str) -> str:
        plain = f"try_cast({text} as timestamp)"
        without_z = f"try_cast(left({text}, -1) as timestamp)"
        naive = f"timezone({literal(self.timezone)}, {plain})" if self.timezone else "null"
        # minutes without seconds before an offset are ISO 8601, but DuckDB wants the seconds
        with_seconds = (
            f"regexp_replace({text}, '^(.{{10}}.[0-9]{{2}}:[0-9]{{2}})([+-])', '\\1:00\\2')"
        )
        aware = (
            f"coalesce(try_cast({text} as timestamptz), try_cast({with_seconds} as timestamptz))"
        )
        return (
            f"cast(case when not ({_is_dated(text)}) then null"
            f" when right({text}, 1) in ('Z', 'z') then {without_z}"  # as below, but faster
            f" when {_has_offset(text)} then {aware}"
            f" else {naive} end as timestamp)"
        )

    def _faults(self, column: Column) -> list[tuple[str, str]]:
        """Conditions under which a row is refused, each with the SQL of its reason."""
        text = identifier(column.name)
        faults = []
        if column.required:
            faults.append((f"{text} is null", literal(f"{column.in_file}: missing")))
        if column.type in _KINDS or column.pattern:
            kind = f"a value like {column.example}" if column.pattern else _KINDS[column.type]
            test = f"{text} is not null and {_typed_name(column)} is null"
            if column.type == "timestamp" and not self.timezone:
                # a case looks at the few texts in question, a conjunction would at all of them
                naive = f"case when {test} then {_is_naive(text)} else false end"
                reason = f"{column.in_file}: a time without an offset, and no timezone is declared"
                faults.append((naive, literal(reason)))
                test = f"case when {test} then not ({_is_naive(text)}) else false end"
            said = literal(f"{column.in_file}: not {kind} (looks like ")
            faults.append((test, f"{said} || {_shape(text)} || ')'"))
        return faults

    def _clock(self) -> str:
        named = [c.in_file for c in self.table.columns if c.name == self.table.occurred_at]
        return named[0] if named else "date"

    def occurred_at(self) -> str:
        """SQL over landed columns: when a row happened (UTC), null for a table without a time."""
        if self.table.occurred_at:
            return identifier(self.table.occurred_at)
        if self.table.occurred_on:
            start = f"cast({self.table.occurred_on} as timestamp)"
            return f"cast(timezone({literal(self.day_zone)}, {start}) as timestamp)"
        return "null::timestamp"

    def _is_ahead(self) -> str:
        is_planned = self.table.planned_when
        return f"_occurred_at > {self.now} + {FUTURE_TOLERANCE} and not ({is_planned})"


def _typed_name(column: Column) -> str:
    return identifier(f"{column.name} typed")


def _clean(column: Column) -> str:
    """The text without a value that means "none"; ids and free text keep their inner form."""
    name = identifier(column.name)
    nothing = ", ".join(literal(text) for text in ("", *column.unknown))
    kept = name if column.type == "text" else f"trim({name})"
    return f"case when trim({name}) not in ({nothing}) then {kept} end"


def _is_dated(text: str) -> str:
    """Whether a text starts with a year of four digits; `infinity` and `epoch` are no times."""
    return f"left({text}, 1) between '0' and '9' and substr({text}, 5, 1) in ('-', '/')"


def _is_naive(text: str) -> str:
    is_time = f"{_is_dated(text)} and try_cast({text} as timestamp) is not null"
    return f"{is_time} and not {_has_offset(text)}"


def _has_offset(text: str) -> str:
    """Whether a time is written with Z or an offset; the date before it may hold signs, too."""
    time = f"substr({text}, 12)"
    return (
        f"(right({text}, 1) in ('Z', 'z') or right({text}, 3) = 'UTC'"
        f" or contains({time}, '+') or contains({time}, '-'))"
    )


def _shape(text: str) -> str:
    digits = f"regexp_replace(left({text}, 40), '[0-9]', '9', 'g')"
    return f"regexp_replace({digits}, '\\p{{L}}', 'a', 'g')"
