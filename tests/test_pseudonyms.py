"""Pseudonyms are keyed and stable; who is behind them stands in one guarded file."""

import stat
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tutorflow.errors import ConfigurationError, TutorflowError
from tutorflow.privacy.pseudonyms import (
    Pseudonyms,
    learner_id,
    load_pseudonyms,
    open_identities,
    pseudonym_key,
    remember_identities,
    source_users,
)
from tutorflow.settings import Settings

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
KEY = b"0123456789abcdef"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("TUTORFLOW_KEY", raising=False)
    return Settings(home=tmp_path / "home", roster_path=tmp_path)


def test_a_learner_id_is_the_first_half_of_the_keyed_hash() -> None:
    # printf 'school\x1fana' | openssl dgst -sha256 -hmac 0123456789abcdef
    assert learner_id(KEY, "school", "ana") == "9f8539dd-81ab-d354-3b36-cc8094468c0c"
    assert str(uuid.UUID(learner_id(KEY, "school", "ana"))) == learner_id(KEY, "school", "ana")


def test_key_namespace_and_id_all_matter() -> None:
    ids = {
        learner_id(KEY, "school", "ana"),
        learner_id(KEY, "school", "ben"),
        learner_id(KEY, "other", "ana"),
        learner_id(b"another key of length", "school", "ana"),
        learner_id(KEY, "schoola", "na"),
    }
    assert len(ids) == 5


def test_the_key_is_made_once_and_only_its_owner_can_read_it(settings: Settings) -> None:
    key = pseudonym_key(settings)
    assert len(key) == 64
    assert stat.S_IMODE(settings.key_path.stat().st_mode) == 0o600
    assert pseudonym_key(settings) == key
    assert [path.name for path in settings.home.iterdir()] == ["key"]


def test_the_environment_s_key_wins(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTORFLOW_KEY", "a key from the environment")
    assert pseudonym_key(settings) == b"a key from the environment"
    assert not settings.key_path.exists()


def test_a_short_key_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTORFLOW_KEY", "short")
    with pytest.raises(TutorflowError, match="TUTORFLOW_KEY is too short"):
        pseudonym_key(settings)


def test_a_key_that_others_can_read_is_refused(settings: Settings) -> None:
    pseudonym_key(settings)
    settings.key_path.chmod(0o644)
    with pytest.raises(TutorflowError, match="chmod 600"):
        pseudonym_key(settings)


def test_a_lost_key_is_not_silently_replaced(settings: Settings) -> None:
    pseudonyms = load_pseudonyms(settings)
    remember_identities(settings.identity_path, pseudonyms, "school", ["ana"], NOW)
    settings.key_path.unlink()
    with pytest.raises(TutorflowError, match="every learner would become another one"):
        load_pseudonyms(settings)


def test_another_key_is_noticed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    remember_identities(settings.identity_path, load_pseudonyms(settings), "school", ["ana"], NOW)
    monkeypatch.setenv("TUTORFLOW_KEY", "quite another key")
    with pytest.raises(TutorflowError, match="not the one that made the pseudonyms"):
        load_pseudonyms(settings)


def test_the_key_is_not_shown(settings: Settings) -> None:
    assert "0123456789abcdef" not in repr(Pseudonyms(KEY, {("a", "ana"): "p-1"}))


def test_aliases_lead_several_accounts_to_one_person(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "aliases.csv").write_text(
        "namespace,user_id,person_id\nlms,ana@example.org,p-1\ntutor,a17,p-1\n"
    )
    pseudonyms = load_pseudonyms(settings)
    assert pseudonyms.of("lms", "ana@example.org") == pseudonyms.of("tutor", "a17")
    assert pseudonyms.of("tutor", "a17") == learner_id(pseudonyms.key, "programme", "p-1")
    assert pseudonyms.of("tutor", "ben") == learner_id(pseudonyms.key, "tutor", "ben")


def test_aliases_that_contradict_each_other_are_an_error(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "aliases.csv").write_text("namespace,user_id,person_id\nlms,ana,p-1\nlms,ana,p-2\n")
    with pytest.raises(ConfigurationError, match=r"aliases\.csv:3: person_id: the same user"):
        load_pseudonyms(settings)


def test_the_identity_map_is_its_owner_s_and_keeps_the_first_sight(settings: Settings) -> None:
    pseudonyms = load_pseudonyms(settings)
    path = settings.identity_path
    remember_identities(path, pseudonyms, "school", ["ana", "ben"], NOW)
    remember_identities(path, pseudonyms, "school", ["ana"], NOW.replace(year=2027))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_identities(path) as identities:
        rows = identities.execute(
            "select source_user_id, first_seen_at from identities order by 1"
        ).fetchall()
    assert rows == [("ana", "2026-03-01 10:00:00"), ("ben", "2026-03-01 10:00:00")]


def test_only_the_identity_map_leads_back(settings: Settings) -> None:
    pseudonyms = load_pseudonyms(settings)
    remember_identities(settings.identity_path, pseudonyms, "school", ["ana"], NOW)
    ana = pseudonyms.of("school", "ana")
    stranger = learner_id(KEY, "school", "nobody")
    assert source_users(settings.identity_path, [ana, stranger]) == {ana: [("school", "ana")]}
    assert source_users(settings.home / "absent.sqlite", [ana]) == {}
