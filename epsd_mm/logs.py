"""Where messages go."""

from logging import Logger, getLogger

from .compat import absent_mm


def current_logger() -> Logger:
    """That of mmengine's run, or one of Python's own without mmengine."""
    if absent_mm():
        return getLogger('epsd_mm')
    from mmengine.logging import MMLogger

    return MMLogger.get_current_instance()
