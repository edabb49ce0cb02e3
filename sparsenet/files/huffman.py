"""Symbols 0, 1, 2, ... as bits: the more frequent, the fewer (Huffman 1952), by a canonical code of limited length.

A canonical code is known from the lengths of its codes alone: they are counted through, the short ones first, among
those of one length in the order of the symbols.
"""

import numpy as np

LIMIT = 15  # bits of the longest code: a decoder reads one at any bit within three bytes
SYMBOLS = 256


def code_lengths(counts: np.ndarray, limit: int = LIMIT) -> np.ndarray:
    """Bits of each symbol's code, for how often each occurs: of all codes of at most `limit` bits the shortest text.

    Notes
    -----
    min sum_k counts_k l_k   such that   sum_k 2^-l_k = 1,  1 <= l_k <= limit

    By package-merge (Larmore & Hirschberg 1990): a coin of the value 2^-l for each symbol and each l = 1 .. limit, at
    the price of the symbol's count; coins of the value n - 1 in all are bought at the least price. From the smallest
    value up coins are packed in pairs, which stand beside the coins of twice the value. The cheapest 2 n - 2 of the
    largest value are bought; a symbol's length is the number of its coins among them.

    Examples
    --------
    >>> code_lengths(np.array([8, 4, 2, 1, 1])).tolist()
    [1, 2, 3, 4, 4]
    >>> code_lengths(np.array([8, 4, 2, 1, 1]), limit=3).tolist()
    [1, 3, 3, 3, 3]
    """
    if not 2 <= len(counts) <= min(SYMBOLS, 2**limit) or min(counts) < 1:
        raise ValueError(f"a code of at most {limit} bits is for 2 to {min(SYMBOLS, 2**limit)} symbols that all occur")
    coins = [(int(count), (symbol,)) for symbol, count in enumerate(counts)]
    bought = sorted(coins)
    for _ in range(limit - 1):
        packed = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(bought[::2], bought[1::2], strict=False)]
        bought = sorted(coins + packed)
    return np.bincount([symbol for _, coin in bought[: 2 * len(coins) - 2] for symbol in coin])


def canonical_codes(lengths: np.ndarray) -> np.ndarray:
    """The code of each symbol as a number of as many bits as its length says.

    Notes
    -----
    In the order of (length, symbol) the first code is 0, and then  c <- (c + 1) 2^(l - length of the one before).

    Examples
    --------
    >>> [f"{c:0{l}b}" for c, l in zip(canonical_codes(np.array([2, 1, 3, 3])), [2, 1, 3, 3])]
    ['10', '0', '110', '111']
    """
    longest, order = int(lengths.max()), np.argsort(lengths, kind="stable")
    spans = 1 << (longest - lengths[order])  # how many words of the longest length start with this code
    codes = np.empty(len(lengths), np.int64)
    codes[order] = (np.cumsum(spans) - spans) >> (longest - lengths[order])
    return codes


def encode_symbols(symbols: np.ndarray, lengths: np.ndarray) -> bytes:
    """The codes of all symbols one after the other, the highest bit first; zeros fill the last byte.

    Examples
    --------
    >>> f"{encode_symbols(np.array([1, 0, 2, 1]), np.array([2, 1, 3, 3]))[0]:08b}"  # 0 10 110 0
    '01011000'
    """
    codes, widths = canonical_codes(lengths)[symbols], lengths[symbols].astype(np.int64)
    starts = np.cumsum(widths) - widths
    bits = np.zeros(int(widths.sum()), np.uint8)
    for place in range(int(lengths.max())):
        there = widths > place
        bits[starts[there] + place] = codes[there] >> (widths[there] - 1 - place) & 1
    return np.packbits(bits).tobytes()


def decode_symbols(code: bytes, lengths: np.ndarray, count: int) -> np.ndarray:
    """The `count` symbols that `encode_symbols` wrote, as uint8.

    What starts at each bit is looked up for all bits at once; a walk from code to code then says at which bits one does
    start.

    Raises
    ------
    ValueError
        When the lengths are not those of a code, or the bits not `count` symbols and the zeros behind them.
    """
    _check_lengths(lengths)
    starting = _symbols_at_each_bit(code, lengths)
    steps = lengths.astype(np.uint8)[starting].tobytes()
    place, places = 0, []
    while len(places) < count and place < len(steps):
        places.append(place)
        place += steps[place]
    if len(places) < count or len(code) != -(-place // 8) or (code and code[-1] & ((1 << -place % 8) - 1)):
        raise ValueError(f"{len(code)} bytes of codes are not those of {count} symbols, zeros behind them")
    return starting[places]


def _check_lengths(lengths: np.ndarray) -> None:
    known = lengths.ndim == 1 and 2 <= len(lengths) <= SYMBOLS and lengths.min() >= 1 and lengths.max() <= LIMIT
    if not known or sum(1 << (LIMIT - length) for length in lengths.tolist()) != 1 << LIMIT:
        raise ValueError(f"the lengths of {lengths.size} codes are not those of a complete code of up to {LIMIT} bits")


def _symbols_at_each_bit(code: bytes, lengths: np.ndarray) -> np.ndarray:
    """For every bit the symbol whose code starts there, would one start there."""
    longest, order = int(lengths.max()), np.argsort(lengths, kind="stable")
    table = np.repeat(order, 1 << (longest - lengths[order].astype(np.int64))).astype(np.uint8)
    padded = np.frombuffer(bytes(code) + b"\0\0", np.uint8).astype(np.int32)
    words = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
    symbols = np.empty((len(words), 8), np.uint8)
    for bit in range(8):
        symbols[:, bit] = table[words >> (24 - longest - bit) & ((1 << longest) - 1)]
    return symbols.reshape(-1)
