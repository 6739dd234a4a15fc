"""Two random views of every image, one fixed view for evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from patchgame_egg.views.augment import (
        FIRST_VIEW as FIRST_VIEW,
        SECOND_VIEW as SECOND_VIEW,
        ViewStrength as ViewStrength,
    )
    from patchgame_egg.views.loader import RepeatedViews as RepeatedViews, ViewLoader as ViewLoader
    from patchgame_egg.views.transforms import (
        EvaluationView as EvaluationView,
        RandomViews as RandomViews,
        denormalise as denormalise,
        normalise as normalise,
    )

__getattr__, __dir__, __all__ = hand_on(__name__)
