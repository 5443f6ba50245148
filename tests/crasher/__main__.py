"""The converter of the test backend."""

import os
import signal
import sys
import time

how = sys.argv[-1].removeprefix("how=")
if how == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if how == "hang":
    time.sleep(60)
if how == "complain":
    sys.exit("operator Foo is not mine")
