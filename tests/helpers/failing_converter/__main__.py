"""The converter of the test backend."""

import json
import os
import signal
import sys
import time
from pathlib import Path

how = sys.argv[-1].removeprefix("how=")
if how == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if how == "hang":
    time.sleep(60)
if how == "complain":
    sys.exit("operator Foo is not mine")
if how == "explain":
    print("a warning of a library", file=sys.stderr)
    sys.exit("error: segment 'conv': node 'foo' is not mine. Cut before it.\nand behind it")
if how == "devour":
    held = [bytearray(1 << 28) for _ in range(64)]
out = Path(sys.argv[2])
if how == "flood":
    out.mkdir(parents=True)
    with (out / "flood").open("wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
if how != "nothing":
    names = ("net.image", "net.out.0")
    tensors = [{"name": name, "dtype": "float32", "shape": None} for name in names]
    artifact = {
        "name": "conv", "backend": "failing_converter", "files": ["net"],
        "inputs": tensors[:1], "outputs": tensors[1:],
    }  # fmt: skip
    artifact |= {
        "another": {"name": "other"},
        "no files": {"files": []},
        "outside": {"files": ["../net"]},
        "other tensors": {"inputs": []},
    }.get(how, {})
    out.mkdir(parents=True)
    (out / "artifact.json").write_text("{" if how == "garbage" else json.dumps(artifact))
    if how != "lost file":
        (out / "net").touch()
