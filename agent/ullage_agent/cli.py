"""``ullage-agent``: the commands of docs/interfaces.md. JSON stands alone on stdout, everything else on stderr.

Everything is imported inside the command that needs it: ``check`` runs before every job of a cluster
and must not pay for the daemon.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from ullage_agent.config import Config

GOOD, FAILED, PARTIAL = 0, 1, 3


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and words[0] == "check":
        from ullage_agent.commands.check import main as check

        return check(words[1:])
    return _main(words)


def _main(words: list[str]) -> int:
    from ullage_contract.command import exit_code
    from ullage_contract.errors import UllageError

    options = _parser().parse_args(words)
    _log_to_stderr(getattr(options, "log_level", None) or "warning")
    try:
        return int(options.run(options))
    except UllageError as e:
        print(f"ullage-agent: {e}", file=sys.stderr)
        return exit_code(e)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away; nobody is left to tell
        return FAILED
    except KeyboardInterrupt:
        return FAILED


def _parser() -> ArgumentParser:
    from pathlib import Path

    from ullage_agent import config
    from ullage_contract import __version__
    from ullage_contract.command import Parser

    class AgentParser(Parser):
        config_default = config.DEFAULT_PATH
        data_default = config.DEFAULT_DATA

    parser = AgentParser(prog="ullage-agent", description="Reads this server's accelerators, ports and host.")
    parser.add_argument("--version", action="version", version=f"ullage-agent {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Any, text: str) -> ArgumentParser:
        added = commands.add_parser(name, help=text)
        added.set_defaults(run=run)
        return added

    as_json = "JSON on stdout instead of a table"
    command("run", _run, "the daemon")
    once = command("once", _once, "one sample of everything, then exit")
    once.add_argument("--json", action="store_true", help=as_json)
    once.add_argument(
        "--tier", choices=("fast", "slow"), default="slow", help="how much is read (slow: everything)"
    )
    probe = command("probe", _probe, "per maker: found, tried, why not used")
    probe.add_argument("--json", action="store_true", help=as_json)
    backends = command("backends", _backends, "the makers this installation knows")
    backends.add_argument("--json", action="store_true", help=as_json)
    decode = command("decode", _decode, "a recorded tool output as cards")
    decode.add_argument("maker", metavar="MAKER", help="a maker's name, rdma, or kernel-log (kmsg)")
    decode.add_argument("file", metavar="FILE", help="the recorded text; - is stdin")
    decode.add_argument("--json", action="store_true", help=as_json)
    bundle = command("bundle", _bundle, "a file with what a maintainer needs, names and addresses hidden")
    bundle.add_argument("--out", type=Path, metavar="FILE", help="default ./ullage-bundle-<time>.tar.gz")
    bundle.add_argument("--reveal", action="store_true", help="hide nothing")
    inject = command(
        "inject", _inject, "faults made on purpose, where [inject] allow = true; list says which"
    )
    inject.add_argument("scenario", metavar="NAME|FILE", help="list, a shipped scenario, or a file of one")
    inject.add_argument(
        "--seconds", type=float, default=3600.0, metavar="N", help="how long a mix runs (3600)"
    )
    inject.add_argument("--seed", type=int, default=1, metavar="N", help="of a mix (1)")
    inject.add_argument(
        "--faster", type=float, default=1.0, metavar="N", help="times a mix's measured rate (1)"
    )
    inject.add_argument("--dry-run", action="store_true", help="print what would be made, make nothing")
    check = command("check", _check, "one line and an exit code from the running agent's last state")
    check.add_argument("--card", metavar="N", help="index, minor, UUID or PCI address")
    check.add_argument("--unknown-fails", action="store_true", help="exit 3 when the state is unknown")
    return parser


def _log_to_stderr(level: str) -> None:
    import logging
    import os

    # under systemd the journal adds time and level by itself: <N> is its priority prefix
    if os.environ.get("JOURNAL_STREAM"):
        from ullage_agent.journal_format import JournalFormatter

        handler = logging.StreamHandler()
        handler.setFormatter(JournalFormatter())
        logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
        return
    logging.basicConfig(
        level=level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )


def _config(options: Namespace) -> Config:
    from ullage_agent import config

    return config.load(getattr(options, "config", None), data=getattr(options, "data", None))


def _run(options: Namespace) -> int:
    from ullage_agent import daemon

    config = _config(options)
    _log_to_stderr(getattr(options, "log_level", None) or config.log_level)
    return daemon.run(config, load=lambda: _config(options))


def _once(options: Namespace) -> int:
    from ullage_agent.assembly import Agent
    from ullage_agent.commands.snapshot import Gathered, document
    from ullage_contract.catalogue import Tier
    from ullage_contract.clock import SystemClock

    gathered = Gathered()
    config = _config(options)
    agent = Agent(config, SystemClock(), sinks=[gathered])
    try:
        patience = config.sampling.start_deadline_seconds + config.sampling.tick_budget_seconds
        tick = agent.tick(Tier(options.tier), patience_seconds=patience)
        found = document(agent, tick, gathered)
    finally:
        agent.close()
    if options.json:
        _print_json(found)
    else:
        from ullage_agent.commands import tables

        print(tables.once(found))
    return GOOD if all(report.success for report in tick.reports) else PARTIAL


def _probe(options: Namespace) -> int:
    from ullage_agent import makers, registry
    from ullage_agent.backend import Host
    from ullage_agent.commands.snapshot import makers_json

    config = _config(options)
    found = makers.find(registry.load(), config, Host(node_id=config.node))
    document = {"schema_version": 1, "node": config.node, "makers": makers_json(found)}
    if options.json:
        _print_json(document)
    else:
        from ullage_agent.commands import tables

        print(tables.probe(document))
    return GOOD


def _backends(options: Namespace) -> int:
    from ullage_agent import registry
    from ullage_agent.commands import imports

    known = registry.load()
    missing = imports.problems(known.backends)
    document = {
        "schema_version": 1,
        "backends": [
            {
                "name": b.name,
                "title": b.title,
                "reads": b.reader is not None,
                "decodes": b.decoder is not None,
                "kernel_log": b.kernel_log is not None,
                "simulated": b.simulated,
                "util_kind": b.util_kind,
                "pci": [{"vendor": vendor, "classes": list(classes)} for vendor, classes in b.pci],
                "sources": dict(b.sources),
                "problems": [*b.mistakes(), *missing.get(b.name, ())],
            }
            for b in known.backends
        ],
        "broken": [
            {"name": b.name, "entry": b.entry, "distribution": b.distribution, "message": b.message}
            for b in known.broken
        ],
    }
    if options.json:
        _print_json(document)
    else:
        from ullage_agent.commands import tables

        print(tables.backends(document))
    troubled = known.broken or missing or any(b.mistakes() for b in known.backends)
    return PARTIAL if troubled else GOOD


def _decode(options: Namespace) -> int:
    from ullage_agent.commands import decode

    known = decode.decoder_of(
        options.maker
    )  # before the file is read: of two mistakes the first word's is told
    document = decode.as_document(decode.checked(known, decode.read(options.file)))
    if options.json:
        _print_json(document)
    else:
        from ullage_agent.commands import tables

        print(tables.decoded(document))
    return GOOD


def _bundle(options: Namespace) -> int:
    from ullage_agent.commands import bundle

    return bundle.run(_config(options), out=options.out, reveal=options.reveal)


def _inject(options: Namespace) -> int:
    from ullage_agent.commands import inject
    from ullage_contract.clock import SystemClock

    config = _config(options)
    if options.scenario == "list":
        _print_json(inject.listing(config))
        return GOOD
    _print_json(
        inject.run(
            config,
            options.scenario,
            SystemClock(),
            seconds=options.seconds,
            seed=options.seed,
            faster=options.faster,
            dry_run=options.dry_run,
        )
    )
    return GOOD


def _check(options: Namespace) -> int:
    from ullage_agent.commands.check import main as check

    words = ["--data", str(options.data)] if hasattr(options, "data") else []
    words += ["--card", options.card] if options.card is not None else []
    words += ["--unknown-fails"] if options.unknown_fails else []
    return check(words)


def _print_json(document: dict[str, Any]) -> None:
    import json

    json.dump(document, sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    print()
