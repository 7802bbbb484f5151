"""A small real Slurm for tests: munge, MariaDB, slurmdbd, slurmctld and a slurmd a node, all below one directory.

Cards are character devices (twins of /dev/null), so that jobs get real GRES indices; users are Unix users that
every Debian has. Everything listens on 127.0.0.1 at free ports and is ended with the cluster.
``why_not()`` says what is missing on this machine.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROGRAMS: Final = [
    "munged",
    "mariadbd",
    "mariadb",
    "mariadb-install-db",
    "slurmdbd",
    "slurmctld",
    "slurmd",
    "sacctmgr",
    "scontrol",
    "squeue",
    "sacct",
    "sbatch",
]
SEARCHED: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
CLUSTER: Final = "tiny"
USERS: Final = {"daemon": "nlp", "games": "vision", "backup": "search"}
"""Unix users of every Debian and the account each submits under."""


def why_not() -> str | None:
    """What this machine lacks to run the cluster; None: nothing."""
    if os.geteuid() != 0:
        return "a small Slurm needs root: it makes device files and starts jobs of several users"
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]
    if missing:
        packages = "slurm-wlm slurmdbd mariadb-server munge"
        return f"a small Slurm needs {', '.join(missing)} (Debian: {packages})"
    return None


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its GRES type and the numbers its cards' device files carry, in gres.conf's order."""

    name: str
    type: str
    numbers: tuple[int, ...]


NODES: Final = (
    Node("g1", "h200", tuple(range(8))),
    Node("g2", "h200", tuple(range(8))),
    Node("m1", "mi300x", (0, 1, 2, 4, 5, 6, 7)),  # number 3 is missing: index and number part ways
)


class SlurmCluster:
    """The daemons and their directory. Times out with what the logs say last."""

    def __init__(self, folder: Path, nodes: Sequence[Node] = NODES, extra: str = "") -> None:
        self.folder = folder
        self.nodes = tuple(nodes)
        self.extra = extra
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.stopped: list[tuple[str, float, float]] = []
        """(daemon, from, to) of every stop that was followed by a start, seconds since the epoch."""
        self._stopped_at: dict[str, float] = {}
        ports = _free_ports(3 + len(self.nodes))
        self.controller_port, self.database_port, self.accounting_port, *self.node_ports = ports
        self._password = secrets.token_hex(12)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs, beside the PATH."""
        return {"SLURM_CONF": str(self.folder / "etc" / "slurm.conf")}

    # ---- life

    def start(self) -> None:
        """Everything up, accounts made, every node idle."""
        for name in ("etc", "run", "log", "state", "spool", "dev", "db", "munge", "jobs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for path in (self.folder, *self.folder.iterdir()):
            path.chmod(0o755)
        (self.folder / "munge").chmod(0o700)
        (self.folder / "jobs").chmod(0o1777)
        self._configure()
        self.start_part("munged")
        self._start_database()
        self.start_part("slurmdbd")
        self._until(lambda: self.tool("sacctmgr", "-nP", "show", "cluster", check=False).returncode == 0)
        self._accounts()
        self.start_part("slurmctld")
        for node in self.nodes:
            self.start_part(f"slurmd-{node.name}")
        self._until(self._idle, 90)

    def stop(self) -> None:
        """End every daemon and every job."""
        if "slurmctld" in self.daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.tool("scancel", "--quiet", "--full", "--signal=KILL", "--state=RUNNING", check=False)
        for name in sorted(self.daemons, key=lambda n: ("slurmd-" not in n, n != "slurmctld", n)):
            self.stop_part(name)
        self._end_strays()

    def _end_strays(self) -> None:
        """Job steps outlive their slurmd: end those that carry our directory in their environment."""
        mark = os.fsencode(f"SLURM_CONF={self.folder}/")
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if (
                        mark in (entry / "environ").read_bytes()
                        or os.fsencode(f"{self.folder}/") in (entry / "cmdline").read_bytes()
                    ):
                        os.kill(int(entry.name), signal.SIGKILL)

    def stop_part(self, name: str, *, kill: bool = False) -> None:
        """End one daemon: munged, mariadbd, slurmdbd, slurmctld, slurmd-NODE."""
        process = self.daemons.pop(name)
        self._stopped_at[name] = time.time()
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)

    def start_part(self, name: str, *more: str) -> None:
        """Begin one daemon; returns at once but for munged. more: arguments of a slurmd, as -b: it was rebooted."""
        folder, run = self.folder, self.folder / "run"
        if name == "munged":
            argv = [
                "munged",
                "--foreground",
                "--force",
                f"--key-file={folder / 'munge' / 'key'}",
                f"--socket={run / 'munge.socket'}",
                f"--pid-file={run / 'munged.pid'}",
                f"--seed-file={folder / 'munge' / 'seed'}",
                f"--log-file={folder / 'log' / 'munged.log'}",
            ]
        elif name == "mariadbd":
            argv = [
                "mariadbd",
                "--no-defaults",
                "--user=root",
                f"--datadir={folder / 'db'}",
                f"--socket={run / 'db.socket'}",
                f"--pid-file={run / 'mariadbd.pid'}",
                "--bind-address=127.0.0.1",
                f"--port={self.database_port}",
                "--innodb-buffer-pool-size=32M",
                "--innodb-lock-wait-timeout=900",
                "--innodb-flush-log-at-trx-commit=2",
                f"--log-error={folder / 'log' / 'mariadbd.log'}",
            ]
        elif name in ("slurmdbd", "slurmctld"):
            argv = [name, "-D"]
        else:
            argv = ["slurmd", "-D", "-N", name.removeprefix("slurmd-"), *more]
        with (folder / "log" / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                [str(shutil.which(argv[0], path=SEARCHED)), *argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environment(),
                start_new_session=True,
            )
        if name in self._stopped_at:
            self.stopped.append((name, self._stopped_at.pop(name), time.time()))
        if name == "munged":
            self._until(lambda: (run / "munge.socket").exists())

    # ---- talking to it

    def tool(
        self, *argv: str, check: bool = True, more: Mapping[str, str] | None = None, seconds: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a Slurm program against the cluster."""
        done = subprocess.run(
            [str(shutil.which(argv[0], path=SEARCHED)), *argv[1:]],
            capture_output=True,
            text=True,
            env={**self._environment(), **(more or {})},
            timeout=seconds,
            check=False,
            cwd=self.folder / "jobs",
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: {done.returncode}: {done.stderr.strip()}")
        return done

    def submit(self, user: str, script: str, *options: str) -> str:
        """sbatch as one of USERS under its account; the job's id."""
        done = self.tool(
            "sbatch",
            "--parsable",
            f"--uid={user}",
            "--output=/dev/null",
            "--account",
            USERS.get(user, "nlp"),
            *options,
            "--wrap",
            script,
        )
        return done.stdout.strip().partition(";")[0]

    def _environment(self) -> dict[str, str]:
        return {"PATH": SEARCHED, "HOME": "/root", "LANG": "C.UTF-8", **self.environment}

    def _idle(self) -> bool:
        done = self.tool("sinfo", "-h", "-N", "-o", "%N %t", check=False)
        lines = set(done.stdout.splitlines())
        return done.returncode == 0 and lines == {f"{node.name} idle" for node in self.nodes}

    def _until(self, good: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if good():
                    return
            except subprocess.TimeoutExpired:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(f"the small Slurm does not come up: {self.logs()}")
            time.sleep(0.2)

    def logs(self, lines: int = 8) -> str:
        """The end of every log."""
        found = []
        for path in sorted((self.folder / "log").iterdir()):
            tail = path.read_text("utf-8", "replace").splitlines()[-lines:]
            found += [f"--- {path.name}", *tail]
        return "\n".join(found)

    # ---- making it

    def _start_database(self) -> None:
        folder = self.folder
        subprocess.run(
            [
                str(shutil.which("mariadb-install-db", path=SEARCHED)),
                "--no-defaults",
                "--user=root",
                f"--datadir={folder / 'db'}",
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        self.start_part("mariadbd")
        sql = ["mariadb", "--no-defaults", f"--socket={folder / 'run' / 'db.socket'}", "-uroot", "-e"]
        self._until(lambda: self.tool(*sql, "select 1", check=False).returncode == 0)
        self.tool(
            *sql,
            f"create user slurm@127.0.0.1 identified by '{self._password}';"
            "create database slurm_acct; grant all on slurm_acct.* to slurm@127.0.0.1;",
        )

    def _accounts(self) -> None:
        manager = ("sacctmgr", "-i", "-Q")
        self.tool(*manager, "add", "cluster", CLUSTER)
        self.tool(*manager, "add", "account", "research", "Organization=research")
        for account in ("nlp", "vision"):
            self.tool(*manager, "add", "account", account, "parent=research", "Organization=research")
        self.tool(*manager, "add", "account", "search", "ullage-fence", "Organization=root")
        for user, account in USERS.items():
            self.tool(*manager, "add", "user", user, f"account={account}")
        for account in ("nlp", "vision", "search", "ullage-fence"):
            self.tool(*manager, "add", "user", "root", f"account={account}", check=False)

    def _configure(self) -> None:
        folder, run = self.folder, self.folder / "run"
        key = folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        etc = folder / "etc"
        gres, nodes = [], []
        for node, port in zip(self.nodes, self.node_ports, strict=True):
            devices = folder / "dev" / node.name
            devices.mkdir(exist_ok=True)
            (folder / "spool" / node.name).mkdir(exist_ok=True)
            for number in node.numbers:
                _device(devices / f"card{number}")
            listed = _ranges(node.numbers)
            flags = "amd_gpu_env" if node.type.startswith("mi") else "nvidia_gpu_env"
            gres.append(
                f"NodeName={node.name} AutoDetect=off Name=gpu Type={node.type} Flags={flags} "
                f"File={devices}/card{listed}"
            )
            nodes.append(
                f"NodeName={node.name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=64 "
                f"RealMemory=512000 Gres=gpu:{node.type}:{len(node.numbers)} State=UNKNOWN"
            )
        (etc / "gres.conf").write_text("\n".join(gres) + "\n")
        accounting = etc / "slurmdbd.conf"
        accounting.touch(0o600)
        accounting.write_text(
            f"""AuthType=auth/munge
AuthInfo=socket={run}/munge.socket
CommunicationParameters=NoInAddrAny
DbdAddr=127.0.0.1
DbdHost=localhost
DbdPort={self.accounting_port}
SlurmUser=root
LogFile={folder}/log/slurmdbd.log
PidFile={run}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={self.database_port}
StorageUser=slurm
StoragePass={self._password}
StorageLoc=slurm_acct
"""
        )
        accounting.chmod(stat.S_IRUSR | stat.S_IWUSR)
        types = sorted({node.type for node in self.nodes})
        counted = ",".join(["gres/gpu", *(f"gres/gpu:{name}" for name in types)])
        names = ",".join(node.name for node in self.nodes)
        (etc / "slurm.conf").write_text(
            f"""ClusterName={CLUSTER}
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={self.controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=3,sched_interval=3,defer
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PrologFlags=Alloc
ReturnToService=2
SlurmdTimeout=60
SlurmctldTimeout=60
KillWait=2
MinJobAge=5
InactiveLimit=0
JobRequeue=1
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={self.accounting_port}
AccountingStoragePass={run}/munge.socket
AccountingStorageEnforce=associations
AccountingStorageTRES={counted}
AccountingStoreFlags=job_comment
{self.extra}
"""
            + "\n".join(nodes)
            + f"""
PartitionName=batch Nodes={names} Default=YES MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=spare Nodes={names} MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
"""
        )


@contextlib.contextmanager
def slurm_cluster(
    nodes: Sequence[Node] = NODES, extra: str = "", prepare: Callable[[Path], None] = lambda folder: None
) -> Iterator[SlurmCluster]:
    """A cluster that is up, gone afterwards. Below /var/tmp: munge refuses a directory others may write to.

    extra: lines of slurm.conf, ``{folder}`` in them is the cluster's. prepare: what is done to the folder before.
    """
    folder = Path(tempfile.mkdtemp(prefix="ullage-slurm-", dir="/var/tmp"))
    cluster = SlurmCluster(folder, nodes, extra.replace("{folder}", str(folder)))
    try:
        folder.chmod(0o755)
        prepare(folder)
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _ranges(numbers: Sequence[int]) -> str:
    """The numbers as Slurm writes them in a bracket, runs joined."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return "[" + ",".join(f"{a}-{b}" if b > a else str(a) for a, b in runs) + "]"


def _device(path: Path) -> None:
    """A character device that swallows what is written, like /dev/null."""
    if not path.exists():
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        path.chmod(0o666)


def _free_ports(count: int) -> list[int]:
    """Ports nobody has now."""
    held = []
    try:
        for _ in range(count):
            tried = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            tried.bind(("127.0.0.1", 0))
            held.append(tried)
        return [tried.getsockname()[1] for tried in held]
    finally:
        for tried in held:
            tried.close()
