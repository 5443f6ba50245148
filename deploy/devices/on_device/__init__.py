"""The program that a desk runs on a device: it answers requests until the desk is gone.

The desk sends these modules over SSH to the Python there, so they import the standard library and
each other alone. A request is a line of JSON on standard input; answers are marked lines on
standard output, beside which the files of a login shell may print what they like. Where standard
input ends or stays silent, the connection is lost: what was started is ended, and the lock with it.

In the folder of the device:

    lock                  locked while a desk works here; its content names the holder
    objects/<sha256>      files that were sent and not yet put in place (``.part``: not checked)
    <kind>/<name>/        a tree of files: kinds are bundles, data, code and wheels
    <kind>/<name>.json    what the desk sent there; written last
    environments/<key>/   a virtual environment of the runtime, with a stamp that is written last
"""
