"""What is said of a network that has no form as a file."""


class NotExportableError(ValueError):
    """A network has no form as a file; says why."""


def not_exportable(name: str, why: str) -> NotExportableError:
    """The error that names a network, or a part of it, and the reason."""
    return NotExportableError(f'{name} cannot be exported: {why}')
