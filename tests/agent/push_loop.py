"""A process that spools and pushes as fast as it can, for the kill tests: ``push_loop.py DIRECTORY URL``.

Prints the number of every row once it is spooled, so that the test knows what was promised.
"""

from __future__ import annotations

import sys
from pathlib import Path

from batch_rows import samples_body

from ullage_agent.outputs.push import Pusher
from ullage_agent.outputs.quarantine import Quarantine
from ullage_agent.outputs.spool import Spool
from ullage_agent.outputs.transport import Endpoint, HttpTransport
from ullage_contract.clock import SystemClock


def main() -> None:
    place, url, first = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    spool = Spool(place / "samples", lane="samples", quarantine=Quarantine(place / "quarantine"))
    pusher = Pusher(spool, HttpTransport(Endpoint(url=url)), clock=SystemClock())
    pusher.start("push")
    number = first
    while True:
        spool.append(samples_body(number))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        pusher.wake()
        number += 1


if __name__ == "__main__":
    main()
