"""The native backend: the compiled kernels. Arguments are checked in C++ (python/pybind_module.cc)."""

from squeezeops._library import check_version
from squeezeops._native import __version__ as _version
from squeezeops._native import (  # noqa: F401
    attention,
    attention_ragged,
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
    quantize_rows,
    run_pointwise_conv,
    run_pointwise_convs,
    set_num_threads,
    softmax,
    tanh,
    use_packed_pointwise_conv,
)

check_version(_version)
