#!/usr/bin/env bash
# scikit-learn 1.9.1: CountVectorizer and TfidfVectorizer lose every symbol of one character.
#
# Messages of an emergent language, written as ids with blanks, are what these are often given. The default pattern of a
# token wants two characters: symbols 0 to 9 vanish, a message of such symbols alone is empty, and nothing is said.
# (Letters fare no better: "a" and "B" vanish, and "Ab" and "aB" are one word, since all is made lower case.)
# Expected: ['12', '3', '40', '7']. Seen: ['12', '40'].
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1
"$folder/venv/bin/python" - <<'PY'
import sys

from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

messages = ["3 7 12", "12 40 3", "7 3 7"]
known = sorted(CountVectorizer().fit(messages).vocabulary_)
empty = TfidfVectorizer().fit_transform(messages)[2].nnz
whole = sorted(CountVectorizer(token_pattern=r"\S+", lowercase=False).fit(messages).vocabulary_)
print(f"words by default: {known}; entries of the message '7 3 7': {empty}; words by token_pattern \\S+: {whole}")
sys.exit(not (known == ["12", "40"] and empty == 0 and whole == ["12", "3", "40", "7"]))
PY
