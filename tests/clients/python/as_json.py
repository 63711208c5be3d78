"""Prints a YAML file as JSON: the tests read no YAML by themselves. With --all first: all documents of the file, as a list."""

import json
import sys

from ruamel.yaml import YAML

yaml = YAML(typ="safe")
with open(sys.argv[-1], encoding="utf-8") as file:
    print(json.dumps(list(yaml.load_all(file)) if sys.argv[1] == "--all" else yaml.load(file)))
