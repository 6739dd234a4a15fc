"""What every number of `analysis.evaluation.table` means, in one plain sentence each, and between what it lies.

The families of `analysis.metrics` that say so themselves are added at the end.
"""

from __future__ import annotations

import math

from analysis.evaluation.families import families
from analysis.metrics.family import Term

_INF = math.inf

GLOSSARY: dict[str, Term] = {
    # How well the game is played
    "retrieval": Term(
        "retrieval accuracy",
        "How often the listener, given only the message, puts the right image first among all candidates.",
        0, 1,
    ),
    "retrieval_under_intervention": Term(
        "retrieval under an intervention",
        "How often the right image still comes first after the message has been tampered with as named: "
        "a large drop means that the listener uses what was destroyed.",
        0, 1,
    ),
    # Usage
    "tokens": Term("symbols said", "How many symbols were said in all messages together.", 0, _INF, "symbols"),
    "active_symbols": Term(
        "symbols in use", "How many different symbols were said at least once.", 0, _INF, "symbols", ("0", "V"),
    ),
    "dead_symbols": Term(
        "dead symbols", "How many symbols of the vocabulary were never said.", 0, _INF, "symbols", ("0", "V"),
    ),
    "symbol_entropy": Term(
        "entropy of a symbol",
        "How hard it is to guess the next symbol when nothing else is known: 0 if it is always the same, "
        "most if all are equally frequent.",
        0, _INF, "bits", ("0", "log2 V"),
    ),
    "perplexity": Term(
        "perplexity",
        "How many equally frequent symbols would be as varied as those that are used.",
        1, _INF, "symbols", ("1", "V"),
    ),
    "mean_length": Term(
        "message length", "How many symbols a message has on average.", 0, _INF, "symbols", ("0", "T"),
    ),
    "distinct_messages": Term(
        "different messages", "How many different messages there were.", 0, _INF, "messages", ("0", "N"),
    ),
    "collisions": Term(
        "collisions",
        "How many messages had been said of another item before, so that they cannot tell the two apart.",
        0, _INF, "messages", ("0", "N - 1"),
    ),
    "message_entropy": Term(
        "entropy of a message",
        "How hard it is to guess a whole message: most if no two messages are alike.",
        0, _INF, "bits", ("0", "log2 N"),
    ),
    # What symbols stand for
    "ami": Term(
        "shared information (AMI)",
        "How much symbol and concept tell about each other beyond what independent symbols would: 1 is one symbol for "
        "each concept and one concept for each symbol; repetition within an image raises it too.",
        -1, 1,
    ),
    "ami_of_color_codes": Term(
        "the same of color codes",
        "Shared information where the patches that speak say codes of their colors, which nobody learnt: a language "
        "that has no more is about colors.",
        -1, 1,
    ),
    "v_measure": Term(
        "V-measure",
        "The balance of homogeneity and completeness; it grows with the number of symbols even by luck, so read AMI "
        "first.",
        0, 1,
    ),
    "homogeneity": Term(
        "homogeneity", "How far a symbol settles which concept is meant: 1 if no symbol is used for two.", 0, 1,
    ),
    "completeness": Term(
        "completeness", "How far a concept settles which symbol is said: 1 if no concept has two symbols.", 0, 1,
    ),
    "purity": Term(
        "purity",
        "How often one would guess the concept rightly if every symbol stood for the concept it is said of most.",
        0, 1,
    ),
    "inverse_purity": Term(
        "inverse purity",
        "How often one would guess the symbol rightly if every concept were named by its most frequent symbol.",
        0, 1,
    ),
    "mutual_information": Term(
        "mutual information",
        "How much less uncertain the concept is once the symbol is known; small samples inflate it.",
        0, _INF, "nats", ("0", "the smaller entropy"),
    ),
    "synonymy": Term(
        "synonymy", "How uncertain the symbol stays when the concept is known: 0 if each has only one symbol.",
        0, _INF, "bits", ("0", "log2 V"),
    ),
    "polysemy": Term(
        "polysemy", "How uncertain the concept stays when the symbol is known: 0 if each symbol has one meaning.",
        0, _INF, "nats", ("0", "ln C"),
    ),
    "concept_best_matching": Term(
        "concept best matching",
        "How much of the language fits a dictionary in which every symbol means one concept and none has two symbols.",
        0, 1,
    ),
    "bag_of_symbols": Term(
        "class from the symbols",
        "How often a simple classifier names the class of an unseen image from which symbols were said of it.",
        0, 1,
    ),
    "bag_of_color_codes": Term(
        "class from color codes",
        "How often a simple classifier names the class of an unseen image from codes of the colors of the patches that "
        "speak, which nobody learnt.",
        0, 1,
    ),
    # Structure
    "topographic_similarity": Term(
        "topographic similarity",
        "Whether items that are alike get messages that are alike, by the distance of messages that is named: 1 if the "
        "order agrees perfectly, 0 if not at all.",
        -1, 1,
    ),
    "representational_similarity": Term(
        "representational similarity",
        "Whether items that are alike in one way are alike in the other: 1 if in the same order, 0 if unrelated.",
        -1, 1,
    ),
    # Meaning without attributes
    "message_variance_explained": Term(
        "explained by the message",
        "The share of all differences between items that lies between messages, not among items that get the same one.",
        0, 1,
    ),
    "spatial_meaningfulness": Term(
        "spatial meaningfulness",
        "How different items with close messages are, as a share of how different any two items are: below 1, close "
        "messages mean like items.",
        0, _INF,
    ),
    # Signalling and listening
    "speaker_consistency": Term(
        "speaker consistency",
        "How much the message tells about what the speaker saw: 0 if it says the same of everything.",
        0, _INF, "nats", ("0", "entropy of the message"),
    ),
    "listening_influence": Term(
        "influence on the listener",
        "How much the listener's choice changes with the message when the candidates stay: 0 if it is not listening.",
        0, _INF, "nats", ("0", "ln of the candidates"),
    ),
    # Which patches speak
    "place_share": Term(
        "share of place",
        "How much of who speaks is a matter of place alone: 1 if all images have the same map, 0 if maps follow what "
        "is in the images.",
        0, 1,
    ),
    "map_agreement": Term(
        "agreement of maps",
        "How far the map of who speaks moves with the image: 1 if the map of a mirrored or rolled image, put back, is "
        "that of the image itself; about 0 if it follows places.",
        -1, 1,
    ),
    "map_spread": Term(
        "spread of the map",
        "How much patches of a plain grey image differ in how likely they speak (standard deviation): 0 if only what "
        "is seen counts.",
        0, 0.5,
    ),
    "pointing_game": Term(
        "pointing game", "How often the patch that ranks highest lies on an object.", 0, 1,
    ),
    "energy_in_box": Term(
        "importance on objects", "The share of all importance that falls on objects.", 0, 1,
    ),
    "roc_auc": Term(
        "ranking of objects (AUC)",
        "How often a patch on an object ranks above one that is not: 0.5 if the ranking ignores objects.",
        0, 1,
    ),
    "average_precision": Term(
        "average precision", "How pure the top of the ranking is in patches on objects, averaged over all cuts.", 0, 1,
    ),
    "top_k_iou": Term(
        "overlap of the top k",
        "How far the highest ranked patches, as many as the objects cover, are the patches that the objects cover.",
        0, 1,
    ),
}  # fmt: skip
for _family in families():
    GLOSSARY.update(_family.terms)
