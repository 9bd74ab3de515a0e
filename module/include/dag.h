/* DAGs: dag.c. */
#ifndef RAI_DAG_H
#define RAI_DAG_H
#include "job.h"

typedef enum rai_dag_op_kind { RAI_OP_TENSORSET, RAI_OP_TENSORGET, RAI_OP_EXECUTE } rai_dag_op_kind;

/* An operation. Tensors have no names here: every definition of a name is a slot
 * of its own. */
typedef struct rai_dag_op {
    int32_t kind;     /* rai_dag_op_kind */
    int32_t flags;    /* of a TENSORGET: what to reply with */
    int32_t waits;    /* inputs that are not there yet */
    int32_t out;      /* handed to the workers */
    int32_t input_at; /* where its inputs begin in the DAG's list; of a TENSORGET: its tensor */
    int32_t output;   /* its first output's slot; of a TENSORSET: its tensor */
    int32_t edge;     /* first of the edges to the executions that wait for this one; -1: none */
    rai_job *job;     /* of an execution */
} rai_dag_op;

/* A directed acyclic graph of operations: the event loop builds it, then workers
 * and event loop change it under its lock, until its job is completed. */
struct rai_dag {
    int32_t op_count;
    int32_t slot_count;
    int32_t input_count;
    int32_t failed;    /* the first operation, in the order of the command, that failed; op_count: none */
    int32_t timed_out; /* an execution came too late */
    rai_dag_op *ops;
    rai_tensor **slots;
    int32_t *makers; /* of each slot, the operation that defines it; -1: it was loaded */
    int32_t *inputs; /* slots */
    int32_t persist_count;
    int32_t persist_at; /* where the names to persist begin in the command */
    int32_t *persist;   /* their slots */
    void *run;          /* dag.c */
};

/* A job with an empty DAG. */
rai_job *rai_dag_new(void);
/* Adds an operation of a rai_dag_op_kind; its position. */
int32_t rai_dag_add(rai_dag *dag, int32_t kind);
/* Adds a definition, with a reference that the DAG takes over, or NULL; its slot. */
int32_t rai_dag_define(rai_dag *dag, int32_t maker, rai_tensor *tensor);
/* Adds a slot to the inputs of the operation that is being built. */
void rai_dag_need(rai_dag *dag, int32_t op, int32_t slot);
/* Starts a DAG: hands out the executions that need nothing but what is there, and
 * blocks the client until all are over. 1: they are over already, since none had to
 * leave the event loop; then the client is not blocked, and the caller replies and
 * frees the job (event loop). */
int rai_dag_submit(RedisModuleCtx *ctx, rai_job *job, RedisModuleCmdFunc reply);
/* The same for a callback, which is called on a worker. */
void rai_dag_execute(rai_job *job, rai_job_callback callback, void *owner);
/* Whether the tensor is there, as far as the client may know: what was made behind
 * the first failure is not. */
int rai_dag_has(const rai_dag *dag, int32_t slot);

/* One operation of a DAG in the words of AI.DAGEXECUTE, as the event loop's parser
 * understands it. */
typedef struct rai_parsed_op {
    int32_t kind;              /* rai_dag_op_kind */
    int32_t is_script;         /* of an execution */
    rai_job *job;              /* of an execution: without inputs */
    rai_tensor *tensor;        /* of a TENSORSET */
    const char *error;         /* NULL: none */
    RedisModuleString **names; /* of inputs, then outputs; of the tensor; the caller gives room for all words */
} rai_parsed_op;

#endif
