/* Running models without Python: on workers, and, the very short ones, on the event loop.
 *
 * A framework with a C API gives its sessions a runner. A worker then holds the GIL
 * for scheduling only. And a model that has shown to take less time than it costs to
 * block its client, wake a worker and come back is run where the command is parsed,
 * like any other command of some microseconds. Three things keep that from ever
 * holding up the server: the time of a run must follow from the shapes of its inputs
 * (the runner says so: no loops, no shapes computed from data), workers must have run
 * it on inputs of which no dim was smaller (the bytes alone say little: x times its
 * own transpose has one element or a million), and a model whose runs turn out slower
 * goes back to the workers. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "internal.h"

/* Nanoseconds a run: what a model may take on the event loop, about what a hand-over
 * costs it; what it may take there after a PAUSE without such runs, when caches are cold,
 * few wait behind it, and a hand-over costs its client several times as much; and what it
 * may take on workers, whose caches are cold more often, for that to be tried. */
enum { AT_ONCE = 10000, AFTER_PAUSE = 30000, PAUSE = 30000, WORTH_A_TRY = 40000 };
/* Where there are no more cores than these, all of it may be twice as long: event loop, worker
 * and clients on one machine are in each other's way, and a hand-over costs all of them. */
enum { FEW_CORES = 2 };
/* As many requests in one turn of the event loop are enough for a batch to be worth its hand-over. */
enum { MANY = 8 };
/* A single run counts as no more, since the kernel may have interrupted it. */
enum { MOST_AT_ONCE = 2 * AT_ONCE, MOST_ON_WORKER = 100000 };
/* So many runs on workers come before the first try, twice as many before each further
 * one, but for what had been short for LONG; and the event loop's average is over about so
 * many runs. */
enum { RUNS_BEFORE = 64, MOST_RUNS_BEFORE = 1 << 20, LONG = 1 << 14, AVERAGE_OVER = 256 };

static const char no_memory[] = "ERR no memory for a batch";
static const char wrong_batch_size[] = "ERR Model did not generate the expected batch size";

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* How often this thread has gone to sleep, if the runner's runs may make it. */
static int64_t times_asleep(const rai_runner *runner) {
    struct rusage usage;
    if (!runner->may_wait || getrusage(RUSAGE_THREAD, &usage) != 0) return 0;
    return usage.ru_nvcsw;
}

static void fail(rai_job *job, const char *text) {
    rai_job_fail(job, text, strlen(text));
}

static int is_count(int32_t wanted, int32_t given) {
    return wanted < 0 || wanted == given;
}

/* Whether a call is of this function, and of nothing but tensors, as many as it takes. */
static int takes_call(const rai_runner *runner, const rai_job *job) {
    const rai_call *call = job->call;
    if (runner->function == NULL || strlen(runner->function) != call->function.length) return 0;
    if (memcmp(runner->function, call->function.data, call->function.length) != 0 || call->list_count > 0) return 0;
    /* What takes any number is an entry point, which gets keys and arguments, too. */
    if (runner->input_count < 0 && (call->keys || call->args)) return 0;
    return is_count(runner->input_count, job->input_count) && is_count(runner->output_count, job->output_count);
}

/* Fails a job whose tensors the model cannot take. */
static int refuse(const rai_runner *runner, rai_job *job) {
    char text[64];
    if (!is_count(runner->input_count, job->input_count)) {
        snprintf(text, sizeof(text), "ERR Expected %d inputs but got %d", runner->input_count, job->input_count);
    } else if (!is_count(runner->output_count, job->output_count)) {
        snprintf(text, sizeof(text), "ERR Expected %d outputs but got %d", runner->output_count, job->output_count);
    } else {
        return 0;
    }
    fail(job, text);
    return 1;
}

/* 0: the runner declines. */
static int run_one(rai_runner *runner, void *stop, rai_job *job) {
    if (job->call ? !takes_call(runner, job) : refuse(runner, job)) return job->call == NULL;
    rai_run run = {job->input_count, job->output_count, job->inputs, job->outputs, NULL};
    if (!runner->run(runner, stop, &run)) return 0;
    if (run.error) fail(job, run.error);
    RedisModule_Free(run.error);
    return 1;
}

/* ---- batches ------------------------------------------------------------- */

/* The error of the whole batch, if any, is each job's. 0: the runner declines. */
static int run_merged(rai_runner *runner, void *stop, rai_job **jobs, int64_t count) {
    size_t tensors = (size_t)runner->input_count + (size_t)runner->output_count;
    rai_tensor **inputs = RedisModule_Calloc(tensors, sizeof(*inputs)), **outputs = inputs + runner->input_count;
    rai_run run = {runner->input_count, runner->output_count, inputs, outputs, NULL};
    const char *wrong = NULL;
    int64_t rows = 0;
    int done = 1;
    for (int64_t i = 0; i < count; i++) rows += jobs[i]->inputs[0]->dims[0];
    for (int32_t i = 0; i < runner->input_count && !wrong; i++) {
        inputs[i] = rai_join_inputs(jobs, count, i);
        if (inputs[i] == NULL) wrong = no_memory;
    }
    if (!wrong) {
        done = runner->run(runner, stop, &run);
        wrong = run.error;
    }
    for (int32_t i = 0; i < runner->output_count && done && !wrong; i++) {
        if (outputs[i]->ndim == 0 || outputs[i]->dims[0] != rows) wrong = wrong_batch_size;
    }
    for (int32_t i = 0; i < runner->output_count && done && !wrong; i++) {
        const rai_tensor *all = outputs[i];
        if (!rai_divide_output(all->dtype, all->ndim, all->dims, all->data, jobs, count, i)) wrong = no_memory;
    }
    for (int64_t i = 0; i < count && wrong; i++) fail(jobs[i], wrong);
    for (size_t i = 0; i < tensors; i++) rai_tensor_release(inputs[i]);
    RedisModule_Free(inputs);
    RedisModule_Free(run.error);
    return done;
}

/* ---- learning ------------------------------------------------------------- */

/* Guards every pace but for average_ns. The event loop only tries to get it. */
static pthread_mutex_t pace_lock = PTHREAD_MUTEX_INITIALIZER;

/* 0: they are not few. */
static int note_shapes(rai_shapes *shapes, const rai_job *job) {
    if (job->input_count > RAI_FEW_INPUTS) return 0;
    shapes->count = job->input_count;
    for (int32_t i = 0; i < job->input_count; i++) {
        const rai_tensor *input = job->inputs[i];
        if (input->ndim > RAI_FEW_DIMS) return 0;
        shapes->dtypes[i] = input->dtype;
        shapes->ndims[i] = input->ndim;
        memcpy(shapes->dims[i], input->dims, (size_t)input->ndim * sizeof(*input->dims));
    }
    return 1;
}

/* Whether the job's inputs have these dtypes and numbers of dims. */
static int are_alike(const rai_shapes *shapes, const rai_job *job) {
    if (job->input_count != shapes->count) return 0;
    for (int32_t i = 0; i < shapes->count; i++) {
        const rai_tensor *input = job->inputs[i];
        if (input->dtype != shapes->dtypes[i] || input->ndim != shapes->ndims[i]) return 0;
    }
    return 1;
}

/* Whether no dim of the job's inputs is larger. */
static int are_within(const rai_shapes *shapes, const rai_job *job) {
    if (!are_alike(shapes, job)) return 0;
    for (int32_t i = 0; i < shapes->count; i++) {
        for (int32_t j = 0; j < shapes->ndims[i]; j++) {
            if (job->inputs[i]->dims[j] > shapes->dims[i][j]) return 0;
        }
    }
    return 1;
}

/* Makes each dim as small as the job's. 0: the shapes cannot be compared. */
static int shrink_shapes(rai_shapes *shapes, const rai_job *job) {
    if (!are_alike(shapes, job)) return 0;
    for (int32_t i = 0; i < shapes->count; i++) {
        for (int32_t j = 0; j < shapes->ndims[i]; j++) {
            int64_t dim = job->inputs[i]->dims[j];
            if (dim < shapes->dims[i][j]) shapes->dims[i][j] = dim;
        }
    }
    return 1;
}

/* What a run's time counts. */
static int64_t counted(int64_t elapsed_ns) {
    static int64_t divisor; /* 0: not looked yet */
    int64_t known = __atomic_load_n(&divisor, __ATOMIC_RELAXED);
    if (known == 0) {
        known = rai_usable_cores() > FEW_CORES ? 1 : 2;
        __atomic_store_n(&divisor, known, __ATOMIC_RELAXED);
    }
    return elapsed_ns / known;
}

/* So many runs on workers are enough to judge by. */
static void judge(rai_runner *runner, rai_model *model) {
    rai_pace *pace = &runner->pace;
    int short_enough = pace->seen_ns <= WORTH_A_TRY * pace->seen;
    pace->seen = pace->seen_ns = 0;
    if (!short_enough) return;
    pace->known = pace->seen_shapes;
    if (pace->is_short) return;
    pace->is_short = 1;
    pace->average_ns = AT_ONCE / 2;
    pace->runs = 0;
    runner->next = model->at_once;
    __atomic_store_n(&model->at_once, runner, __ATOMIC_RELEASE);
}

/* The model's runs by this runner are not short any more. */
static void leave(rai_runner *runner, rai_model *model) {
    rai_runner **at = &model->at_once;
    while (*at != runner) at = &(*at)->next;
    __atomic_store_n(at, runner->next, __ATOMIC_RELEASE);
    runner->pace.is_short = 0;
}

/* A run on inputs that the event loop does not take yet. One that failed, or whose inputs
 * cannot be compared with those before, begins anew. */
static void see(rai_pace *pace, const rai_job *job, int64_t elapsed_ns) {
    if (pace->is_short && are_within(&pace->known, job)) return;
    if (pace->seen == 0 || job->error || !shrink_shapes(&pace->seen_shapes, job)) {
        pace->seen = pace->seen_ns = 0;
        if (job->error || !note_shapes(&pace->seen_shapes, job)) return;
    }
    pace->seen++;
    elapsed_ns = counted(elapsed_ns);
    pace->seen_ns += elapsed_ns < MOST_ON_WORKER ? elapsed_ns : MOST_ON_WORKER;
}

/* Whether its requests wait for others, to become a batch. */
static int has_to_wait(const rai_model *model) {
    return model->batch_size > 0 && (model->min_batch_size > 1 || rai_config()->default_batch_delay_us > 0);
}

/* Whether the model's requests are many enough for batches, which cost the event loop less than half of what single
 * hand-overs do (event loop). */
static int are_worth_a_batch(rai_model *model, const rai_runner *runner) {
    rai_turns *turns = &model->turns;
    if (turns->turn != rai_turn()) {
        turns->before = turns->turn + 1 == rai_turn() ? turns->now : 0;
        turns->turn = rai_turn();
        turns->now = 0;
    }
    turns->now++;
    return turns->before >= MANY && runner->pace.average_ns > AT_ONCE / 2;
}

/* Notes that runs of these jobs on a worker, one after the other, took so long, and whether they
 * waited for other threads. */
static void learn(rai_runner *runner, rai_job **jobs, int64_t count, int64_t elapsed_ns, int waited) {
    rai_model *model = jobs[0]->model;
    rai_pace *pace = &runner->pace;
    if (!runner->predictable || has_to_wait(model)) return;
    pthread_mutex_lock(&pace_lock);
    for (int64_t i = 0; i < count && !waited; i++) see(pace, jobs[i], elapsed_ns / count);
    if (waited) pace->seen = pace->seen_ns = 0;
    if (pace->seen >= (int64_t)RUNS_BEFORE << pace->failures) judge(runner, model);
    pthread_mutex_unlock(&pace_lock);
}

/* The event loop runs the model by this runner no more, for now. */
static void go_back(rai_runner *runner, rai_model *model) {
    rai_pace *pace = &runner->pace;
    if (pthread_mutex_trylock(&pace_lock) != 0) return;
    if (pace->runs > LONG) pace->failures = 0;
    if ((int64_t)RUNS_BEFORE << pace->failures < MOST_RUNS_BEFORE) pace->failures++;
    pace->seen = pace->seen_ns = 0;
    leave(runner, model);
    pthread_mutex_unlock(&pace_lock);
}

/* What a run counts, or, after a pause, what stands to AT_ONCE as that does to AFTER_PAUSE (event loop). */
static int64_t weighed(int64_t started, int64_t ended) {
    static int64_t last_ended;
    int64_t elapsed = counted(ended - started);
    int after_pause = started - last_ended >= PAUSE;
    last_ended = ended;
    return after_pause ? elapsed * AT_ONCE / AFTER_PAUSE : elapsed;
}

/* Notes what a run on the event loop counts; ends such runs if they take too long. */
static void watch(rai_runner *runner, rai_model *model, int64_t weighed_ns) {
    rai_pace *pace = &runner->pace;
    if (weighed_ns > MOST_AT_ONCE) weighed_ns = MOST_AT_ONCE;
    pace->average_ns += (weighed_ns - pace->average_ns) / AVERAGE_OVER;
    pace->runs++;
    if (pace->average_ns > AT_ONCE) go_back(runner, model);
}

/* Whether the jobs, which have equal dtypes, can be joined. */
static int can_join(const rai_runner *runner, const rai_job *job) {
    if (job->call || job->input_count != runner->input_count || job->output_count != runner->output_count) return 0;
    for (int32_t i = 0; i < job->input_count; i++) {
        if (job->inputs[i]->dtype == RAI_STRING) return 0;
    }
    return 1;
}

static void drop_outputs(rai_job *job) {
    for (int32_t i = 0; i < job->output_count; i++) {
        rai_tensor_release(job->outputs[i]);
        job->outputs[i] = NULL;
    }
}

int rai_run_jobs(rai_runner *runner, void *stop, rai_job **jobs, int64_t count, int merged) {
    int64_t started = now_ns(), asleep = times_asleep(runner);
    if (merged && can_join(runner, jobs[0])) {
        if (!run_merged(runner, stop, jobs, count)) return 0;
        /* Each alone takes no longer. */
        learn(runner, jobs, count, (now_ns() - started) * count, times_asleep(runner) != asleep);
        return 1;
    }
    for (int64_t i = 0; i < count; i++) {
        if (run_one(runner, stop, jobs[i])) continue;
        for (int64_t j = 0; j < i; j++) drop_outputs(jobs[j]);
        return 0;
    }
    learn(runner, jobs, count, now_ns() - started, times_asleep(runner) != asleep);
    return 1;
}

/* Whether this is the job's runner, and the job is known to be short. */
static int suits(const rai_runner *runner, const rai_job *job) {
    return (job->call == NULL || takes_call(runner, job)) && are_within(&runner->pace.known, job);
}

/* The runner for a job that is known to be short; NULL: it is not, or somebody notes something just now. */
static rai_runner *runner_for(const rai_job *job) {
    rai_runner *runner = __atomic_load_n(&job->model->at_once, __ATOMIC_ACQUIRE);
    if (runner == NULL || pthread_mutex_trylock(&pace_lock) != 0) return NULL;
    runner = job->model->at_once;
    while (runner && !suits(runner, job)) runner = runner->next;
    pthread_mutex_unlock(&pace_lock);
    return runner;
}

int rai_run_at_once(rai_job *job) {
    rai_model *model = job->model;
    rai_runner *runner = runner_for(job);
    if (runner == NULL || has_to_wait(model)) return 0;
    if (model->batch_size > 0 && are_worth_a_batch(model, runner)) return 0;
    int divisions = rai_divisions_met();
    int64_t started = now_ns(), asleep = times_asleep(runner);
    if (!run_one(runner, NULL, job)) {
        watch(runner, model, MOST_AT_ONCE); /* such runs cost as much again on a worker: not many, or none */
        return 0;
    }
    int64_t ended = now_ns(), elapsed = ended - started;
    const rai_tensor *first = job->output_count ? job->outputs[0] : NULL;
    int64_t samples = first == NULL ? 0 : first->ndim > 0 ? first->dims[0] : 1;
    rai_statistics_add(model, job->error != NULL, (elapsed + 500) / 1000, samples);
    rai_latency_add(model->latency, 0, (elapsed + 500) / 1000);
    rai_queue_count_at_once(model);
    if (rai_divisions_met() == divisions && times_asleep(runner) == asleep) {
        watch(runner, model, weighed(started, ended));
    } else { /* its time did not follow from the shapes, or it waited for others */
        go_back(runner, model);
    }
    return 1;
}
