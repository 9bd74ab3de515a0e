/* How long requests wait and run: histograms that any number of workers count in
 * without a lock, and whose cost does not depend on what they have seen.
 *
 * Values below EXACT microseconds have a bucket each; above, each power of two is
 * divided into PARTS, so a bucket is at most an eighth of its values wide. */
#include <math.h>

#include "internal.h"

enum {
    EXACT = 16,
    EXACT_BITS = 4, /* EXACT is two to this */
    PARTS = 8,
    PARTS_BITS = 3,
    LARGEST_BITS = 40, /* 12 days */
    BUCKETS = EXACT + (LARGEST_BITS - EXACT_BITS) * PARTS
};

struct rai_latency {
    int64_t runs;
    uint32_t counts[RAI_PHASES][BUCKETS];
};

rai_latency *rai_latency_new(void) {
    return RedisModule_Calloc(1, sizeof(rai_latency));
}

size_t rai_latency_memory(void) {
    return sizeof(rai_latency);
}

static int bucket_of(int64_t value) {
    if (value < EXACT) return value > 0 ? (int)value : 0;
    if (value >> LARGEST_BITS) return BUCKETS - 1;
    int bits = 63 - __builtin_clzll((unsigned long long)value);
    int part = (int)(value >> (bits - PARTS_BITS)) & (PARTS - 1);
    return EXACT + (bits - EXACT_BITS) * PARTS + part;
}

/* The middle of a bucket. */
static int64_t value_of(int bucket) {
    if (bucket < EXACT) return bucket;
    int bits = (bucket - EXACT) / PARTS + EXACT_BITS, part = (bucket - EXACT) % PARTS;
    int64_t width = (int64_t)1 << (bits - PARTS_BITS);
    return (PARTS + part) * width + width / 2;
}

void rai_latency_add(rai_latency *latency, int64_t queue_us, int64_t run_us) {
    __atomic_add_fetch(&latency->counts[RAI_PHASE_QUEUE][bucket_of(queue_us)], 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&latency->counts[RAI_PHASE_RUN][bucket_of(run_us)], 1, __ATOMIC_RELAXED);
}

void rai_latency_add_runs(rai_latency *latency, int64_t runs) {
    __atomic_add_fetch(&latency->runs, runs, __ATOMIC_RELAXED);
}

int64_t rai_latency_runs(const rai_latency *latency) {
    return __atomic_load_n(&latency->runs, __ATOMIC_RELAXED);
}

void rai_latency_reset(rai_latency *latency) {
    __atomic_store_n(&latency->runs, 0, __ATOMIC_RELAXED);
    for (int phase = 0; phase < RAI_PHASES; phase++) {
        for (int i = 0; i < BUCKETS; i++) __atomic_store_n(&latency->counts[phase][i], 0, __ATOMIC_RELAXED);
    }
}

void rai_latency_quantiles(const rai_latency *latency, int32_t phase, rai_quantiles *quantiles) {
    static const double wanted[] = {0.5, 0.99, 0.999};
    int64_t *const results[] = {&quantiles->p50, &quantiles->p99, &quantiles->p999};
    const uint32_t *counts = latency->counts[phase];
    int64_t total = 0, passed = 0;
    int found = 0;
    *quantiles = (rai_quantiles){0, 0, 0};
    for (int i = 0; i < BUCKETS; i++) total += __atomic_load_n(&counts[i], __ATOMIC_RELAXED);
    for (int i = 0; i < BUCKETS && total > 0; i++) {
        passed += __atomic_load_n(&counts[i], __ATOMIC_RELAXED);
        while (found < 3 && passed >= (int64_t)ceil(wanted[found] * (double)total)) *results[found++] = value_of(i);
    }
}
