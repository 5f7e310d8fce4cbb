"""The command line: every command is a few lines over the part that does the work."""

import logging
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from flows.clock import utc_now
from flows.lock import Holder
from flows.progress import hour_progress, tick_progress
from tutorflow.errors import TutorflowError
from tutorflow.hours import Tick, parse_instant
from tutorflow.settings import CONFIG_NAME, Settings, load_settings

if TYPE_CHECKING:
    from flows.hour import RunReport

EXIT_ERROR = 2
EXIT_BLOCKED = 3


class _Group(TyperGroup):
    """Prints what a person can put right as a message, not as a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TutorflowError as error:
            typer.echo(f"tutorflow: {error}", err=True)
            raise typer.Exit(EXIT_ERROR) from None


app = typer.Typer(
    name="tutorflow",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
policy_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Check and print the policy."
)
app.add_typer(policy_app, name="policy")

# What is not a terminal, such as a file or a log, gets lines of a fixed width.
_WIDTH = None if sys.stdout.isatty() else 110
out = Console(highlight=False, width=_WIDTH)
err = Console(stderr=True, highlight=False)

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Home directory with tutorflow.yml and all data.",
        envvar="TUTORFLOW_HOME",
        show_default=".tutorflow",
    ),
]
Wait = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", help="How long to wait for another run.")
]
Every = Annotated[str, typer.Option("--every", metavar="hour|day", help="Length of a tick.")]


@app.callback()
def tutorflow(context: typer.Context, home: Home = None) -> None:
    """Every hour, decide which few learners need a human now, and say why.

    Sources are pulled, marts built, decisions made and checked; what passes is published to the
    serving database that coach tools read. Every command can be repeated safely.

    **Try it:** `tutorflow demo`

    **Use it:** `tutorflow init`, name your sources in the file it writes, then
    `tutorflow backfill` once and `tutorflow serve` (or `tutorflow run` from cron) from then on.

    Exit codes: 0 done, 2 something to put right (the message says what), 3 held back by the gate.
    """
    context.obj = home
    _show_warnings_only()


def _show_warnings_only() -> None:
    """Importing dbt would install a handler that shows every library's chatter."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setLevel(logging.WARNING)
        root.addHandler(handler)


def _settings(context: typer.Context) -> Settings:
    return load_settings(context.obj)


def _settings_if_any(context: typer.Context) -> Settings | None:
    """The settings of the home; None where none has been set up."""
    home = Path(context.obj or ".tutorflow")
    path = Path(os.environ.get("TUTORFLOW_CONFIG") or home / CONFIG_NAME)
    return load_settings(context.obj) if path.exists() else None


def _tell_wait(who: Holder) -> None:
    err.print(f"Waiting for another run ({who}) ...")


@app.command()
def init(
    context: typer.Context,
    source: Annotated[
        str | None, typer.Option(help="Path or glob of your event files.", metavar="PATH")
    ] = None,
    source_format: Annotated[
        str, typer.Option("--format", help="canonical, statistics_cloze or oulad.")
    ] = "canonical",
    timezone: Annotated[str, typer.Option(help="Zone in which days and weeks are cut.")] = "UTC",
) -> None:
    """Write a commented tutorflow.yml to start from.

    **Example:** `tutorflow init --source 'exports/*.csv' --timezone Europe/Berlin`
    """
    from flows.starting import write_configuration

    path = write_configuration(context.obj, source, source_format, timezone)
    out.print(f"Wrote {path}. Next: tutorflow doctor")


@app.command()
def run(
    context: typer.Context,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", metavar="TIME", help="Decide up to this time instead of now."),
    ] = None,
    wait: Wait = 300,
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="CHECK", help="Publish although this check fails, once."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept with the result.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide and check, but publish nothing.")
    ] = False,
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Build all marts anew from what landed.")
    ] = False,
) -> None:
    """Run the hour: pull, build, decide every tick since the last, check, publish.

    Times without an offset are in the programme's zone.

    **Examples:** `tutorflow run`; `tutorflow run --as-of 2026-03-01T10`;
    `tutorflow run --accept candidates.alert_storm --reason 'exam week'`
    """
    from flows.hour import run_hour

    settings = _settings(context)
    if bool(accept) != bool(reason):
        raise TutorflowError("--accept CHECK and --reason TEXT go together: the reason is kept.")
    report = run_hour(
        settings,
        parse_instant(as_of, settings.timezone) if as_of else None,
        utc_now(),
        accepted=dict.fromkeys(accept or [], reason or ""),
        wait_seconds=wait,
        on_wait=_tell_wait,
        is_dry=dry_run,
        full_refresh=full_refresh,
    )
    _finish(report)


def _finish(report: "RunReport") -> None:
    from flows.report import as_line, source_faults

    for fault in source_faults(report):
        err.print(fault, markup=False, soft_wrap=True)
    (err if report.is_blocked else out).print(as_line(report), markup=False, soft_wrap=True)
    if report.is_blocked:
        raise typer.Exit(EXIT_BLOCKED)


@app.command()
def backfill(
    context: typer.Context,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Where to begin; default: the first event."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Where to end; default: now.")
    ] = None,
    every: Every = "day",
    batch: Annotated[
        int | None,
        typer.Option(help="Ticks that are decided and committed together.", min=1, max=10_000),
    ] = None,
    wait: Wait = 300,
) -> None:
    """Decide the past, oldest tick first; the same command continues after an interruption.

    **Example:** `tutorflow backfill --from 2026-01-05 --every day`
    """
    from flows.history import run_backfill

    settings = _settings(context)
    with tick_progress(err) as on_progress:
        report = run_backfill(
            settings,
            parse_instant(start, settings.timezone) if start else None,
            parse_instant(end, settings.timezone) if end else None,
            _tick(every),
            utc_now(),
            batch_ticks=batch,
            wait_seconds=wait,
            on_wait=_tell_wait,
            on_progress=on_progress,
        )
    _finish(report)


def _tick(text: str) -> Tick:
    if text == "hour":
        return "hour"
    if text == "day":
        return "day"
    raise TutorflowError(f"--every is hour or day, not {text!r}.")


@app.command()
def check(context: typer.Context, wait: Wait = 300) -> None:
    """Run the data tests over the whole marts: a pass over the history, for the night.

    A full rebuild runs them by itself; `tutorflow serve` runs them every night. Exits with 3 when
    something does not hold.

    **Example:** `tutorflow check`
    """
    from flows.lock import run_lock
    from flows.marts import check_marts

    settings = _settings(context)
    with run_lock(settings.lock_path, utc_now(), wait, _tell_wait):
        faults = check_marts(settings)
    for fault in faults:
        err.print(fault, markup=False, soft_wrap=True)
    if faults:
        raise typer.Exit(EXIT_BLOCKED)
    out.print("All data tests of the marts hold.")


@app.command()
def queue(
    context: typer.Context,
    coach: Annotated[str | None, typer.Option(help="Only this coach's rows.")] = None,
) -> None:
    """Show the coach queue: who needs a person, why, what was tried, what to do.

    **Example:** `tutorflow queue --coach coach-2`
    """
    from tutorflow import publish

    settings = _settings(context)
    text = publish.render_queue(
        publish.queue(settings, coach),
        width=min(out.width, 120),
        now=utc_now(),
        timezone=settings.timezone,
        color=out.is_terminal,
    )
    typer.echo(text, nl=False)


@app.command()
def log(
    context: typer.Context,
    alert_id: Annotated[str, typer.Argument(help="Alert, as in the queue's table.")],
    kind: Annotated[str, typer.Argument(help="What was done, such as message or call.")],
    code: Annotated[str, typer.Argument(help="What came of it, such as resumed or no_change.")],
    note: Annotated[str | None, typer.Option(help="Anything a colleague should know.")] = None,
    coach: Annotated[str | None, typer.Option(help="Who; default: the alert's coach.")] = None,
) -> None:
    """Log what a person did about an alert, as a coach tool would; the next hour takes it.

    **Example:** `tutorflow log 3f9a... message partial_resume --note 'will try tomorrow'`
    """
    from tutorflow.publish.contract import inbox
    from tutorflow.publish.inbox import write

    columns = inbox()["interventions"].columns
    for name, value in (("kind", kind), ("code", code)):
        if value not in columns[name].values:
            known = ", ".join(columns[name].values)
            raise TutorflowError(f"{name} cannot be {value!r}; it is one of {known}")
    row = {"alert_id": alert_id, "kind": kind, "code": code, "note": note, "coach_id": coach}
    row_id = write(_settings(context), "interventions", **row)
    out.print(f"Logged as {row_id}; the next hour takes it.")


@app.command()
def tune(
    context: typer.Context,
    target: Annotated[
        Path | None, typer.Option("--out", help="Write the diffs there instead of printing all.")
    ] = None,
) -> None:
    """Propose changes of thresholds, with what they would have done; nothing is applied.

    The rule that is surest to be wrong comes first; one that no step improves is to be switched
    off. A person reads, tries (`tutorflow rehearse`) and accepts them.

    **Example:** `tutorflow tune --out tuning.diff`, then `patch policy.yml tuning.diff`
    """
    from tutorflow.measure.tuning import proposals

    found = proposals(_settings(context))
    if not found:
        out.print("No rule asks for a change: see rule_quality for what is known of each.")
    for proposal in found:
        out.print(proposal.as_text(), markup=False, soft_wrap=True)
    if target is not None and found:
        target.write_text("".join(proposal.diff for proposal in found), encoding="utf-8")
        out.print(f"Wrote {target}. Nothing is changed before somebody applies it.")


@app.command()
def status(context: typer.Context) -> None:
    """Show how old the published tables are, the last runs, the sources, what is held, the gate.

    **Example:** `tutorflow status`
    """
    from flows.status_page import status_page

    out.print(status_page(_settings(context), utc_now()))


@app.command()
def doctor(context: typer.Context) -> None:
    """Check the installation and the configuration, and say what to put right.

    Exits with 2 when something must be put right.
    """
    from flows.doctor import examine, has_faults, render

    findings = examine(context.obj, utc_now())
    out.print(render(findings))
    if has_faults(findings):
        raise typer.Exit(EXIT_ERROR)


@app.command()
def serve(
    context: typer.Context,
    minute: Annotated[
        int, typer.Option(help="Minute of each hour at which to run.", min=0, max=59)
    ] = 5,
    port: Annotated[int, typer.Option(help="Port of the Prefect server started here.")] = 4200,
) -> None:
    """Run every hour from now on, with Prefect: retries, timeouts, one at a time, a UI.

    Starts a Prefect server on this machine unless PREFECT_API_URL names one. Stop with Ctrl-C.
    """
    from flows.deploy import serve_hourly

    serve_hourly(_settings(context), minute, port)


@app.command()
def simulate(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where to write; must be new or empty.")],
    learners: Annotated[int, typer.Option(help="Number of learners.")] = 300,
    weeks: Annotated[int, typer.Option(help="Length of the programme.")] = 6,
    seed: Annotated[int, typer.Option(help="The same seed gives the same programme.")] = 1,
    start: Annotated[
        datetime,
        typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="First day of the programme."),
    ] = "2026-01-05",  # type: ignore[assignment] # typer parses it
    score: Annotated[
        bool,
        typer.Option(
            "--score",
            help="Decide it day by day and compare the alerts with the truth and three baselines; "
            "a folder that is simulated already is only decided and compared.",
        ),
    ] = False,
) -> None:
    """Simulate a programme of learners, an AI tutor and coaches, with known ground truth.

    The folder holds event files, a roster, a tutorflow.yml, and in truth/ what really happened.

    **Example:** `tutorflow simulate sample --weeks 8`, then `tutorflow --home sample backfill`
    """
    from tutorflow.simulate import SimulationConfig
    from tutorflow.simulate import simulate as play

    if score and (folder / "truth").exists():
        _score(folder)
        return

    config = SimulationConfig(
        learners=learners, weeks=weeks, seed=seed, start=start.date(), delivery="day"
    )
    with hour_progress(err, "simulating") as on_progress:
        report = play(config, folder, on_progress)
    out.print(
        f"{report.events:,} events of {report.learners:,} learners from {config.start} "
        f"to {report.ends_at:%Y-%m-%d} are in {folder}.",
        soft_wrap=True,
    )
    if score:
        _score(folder)
    else:
        out.print(f"Next: tutorflow --home {folder} backfill", soft_wrap=True)


def _score(folder: Path) -> None:
    from flows.history import run_backfill
    from flows.report import as_line
    from tutorflow.settings import load_settings
    from tutorflow.simulate.scoring import as_lines, score_programme

    settings = load_settings(folder)
    with tick_progress(err) as on_progress:
        report = run_backfill(settings, None, None, "day", utc_now(), on_progress=on_progress)
    out.print(as_line(report), markup=False, soft_wrap=True)
    if report.is_blocked:
        raise typer.Exit(EXIT_BLOCKED)
    for line in as_lines(score_programme(settings, folder / "truth")):
        out.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def rehearse(
    context: typer.Context,
    start: Annotated[str, typer.Option("--from", metavar="DATE", help="Where to begin.")],
    end: Annotated[str, typer.Option("--to", metavar="DATE", help="Where to end.")],
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="Policy file to rehearse; default: the one in force alone."),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            "--every",
            metavar="hour|day",
            help="Cut the time into such ticks instead of taking those that were decided.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with plots there instead.")
    ] = None,
) -> None:
    """Rehearse a policy: what it would have done over past weeks, beside the one in force.

    Alerts per coach and day, learners gained and lost, precision as far as outcomes are known.
    The policy in force is gone over as well, which gives again what was published, and names what
    came out differently because events arrived late. Nothing is written or published.

    **Example:** `tutorflow rehearse --policy stricter.yml --from 2026-02-02 --to 2026-03-02`
    """
    from tutorflow.measure.rehearsal import rehearse as go_over
    from tutorflow.measure.rehearsal_page import as_html, as_text
    from tutorflow.policy import load_policy

    settings = _settings(context)
    candidate = load_policy(policy) if policy else None
    with tick_progress(err) as on_progress:
        found = go_over(
            settings,
            candidate,
            parse_instant(start, settings.timezone),
            parse_instant(end, settings.timezone),
            None if every is None else _tick(every),
            on_progress,
        )
    if html is None:
        out.print(as_text(found))
    else:
        html.write_text(as_html(found), encoding="utf-8")
        out.print(f"Wrote {html}.", soft_wrap=True)


@app.command()
def report(
    context: typer.Context,
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="The month.")],
    target: Annotated[
        Path | None, typer.Option("--out", help="Where to write it; default: report-MONTH.html.")
    ] = None,
) -> None:
    """Write the month's report: one page to print, for those who answer for the programme.

    What the AI did and where people acted, how good the alerts were, what became of learners,
    what can be said of effects and what cannot yet. No learner and no coach is named.

    **Example:** `tutorflow report --month 2026-03`
    """
    from tutorflow.measure.report import report_page

    path = target or Path(f"report-{month}.html")
    path.write_text(report_page(_settings(context), month), encoding="utf-8")
    out.print(f"Wrote {path}.", soft_wrap=True)


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option(help="Where the demo lives; its own home, removed and made anew.")
    ] = Path("tutorflow-demo"),
    learners: Annotated[int, typer.Option(help="Number of learners.", min=20, max=2000)] = 120,
    seed: Annotated[int, typer.Option(help="The same seed gives the same programme.")] = 7,
) -> None:
    """See it work: four simulated weeks by the day, then one day by the hour, with coaches who act.

    At the end stand the queue, the month's report, and what the coaches changed against the same
    programme without them. Takes under three minutes and touches nothing outside its folder.
    """
    from flows.demo import run_demo

    run_demo(folder, learners, seed, utc_now(), out)


@policy_app.command("check")
def policy_check(
    file: Annotated[Path | None, typer.Argument(help="Default: the shipped policy.")] = None,
    nudges: Annotated[
        Path | None, typer.Option("--nudges", help="Nudge library; default: the shipped one.")
    ] = None,
) -> None:
    """Check a policy file and a nudge library completely, without running anything.

    **Example:** `tutorflow policy check my-policy.yml --nudges my-nudges.yml`
    """
    from tutorflow.policy import load_policy
    from tutorflow.policy.nudges import load_nudges

    policy = load_policy(file)
    library = load_nudges(nudges, policy)
    enabled = len(policy.enabled_rules())
    out.print(
        f"{file or 'The shipped policy'} is valid: version {policy.version}, in force from "
        f"{policy.effective_from}, {enabled} of {len(policy.rules)} rules enabled.",
        soft_wrap=True,
    )
    out.print(
        f"{nudges or 'The shipped nudge library'} is valid: version {library.version}, "
        f"{len(library.nudges)} nudges.",
        soft_wrap=True,
    )


@policy_app.command("show")
def policy_show(
    nudges: Annotated[
        bool, typer.Option("--nudges", help="The nudge library instead of the policy.")
    ] = False,
) -> None:
    """Print the shipped policy file, to start one of your own from.

    **Example:** `tutorflow policy show > policy.yml`
    """
    from tutorflow.policy.model import default_policy_path
    from tutorflow.policy.nudges import default_nudges_path

    path = default_nudges_path() if nudges else default_policy_path()
    typer.echo(path.read_text(encoding="utf-8"), nl=False)


@policy_app.command("guide")
def policy_guide(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="Default: that of the home, else the shipped policy.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--out", help="Write it there instead of printing it.")
    ] = None,
) -> None:
    """Print the policy as a guide for people: every rule, threshold, tier and due time.

    In a home with a configuration it says which rules are asleep there, and shows its nudges.

    **Example:** `tutorflow policy guide --out policy.md`
    """
    from tutorflow.decide.asleep import rules_asleep
    from tutorflow.policy import load_policy
    from tutorflow.policy.guide import policy_guide
    from tutorflow.policy.nudges import load_nudges

    settings = _settings_if_any(context)
    policy = load_policy(file or (settings.policy_path if settings else None))
    library = load_nudges(settings.nudges_path if settings else None, policy)
    asleep = rules_asleep(policy, settings) if settings else {}
    needs = {rule: f"there is not what it needs ({lacks})" for rule, lacks in asleep.items()}
    text = policy_guide(policy, needs, library)
    if target is None:
        typer.echo(text)
    else:
        target.write_text(text, encoding="utf-8")
        out.print(f"Wrote {target}.")
