/* Model and script values: metadata, the blob and run statistics, all readable without
 * Python. The session, which is a Python object, is only carried around here. */
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

enum { LARGE_BLOB = 1 << 20 }; /* bytes that are freed elsewhere */

static const char *const backend_names[RAI_BACKENDS] = {"TF", "TFLITE", "TORCH", "ONNX"};

static int64_t live_models;
static pthread_t event_loop_thread;
static _Thread_local int in_free_method;

/* Guards state, error, session and waiting of every model, and awaited. Held for a few
 * instructions only, never while anything else is waited for. */
static pthread_mutex_t state_lock = PTHREAD_MUTEX_INITIALIZER;
static rai_model *awaited; /* those with jobs in waiting, which hold them */

/* Guards the registry: Redis' lazy-free thread removes entries, too. */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static rai_model *registry;

void rai_models_init(void) {
    event_loop_thread = pthread_self();
}

int32_t rai_backend_from_name(const char *name, size_t length) {
    for (int32_t backend = 0; backend < RAI_BACKENDS; backend++) {
        const char *known = backend_names[backend];
        if (strlen(known) == length && strncasecmp(known, name, length) == 0) return backend;
    }
    return -1;
}

const char *rai_backend_name(int32_t backend) {
    return backend >= 0 && backend < RAI_BACKENDS ? backend_names[backend] : NULL;
}

rai_bytes rai_bytes_new(const char *data, size_t length) {
    rai_bytes bytes = {RedisModule_Alloc(length + 1), length};
    memcpy(bytes.data, data, length);
    bytes.data[length] = 0;
    return bytes;
}

rai_model *rai_model_new(int32_t kind, int32_t backend, const char *device, size_t device_length) {
    rai_model *model = RedisModule_Calloc(1, sizeof(*model));
    model->refcount = 1;
    model->kind = kind;
    model->backend = backend;
    model->state = RAI_MODEL_LOADING;
    model->device = rai_bytes_new(device, device_length).data;
    model->tag = rai_bytes_new("", 0);
    model->inputs = rai_names_new(0);
    model->outputs = rai_names_new(0);
    model->latency = rai_latency_new();
    __atomic_add_fetch(&live_models, 1, __ATOMIC_RELAXED);
    return model;
}

void rai_model_set_tag(rai_model *model, const char *tag, size_t length) {
    RedisModule_Free(model->tag.data);
    model->tag = rai_bytes_new(tag, length);
}

rai_blob *rai_blob_new(int64_t room) {
    rai_blob *blob = RedisModule_Calloc(1, sizeof(*blob));
    blob->refcount = 1;
    blob->chunks = RedisModule_Calloc((size_t)room + 1, sizeof(*blob->chunks));
    return blob;
}

void rai_blob_hold(rai_blob *blob, RedisModuleString *string) {
    rai_chunk *chunk = &blob->chunks[blob->chunk_count++];
    chunk->string = RedisModule_HoldString(NULL, string);
    chunk->data = RedisModule_StringPtrLen(chunk->string, &chunk->length);
    blob->length += chunk->length;
}

/* Room for one more of count items: it doubles, so that what a payload claims to hold
 * costs nothing before it is there. */
static void *room_for_one_more(void *items, int64_t count, size_t size) {
    if ((count & (count - 1)) != 0) return items;
    return RedisModule_Realloc(items, (size_t)(count ? 2 * count : 1) * size);
}

void rai_blob_own(rai_blob *blob, char *data, size_t length) {
    blob->chunks = room_for_one_more(blob->chunks, blob->chunk_count, sizeof(*blob->chunks));
    blob->chunks[blob->chunk_count++] = (rai_chunk){data, length, NULL};
    blob->length += length;
}

rai_blob *rai_blob_retain(rai_blob *blob) {
    __atomic_add_fetch(&blob->refcount, 1, __ATOMIC_RELAXED);
    return blob;
}

void rai_blob_release(rai_blob *blob) {
    if (blob == NULL || __atomic_sub_fetch(&blob->refcount, 1, __ATOMIC_ACQ_REL) > 0) return;
    for (int64_t i = 0; i < blob->chunk_count; i++) {
        rai_chunk *chunk = &blob->chunks[i];
        if (chunk->string) {
            RedisModule_FreeString(NULL, chunk->string);
        } else {
            RedisModule_Free((char *)chunk->data);
        }
    }
    RedisModule_Free(blob->chunks);
    RedisModule_Free(blob);
}

const char *rai_blob_slice(const rai_blob *blob, size_t offset, size_t length, char **owned) {
    *owned = NULL;
    size_t filled = 0, start = 0; /* start: where the chunk begins in the blob */
    for (int64_t i = 0; i < blob->chunk_count && filled < length; i++) {
        const rai_chunk *chunk = &blob->chunks[i];
        size_t at = offset + filled;
        if (at < start + chunk->length) {
            size_t available = start + chunk->length - at, wanted = length - filled;
            const char *source = chunk->data + (at - start);
            if (filled == 0 && wanted <= available) return source;
            if (*owned == NULL) *owned = RedisModule_Alloc(length);
            size_t step = wanted < available ? wanted : available;
            memcpy(*owned + filled, source, step);
            filled += step;
        }
        start += chunk->length;
    }
    return *owned ? *owned : "";
}

rai_names *rai_names_new(int64_t count) {
    rai_names *names = RedisModule_Calloc(1, sizeof(*names));
    names->count = count;
    names->items = RedisModule_Calloc((size_t)count + 1, sizeof(rai_bytes));
    return names;
}

void rai_names_set(rai_names *names, int64_t index, const char *name, size_t length) {
    names->items[index] = rai_bytes_new(name, length);
}

void rai_names_add(rai_names *names, const char *name, size_t length) {
    names->items = room_for_one_more(names->items, names->count, sizeof(*names->items));
    names->items[names->count++] = rai_bytes_new(name, length);
}

void rai_names_free(rai_names *names) {
    if (names == NULL) return;
    for (int64_t i = 0; i < names->count; i++) RedisModule_Free(names->items[i].data);
    RedisModule_Free(names->items);
    RedisModule_Free(names);
}

void rai_model_set_names(rai_model *model, rai_names *inputs, rai_names *outputs) {
    rai_names_free(model->retired[0]);
    rai_names_free(model->retired[1]);
    model->retired[0] = __atomic_exchange_n(&model->inputs, inputs, __ATOMIC_ACQ_REL);
    model->retired[1] = __atomic_exchange_n(&model->outputs, outputs, __ATOMIC_ACQ_REL);
}

rai_model *rai_model_retain(rai_model *model) {
    __atomic_add_fetch(&model->refcount, 1, __ATOMIC_RELAXED);
    return model;
}

/* Hands a session, a Python object, and a blob, whose memory may take the system
 * tens of milliseconds to take back, to a worker. */
static void release_elsewhere(rai_job *job) {
    rai_job_spawn(job, rai_control_queue());
}

static void release_later(RedisModuleCtx *ctx, void *job) {
    (void)ctx;
    release_elsewhere(job);
}

/* Whoever drops the last reference must wait neither for Python nor for the system.
 * A command at hand, on the event loop or called by a script, may still hold the blob's
 * strings, whose counts are not atomic: then the hand-over happens in a later turn. Where memory is
 * above maxmemory Redis evicts until it sees enough freed, so the blob goes at once. So
 * it does on Redis' lazy-free thread, which is there for that, and which evictions wait for. */
static void release_heavy_parts(rai_model *model) {
    int in_command = pthread_equal(pthread_self(), event_loop_thread) || rai_holds_redis_lock();
    if (in_command ? RedisModule_GetUsedMemoryRatio() > 1 : in_free_method) {
        rai_blob_release(model->blob);
        model->blob = NULL;
        if (model->session == NULL) return;
    }
    rai_job *job = rai_job_new(RAI_JOB_RELEASE, NULL, 0, 0);
    job->session = model->session;
    job->blob = model->blob;
    if (in_command) {
        RedisModule_CreateTimer(rai_detached_context(), 1, release_later, job);
    } else {
        release_elsewhere(job);
    }
}

void rai_model_release(rai_model *model) {
    if (model == NULL || __atomic_sub_fetch(&model->refcount, 1, __ATOMIC_ACQ_REL) > 0) return;
    if (model->session != NULL || (model->blob && model->blob->length > LARGE_BLOB)) {
        release_heavy_parts(model);
    } else {
        rai_blob_release(model->blob);
    }
    rai_names_free(model->inputs);
    rai_names_free(model->outputs);
    rai_names_free(model->retired[0]);
    rai_names_free(model->retired[1]);
    RedisModule_Free(model->device);
    RedisModule_Free(model->tag.data);
    RedisModule_Free(model->error);
    RedisModule_Free(model->latency);
    if (model->key) RedisModule_FreeString(NULL, model->key);
    RedisModule_Free(model);
    __atomic_sub_fetch(&live_models, 1, __ATOMIC_RELAXED);
}

void rai_model_free_value(rai_model *model) {
    rai_registry_remove(model);
    in_free_method = 1;
    rai_model_release(model);
    in_free_method = 0;
}

size_t rai_model_memory(const rai_model *model) {
    size_t bytes = sizeof(*model) + rai_latency_memory() +
                   (size_t)__atomic_load_n(&model->session_memory, __ATOMIC_RELAXED) + model->blob->length +
                   model->tag.length + strlen(model->device);
    const rai_names *lists[] = {model->inputs, model->outputs};
    for (size_t list = 0; list < 2; list++) {
        for (int64_t i = 0; i < lists[list]->count; i++) bytes += sizeof(rai_bytes) + lists[list]->items[i].length + 1;
    }
    return bytes + (size_t)model->blob->chunk_count * sizeof(rai_chunk);
}

/* While somebody else holds the model or its blob, such as the worker that loads it,
 * nothing moves. Where Redis moves a string's bytes only, it does not say so. */
void rai_model_defrag(RedisModuleDefragCtx *ctx, rai_model *model) {
    rai_blob *blob = model->blob;
    if (__atomic_load_n(&model->refcount, __ATOMIC_ACQUIRE) != 1) return;
    if (__atomic_load_n(&blob->refcount, __ATOMIC_ACQUIRE) != 1) return;
    for (int64_t i = 0; i < blob->chunk_count; i++) {
        rai_chunk *chunk = &blob->chunks[i];
        if (chunk->string) {
            if (RedisModule_DefragRedisModuleString == NULL) continue;
            RedisModuleString *moved = RedisModule_DefragRedisModuleString(ctx, chunk->string);
            if (moved) chunk->string = moved;
            chunk->data = RedisModule_StringPtrLen(chunk->string, NULL);
        } else {
            char *moved = RedisModule_DefragAlloc(ctx, (char *)chunk->data);
            if (moved) chunk->data = moved;
        }
    }
}

int64_t rai_live_models(void) {
    return __atomic_load_n(&live_models, __ATOMIC_RELAXED);
}

/* ---- loading ------------------------------------------------------------ */

void rai_model_wanted(rai_model *model) {
    rai_queue_hasten(rai_control_queue(), model);
}

/* Keeps the job until the model is loaded, which is next now. 0: the model is loaded
 * already, or has failed, and the job goes its normal way. */
int rai_model_park(rai_model *model, rai_job *job) {
    pthread_mutex_lock(&state_lock);
    int parked = model->state == RAI_MODEL_LOADING, first = model->waiting == NULL;
    int64_t timeout_us = rai_job_timeout_us(job); /* the job is not ours any more once it is parked */
    if (parked) {
        rai_job **last = &model->waiting;
        while (*last) last = &(*last)->next;
        *last = job;
    }
    if (parked && first) {
        model->next_awaited = awaited;
        awaited = model;
    }
    pthread_mutex_unlock(&state_lock);
    if (parked && first) rai_model_wanted(model);
    if (parked) rai_watchdog_arm(timeout_us);
    return parked;
}

/* Takes the parked jobs that are late out of *waiting and puts them before the others in
 * late; the earliest TIMEOUT of those that stay, or next. Called with the lock held. */
static int64_t take_late(rai_job **waiting, int64_t now_us, rai_job **late, int64_t next) {
    while (*waiting) {
        rai_job *job = *waiting;
        int64_t timeout_us = rai_job_timeout_us(job);
        if (timeout_us <= now_us) {
            *waiting = job->next;
            job->next = *late;
            *late = job;
        } else {
            if (timeout_us < next) next = timeout_us;
            waiting = &job->next;
        }
    }
    return next;
}

int64_t rai_check_parked(int64_t now_us) {
    rai_job *late = NULL;
    int64_t next = INT64_MAX;
    pthread_mutex_lock(&state_lock);
    for (rai_model **place = &awaited; *place;) {
        rai_model *model = *place;
        next = take_late(&model->waiting, now_us, &late, next);
        if (model->waiting == NULL) {
            *place = model->next_awaited;
        } else {
            place = &model->next_awaited;
        }
    }
    pthread_mutex_unlock(&state_lock);
    while (late) {
        rai_job *job = late;
        late = job->next;
        job->next = NULL;
        job->timed_out = 1;
        rai_job_refuse(job);
    }
    return next;
}

/* Called by the worker that loaded the model. The state is published last: from
 * then on the event loop reads names and error without a lock. */
void rai_model_loaded(rai_model *model, void *session, const char *error, size_t error_length) {
    if (error) model->error = rai_bytes_new(error, error_length).data;
    model->session = session;
    pthread_mutex_lock(&state_lock);
    __atomic_store_n(&model->state, error ? RAI_MODEL_FAILED : RAI_MODEL_READY, __ATOMIC_RELEASE);
    rai_job *job = model->waiting;
    model->waiting = NULL;
    rai_model **place = &awaited;
    while (*place && *place != model) place = &(*place)->next_awaited;
    if (*place) *place = model->next_awaited;
    pthread_mutex_unlock(&state_lock);
    while (job) {
        rai_job *next = job->next;
        job->next = NULL;
        if (error) {
            rai_job_fail(job, error, error_length);
            rai_job_refuse(job);
        } else {
            rai_queue_push(model->queue, job);
        }
        job = next;
    }
}

/* ---- statistics --------------------------------------------------------- */

void rai_statistics_reset(rai_model *model) {
    rai_statistics *statistics = &model->statistics;
    rai_latency_reset(model->latency);
    __atomic_store_n(&statistics->calls, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&statistics->errors, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&statistics->duration_us, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&statistics->samples, 0, __ATOMIC_RELAXED);
}

void rai_statistics_add(rai_model *model, int failed, int64_t duration_us, int64_t samples) {
    rai_statistics *statistics = &model->statistics;
    __atomic_add_fetch(&statistics->calls, 1, __ATOMIC_RELAXED);
    if (failed) {
        __atomic_add_fetch(&statistics->errors, 1, __ATOMIC_RELAXED);
    } else {
        __atomic_add_fetch(&statistics->duration_us, duration_us, __ATOMIC_RELAXED);
        __atomic_add_fetch(&statistics->samples, samples, __ATOMIC_RELAXED);
    }
}

rai_model *rai_alias_target(RedisModuleCtx *ctx, const rai_names *alias) {
    rai_model *model = NULL;
    RedisModuleString *name = RedisModule_CreateString(ctx, alias->items[0].data, alias->items[0].length);
    RedisModuleKey *key = RedisModule_OpenKey(ctx, name, REDISMODULE_READ);
    if (key && RedisModule_ModuleTypeGetType(key) == rai_types.model) model = RedisModule_ModuleTypeGetValue(key);
    RedisModule_CloseKey(key);
    RedisModule_FreeString(ctx, name);
    return model;
}

/* ---- registry ----------------------------------------------------------- */

void rai_registry_add(rai_model *model, const RedisModuleString *key) {
    size_t length;
    const char *name = RedisModule_StringPtrLen(key, &length);
    if (model->key) RedisModule_FreeString(NULL, model->key);
    model->key = RedisModule_CreateString(NULL, name, length);
    pthread_mutex_lock(&registry_lock);
    model->previous = NULL;
    model->next = registry;
    if (registry) registry->previous = model;
    registry = model;
    pthread_mutex_unlock(&registry_lock);
}

void rai_registry_remove(rai_model *model) {
    pthread_mutex_lock(&registry_lock);
    if (model->previous) model->previous->next = model->next;
    if (model->next) model->next->previous = model->previous;
    if (registry == model) registry = model->next;
    model->previous = model->next = NULL;
    pthread_mutex_unlock(&registry_lock);
}

void rai_registry_rename(rai_model *model, RedisModuleString *key) {
    size_t length;
    const char *name = RedisModule_StringPtrLen(key, &length);
    RedisModuleString *copy = RedisModule_CreateString(NULL, name, length);
    pthread_mutex_lock(&registry_lock);
    RedisModuleString *old = model->key;
    model->key = copy;
    pthread_mutex_unlock(&registry_lock);
    if (old) RedisModule_FreeString(NULL, old);
}

int rai_registry_count(rai_state_counts *counts, int wait) {
    if (wait) {
        pthread_mutex_lock(&registry_lock);
    } else if (pthread_mutex_trylock(&registry_lock) != 0) {
        return 0;
    }
    *counts = (rai_state_counts){0};
    for (rai_model *model = registry; model; model = model->next) {
        int32_t state = __atomic_load_n(&model->state, __ATOMIC_RELAXED);
        counts->ready += state == RAI_MODEL_READY;
        counts->loading += state == RAI_MODEL_LOADING;
        counts->failed += state == RAI_MODEL_FAILED;
    }
    pthread_mutex_unlock(&registry_lock);
    return 1;
}

rai_model **rai_registry_snapshot(int64_t *count) {
    pthread_mutex_lock(&registry_lock);
    *count = 0;
    for (rai_model *model = registry; model; model = model->next) ++*count;
    rai_model **models = RedisModule_Alloc((size_t)*count * sizeof(*models) + 1);
    rai_model **slot = models;
    for (rai_model *model = registry; model; model = model->next) *slot++ = rai_model_retain(model);
    pthread_mutex_unlock(&registry_lock);
    return models;
}
