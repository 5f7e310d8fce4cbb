"""Mastery for every first attempt: the SQL of the marts against loops in Python.

All compute Bayesian Knowledge Tracing with forgetting and a cap, with the parameters of the seed
`measurement_constants` (an answer by Bayes' rule, then learning and forgetting, then the cap). The
loops compute mastery alone; the dbt model also counts runs of answers and writes its table. One
loop is `groupby().apply()`, as it is usually written; the other keeps pandas out of the groups.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import duckdb
import pandas as pd

from tests.bench.homes import History
from tutorflow.warehouse import open_warehouse

# The dbt model that folds the answers of every learner and skill.
MODEL = "int_opportunities_assessed"

_PARAMETERS = ("prior", "learn", "guess", "slip", "forget", "cap")
_SEQUENCE = ["learner_id", "course_id", "skill_id"]

_SAMPLE = """
with

numbered as (
    select
        learner_id,
        sum(count(*)) over (order by hash(learner_id), learner_id) as answers_so_far
    from marts.response_skills
    group by learner_id
)

select learner_id, course_id, skill_id, is_correct, p_mastery_before, p_mastery_after
from marts.response_skills
where learner_id in (select learner_id from numbered where answers_so_far <= ?)
order by learner_id, course_id, skill_id, opportunity
"""


@dataclass(frozen=True)
class Compared:
    """Loops over a sample of whole learners against the marts.

    `answers`: first attempts in the marts; `sampled`: of them, in the sample; `apply_seconds` and
    `lists_seconds`: of the loops over the sample; `largest_difference`: of any probability.
    """

    answers: int
    sampled: int
    sequences: int
    apply_seconds: float
    lists_seconds: float
    largest_difference: float


def compare(history: History, sample: int) -> Compared:
    """Trace about `sample` answers in pandas and hold them against the marts."""
    with open_warehouse(history.settings, read_only=True) as warehouse:
        query = "select count(*) from marts.response_skills"
        answers = int(warehouse.execute(query).fetchall()[0][0])
        of_skill = _parameters(warehouse)
        rows = warehouse.execute(_SAMPLE, [sample]).to_arrow_table().to_pandas()
    marts = rows[["p_mastery_before", "p_mastery_after"]]
    seconds, differences = [], []
    for loop in (by_apply, by_lists):
        started = time.perf_counter()
        traced = loop(rows, of_skill)
        seconds.append(time.perf_counter() - started)
        differences.append(float((traced - marts).abs().to_numpy().max()))
    sequences = int(rows.groupby(_SEQUENCE, sort=False).ngroups)
    return Compared(answers, len(rows), sequences, *seconds, max(differences))


def by_apply(rows: pd.DataFrame, of_skill: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Probabilities before and after each row; rows in order within learner, course and skill."""

    def trace_group(answers: pd.DataFrame) -> pd.DataFrame:
        skill = str(answers["skill_id"].iloc[0])
        before, after = trace(answers["is_correct"].tolist(), of_skill.get(skill, of_skill["*"]))
        columns = {"p_mastery_before": before, "p_mastery_after": after}
        return pd.DataFrame(columns, index=answers.index)

    groups = rows.groupby(_SEQUENCE, sort=False, group_keys=False)
    traced: pd.DataFrame = groups[["skill_id", "is_correct"]].apply(trace_group)
    return traced


def by_lists(rows: pd.DataFrame, of_skill: dict[str, dict[str, float]]) -> pd.DataFrame:
    """The same, from lists to lists."""
    before: list[float] = []
    after: list[float] = []
    for (_, _, skill), answers in rows.groupby(_SEQUENCE, sort=False)["is_correct"]:
        traced = trace(answers.tolist(), of_skill.get(str(skill), of_skill["*"]))
        before += traced[0]
        after += traced[1]
    return pd.DataFrame({"p_mastery_before": before, "p_mastery_after": after}, index=rows.index)


def trace(answers: list[bool], own: dict[str, float]) -> tuple[list[float], list[float]]:
    """Probabilities before and after each answer of one learner at one skill."""
    before: list[float] = []
    after: list[float] = []
    guess, slip, learn, forget = own["guess"], own["slip"], own["learn"], own["forget"]
    p = own["prior"]
    for is_correct in answers:
        before.append(p)
        if is_correct:
            seen = p * (1 - slip) / (p * (1 - slip) + (1 - p) * guess)
        else:
            seen = p * slip / (p * slip + (1 - p) * (1 - guess))
        p = seen * (1 - forget) + (1 - seen) * learn
        p = min(max(p, 1 - own["cap"]), own["cap"])
        after.append(p)
    return before, after


def _parameters(warehouse: duckdb.DuckDBPyConnection) -> dict[str, dict[str, float]]:
    """The parameters of each skill that has its own, and of all others under `*`."""
    rows = warehouse.execute(
        "select skill_id, constant[5:], value from seeds.measurement_constants"
        " where starts_with(constant, 'bkt_')"
    ).fetchall()
    default = {name: float(value) for skill, name, value in rows if skill == "*"}
    assert set(default) == set(_PARAMETERS)
    found = {"*": default}
    for skill, name, value in rows:
        found.setdefault(skill, dict(default))[name] = float(value)
    return found
