"""A registry: classes by the names that configs call them."""

from collections.abc import Callable
from importlib import import_module


class Registry:
    """Classes by name.

    The part of mmengine's ``Registry`` that takes no mmengine::

        @CRITERIA.register_module()
        class Mine(Criterion): ...

    Args:
        what: What the classes are, for messages.

    Attributes:
        module_dict: The classes by name.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.module_dict: dict[str, type] = {}

    def register_module(
        self,
        name: str | None = None,
        force: bool = False,
        module: type | None = None,
    ) -> Callable[[type], type] | type:
        """Register a class, or return what decorates one.

        Args:
            name: By default that of the class.
            force: Take the place of another class of that name.
            module: The class.

        Raises:
            KeyError: The name is taken.
            TypeError: It is no class.
        """
        if module is None:
            return lambda cls: self.register_module(name, force, cls)
        if not isinstance(module, type):
            raise TypeError(
                f'{module!r} is no class: a {self.what} is registered as one'
            )
        name = name or module.__name__
        if name in self.module_dict and not force:
            raise KeyError(
                f'{name!r} is registered already, as the {self.what} '
                f'{self.module_dict[name].__module__}.'
                f'{self.module_dict[name].__qualname__}: choose another name, '
                'or say force=True to take its place'
            )
        self.module_dict[name] = module
        return module

    def get(self, name: str) -> type | None:
        """The class of a name, or of a path such as a dumped config has.

        Args:
            name: As registered, or ``'my_package.my_file.Mine'``.

        Returns:
            None where there is no such class.
        """
        if name in self.module_dict:
            return self.module_dict[name]
        path, _, last = name.rpartition('.')
        try:
            return getattr(import_module(path), last, None)
        except (ImportError, TypeError, ValueError):  # no path at all
            return None
