"""A suite of stand-ins on a cluster: ``stand_in_suite.py FOLDER ADDRESS`` prints the results."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.suite.support import COMMAND, PLENTY
from verifier.cluster.connect import connected
from verifier.suite import instances, journal
from verifier.suite.remote import Remote
from verifier.suite.run import Setup, run

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with connected(sys.argv[2]), journal.opened(folder) as opened:
        setup = Setup(COMMAND, folder, 2, 1, PLENTY, modules=())
        wanted = instances.read(folder / "instances.csv")
        entries = run(wanted, opened, setup, lambda entry, new: None, runner=Remote)
    sys.stdout.write("".join(f"{entry.result}\n" for entry in entries))
