"""TorchScript whose run time grows with the dims of its inputs and follows from them.

No loops, no branches, no shapes made of values: not ``where``, which may be ``nonzero``. Nor ``squeeze``, after which
a smaller tensor may have other dims, and be combined with another one to something large. And no numbers made of
shapes, of which a difference could be large for small inputs; sizes for views are left out by ``graph.operators``.
"""

from __future__ import annotations

STRUCTURE = """
    Constant GetAttr ListConstruct ListUnpack TupleConstruct TupleIndex TupleUnpack
    device dtype unchecked_cast
"""

ELEMENTWISE = """
    abs acos add addcdiv addcmul asin atan atan2 bitwise_and bitwise_not bitwise_or bitwise_xor ceil clamp clamp_max
    clamp_min clone contiguous copysign cos cosh detach div dropout elu eq erf erfc exp exp2 expm1 floor floor_divide
    fmod full_like ge gelu glu gt hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan le leaky_relu lerp log
    log10 log1p log2 logical_and logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish mul ne neg
    ones_like pow prelu reciprocal relu relu6 remainder round rsqrt rsub selu sigmoid sign silu sin sinh softplus
    softshrink softsign sqrt square sub tan tanh threshold to true_divide trunc type_as xlogy zeros_like
"""

REDUCTIONS = """
    all amax amin any argmax argmin cumprod cumsum logsumexp log_softmax max mean median min norm prod softmax sort std
    sum topk var
"""

LAYERS = """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d addbmm addmm addmv avg_pool1d avg_pool2d baddbmm
    batch_norm bmm conv1d conv2d cosine_similarity dot embedding group_norm instance_norm layer_norm linear matmul
    max_pool1d max_pool2d mm mv normalize outer pixel_shuffle scaled_dot_product_attention
"""

ARRANGEMENTS = """
    alias broadcast_to cat chunk constant_pad_nd dim expand expand_as flatten flip gather index_select movedim
    narrow pad permute repeat reshape roll scatter select slice split split_with_sizes stack
    swapaxes t take_along_dim transpose tril triu unbind unflatten unsqueeze view view_as
    __getitem__ arange eye full ones tensor zeros
"""

OPERATORS = frozenset(
    {
        *(f"prim::{name}" for name in STRUCTURE.split()),
        *(f"aten::{name}" for name in (ELEMENTWISE + REDUCTIONS + LAYERS + ARRANGEMENTS).split()),
    }
)


def is_predictable(operators: frozenset[str]) -> bool:
    """Whether a graph of just these operators, blocks inside included, is such."""
    return operators <= OPERATORS
