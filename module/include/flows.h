/* Flows: flows.c. */
#ifndef RAI_FLOWS_H
#define RAI_FLOWS_H
#include "job.h"

typedef enum rai_flow_trigger { RAI_FLOW_COMMAND, RAI_FLOW_EVENT, RAI_FLOW_STREAM } rai_flow_trigger;

/* A function that a flow file registered; never freed. Counters are changed
 * atomically, or by the thread of the flows only. */
typedef struct rai_flow {
    struct rai_flow *next;
    char *name;
    int32_t trigger;
    char *pattern; /* of the keys that trigger it */
    char *event;   /* NULL: any */
    int64_t calls;
    int64_t errors;
    int64_t running;
    int64_t waiting; /* events that are not handled yet */
    int64_t dropped; /* events that were too many */
} rai_flow;

typedef enum rai_flow_file_state { RAI_FLOW_LOADING, RAI_FLOW_LOADED, RAI_FLOW_FAILED } rai_flow_file_state;

/* A flow file, for INFO; never freed. */
typedef struct rai_flow_file {
    struct rai_flow_file *next;
    char *name;
    char *error;
    int32_t state;
} rai_flow_file;

typedef enum rai_flow_message_kind {
    RAI_FLOW_CALLED,   /* job: a client called */
    RAI_FLOW_LEFT,     /* id: of the job whose client is gone */
    RAI_FLOW_HAPPENED, /* flow, database, event and key */
    RAI_FLOW_FINISHED  /* id and finished: a run that a flow started */
} rai_flow_message_kind;

typedef struct rai_flow_message {
    struct rai_flow_message *next;
    int32_t kind;
    int32_t database;
    int64_t id;
    rai_job *job;
    rai_flow *flow;
    void *finished; /* RAI_OnFinishCtx */
    rai_bytes event;
    rai_bytes key;
} rai_flow_message;

/* The flow files at this path are to be loaded, and served, once the server is up. */
int rai_flows_set_path(const char *path);
const char *rai_flows_path(void); /* NULL: there are none */
/* Blocks the client until the flow that the job's call names has answered (event loop). */
void rai_flow_submit(RedisModuleCtx *ctx, rai_job *job, RedisModuleCmdFunc reply);
void rai_flows_add_info(RedisModuleInfoCtx *ctx);

/* The thread of the flows: readable while there are messages. */
int rai_flows_descriptor(void);
/* All messages that are there, oldest first; the caller frees each. */
rai_flow_message *rai_flows_take(void);
void rai_flow_message_free(rai_flow_message *message);
/* Announces a function; pattern and event may be NULL. */
rai_flow *rai_flow_register(int32_t trigger, const char *name, const char *pattern, const char *event);
/* Around a call of it; waited: it was for an event that waited. */
void rai_flow_begin(rai_flow *flow, int waited);
void rai_flow_end(rai_flow *flow, int failed);
void rai_flow_heard(rai_flow *flow); /* an event that only tells of news */
rai_flow_file *rai_flow_file_new(const char *name);
void rai_flow_file_done(rai_flow_file *file, const char *error); /* NULL: it is loaded */
/* Gives a job its reply, before it is completed; copies what it is given, and takes references. */
void rai_flow_reply(rai_job *job, const char *nodes, size_t length, rai_tensor *const *tensors, int32_t count);

/* Implemented in Python (worker/entry.py): the life of the thread of the flows. Called without the GIL, which it takes.
 */
void rai_python_flows(void);

#endif
