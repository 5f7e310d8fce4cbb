"""One seed: what was published of it, and the truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from tests.bench.planted.coaches import NEEDLESS, RULE
from tests.bench.planted.world import NUDGE, Played, configuration, play, play_again
from tutorflow.measure.cases import alert_cases
from tutorflow.measure.effects import first_cases
from tutorflow.measure.outcomes import label_spans, span_frame
from tutorflow.measure.tuning import proposals
from tutorflow.policy import load_policy
from tutorflow.privacy.pseudonyms import source_users
from tutorflow.publish import read_table
from tutorflow.settings import Settings
from tutorflow.warehouse import open_warehouse

SUBJECT = "tier 2 alerts"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Found:
    """What was published of one seed, and the truth. Shares and effects in 0-1; None: too few.

    `gain` is the mean gain of those told, `gain_held_out` of the others; `luck`: by how much those
    told would have done better than the others without help. `needless`: calls because of the
    harmful rule alone, `harm`: by how much they moved motivation (hidden, about one unit per
    standard deviation between learners). `rank`: place of that rule among the proposals.
    """

    seed: int
    told: int
    held_out: int
    gain: float
    gain_held_out: float
    luck: float
    needless: int
    harm: float | None
    effect: float | None
    std_error: float | None
    low: float | None
    high: float | None
    verdict: str
    nudge_verdict: str
    nudge_effect: float | None
    nudge_p: float | None
    nudges_judged: int
    nudges_said_to_help: int
    precision: float | None
    judged: int
    rank: int | None
    proposed: tuple[str, ...]
    seconds: float

    @property
    def truth(self) -> float:
        """What being told, rather than held out, changed."""
        return self.gain - self.gain_held_out

    @property
    def is_covered(self) -> bool | None:
        """Whether the published interval holds the truth."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.truth <= self.high


def find(
    folder: Path,
    learners: int,
    weeks: int,
    seed: int,
    say: Callable[[str], object] = lambda _: None,
) -> Found:
    """Play a seed twice below `folder` and compare what was published with the truth."""
    started = time.perf_counter()
    config = configuration(learners, weeks, seed)
    played = play(folder / "played", config, lambda day: say(f"{day:%d %b}"))
    cases = with_gains(played, folder / "again")
    say("without help")
    changes = tuple(proposal.rule for proposal in proposals(played.settings))
    say("tune")
    return Found(
        seed=seed,
        **of_cases(cases),
        **of_effects(read_table(played.settings, "intervention_effects")),
        **of_the_rule(read_table(played.settings, "rule_quality"), changes),
        **of_needless_calls(played),
        seconds=time.perf_counter() - started,
    )


def with_gains(played: Played, again: Path) -> pd.DataFrame:
    """The cases of the comparison, each learner's first, with `without` and `gain`.

    without: the outcome in the same seed without help from the case on. gain: 1, 0 or -1, the
    outcome as published less that.
    """
    exposures = read_table(played.settings, "exposures")
    cases = alert_cases(exposures, read_table(played.settings, "alert_outcomes"))
    cases = cases[(cases["comparison"] == "held_out") & (cases["subject"] == SUBJECT)]
    cases = first_cases(cases).reset_index(drop=True)
    users = source_users(played.settings.identity_path, cases["learner_id"])
    until = {
        users[learner][0][1]: _aware(at)
        for learner, at in zip(cases["learner_id"], cases["assigned_at"], strict=True)
    }
    without = resumed(play_again(again, played, until), cases)
    return cases.assign(without=without, gain=cases["outcome"] - without)


def resumed(settings: Settings, cases: pd.DataFrame) -> pd.Series:
    """1.0 where a learner resumed in the window of the case, by the marts and signals of a home."""
    policy = load_policy(settings.policy_path).outcomes
    window = timedelta(hours=policy.windows_hours[-1])
    spans = span_frame(
        cases.assign(
            span_id=cases.index.astype("str"),
            alert_tier=2,
            starts_at=cases["assigned_at"],
            ends_at=cases["assigned_at"] + window,
        )
    )
    with open_warehouse(settings) as warehouse:
        labels = label_spans(warehouse, spans, read_table(settings, "signals"), policy)
    by_span = labels.set_index("span_id")["label"]
    found: pd.Series = (by_span.loc[spans["span_id"]] == "resumed").astype("float64")
    return found.set_axis(cases.index)


def _aware(at: pd.Timestamp) -> datetime:
    """A published time as an aware one."""
    moment: datetime = at.to_pydatetime()
    return moment.replace(tzinfo=UTC)


def of_cases(cases: pd.DataFrame) -> dict[str, Any]:
    """The truth: how many were told and held out, and what they gained."""
    told, held_out = cases[cases["is_treated"]], cases[~cases["is_treated"]]
    return {
        "told": len(told),
        "held_out": len(held_out),
        "gain": float(told["gain"].mean()),
        "gain_held_out": float(held_out["gain"].mean()),
        "luck": float(told["without"].mean() - held_out["without"].mean()),
    }


def of_effects(published: pd.DataFrame) -> dict[str, Any]:
    """What `intervention_effects` says of alerts of tier 2, of the useless nudge and of nudges."""
    whole = published[published["segment_kind"] == "all"].set_index(["comparison", "subject"])
    alerts = _row(whole, ("held_out", SUBJECT))
    nudge = _row(whole, ("nudge", NUDGE))
    nudges = published[(published["comparison"] == "nudge") & published["effect"].notna()]
    return {
        **{name: alerts.get(name) for name in ("effect", "std_error", "low", "high")},
        "verdict": alerts.get("verdict", "no row"),
        "nudge_verdict": nudge.get("verdict", "no row"),
        "nudge_effect": nudge.get("effect"),
        "nudge_p": nudge.get("always_valid_p"),
        "nudges_judged": len(nudges),
        "nudges_said_to_help": int((nudges["verdict"] == "helps").sum()),
    }


def of_the_rule(quality: pd.DataFrame, proposed: tuple[str, ...]) -> dict[str, Any]:
    """What `rule_quality` says of the harmful rule, and where the proposals name it."""
    row = _row(quality.set_index("rule_id"), RULE)
    return {
        "precision": row.get("verdict_precision"),
        "judged": int(row.get("verdict_count") or 0),
        "rank": proposed.index(RULE) + 1 if RULE in proposed else None,
        "proposed": proposed,
    }


def of_needless_calls(played: Played) -> dict[str, Any]:
    """The planted harm: motivation at the end of the day of a needless call less the day before."""
    states = played.programme.truth().tables["states"].to_pandas()
    motivation = states.set_index(["user_id", "date"])["motivation"]
    moved = [
        float(motivation[call.user, call.at.date()])
        - float(motivation[call.user, call.at.date() - DAY])
        for call in played.contacts
        if call.kind == NEEDLESS
    ]
    return {"needless": len(moved), "harm": sum(moved) / len(moved) if moved else None}


def _row(frame: pd.DataFrame, key: Any) -> dict[str, Any]:
    """The row of a key as a dictionary, null as None; empty where there is none."""
    if key not in frame.index:
        return {}
    return {name: None if pd.isna(value) else value for name, value in frame.loc[key].items()}
