#!/usr/bin/env python3
# Makes expected.json: what Jinja (python3-jinja2, in the environment transformers builds for chat templates) renders for each of
# cases.json's templates. Usage: generate.py < cases.json > expected.json, in this folder.
# A case: {"template": text, "variables": extra variables, "compares_message": false if our error text differs from Python's,
# "refused": true if Jinja renders it but we refuse it by name}.
import datetime
import json
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

DATE = "2026-03-04"


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_text")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _text(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def strftime_now(format):
    return datetime.datetime.strptime(DATE, "%Y-%m-%d").strftime(format)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception
environment.globals["strftime_now"] = strftime_now

file = json.load(sys.stdin)
file["date"] = DATE
for case in file["cases"]:
    case.setdefault("compares_message", True)
    variables = dict(file["variables"], **case.get("variables", {}))
    try:
        rendered = environment.from_string(case["template"]).render(**variables)
        if case.pop("refused", False):
            case["error"], case["compares_message"] = "refused by name", False
        else:
            case["rendered"] = rendered
    except Exception as error:
        case["error"] = str(error)
json.dump(file, sys.stdout, ensure_ascii=False, indent=1)
print()
