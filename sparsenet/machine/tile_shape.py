"""The shape of a tile of sums, and whether the machine's registers hold it."""

from dataclasses import dataclass

from .vectors import LANES, LINE, REGISTERS, WIDEST


@dataclass(frozen=True)
class Tile:
    """The shape of a tile of sums.

    - Lanes are positions: M = `outputs` channels by R = `rows` rows of the image by A = `across` vectors of `width`
      numbers beside each other in a row. A number, one of M weights, meets R A vectors of the image.
    - Lanes are output channels (`channel_lanes`): LINE channels for A = `across` positions beside each other. Vectors,
      LINE weights, meet A numbers of the image: for layers in which so many outputs share what they keep, dense ones
      above all.
    """

    outputs: int
    rows: int
    across: int
    channel_lanes: bool = False
    width: int = LANES

    @property
    def block(self) -> int:
        """M: output channels, and weights in one entry of the packed weights."""
        return LINE if self.channel_lanes else self.outputs

    @property
    def size(self) -> int:
        """Vectors of the tile, each of `lanes` sums."""
        return self.outputs * self.rows * self.across

    @property
    def lanes(self) -> int:
        """Sums in a vector."""
        return LINE if self.channel_lanes else self.width

    @property
    def vectors(self) -> int:
        """Vectors of LANES sums that are as many as the tile's."""
        return self.size * self.lanes // LANES

    @property
    def registers(self) -> int:
        """Registers that the sums take."""
        return self.size * self._pieces

    @property
    def fits(self) -> bool:
        """Whether the registers hold the sums, what is held beside them, and an operand in passing."""
        held = 1 if self.channel_lanes else min(self.outputs, self.rows * self.across)
        return self.registers + held * self._pieces < REGISTERS

    @property
    def _pieces(self) -> int:
        """Registers of a vector."""
        return max(1, self.lanes // WIDEST)

    @property
    def has_room(self) -> bool:
        """Whether the registers hold four sums for each of the tile's."""
        return 4 * self.registers <= REGISTERS - 4
