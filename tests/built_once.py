"""Imported by the server that tests fork processes from: dbt, loaded and with the project parsed.

Building an empty home once does it; the processes find the parsed project in memory.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from flows.marts import build_marts
from tutorflow.settings import load_settings

with TemporaryDirectory() as _home:
    (Path(_home) / "tutorflow.yml").write_text("sources: []\n")
    build_marts(load_settings(Path(_home)))
