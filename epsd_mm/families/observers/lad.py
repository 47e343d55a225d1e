"""Predictions of LAD."""

from torch import nn

from .paa import PAAObserver


class LADObserver(PAAObserver):
    """The same of LAD (Nguyen et al., WACV 2022).

    Its teacher, a second network that does not learn, is asked what belongs
    to which object; the logits are those of the network that learns. For
    mmdet's ``LADHead``.
    """

    head = 'LADHead'
    owners = frozenset({'PAAHead', 'LADHead'})
    methods = (*PAAObserver.methods, 'get_label_assignment')

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        teacher = getattr(model, 'teacher_model', None)
        networks = (model, teacher)
        return all(super(LADObserver, cls).accepts(one) for one in networks)

    def tap_targets(self) -> None:
        teacher = self.model.teacher_model.bbox_head
        self.hide(self.asked, self._tapped, of=teacher)
