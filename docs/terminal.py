#!/usr/bin/env python3
"""Draws docs/terminal.svg, the picture in the README, from a real run.

Needs a replica set that may be written to, a built cswatch, and jq:

    python3 -m pip install pymongo==4.20.0 rich==15.0.0
    cargo build --release
    docs/terminal.py 'mongodb://127.0.0.1:27017/?replicaSet=rs0' target/release/cswatch
"""

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pymongo import MongoClient
from rich.console import Console
from rich.text import Text

WIDTH = 112
SHOWN = """[.operationType, .documentKey._id, .updateDescription.updatedFields // .fullDocument]"""
WATCH = "cswatch -d shop -c orders --format relaxed"


class Watch:
    """One cswatch whose events go through jq, and whose messages and events are shown together."""

    def __init__(self, cswatch, uri, folder, filter):
        self.lines = []
        environment = {**os.environ, "CSWATCH_URI": uri, "XDG_STATE_HOME": folder, "HOME": folder}
        watch = [cswatch, *WATCH.split()[1:]]
        # A terminal, so that messages look as they do at a prompt.
        read, write = os.openpty()
        self.cswatch = subprocess.Popen(watch, stdout=subprocess.PIPE, stderr=write, env=environment)
        self.jq = subprocess.Popen(["jq", "-c", "--unbuffered", filter], stdin=self.cswatch.stdout, stdout=write)
        self.cswatch.stdout.close()
        os.close(write)
        self.output = os.fdopen(read)

    def read(self, lines):
        for _ in range(lines):
            self.lines.append(self.output.readline().rstrip())

    def end(self, how):
        self.cswatch.send_signal(how)
        self.cswatch.wait()
        self.jq.wait()
        try:
            self.lines += [line.rstrip() for line in self.output]
        except OSError:  # Both ends of the terminal are closed: its end.
            pass
        return self.lines


def main():
    uri, cswatch = sys.argv[1], os.path.abspath(sys.argv[2])
    client = MongoClient(uri)
    client.drop_database("shop")
    orders = client.shop.orders
    orders.insert_one({"_id": 1, "item": "tea", "total": 12.5})
    with tempfile.TemporaryDirectory() as folder:
        prompt = f"$ {WATCH} | jq -c '{SHOWN}'"
        first = Watch(cswatch, uri, folder, SHOWN)
        first.read(2)
        orders.insert_one({"_id": 2, "item": "coffee", "total": 30})
        orders.update_one({"_id": 2}, {"$set": {"total": 27}})
        first.read(2)
        time.sleep(2)  # The checkpoint is saved after a second.
        shown = [prompt, *first.end(signal.SIGKILL), "Killed", ""]
        orders.delete_one({"_id": 1})
        orders.insert_one({"_id": 3, "item": "milk", "total": 4})
        shown += ["# meanwhile: one delete, one insert", f"$ {WATCH} | jq -c '{SHOWN}'"]
        second = Watch(cswatch, uri, folder, SHOWN)
        second.read(4)
        shown += second.end(signal.SIGINT)
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for line in shown:
        text = Text.from_ansi(line.replace(folder, "~/.local/state"))
        if line.startswith("$"):
            text.stylize("bold")
        elif "cswatch: " in line or line.startswith("#"):
            text.stylize("bright_black")
        console.print(text, overflow="fold")
    console.save_svg(str(Path(__file__).with_name("terminal.svg")), title="cswatch")


if __name__ == "__main__":
    main()
