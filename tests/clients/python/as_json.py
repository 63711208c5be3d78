"""Prints a YAML file as JSON: the tests read no YAML by themselves."""

import json
import sys

from ruamel.yaml import YAML

with open(sys.argv[1], encoding="utf-8") as file:
    print(json.dumps(YAML(typ="safe").load(file)))
