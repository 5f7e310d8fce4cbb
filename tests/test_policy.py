"""The policy file: what is shipped loads, and whatever is wrong is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutorflow.decide.rule import RULES
from tutorflow.errors import ConfigurationError
from tutorflow.policy import load_policy
from tutorflow.policy.model import default_policy_path

SHIPPED = default_policy_path().read_text()


def changed(folder: Path, old: str, new: str) -> tuple[Path, int]:
    """The shipped policy with one passage replaced, and the line on which that passage starts."""
    assert SHIPPED.count(old) >= 1, f"the shipped policy does not say {old!r}"
    file = folder / "policy.yml"
    file.write_text(SHIPPED.replace(old, new, 1))
    return file, SHIPPED[: SHIPPED.index(old)].count("\n") + 1


def faults(file: Path) -> str:
    with pytest.raises(ConfigurationError) as error:
        load_policy(file)
    return str(error.value)


def test_the_shipped_policy_loads_with_every_rule_enabled() -> None:
    policy = load_policy()
    assert set(policy.enabled_rules()) == set(RULES)
    assert policy.capacity.alerts_per_coach_day == 8


def test_the_fingerprint_changes_with_the_content(tmp_path: Path) -> None:
    file, _ = changed(tmp_path, "alerts_per_coach_day: 8", "alerts_per_coach_day: 9")
    shipped, other = load_policy(), load_policy(file)
    assert shipped.fingerprint.startswith(shipped.version + "+")
    assert shipped.fingerprint == load_policy().fingerprint != other.fingerprint


WRONG = [
    # a passage of the shipped policy, what somebody writes instead, what they are told
    ("reopen_grace_hours: 48", "reopen_grace_ours: 48", "did you mean 'reopen_grace_hours'"),
    ("  repeated_misses:", "  repeated_mises:", "did you mean 'repeated_misses'"),
    ("  repeated_misses:", "  astrology:", "no rule is called 'astrology'"),
    ("when: {misses: 3}", "when: {mises: 3}", "did you mean 'misses'"),
    ("when: {misses: 3}", "when: {misses: many}", "valid integer"),
    ("when: {misses: 3}", "when: {misses: 11}", "less than or equal to 10"),
    ("when: {misses: 3}", "when: {misses: 3, in_a_row: 4}", "give one of misses, in_a_row"),
    ("when: {misses: 3}", "when: {}", "give one of misses, in_a_row"),
    ("when: {days: 14, below_cohort", "when: {days: 29, below_cohort", "less than or equal to 28"),
    ("when: {times: 2, days: 7}", "when: {times: 2, days: 15}", "less than or equal to 14"),
    ("when: {points: 20}", "when: {points: 200}", "less than or equal to 100"),
    ("code: A1\n", "code: A1\n    colour: red\n", "unknown key; did"),
    ("layer: content\n    title: Repeated", "layer: contents\n    title: Repeated", "'content'"),
    ("alert_tier: 1\n        when: {misses", "alert_tier: 5\n        when: {misses", "equal to 4"),
    ("minutes: 5\n\n  wheel", "minutes: 500\n\n  wheel", "less than or equal to 60"),
    ("{observed:.0f} wrong in a row on", "{seen:.0f} wrong in a row on", "placeholder {seen}"),
    ("{observed:.0f} wrong in a row on", "{observed:.0f wrong in a row on", "unbalanced braces"),
    ("{observed:.0f} wrong in a row on", "{observed:.0q} wrong in a row on", "cannot be filled"),
    ("{observed:.0f} wrong in a row on", "{} wrong in a row on", "unknown placeholder {}"),
    ("{value:.0%} of the last 20", "{share:.0%} of the last 20", "placeholder {share}"),
    ("Get {subject} moving", "Get {learner} moving", "unknown placeholder {learner}"),
    ("repeated: {sessions: 2, within_days: 28}", "repeated: {within_days: 28}", "give either"),
    (
        "repeated: {sessions: 2, within_days: 28}",
        "repeated: {sessions: 2, times_in_session: 2}",
        "give either",
    ),
    (
        "when: {to_share: 0.6, active_days: 2}\n",
        "when: {to_share: 0.6, active_days: 2}\n        repeated: {sessions: 2}\n",
        "no sessions",
    ),
    (
        "when: {to_share: 0.6, last: 3, before: 10}\n",
        "when: {to_share: 0.6, last: 3, before: 10}\n"
        "        repeated: {sessions: 2, within_days: 28}\n",
        "too far",
    ),
    ("when: {in_a_row: 3}", "when: {}", "give one or more of in_a_row, share_of_last_20"),
    ("recovery: {finished_session: true}", "recovery: {finished_session: false}", "True"),
    ("recovery: {finished_session: true}", "recovery: {}", "exactly one of"),
    (
        "recovery: {finished_session: true}",
        "recovery: {worked_session: true, submitted: true}",
        "exactly one of",
    ),
    ("recovery: {submitted: true}", "recovery: {unaided_correct: 2}", "is about a skill"),
    (
        "recovery: {finished_session: true}",
        "recovery: {items_without_signal: 5}",
        "looks at answers",
    ),
    ("cooldown_hours: {content: 72, ", "cooldown_hours: {", "the layer content is missing"),
    ("cooldown_hours: {content: 72", "cooldown_hours: {content: 7200", "less than or equal to 672"),
    ("routing:\n  - {alert_tier: 1,", "routing:\n  - {alert_tier: 2,", "no route for alert tier 1"),
    ("due: next session or 24 hours", "due: soon", "match"),
    ("channel: call, due: same day", "channel: pigeon, due: same day", "'in_app', 'message'"),
    ("workdays: Mon-Fri", "workdays: Mon-Funday", "use names such as"),
    ('start: "09:00"', 'start: "18:00"', "must end after they start"),
    ("priority: {severity: 0.5", "priority: {severity: 0.6", "add up to 1.1, not 1"),
    ("alerts_per_coach_day: 8", "alerts_per_coach_day: 0", "greater than or equal to 1"),
    ("tier_3: 0.25", "tier_3: 1", "less than 1"),
    ("rearm_after_days: 28", "rearm_after_days: 40", "less than or equal to 28"),
    ("hold_out: {share: 0.1", "hold_out: {share: 0.6", "less than or equal to 0.5"),
    ("hold_out: {share: 0.1, ", "hold_out: {", "is missing"),
    ("tiers: [1, 2], days: 7", "tiers: [2, 3], days: 7", "only tiers 1 and 2 may be held out"),
    ("tiers: [1, 2], days: 7", "tiers: [], days: 7", "at least 1 item"),
    ("tiers: [1, 2], days: 7", "tiers: [1, 2], days: 3", "shorter than the longest outcome window"),
    ("errors: {weight: 35", "errors: {weight: 30", "add up to 95, not 100"),
    ("none: 0.15, full: 0.6", "none: 0.6, full: 0.6", "must differ"),
    ("effective_from: 2000-01-01", "effective_from: soon", "date"),
    ('version: "2026.1"', "version: 2026.1", "valid string"),
    ("mastered_at: 0.95", "mastered_at: 0.95\nfingerprint: mine", "unknown key; known"),
    ("mastered_at: 0.95", "mastered_at: 0.95\nmastered_at: 0.9", "twice"),
]


# What is wrong is not on the first line of the passage but on the next one, or the one before.
ON_ANOTHER_LINE = {
    "unknown key; did": 1,
    "unknown key; known": 1,
    "twice": 1,
    "no sessions": 1,
    "too far": 1,
}
ON_ANOTHER_LINE["add up to 95, not 100"] = -1


@pytest.mark.parametrize(("old", "new", "told"), WRONG, ids=[new for _, new, _ in WRONG])
def test_what_is_wrong_is_told_with_file_and_line(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    file, line = changed(tmp_path, old, new)
    message = faults(file)
    assert told in message
    assert message.startswith(f"policy.yml:{line + ON_ANOTHER_LINE.get(told, 0)}:")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules: [", "policy.yml:"),
        ("- a\n- b\n", "policy.yml:1"),
        ("", "is missing"),
        ("just text", "policy.yml:1"),
    ],
)
def test_a_file_that_is_no_policy_at_all_is_an_error(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "policy.yml").write_text(text)
    assert told in faults(tmp_path / "policy.yml")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    assert "nowhere.yml does not exist" in faults(tmp_path / "nowhere.yml")


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    file, _ = changed(tmp_path, "minutes: 5\n\n  wheel", "minutes: 500\n\n  wheel")
    file.write_text(file.read_text().replace("alerts_per_coach_day: 8", "alerts_per_coach_day: 0"))
    assert len(faults(file).splitlines()) == 2


def test_routes_are_tried_in_order() -> None:
    policy = load_policy()
    assert policy.route("content", 2).role == "tutor"
    assert policy.route("confidence", 2).role == "coach"
    assert policy.route("safety", 4).due == "1 hour"


def test_a_rule_s_own_recovery_and_cooldown_win_over_the_layer_s(tmp_path: Path) -> None:
    file, _ = changed(
        tmp_path,
        "    recovery: {submitted: true}",
        "    recovery: {submitted: true}\n    cooldown_hours: 5",
    )
    policy = load_policy(file)
    assert policy.recovery_of("first_assignment_missing").kind == "submitted"
    assert policy.cooldown_of("first_assignment_missing") == 5
    assert policy.recovery_of("inactive").kind == "worked_session"
    assert policy.cooldown_of("inactive") == 168


def test_a_disabled_rule_stays_known_but_is_not_enabled(tmp_path: Path) -> None:
    file, _ = changed(tmp_path, "    code: A7b\n", "    code: A7b\n    enabled: false\n")
    policy = load_policy(file)
    assert "inactive" in policy.rules
    assert "inactive" not in policy.enabled_rules()


def test_what_counts_as_mastered_is_one_number_for_all_rules(tmp_path: Path) -> None:
    file, _ = changed(tmp_path, "mastered_at: 0.95", "mastered_at: 0.9")
    policy = load_policy(file)
    for name in ("repeated_misses", "wheel_spinning"):
        assert policy.numbers_of(name, policy.rules[name].levels[0])["mastered_at"] == 0.9
