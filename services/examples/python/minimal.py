"""All that an acknowledging service needs: it works with `limit` of `config.toml`. See ../README.md."""
import datetime, json, os, signal, tomllib

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # first of all: until then the signal kills the process
VOLUME, STATUS = os.environ["LOCKSTEP_CONFIG"], os.environ["LOCKSTEP_STATUS_FILE"]
limit, seen, runs = None, None, {"switch": None, "revision": None, "digest": None}
while True:
    if (link := os.readlink(f"{VOLUME}/current")) == seen:
        signal.sigwait({signal.SIGUSR1})  # the service's own work goes on in other threads
        continue
    seen, release, error = link, {}, None
    try:  # everything is parsed and validated, below the one directory, before anything is assigned
        with open(f"{VOLUME}/{link}/.lockstep/release.json", "rb") as file:
            release = json.load(file)
        with open(f"{VOLUME}/{link}/config.toml", "rb") as file:
            new = tomllib.load(file).get("limit")
        if type(new) is not int or new <= 0:
            raise ValueError("`limit` must be a whole number above 0")
    except (OSError, ValueError) as problem:
        error = {"message": str(problem), "path": "config.toml", "line": None, "column": None}
    if os.readlink(f"{VOLUME}/current") != link:
        continue  # what was loaded is of the past
    attempted = {"switch": int(os.path.basename(link)), "revision": release.get("revision")}
    if error is None:
        limit, runs = new, {**attempted, "digest": release["digest"]}
        print(f"limit is {limit}", flush=True)
    status = {"protocol": 1, "instance": os.environ["LOCKSTEP_INSTANCE"], **runs, "attempted": attempted, "error": error,
              "state": "rejected" if error else "applied", "at": datetime.datetime.now(datetime.UTC).isoformat()}
    with open(f"{STATUS}.new", "w") as file: json.dump(status, file)
    os.replace(f"{STATUS}.new", STATUS)
