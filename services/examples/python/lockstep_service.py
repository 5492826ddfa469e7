#!/usr/bin/env python3
"""A service that takes part in Lockstep, acknowledging and voting, with the standard library alone.

It has one document, `config.toml`, with one value: `limit`, a whole number above 0. See ../../protocol/README.md.
"""

import signal

# Before anything else: until the signals are blocked (or caught) they kill the process, and a Python start takes
# a while. Blocked ones wait for `sigtimedwait` below; threads started later inherit that.
SIGNALS = {signal.SIGHUP, signal.SIGUSR1}
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

import json
import os
import re
import sys
import tomllib
from datetime import datetime, timezone

VOLUME = os.environ["LOCKSTEP_CONFIG"]
STATUS_FILE = os.environ["LOCKSTEP_STATUS_FILE"]
OFFER_FILE = os.environ["LOCKSTEP_OFFER_FILE"]

config = None  # what runs now
answered = None  # the offer that was answered last
status = {"protocol": 1, "instance": os.environ.get("LOCKSTEP_INSTANCE", ""),
          "switch": None, "revision": None, "digest": None}


class Refused(Exception):
    def __init__(self, message, path=None, line=None, column=None):
        super().__init__(message)
        self.error = {"message": message, "path": path, "line": line, "column": column}


def load(directory):
    """Parses and validates one release and touches nothing that runs."""
    path = "config.toml"
    try:
        with open(os.path.join(directory, path), "rb") as file:
            new = tomllib.load(file)
    except (OSError, ValueError) as error:
        place = re.search(r"line (\d+), column (\d+)", str(error))
        raise Refused(str(error), path, *map(int, place.groups() if place else ()))
    if type(new.get("limit")) is not int or new["limit"] <= 0:
        raise Refused("`limit` must be a whole number above 0", path)
    return new


def describe(directory):
    """A directory without a whole release.json is no release."""
    path = ".lockstep/release.json"
    try:
        with open(os.path.join(directory, path), encoding="utf-8") as file:
            release = json.load(file)
        return {"revision": release["revision"], "digest": release["digest"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"this is no release: {error!r}", path)


def look():
    """Where `current` points to: `.lockstep/switches/<number>`, or None."""
    try:
        return os.readlink(os.path.join(VOLUME, "current"))
    except OSError:
        return None


def write_status():
    status["at"] = datetime.now(timezone.utc).isoformat()
    temporary = f"{STATUS_FILE}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(status, file)
    os.rename(temporary, STATUS_FILE)


def reload():
    """Takes what `current` points to; goes round for as long as that moves."""
    global config
    seen = ""
    while (link := look()) != seen:
        seen, attempted = link, {"switch": None, "revision": None}
        try:
            number = os.path.basename(link or "")
            if not number.isdecimal():
                raise Refused(f"{VOLUME}/current points to no switch")
            attempted["switch"] = int(number)
            directory = os.path.join(VOLUME, link)  # resolved once: what is read below it is one release
            release = describe(directory)
            attempted["revision"] = release["revision"]
            new, error = load(directory), None
        except Refused as refusal:
            error = refusal.error
        if look() != link:
            continue  # what was loaded is of the past
        if error is None:
            config = new
            status.update(release, switch=attempted["switch"])
            print(f"switch {status['switch']}: limit is {config['limit']}", flush=True)
        status.update(state="rejected" if error else "applied", attempted=attempted, error=error)
        write_status()


def answer_offer():
    """Says whether an offered release would be taken, by the code that would take it."""
    global answered
    try:
        with open(OFFER_FILE, encoding="utf-8") as file:
            offer = json.load(file)
    except (OSError, ValueError):
        return  # there is none, or no whole one
    if offer == answered or offer.get("protocol") != 1:
        return
    answered, error = offer, None
    directory = os.path.join(VOLUME, offer["directory"])
    try:
        if describe(directory)["digest"] != offer["digest"]:
            raise Refused("this is not the release offered", ".lockstep/release.json")
        load(directory)
    except Refused as refusal:
        error = refusal.error
    status["vote"] = {"rollout": offer["rollout"], "accept": error is None, "error": error}
    write_status()


reload()
if config is None:
    sys.exit(f"the configuration is refused: {status['error']['message']}")
while True:  # the service's own work goes on in other threads
    answer_offer()
    if signal.sigtimedwait(SIGNALS, 0.2):
        reload()
