#!/usr/bin/env python3
"""Schemas of well-known tools with documents of theirs, right and broken, through Lockstep and Python's jsonschema.

    pip install check-jsonschema
    git clone https://github.com/python-jsonschema/check-jsonschema
    cargo build -p lockstep-reconciler
    tests/comparison/foreign.py target/debug/lockstep check-jsonschema/tests/example-files

The schemas are those that the package check-jsonschema ships, the documents those that its repository tests with; nobody here
wrote either. Each document is judged as it is, and broken in many ways: a value replaced by one of another type, a key taken out,
a key added. Prints how often the two agree, and each case in which they do not. Exits with 1 if there is one.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import jsonschema
import ruamel.yaml

MUTANTS = 40


def load(path):
    if path.suffix == ".json":
        return json.loads(path.read_text())
    yaml = ruamel.yaml.YAML(typ="safe", pure=True)
    try:
        return json.loads(json.dumps(yaml.load(path.read_text()), default=str))
    except ruamel.yaml.constructor.ConstructorError:
        return None  # a tag of its own


def paths(value, at=()):
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*at, key)
        yield from paths(part, (*at, key))


def changed(document, at, change):
    document = json.loads(json.dumps(document))
    holder = document
    for part in at[:-1]:
        holder = holder[part]
    change(holder, at[-1])
    return document


def mutants(document):
    found = []
    for at in paths(document):
        for wrong in (17.5, ["x"], {"no_such_key": 1}, None):
            found.append(changed(document, at, lambda holder, key: holder.__setitem__(key, wrong)))
        found.append(changed(document, at, lambda holder, key: holder.pop(key)))
    if isinstance(document, dict):
        found.append({**document, "no_such_key": 1})
    step = max(1, len(found) // MUTANTS)
    return found[::step]


def lockstep(program, schema, documents):
    """What is said about each document; they lie in one repository."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / ".lockstep").mkdir()
        (folder / ".lockstep/schema.json").write_text(json.dumps(schema))
        policy = ["version = 1"]
        for at, document in enumerate(documents):
            (folder / f"{at}.json").write_text(json.dumps(document))
            policy.append(f'[[document]]\npath = "{at}.json"\nschema = ".lockstep/schema.json"')
        (folder / ".lockstep/policy.toml").write_text("\n".join(policy))
        command = [program, "validate", ".", "--format", "json"]
        out = subprocess.run(command, cwd=folder, capture_output=True, timeout=300)
        said = [[] for _ in documents]
        for it in json.loads(out.stdout):
            if it["path"].startswith(".") or it["path"] == ".":
                return None, f"{it['code']} {it['message']}"
            said[int(it["path"].removesuffix(".json"))].append(it["message"])
        return said, None


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    warnings.simplefilter("ignore")
    program = str(pathlib.Path(sys.argv[1]).resolve())
    package = importlib.util.find_spec("check_jsonschema").submodule_search_locations[0]
    schemas = pathlib.Path(package) / "builtin_schemas/vendor"
    examples = pathlib.Path(sys.argv[2]) / "hooks"
    total, broken, differ = 0, 0, []
    print("| schema | draft | documents | broken ones | verdicts that differ |\n|---|---|---|---|---|")
    for path in sorted(schemas.glob("*.json")):
        schema = json.loads(path.read_text())
        kinds = ("positive", "negative")
        files = [file for kind in kinds for file in sorted((examples / kind / path.stem).glob("*"))]
        documents = [load(file) for file in files if file.suffix in (".json", ".yaml", ".yml")]
        documents = [document for document in documents if document is not None]
        if not documents:
            continue
        draft = schema.get("$schema", "none").split("json-schema.org/")[-1].rstrip("#").removesuffix("/schema")
        batch = 12
        whole = documents + [mutant for document in documents for mutant in mutants(document)]
        validator = jsonschema.validators.validator_for(schema)(schema)
        refused, wrong = 0, 0
        for start in range(0, len(whole), batch):
            part = whole[start : start + batch]
            said, failure = lockstep(program, schema, part)
            if failure:
                note = f"refused as a whole: {failure}"
                break
            for document, mistakes in zip(part, said):
                takes = validator.is_valid(document)
                refused += not takes
                if takes == bool(mistakes):
                    wrong += 1
                    differ.append((path.stem, takes, mistakes, document))
        else:
            total += len(whole)
            broken += refused
            note = str(wrong)
        print(f"| {path.stem} | {draft} | {len(whole)} | {refused} | {note} |", flush=True)
    print(f"\n{total} documents, {broken} of them broken; {len(differ)} verdicts differ.")
    for name, takes, mistakes, document in differ[:40]:
        print(f"- {name}: jsonschema {'takes' if takes else 'refuses'} it; Lockstep: {mistakes[:2]}; {json.dumps(document)[:300]}")
    sys.exit(1 if differ else 0)


main()
