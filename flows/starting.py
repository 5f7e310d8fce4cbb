"""The tutorflow.yml that `tutorflow init` writes: every key, with what it is for."""

import os
from pathlib import Path

from tutorflow.errors import TutorflowError
from tutorflow.settings import CONFIG_NAME, load_settings

_TEMPLATE = """\
# tutorflow: what is read from where. `tutorflow doctor` checks this file.

# Days and ISO weeks are cut in this zone. A change rebuilds all marts.
timezone: {timezone}

# How often decisions are made: hour or day.
tick: hour

# Where coach tools read and write. Default: serving.sqlite beside this file. The environment
# variable TUTORFLOW_DATABASE_URL wins, so that no password needs to stand here.
# database_url: postgresql://tutorflow@localhost/tutorflow

# A policy of your own: `tutorflow policy guide` prints the one that ships.
# policy_path: policy.yml

# A folder of roster files (learners, coaches, caseloads, courses, ...), all of them optional.
# roster_path: roster

# Signals that became known later than this are logged and reach nobody.
# late_horizon: 7 days

# Where events come from. Paths are relative to this file; each new file is one delivery.
sources:{sources}
"""

_SOURCE = """
  - name: {name}
    path: {path}
    format: {format}          # canonical, statistics_cloze or oulad
    # timezone: {timezone}    # zone of times that are written without an offset
    # file_type: csv          # default: by the file's suffix (csv, parquet, ndjson; also .gz)
    # complete_until: max_event   # or manifest, delivered: how it tells that it is complete
    # event_types: [response_submitted, hint_requested]   # default: all that the format delivers
    # courses: [algebra]      # default: all
    # retired_on: 2026-06-30  # from then on nobody waits for it
"""

_NO_SOURCE = """ []
#  - name: tutor
#    path: exports/*.csv
#    format: canonical
"""


def write_configuration(
    home: Path | None, source: str | None, source_format: str, timezone: str
) -> Path:
    """Write `tutorflow.yml` into the home; its path.

    Raises TutorflowError when there is one already, or when what was asked for is not valid.
    """
    folder = Path(home or os.environ.get("TUTORFLOW_HOME") or ".tutorflow").expanduser().absolute()
    path = folder / CONFIG_NAME
    if path.exists():
        raise TutorflowError(f"{path} exists already; edit it, or move it away first.")
    if source is None:
        sources = _NO_SOURCE
    else:
        relative = os.path.relpath(Path(source).expanduser().absolute(), folder)
        sources = _SOURCE.format(
            name="events", path=_quoted(relative), format=source_format, timezone=timezone
        )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_TEMPLATE.format(timezone=timezone, sources=sources), encoding="utf-8")
    try:
        load_settings(folder)
    except TutorflowError:
        path.unlink()
        raise
    return path


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
