"""The command line: batch use of the grids, store and notebooks that JupyterLab shares.

Exit codes: 0 done, whatever the verdicts; 1 a run or notebook failed; 2 wrong usage, parameters or data; 3 a report is
not what it says, or differs from what it is compared with.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from itlib import __version__, registry
from itlib.batch import (
    GridBatch,
    Outcome,
    expected_specs,
    headline_studies,
    known_specs,
    load,
    run_grid,
    run_study,
)
from itlib.engines import ENGINES, plan, spread
from itlib.errors import InputError, ItlibError
from itlib.params import markdown_table, parse_overrides, schema
from itlib.scores_file import append
from itlib.spec import RunSpec, diff, digest, flatten, key
from itlib.store import Store
from itlib.studies import STUDIES
from itlib.workspace import open_store, project_root, results_root

KINDS = (
    "families", "models", "sources", "methods", "objectives", "selectors", "augmentations", "perturbations",
    "constraints", "claims", "studies", "runs",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if not arguments:
            _parser().print_help()
            return InputError.exit_code
        options = _parser().parse_args(arguments)
        return options.command(options)
    except ItlibError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; finished runs are stored, the same command continues", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """Wrong usage ends as every other refusal does: in one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `{self.prog} --help` shows the usage")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="itlib", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"itlib {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: Callable[[Any], int], help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help, description=help)
        command.set_defaults(command=function)
        command.add_argument("--json", action="store_true", help="machine-readable output")
        return command

    def add_for_params(name: str, function: Callable[[Any], int], help: str, *, nargs: str = "+") -> Any:
        command = add(name, function, help)
        command.add_argument("params", nargs=nargs, metavar="PARAMS", help="params files of studies, or grid files")
        command.add_argument(
            "-p", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), dest="pairs", help="set a parameter"
        )
        return command

    run = add_for_params("run", _run, "compute what is missing, then execute the notebooks", nargs="*")
    run.add_argument("--claim", metavar="ID", help="add seeds for one claim, and only the runs that it reads")
    run.add_argument("--seeds", type=int, metavar="N", help="of --claim: how many seeds in all")
    run.add_argument("--results", default="", help="of --claim: results folder (default: results/ of the project)")
    run.add_argument("--engine", choices=ENGINES, help="override the params' engine")
    run.add_argument("--workers", type=int, help="override the params' workers")
    run.add_argument("--retry-failed", action="store_true", help="compute runs again that failed earlier")
    run.add_argument("--no-notebook", action="store_true", help="stop after the runs")
    planning = add_for_params("plan", _plan, "show how many runs are stored and how many are to compute")
    planning.add_argument(
        "--estimate", action="store_true", help="also what they will take, from stored runs like them"
    )
    planning.add_argument("--probe", action="store_true", help="the same, after computing one run of every kind")
    explain = "show, for each missing run, the nearest stored one and what differs; of a figure, the runs behind it"
    add_for_params("explain", _explain, explain)
    status = add("status", _status, "show what the store holds and what failed")
    listing = add("list", _list, "list components, studies or stored runs")
    listing.add_argument("kind", choices=KINDS, metavar="|".join(KINDS))
    reproduce = add("reproduce", _reproduce, "run the studies of a profile; print figures, tables and verdicts")
    reproduce.add_argument("study", nargs="?", help="one study, such as 01_data_scaling")
    reproduce.add_argument("--profile", default="cpu", help="smoke, cpu, gpu-micro, gpu or paper")
    figures = add("figures", _figures, "draw all figures again from what reports have kept")
    figures.add_argument("--profile", default="", help="one profile (default: all)")
    figures.add_argument("--sheet", action="store_true", help="also write contact sheets at print size")
    site = add("report", _report, "write the static HTML report of a profile")
    site.add_argument("--profile", default="cpu", help="smoke, cpu, gpu-micro, gpu or paper")
    site.add_argument("--readme", action="store_true", help="instead bring the README's summary up to date")
    verify = add("verify", _verify, "check reports: hashes, verdicts, dates of claims, and the reference")
    verify.add_argument("--profile", default="", help="one profile (default: all)")
    verify.add_argument("--against", default="", metavar="FOLDER", help="another results folder, not the reference")
    verify.add_argument("--as-reference", action="store_true", help="keep these reports as the reference")
    cleaning = add("clean", _clean, "say what of the store could go, and remove the kinds that are named")
    cleaning.add_argument("kinds", nargs="*", metavar="KIND", help="aside, features or weights; never runs")
    cleaning.add_argument("--dry-run", action="store_true", help="remove nothing; so it is without a kind")
    new = add("new", _new, "write a new study that runs at once: module, claim, params, notebook and test")
    new.add_argument("study", metavar="STUDY", help="its name, such as 05_curriculum")
    benchmark = add("benchmark", _benchmark, "ask stored runs tasks of lm-evaluation-harness; add to a CSV of scores")
    benchmark.add_argument("--tasks", required=True, help="names of tasks, with commas between them: gsm8k,ifeval")
    benchmark.add_argument("--include", default="", metavar="FOLDER", help="your own task files; they can run code")
    meaning = add("semscore", _semscore, "compare what stored runs say with the right answers; add to a CSV of scores")
    meaning.add_argument("--model", required=True, help="a sentence-embedding model: a folder, or org/name@revision")
    for command in (benchmark, meaning):
        command.add_argument("runs", nargs="+", metavar="RUN", help="key or digest of a stored run, tuned or not")
        command.add_argument("--limit", type=int, metavar="N", help="only the first N items of each task or family")
        command.add_argument("--out", required=True, metavar="CSV", help="where scores are added; the parameter scores")
        command.add_argument("--retrain", action="store_true", help="train runs again that kept no weights")
    for command in (status, listing, reproduce, figures, site, verify, cleaning, benchmark, meaning):
        command.add_argument("--results", default="", help="results folder (default: results/ of the project)")
    choose = add("select", _select, "select examples of a file and write them as JSONL, parquet and a dataset card")
    choose.add_argument("--data", required=True, help="a local file, org/name@revision, or microworld")
    choose.add_argument("--model", default="micro-1m", help="the model that scores: shipped, a folder, or org/name")
    choose.add_argument("--selector", required=True, help="one of `itlib list selectors`")
    choose.add_argument("--n", type=int, required=True, help="how many examples to take")
    choose.add_argument("-o", action="append", default=[], metavar="NAME=VALUE", dest="given", help="selector option")
    choose.add_argument("--band", default="top", help="top, middle or bottom of the scores")
    choose.add_argument("--stratified", action="store_true", help="equal numbers per family")
    choose.add_argument("--scorer", default="base", help="base, warm-N or another model")
    choose.add_argument("--max-length", type=int, default=0, help="longer examples are left out [tokens]; 0: context")
    choose.add_argument("--on-bad-rows", default="refuse", help="refuse or quarantine")
    choose.add_argument("--seed", type=int, default=0)
    choose.add_argument("--results", default="", help="where features are kept (default: results/ of the project)")
    choose.add_argument("--out", required=True, help="folder to write; it must not exist yet")
    show = add("params", _params, "print the table of a study's parameters")
    show.add_argument("study", choices=sorted(STUDIES))
    return parser


def _loaded(options: argparse.Namespace, runtime: dict[str, Any] | None = None) -> list[Any]:
    pairs = parse_overrides([text for pair in options.pairs for text in pair])
    return load(options.params, pairs, _note, runtime)


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _run(options: argparse.Namespace) -> int:
    runtime = {name: value for name in ("engine", "workers") if (value := getattr(options, name)) is not None}
    runtime |= {"retry_failed": True} if options.retry_failed else {}
    if options.workers is not None and options.workers < 0:
        raise InputError(f"--workers: must not be negative, got {options.workers}")
    if options.claim is not None:
        return _run_claim(options)
    if not options.params:
        raise InputError("run: name params files of studies, or --claim ID --seeds N")
    if options.seeds is not None or options.results:
        raise InputError(
            "--seeds and --results belong to --claim; for a study use -p seeds '[0, 1]' or -p results FOLDER"
        )
    return _run_all(_loaded(options, runtime), options, notebook=not options.no_notebook)


def _run_claim(options: argparse.Namespace) -> int:
    from itlib import more_seeds
    from itlib.notebooks import execute_notebook, report_folder

    if options.params or options.pairs:
        raise InputError("--claim: the params follow from the claim; leave out files and -p")
    if options.seeds is None:
        raise InputError("--claim: --seeds N says how many seeds in all")
    more = more_seeds.prepare(options.claim, options.seeds, options.results)
    how = {"engine": options.engine or "process", "workers": options.workers or 0}
    done = more_seeds.compute(more, open_store(more.params.results), **how)
    with more_seeds.apart(more) as params:
        folder = report_folder(more.study, params)
        if not options.no_notebook:
            execute_notebook(more.study, params)
    outcome = Outcome(
        f"{more.claim}, {len(more.params.seeds)} seeds", folder, tuple(done), _verdicts(folder, more.claim)
    )
    return _print_outcome(outcome, as_json=options.json).exit_code


def _verdicts(folder: Path, claim_id: str) -> tuple[dict[str, Any], ...]:
    path = folder / "claims.json"
    found = json.loads(path.read_text()) if path.is_file() else []
    return tuple(verdict for verdict in found if verdict["id"] == claim_id)


def _reproduce(options: argparse.Namespace) -> int:
    changes = {"results": options.results} if options.results else {}
    return _run_all(load(headline_studies(options.profile, options.study), changes, _note), options, notebook=True)


def _run_all(batches: list[Any], options: argparse.Namespace, *, notebook: bool) -> int:
    for batch in batches if len(batches) > 1 else ():
        known_specs(batch)  # a batch that cannot run is refused before the first one starts
    outcomes = [
        _print_outcome(
            run_grid(batch) if isinstance(batch, GridBatch) else run_study(batch, notebook=notebook),
            as_json=options.json,
        )
        for batch in batches
    ]
    return max(outcome.exit_code for outcome in outcomes)


def _print_outcome(outcome: Outcome, *, as_json: bool) -> Outcome:
    if as_json:
        statuses = Counter(result.status for result in outcome.results)
        verdicts = {claim["id"]: claim["verdict"] for claim in outcome.verdicts}
        print(json.dumps({"name": outcome.name, "folder": str(outcome.folder), "runs": statuses, "verdicts": verdicts}))
        return outcome
    print(f"{outcome.name}: {outcome.counts()}" if outcome.results else f"{outcome.name}: done")
    for result in outcome.results:
        if result.status != "done":
            print(f"  {result.status}: {key(result.spec)} {result.error}")
    for name in ("notebook.ipynb", "figures", "tables", "frame.csv", "claims.json"):
        if (outcome.folder / name).exists():
            print(f"  {name:15} {_shown(outcome.folder / name)}")
    for claim in outcome.verdicts:
        print(f"  {claim['id']:6} {claim['verdict']:13} {claim['statement']}")
    return outcome


def _shown(path: Path) -> str:
    """Return a path below the current folder in its short form."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _plan(options: argparse.Namespace) -> int:
    rows = []
    for batch in _loaded(options):
        specs, store, note = known_specs(batch)
        grid = plan(specs, store)
        name = batch.name if isinstance(batch, GridBatch) else batch.study
        row = {"name": name, "runs": len(grid.specs), "stored": grid.stored, "failed": grid.failed, "note": note}
        rows.append(row)
        if not options.json:
            print(f"{name}: {grid}" + (f"; {note}" if note else ""))
        if options.estimate or options.probe:
            row["estimate"] = _estimated(batch, store, probing=options.probe, silent=options.json)
    if options.json:
        print(json.dumps(rows, indent=1))
    return 0


def _estimated(batch: Any, store: Store, *, probing: bool, silent: bool) -> dict[str, Any]:
    """Print and return what a batch will take; with a probe, one run of every kind is computed first."""
    from itlib import estimate
    from itlib.engines import run_all
    from itlib.engines.process import default_workers

    every = plan(expected_specs(batch), store).specs
    workers = getattr(getattr(batch, "params", None), "workers", 0) or default_workers(every)
    estimate.check_memory(every, workers)
    if probing:
        run_all(estimate.probe(every, store), store, engine="process", workers=workers, progress=not silent)
    found = estimate.estimate(every, store)
    if not silent:
        print(f"  {found.text(workers)}")
    return dataclasses.asdict(found) | {"workers": workers, "wall_seconds": found.seconds / workers}


def _figures(options: argparse.Namespace) -> int:
    from itlib import redraw
    from itlib.figure_checks import contact_sheet

    root = results_root(options.results)
    folders = redraw.reports(root, options.profile)
    if not folders:
        raise InputError(f"{_shown(root / options.profile)}: no finished report here; run a study first")
    drawn = list(chain.from_iterable(spread(redraw.redraw, [(folder,) for folder in folders], engine="process")))
    pages: list[Path] = []
    for profile in dict.fromkeys(folder.parent for folder in folders) if options.sheet else ():
        images = [item.report / "figures" / f"{item.name}.png" for item in drawn if item.report.parent == profile]
        pages += contact_sheet(images, profile / "contact_sheet.png") if images else []
    changed = [str(item.report / path) for item in drawn for path in item.changed]
    if options.json:
        print(json.dumps({"figures": len(drawn), "changed": changed, "pages": list(map(str, pages))}))
        return 0
    print(f"{len(drawn)} figures of {len(folders)} reports drawn again, {len(changed)} images changed")
    for path in (*changed, *map(str, pages)):
        print(f"  {_shown(Path(path))}")
    return 0


def _report(options: argparse.Namespace) -> int:
    if options.readme:
        from itlib import readme

        written = readme.write(project_root())
        print(json.dumps(list(map(str, written))) if options.json else "\n".join(_shown(path) for path in written))
        return 0
    from itlib.site import build

    page = build(results_root(options.results), options.profile)
    print(json.dumps({"page": str(page)}) if options.json else f"{_shown(page)}: open it in a browser")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from itlib import verify
    from itlib.redraw import reports

    root = results_root(options.results)
    folders = reports(root, options.profile)
    if not folders:
        raise InputError(f"{_shown(root / options.profile)}: no finished report here; run a study first")
    findings = [finding for folder in folders for finding in verify.check_report(folder)]
    if options.as_reference:
        if any(finding.outcome == verify.FAILS for finding in findings):
            raise InputError("--as-reference: a report is not what it says; `itlib verify` shows which")
        for folder in folders:
            verify.write_reference(folder, verify.reference_path(project_root(), folder.parent.name, folder.name))
    for folder in folders:
        reference = verify.reference_path(project_root(), folder.parent.name, folder.name)
        if options.against:
            other = results_root(options.against) / folder.parent.name / folder.name
            known = verify.condensed(other) if (other / "manifest.json").is_file() else None
        else:
            known = verify.read_reference(reference) if reference.is_file() else None
        findings += verify.compare(verify.condensed(folder), known) if known else []
    failed = [finding for finding in findings if finding.outcome == verify.FAILS]
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            if finding.outcome != verify.AGREES:
                print(f"{finding.outcome:8} {finding.about}: {finding.text}")
        counts = Counter(finding.outcome for finding in findings)
        print(f"{len(folders)} reports: " + ", ".join(f"{n} {outcome}" for outcome, n in counts.items()))
    return 3 if failed else 0


def _clean(options: argparse.Namespace) -> int:
    from itlib import clean

    store = open_store(options.results)
    removing = bool(options.kinds) and not options.dry_run
    found = clean.waste(store.root, options.kinds or clean.KINDS)
    if removing:
        clean.remove(found)
    rows = [{"kind": part.kind, "entries": len(part.entries), "bytes": part.n_bytes} for part in found]
    if options.json:
        print(json.dumps({"store": str(store.root), "removed": removing, "kinds": rows}, indent=1))
        return 0
    print(f"{_shown(store.root)}: {'removed' if removing else 'what could go, nothing was removed'}")
    for row in rows:
        size = f"{row['bytes'] / 1e6:10.1f} MB"
        print(f"  {row['kind']:9} {row['entries']:6} entries {size}   {clean.KINDS[row['kind']]}")
    return 0


def _new(options: argparse.Namespace) -> int:
    from itlib import new_study

    written = [_shown(path) for path in new_study.create(options.study, project_root())]
    print(json.dumps(written) if options.json else "\n".join(written))
    return 0


def _explain_figure(path: Path, *, as_json: bool) -> int:
    from itlib.redraw import trace

    found = trace(path)
    if as_json:
        print(json.dumps(found, indent=1))
        return 0
    for name in ("study", "profile", "command", "data_sha256"):
        print(f"{name:12} {found.get(name, '')}")
    runs = found.get("runs", [])
    print(f"{'runs':12} {len(runs)}: {' '.join(runs)}")
    return 0


def _explain(options: argparse.Namespace) -> int:
    images = [Path(text) for text in options.params if Path(text).suffix.lower() in (".png", ".svg", ".pdf")]
    if images and len(images) < len(options.params):
        raise InputError("explain: either figures or params files, not both at once")
    if images:
        return max(_explain_figure(path, as_json=options.json) for path in images)
    rows = []
    for batch in _loaded(options):
        specs, store, _ = known_specs(batch)
        stored = list(store.specs())
        for spec in plan(specs, store).specs:
            failure = store.get_failure(spec)
            nearest = min(stored, key=lambda other: len(diff(spec, other)), default=None)
            state = "stored" if store.has(spec) else "failed" if failure else "missing"
            row = {"run": key(spec), "state": state, "error": failure.error if failure else ""}
            row |= (
                {"nearest": key(nearest), "differs": diff(spec, nearest)} if nearest else {"nearest": "", "differs": {}}
            )
            rows.append(row)
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        if row["state"] != "stored":
            print(f"{row['run']}: {row['state']} {row['error']}".rstrip())
            for field, (mine, other) in row["differs"].items():
                print(f"    {field}: {mine!r} here, {other!r} in {row['nearest']}")
    print(f"{sum(row['state'] == 'stored' for row in rows)} of {len(rows)} runs are stored")
    return 0


def _status(options: argparse.Namespace) -> int:
    store = open_store(options.results)
    report = store.summary()
    if options.json:
        print(json.dumps(report, indent=1))
        return 0
    print(
        f"{_shown(store.root)}: {report['runs']} runs stored ({report['bytes'] / 1e6:.1f} MB), "
        f"{report['diverged']} diverged, {len(report['failed'])} failed, {report['aside']} damaged and put aside, "
        f"{report['unreadable']} unreadable"
    )
    for failure in report["failed"]:
        print(f"  failed: {failure['run']}: {failure['error']}")
    return 0


def _list(options: argparse.Namespace) -> int:
    if options.kind == "runs":
        specs = list(open_store(options.results).specs())
        rows = [{"run": key(spec), "digest": digest(spec), "spec": flatten(spec)} for spec in specs]
        print(json.dumps(rows, indent=1) if options.json else "\n".join(map(key, specs)))
        return 0
    names = list(STUDIES) if options.kind == "studies" else getattr(registry, options.kind).names()
    print(json.dumps(names) if options.json else "\n".join(names))
    return 0


def _select(options: argparse.Namespace) -> int:
    from itlib.export import export_selection

    folder = export_selection(
        Path(options.out),
        data=options.data,
        model=options.model,
        store=open_store(options.results),
        selector=options.selector,
        n_train=options.n,
        selector_options=tuple(options.given),
        selection_band=options.band,
        stratified=options.stratified,
        scorer=options.scorer,
        max_length=options.max_length,
        on_bad_rows=options.on_bad_rows,
        seed=options.seed,
    )
    names = sorted(path.name for path in folder.iterdir())
    print(
        json.dumps({"folder": str(folder), "files": names}) if options.json else f"{_shown(folder)}: {', '.join(names)}"
    )
    return 0


def _benchmark(options: argparse.Namespace) -> int:
    """Ask tasks of run after run."""
    from itlib import harness

    tasks = list(dict.fromkeys(name.strip() for name in options.tasks.split(",") if name.strip()))
    if not tasks:
        raise InputError(f"--tasks: {options.tasks!r} names no task; gsm8k,ifeval would be right")
    store, specs = _models_asked(options)
    manager = harness.task_manager(tasks, options.include)
    return _add_scores(
        options, store, specs, lambda spec: harness.benchmark(spec, store, tasks, manager=manager, limit=options.limit)
    )


def _semscore(options: argparse.Namespace) -> int:
    """Score the answers of run after run."""
    from itlib.semscore import Embedder, semscore

    store, specs = _models_asked(options)
    embed = Embedder(options.model)
    return _add_scores(options, store, specs, lambda spec: semscore(spec, store, embed, limit=options.limit))


def _models_asked(options: argparse.Namespace) -> tuple[Store, list[RunSpec]]:
    """Return the store and the runs that are asked; a limit or a file that cannot be is refused first."""
    from itlib import harness

    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit: must be greater than 0, got {options.limit}")
    append(options.out, [])
    store = open_store(options.results)
    return store, harness.find_runs(store, options.runs)


def _add_scores(
    options: argparse.Namespace, store: Store, specs: list[RunSpec], ask: Callable[[RunSpec], list[dict[str, Any]]]
) -> int:
    """Evaluate run after run; what a run gives is written before the next one starts."""
    from itlib import harness

    for spec in specs:
        if options.retrain:
            harness.keep_weights(spec, store)
        harness.check_model(spec, store)
    for spec in specs:
        rows = ask(spec)
        n_added = append(options.out, rows)
        if options.json:
            print(json.dumps({"run": key(spec), "scores": rows, "added": n_added, "out": options.out}))
            continue
        print(f"{key(spec)}: {n_added} of {len(rows)} scores added to {options.out}")
        for row in rows:
            print(f"  {row['family']} {row['metric']} {row['value']:.4f} ({row['n']} items)")
    return 0


def _params(options: argparse.Namespace) -> int:
    print(markdown_table(schema(options.study)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
