"""How layers are cut: taps by hand, and what every way of cutting must keep to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsenet.kernels import tiling
from sparsenet.kernels.tiling import Geometry, Taps, Tile, column_taps, phases, row_taps, tile_convolution, tile_linear
from sparsenet.machine.vectors import LANES, LINE


def test_taps_by_hand():
    """Tap j of stride s reads places j, j + s, j + 2 s, ...: of the copy that holds these, from `shift` on."""
    assert phases(3, 1, 1) == Taps((0, 0, 0), (0, 1, 2), 1)
    assert phases(3, 2, 1) == Taps((0, 1, 0), (0, 0, 1), 1)
    assert phases(3, 2, 2) == Taps((0, 0, 0), (0, 1, 2), 1)
    assert phases(2, 3, 2) == Taps((0, 2), (0, 0), 1)
    assert (phases(3, 2, 1).count, phases(3, 2, 1).reach) == (2, 1)


def test_columns_that_reach_beyond_a_line_get_a_copy_each():
    near = Geometry((1, 40, 40), 1, (1, 1))
    assert column_taps(near, LANES).count == 1
    far = Geometry((1, 40, 40), 1, (1, 3), dilation=(1, 9))
    assert column_taps(far, LANES) == Taps((0, 1, 2), (0, 0, 0), 9)
    assert row_taps(Geometry((1, 40, 40), 1, (3, 1), dilation=(9, 1))) == Taps((0, 0, 0), (0, 9, 18), 1)


geometries = st.builds(
    lambda channels, height, width, outputs, kernel, stride: Geometry(
        (channels, height, width), outputs, (kernel, kernel), (stride, stride), (kernel // 2, kernel // 2)
    ),
    *(st.integers(1, n) for n in (70, 60, 60, 40)),
    st.sampled_from([1, 2, 3, 5]),
    st.integers(1, 3),
)


@given(g=geometries, height=st.sampled_from([1, 2, 4, LINE]), density=st.sampled_from([0.0, 0.1, 1.0]))
def test_areas_and_tiles_cover_the_output(g, height, density):
    if height == LINE and g.stride[1] != 1:
        return
    way = tile_convolution(g, height, density=density)
    tile, tiles, sizes = way.tile, way.tiles, way.sizes
    assert tile.fits
    assert (tiles.block, tiles.sums, tiles.blocks) == (height, tile.vectors * LANES, -(-g.outputs // height))
    assert sizes.areas_y * sizes.area_rows >= sizes.out_height
    assert sizes.areas_x * sizes.area_columns >= sizes.out_width
    assert sizes.tile_rows <= sizes.area_rows
    assert sizes.tile_columns <= sizes.area_columns
    assert sizes.chunk * tiles.chunks >= g.shape[0] > sizes.chunk * (tiles.chunks - 1)
    if sizes.chunk > 1:
        assert sizes.chunk * sizes.length * 4 <= tiling.LARGEST_PACKED * tiling.PACKED_BYTES


@given(inputs=st.integers(1, 3000), samples=st.integers(1, 300), rows=st.sampled_from([1, 2, 4]))
def test_chunks_of_inputs_are_whole_squares(inputs, samples, rows):
    way = tile_linear(inputs, 50, samples, rows, density=0.1)
    assert way.tile.fits
    assert way.sizes.chunk % LANES == 0
    assert way.sizes.chunk * way.tiles.chunks >= inputs > way.sizes.chunk * (way.tiles.chunks - 1)
    assert way.tiles.plane == way.sizes.lines * way.sizes.lanes


def test_few_entries_take_larger_packed_inputs_than_many():
    """Where a row has next to no entries in a chunk, loading and storing its sums is what costs."""
    g = Geometry((256, 28, 28), 256, (1, 1))
    few, many = (tile_convolution(g, 1, density=density).tiles.chunks for density in (0.02, 1.0))
    assert few < many


@pytest.mark.parametrize("tile", [Tile(1, 28, 2), Tile(4, 8, 1), Tile(1, 1, 40, channel_lanes=True)])
def test_tiles_too_large_for_the_registers_are_refused(tile):
    assert not tile.fits
