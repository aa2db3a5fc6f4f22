"""Maps between the spaces of two models: estimators, the choice among them, and how they are kept.

Needs numpy alone; text-reading bridges need scikit-learn and storage safetensors, both by ``embedmig[adapters]``.
"""

from embedmig.adapters.checks import AdapterWarning
from embedmig.adapters.distilled import SelfDistilledAdapter
from embedmig.adapters.excerpts import Excerpts, cut_excerpts
from embedmig.adapters.farness import Farness
from embedmig.adapters.kinds import Adapter, Direction, Pairs, apply_adapter
from embedmig.adapters.learning import LearningCurve, measure_learning
from embedmig.adapters.linear import LinearAdapter
from embedmig.adapters.normal_equations import NormalEquations
from embedmig.adapters.procrustes import CentredProcrustesAdapter, ProcrustesAdapter
from embedmig.adapters.ranking import RankingAdapter
from embedmig.adapters.residuals import (
    ResidualDrift,
    ResidualStatistics,
    compare_residuals,
    measure_residuals,
)
from embedmig.adapters.ridge import RidgeAdapter
from embedmig.adapters.selection import Selection, select_adapter
from embedmig.adapters.storage import Provenance, StoredAdapter, dump_adapter, load_adapter, read_adapter
from embedmig.adapters.text_bridge import TextBridge
from embedmig.adapters.trials import Asked, CandidateScore, evaluate_adapter, held_out_rows

__all__ = [
    "Adapter",
    "AdapterWarning",
    "Asked",
    "CandidateScore",
    "CentredProcrustesAdapter",
    "Direction",
    "Excerpts",
    "Farness",
    "LearningCurve",
    "LinearAdapter",
    "NormalEquations",
    "Pairs",
    "ProcrustesAdapter",
    "Provenance",
    "RankingAdapter",
    "ResidualDrift",
    "ResidualStatistics",
    "RidgeAdapter",
    "Selection",
    "SelfDistilledAdapter",
    "StoredAdapter",
    "TextBridge",
    "apply_adapter",
    "compare_residuals",
    "cut_excerpts",
    "dump_adapter",
    "evaluate_adapter",
    "held_out_rows",
    "load_adapter",
    "measure_learning",
    "measure_residuals",
    "read_adapter",
    "select_adapter",
]
