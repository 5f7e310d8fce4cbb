"""What the columns of each input format mean: the tables that one generic reader works from.

A format is a list of tables, a table a list of columns: the name in the file, the name landed, the
type, whether a row without it is refused. Adding a format is adding data here, and the staging
model that maps its landed columns to events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnType = Literal[
    "learner", "text", "json", "integer", "bigint", "number", "boolean", "timestamp"
]

SQL_TYPES: dict[ColumnType, str] = {
    "learner": "uuid",
    "text": "varchar",
    "json": "varchar",
    "integer": "integer",
    "bigint": "bigint",
    "number": "double",
    "boolean": "boolean",
    "timestamp": "timestamp",
}

# Beside the format's own columns, every landed row says where it came from.
ORIGIN_COLUMNS = {
    "_source": "varchar",
    "_delivery_id": "varchar",
    "_path": "varchar",
    "_row": "bigint",
    "_landed_at": "timestamp",
}

# The closed list of event types; the seed `event_types` says more about each.
EVENT_TYPES = (
    "session_started",
    "session_ended",
    "item_presented",
    "response_submitted",
    "response_revised",
    "hint_requested",
    "explanation_viewed",
    "item_abandoned",
    "content_viewed",
    "assignment_due",
    "assignment_submitted",
    "assessment_scored",
    "session_scheduled",
    "session_attended",
    "message_sent",
    "message_replied",
    "check_in",
    "help_requested",
    "reflection_skipped",
    "session_cancelled",
    "difficulty_changed",
    "learner_enrolled",
    "learner_withdrew",
)

# What is announced ahead carries a time in the future and is no sign of a wrong clock.
PLANNED_EVENT_TYPES = ("assignment_due", "session_scheduled")


@dataclass(frozen=True)
class Column:
    """One column: as landed (`name`, `type`) and as found (`in_file`, default the same name).

    `required`: a file without the column, and a row without a value, is refused.
    `unknown`: texts that mean "no value", beside the empty text.
    `pattern`, `example`: a regular expression that a value has to match, and a value that does.
    `default`: the value of a row that has none, as SQL.
    """

    name: str
    type: ColumnType = "text"
    in_file: str = ""
    required: bool = False
    unknown: tuple[str, ...] = ()
    pattern: str | None = None
    example: str = ""
    default: str | None = None

    def __post_init__(self) -> None:
        if not self.in_file:
            object.__setattr__(self, "in_file", self.name)


@dataclass(frozen=True)
class Table:
    """One landed table.

    `file_stem`: the files it is read from, by name without suffixes; none = every file.
    `occurred_at`: the landed column that says when a row happened, if the row has a time; or
    `occurred_on`: the same as SQL for a calendar day. A table with neither never moves the
    source's watermark, and its rows are never "in the future".
    `planned_when`: SQL for rows that lie in the future by their nature.
    `event_id`: SQL for `source_event_id` where the source gives none.
    `extra_to`: the JSON column that takes columns the format does not know; none = not landed.
    """

    name: str
    columns: tuple[Column, ...]
    file_stem: str | None = None
    occurred_at: str | None = None
    occurred_on: str | None = None
    planned_when: str = "false"
    event_id: str | None = None
    extra_to: str | None = None

    @property
    def learner(self) -> Column | None:
        """The column with the source's user id, if the table has one."""
        return next((column for column in self.columns if column.type == "learner"), None)

    @property
    def landed_types(self) -> dict[str, str]:
        """Names and SQL types of the landed Parquet, in order."""
        return {c.name: SQL_TYPES[c.type] for c in self.columns} | ORIGIN_COLUMNS


@dataclass(frozen=True)
class Format:
    """An input format: its tables, its precision of time, the event types it can deliver."""

    name: str
    tables: tuple[Table, ...]
    time_precision: Literal["second", "day"]
    event_types: tuple[str, ...]
    never_read: tuple[str, ...] = ()


CANONICAL = Format(
    name="canonical",
    time_precision="second",
    event_types=EVENT_TYPES,
    tables=(
        Table(
            name="events",
            occurred_at="occurred_at",
            planned_when="event_type in ({})".format(
                ", ".join(f"'{event_type}'" for event_type in PLANNED_EVENT_TYPES)
            ),
            # without an id of the source's: the same learner, instant, kind and item is one event
            event_id=(
                "md5(concat_ws('|', learner_id, occurred_at, event_type,"
                " coalesce(item_id, ''), coalesce(attempt_number, -1)))"
            ),
            extra_to="attributes",
            columns=(
                Column("source_event_id"),
                Column("learner_id", "learner", in_file="user_id", required=True),
                Column("event_type", required=True),
                Column("occurred_at", "timestamp", required=True),
                Column("received_at", "timestamp"),
                Column("course_id"),
                Column("module_id"),
                Column("item_id"),
                Column("skill_id"),
                Column("session_id"),
                Column("attempt_number", "integer"),
                Column("is_correct", "boolean"),
                Column("score", "number"),
                Column("score_max", "number"),
                Column("response_seconds", "number"),
                Column("hint_level", "integer"),
                Column("hint_level_max", "integer"),
                Column("hints_available", "integer"),
                Column("due_at", "timestamp"),
                Column("error_type"),
                Column("self_report", "number"),
                Column("text_flag"),
                Column("actor"),
                Column("event_count", "bigint", default="1"),
                Column("attributes", "json"),
            ),
        ),
    ),
)

# DataShop's export as R writes it. `Time` is the end of a trial; -1 is "no latency".
STATISTICS_CLOZE = Format(
    name="statistics_cloze",
    time_precision="second",
    event_types=("response_submitted", "explanation_viewed", "content_viewed"),
    tables=(
        Table(
            name="trials",
            occurred_at="time",
            columns=(
                Column("learner_id", "learner", in_file="Anon.Student.Id", required=True),
                Column("session_id", in_file="Session.Id"),
                Column("time", "timestamp", in_file="Time", required=True),
                Column("problem_start_time", "timestamp", in_file="Problem.Start.Time"),
                Column("duration_seconds", "number", in_file="Duration..sec."),
                Column("level_unit", in_file="Level..Unit."),
                Column("level_unitname", in_file="Level..Unitname.", required=True),
                Column("problem_name", in_file="Problem.Name", required=True),
                Column("problem_view", "integer", in_file="Problem.View"),
                Column("step_name", in_file="Step.Name"),
                Column("outcome", in_file="Outcome", required=True),
                Column("input", in_file="Input"),
                Column("feedback_text", in_file="Feedback.Text"),
                Column("condition_name", in_file="Condition.Name"),
                Column("condition_name_1", in_file="Condition.Name.1"),
                Column("condition_name_2", in_file="Condition.Name.2"),
                Column("condition_name_3", in_file="Condition.Name.3"),
                Column("kc_default", in_file="KC..Default."),
                Column("kc_cluster", in_file="KC..Cluster.", required=True),
                Column("correct_answer", in_file="CF..Correct.Answer."),
                Column("display_order", "integer", in_file="CF..Display.Order."),
                Column("start_latency_ms", "bigint", "CF..Start.Latency.", unknown=("-1",)),
                Column("end_latency_ms", "bigint", "CF..End.Latency.", unknown=("-1",)),
                # an instant (milliseconds since 1970), not a length of time
                Column("response_time_ms", "bigint", in_file="CF..Response.Time."),
                Column("review_latency_ms", "bigint", in_file="CF..Review.Latency."),
                Column("set_shuffled_index", "integer", in_file="CF..Set.Shuffled.Index."),
                Column("stim_file_index", "integer", in_file="CF..Stim.File.Index."),
                Column("stimulus_version", "integer", in_file="CF..Stimulus.Version."),
                Column("note", in_file="CF..Note."),
            ),
        ),
    ),
)

_MODULE = Column("code_module", required=True)
_PRESENTATION = Column("code_presentation", required=True, pattern="[0-9]{4}[BJ]", example="2013J")
_STUDENT = Column("learner_id", "learner", in_file="id_student", required=True)


def _number(name: str, required: bool = False) -> Column:
    return Column(name, "number", required=required, unknown=("?",))


def _day(name: str, required: bool = False) -> Column:
    return Column(
        name,
        "integer",
        required=required,
        unknown=("?",),
        pattern="-?[0-9]{1,4}([.]0)?",
        example="-10",
    )


# Days count from the start of the presentation: 1 February (B) or 1 October (J) of its year.
# Only clicks say up to when the data reach: a submission's day may lie far outside the course.
OULAD = Format(
    name="oulad",
    time_precision="day",
    event_types=(
        "content_viewed",
        "assignment_due",
        "assignment_submitted",
        "assessment_scored",
        "learner_enrolled",
        "learner_withdrew",
    ),
    never_read=("studentInfo",),  # demographics and final results never enter
    tables=(
        Table(
            name="clicks",
            file_stem="studentVle",
            occurred_on=(
                "make_date(cast(left(code_presentation, 4) as bigint),"
                " case right(code_presentation, 1) when 'B' then 2 else 10 end, 1) + date"
            ),
            columns=(
                _MODULE,
                _PRESENTATION,
                _STUDENT,
                Column("id_site", required=True),
                _day("date", required=True),
                Column("sum_click", "integer", required=True),
            ),
        ),
        Table(
            name="submissions",
            file_stem="studentAssessment",
            columns=(
                Column("id_assessment", required=True),
                _STUDENT,
                _day("date_submitted"),
                Column("is_banked", "boolean", unknown=("?",)),
                _number("score"),
            ),
        ),
        Table(
            name="registrations",
            file_stem="studentRegistration",
            columns=(
                _MODULE,
                _PRESENTATION,
                _STUDENT,
                _day("date_registration"),
                _day("date_unregistration"),
            ),
        ),
        Table(
            name="assessments",
            file_stem="assessments",
            columns=(
                _MODULE,
                _PRESENTATION,
                Column("id_assessment", required=True),
                Column("assessment_type", unknown=("?",)),
                _day("date"),
                _number("weight"),
            ),
        ),
        Table(
            name="courses",
            file_stem="courses",
            columns=(
                _MODULE,
                _PRESENTATION,
                Column("module_presentation_length", "integer", required=True),
            ),
        ),
        Table(
            name="resources",
            file_stem="vle",
            columns=(
                Column("id_site", required=True),
                _MODULE,
                _PRESENTATION,
                Column("activity_type", unknown=("?",)),
                _day("week_from"),
                _day("week_to"),
            ),
        ),
    ),
)

FORMATS: dict[str, Format] = {f.name: f for f in (CANONICAL, STATISTICS_CLOZE, OULAD)}
