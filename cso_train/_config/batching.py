"""From the global batch to what one device takes at once."""

from __future__ import annotations

from cso_train.errors import TrainConfigError
from mctsdialog._arguments import checked

MOST_PER_DEVICE = 4
"""Most rows that one device takes at once where nobody said how many."""


@checked()
def accumulation_steps(batch_size: int, per_device: int, world_size: int) -> int:
    """Backward passes of one optimiser step, so that all devices together see the global batch exactly.

    :param batch_size: rows of one optimiser step over all devices, 1 or more.
    :param per_device: rows that one device takes at once, 1 or more.
    :param world_size: number of devices (processes), 1 or more.
    :raises TrainConfigError: if the batch is no multiple of ``per_device * world_size``, with combinations near
        it that work, or a number is below 1.
    """
    for field, value in (("batch_size", batch_size), ("per_device_batch_size", per_device), ("world_size", world_size)):
        if value < 1:
            raise TrainConfigError(f"{field}: {value} is below 1", field=field)
    at_once = per_device * world_size
    if batch_size % at_once == 0:
        return batch_size // at_once
    raise TrainConfigError(_refusal(batch_size, per_device, world_size), field="batch_size")


def device_batch(batch_size: int, world_size: int, *, least: int = 1) -> int:
    """The rows that one device takes at once where nobody said: the most up to 4 that divide its share of the batch.

    :param least: fewest rows that the method works with (kto: 2).
    :raises TrainConfigError: if no number fits, with combinations near it that work.
    """
    accumulation_steps(batch_size, 1, world_size)
    fitting = _divisors(batch_size // world_size, least)
    if not fitting:
        raise TrainConfigError(_refusal(batch_size, least, world_size), field="batch_size")
    return max((rows for rows in fitting if rows <= MOST_PER_DEVICE), default=fitting[0])


def _divisors(number: int, least: int = 1) -> list[int]:
    return [rows for rows in range(least, number + 1) if number % rows == 0]


def _refusal(batch_size: int, per_device: int, world_size: int) -> str:
    at_once = per_device * world_size
    below = batch_size // at_once * at_once
    choices = [f"batch_size {below} or {below + at_once}" if below else f"batch_size {at_once}"]
    if batch_size % world_size == 0:
        rows = sorted(_divisors(batch_size // world_size), key=lambda rows: abs(rows - per_device))[:2]
        choices.append(f"per_device_batch_size {' or '.join(str(each) for each in sorted(rows))}")
    fewer = [n for n in range(1, world_size) if batch_size % (n * per_device) == 0]
    if fewer:
        choices.append(_devices(fewer[-1]))
    made = f"{batch_size} cannot be made of {_devices(world_size)} with {per_device} rows each"
    return f"batch_size: {made}; these work: {', or '.join(choices)}"


def _devices(count: int) -> str:
    return f"{count} device{'s' * (count != 1)}"
