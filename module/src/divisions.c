/* Integer divisions that have no result.
 *
 * On x86-64 the smallest integer divided by -1, and anything divided by zero, raise
 * SIGFPE, which would end the server. Frameworks look for zeros, but PyTorch and
 * onnxruntime leave the other case to the processor, and it may come from any client's
 * tensor. Other processors do not trap: ARM gives the smallest integer again, and
 * zero. Here that is what the division gives, too. In Redis' own code it is a crash,
 * as before. */
#define _GNU_SOURCE
#include <link.h>
#include <signal.h>

#include "internal.h"

#ifdef __x86_64__
#include <ucontext.h>

static struct sigaction former; /* Redis' handler, which reports the crash */
static uintptr_t redis_begin, redis_end;
static pthread_t event_loop_thread;
static volatile sig_atomic_t met; /* by the event loop */

/* A division instruction: DIV or IDIV. */
typedef struct division {
    int length; /* bytes; 0: it is another instruction */
    int bits;   /* of the quotient */
} division;

static int is_prefix(uint8_t byte) {
    switch (byte) {
    case 0x26:
    case 0x2E:
    case 0x36:
    case 0x3E:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xF2:
    case 0xF3: return 1;
    default: return 0;
    }
}

/* Bytes of the operand's address behind ModRM, which `at` points to. */
static int address_length(const uint8_t *at) {
    int mode = at[0] >> 6, base = at[0] & 7, length = 0;
    if (mode == 3) return 0; /* a register */
    if (base == 4) {
        length = 1; /* SIB */
        base = at[1] & 7;
        if (mode == 0 && base == 5) return length + 4;
    } else if (mode == 0 && base == 5) {
        return 4; /* relative to the instruction */
    }
    return length + (mode == 1 ? 1 : mode == 2 ? 4 : 0);
}

static division decode(const uint8_t *code) {
    const uint8_t *at = code;
    int is_wide = 0, is_half = 0;
    for (; is_prefix(*at); at++) is_half = is_half || *at == 0x66;
    if ((*at & 0xF0) == 0x40) is_wide = *at++ & 8;
    int opcode = *at++;
    if ((opcode != 0xF6 && opcode != 0xF7) || ((*at >> 3) & 7) < 6) return (division){0, 0};
    int bits = opcode == 0xF6 ? 8 : is_wide ? 64 : is_half ? 16 : 32;
    return (division){(int)(at - code) + 1 + address_length(at), bits};
}

/* The low bits of a register, and the rest of it as an instruction of that width leaves it. */
static greg_t with_low_bits(greg_t former_value, int bits, uint64_t value) {
    if (bits == 64) return (greg_t)value;
    if (bits == 32) return (greg_t)(uint32_t)value;
    uint64_t mask = ((uint64_t)1 << bits) - 1;
    return (greg_t)(((uint64_t)former_value & ~mask) | (value & mask));
}

/* The quotient is the smallest integer where that was divided, and else zero; the
 * remainder what belongs to it. */
static void give_result(greg_t *registers, int bits) {
    uint64_t mask = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    uint64_t smallest = (uint64_t)1 << (bits - 1);
    uint64_t dividend = (uint64_t)registers[REG_RAX] & mask;
    uint64_t quotient = dividend == smallest ? smallest : 0;
    uint64_t remainder = dividend - quotient;
    if (bits == 8) { /* both in AX */
        registers[REG_RAX] = with_low_bits(registers[REG_RAX], 16, remainder << 8 | quotient);
        return;
    }
    registers[REG_RAX] = with_low_bits(registers[REG_RAX], bits, quotient);
    registers[REG_RDX] = with_low_bits(registers[REG_RDX], bits, remainder);
}

static void on_signal(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t at = (uintptr_t)registers[REG_RIP];
    if (info->si_code == FPE_INTDIV && (at < redis_begin || at >= redis_end)) {
        division found = decode((const uint8_t *)at);
        if (found.length > 0) {
            give_result(registers, found.bits);
            registers[REG_RIP] += found.length;
            if (pthread_equal(pthread_self(), event_loop_thread)) met = (sig_atomic_t)((unsigned)met + 1);
            return;
        }
    }
    if (former.sa_flags & SA_SIGINFO) {
        former.sa_sigaction(number, info, context);
    } else { /* back in the instruction it is raised again */
        sigaction(number, &former, NULL);
    }
}

/* Notes where the code of the program itself lies, which is the first object. */
static int find_program(struct dl_phdr_info *object, size_t size, void *unused) {
    (void)size, (void)unused;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X)) continue;
        redis_begin = object->dlpi_addr + segment->p_vaddr;
        redis_end = redis_begin + segment->p_memsz;
    }
    return 1;
}

void rai_divisions_renew(void) {
    struct sigaction ours = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER}, present;
    if (sigaction(SIGFPE, NULL, &present) != 0) return;
    if ((present.sa_flags & SA_SIGINFO) && present.sa_sigaction == on_signal) return;
    former = present;
    sigaction(SIGFPE, &ours, NULL);
}

void rai_divisions_init(void) {
    event_loop_thread = pthread_self();
    dl_iterate_phdr(find_program, NULL);
    rai_divisions_renew();
}

int rai_divisions_met(void) {
    return met;
}

#else

void rai_divisions_init(void) {
}

void rai_divisions_renew(void) {
}

int rai_divisions_met(void) {
    return 0;
}

#endif
