"""Load on a server and what it answered: one door, an open or a closed loop, simulated cameras, a deadline."""

from synpose.bench.doors import DOORS, Door
from synpose.bench.load import Load, closed_loop, open_loop
from synpose.bench.measured import Answer, Report
from synpose.bench.workload import Workload

__all__ = ["DOORS", "Answer", "Door", "Load", "Report", "Workload", "closed_loop", "open_loop"]
