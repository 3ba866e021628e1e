"""Random cells: counter-based draws, and the stream of Python's `random` that the published code uses."""

import random

import numpy as np


class CounterDraws:
    """Random words addressed by (seed, stage, attempt, candidate), whatever else is drawn.

    Words are 32-bit halves (low first) of numpy's Philox4x64-10 with key `(seed, stage + attempt * 2**32)`;
    candidate i owns the counter blocks `i*L .. (i+1)*L - 1` of 4 x 64 bits, where L is the least number that
    gives `words` words.
    """

    def __init__(self, seed, stage, words):
        self.seed, self.stage = seed, stage
        self.blocks = -(-words // 8)
        self.words = words

    def rows(self, indices, attempt):
        """uint32 `[len(indices), words]` for ascending candidate indices."""
        indices = np.asarray(indices)
        result = np.empty((len(indices), self.words), np.uint32)
        span = max(1, (1 << 16) // (8 * self.blocks))  # one call per run of neighbours, gaps included when cheap
        start = 0
        while start < len(indices):
            stop = int(np.searchsorted(indices, indices[start] + span))
            first, last = int(indices[start]), int(indices[stop - 1])
            counter = first * self.blocks
            generator = np.random.Philox(
                key=np.array([self.seed, self.stage + (attempt << 32)], np.uint64),
                counter=np.array([counter & (2**64 - 1), counter >> 64, 0, 0], np.uint64),
            )
            raw = generator.random_raw((last - first + 1) * self.blocks * 4)
            words = raw.astype("<u8", copy=False).view("<u4").reshape(last - first + 1, -1)
            result[start:stop] = words[indices[start:stop] - first, : self.words]
            start = stop
        return result


def smallest(keys, count):
    """Choose `count` columns per row, those of the smallest keys: bool, the shape of `keys`.

    Equal keys at the edge are settled by column order, so the choice is the same on every machine.
    """
    rows, columns = keys.shape
    if count >= columns:
        return np.ones((rows, columns), bool)
    if count < 1:
        return np.zeros((rows, columns), bool)
    chosen = keys <= np.partition(keys, count - 1, axis=1)[:, count - 1 : count]
    for row in np.nonzero(np.count_nonzero(chosen, axis=1) != count)[0]:
        chosen[row] = False
        chosen[row, np.argsort(keys[row], kind="stable")[:count]] = True
    return chosen


class PythonDraws:
    """`random.randint(0, n - 1)` of Python's Mersenne Twister, redrawn until unseen, many words at a time.

    `randint` over n values takes the top `n.bit_length()` bits of a 32-bit word and redraws
    while they are >= n.
    """

    def __init__(self, seed):
        _, state, _ = random.Random(seed).getstate()
        self.generator = np.random.MT19937()
        self.generator.state = {
            "bit_generator": "MT19937",
            "state": {"key": np.array(state[:-1], np.uint32), "pos": state[-1]},
        }
        self.ahead = np.empty(0, np.uint32)

    def distinct(self, n, count):
        """The first `count` distinct values drawn from 0..n-1, as a bool array of n."""
        chosen = np.zeros(n, bool)
        if count < 1:
            return chosen
        share = count / n
        guess = n if share > 0.99 else -np.log1p(-share) * n
        words = int(1.1 * guess * 2 ** n.bit_length() / n) + 64
        first = np.empty(n, np.int32)
        while True:
            self._fill(words)
            values = self.ahead[:words] >> np.uint32(32 - n.bit_length())
            legal = np.flatnonzero(values < n)
            values = values[legal].astype(np.intp)
            order = np.arange(len(values), dtype=np.int32)
            first[values[::-1]] = order[::-1]  # of repeated values the last write, hence the earliest draw, stays
            fresh = np.flatnonzero(first[values] == order)
            if len(fresh) >= count:
                last = fresh[count - 1]
                chosen[values[: last + 1]] = True
                self.ahead = self.ahead[legal[last] + 1 :]
                return chosen
            words *= 2

    def _fill(self, words):
        if len(self.ahead) < words:
            fresh = self.generator.random_raw(max(words - len(self.ahead), 1 << 18)).astype(np.uint32)
            self.ahead = np.concatenate([self.ahead, fresh])
