/* The C API for other modules: tensors. A tensor may be changed by whoever made it,
 * while nobody else has it: a stored one never is. */
#include <string.h>

#include "shared_api_internal.h"

RAI_Tensor *RAI_TensorCreate(const char *dtype, long long *dims, int ndims) {
    int32_t known = rai_dtype_from_name(dtype, strlen(dtype));
    if (known < 0 || ndims < 0) return NULL;
    int64_t length = rai_tensor_count(known, ndims, (const int64_t *)dims);
    rai_tensor *tensor = rai_tensor_new(known, ndims, (const int64_t *)dims, length, 1);
    if (tensor && known == RAI_STRING) rai_tensor_index_strings(tensor);
    return tensor;
}

/* Whether both may stand behind each other along dimension 0. */
static int fit(const rai_tensor *a, const rai_tensor *b) {
    return a->dtype == b->dtype && a->ndim == b->ndim &&
           memcmp(a->dims + 1, b->dims + 1, (size_t)(a->ndim - 1) * sizeof(*a->dims)) == 0;
}

/* A new tensor like another, but with so many rows and bytes. */
static rai_tensor *with_rows(const rai_tensor *like, int64_t rows, int64_t bytes) {
    int64_t *dims = RedisModule_Alloc((size_t)like->ndim * sizeof(*dims));
    memcpy(dims, like->dims, (size_t)like->ndim * sizeof(*dims));
    dims[0] = rows;
    rai_tensor *tensor = rai_tensor_new(like->dtype, like->ndim, dims, bytes, 0);
    RedisModule_Free(dims);
    return tensor;
}

RAI_Tensor *RAI_TensorCreateByConcatenatingTensors(RAI_Tensor **tensors, long long count) {
    int64_t rows = 0, bytes = 0;
    for (long long i = 0; i < count; i++) {
        if (tensors[i]->ndim < 1 || !fit(tensors[0], tensors[i])) return NULL;
        rows += tensors[i]->dims[0];
        bytes += tensors[i]->byte_length;
    }
    rai_tensor *all = count > 0 ? with_rows(tensors[0], rows, bytes) : NULL;
    if (all == NULL) return NULL;
    char *end = all->data;
    for (long long i = 0; i < count; i++) {
        memcpy(end, tensors[i]->data, (size_t)tensors[i]->byte_length);
        end += tensors[i]->byte_length;
    }
    if (all->dtype == RAI_STRING) rai_tensor_index_strings(all);
    return all;
}

/* Where an element begins; behind the last one, where the data ends. */
static int64_t offset_of(const rai_tensor *tensor, int64_t element) {
    if (element >= tensor->length) return tensor->byte_length;
    return tensor->offsets ? tensor->offsets[element] : element * rai_dtype_size(tensor->dtype);
}

RAI_Tensor *RAI_TensorCreateBySlicingTensor(RAI_Tensor *t, long long offset, long long len) {
    if (t->ndim < 1 || offset < 0 || len < 0 || offset > t->dims[0] || len > t->dims[0] - offset) return NULL;
    int64_t elements = t->dims[0] > 0 ? t->length / t->dims[0] : 0; /* of a row */
    int64_t start = offset_of(t, offset * elements), end = offset_of(t, (offset + len) * elements);
    if (elements == 0) start = end;
    rai_tensor *slice = with_rows(t, len, end - start);
    if (slice == NULL) return NULL;
    memcpy(slice->data, t->data + start, (size_t)(end - start));
    if (slice->dtype == RAI_STRING) rai_tensor_index_strings(slice);
    return slice;
}

size_t RAI_TensorLength(RAI_Tensor *t) {
    return (size_t)t->length;
}

size_t RAI_TensorDataSize(RAI_Tensor *t) {
    return (size_t)rai_dtype_size(t->dtype);
}

size_t RAI_TensorByteSize(RAI_Tensor *t) {
    return (size_t)t->byte_length;
}

int RAI_TensorNumDims(RAI_Tensor *t) {
    return t->ndim;
}

long long RAI_TensorDim(RAI_Tensor *t, int dim) {
    return t->dims[dim];
}

char *RAI_TensorData(RAI_Tensor *t) {
    rai_tensor_may_change(t);
    return t->data;
}

int RAI_TensorSetData(RAI_Tensor *t, const char *data, size_t len) {
    rai_tensor_may_change(t);
    if (t->dtype == RAI_STRING) return rai_tensor_set_strings(t, data, len);
    if (len != (size_t)t->byte_length) return 0;
    if (t->dtype == RAI_BOOL && !rai_bool_data_valid(data, len)) return 0;
    memcpy(t->data, data, len);
    return 1;
}

static int has_element(const rai_tensor *tensor, long long i) {
    return i >= 0 && i < tensor->length;
}

int RAI_TensorSetValueFromLongLong(RAI_Tensor *t, long long i, long long val) {
    if (!has_element(t, i)) return 0;
    rai_tensor_may_change(t);
    switch (t->dtype) {
    case RAI_INT8:
    case RAI_UINT8: ((int8_t *)t->data)[i] = (int8_t)val; return 1;
    case RAI_INT16:
    case RAI_UINT16: ((int16_t *)t->data)[i] = (int16_t)val; return 1;
    case RAI_INT32:
    case RAI_UINT32: ((int32_t *)t->data)[i] = (int32_t)val; return 1;
    case RAI_INT64:
    case RAI_UINT64: ((int64_t *)t->data)[i] = val; return 1;
    case RAI_BOOL: t->data[i] = val != 0; return 1;
    default: return 0;
    }
}

int RAI_TensorSetValueFromDouble(RAI_Tensor *t, long long i, double val) {
    if (!has_element(t, i)) return 0;
    rai_tensor_may_change(t);
    switch (t->dtype) {
    case RAI_FLOAT: ((float *)t->data)[i] = (float)val; return 1;
    case RAI_DOUBLE: ((double *)t->data)[i] = val; return 1;
    case RAI_FLOAT16: ((uint16_t *)t->data)[i] = rai_half_from_double(val); return 1;
    case RAI_BFLOAT16: ((uint16_t *)t->data)[i] = rai_bfloat_from_double(val); return 1;
    default: return 0;
    }
}

int RAI_TensorGetValueAsDouble(RAI_Tensor *t, long long i, double *val) {
    if (!has_element(t, i)) return 0;
    switch (t->dtype) {
    case RAI_FLOAT: *val = ((float *)t->data)[i]; return 1;
    case RAI_DOUBLE: *val = ((double *)t->data)[i]; return 1;
    case RAI_FLOAT16: *val = rai_half_to_double(((uint16_t *)t->data)[i]); return 1;
    case RAI_BFLOAT16: *val = rai_bfloat_to_double(((uint16_t *)t->data)[i]); return 1;
    default: return 0;
    }
}

int RAI_TensorGetValueAsLongLong(RAI_Tensor *t, long long i, long long *val) {
    if (!has_element(t, i)) return 0;
    switch (t->dtype) {
    case RAI_INT8: *val = ((int8_t *)t->data)[i]; return 1;
    case RAI_INT16: *val = ((int16_t *)t->data)[i]; return 1;
    case RAI_INT32: *val = ((int32_t *)t->data)[i]; return 1;
    case RAI_INT64:
    case RAI_UINT64: *val = ((int64_t *)t->data)[i]; return 1;
    case RAI_UINT8:
    case RAI_BOOL: *val = ((uint8_t *)t->data)[i]; return 1;
    case RAI_UINT16: *val = ((uint16_t *)t->data)[i]; return 1;
    case RAI_UINT32: *val = ((uint32_t *)t->data)[i]; return 1;
    default: return 0;
    }
}

RAI_Tensor *RAI_TensorGetShallowCopy(RAI_Tensor *t) {
    return rai_tensor_retain(t);
}

void RAI_TensorFree(RAI_Tensor *t) {
    rai_tensor_release(t);
}

RedisModuleType *RAI_TensorRedisType(void) {
    return rai_types.tensor;
}
