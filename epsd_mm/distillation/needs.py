"""What a self-distillation loss needs of its batches, each in one place."""

from collections.abc import Sequence

import torch

from .observation import image_key


class Need:
    """Nothing: batches as they come.

    A teacher declares what it needs, see :class:`Teacher`; one of another
    kind derives from this.

    Attributes:
        sampler: Registered name of the batch sampler that gives it, if one
            has to.
        why: What the loss does with it, for messages.
        partners: Batches have images that are only predicted for, just
            before each step.
        shows_first: Scoring shows the first batch of a draw to a fresh
            teacher, as the model's own weights predict it, and scores those
            after it.
        shows_each: Scoring shows every batch likewise before it scores it:
            a model that was not trained yet has nothing to recall.
        taught: A network that was trained before, the loss's ``teacher``,
            predicts for the images of each step, just before it.
    """

    sampler: str | None = None
    why: str = ''
    partners: bool = False
    shows_first: bool = False
    shows_each: bool = False
    taught: bool = False

    def split(self, batch: dict) -> tuple[dict, dict | None]:
        """What carries the task's losses, and what is only predicted for.

        Args:
            batch: As it is collated, of ``inputs`` and ``data_samples``.

        Raises:
            ValueError: The sampler has not made it.
        """
        return batch, None

    def watch(self, loss: str) -> 'Watch':
        """What looks at the batches of a scoring.

        Args:
            loss: Name of the loss, for messages.
        """
        return Watch(loss)

    def plain_size(self, batch_size: int) -> int:
        """Images a step that are new in it, of ``batch_size`` with a loss.

        So many a step see as many images in as many steps without the
        sampler.
        """
        return batch_size


class Watch:
    """Looks whether batches are what a loss needs: any are.

    Args:
        loss: Name of the loss, for messages.
    """

    def __init__(self, loss: str) -> None:
        self.loss = loss

    def begin(self, samples: Sequence) -> None:
        """The batch that is shown first."""

    def see(self, samples: Sequence) -> None:
        """One more batch, as it is collated.

        Raises:
            ValueError: The batches cannot be those of the sampler.
        """

    def end(self) -> None:
        """That was all.

        Raises:
            ValueError: Likewise.
        """


class Pairs(Need):
    """The second half of each batch are partners of the first half."""

    sampler = 'ClassPairBatchSampler'
    why = 'compares each image with a partner of its class'
    partners = True

    def split(self, batch: dict) -> tuple[dict, dict]:
        count = len(batch['inputs'])
        if count % 2:
            raise ValueError(
                f'a batch of {count} samples is no set of pairs: it must '
                'hold as many partners as images, as ClassPairBatchSampler '
                'gives them: set it as batch_sampler of the train_dataloader'
            )
        main = {name: value[: count // 2] for name, value in batch.items()}
        partners = {name: value[count // 2 :] for name, value in batch.items()}
        return main, partners

    def watch(self, loss: str) -> Watch:
        return _PairsWatch(loss)


class _PairsWatch(Watch):
    def see(self, samples: Sequence) -> None:
        """Raise where the second half are no partners of the first.

        A replaced image, as for a damaged one, may differ.
        """
        half = len(samples) // 2
        pairs = list(zip(samples[:half], samples[half:]))
        if not all('gt_label' in sample for sample in samples):
            return
        alike = sum(
            bool(torch.equal(main.gt_label, other.gt_label))
            for main, other in pairs
        )
        if alike < len(pairs) / 2:
            raise ValueError(
                f'only {alike} of {len(pairs)} images of the second half of '
                'a batch have the class of their image in the first: batches '
                'must hold partners as those of ClassPairBatchSampler do, '
                'and collate must keep their order'
            )


class Overlap(Need):
    """Half of each batch is shared with the batch before."""

    sampler = 'OverlapBatchSampler'
    why = 'compares each image with its prediction one step ago'
    shows_first = True

    def watch(self, loss: str) -> Watch:
        return _OverlapWatch(loss)

    def plain_size(self, batch_size: int) -> int:
        return batch_size // 2


class _OverlapWatch(Watch):
    """Raises where no batch had an image of the one before.

    A pipeline that replaces images may part two batches, but not all.
    """

    def __init__(self, loss: str) -> None:
        super().__init__(loss)
        self._images: set = set()  # of the batch before
        self._overlaps: list[bool] = []

    def begin(self, samples: Sequence) -> None:
        self._images = {image_key(sample) for sample in samples}

    def see(self, samples: Sequence) -> None:
        before = self._images
        self.begin(samples)
        self._overlaps.append(bool(before & self._images))
        if len(self._overlaps) >= 3:
            self.end()

    def end(self) -> None:
        if self._overlaps and not any(self._overlaps):
            raise ValueError(
                f'none of the images of {len(self._overlaps)} batches were '
                f'in the batch before, so that {self.loss} compares nothing: '
                'batches must overlap as those of OverlapBatchSampler do: '
                'set it as batch_sampler of the train_dataloader'
            )


class Past(Need):
    """Each image has been seen before, an epoch ago: any batches do."""

    shows_each = True


class Lesson(Need):
    """A trained network sees each batch too: any batches do."""

    taught = True
