#!/usr/bin/env python3
"""Checks journals against bench/schema.json.

    schema_check.py SCHEMA JOURNAL...      exit status: 0 every row is valid, 1 one is not, 2 usage, 3 a file cannot be read

Knows the words that the schema uses and refuses a schema with others, so that no rule is passed over in silence.
"""

import json
import re
import sys

TYPES = {"object": dict, "array": list, "string": str, "number": (int, float), "boolean": bool, "null": type(None)}
NOTES = {"$schema", "title", "$comment", "$defs"}
WORDS = NOTES | {"type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "enum", "const",
                 "pattern", "minLength", "minimum", "maximum", "exclusiveMinimum", "oneOf", "anyOf", "allOf", "not", "if", "then",
                 "else", "$ref"}


def is_type(value, name):
    if name == "integer":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


class Schema:
    def __init__(self, document):
        self.document = document

    def errors(self, value, rule=None, where="row"):
        """Every rule that the value breaks, as sentences."""
        rule = self.document if rule is None else rule
        if isinstance(rule, bool):
            return [] if rule else [f"{where} may not be there"]
        unknown = set(rule) - WORDS
        if unknown:
            raise ValueError(f"the schema uses {', '.join(sorted(unknown))}, which this check does not know")
        if "$ref" in rule:
            return self.errors(value, self.document["$defs"][rule["$ref"].split("/")[-1]], where)
        return (self.plain_errors(value, rule, where) + self.object_errors(value, rule, where)
                + self.array_errors(value, rule, where) + self.combined_errors(value, rule, where))

    def plain_errors(self, value, rule, where):
        kinds = rule.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        found = []
        if kinds and not any(is_type(value, k) for k in kinds):
            found.append(f"{where} is no {' or '.join(kinds)}")
        if "const" in rule and value != rule["const"]:
            found.append(f"{where} is {value!r}, not {rule['const']!r}")
        if "enum" in rule and value not in rule["enum"]:
            found.append(f"{where} is {value!r}, none of {rule['enum']}")
        if isinstance(value, str):
            if "pattern" in rule and not re.search(rule["pattern"], value):
                found.append(f"{where} is {value!r}, which does not match {rule['pattern']}")
            if len(value) < rule.get("minLength", 0):
                found.append(f"{where} is too short")
        if is_type(value, "number"):
            if value < rule.get("minimum", value) or value > rule.get("maximum", value):
                found.append(f"{where} is {value}, out of range")
            if "exclusiveMinimum" in rule and not value > rule["exclusiveMinimum"]:
                found.append(f"{where} is {value}, not above {rule['exclusiveMinimum']}")
        return found

    def object_errors(self, value, rule, where):
        if not isinstance(value, dict):
            return []
        found = [f"{where}.{name} is missing" for name in rule.get("required", []) if name not in value]
        known = rule.get("properties", {})
        for name, member in value.items():
            if name in known:
                found += self.errors(member, known[name], f"{where}.{name}")
            elif "additionalProperties" in rule:
                found += self.errors(member, rule["additionalProperties"], f"{where}.{name}")
        return found

    def array_errors(self, value, rule, where):
        if not isinstance(value, list):
            return []
        found = []
        if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", len(value)):
            found.append(f"{where} has {len(value)} items")
        for i, item in enumerate(value if "items" in rule else []):
            found += self.errors(item, rule["items"], f"{where}[{i}]")
        return found

    def combined_errors(self, value, rule, where):
        found = []
        if "oneOf" in rule:
            tried = [self.errors(value, r, where) for r in rule["oneOf"]]
            if sum(not t for t in tried) != 1:
                found += min(tried, key=len) or [f"{where} is of several kinds"]
        if "anyOf" in rule and all(self.errors(value, r, where) for r in rule["anyOf"]):
            found.append(f"{where} fits none of {len(rule['anyOf'])} forms")
        for part in rule.get("allOf", []):
            found += self.errors(value, part, where)
        if "not" in rule and not self.errors(value, rule["not"], where):
            found.append(f"{where} has what it may not have: {json.dumps(rule['not'])}")
        if "if" in rule:
            branch = "else" if self.errors(value, rule["if"], where) else "then"
            found += self.errors(value, rule[branch], where) if branch in rule else []
        return found


def check(schema, path):
    """(rows, invalid rows). Lines torn by a crash are no rows."""
    n, bad = 0, 0
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            n += 1
            errors = schema.errors(row)
            for error in errors[:5]:
                print(f"{path}:{number}: {error}")
            bad += bool(errors)
    return n, bad


def main(arguments):
    if len(arguments) < 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        with open(arguments[0], encoding="utf-8") as file:
            schema = Schema(json.load(file))
        counts = [check(schema, path) for path in arguments[1:]]
    except (OSError, ValueError) as error:
        print(f"schema_check.py: {error}", file=sys.stderr)
        return 3
    print(f"{sum(n for n, _ in counts)} rows, {sum(b for _, b in counts)} invalid")
    return 1 if any(b for _, b in counts) or not all(n for n, _ in counts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
