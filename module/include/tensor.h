/* Tensors, and their dtypes: tensor.c and halves.c. */
#ifndef RAI_TENSOR_H
#define RAI_TENSOR_H
#include <stddef.h>
#include <stdint.h>

#include "redis_api.h"

typedef enum rai_dtype {
    RAI_FLOAT,
    RAI_DOUBLE,
    RAI_INT8,
    RAI_INT16,
    RAI_INT32,
    RAI_INT64,
    RAI_UINT8,
    RAI_UINT16,
    RAI_BOOL,
    RAI_STRING,
    RAI_FLOAT16, /* from here on: unknown to RedisAI */
    RAI_BFLOAT16,
    RAI_UINT32,
    RAI_UINT64,
    RAI_DTYPES
} rai_dtype;

/* Of the reply that is kept of a tensor: kept_replies.c. */
typedef struct rai_kept {
    uint8_t reads;      /* event loop */
    uint8_t may_change; /* another module has had access to its data: nothing is kept */
    uint16_t place;     /* counted from 1; 0: none. Written by the event loop, and by whoever frees the tensor */
} rai_kept;

/* A reference-counted, immutable-after-publication tensor: one allocation that
 * holds this header, the dims, the element offsets of STRING, and the data,
 * aligned to 64 bytes. Row major, packed. Elements of STRING end with a NUL. */
typedef struct rai_tensor {
    int32_t refcount;
    int32_t dtype;
    int32_t ndim;
    rai_kept kept;
    int64_t length;      /* elements */
    int64_t byte_length; /* bytes of data */
    int64_t *dims;
    int64_t *offsets; /* STRING: byte offset of each element, else NULL */
    char *data;
    char *replaced; /* STRING: data that another module gave later, in an allocation of its own, else NULL */
} rai_tensor;

int32_t rai_dtype_from_name(const char *name, size_t length); /* -1: unknown */
const char *rai_dtype_name(int32_t dtype);
int64_t rai_dtype_size(int32_t dtype); /* bytes per element; STRING 1 */
/* DLPack's type code, which with the bits of an element tells the dtype; STRING has one of RedisAI's own. */
int32_t rai_dtype_code(int32_t dtype);
int32_t rai_dtype_of_code(uint64_t code, uint64_t bits); /* -1: unknown */
/* Product of dims, each >= 0; -1 when it, or the bytes, overflow. */
int64_t rai_tensor_count(int32_t dtype, int32_t ndim, const int64_t *dims);
/* A tensor with uninitialised (zeroed: all zero bytes) data, one reference;
 * byte_length is used for STRING only. NULL: shape overflows or no memory. */
rai_tensor *rai_tensor_new(int32_t dtype, int32_t ndim, const int64_t *dims, int64_t byte_length, int zeroed);
/* Finds the elements of a STRING tensor's data. 0: their number is wrong. */
int rai_tensor_index_strings(rai_tensor *tensor);
/* Replaces the data of a STRING tensor that nobody else has. 0: the number of elements is wrong. */
int rai_tensor_set_strings(rai_tensor *tensor, const char *data, size_t length);
/* FLOAT16 and BFLOAT16 (halves.c). */
uint16_t rai_half_from_double(double number); /* rounds to nearest even; too large: infinity */
double rai_half_to_double(uint16_t bits);
uint16_t rai_bfloat_from_double(double number);
double rai_bfloat_to_double(uint16_t bits);
/* The number as printf's %.17g writes it, in at most 32 bytes without a NUL; their number. 0: it is not among those
 * that are fast to write, which need no exponent (decimal.c). */
int32_t rai_double_text(double number, char *text);
/* 1 when all bytes of BOOL data are 0 or 1. */
int rai_bool_data_valid(const char *data, size_t length);
rai_tensor *rai_tensor_retain(rai_tensor *tensor);
void rai_tensor_release(rai_tensor *tensor);
size_t rai_tensor_memory(const rai_tensor *tensor);
/* Where Redis moved a tensor that only the keyspace holds, or NULL (event loop). */
rai_tensor *rai_tensor_defrag(RedisModuleDefragCtx *ctx, rai_tensor *tensor);
int64_t rai_live_tensors(void);
/* Replies with META and BLOB of a tensor that is the key's value, if that is kept; 0: it is not (event loop). */
int rai_kept_reply(RedisModuleCtx *ctx, const RedisModuleString *key, rai_tensor *tensor);

#endif
