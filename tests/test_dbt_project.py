"""Facts about the dbt project itself: its layers, its documentation, its unit and data tests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.marts import project_dir
from tests.marts_support import Marts, run_dbt

LAYERS = ("staging", "intermediate", "marts")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Marts:
    """Every model, built from one event."""
    marts = Marts(tmp_path_factory.mktemp("project") / "home")
    marts.deliver(
        "tutor",
        [
            {
                "source_event_id": "1",
                "user_id": "ana",
                "event_type": "response_submitted",
                "occurred_at": datetime(2026, 3, 2, 9, tzinfo=UTC),
                "item_id": "item",
                "skill_id": "fractions",
                "is_correct": True,
            },
            {
                "source_event_id": "2",
                "user_id": "ana",
                "event_type": "sneezed",
                "occurred_at": datetime(2026, 3, 2, 9, 1, tzinfo=UTC),
            },
        ],
    )
    marts.build()
    return marts


@pytest.fixture(scope="module")
def manifest(built: Marts) -> Any:
    return run_dbt(built, "parse")


def models(manifest: Any) -> Iterator[Any]:
    return (node for node in manifest.nodes.values() if node.resource_type == "model")


def layer(node: Any) -> str:
    return Path(node.original_file_path).parts[1]


def test_models_read_only_their_own_layer_and_those_before_it(manifest: Any) -> None:
    backward = [
        (node.name, parent)
        for node in models(manifest)
        for parent in node.depends_on.nodes
        if parent in manifest.nodes and manifest.nodes[parent].resource_type == "model"
        if LAYERS.index(layer(manifest.nodes[parent])) > LAYERS.index(layer(node))
    ]
    # The events are published as a mart, and everything else is built from them.
    assert backward == [("int_events_touched", "model.tutorflow.events")]


def test_only_staging_reads_sources(manifest: Any) -> None:
    assert {
        layer(node)
        for node in models(manifest)
        if any(parent.startswith("source.") for parent in node.depends_on.nodes)
    } == {"staging"}


def test_every_column_of_every_model_and_seed_is_documented(built: Marts, manifest: Any) -> None:
    found: dict[tuple[str, str], set[str]] = {}
    for row in built.rows("""
        select table_schema, table_name, column_name from information_schema.columns
        where table_schema in ('staging', 'intermediate', 'marts', 'seeds')
    """):
        found.setdefault((row["table_schema"], row["table_name"]), set()).add(row["column_name"])
    documented = {
        (node.schema, node.name): {
            name for name, column in node.columns.items() if column.description
        }
        for node in manifest.nodes.values()
        if node.resource_type in ("model", "seed")
    }
    assert found == documented


def test_every_model_says_what_one_row_is(manifest: Any) -> None:
    assert [node.name for node in models(manifest) if "ne row per " not in node.description] == []


def test_contracts_are_enforced_on_every_mart(manifest: Any) -> None:
    assert [
        node.name
        for node in models(manifest)
        if layer(node) == "marts" and not node.config.contract.enforced
    ] == []


def test_every_mart_row_says_when_it_could_be_known(manifest: Any) -> None:
    assert [
        node.name
        for node in models(manifest)
        if layer(node) == "marts" and "known_at" not in node.columns
    ] == []


def test_a_verb_that_is_not_mapped_is_counted_not_lost(built: Marts) -> None:
    assert built.rows("select source, source_verb, row_count from marts.unmapped_verbs") == [
        {"source": "tutor", "source_verb": "sneezed", "row_count": 1}
    ]
    assert built.rows("select count(*) as events from marts.events") == [{"events": 1}]


def test_the_event_types_are_those_that_formats_deliver(built: Marts) -> None:
    from tutorflow.pull.formats import EVENT_TYPES

    rows = built.rows("select event_type from seeds.event_types")
    assert {row["event_type"] for row in rows} == set(EVENT_TYPES)


def test_a_run_that_would_build_a_missing_mart_from_touched_learners_alone_is_refused(
    built: Marts, tmp_path: Path
) -> None:
    other = Marts(tmp_path / "home")
    built.settings.warehouse_path.rename(other.settings.warehouse_path)
    try:
        other.execute("create table kept as from marts.item_days; drop table marts.item_days")
        with pytest.raises(AssertionError, match=r"item_days.*--full-refresh"):
            run_dbt(other, "run")
        other.execute("create table marts.item_days as from kept; drop table kept")
    finally:
        other.settings.warehouse_path.rename(built.settings.warehouse_path)


def test_the_unit_tests_of_the_models_hold(built: Marts) -> None:
    results = run_dbt(built, "test", "--select", "test_type:unit")
    assert len(results.results) > 15


def test_the_data_tests_of_the_marts_hold(built: Marts) -> None:
    run_dbt(built, "test", "--exclude", "test_type:unit")


def test_the_project_has_no_python_modules() -> None:
    assert list(project_dir().rglob("*.py")) == []
