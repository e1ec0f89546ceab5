"""From a step number to rows and random numbers. Nothing here remembers anything.

Each function is pure in its arguments and costs the same at any step: so training can stop at any
moment and continue with the same bits, without storing a generator's state. Only raw Philox words
and integer arithmetic are used, which numpy promises to keep stable (NEP 19 lets the methods of
np.random.Generator change between versions).
"""

import hashlib

import numpy as np

_FEISTEL_ROUNDS = 8
_SMALL = 256  # permutations up to this size are sorted; costs about what the network does
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, the increment of splitmix64


def make_key(seed: int, *names: str) -> int:
    """A 64-bit key for one purpose, e.g. `make_key(config.seed, "source", "order")`; the same on
    every machine.
    """
    text = "\x1f".join([str(int(seed)), *names])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def random_words(step: int, count: int, key: int) -> np.ndarray:
    """Random words of a step, uint64 [count]; a longer request begins with a shorter one's."""
    generator = np.random.Philox(key=np.array([key, step], np.uint64))
    return np.atleast_1d(generator.random_raw(count))


def uniforms(step: int, rows: int, k: int, key: int) -> np.ndarray:
    """float32 [rows, k] in [0, 1). Row i depends on (key, step, k, i), not on `rows`."""
    # 24 bits: every float32 multiple of 2**-24
    words = random_words(step, rows * k, key) >> np.uint64(40)
    return (words.astype(np.float32) * np.float32(2.0**-24)).reshape(rows, k)


def permuted(position, n: int, key) -> np.ndarray:
    """Looks up positions in a pseudo-random permutation of range(n), in time that does not grow
    with n.

    Large n: a Feistel network permutes the numbers below 4**h, the smallest such bound >= n; a
    value that lands outside range(n) is permuted again until it falls inside (cycle walking). What
    remains is a permutation of range(n), after fewer than 4 rounds on average (Black and Rogaway
    2002, "Ciphers with arbitrary finite domains"). Small n: the order of n hashed numbers, because
    a Feistel network over a few values is visibly not uniform.

    Args:
      position: integers in 0..n-1, any shape.
      n: size of the permutation, >= 1.
      key: which permutation; an int, or uint64 that broadcasts with `position`.
    Returns: int64 of the broadcast shape.
    Raises: ValueError when a position is outside range(n).
    """
    position, key = np.broadcast_arrays(np.asarray(position, np.int64), np.asarray(key, np.uint64))
    if position.size and (position.min() < 0 or position.max() >= n):
        raise ValueError(f"positions {position.min()}..{position.max()} are outside range({n})")
    if n <= _SMALL:
        keys, which = np.unique(key, return_inverse=True)
        orders = np.argsort(subkey(keys[:, None], np.arange(n)), axis=1, kind="stable")  # [keys, n]
        return orders[which.reshape(position.shape), position]
    half_bits = ((n - 1).bit_length() + 1) // 2
    value = position.astype(np.uint64).ravel()
    round_keys = subkey(key.ravel(), np.arange(_FEISTEL_ROUNDS)[:, None])
    is_outside = np.ones(value.shape, bool)
    while is_outside.any():
        value[is_outside] = _feistel(value[is_outside], half_bits, round_keys[:, is_outside])
        is_outside = value >= n
    return value.astype(np.int64).reshape(position.shape)


def random_subset(n: int, count: int, key: int) -> np.ndarray:
    """`count` different numbers below n in ascending order, all of them where n is smaller: int64.

    Every subset is equally likely, and a larger `count` holds those of a smaller one.
    """
    return np.sort(permuted(np.arange(min(count, n)), n, key))


def random_rows(step: int, batch_size: int, n: int, key: int, drop_last: bool = True) -> np.ndarray:
    """Rows of a batch shuffled without replacement, epoch after epoch: int64 [batch_size].

    With drop_last each epoch is a new permutation cut into floor(n / batch_size) batches, its
    remainder unused, like torch's RandomSampler with drop_last=True. Without it, or when n <
    batch_size, the permutations follow each other without a gap, so a batch can span epochs and
    hold a row twice.
    """
    offset = np.arange(batch_size)
    if drop_last and n >= batch_size:
        epoch, batch = divmod(step, n // batch_size)
        return permuted(batch * batch_size + offset, n, subkey(key, epoch))
    epoch, position = np.divmod(step * batch_size + offset, n)
    return permuted(position, n, subkey(key, epoch))


def sequential_rows(step: int, batch_size: int, n: int) -> np.ndarray:
    """Rows in order, int64 [batch_size]; -1 where the set has ended."""
    rows = step * batch_size + np.arange(batch_size)
    return np.where(rows < n, rows, -1)


def num_sequential_steps(n: int, batch_size: int) -> int:
    """Batches that sequential_rows needs to show every row once."""
    return -(-n // batch_size)


def subkey(key, number) -> np.ndarray:
    """A key for each number (an epoch, a pass) of a key: uint64 of the shape of `number`."""
    # arithmetic modulo 2**64 is meant; numpy warns of it for scalars only
    with np.errstate(over="ignore"):
        increments = np.asarray(number).astype(np.uint64) + np.uint64(1)
        return _mix(np.asarray(key, np.uint64) + increments * _GOLDEN)


def _feistel(value, half_bits, round_keys):
    """Permutes numbers below 4**half_bits: uint64 [P] and round keys uint64 [rounds, P] to
    uint64 [P].
    """
    shift, low_bits = np.uint64(half_bits), np.uint64(2**half_bits - 1)
    left, right = value >> shift, value & low_bits
    for round_key in round_keys:
        left, right = right, left ^ (_mix(right ^ round_key) >> np.uint64(32) & low_bits)
    return (left << shift) | right


def _mix(word):
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): every input bit flips about half of
    the output bits.
    """
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
