"""What the main process of a job does, and all of them hear of."""

from collections.abc import Callable
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process


def only_main(task: Callable, *args: Any) -> None:
    """Do it in the main process; what it cannot do is raised in all.

    Raised there alone, it would let the others wait for it.

    Args:
        task: What one process does.
        args: Its arguments.

    Raises:
        OSError: As the task does.
        ValueError: Likewise.
    """
    problem = [None]
    if is_main_process():
        try:
            task(*args)
        except (OSError, ValueError) as error:
            problem = [error]
    broadcast_object_list(problem)
    if problem[0] is not None:
        raise problem[0]
