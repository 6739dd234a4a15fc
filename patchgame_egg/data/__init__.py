"""Sources of images, and the loader that makes batches of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchgame_egg.lazy_names import hand_on

if TYPE_CHECKING:
    from patchgame_egg.data.distractors import Distractors as Distractors
    from patchgame_egg.data.folders import folder_sets as folder_sets
    from patchgame_egg.data.given_images import GivenImages as GivenImages
    from patchgame_egg.data.images import (
        EncodedImages as EncodedImages,
        ImageFiles as ImageFiles,
        ImageSource as ImageSource,
        centre_square as centre_square,
        square as square,
    )
    from patchgame_egg.data.loader import EveryImage as EveryImage, ImageLoader as ImageLoader
    from patchgame_egg.data.map_style import MapImages as MapImages
    from patchgame_egg.data.pixels import (
        UNREADABLE as UNREADABLE,
        UnreadableImage as UnreadableImage,
        read_rgb as read_rgb,
        to_rgb as to_rgb,
    )
    from patchgame_egg.data.scenes import CONCEPTS as CONCEPTS, Scenes as Scenes
    from patchgame_egg.data.shards import shard_sets as shard_sets
    from patchgame_egg.data.sources import image_sets as image_sets

__getattr__, __dir__, __all__ = hand_on(__name__)
