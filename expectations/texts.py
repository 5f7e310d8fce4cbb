"""Every sentence that is about to be published, and what must not be in it.

Personal data and wording. What is found is named by kind and place; the sentence itself is not
repeated, because the gate's own results are published too.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

from tutorflow.privacy.pseudonyms import source_users
from tutorflow.publish import Candidates
from tutorflow.publish.contract import contract
from tutorflow.settings import Settings

# Shorter ids, and short plain numbers, are words and counts that stand in a sentence by chance.
MIN_ID_LENGTH = 4
MIN_NUMBER_LENGTH = 5
MAX_LEARNERS = 5_000

FAULTS = ("email", "phone_number", "link", "source_user_id", "harsh_word")

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")
_LINK = re.compile(r"\b(?:https?|ftp)://\S+|\bwww\.\S+|\bmailto:\S+", re.IGNORECASE)
_DIGIT_RUN = re.compile(r"(?<![\w.])\+?\(?\d[\d ()/.-]{5,}\d(?![\w])")
_DATE_OR_TIME = re.compile(
    r"\d{4}-\d\d-\d\d|\d{1,2}\.\d{1,2}\.\d{4}|\d{1,2}/\d{1,2}/\d{4}|\d\d?:\d\d"
)


def texts(settings: Settings, candidates: Candidates) -> pd.DataFrame:
    """One row per sentence with a fault: where it stands, and which faults are in it.

    Columns: table, column, row_id, and email, phone_number, link, source_user_id, harsh_word, each
    null where the sentence is free of it. `attrs["checked"]` is how many sentences were read.
    """
    found = _sentences(candidates)
    known = _known_ids(candidates)
    judged = found.assign(
        email=_each(found, lambda text: _named("an e-mail address", _EMAIL.search(text))),
        phone_number=_each(found, lambda text: _beside_ids(text, known, _phone_number)),
        link=_each(
            found,
            lambda text: _beside_ids(text, known, lambda t: _named("a link", _LINK.search(t))),
        ),
        harsh_word=_each(found, lambda text: _beside_ids(text, known, harsh_word)),
        source_user_id=_source_user_ids(settings, found),
    ).drop(columns=["text", "learner_id"])
    faulty = judged[judged[list(FAULTS)].notna().any(axis=1)].copy()
    faulty.attrs["checked"] = len(found)
    return faulty


def joined(columns: pd.DataFrame) -> "pd.Series[str]":
    """The columns as one text per row, a blank between them."""
    first, *rest = columns.columns
    others = columns[rest].astype("str")
    return columns[first].astype("str").str.cat(others, sep=" ", na_rep="?")


def harsh_word(text: str) -> str | None:
    """The first word of wording.yml in the text, as it stands there; None when there is none."""
    match = _harsh_words().search(text)
    return match[0] if match else None


@cache
def _harsh_words() -> re.Pattern[str]:
    words = yaml.safe_load(Path(__file__).with_name("wording.yml").read_text(encoding="utf-8"))
    patterns = (re.escape(w).replace(r"\*", r"\w*").replace(r"\ ", r"\s+") for w in words)
    return re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.IGNORECASE)


def _sentences(candidates: Candidates) -> pd.DataFrame:
    alerts = candidates.rows("alerts")
    learner_of = dict(zip(alerts["alert_id"], alerts["learner_id"], strict=True))
    signals = candidates.rows("signals")
    learner_of |= dict(zip(signals["signal_id"], signals["learner_id"], strict=True))
    parts = []
    for name, spec in contract().items():
        rows = candidates.rows(name)
        if rows.empty or not spec.prose_columns:
            continue
        row_ids = joined(rows[list(spec.key)])
        learners = _learners_of(rows, learner_of)
        parts += [
            pd.DataFrame(
                {
                    "table": name,
                    "column": column,
                    "row_id": row_ids,
                    "learner_id": learners,
                    "text": rows[column],
                }
            )
            for column in spec.prose_columns
        ]
    if not parts:
        return pd.DataFrame(
            columns=["table", "column", "row_id", "learner_id", "text"], dtype="str"
        )
    return pd.concat(parts, ignore_index=True).dropna(subset="text")


def _learners_of(rows: pd.DataFrame, learner_of: dict[str, str]) -> "pd.Series[str]":
    """Whom each row is about; null where it is about nobody, as a finding on an item."""
    if "learner_id" in rows.columns:
        return rows["learner_id"]
    if "alert_id" in rows.columns:
        return rows["alert_id"].map(learner_of)
    return pd.Series(None, index=rows.index, dtype="str")


def _known_ids(candidates: Candidates) -> set[str]:
    """Ids of skills, items and courses: a sentence may name them, whatever they look like."""
    known = set(candidates.rows("signals")["subject_id"].dropna())
    known |= set(candidates.rows("alert_evidence")["subject_id"].dropna())
    known |= set(candidates.rows("alerts")["course_id"].dropna())
    return {one for one in known if len(one) >= MIN_ID_LENGTH}


def _each(found: pd.DataFrame, fault: Callable[[str], str | None]) -> "pd.Series[str]":
    """The fault of every sentence; equal sentences are looked at once."""
    faults = {text: fault(text) for text in found["text"].unique()}
    return pd.Series([faults[text] for text in found["text"]], index=found.index, dtype="str")


def _beside_ids(text: str, known: set[str], fault: Callable[[str], str | None]) -> str | None:
    """The fault in the text once the ids that it may name are out of it."""
    if fault(text) is None:
        return None
    for one in sorted((one for one in known if one in text), key=len, reverse=True):
        text = text.replace(one, " ")
    return fault(text)


def _named(kind: str, match: re.Match[str] | None) -> str | None:
    return kind if match else None


def _phone_number(text: str) -> str | None:
    """Eight digits or more once dates and times are out; fewer are counts."""
    runs = _DIGIT_RUN.findall(_DATE_OR_TIME.sub("; ", text))
    found = any(sum(character.isdigit() for character in run) >= 8 for run in runs)
    return "a phone number" if found else None


def _source_user_ids(settings: Settings, found: pd.DataFrame) -> "pd.Series[str]":
    """A sentence about a learner must not hold the id under which a source knows that learner."""
    learners = sorted(found["learner_id"].dropna().unique())[:MAX_LEARNERS]
    ids = {
        learner: pattern
        for learner, users in source_users(settings.identity_path, learners).items()
        if (pattern := _any_of(user for _, user in users)) is not None
    }
    return pd.Series(
        [
            "the id of a source" if learner in ids and ids[learner].search(text) else None
            for learner, text in zip(found["learner_id"], found["text"], strict=True)
        ],
        index=found.index,
        dtype="str",
    )


def _any_of(user_ids: Iterable[str]) -> re.Pattern[str] | None:
    telling = [
        re.escape(user)
        for user in user_ids
        if len(user) >= (MIN_NUMBER_LENGTH if user.isdigit() else MIN_ID_LENGTH)
    ]
    return re.compile(rf"(?<!\w)(?:{'|'.join(telling)})(?!\w)", re.IGNORECASE) if telling else None
