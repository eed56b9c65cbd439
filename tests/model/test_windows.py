"""Windowed attention: who sees whom, and in which order cells are joined."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from synpose_model.windows import DropPath, PatchMerging, WindowBlock, attend

SIDE, WINDOW, DIM = 8, 4, 16


def block(*, shift: bool, window: int = WINDOW) -> WindowBlock:
    torch.manual_seed(0)
    return WindowBlock(SIDE, DIM, 2, window, shift=shift).eval()


def reached(network: WindowBlock, row: int, column: int) -> Tensor:
    """Which cells `(SIDE, SIDE)` of the answer change when one cell of the map does."""
    torch.manual_seed(1)
    x = torch.randn(1, SIDE, SIDE, DIM)
    other = x.clone()
    other[0, row, column] += torch.randn(DIM)
    with torch.inference_mode():
        moved: Tensor = (network(x) - network(other)).abs().amax(-1)[0] > 1e-6
    return moved


def square(rows: slice, columns: slice) -> Tensor:
    out = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    out[rows, columns] = True
    return out


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 4), (7, 2)])
def test_a_cell_reaches_all_of_its_window_and_nothing_else(row: int, column: int) -> None:
    """Without a shift, windows are the quarters of the map."""
    first, left = row // 4 * 4, column // 4 * 4
    expected = square(slice(first, first + 4), slice(left, left + 4))
    assert torch.equal(reached(block(shift=False), row, column), expected)


@pytest.mark.parametrize(
    ("row", "column", "rows", "columns"),
    [
        (4, 4, slice(2, 6), slice(2, 6)),  # the middle window spans all four of the block before
        (3, 3, slice(2, 6), slice(2, 6)),
        (0, 0, slice(0, 2), slice(0, 2)),  # the shift brought the corners together; each stays by itself
        (7, 7, slice(6, 8), slice(6, 8)),
        (0, 4, slice(0, 2), slice(2, 6)),
        (5, 7, slice(2, 6), slice(6, 8)),
    ],
)
def test_shifted_windows_join_neighbours_and_never_opposite_sides(
    row: int, column: int, rows: slice, columns: slice
) -> None:
    """Shifted by half a window, windows cross the old borders and end at the map's own."""
    assert torch.equal(reached(block(shift=True), row, column), square(rows, columns))


def test_one_window_is_global_attention() -> None:
    """A window as large as the map sees all of it, is never shifted, and is plain attention over the cells."""
    network = block(shift=True, window=SIDE)
    assert network.shift == 0
    assert reached(network, 7, 0).all()
    x = torch.randn(2, SIDE, SIDE, DIM)
    cells = network.attention_norm(x).reshape(2, -1, DIM)
    bias = network.position_bias[network.offsets].permute(2, 0, 1)
    y = x + network.project(attend(network.qkv(cells), 2, bias)).reshape(x.shape)
    torch.testing.assert_close(network(x), y + network.mlp(network.mlp_norm(y)))


def test_the_position_bias_depends_on_relative_places_alone() -> None:
    """Pairs of cells that lie alike to each other read one entry of the table; all others read others."""
    offsets = block(shift=False).offsets
    cells = [divmod(i, WINDOW) for i in range(WINDOW**2)]
    seen: dict[tuple[int, int], int] = {}
    for i, (r, c) in enumerate(cells):
        for j, (s, d) in enumerate(cells):
            assert seen.setdefault((r - s, c - d), int(offsets[i, j])) == int(offsets[i, j])
    assert sorted(seen.values()) == list(range((2 * WINDOW - 1) ** 2))


def test_merging_joins_the_four_cells_of_a_square_row_by_row() -> None:
    """The four cells go into one in the order top left, top right, bottom left, bottom right."""
    merging = PatchMerging(1, 4)
    merging.norm = torch.nn.Identity()  # type: ignore[assignment]  # so that the cells can be told apart
    with torch.no_grad():
        merging.reduce.weight.copy_(torch.eye(4))
    out = merging(torch.arange(16.0).reshape(1, 4, 4, 1))
    assert out[0].tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7]], [[8, 9, 12, 13], [10, 11, 14, 15]]]


def test_drop_path_leaves_out_whole_samples_and_keeps_the_mean() -> None:
    """While training a branch is there, enlarged, or not at all; in evaluation nothing happens."""
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    out = drop(x).flatten(1)
    assert torch.equal(out, out[:, :1].expand_as(out))
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert out.mean() == pytest.approx(1.0, abs=0.03)
    assert drop.eval()(x) is x
