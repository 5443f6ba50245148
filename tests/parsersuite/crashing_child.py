"""A child as ``tests.parsersuite.child``, which crashes at the task that is called ``crash``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from backends.codec import to_json
from tests.parsersuite.outcome import Outcome

if __name__ == "__main__":
    with Path(sys.argv[3]).open("a") as lines:
        for line in Path(sys.argv[2]).read_text().splitlines():
            name = json.loads(line)["name"]
            print(json.dumps({"start": name}), file=lines, flush=True)
            if name == "crash":
                print("its last words", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGSEGV)
            print(json.dumps(to_json(Outcome(name, "built"))), file=lines, flush=True)
