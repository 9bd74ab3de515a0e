/* What the C core offers to the compiled event-loop modules (through core.pxd)
 * and to the worker side (through cffi). Declarations only: the generator reads
 * these files, so preprocessor lines are limited to the guards and the includes.
 *
 * Naming: "event loop" functions are called on Redis' main thread only;
 * "worker" functions are called from worker threads; the rest from anywhere.
 * No function here takes the GIL except where its comment says so. */
#ifndef RAI_CORE_H
#define RAI_CORE_H
#include "tensor.h"
#include "model.h"
#include "job.h"
#include "dag.h"
#include "runner.h"
#include "gate.h"
#include "queue.h"
#include "calls.h"
#include "flows.h"
#include "settings.h"

#endif
