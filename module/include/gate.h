/* Gates: to something that the event loop uses without a lock, and that others take away (gate.c). */
#ifndef RAI_GATE_H
#define RAI_GATE_H
#include <stdint.h>

/* Of zeros: open, and nobody inside. */
typedef struct rai_gate {
    int32_t inside;
    int32_t is_closed;
} rai_gate;

int rai_gate_enter(rai_gate *gate); /* any thread, never waits; 0: it is closed */
void rai_gate_leave(rai_gate *gate);
/* For good, and without waiting. 1: nobody is inside, nor will be again. */
int rai_gate_close(rai_gate *gate);

#endif
