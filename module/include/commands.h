/* The command handlers, filled in by the compiled event-loop modules when they
 * are imported, and registered with Redis afterwards. */
#ifndef RAI_COMMANDS_H
#define RAI_COMMANDS_H
#include "command_table.h"
#include "core.h"
#include "redis_api.h"

#define RAI_DECLARE_HANDLER(handler, name, flags, first, last, step, categories) RedisModuleCmdFunc handler;
typedef struct rai_command_handlers {
    COMMAND_TABLE(RAI_DECLARE_HANDLER)
} rai_command_handlers;
#undef RAI_DECLARE_HANDLER

extern rai_command_handlers rai_handlers;

/* Set by the event-loop modules. The first three are called once, while the module
 * loads, the others by whoever holds Redis' lock. */
typedef struct rai_load_hooks {
    int (*register_types)(RedisModuleCtx *ctx);
    int (*register_info)(RedisModuleCtx *ctx);
    int (*subscribe)(RedisModuleCtx *ctx);
    int (*load_arguments)(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, const char *module_dir);
    void (*parse_dag_op)(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, rai_parsed_op *parsed);
    void (*store_tensor)(RedisModuleCtx *ctx, RedisModuleString *name, rai_tensor *tensor); /* and replicates it */
} rai_load_hooks;

extern rai_load_hooks rai_hooks;

#endif
