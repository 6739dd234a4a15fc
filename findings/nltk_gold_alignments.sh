#!/usr/bin/env bash
# nltk 3.10.4: training an IBM model overwrites the alignments of the sentences that it is given.
#
# Where they are what people aligned by hand, the gold standard is gone: the model is then compared with itself.
# Expected: a corpus is read. Seen: the gold alignment 0-1 1-0 of the pair is another one after training, so that its
# error rate against what people said is no longer 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nltk==3.10.4
"$folder/venv/bin/python" - <<'PY'
import sys

from nltk.translate import AlignedSent, Alignment, IBMModel1, alignment_error_rate

gold = Alignment.fromstring("0-1 1-0")
pair = AlignedSent(["rot", "ball"], ["ball", "red"], gold)
IBMModel1([pair], 5)
error = alignment_error_rate(gold, pair.alignment)
print(f"aligned by hand: {gold}; of the same pair after training: {pair.alignment}; error rate {error:.2f}")
sys.exit(not (error > 0))
PY
