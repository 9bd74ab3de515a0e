/* DAGs: operations that wait for each other's tensors.
 *
 * The executions of a DAG are ordinary jobs: they are queued, batched and run like
 * everybody's. What is special is when they start, which is when their inputs are
 * there, and that they are answered together. So independent ones run in parallel
 * on all workers of all devices.
 *
 * What the client sees is nevertheless what it would see if the operations ran one
 * after the other: the first failure, in the order of the command, is reported, and
 * nothing behind it counts, whether or not it ran. Operations before a failure run
 * to the end, since one of them may be the first. */
#include <string.h>

#include "internal.h"

/* So many short executions may run on the event loop for one command. */
enum { MOST_AT_ONCE = 8 };

/* An execution that waits for an input. */
typedef struct edge {
    int32_t waiting; /* operation */
    int32_t next;    /* edge from the same operation; -1: none */
} edge;

/* What most DAGs need fits in here, and costs no allocations of its own. */
enum { FEW = 16, FEW_OPS = 8 };

typedef struct run {
    pthread_mutex_t lock;
    rai_job *owner; /* the job that the client waits for */
    int32_t active; /* executions that were handed out and are not back */
    int32_t stopped;
    int32_t op_room, slot_room, need_room, maker_room, input_room, edge_room;
    int32_t edge_count;
    edge *edges;
    int32_t *needs; /* of each slot, how many inputs, AI.TENSORGETs and PERSISTs still need its tensor */
    rai_dag_op few_ops[FEW_OPS];
    rai_tensor *few_slots[FEW];
    int32_t few_needs[FEW], few_makers[FEW], few_inputs[FEW];
    edge few_edges[FEW];
} run;

static run *run_of(const rai_dag *dag) {
    return dag->run;
}

/* Room for one more element of an array that doubles when its first, fixed one is full. */
static void *grown(void *array, const void *few, int32_t count, int32_t *room, size_t size) {
    if (count < *room) return array;
    *room *= 2;
    if (array != few) return RedisModule_Realloc(array, (size_t)*room * size);
    return memcpy(RedisModule_Alloc((size_t)*room * size), few, (size_t)count * size);
}

static void free_grown(void *array, const void *few) {
    if (array != few) RedisModule_Free(array);
}

rai_job *rai_dag_new(void) {
    struct {
        rai_job job; /* first: to free it is to free all */
        rai_dag dag;
        run state;
    } *block = RedisModule_Alloc(sizeof(*block));
    rai_job *job = &block->job;
    rai_dag *dag = &block->dag;
    *job = (rai_job){.dag = dag};
    rai_job_init(job, RAI_JOB_DAG, NULL, 0, 0);
    run *state = &block->state;
    pthread_mutex_t unlocked = PTHREAD_MUTEX_INITIALIZER;
    *dag = (rai_dag){.ops = state->few_ops, .run = state};
    dag->slots = state->few_slots;
    dag->makers = state->few_makers;
    dag->inputs = state->few_inputs;
    state->lock = unlocked;
    state->owner = job;
    state->active = state->stopped = state->edge_count = 0;
    state->op_room = FEW_OPS;
    state->slot_room = state->need_room = state->maker_room = state->input_room = state->edge_room = FEW;
    state->edges = state->few_edges;
    state->needs = state->few_needs;
    return job;
}

int32_t rai_dag_add(rai_dag *dag, int32_t kind) {
    run *state = run_of(dag);
    dag->ops = grown(dag->ops, state->few_ops, dag->op_count, &state->op_room, sizeof(*dag->ops));
    dag->ops[dag->op_count] = (rai_dag_op){.kind = kind, .input_at = dag->input_count, .edge = -1};
    dag->failed = dag->op_count + 1;
    return dag->op_count++;
}

int32_t rai_dag_define(rai_dag *dag, int32_t maker, rai_tensor *tensor) {
    run *state = run_of(dag);
    int32_t count = dag->slot_count;
    dag->slots = grown(dag->slots, state->few_slots, count, &state->slot_room, sizeof(*dag->slots));
    dag->makers = grown(dag->makers, state->few_makers, count, &state->maker_room, sizeof(*dag->makers));
    state->needs = grown(state->needs, state->few_needs, count, &state->need_room, sizeof(*state->needs));
    dag->slots[dag->slot_count] = tensor;
    dag->makers[dag->slot_count] = maker;
    state->needs[dag->slot_count] = 0;
    return dag->slot_count++;
}

void rai_dag_need(rai_dag *dag, int32_t op, int32_t slot) {
    run *state = run_of(dag);
    dag->inputs = grown(dag->inputs, state->few_inputs, dag->input_count, &state->input_room, sizeof(*dag->inputs));
    dag->inputs[dag->input_count++] = slot;
    state->needs[slot]++;
    int32_t maker = dag->makers[slot];
    if (maker < 0 || dag->ops[maker].kind != RAI_OP_EXECUTE || dag->ops[op].kind != RAI_OP_EXECUTE) return;
    state->edges = grown(state->edges, state->few_edges, state->edge_count, &state->edge_room, sizeof(*state->edges));
    state->edges[state->edge_count] = (edge){op, dag->ops[maker].edge};
    dag->ops[maker].edge = state->edge_count++;
    dag->ops[op].waits++;
}

int rai_dag_has(const rai_dag *dag, int32_t slot) {
    return dag->slots[slot] != NULL && dag->makers[slot] < dag->failed;
}

void rai_dag_free(rai_dag *dag) {
    run *state = run_of(dag);
    for (int32_t i = 0; i < dag->op_count; i++) {
        if (dag->ops[i].job) rai_job_free(dag->ops[i].job);
    }
    for (int32_t i = 0; i < dag->slot_count; i++) rai_tensor_release(dag->slots[i]);
    pthread_mutex_destroy(&state->lock);
    free_grown(dag->ops, state->few_ops);
    free_grown(state->edges, state->few_edges);
    free_grown(state->needs, state->few_needs);
    free_grown(dag->slots, state->few_slots);
    free_grown(dag->makers, state->few_makers);
    free_grown(dag->inputs, state->few_inputs);
    RedisModule_Free(dag->persist);
}

/* Gives an execution its inputs, which are there, and puts it before the others
 * that are about to start. Called with the lock held. */
static rai_job *prepare(rai_dag *dag, int32_t position, rai_job *others) {
    rai_dag_op *op = &dag->ops[position];
    for (int32_t i = 0; i < op->job->input_count; i++) {
        op->job->inputs[i] = rai_tensor_retain(dag->slots[dag->inputs[op->input_at + i]]);
    }
    op->out = 1;
    run_of(dag)->active++;
    op->job->next = others;
    return op->job;
}

/* Without the lock: one of them may be over at once. */
static void start(rai_job *ready, void (*push)(rai_queue *, rai_job *)) {
    while (ready) {
        rai_job *next = ready->next;
        ready->next = NULL;
        rai_job_start(ready, push);
        ready = next;
    }
}

/* The DAG is over; it belongs to the event loop from here on. */
static void finish(rai_dag *dag) {
    rai_jobs_complete(&run_of(dag)->owner, 1);
}

/* Takes what has not begun yet, and does not count any more, out of the queues. Those
 * that have not reached their queue get the flag only, and leave it when they come.
 * Called with the lock held. */
static void drop(rai_dag *dag, int32_t after, rai_cancelled why) {
    for (int32_t i = after + 1; i < dag->op_count; i++) {
        rai_dag_op *op = &dag->ops[i];
        if (!op->out || op->job->cancelled == RAI_ABANDONED || op->job->cancelled == (int32_t)why) continue;
        __atomic_store_n(&op->job->cancelled, why, __ATOMIC_RELEASE);
        if (__atomic_load_n(&op->job->ready_us, __ATOMIC_ACQUIRE) == 0) continue;
        rai_queue_give_up(op->job);
        if (op->job->model->queue) rai_queue_cancel(op->job->model->queue, op->job->id);
    }
}

void rai_dag_cancel(rai_dag *dag) {
    run *state = run_of(dag);
    pthread_mutex_lock(&state->lock);
    state->stopped = 1;
    drop(dag, -1, RAI_ABANDONED);
    pthread_mutex_unlock(&state->lock);
}

/* Gives a tensor back that nobody needs any more: a long DAG does not hold all that it made. */
static void let_go(rai_dag *dag, int32_t slot) {
    if (run_of(dag)->needs[slot] > 0) return;
    rai_tensor_release(dag->slots[slot]);
    dag->slots[slot] = NULL;
}

/* An execution is over: it needs its inputs no more. */
static void let_go_of_inputs(rai_dag *dag, const rai_dag_op *op) {
    for (int32_t i = 0; i < op->job->input_count; i++) {
        int32_t slot = dag->inputs[op->input_at + i];
        rai_tensor_release(op->job->inputs[i]);
        op->job->inputs[i] = NULL;
        run_of(dag)->needs[slot]--;
        let_go(dag, slot);
    }
}

/* Moves the outputs of an execution into the DAG. 0: one is missing. */
static int take_outputs(rai_dag *dag, rai_dag_op *op) {
    rai_job *job = op->job;
    int complete = 1;
    for (int32_t i = 0; i < job->output_count; i++) {
        dag->slots[op->output + i] = job->outputs[i];
        if (job->outputs[i] == NULL) complete = 0;
        job->outputs[i] = NULL;
        let_go(dag, op->output + i);
    }
    return complete;
}

/* Those that waited for the last time, of the ones that wait for this operation. */
static rai_job *wake(rai_dag *dag, const rai_dag_op *op) {
    run *state = run_of(dag);
    rai_job *ready = NULL;
    for (int32_t i = op->edge; i >= 0; i = state->edges[i].next) {
        int32_t waiting = state->edges[i].waiting;
        if (--dag->ops[waiting].waits == 0 && waiting < dag->failed && !state->stopped) {
            ready = prepare(dag, waiting, ready);
        }
    }
    return ready;
}

/* Enters what became of an execution, and returns those that can start now. Called with
 * the lock held, or before anybody else knows of the DAG. */
static rai_job *completed(rai_dag *dag, rai_job *job) {
    static const char incomplete[] = "ERR Model did not generate the expected number of outputs";
    run *state = run_of(dag);
    rai_dag_op *op = &dag->ops[job->op];
    rai_job *ready = NULL;
    op->out = 0;
    state->active--;
    if (job->timed_out && job->op < dag->failed) {
        dag->timed_out = state->stopped = 1;
        drop(dag, -1, RAI_DROPPED);
    } else if (job->op < dag->failed && !state->stopped) {
        if (job->error == NULL && !take_outputs(dag, op)) rai_job_fail(job, incomplete, sizeof(incomplete) - 1);
        if (job->error) {
            dag->failed = job->op;
            drop(dag, job->op, RAI_DROPPED);
        } else {
            ready = wake(dag, op);
        }
    }
    let_go_of_inputs(dag, op);
    return ready;
}

void rai_dag_job_completed(rai_job *job) {
    rai_dag *dag = job->dag;
    run *state = run_of(dag);
    pthread_mutex_lock(&state->lock);
    rai_job *ready = completed(dag, job);
    int over = state->active == 0;
    pthread_mutex_unlock(&state->lock);
    start(ready, rai_queue_push);
    if (over) finish(dag);
}

/* ---- starting ----------------------------------------------------------- */

/* Puts a list of jobs behind another one. */
static rai_job *joined(rai_job *first, rai_job *second) {
    rai_job **end = &first;
    while (*end) end = &(*end)->next;
    *end = second;
    return first;
}

/* Runs executions that take no longer than a hand-over to a worker would, and those
 * that thereby become ready, on the event loop. Returns those that have to go. */
static rai_job *run_short_ones(rai_dag *dag, rai_job *ready) {
    rai_job *others = NULL, **last = &others;
    int to_go = MOST_AT_ONCE;
    while (ready) {
        rai_job *job = ready;
        ready = job->next;
        job->next = NULL;
        if (job->cancelled || (to_go-- > 0 && rai_run_at_once(job))) {
            ready = joined(completed(dag, job), ready);
        } else {
            *last = job;
            last = &job->next;
        }
    }
    return others;
}

/* Executions that need nothing but what is there. From here on the DAG has begun. */
static rai_job *first_ones(rai_dag *dag) {
    run *state = run_of(dag);
    rai_job *ready = NULL;
    for (int32_t i = 0; i < dag->persist_count; i++) state->needs[dag->persist[i]]++;
    state->active = 1; /* ours: nobody finishes the DAG while it is still being started */
    for (int32_t i = dag->op_count - 1; i >= 0; i--) {
        if (dag->ops[i].kind == RAI_OP_EXECUTE && dag->ops[i].waits == 0) ready = prepare(dag, i, ready);
    }
    return ready;
}

/* From now on its executions wait. */
static void note_time(rai_dag *dag) {
    int64_t now = rai_now_us();
    for (int32_t i = 0; i < dag->op_count; i++) {
        if (dag->ops[i].job) dag->ops[i].job->enqueued_us = now;
    }
}

/* The DAG has been started. 1: it is over already. */
static int is_over(rai_dag *dag) {
    run *state = run_of(dag);
    pthread_mutex_lock(&state->lock);
    int over = --state->active == 0;
    pthread_mutex_unlock(&state->lock);
    return over;
}

int rai_dag_submit(RedisModuleCtx *ctx, rai_job *job, RedisModuleCmdFunc reply) {
    rai_dag *dag = job->dag;
    rai_job *ready = run_short_ones(dag, first_ones(dag));
    if (ready == NULL) return 1;
    note_time(dag);
    rai_job_block(ctx, job, reply);
    start(ready, rai_queue_push_soon);
    if (is_over(dag)) finish(dag);
    return 0;
}

void rai_dag_execute(rai_job *job, rai_job_callback callback, void *owner) {
    rai_dag *dag = job->dag;
    job->calls_back = 1;
    job->callback = callback;
    job->owner = owner;
    for (int32_t i = 0; i < dag->op_count; i++) {
        if (dag->ops[i].job) dag->ops[i].job->calls_back = 1;
    }
    note_time(dag);
    start(first_ones(dag), rai_queue_push);
    /* A worker is to call back, not the caller. */
    if (is_over(dag)) rai_queue_push(rai_queue_of_device("CPU"), job);
}
