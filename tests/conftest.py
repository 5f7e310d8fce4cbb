"""One tiny world and one Prefect server for all tests that need them."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from tutorflow.settings import Settings, load_settings
from tutorflow.simulate.config import SimulationConfig
from tutorflow.simulate.programme import Programme

# Nobody's own settings may reach a test.
for _name in [name for name in os.environ if name.startswith("TUTORFLOW_")]:
    if _name != "TUTORFLOW_SHARED_DATA":
        del os.environ[_name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file comes first, so that one worker does not end up alone with it."""
    items.sort(key=lambda item: item.path.name != "test_real_data.py")


@dataclass(frozen=True)
class World:
    """A home directory with a simulated programme in it, built and decided day by day to `now`.

    `arrive` puts the events of the hours up to an instant where the source looks for them.
    """

    settings: Settings
    now: datetime

    def arrive(self, until: datetime) -> None:
        later = sorted((self.settings.home / "later").glob("*.csv"))
        for path in later:
            if datetime.strptime(path.stem + "+0000", "events-%Y-%m-%dT%H%z") <= until:
                shutil.copy(path, self.settings.home / "events" / path.name)


# Without late events: what the hour decides, a backfill decides (late ones have their own tests).
TINY = SimulationConfig(learners=14, weeks=3, start=date(2026, 1, 5), seed=3, late_share=0)
TINY_NOW = datetime(2026, 1, 22, tzinfo=UTC)
TINY_HOURS = 26


def write_events(folder: Path, name: str, events: pa.Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pa_csv.write_csv(events, folder / f"events-{name}.csv")


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen learners over two and a half weeks, run once. Not to be changed: use `world`.

    It is built where every `world` will lie and then moved aside: dbt, which takes seconds to parse
    a project for a new path, knows that one.
    """
    from flows.history import run_backfill

    home = tmp_path_factory.mktemp("tiny") / "home"
    programme = Programme(TINY)
    for day in range((TINY_NOW - TINY.starts_at).days):
        end = TINY.starts_at + timedelta(days=day + 1)
        write_events(home / "events", f"{end:%Y-%m-%dT%H}", programme.advance(end))
    for hour in range(TINY_HOURS):
        end = TINY_NOW + timedelta(hours=hour + 1)
        write_events(home / "later", f"{end:%Y-%m-%dT%H}", programme.advance(end))
    (home / "tutorflow.yml").write_text(
        "sources:\n"
        "  - name: tutor\n"
        "    path: events/*.csv\n"
        "    format: canonical\n"
        "    complete_until: delivered\n"
        "    delivered_pattern: 'events-(?P<end>[0-9T-]+)[.]csv'\n"
    )
    settings = load_settings(home)
    # A fixed key, so that always the same learners are held out by lot: some of each tier.
    settings.key_path.write_text("the key of the tiny world, 6")
    settings.key_path.chmod(0o600)
    report = run_backfill(settings, None, None, "day", TINY_NOW)
    assert report.state == "published", report.message
    return home.rename(home.with_name("kept"))


@pytest.fixture
def world(tiny_home: Path) -> Iterator[World]:
    """A copy of the tiny world that a test may change."""
    home = tiny_home.with_name("home")
    shutil.copytree(tiny_home, home, symlinks=True)
    yield World(load_settings(home), TINY_NOW)
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server for this session; it takes ten seconds to start."""
    import flows  # noqa: F401 - turns telemetry off before Prefect is imported

    os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield
