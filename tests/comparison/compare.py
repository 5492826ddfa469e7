#!/usr/bin/env python3
"""The mistakes of mistakes.toml through Lockstep, taplo and check-jsonschema, side by side, as a page in Markdown.

    pip install check-jsonschema taplo
    cargo build -p lockstep-reconciler
    tests/comparison/compare.py target/debug/lockstep > docs/mistakes-compared.md

Each tool gets the same document and the same schema, with its defaults. Lockstep's policy has two rules on top, which the others
have no word for. What a tool prints is shown by its first line that names the mistake; a tool that exits with 0 missed it.
Needs Python 3.11 and nothing besides the tools. Writes into a temporary folder.
"""

import json
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).parent
LONGEST = 230
SECONDS = 10
MEMORY = 4 << 30


def document(mistake):
    if "hex" in mistake:
        return bytes.fromhex(mistake["hex"])
    if "parts" in mistake:
        return "".join(part * times for part, times in mistake["parts"]).encode()
    return mistake["text"].encode()


def run(*command, cwd):
    def bounded():
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=SECONDS, preexec_fn=bounded)
    except subprocess.TimeoutExpired:
        return 0, f"no answer in {SECONDS} s"
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


def lockstep(program, folder):
    code, out = run(program, "validate", ".", "--format", "json", cwd=folder)
    found = json.loads(out)
    lines = [f"{it['line'] or '-'}:{it['column'] or '-'} {it['message']}" for it in found]
    return code != 0, "; ".join(lines)


def taplo(folder, name):
    if not name.endswith(".toml"):
        return None, "TOML alone"
    schema = f"file://{folder}/.lockstep/schema.json"
    code, out = run("taplo", "check", "--colors", "never", "--schema", schema, name, cwd=folder)
    # The places are below the messages: `┌─ file:line:column`.
    message, lines = "", []
    for line in out.splitlines():
        if heard := re.match(r"\s*error: (.*)", line):
            message = heard[1]
        elif place := re.search(r"[─-] .*?:(\d+):(\d+)", line):
            lines.append(f"{place[1]}:{place[2]} {message}")
    return code != 0, "; ".join(lines) or last(out)


def check_jsonschema(folder, name):
    code, out = run("check-jsonschema", "--schemafile", ".lockstep/schema.json", name, cwd=folder)
    lines = [re.sub(r"^\s*(\S*?::)", "", line) for line in out.splitlines() if "::" in line]
    return code != 0, "; ".join(lines) or last(out)


def last(out):
    lines = [line.strip() for line in out.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def cell(found, text, folder):
    text = text.replace(str(folder) + "/", "").replace("|", "\\|").replace("`", "'").replace("\n", " ")
    text = re.sub(r"[^\x20-\x7e -ɏ…]", "", text)
    if len(text) > LONGEST:
        text = text[:LONGEST] + "…"
    if not found and text.startswith("no answer"):
        return f"**{text}**"
    return {True: text, False: "**missed**", None: f"({text})"}[found]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    program = str(pathlib.Path(sys.argv[1]).resolve())
    for tool in ("taplo", "check-jsonschema"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not on the PATH: pip install check-jsonschema taplo")
    version = lambda *command: run(*command, cwd=".")[1].strip().split()[-1]
    mistakes = tomllib.loads((HERE / "mistakes.toml").read_text())["mistake"]
    rows, counts = [], {}
    for mistake in mistakes:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder).resolve()
            (folder / ".lockstep").mkdir()
            policy = (HERE / "policy.toml").read_text().replace("DOCUMENT", mistake["name"])
            (folder / ".lockstep/policy.toml").write_text(policy)
            shutil.copy(HERE / "schema.json", folder / ".lockstep/schema.json")
            (folder / mistake["name"]).write_bytes(document(mistake))
            tools = {
                "Lockstep": lockstep(program, folder),
                "taplo": taplo(folder, mistake["name"]),
                "check-jsonschema": check_jsonschema(folder, mistake["name"]),
            }
            for tool, (found, _) in tools.items():
                judged, caught = counts.get(tool, (0, 0))
                if found is not None:
                    counts[tool] = (judged + 1, caught + found)
            cells = [cell(*answer, folder) for answer in tools.values()]
            rows.append((mistake["kind"], f"| {mistake['what']} | " + " | ".join(cells) + " |"))

    print(f"# The same {len(mistakes)} mistakes through three tools\n")
    print("Made by [`compare.py`](../tests/comparison/compare.py), which anybody can run; the documents are in")
    print("[`mistakes.toml`](../tests/comparison/mistakes.toml). Each tool gets the same document and the same schema, with its")
    print(f"defaults: this build, taplo {version('taplo', '--version')} and check-jsonschema {version('check-jsonschema', '--version')}.")
    print("The two rules across keys and the limit are Lockstep's own; a schema has no word for them. A merge key, a byte order mark and")
    print("deep nesting are mistakes here because programs differ in how they read them. Numbers in front are line and column where the")
    print(f"tool says them; texts are cut after {LONGEST} characters.\n")
    print("| | documents it reads | mistakes found |\n|---|---|---|")
    for tool, (judged, caught) in counts.items():
        print(f"| {tool} | {judged} | {caught} |")
    kind = None
    for row_kind, row in rows:
        if row_kind != kind:
            kind = row_kind
            print(f"\n## {kind}\n\n| the mistake | Lockstep | taplo | check-jsonschema |\n|---|---|---|---|")
        print(row)


main()
