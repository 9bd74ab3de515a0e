/* Runners, by which models need no Python to run, and batches: runner.c, merging.c. */
#ifndef RAI_RUNNER_H
#define RAI_RUNNER_H
#include "job.h"

/* What is known of a runner's run time, by which it may run on the event loop. */
typedef struct rai_pace {
    int32_t is_short;       /* its runs take less time than a worker costs, as far as is known */
    rai_shapes known;       /* inputs for which that has been seen: up to these dims */
    int64_t average_ns;     /* of the runs on the event loop, as weighed; it alone writes it while they are short */
    int64_t runs;           /* how many these are; the same */
    int32_t failures;       /* times that it was too slow there */
    int64_t seen;           /* runs on workers since it was last judged by them */
    int64_t seen_ns;        /* that they took together */
    rai_shapes seen_shapes; /* of inputs, that each of them had at least */
} rai_pace;

/* One run: the outputs are NULL before, and then the caller's references; or there is
 * an error's text, to be freed with RedisModule_Free. */
typedef struct rai_run {
    int32_t input_count;
    int32_t output_count;
    rai_tensor **inputs;
    rai_tensor **outputs;
    char *error;
} rai_run;

/* What a session may have besides its Python methods. It lives as long as the session. */
struct rai_runner {
    /* Runs the model once, in any thread, several at a time, without the GIL. stop: what
     * a worker's watchdog ends the run by, or NULL. 0: it declines, and the session is to
     * do this run by its Python method, from the beginning. */
    int (*run)(rai_runner *runner, void *stop, rai_run *run);
    const char *function; /* of a script; NULL: it is a model's */
    int32_t input_count;  /* -1: any number */
    int32_t output_count; /* the same */
    int32_t predictable;  /* the run time follows from the shapes of the inputs */
    int32_t may_wait;     /* a run may divide its work among threads that others use, too, and wait for them */
    void *state;          /* run's own */
    rai_pace pace;        /* runner.c */
    rai_runner *next;     /* the same: of those of its model whose runs are short */
};

/* ---- batches (merging.c) -------------------------------------------------- */

/* An input, which is no STRING, of all jobs, which fit together; NULL: no memory. */
rai_tensor *rai_join_inputs(rai_job **jobs, int64_t count, int32_t input);
/* Gives each job its rows of an output, which has the rows of all of them. 0: no memory. */
int rai_divide_output(int32_t dtype, int32_t ndim, const int64_t *all_dims, const void *all, rai_job **jobs,
                      int64_t count, int32_t output);

/* Worker: runs the jobs, all of one model, or one function of a script, each by itself
 * or, merged, all as one batch; each gets its outputs or an error. 0: the runner declined
 * one of them; none has outputs. */
int rai_run_jobs(rai_runner *runner, void *stop, rai_job **jobs, int64_t count, int merged);
/* Runs the job right here if its model is known to take no longer than handing the
 * job to a worker would. 0: not so, nothing was done (event loop). */
int rai_run_at_once(rai_job *job);

#endif
