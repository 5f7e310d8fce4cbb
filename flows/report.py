"""A run in words: one Markdown page for the Prefect UI, one line for the terminal."""

from flows.hour import RunReport

_STEPS = {
    "pull": "pull",
    "build_marts": "build marts",
    "check_marts": "check marts",
    "decide": "decide",
    "check": "gate",
    "publish": "publish",
    "snapshot": "snapshot",
}


def as_line(report: RunReport) -> str:
    """What happened, in one line."""
    seconds = report.seconds.get("total", 0.0)
    if report.state == "nothing_to_do":
        landed = report.counts["rows_landed"]
        more = f" {landed:,} new rows landed and wait for it." if landed else ""
        return f"Nothing to decide: no whole tick since the last one.{more} ({seconds:.1f} s)"
    if report.state == "blocked":
        return report.message or "Blocked."
    counts = report.counts
    doubts = f"\n{report.message}" if report.message else ""
    ticks = "1 tick" if len(report.ticks) == 1 else f"{len(report.ticks)} ticks"
    done = "Dry run, would publish" if report.is_dry else report.state.capitalize()
    return (
        f"{done} {ticks} up to {report.ticks[-1]:%Y-%m-%d %H:%M} UTC: "
        f"{counts['rows_landed']:,} rows landed, {counts['signal']:,} signals, "
        f"{counts['opened']:,} alerts opened, {counts['closed']:,} closed, "
        f"{counts['held']:,} held. ({seconds:.1f} s){doubts}"
    )


def source_faults(report: RunReport) -> list[str]:
    """What the sources delivered and this run could not take in, one line each."""
    faults = []
    for attempt in report.attempts:
        faults += [f"{attempt.source}: {line}" for line in (attempt.error or "").splitlines()]
        if attempt.quarantined:
            faults.append(
                f"{attempt.source}: {attempt.quarantined:,} rows refused; `tutorflow status` says "
                "why"
            )
    return faults


def as_markdown(report: RunReport) -> str:
    """The page of the run: rows, signals, alerts by tier, what was held, the gate, durations."""
    parts = [
        f"# {report.state}",
        as_line(report),
        _table(
            "Sources",
            ("source", "files", "rows", "quarantined", "complete until", "error"),
            [
                (a.source, a.files, a.rows, a.quarantined, a.complete_until or "", a.error or "")
                for a in report.attempts
            ],
        ),
        _table(
            "Alerts opened",
            ("tier", "alerts"),
            [
                (tier, report.counts[f"opened_tier_{tier}"])
                for tier in (1, 2, 3, 4)
                if report.counts[f"opened_tier_{tier}"]
            ],
        ),
        _table(
            "Held back",
            ("reason", "count"),
            [
                (name.removeprefix("held_"), count)
                for name, count in sorted(report.counts.items())
                if name.startswith("held_")
            ],
        ),
        _gate(report),
        _table(
            "Durations",
            ("step", "seconds"),
            [(_STEPS.get(name, name), f"{s:.2f}") for name, s in report.seconds.items()],
        ),
        _table(
            "Models",
            ("model", "seconds"),
            [(name, f"{s:.2f}") for name, s in report.build.models.items()] if report.build else [],
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def _gate(report: RunReport) -> str:
    if report.verdict is None:
        return ""
    failures = report.verdict.failures
    passed = len(report.verdict.results) - len(failures)
    return f"## Gate\n\n{passed} checks hold." + (
        "\n\n"
        + _table(
            "",
            ("check", "severity", "rows", "finding"),
            [(f.check_id, f.severity, f.failed_count, f.message) for f in failures],
        )
        if failures
        else ""
    )


def _table(title: str, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    if not rows:
        return ""
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows),
    ]
    return (f"## {title}\n\n" if title else "") + "\n".join(lines)
