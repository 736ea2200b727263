"""The native backend: the compiled kernels. Arguments are checked in C++ (python/pybind_module.cc)."""

from typing import Any

from squeezeops import _native
from squeezeops._library import check_version
from squeezeops._native import __version__ as _version
from squeezeops._native import (  # noqa: F401
    attention_scores,
    cpu_info,
    embedding,
    embedding_layer_norm,
    force_isa,
    gelu,
    get_num_threads,
    kernel_table,
    l2_normalize,
    last_kernel,
    layer_norm,
    mean_pool,
    pack_pointwise_conv,
    packed_form,
    pointwise_conv,
    set_num_threads,
    softmax,
    tanh,
    use_packed_pointwise_conv,
)

check_version(_version)


def attention(
    q: Any,
    k: Any,
    v: Any,
    num_heads: int,
    cu_seqlens: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    mask: Any,
    scale: float | None,
    fully_masked: str,
    out: Any,
) -> Any:
    """See `squeezeops.attention`."""
    if cu_seqlens is cu_seqlens_q is cu_seqlens_k is None:
        return _native.attention(q, k, v, num_heads, mask, scale, fully_masked, out)
    return _native.attention_ragged(
        q, k, v, num_heads, cu_seqlens, cu_seqlens_q, cu_seqlens_k, mask, scale, fully_masked, out
    )


def quantize_rows(x: Any, groups: int, values: Any, scales: Any) -> Any:
    """See `squeezeops.quantize_rows`."""
    return _native.quantize_rows(x, groups, (values, scales))


def run_pointwise_conv(
    handle: Any,
    x: Any,
    x_scales: Any,
    activation: str | None,
    residual: Any,
    quantize_groups: int | None,
    out: Any,
    out_scales: Any,
) -> Any:
    """See `squeezeops.PointwiseConv`."""
    x = x if x_scales is None else (x, x_scales)
    out = out if quantize_groups is None else (out, out_scales)
    return _native.run_pointwise_conv(handle, x, activation, residual, out, quantize_groups)


def run_pointwise_convs(handles: Any, x: Any, x_scales: Any, outs: Any) -> Any:
    """See `squeezeops.pointwise_convs`."""
    return _native.run_pointwise_convs(handles, x if x_scales is None else (x, x_scales), outs)
