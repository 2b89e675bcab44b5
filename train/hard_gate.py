"""When hard negatives begin: not before ITM tells random ones, else nothing is learned from either."""
from __future__ import annotations

import dataclasses
import math

_MEMORY = 2000.0       # samples in which the mean forgets all but 1 / e


@dataclasses.dataclass(frozen=True, slots=True)
class HardGate:
    """How well ITM does on random negatives; part of the run's state, so that a resume goes on exactly.

    It is made of numbers that are summed over the ranks, so all of them open it after the same step.  Once open it
    stays open: from then on the accuracy is not one on random pairs any more.
    """

    accuracy: float = 0.0          # moving mean of ITM's, right and wrong pairs weighing the same; rises from 0
    open: bool = False

    def after(self, accuracy: float, samples: int, threshold: float) -> HardGate:
        """Returns the gate after a step over so many samples.

        >>> gate = HardGate().after(1.0, 2000, threshold=0.7)
        >>> gate, gate.after(1.0, 1000, threshold=0.7).open
        (HardGate(accuracy=0.632121, open=False), True)
        """
        if self.open:
            return self
        mean = round(accuracy + (self.accuracy - accuracy) * math.exp(-samples / _MEMORY), 6)
        return HardGate(mean, mean > threshold)
