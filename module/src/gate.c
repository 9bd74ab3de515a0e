/* Gates: who enters counts itself first and looks at the gate then, and who closes it does
 * these two things the other way round, so that one of them sees the other. */
#include "core.h"

int rai_gate_enter(rai_gate *gate) {
    __atomic_add_fetch(&gate->inside, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&gate->is_closed, __ATOMIC_SEQ_CST)) return 1;
    rai_gate_leave(gate);
    return 0;
}

void rai_gate_leave(rai_gate *gate) {
    __atomic_sub_fetch(&gate->inside, 1, __ATOMIC_RELEASE);
}

int rai_gate_close(rai_gate *gate) {
    __atomic_store_n(&gate->is_closed, 1, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&gate->inside, __ATOMIC_SEQ_CST) == 0;
}
