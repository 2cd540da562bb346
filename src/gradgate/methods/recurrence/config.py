"""Settings of method `recurrence`."""

from gradgate.config import Section


class RecurrenceConfig(Section):
    """Method `recurrence`; it has nothing to be set yet."""
