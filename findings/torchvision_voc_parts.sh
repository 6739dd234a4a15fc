#!/usr/bin/env bash
# torchvision 0.29.1 (torch 2.14.1): VOCDetection gives an object's parts as a list, but one part as a dict.
#
# Pascal VOC's person layout names heads, hands and feet as parts of an object. Objects themselves always come as a list.
# Expected: parts too. Seen: code that goes through the parts of a person of whom only the head is seen goes through the
# letters of "name" and "bndbox".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.14.1 torchvision==0.29.1
"$folder/venv/bin/python" - <<'PY'
import sys
from xml.etree import ElementTree

from torchvision.datasets import VOCDetection

kinds = []
for parts in (("head",), ("head", "hand")):
    inside = "".join(f"<part><name>{part}</name></part>" for part in parts)
    text = f"<annotation><object><name>person</name>{inside}</object></annotation>"
    objects = VOCDetection.parse_voc_xml(ElementTree.fromstring(text))["annotation"]["object"]
    kinds.append((type(objects).__name__, type(objects[0]["part"]).__name__))
    print(f"{len(parts)} part(s): objects are a {kinds[-1][0]}, parts a {kinds[-1][1]}")
sys.exit(not (kinds == [("list", "dict"), ("list", "list")]))
PY
