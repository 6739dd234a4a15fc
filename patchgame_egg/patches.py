"""Where the patches of an image lie: on one grid of squares, or on several, each of patches twice as wide as before.

The paper names patches of one size as a limitation of its game. Here, and everywhere else, patches are numbered grid by
grid, the finest first, and in raster order within each: P patches in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def patch_grid(image_size: int, patch_size: int) -> int:
    """The number of patches along one side of the image.

    Raises:
        ValueError: the patch size is not positive or does not divide the image size.
    """
    if patch_size < 1 or image_size < patch_size or image_size % patch_size:
        near = [s for s in range(4, image_size + 1) if image_size % s == 0][:8]
        raise ValueError(
            f"patch size {patch_size} does not divide image size {image_size}; sizes that do: "
            f"{', '.join(map(str, near)) or 'none'}"
        )
    return image_size // patch_size


def patch_sizes(image_size: int, patch_size: int, scales: int = 1) -> list[int]:
    """The sides of the patches of each grid, the finest first: S, 2S, 4S, ...

    Args:
        image_size: side of the square images, pixels.
        patch_size: side S of the smallest patches, pixels.
        scales: number of grids, from 1.

    Raises:
        ValueError: there is no grid, or a size does not divide the image size.
    """
    if scales < 1:
        raise ValueError(f"{scales} sizes of patches: at least 1 is needed")
    patch_grid(image_size, patch_size)
    sizes = [patch_size * 2**scale for scale in range(scales)]
    bad = [size for size in sizes if image_size % size]
    if bad:
        above = -(-image_size // sizes[-1]) * sizes[-1]
        asked = ", ".join(map(str, sizes))
        raise ValueError(
            f"patches of {asked} px: {bad[0]} does not divide image size {image_size}; take fewer sizes, "
            f"another patch size, or images of {above} px"
        )
    return sizes


def grid_shapes(grid: tuple[int, int], scales: int = 1) -> list[tuple[int, int]]:
    """Rows and columns of each grid, the finest first.

    Args:
        grid: rows and columns of the finest.
        scales: number of grids, from 1.

    Raises:
        ValueError: there is no grid, or the finest cannot be halved so often.
    """
    widest = 2 ** (scales - 1) if scales >= 1 else 0
    if not widest or min(grid) < 1 or grid[0] % widest or grid[1] % widest:
        raise ValueError(f"a grid of {grid} patches does not make {scales} grids, each half as fine as the one before")
    return [(grid[0] // 2**scale, grid[1] // 2**scale) for scale in range(scales)]


def patch_boxes(grid: tuple[int, int], scales: int = 1) -> NDArray[np.int64]:
    """Where each patch lies.

    Args:
        grid: rows and columns of the finest grid; its cells are the unit.
        scales: number of grids, from 1.

    Returns:
        Row and column of the upper left corner, and the side: int64 ``[P, 3]``.

    Raises:
        ValueError: there is no grid, or the finest cannot be halved so often.
    """
    import numpy as np

    boxes = []
    for scale, (rows, columns) in enumerate(grid_shapes(grid, scales)):
        corners = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
        boxes.append(np.insert(corners * 2**scale, 2, 2**scale, axis=1))
    return np.concatenate(boxes)


def by_grid(values: NDArray[Any], grid: tuple[int, int], scales: int = 1) -> list[NDArray[Any]]:
    """Takes what is known of all patches apart: ``[P]`` to ``[h, w]`` of each grid, the finest first.

    Args:
        values: one for each patch.
        grid: rows and columns of the finest grid.
        scales: number of grids, from 1.

    Raises:
        ValueError: there is no grid, or the finest cannot be halved so often.
    """
    import numpy as np

    shapes = grid_shapes(grid, scales)
    ends = np.cumsum([rows * columns for rows, columns in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(values, ends), shapes, strict=True)]


def square_grid(patches: int, scales: int = 1) -> tuple[int, int] | None:
    """The finest of square grids that have so many patches together; None where no grids have."""
    # The grids have 1, 1/4, 1/16, ... of the patches of the finest.
    side = round((patches / sum(0.25**scale for scale in range(scales))) ** 0.5)
    if side < 1 or side % 2 ** (scales - 1) or len(patch_boxes((side, side), scales)) != patches:
        return None
    return side, side
