"""Attention that is differentiated twice."""

import torch

try:
    from torch.nn.attention import SDPBackend, sdpa_kernel
except ImportError:  # before torch 2.3
    sdpa_kernel = None


def plain_attention():
    """A context, or decorator, without fused attention kernels.

    ``torch.nn.functional.scaled_dot_product_attention`` chooses among
    kernels; the backward pass of the fused ones has no derivative. Inside,
    it computes matrix products and a softmax, which have. A loss must be
    recorded and replayed inside alike: kernels agree to rounding only.
    """
    if sdpa_kernel is None:
        return torch.backends.cuda.sdp_kernel(
            enable_flash=False, enable_mem_efficient=False, enable_math=True
        )
    return sdpa_kernel(SDPBackend.MATH)
