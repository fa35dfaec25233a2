"""`make dev`: the app and everything around it on this machine, left running, with a sample stream to look at.

The stream is three logs of scripted gateways, moved so that they end now: a key that was wrong and is mended, selectors
that do not match, and a phase 1 policy that does not. What comes is written into files, one JSON object a line.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import orjson

from ikestream.terminal import plain
from tests.emulators import azurite
from tests.emulators.stack import DEAD_LETTERS, GROUP, HUB, Stack, configured, story_of

STREAM = ("wrong_key_mended", "selectors_apart", "phase_one_both_try")


def main() -> int:
    """Run until Ctrl-C. Exit status 2 if a part of it is not installed."""
    if why := azurite.missing():
        print(f"make dev: {why}", file=sys.stderr)
        return 2
    resources = [r for seed, name in enumerate(STREAM) for r in configured(name, seed=seed)]
    with (
        tempfile.TemporaryDirectory(prefix="ikestream-dev-") as scratch,
        Stack(Path(scratch), every=15.0, resources=resources) as stack,
    ):
        folder = Path(scratch)
        rows, messages, log, key = (folder / f for f in ("rows.jsonl", "messages.jsonl", "settings.env", "hub.txt"))
        log.write_text("".join(f"{name}={value}\n" for name, value in stack.settings.items()))
        key.write_text(stack.hub.connection_string())
        for secret in (log, key):
            secret.chmod(0o600)
        print(
            f"""The app is running. Nothing leaves this machine; Ctrl-C ends it and removes everything.

  event hub          {HUB} (consumer group {GROUP}), dead letters in {DEAD_LETTERS}, at port {stack.hub.port}
  its settings       {log}
  rows of the table  {rows}
  messages           {messages}
  resource manager   {stack.azure.origin}, with a connection to each peer
  to look at it      python -m ikestream watch --hub {HUB} --last 1h --connection-string-file {key}
  to send a log      python -m ikestream drill --hub {HUB} --connection-string-file {key}

A sample stream is on its way; an outage is told once it has lasted a minute.
""",
            flush=True,
        )
        now = int(time.time() * 1000)
        for seed, name in enumerate(STREAM):
            stack.send(story_of(name, seed=seed, ended=now))
        try:
            follow(stack, rows, messages)
        except KeyboardInterrupt:
            print("\nending", flush=True)
    return 0


def follow(stack: Stack, rows: Path, messages: Path) -> None:
    """Write down what comes, and print one line for each revision."""
    told = said = 0
    while True:
        new, told = stack.table.rows[told:], len(stack.table.rows)
        with rows.open("ab") as file:
            file.writelines(orjson.dumps(row) + b"\n" for row in new)
        for row in new:
            print(f"{row['State']:<9} {row['Cause']}  {plain(row['Summary'])}", flush=True)
        more, said = stack.pager.received[said:], len(stack.pager.received)
        with messages.open("ab") as file:
            file.writelines(orjson.dumps(message.body) + b"\n" for message in more)
        for message in more:
            print(f"{'message':<9} {message.body['type']}", flush=True)
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
