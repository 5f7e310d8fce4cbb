"""The page for staff says what the policy does, all of it, and nothing else."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import policy
from typer.testing import CliRunner

from flows.cli import app
from tutorflow.decide.rule import RULES, Condition
from tutorflow.policy import load_policy
from tutorflow.policy.examples import STORIES, Example, _example, example
from tutorflow.policy.guide import SENTENCES, policy_guide
from tutorflow.policy.nudges import load_nudges

LIBRARY = load_nudges(None, load_policy())
SHIPPED = policy_guide(load_policy(), nudges=LIBRARY)


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
    told = section.count("**Alert tier") + section.count("**Only noted")
    assert told == len(entry.levels)
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
    ({"hold_out": {"share": 0.25}}, "25% of alerts of tier 1 and 2, drawn by lot, are told to"),
    ({"hold_out": {"share": 0.2, "tiers": [2]}}, "20% of alerts of tier 2, drawn by lot"),
    ({"hold_out": {"share": 0.1, "days": 9}}, "told to nobody for 9 days"),
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


def test_where_nobody_is_held_out_the_page_does_not_speak_of_it() -> None:
    assert "For comparison" in SHIPPED
    assert "For comparison" not in policy_guide(policy())


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


# -- examples --------------------------------------------------------------------------------------

# Every single one of these counts: there is nothing that just does not.
WITHOUT_A_NEAR_MISS = {"help_requested", "manual_flag", "safety_concern"}


@pytest.mark.parametrize("name", sorted(set(load_policy().rules) & set(STORIES)))
def test_every_rule_shows_a_case_that_fires_and_one_that_just_does_not(name: str) -> None:
    used = load_policy()
    plain = [level for level in used.rules[name].levels if level.repeated is None]
    assert plain
    for level in plain:
        found = example(used, name, level)
        assert found is not None
        assert found.hit != found.near_miss
        assert f"  - Fires: {found.hit}. Does not yet: {found.near_miss}." in SHIPPED


def test_only_rules_that_count_every_event_have_no_example() -> None:
    assert {name for name in load_policy().rules if name not in STORIES} <= WITHOUT_A_NEAR_MISS


def of_level(name: str, **when: Any) -> Example:
    level = {"alert_tier": 2, "when": when, "sentence": ""}
    used = policy(rules={name: {"levels": [level]}})
    found = example(used, name, used.rules[name].levels[0])
    assert found is not None
    return found


EXAMPLES = [
    ("repeated_misses", {"in_a_row": 6}, "6 first tries in a row", "5 first tries in a row"),
    ("repeated_misses", {"misses": 7}, "7 of the last 10", "6 of the last 10"),
    ("inactive", {"days": 9}, "back after 9 days and 1 hour", "back after 9 days"),
    ("activity_drop", {"to_share": 0.4}, "40 things done", "41 things done"),
    ("accuracy_decline", {"points": 30}, "60% of the last 20", "65% of the last 20"),
    ("hint_dependency", {"share": 0.9}, "hints on 9 of", "hints on 8 of"),
    ("shorter_sessions", {"to_share": 0.5}, "of 15 minutes", "of 16 minutes"),
]


@pytest.mark.parametrize(("name", "when", "hit", "near"), EXAMPLES)
def test_examples_follow_the_numbers_in_force(
    name: str, when: dict[str, Any], hit: str, near: str
) -> None:
    found = of_level(name, **when)
    assert hit in found.hit
    assert near in found.near_miss


def test_examples_come_from_the_rule_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = RULES["skipped_reflections"]

    def stricter(reflections: pd.DataFrame, *, in_a_row: int) -> Condition:
        return rule.function(reflections, in_a_row=in_a_row + 1)

    monkeypatch.setitem(RULES, "skipped_reflections", replace(rule, function=stricter))
    _example.cache_clear()
    assert "4 reflections" in of_level("skipped_reflections", in_a_row=3).hit
    _example.cache_clear()


# -- nudges and practice ---------------------------------------------------------------------------


def test_every_nudge_is_on_the_page_and_none_without_a_library() -> None:
    section = SHIPPED.split("## What the AI tutor says by itself")[1].split("\n## ")[0]
    assert [name for name in LIBRARY.nudges if f"| `{name}` |" not in section] == []
    assert "10% of cases are held out" in section
    assert "says by itself" not in policy_guide(load_policy())


def test_the_bands_of_practice_are_on_the_page() -> None:
    assert "| usually | 80% | 70% and 85% |" in SHIPPED
    changed = policy(practice={"usual": {"aim": 0.75}, "misses_in_a_row": 4})
    text = policy_guide(changed)
    assert "| usually | 75% | 70% and 85% |" in text
    assert "| after 4 misses in a row |" in text


# -- the command -----------------------------------------------------------------------------------


def test_the_command_says_which_rules_sleep_in_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    anywhere = CliRunner().invoke(app, ["policy", "guide"])
    assert anywhere.exit_code == 0
    assert "*Asleep" not in anywhere.output
    (tmp_path / "tutorflow.yml").write_text(
        "sources:\n  - name: app\n    path: x.csv\n    format: canonical\n"
        "    event_types: [response_submitted]\n"
    )
    home = CliRunner().invoke(app, ["--home", str(tmp_path), "policy", "guide"])
    asleep = home.output.split("`inactive`)")[0].split("`abandonment`)")[1]
    assert "*Asleep: there is not what it needs" in asleep
    assert home.output.count("*Asleep") < len(RULES)


def test_the_command_checks_a_nudge_library_too(tmp_path: Path) -> None:
    (tmp_path / "nudges.yml").write_text("version: '1'\nnudgez: {}\n")
    result = CliRunner().invoke(app, ["policy", "check", "--nudges", str(tmp_path / "nudges.yml")])
    assert result.exit_code != 0
    assert "nudges.yml:2" in result.stderr
    shown = CliRunner().invoke(app, ["policy", "show", "--nudges"])
    assert "first_step:" in shown.output


def test_a_rule_that_asks_for_a_person_only_of_those_who_struggle_says_so() -> None:
    marked = policy_guide(policy(struggling={"accuracy_below": 0.3, "answers": 25}))
    assert "with less than 30% right over the last 20 and over the last 60 of at least 25" in marked
