/* Configuration, and facts about the process: settings.c, module.c, interpreter.c. */
#ifndef RAI_SETTINGS_H
#define RAI_SETTINGS_H
#include <stddef.h>
#include <stdint.h>

#include "redis_api.h"

typedef struct rai_settings {
    int64_t threads_per_queue; /* 0: chosen by the scheduler */
    int64_t intra_op_parallelism;
    int64_t inter_op_parallelism;
    int64_t model_chunk_size;
    int64_t model_execution_timeout_ms;
    int64_t backend_memory_limit_mb;
    int64_t max_queue_depth;        /* requests that may wait for a device; 0: any number */
    int64_t default_batch_delay_us; /* how long a batch of a model without MINBATCHSIZE is collected */
} rai_settings;

/* A number that can be configured: as a load argument, and, on Redis 7, as a
 * configuration parameter of the server. */
typedef struct rai_option {
    const char *argument;  /* THREADS_PER_QUEUE */
    const char *parameter; /* threads-per-queue */
    int64_t least;         /* as a load argument */
    int64_t most;
    int32_t can_change; /* at run time */
    int32_t is_bytes;
    int64_t *value; /* in the settings */
} rai_option;

rai_option *rai_option_at(int64_t index); /* NULL: there are no more */

/* BACKENDSPATH, without slashes at its end; set by the event loop, read anywhere. */
typedef enum rai_limits { RAI_PATH_SIZE = 4096 } rai_limits;
void rai_set_backends_path(const char *path);
void rai_get_backends_path(char *path, size_t size);

/* What INFO shows of a backend; written by workers once it is loaded. */
typedef struct rai_backend_info {
    int32_t loaded;
    char version[64];
    int64_t memory;
    int64_t memory_accesses; /* besides those of runners */
    int64_t runner_accesses; /* by rai_backend_count_accesses */
} rai_backend_info;

/* The value types, as registered with Redis. */
typedef struct rai_value_types {
    RedisModuleType *tensor;
    RedisModuleType *model;
    RedisModuleType *script;
    RedisModuleType *alias;
} rai_value_types;

extern rai_value_types rai_types;

/* The module's version: major * 10000 + minor * 100 + patch, as text, and the commit. */
int rai_version_number(void);
const char *rai_version(void);
const char *rai_git_sha(void);

rai_settings *rai_config(void);
rai_backend_info *rai_backend(int32_t backend);
void rai_backend_count_accesses(int32_t backend, int64_t accesses); /* any thread */
void rai_log(const char *level, const char *text);                  /* any thread */
/* Leave through _exit from now on: frameworks' destructors crash under busy threads. */
void rai_exit_quickly(void);
/* Around the import of a framework. 0: the server is shutting down, do not begin. */
int rai_import_begins(void);
void rai_import_ends(void);

#endif
