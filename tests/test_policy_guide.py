"""The page for staff says what the policy does, all of it, and nothing else."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from builders import policy

from tutorflow.decide.rule import RULES
from tutorflow.policy import load_policy
from tutorflow.policy.guide import SENTENCES, policy_guide

SHIPPED = policy_guide(load_policy())


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_is_described_with_exactly_its_own_parameters(name: str) -> None:
    rule = inspect.signature(RULES[name].function).parameters.values()
    numbers = [p.name for p in rule if p.kind is p.KEYWORD_ONLY]
    assert list(inspect.signature(SENTENCES[name]).parameters) == numbers


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_says_what_it_does_and_what_to_do(name: str) -> None:
    used = load_policy()
    entry = used.rules[name]
    section = SHIPPED.split(f"`{name}`)")[1].split("####")[0]
    assert f"{entry.title} ({entry.code}, `{name}`)" in SHIPPED
    assert RULES[name].summary in section
    assert section.count("**Alert tier") == len(entry.levels)
    assert f"(about {entry.minutes} minutes)" in section
    for needed in (
        "**Closes** with",
        "**Do**:",
        *(f"`{event}`" for event in RULES[name].event_types),
    ):
        assert needed in section


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"capacity": {"alerts_per_coach_day": 11}}, "at most 11 new alerts"),
    ({"capacity": {"reserved_share_for_tier_3": 0.4}}, "40% of them are kept for tier 3"),
    ({"reopen_grace_hours": 5}, "within 5 hours of closing re-opens"),
    ({"cooldown_hours": {"content": 100}}, "**Quiet** for 100 hours"),
    ({"recovery": {"content": {"unaided_correct": 4}}}, "4 right answers in a row on the skill"),
    ({"mastered_at": 0.9}, "the estimated mastery never reached 90%"),
    ({"working_hours": {"workdays": "Sun-Thu"}}, "Sun-Thu, 09:00 to 17:00"),
    ({"priority": {"severity": 0.6, "relevance": 0.1}}, "past its threshold (60%)"),
    ({"confidence": {"high": {"rules": 3}}}, "high from 3 agreeing rules"),
    ({"states": {"dwell_hours": 12}}, "lasted 12 hours"),
    ({"states": {"thriving": {"accuracy": 0.925}}}, "92.5% or more of the last 20"),
    ({"scores": {"struggle_score": {"errors": {"full": 0.7}}}}, "70% of the last 20 answers"),
    ({"version": "2031.7"}, "Policy 2031.7"),
]


@pytest.mark.parametrize(("change", "text"), CHANGES, ids=[text for _, text in CHANGES])
def test_a_changed_number_changes_the_text(change: dict[str, Any], text: str) -> None:
    assert text not in SHIPPED
    assert text in policy_guide(policy(**change))


def test_a_changed_level_changes_the_text() -> None:
    level = {"alert_tier": 2, "when": {"misses": 6}, "sentence": ""}
    changed = policy(rules={"repeated_misses": {"levels": [level]}})
    assert "6 of the last 10 first tries" in policy_guide(changed)


def test_options_of_a_rule_are_described_too() -> None:
    used = policy(
        rules={
            "slow_responses": {
                "levels": [{"alert_tier": 1, "when": {"times_own_median": 2}, "sentence": ""}]
            },
            "inactive": {
                "levels": [
                    {
                        "alert_tier": 2,
                        "when": {"days": 9, "below_cohort_percentile": None},
                        "sentence": "",
                    }
                ]
            },
        }
    )
    text = policy_guide(used)
    assert "3 answers in a row take over 2 times the learner's usual time" in text
    assert "- **Alert tier 2**: no activity for 9 days.\n" in text


def test_a_level_that_repeats_the_one_before_refers_to_it() -> None:
    assert "**Alert tier 2**: the same 2 times in one session." in SHIPPED
    assert "**Alert tier 2**: in 2 sessions within 14 days: 3 answers in a row, or 30%" in SHIPPED


def test_sleeping_and_disabled_rules_are_marked() -> None:
    assert "Asleep" not in SHIPPED
    assert "Switched off" not in SHIPPED
    used = policy(rules={"inactive": {"enabled": False}})
    text = policy_guide(used, {"abandonment": "no source sends item_abandoned"})
    assert text.count("*Switched off in this policy.*") == 1
    assert text.count("*Asleep: no source sends item_abandoned.*") == 1


def test_a_removed_rule_is_not_on_the_page() -> None:
    assert "inactive" not in policy_guide(policy(rules={"inactive": None}))


def test_the_page_is_tidy_markdown_in_plain_words() -> None:
    lines = SHIPPED.splitlines()
    assert [line for line in lines if line.startswith("# ")] == ["# When a learner needs a human"]
    assert not [line for line in lines if line != line.rstrip()]
    assert not re.search(r"\n\n\n", SHIPPED)
    assert SHIPPED.endswith("\n")
    assert not SHIPPED.endswith("\n\n")
    assert not re.search(r"[{}]|None|\bnan\b|p_mastery|log\(|ln\(|min\(", SHIPPED)
    assert max(len(line) for line in lines) < 500


def test_all_rows_of_a_table_have_the_same_cells() -> None:
    for table in re.findall(r"(?:^\|.*\|\n)+", SHIPPED, flags=re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(cells) == 1
