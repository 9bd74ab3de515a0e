/* Module load: what redis-server calls through the loader, in order. */
#include <stdio.h>

#include "commands.h"
#include "internal.h"

rai_command_handlers rai_handlers;
rai_load_hooks rai_hooks;

static int register_commands(RedisModuleCtx *ctx) {
#define REGISTER(handler, name, flags, first, last, step)                                                       \
    if (RedisModule_CreateCommand(ctx, name, rai_handlers.handler, flags, first, last, step) != REDISMODULE_OK) \
        return REDISMODULE_ERR;
    COMMAND_TABLE(REGISTER)
    return REDISMODULE_OK;
}

static void shutting_down(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent, void *data) {
    (void)event, (void)subevent, (void)data;
    RedisModule_Log(ctx, "notice", "Clearing resources on shutdown");
    rai_exit_quickly();
}

static int check_server(RedisModuleCtx *ctx) {
    int version = RedisModule_GetServerVersion();
    RedisModule_Log(ctx, "notice", "Redis version found by RedisAI: %d.%d.%d - oss", version >> 16, version >> 8 & 255,
                    version & 255);
    RedisModule_Log(ctx, "notice", "RedisAI version %d, git_sha=%s", rai_version_number(), rai_git_sha());
    return REDISMODULE_OK;
}

/* Called by the loader. module_dir holds the package, python is its executable. */
__attribute__((visibility("default"))) int redisai_core_load(RedisModuleCtx *ctx, RedisModuleString **argv, int argc,
                                                             const char *module_dir, const char *python) {
    const char *missing = redis_api_resolve(ctx);
    if (missing) {
        fprintf(stderr, "redisai: this server lacks %s; Redis 6.2 or later is needed\n", missing);
        return REDISMODULE_ERR;
    }
    if (RedisModule_IsModuleNameBusy("ai")) return REDISMODULE_ERR;
    RedisModule_SetModuleAttribs(ctx, "ai", rai_version_number(), REDISMODULE_APIVER_1);
    RedisModule_SetModuleOptions(ctx, REDISMODULE_OPTIONS_HANDLE_IO_ERRORS);
    rai_log_init(ctx);
    rai_models_init();
    if (check_server(ctx) || rai_watchdog_init() || rai_queues_init(ctx) ||
        rai_interpreter_start(ctx, module_dir, python) || register_commands(ctx) || rai_hooks.register_types(ctx) ||
        rai_hooks.register_info(ctx)) {
        return REDISMODULE_ERR;
    }
    RedisModuleEvent shutdown_event = {REDISMODULE_EVENT_SHUTDOWN, 1};
    RedisModule_SubscribeToServerEvent(ctx, shutdown_event, shutting_down);
    if (rai_shared_api_export(ctx) != REDISMODULE_OK) return REDISMODULE_ERR;
    if (rai_hooks.load_arguments(ctx, argv, argc, module_dir) != REDISMODULE_OK) return REDISMODULE_ERR;
    rai_thread_prefer();
    rai_queue_of_device("CPU"); /* after THREADS_PER_QUEUE is known */
    return REDISMODULE_OK;
}
