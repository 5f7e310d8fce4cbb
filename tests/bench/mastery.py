"""Mastery for every first attempt: the SQL of the marts against loops in Python.

All do the same work: Bayesian Knowledge Tracing with forgetting and a cap, with the parameters of
the seed `measurement_constants` (an answer by Bayes' rule, then learning and forgetting, then the
cap), and what the dbt model counts beside it: runs of answers and the last few. One loop is
`groupby().apply()`, as it is usually written; the other keeps pandas out of the groups.
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

select
    skills.learner_id, skills.course_id, skills.skill_id, skills.is_correct, skills.is_primary,
    responses.is_unaided, skills.p_mastery_before, skills.p_mastery_after,
    responses.p_mastery_max, responses.consecutive_wrong, responses.consecutive_correct,
    responses.consecutive_unaided_correct, responses.longest_correct_run,
    responses.misses_of_last_10, responses.first_tries_of_last_10,
    responses.unaided_correct_of_last_3
from marts.response_skills as skills
inner join marts.responses as responses using (event_id)
where skills.learner_id in (select learner_id from numbered where answers_so_far <= ?)
order by skills.learner_id, skills.course_id, skills.skill_id, skills.opportunity
"""

_OF_SKILL = ["p_mastery_before", "p_mastery_after"]
_RUNNING = [  # kept for the main skill of an item
    "p_mastery_max",
    "consecutive_wrong",
    "consecutive_correct",
    "consecutive_unaided_correct",
    "longest_correct_run",
    "misses_of_last_10",
    "first_tries_of_last_10",
    "unaided_correct_of_last_3",
]


@dataclass(frozen=True)
class Compared:
    """Loops over a sample of whole learners against the marts.

    `answers`: first attempts in the marts; `sampled`: of them, in the sample; `apply_seconds` and
    `lists_seconds`: of the loops over the sample; `largest_difference`: of any value.
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
    seconds, differences = [], []
    for loop in (by_apply, by_lists):
        started = time.perf_counter()
        traced = loop(rows, of_skill)
        seconds.append(time.perf_counter() - started)
        different = (traced - rows[[*_OF_SKILL, *_RUNNING]]).abs()
        of_main = different.loc[rows["is_primary"], _RUNNING]
        differences += [different[_OF_SKILL].to_numpy().max(), of_main.to_numpy().max()]
    sequences = int(rows.groupby(_SEQUENCE, sort=False).ngroups)
    return Compared(answers, len(rows), sequences, *seconds, float(max(differences)))


def by_apply(rows: pd.DataFrame, of_skill: dict[str, dict[str, float]]) -> pd.DataFrame:
    """What is traced of each row; rows in order within learner, course and skill."""

    def trace_group(answers: pd.DataFrame) -> pd.DataFrame:
        skill = str(answers["skill_id"].iloc[0])
        own = of_skill.get(skill, of_skill["*"])
        traced = trace(answers["is_correct"].tolist(), answers["is_unaided"].tolist(), own)
        return pd.DataFrame(traced, index=answers.index)

    groups = rows.groupby(_SEQUENCE, sort=False, group_keys=False)
    traced: pd.DataFrame = groups[["skill_id", "is_correct", "is_unaided"]].apply(trace_group)
    return traced


def by_lists(rows: pd.DataFrame, of_skill: dict[str, dict[str, float]]) -> pd.DataFrame:
    """The same, from lists to lists."""
    columns: dict[str, list[float]] = {name: [] for name in [*_OF_SKILL, *_RUNNING]}
    is_correct, is_unaided = rows["is_correct"].tolist(), rows["is_unaided"].tolist()
    for (_, _, skill), places in rows.groupby(_SEQUENCE, sort=False).indices.items():
        begin, end = int(places[0]), int(places[-1]) + 1
        own = of_skill.get(str(skill), of_skill["*"])
        for name, values in trace(is_correct[begin:end], is_unaided[begin:end], own).items():
            columns[name] += values
    return pd.DataFrame(columns, index=rows.index)


def trace(
    answers: list[bool], unaided: list[bool], own: dict[str, float]
) -> dict[str, list[float]]:
    """The answers of one learner at one skill: a list per column, one value for each answer."""
    guess, slip, learn, forget = own["guess"], own["slip"], own["learn"], own["forget"]
    traced: dict[str, list[float]] = {name: [] for name in [*_OF_SKILL, *_RUNNING]}
    p, highest = own["prior"], 0.0
    wrong = correct = alone = longest = 0
    for index, is_correct in enumerate(answers):
        traced["p_mastery_before"].append(p)
        if is_correct:
            seen = p * (1 - slip) / (p * (1 - slip) + (1 - p) * guess)
        else:
            seen = p * slip / (p * slip + (1 - p) * (1 - guess))
        p = seen * (1 - forget) + (1 - seen) * learn
        p = min(max(p, 1 - own["cap"]), own["cap"])
        highest = max(highest, p)
        wrong, correct = (0, correct + 1) if is_correct else (wrong + 1, 0)
        alone = alone + 1 if is_correct and unaided[index] else 0
        longest = max(longest, correct)
        last_10 = answers[max(0, index - 9) : index + 1]
        last_3 = range(max(0, index - 2), index + 1)
        traced["p_mastery_after"].append(p)
        traced["p_mastery_max"].append(highest)
        traced["consecutive_wrong"].append(wrong)
        traced["consecutive_correct"].append(correct)
        traced["consecutive_unaided_correct"].append(alone)
        traced["longest_correct_run"].append(longest)
        traced["misses_of_last_10"].append(last_10.count(False))
        traced["first_tries_of_last_10"].append(len(last_10))
        traced["unaided_correct_of_last_3"].append(sum(answers[i] and unaided[i] for i in last_3))
    return traced


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
