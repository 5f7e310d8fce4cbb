"""The command: which seeds, how large, where; progress, then the tables."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from tests.bench.planted import __doc__ as teaching
from tests.bench.planted.findings import Found, find
from tests.bench.planted.report import markdown


def main() -> None:
    """Play one seed after the other and print the tables; `--out` has them after each."""
    asked = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="tutorflow-planted-", dir=asked.folder))
    found: list[Found] = []
    try:
        for seed in asked.seeds:
            print(f"seed {seed}:", end=" ", flush=True)
            found.append(find(folder / str(seed), asked.learners, asked.weeks, seed, _say))
            print(f"{found[-1].seconds:.0f} s", flush=True)
            if asked.out:
                asked.out.write_text(_tables(asked, found), encoding="utf-8")
            if not asked.keep:
                shutil.rmtree(folder / str(seed))
    finally:
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{_tables(asked, found)}")


def _tables(asked: argparse.Namespace, found: list[Found]) -> str:
    return f"{asked.learners} learners, {asked.weeks} weeks per seed\n\n{markdown(found)}\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.planted",
        description=teaching,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5], help="default: 1 2 3 4 5"
    )
    parser.add_argument("--learners", type=int, default=200, help="of each seed (default: 200)")
    parser.add_argument(
        "--weeks", type=int, default=5, help="length; cases need one to end (default: 5)"
    )
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's)")
    parser.add_argument("--keep", action="store_true", help="keep the homes")
    parser.add_argument("--out", type=Path, help="write the tables to this file, too")
    return parser.parse_args()


def _say(what: str) -> None:
    print(what, end=", ", flush=True)


if __name__ == "__main__":
    main()
