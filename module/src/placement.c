/* Which core a worker wakes up on.
 *
 * The kernel wakes a thread on a core that has nothing to do, if it sees one. As the
 * guest of a hypervisor it sees none that has slept for longer than a moment, since the
 * host has taken that core away (redisai_py/cores.py has more of it), and wakes a worker
 * behind another one's run. So a worker that is woken while others are in long runs is
 * kept off their cores until it is awake and has the GIL, which may wake it once more. */
#define _GNU_SOURCE
#include <sched.h>

#include "queue_state.h"

static int long_runs[CPU_SETSIZE];         /* by the core that they began on */
static int count_of_long_runs;             /* all of them */
static _Thread_local int core_of_run = -1; /* this worker's; -1: it is in none */

int rai_current_core(void) {
    return sched_getcpu();
}

int rai_placement_begin_run(void) {
    core_of_run = rai_current_core();
    if (core_of_run < 0 || core_of_run >= CPU_SETSIZE) {
        core_of_run = -1;
        return -1;
    }
    __atomic_add_fetch(&long_runs[core_of_run], 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&count_of_long_runs, 1, __ATOMIC_RELAXED);
    return core_of_run;
}

void rai_placement_end_run(void) {
    if (core_of_run < 0) return;
    __atomic_sub_fetch(&long_runs[core_of_run], 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&count_of_long_runs, 1, __ATOMIC_RELAXED);
    core_of_run = -1;
}

/* Takes the cores of long runs out of a set; how many cores remain. */
static int take_out_busy(cpu_set_t *cores) {
    int remaining = CPU_COUNT(cores);
    for (int core = 0, left = remaining; core < CPU_SETSIZE && left > 0; core++) {
        if (!CPU_ISSET(core, cores)) continue;
        left--;
        if (__atomic_load_n(&long_runs[core], __ATOMIC_RELAXED) == 0) continue;
        CPU_CLR(core, cores);
        remaining--;
    }
    return remaining;
}

void rai_placement_choose(rai_sleeper *sleeper) {
    cpu_set_t free_cores;
    if (__atomic_load_n(&count_of_long_runs, __ATOMIC_RELAXED) == 0) return;
    if (pthread_getaffinity_np(sleeper->thread, sizeof(free_cores), &free_cores) != 0) return;
    sleeper->cores = free_cores;
    if (take_out_busy(&free_cores) == 0 || CPU_EQUAL(&free_cores, &sleeper->cores)) return;
    sleeper->is_bound = pthread_setaffinity_np(sleeper->thread, sizeof(free_cores), &free_cores) == 0;
}

void rai_placement_release(rai_sleeper *own) {
    if (!own->is_bound) return;
    own->is_bound = 0;
    pthread_setaffinity_np(own->thread, sizeof(own->cores), &own->cores);
}
