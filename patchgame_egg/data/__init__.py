"""Sources of images, and the loader that makes batches of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from patchgame_egg.data.given_images import GivenImages as GivenImages
    from patchgame_egg.data.images import (
        UNREADABLE as UNREADABLE,
        EncodedImages as EncodedImages,
        ImageFiles as ImageFiles,
        ImageSource as ImageSource,
        centre_square as centre_square,
        square as square,
    )
    from patchgame_egg.data.loader import EveryImage as EveryImage, ImageLoader as ImageLoader
    from patchgame_egg.data.scenes import CONCEPTS as CONCEPTS, Scenes as Scenes
    from patchgame_egg.data.shards import shard_sets as shard_sets
    from patchgame_egg.data.sources import folder_sets as folder_sets, image_sets as image_sets

__getattr__, __dir__, __all__ = hand_on(__name__)
