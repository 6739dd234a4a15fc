"""What a language is like: functions of arrays, a report, comparisons of runs.

Every metric can be imported from here, ``from analysis import topographic_similarity``; a module is loaded when one of
its metrics is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on, moved

if TYPE_CHECKING:
    from analysis.corpus.corpus import Corpus as Corpus
    from analysis.corpus.loading import load as load
    from analysis.corpus.recording import record as record
    from analysis.evaluation.glossary import GLOSSARY as GLOSSARY
    from analysis.evaluation.table import measure as measure
    from analysis.metrics.abbreviation import law_of_abbreviation as law_of_abbreviation
    from analysis.metrics.bag_of_symbols import bag_of_symbols_classification as bag_of_symbols_classification
    from analysis.metrics.checks import check_messages as check_messages
    from analysis.metrics.concept_association import (
        association as association,
        associations as associations,
        lift as lift,
        name_symbols as name_symbols,
        npmi as npmi,
        pmi as pmi,
        shrunk_pmi as shrunk_pmi,
    )
    from analysis.metrics.concept_matching import concept_best_matching as concept_best_matching
    from analysis.metrics.disentanglement import (
        attribute_disentanglement as attribute_disentanglement,
        bag_of_symbols_disentanglement as bag_of_symbols_disentanglement,
        positional_disentanglement as positional_disentanglement,
    )
    from analysis.metrics.earlier_references import earlier_references as earlier_references
    from analysis.metrics.harris import harris_articulation as harris_articulation
    from analysis.metrics.harris_words import harris_words as harris_words
    from analysis.metrics.independence import context_independence as context_independence
    from analysis.metrics.meaning import (
        message_variance as message_variance,
        spatial_meaningfulness as spatial_meaningfulness,
    )
    from analysis.metrics.message_npmi import message_npmi as message_npmi
    from analysis.metrics.patch_importance import importance_scores as importance_scores, place_share as place_share
    from analysis.metrics.result import Result as Result, against_null as against_null, undefined as undefined
    from analysis.metrics.rsa import (
        hashing_check as hashing_check,
        representational_similarity as representational_similarity,
    )
    from analysis.metrics.signalling import (
        causal_influence as causal_influence,
        instantaneous_coordination as instantaneous_coordination,
        listening_influence as listening_influence,
        message_numbers as message_numbers,
        speaker_consistency as speaker_consistency,
    )
    from analysis.metrics.statistics.distances import (
        meaning_distances as meaning_distances,
        message_distances as message_distances,
    )
    from analysis.metrics.topsim import (
        topographic_similarities as topographic_similarities,
        topographic_similarity as topographic_similarity,
    )
    from analysis.metrics.tree_reconstruction import (
        one_hot_messages as one_hot_messages,
        tree_reconstruction_error as tree_reconstruction_error,
    )
    from analysis.metrics.vocabulary_usage import Usage as Usage, usage as usage
    from analysis.metrics.zipf_heaps import heaps as heaps, zipf as zipf

__getattr__, __dir__, __all__ = hand_on(__name__)

moved(
    {
        "analysis.compositionality": (
            "analysis.metrics.checks",
            "analysis.metrics.disentanglement",
        ),
        "analysis.concepts": ("analysis.evaluation.concepts",),
        "analysis.corpora": ("analysis.corpus.loading", "analysis.corpus.interactions"),
        "analysis.detection_scores": ("analysis.detection.scores",),
        "analysis.features": ("analysis.transfer.features",),
        "analysis.figures": ("analysis.plots.patch_maps",),
        "analysis.fine_tuning": ("analysis.detection.fine_tuning",),
        "analysis.json_lines": ("analysis.corpus.json_lines",),
        "analysis.linear_classifier": ("analysis.transfer.linear",),
        "analysis.measuring": ("analysis.evaluation.table",),
        "analysis.neighbours": ("analysis.transfer.knn",),
        "analysis.result": (
            "analysis.metrics.checks",
            "analysis.metrics.result",
        ),
        "analysis.rows": (
            "analysis.evaluation.rows",
            "analysis.metrics.result",
        ),
        "analysis.topsim": ("analysis.metrics.topsim",),
        "analysis.voc": ("analysis.detection.voc",),
        "analysis.vocabulary": ("analysis.metrics.vocabulary_usage",),
    }
)
