"""mm models as plain modules from pixels to final boxes or probabilities."""

from .as_predicted import as_predicted
from .refusal import NotExportableError, not_exportable
from .whole_model import as_deployed

__all__ = [
    'NotExportableError',
    'as_deployed',
    'as_predicted',
    'not_exportable',
]
