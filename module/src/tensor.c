/* Tensor values: one reference-counted allocation each, readable by any thread.
 * Nothing here needs Python, so the event loop, a forked child and Redis' lazy
 * free thread can use all of it. */
#include "core.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

enum {
    DATA_ALIGNMENT = 64,         /* what DLPack consumers expect; TensorFlow aborts on less */
    PROBED_ALLOCATION = 64 << 20 /* bytes above which a failing allocation is worth a probe */
};

static const struct {
    const char *name;
    int32_t size;
    int32_t code; /* DLPack's; STRING has one of RedisAI's own */
} dtypes[RAI_DTYPES] = {
    {"FLOAT", 4, 2},   {"DOUBLE", 8, 2},   {"INT8", 1, 0},   {"INT16", 2, 0},  {"INT32", 4, 0},
    {"INT64", 8, 0},   {"UINT8", 1, 1},    {"UINT16", 2, 1}, {"BOOL", 1, 6},   {"STRING", 1, 7},
    {"FLOAT16", 2, 2}, {"BFLOAT16", 2, 4}, {"UINT32", 4, 1}, {"UINT64", 8, 1},
};

static int64_t live_tensors;

int32_t rai_dtype_from_name(const char *name, size_t length) {
    for (int32_t dtype = 0; dtype < RAI_DTYPES; dtype++) {
        if (strlen(dtypes[dtype].name) == length && strncasecmp(dtypes[dtype].name, name, length) == 0) return dtype;
    }
    return -1;
}

const char *rai_dtype_name(int32_t dtype) {
    return dtype >= 0 && dtype < RAI_DTYPES ? dtypes[dtype].name : NULL;
}

int64_t rai_dtype_size(int32_t dtype) {
    return dtypes[dtype].size;
}

int32_t rai_dtype_code(int32_t dtype) {
    return dtypes[dtype].code;
}

int32_t rai_dtype_of_code(uint64_t code, uint64_t bits) {
    for (int32_t dtype = 0; dtype < RAI_DTYPES; dtype++) {
        if ((uint64_t)dtypes[dtype].code == code && 8 * (uint64_t)dtypes[dtype].size == bits) return dtype;
    }
    return -1;
}

int64_t rai_tensor_count(int32_t dtype, int32_t ndim, const int64_t *dims) {
    int64_t count = 1, bytes;
    int empty = 0;
    /* A zero makes the tensor empty, but the other dims must still make sense. */
    for (int32_t i = 0; i < ndim; i++) {
        if (dims[i] < 0) return -1;
        if (dims[i] == 0) {
            empty = 1;
        } else if (__builtin_mul_overflow(count, dims[i], &count)) {
            return -1;
        }
    }
    /* STRING needs an 8-byte offset for each element besides its bytes. */
    int64_t per_element = dtype == RAI_STRING ? 9 : dtypes[dtype].size;
    if (__builtin_mul_overflow(count, per_element, &bytes)) return -1;
    return empty ? 0 : count;
}

/* Redis aborts the server when an allocation fails, so a size that a client
 * chose freely is tried first: with TryAlloc where Redis has it (7.0), else by
 * asking the C library for the same amount. */
static void *allocate(size_t bytes, int zeroed) {
    if (bytes > PROBED_ALLOCATION) {
        void *probe = RedisModule_TryAlloc ? RedisModule_TryAlloc(bytes) : malloc(bytes);
        if (probe == NULL) return NULL;
        if (RedisModule_TryAlloc && !zeroed) return probe;
        if (RedisModule_TryAlloc) {
            RedisModule_Free(probe);
        } else {
            free(probe);
        }
    }
    /* Calloc gets large blocks as fresh zero pages, which no memset beats. */
    return zeroed ? RedisModule_Calloc(1, bytes) : RedisModule_Alloc(bytes);
}

/* Points a tensor at its parts, which lie behind each other in one allocation. */
static void lay_out(rai_tensor *tensor) {
    int64_t *indices = (int64_t *)(tensor + 1);
    tensor->dims = indices;
    indices += tensor->ndim;
    tensor->offsets = tensor->dtype == RAI_STRING ? indices : NULL;
    if (tensor->dtype == RAI_STRING) indices += tensor->length;
    tensor->data = (char *)(((uintptr_t)indices + DATA_ALIGNMENT - 1) & ~(uintptr_t)(DATA_ALIGNMENT - 1));
}

rai_tensor *rai_tensor_new(int32_t dtype, int32_t ndim, const int64_t *dims, int64_t byte_length, int zeroed) {
    int64_t length = rai_tensor_count(dtype, ndim, dims);
    if (length < 0) return NULL;
    if (dtype != RAI_STRING) byte_length = length * dtypes[dtype].size;
    size_t header = sizeof(rai_tensor) + (size_t)ndim * sizeof(int64_t);
    if (dtype == RAI_STRING) header += (size_t)length * sizeof(int64_t);
    size_t bytes;
    if (__builtin_add_overflow(header + DATA_ALIGNMENT, (size_t)byte_length, &bytes) || bytes > PTRDIFF_MAX)
        return NULL;
    rai_tensor *tensor = allocate(bytes, zeroed);
    if (tensor == NULL) return NULL;
    tensor->refcount = 1;
    tensor->dtype = dtype;
    tensor->ndim = ndim;
    tensor->kept = (rai_kept){0};
    tensor->length = length;
    tensor->byte_length = byte_length;
    tensor->replaced = NULL;
    lay_out(tensor);
    if (ndim > 0) memcpy(tensor->dims, dims, (size_t)ndim * sizeof(int64_t));
    __atomic_add_fetch(&live_tensors, 1, __ATOMIC_RELAXED);
    return tensor;
}

int rai_tensor_index_strings(rai_tensor *tensor) {
    int64_t found = 0;
    const char *data = tensor->data, *end = data + tensor->byte_length;
    for (const char *element = data; element < end; found++) {
        const char *nul = memchr(element, 0, (size_t)(end - element));
        if (nul == NULL || found == tensor->length) return 0;
        tensor->offsets[found] = element - data;
        element = nul + 1;
    }
    return found == tensor->length;
}

int rai_tensor_set_strings(rai_tensor *tensor, const char *data, size_t length) {
    rai_tensor other = *tensor;
    int64_t *offsets = RedisModule_Alloc((size_t)tensor->length * sizeof(*offsets) + 1);
    other.data = (char *)data;
    other.byte_length = (int64_t)length;
    other.offsets = offsets;
    int valid = rai_tensor_index_strings(&other);
    if (valid) {
        char *copy = RedisModule_Alloc(length + 1);
        memcpy(copy, data, length);
        memcpy(tensor->offsets, offsets, (size_t)tensor->length * sizeof(*offsets));
        RedisModule_Free(tensor->replaced);
        tensor->data = tensor->replaced = copy;
        tensor->byte_length = (int64_t)length;
    }
    RedisModule_Free(offsets);
    return valid;
}

int rai_bool_data_valid(const char *data, size_t length) {
    unsigned char seen = 0;
    for (size_t i = 0; i < length; i++) seen |= (unsigned char)data[i];
    return seen <= 1;
}

rai_tensor *rai_tensor_retain(rai_tensor *tensor) {
    __atomic_add_fetch(&tensor->refcount, 1, __ATOMIC_RELAXED);
    return tensor;
}

void rai_tensor_release(rai_tensor *tensor) {
    if (tensor == NULL || __atomic_sub_fetch(&tensor->refcount, 1, __ATOMIC_ACQ_REL) > 0) return;
    __atomic_sub_fetch(&live_tensors, 1, __ATOMIC_RELAXED);
    rai_kept_forget(tensor);
    RedisModule_Free(tensor->replaced);
    RedisModule_Free(tensor);
}

size_t rai_tensor_memory(const rai_tensor *tensor) {
    size_t indices = (size_t)tensor->ndim + (tensor->offsets ? (size_t)tensor->length : 0);
    return sizeof(*tensor) + indices * sizeof(int64_t) + DATA_ALIGNMENT + (size_t)tensor->byte_length;
}

/* Workers see the data of tensors that they hold, so only those that nobody but the
 * keyspace holds can move; nobody else can get hold of one meanwhile. */
rai_tensor *rai_tensor_defrag(RedisModuleDefragCtx *ctx, rai_tensor *tensor) {
    if (__atomic_load_n(&tensor->refcount, __ATOMIC_ACQUIRE) != 1 || tensor->replaced) return NULL;
    ptrdiff_t offset = tensor->data - (char *)tensor;
    rai_tensor *moved = RedisModule_DefragAlloc(ctx, tensor);
    if (moved == NULL) return NULL;
    lay_out(moved);
    rai_kept_moved(moved);
    /* The alignment of the new place may differ. */
    memmove(moved->data, (char *)moved + offset, (size_t)moved->byte_length);
    return moved;
}

int64_t rai_live_tensors(void) {
    return __atomic_load_n(&live_tensors, __ATOMIC_RELAXED);
}
