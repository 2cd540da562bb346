"""Score the shards of a folder in random order, in child processes that are killed at random.

Usage: shard_loop.py FOLDER N_SHARDS N_KILLS. Prints one JSON line: how many were killed, how many
units the killed ones left, and what a child ended with that was not killed.
"""

import json
import os
import random
import signal
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"  # a forked child has no threads but its own

from shard_helpers import loaded_model, worker_at

from gradgate.scoring.shards.folder import PARTS, ShardFolder
from gradgate.scoring.shards.place import Shard
from gradgate.scoring.shards.worker import segment_name


def started(folder: ShardFolder, shard: Shard) -> int:
    """The pid of a child that scores a shard."""
    pid = os.fork()
    if pid:
        return pid
    try:
        worker_at(folder).score(shard)
    except BaseException as error:
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def wait_for_a_unit(folder: ShardFolder, pid: int, before: int) -> None:
    """Until a child has finished a unit more than there were, or has ended."""
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while len(folder.names(PARTS)) <= before and os.waitid(os.P_PID, pid, ended) is None:
        time.sleep(0.001)


def main() -> None:
    folder, count, n_kills = ShardFolder(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    loaded_model()
    chance = random.Random(16)
    pending = [Shard(index, count) for index in range(count)]
    begun = time.perf_counter()
    os.waitpid(started(folder, pending.pop(chance.randrange(count))), 0)
    longest = time.perf_counter() - begun
    killed, n_left, codes = 0, 0, []
    while pending or killed < n_kills:
        if not pending:  # faster than they were killed
            pending.append(Shard(chance.randrange(count), count))
            folder.remove([segment_name(pending[0])])
        shard = chance.choice(pending)
        pid = started(folder, shard)
        if killed < n_kills:
            before = len(folder.names(PARTS))
            time.sleep(chance.uniform(0, 0.7 * longest))
            if killed == n_kills - 1 and n_left == 0:  # all before were killed in their first unit
                wait_for_a_unit(folder, pid, before)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            killed += 1
            n_left = max(n_left, len(folder.names(PARTS)))
            continue
        codes.append(os.waitstatus_to_exitcode(status))
        pending.remove(shard)
    found = {"killed": killed, "most_units_left": n_left, "codes": codes}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
