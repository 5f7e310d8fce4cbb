"""A simulated programme in which three truths are planted, and its coaches.

* **Coaching helps.** What a coach does about an alert is one kind of help, "coaching" (`EFFECTS`):
  about three check-ins and four worked examples of the shipped sizes in one. The shipped sizes are
  those of published trials, which hundreds of learners cannot show.
* **A nudge does nothing.** `NUDGE` answers the state on_track; simulated learners never see what
  tutorflow's nudges say. The same holds of every nudge of the library.
* **A rule does harm.** `RULE`, a shipped rule with other numbers, asks for a person after a single
  miss that follows twelve right answers on a skill: the sign of a learner who does well. A coach
  who calls because of it, when no other rule asks for a person, lowers the learner's motivation
  (`NEEDLESS`).

Of the tier-2 alerts that could be delivered half are held out by lot, not a tenth, so that a few
hundred learners say something; tier 1 is not drawn for. Every day is a tick of its own. On two days
of the week (`COACHING_DAYS`) coaches answer whatever is new in their queue, at nine in the morning:
nobody's help depends on anybody else's. They see by talking whether their learner needs help (the
hidden truth) and get that wrong one time in ten (`WRONG_VERDICTS`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from flows.history import run_backfill
from tests.bench.planted.coaches import COACHING, NEEDLESS, RULE, Coaches, Contact
from tutorflow.errors import TutorflowError
from tutorflow.policy.model import default_policy_path
from tutorflow.policy.nudges import default_nudges_path
from tutorflow.settings import CONFIG_NAME, Settings, load_settings
from tutorflow.simulate import Programme, SimulationConfig
from tutorflow.simulate.delivery import write_events
from tutorflow.simulate.interventions import DEFAULT_EFFECTS, Effect
from tutorflow.simulate.roster import write_roster

NUDGE = "planted_nothing"
COACHING_DAYS = (0, 3)  # Monday and Thursday; the days between are decided, but nobody reads
HOLD_OUT = {"share": 0.5, "tiers": [2]}
EFFECTS = {
    **DEFAULT_EFFECTS,
    COACHING: Effect(
        motivation=2.4,
        belief=0.6,
        skill=2.0,
        prerequisite=3.6,
        drift_relief=1.0,
        returns=0.6,
        minutes=15,
    ),
    NEEDLESS: Effect(motivation=-2.0, minutes=15),
}
HARMFUL_RULE = {
    "code": "A1d",
    "version": 1,
    "layer": "confidence",
    "title": "One miss after a run of right answers",
    "levels": [
        {
            "alert_tier": 2,
            "when": {"wrong": 1, "of_last": 1, "after_correct": 12},
            "sentence": "{observed:.0f} wrong in the {window} on {subject}, after a good run",
        }
    ],
    "objective": "Look at the one miss on {subject}",
    "action": "look at the last item of {subject} together",
    "minutes": 5,
}
USELESS_NUDGE = {
    "when": {"states": ["on_track"]},
    "purpose": "Do nothing at all, to see that nothing is found",
    "owner": "ai_tutor",
    "channel": "in_app",
    "expires_hours": 24,
    "holdout_share": 0.5,
    "measure": {"result": "returned", "within_hours": 48},
    "variants": {
        "plain": {
            "minutes": 1,
            "text": {"en": "Your topic is open."},
            "step": {"en": "Do one task."},
        }
    },
}
CONFIGURATION = """\
timezone: UTC
roster_path: roster
policy_path: policy.yml
nudges_path: nudges.yml
sources:
  - name: simulated_tutor
    path: events/*.parquet
    format: canonical
    namespace: programme
    complete_until: manifest
"""


@dataclass
class Played:
    """A programme that was played to its end, and the help that was given in it."""

    settings: Settings
    programme: Programme
    contacts: list[Contact] = field(default_factory=list)


def configuration(learners: int, weeks: int, seed: int) -> SimulationConfig:
    """The programme of a seed. No event is late: both plays of it know the same at every tick."""
    return SimulationConfig(
        learners=learners, weeks=weeks, seed=seed, late_share=0, effects=EFFECTS
    )


def play(
    home: Path, config: SimulationConfig, told: Callable[[datetime], object] = lambda day: None
) -> Played:
    """Day by day: its events arrive, its tick is decided, on coaching days coaches answer.

    `told` hears of each run. Raises TutorflowError when the gate holds one back.
    """
    played = Played(_furnish(home, config), Programme(config))
    write_roster(played.programme, home / "roster")
    coaches = Coaches(played.settings, played.programme, played.contacts)
    for end in days(config):
        deliver(played.programme, home, end)
        if end.weekday() in COACHING_DAYS or end == config.ends_at:
            decide(played.settings, end)
            told(end)
        if end.weekday() in COACHING_DAYS and end < config.ends_at:
            coaches.act(end)
    return played


def play_again(home: Path, played: Played, until: dict[str, datetime]) -> Settings:
    """The same seed, with the same help up to an instant of each user (`until`), and none after.

    The key, and with it every lot, is the same. It is decided in one pass.
    """
    config = played.programme.config
    settings = _furnish(home, config)
    programme = Programme(config)
    write_roster(programme, home / "roster")
    for contact in played.contacts:
        if contact.user not in until or contact.at < until[contact.user]:
            programme.intervene(contact.user, contact.kind, contact.at)
    deliver(programme, home, config.ends_at)
    decide(settings, config.ends_at)
    return settings


def days(config: SimulationConfig) -> Iterable[datetime]:
    """The ends of the programme's days."""
    return [config.starts_at + timedelta(days=n + 1) for n in range(7 * config.weeks)]


def deliver(programme: Programme, home: Path, until: datetime) -> None:
    """Put the events up to `until` where the source looks for them, as one file."""
    (home / "events").mkdir(exist_ok=True)
    start = programme.advanced_to
    write_events(home / "events", programme.advance(until), start, until)


def decide(settings: Settings, until: datetime) -> None:
    """Pull, build, decide and publish the days up to `until`."""
    report = run_backfill(settings, None, None, "day", until)
    if report.state != "published":
        raise TutorflowError(f"{until:%Y-%m-%d}: {report.state}. {report.message}")


def _furnish(home: Path, config: SimulationConfig) -> Settings:
    """A home with the planted policy and nudges, and a key that depends on the seed alone."""
    home.mkdir(parents=True)
    (home / CONFIG_NAME).write_text(CONFIGURATION, encoding="utf-8")
    policy = _shipped(default_policy_path())
    policy["hold_out"] |= HOLD_OUT
    policy["rules"][RULE] = HARMFUL_RULE
    _save(home / "policy.yml", policy)
    nudges = _shipped(default_nudges_path())
    nudges["nudges"][NUDGE] = USELESS_NUDGE
    _save(home / "nudges.yml", nudges)
    settings = load_settings(home)
    settings.key_path.write_text(f"the key of the planted programme {config.seed}")
    settings.key_path.chmod(0o600)
    return settings


def _shipped(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def _save(path: Path, content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
