/* Several requests as one batch: their inputs concatenated along the first dimension,
 * and the rows of the outputs given back. Any thread; no Python. */
#include <string.h>

#include "internal.h"

enum { MOST_DIMS = 64 };

rai_tensor *rai_join_inputs(rai_job **jobs, int64_t count, int32_t input) {
    const rai_tensor *first = jobs[0]->inputs[input];
    int64_t dims[MOST_DIMS];
    if (first->ndim == 0 || first->ndim > MOST_DIMS) return NULL;
    memcpy(dims, first->dims, (size_t)first->ndim * sizeof(*dims));
    dims[0] = 0;
    for (int64_t i = 0; i < count; i++) dims[0] += jobs[i]->inputs[input]->dims[0];
    rai_tensor *all = rai_tensor_new(first->dtype, first->ndim, dims, 0, 0);
    if (all == NULL) return NULL;
    char *end = all->data;
    for (int64_t i = 0; i < count; i++) {
        const rai_tensor *part = jobs[i]->inputs[input];
        memcpy(end, part->data, (size_t)part->byte_length);
        end += part->byte_length;
    }
    return all;
}

int rai_divide_output(int32_t dtype, int32_t ndim, const int64_t *all_dims, const void *all, rai_job **jobs,
                      int64_t count, int32_t output) {
    int64_t dims[MOST_DIMS];
    if (ndim == 0 || ndim > MOST_DIMS) return 0;
    memcpy(dims, all_dims, (size_t)ndim * sizeof(*dims));
    const char *data = all;
    for (int64_t i = 0; i < count; i++) {
        dims[0] = jobs[i]->inputs[0]->dims[0];
        rai_tensor *part = jobs[i]->outputs[output] = rai_tensor_new(dtype, ndim, dims, 0, 0);
        if (part == NULL) return 0;
        memcpy(part->data, data, (size_t)part->byte_length);
        data += part->byte_length;
    }
    return 1;
}
