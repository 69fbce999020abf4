"""Runs one command on given cores and prints what the kernel says of it: `launch.py CORES LOG COMMAND…`.

A script of its own with few imports, because a child's peak memory begins with what its parent held: measured
from a process with pyarrow in it, an empty command would have 100 MiB.
"""

import json
import os
import sys
import time


def main() -> None:
    cores, log, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    if cores:  # inherited by the command
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    actions = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    began = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    figures = {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }
    print(json.dumps({"exit": os.waitstatus_to_exitcode(status), **figures}))


if __name__ == "__main__":
    main()
