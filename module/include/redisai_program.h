/* A program: a model, or a function of a script, as C or C++ code that needs no Python to
 * run. A backend's extension module makes it, redisai_py.worker.programs.Runner has it
 * run by the module's workers, or on Redis' event loop (docs/backends.md).
 *
 * Types only, so that C, C++ and our generator of Cython declarations read it alike. */
#ifndef REDISAI_PROGRAM_H
#define REDISAI_PROGRAM_H
#include <stdint.h>

/* A tensor on the CPU, row major and packed, that belongs to somebody else. */
typedef struct rai_view {
    uint8_t code; /* DLPack's type code and number of bits: 2 and 32 for FLOAT */
    uint8_t bits;
    int32_t ndim;
    const int64_t *dims;
    const void *data;
} rai_view;

/* Copies an output. 0: it cannot, and the run is to be declined. */
typedef int (*rai_take)(void *receiver, int32_t index, const rai_view *output);

typedef struct rai_program rai_program;
struct rai_program {
    /* Runs the program once: on any thread, several at a time, without the GIL. The inputs
     * must not be written to, nor kept. take is called for outputs 0 to output_count - 1.
     * 1: done. 0: declined, for whatever reason: the session's Python method then does the
     * run from the beginning, and finds the words for what is wrong. So what was declined
     * must have had no effect. */
    int (*run)(rai_program *program, const rai_view *inputs, int32_t input_count, rai_take take, void *receiver,
               int32_t output_count);
};

#endif
