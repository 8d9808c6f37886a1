# SPDX-License-Identifier: ISC
"""Whether samples of time tell two kinds apart: Welch's t, and medians.  Pure.

Interleaved samples of one run share its noise.  What a busy machine adds is only ever more time, so the
slowest tenth of all samples together is left out before t is computed; a bound that is common to all kinds
favours none of them.  Medians count as different when they are apart by half a millisecond and a hundredth,
and by more than their own error explains.
"""

import itertools
import math
import statistics

T_MAX = 4.5
MEDIAN_MAX_MS = 0.5
MEDIAN_MAX_PART = 0.01
KEPT = 0.9


def welch(a, b):
    """t of two samples of unequal variance; 0 where neither varies and both are the same."""
    error = math.sqrt(statistics.variance(a) / len(a) + statistics.variance(b) / len(b))
    difference = statistics.fmean(a) - statistics.fmean(b)
    if error == 0:
        return 0.0 if difference == 0 else math.copysign(math.inf, difference)
    return difference / error


def trimmed(samples):
    """The same table without what is above the bound that a tenth of all is above."""
    everything = sorted(itertools.chain.from_iterable(samples.values()))
    bound = everything[min(len(everything) - 1, int(len(everything) * KEPT))]
    return {name: [value for value in values if value <= bound] for name, values in samples.items()}


def median_error(values):
    """Standard error of the median, by the middle half: a few very slow samples do not excuse a difference."""
    low, _, high = statistics.quantiles(values, n=4)
    return 1.2533 * (high - low) / 1.349 / math.sqrt(len(values))


class Pair:
    def __init__(self, first, second, samples, kept):
        self.names = (first, second)
        self.medians = [statistics.median(samples[name]) for name in self.names]
        self.medians_apart = self.medians[0] - self.medians[1]
        self.medians_error = math.hypot(*(median_error(samples[name]) for name in self.names))
        self.t_all = welch(samples[first], samples[second])
        few = min(len(kept[first]), len(kept[second])) < len(samples[first]) / 2
        self.t = math.copysign(math.inf, self.medians_apart) if few else welch(kept[first], kept[second])

    @property
    def told_apart(self):
        apart = abs(self.medians_apart)
        return abs(self.t) >= T_MAX or apart >= max(MEDIAN_MAX_MS, MEDIAN_MAX_PART * min(self.medians), T_MAX * self.medians_error)


def pairs(samples):
    """Every pair of kinds, the most different first."""
    kept = trimmed(samples)
    found = [Pair(first, second, samples, kept) for first, second in itertools.combinations(samples, 2)]
    return sorted(found, key=lambda pair: -abs(pair.t))
