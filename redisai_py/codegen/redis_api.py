"""The part of the Redis module API that we use, declared once.

The C header and its symbol table, the Cython declarations and the cffi
declarations are all generated from these tables (see ``generate.py``).
``since`` is the Redis version that introduced a function: everything up to
``REQUIRED_LEVEL`` must resolve when the module loads; newer functions, and the few
that Valkey lacks, are optional: NULL where they are not.
"""

from __future__ import annotations

from typing import NamedTuple


class Function(NamedTuple):
    """One ``RedisModule_<name>``: C return type, name, C parameter list, Redis version.

    ``in_redis_only``: Valkey has it under another name, or not at all.
    """

    returns: str
    name: str
    parameters: str
    since: str = "6.2"
    in_redis_only: bool = False


class Callback(NamedTuple):
    """A function type that Redis calls back."""

    returns: str
    name: str
    parameters: str


REQUIRED_LEVEL = (6, 2)

OPAQUE_TYPES = (
    "RedisModuleCtx",
    "RedisModuleKey",
    "RedisModuleString",
    "RedisModuleIO",
    "RedisModuleType",
    "RedisModuleDigest",
    "RedisModuleBlockedClient",
    "RedisModuleInfoCtx",
    "RedisModuleCallReply",
    "RedisModuleServerInfoData",
    "RedisModuleCommand",
    "RedisModuleUser",
    "RedisModuleDefragCtx",
    "RedisModuleCommandInfo",
)

CALLBACKS = (
    Callback("int", "RedisModuleCmdFunc", "RedisModuleCtx *ctx, RedisModuleString **argv, int argc"),
    Callback("void", "RedisModuleFreePrivDataFunc", "RedisModuleCtx *ctx, void *private_data"),
    Callback("void", "RedisModuleDisconnectFunc", "RedisModuleCtx *ctx, RedisModuleBlockedClient *client"),
    Callback("void", "RedisModuleTimerFunc", "RedisModuleCtx *ctx, void *data"),
    Callback("long long", "RedisModuleConfigGetNumericFunc", "const char *name, void *data"),
    Callback(
        "int",
        "RedisModuleConfigSetNumericFunc",
        "const char *name, long long value, void *data, RedisModuleString **error",
    ),
    Callback("RedisModuleString *", "RedisModuleConfigGetStringFunc", "const char *name, void *data"),
    Callback(
        "int",
        "RedisModuleConfigSetStringFunc",
        "const char *name, RedisModuleString *value, void *data, RedisModuleString **error",
    ),
    Callback("int", "RedisModuleConfigApplyFunc", "RedisModuleCtx *ctx, void *data, RedisModuleString **error"),
    Callback("void", "RedisModuleInfoFunc", "RedisModuleInfoCtx *ctx, int for_crash_report"),
    Callback(
        "int", "RedisModuleNotificationFunc", "RedisModuleCtx *ctx, int type, const char *event, RedisModuleString *key"
    ),
    Callback("void *", "RedisModuleTypeLoadFunc", "RedisModuleIO *io, int encoding_version"),
    Callback("void", "RedisModuleTypeSaveFunc", "RedisModuleIO *io, void *value"),
    Callback("void", "RedisModuleTypeRewriteFunc", "RedisModuleIO *io, RedisModuleString *key, void *value"),
    Callback("size_t", "RedisModuleTypeMemUsageFunc", "const void *value"),
    Callback("void", "RedisModuleTypeDigestFunc", "RedisModuleDigest *digest, void *value"),
    Callback("void", "RedisModuleTypeFreeFunc", "void *value"),
    Callback("size_t", "RedisModuleTypeFreeEffortFunc", "RedisModuleString *key, const void *value"),
    Callback("void", "RedisModuleTypeUnlinkFunc", "RedisModuleString *key, const void *value"),
    Callback(
        "void *", "RedisModuleTypeCopyFunc", "RedisModuleString *from_key, RedisModuleString *to_key, const void *value"
    ),
    Callback("int", "RedisModuleTypeDefragFunc", "RedisModuleDefragCtx *ctx, RedisModuleString *key, void **value"),
)

# What RedisModule_SetCommandInfo takes (Redis 7.0). The flags and the kinds of arguments
# and searches are numbered in the order in which the server defines them.
KEY_FLAGS = {
    name: 1 << bit
    for bit, name in enumerate(
        ("RO", "RW", "OW", "RM", "ACCESS", "UPDATE", "INSERT", "DELETE", "NOT_KEY", "INCOMPLETE", "VARIABLE_FLAGS")
    )
}
ARGUMENT_TYPES = {
    name: number
    for number, name in enumerate(
        ("string", "integer", "double", "key", "pattern", "unix-time", "pure-token", "oneof", "block")
    )
}
ARGUMENT_OPTIONAL, ARGUMENT_MULTIPLE, ARGUMENT_MULTIPLE_TOKEN = 1, 2, 4
BEGIN_INDEX, BEGIN_KEYWORD = 2, 3
FIND_RANGE, FIND_COUNT = 2, 3

COMMAND_INFO_STRUCTURES = """\
typedef struct RedisModuleCommandInfoVersion {
    int version;
    size_t sizeof_historyentry;
    size_t sizeof_keyspec;
    size_t sizeof_arg;
} RedisModuleCommandInfoVersion;

typedef struct RedisModuleCommandHistoryEntry {
    const char *since;
    const char *changes;
} RedisModuleCommandHistoryEntry;

typedef struct RedisModuleCommandKeySpec {
    const char *notes;
    uint64_t flags;
    int begin_search_type;
    union {
        struct { int pos; } index;
        struct { const char *keyword; int startfrom; } keyword;
    } bs;
    int find_keys_type;
    union {
        struct { int lastkey; int keystep; int limit; } range;
        struct { int keynumidx; int firstkey; int keystep; } keynum;
    } fk;
} RedisModuleCommandKeySpec;

typedef struct RedisModuleCommandArg {
    const char *name;
    int type;
    int key_spec_index;
    const char *token;
    const char *summary;
    const char *since;
    int flags;
    const char *deprecated_since;
    struct RedisModuleCommandArg *subargs;
    const char *display_text;
} RedisModuleCommandArg;

struct RedisModuleCommandInfo {
    const RedisModuleCommandInfoVersion *version;
    const char *summary;
    const char *complexity;
    const char *since;
    RedisModuleCommandHistoryEntry *history;
    const char *tips;
    int arity;
    RedisModuleCommandKeySpec *key_specs;
    RedisModuleCommandArg *args;
};
"""

# Numeric values are part of the binary interface of redis-server.
CONSTANTS = {
    "REDISMODULE_OK": 0,
    "REDISMODULE_ERR": 1,
    "REDISMODULE_APIVER_1": 1,
    "REDISMODULE_TYPE_METHOD_VERSION": 3,
    "REDISMODULE_NO_EXPIRE": -1,
    "REDISMODULE_READ": 1 << 0,
    "REDISMODULE_WRITE": 1 << 1,
    "REDISMODULE_OPEN_KEY_NOTOUCH": 1 << 16,
    "REDISMODULE_KEYTYPE_EMPTY": 0,
    "REDISMODULE_KEYTYPE_MODULE": 6,
    "REDISMODULE_OPTIONS_HANDLE_IO_ERRORS": 1 << 0,
    "REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED": 1 << 1,
    "REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD": 1 << 2,
    "REDISMODULE_CTX_FLAGS_LUA": 1 << 0,
    "REDISMODULE_CTX_FLAGS_MULTI": 1 << 1,
    "REDISMODULE_CTX_FLAGS_SLAVE": 1 << 3,
    "REDISMODULE_CTX_FLAGS_READONLY": 1 << 4,
    "REDISMODULE_CTX_FLAGS_CLUSTER": 1 << 5,
    "REDISMODULE_CTX_FLAGS_REPLICATED": 1 << 12,
    "REDISMODULE_CTX_FLAGS_LOADING": 1 << 13,
    "REDISMODULE_CTX_FLAGS_DENY_BLOCKING": 1 << 21,
    "REDISMODULE_CTX_FLAGS_RESP3": 1 << 22,
    "REDISMODULE_CTX_FLAGS_ASYNC_LOADING": 1 << 23,
    "REDISMODULE_NOTIFY_GENERIC": 1 << 2,
    "REDISMODULE_NOTIFY_STRING": 1 << 3,
    "REDISMODULE_NOTIFY_LIST": 1 << 4,
    "REDISMODULE_NOTIFY_SET": 1 << 5,
    "REDISMODULE_NOTIFY_HASH": 1 << 6,
    "REDISMODULE_NOTIFY_ZSET": 1 << 7,
    "REDISMODULE_NOTIFY_EXPIRED": 1 << 8,
    "REDISMODULE_NOTIFY_EVICTED": 1 << 9,
    "REDISMODULE_NOTIFY_STREAM": 1 << 10,
    "REDISMODULE_NOTIFY_MODULE": 1 << 13,
    "REDISMODULE_CMD_KEY_ACCESS": 1 << 4,
    "REDISMODULE_CMD_KEY_UPDATE": 1 << 5,
    "REDISMODULE_CONFIG_DEFAULT": 0,
    "REDISMODULE_CONFIG_IMMUTABLE": 1 << 0,
    "REDISMODULE_CONFIG_MEMORY": 1 << 7,
    "REDISMODULE_REPLY_STRING": 0,
    "REDISMODULE_REPLY_ERROR": 1,
    "REDISMODULE_REPLY_ARRAY": 3,
    "REDISMODULE_REPLY_MAP": 5,
    "REDISMODULE_CLIENTINFO_FLAG_UNIXSOCKET": 1 << 4,
    "REDISMODULE_EVENT_LOADING": 3,
    "REDISMODULE_SUBEVENT_LOADING_ENDED": 3,
    "REDISMODULE_EVENT_SHUTDOWN": 5,
    "REDISMODULE_EVENT_CRON_LOOP": 8,
    "REDISMODULE_EVENT_EVENTLOOP": 15,
    "REDISMODULE_SUBEVENT_EVENTLOOP_BEFORE_SLEEP": 0,
}

FUNCTIONS = (
    # Memory. TryAlloc is the only one that may fail; the others abort the server.
    Function("void *", "Alloc", "size_t bytes"),
    Function("void *", "TryAlloc", "size_t bytes", "7.0"),
    Function("void *", "Calloc", "size_t count, size_t size"),
    Function("void *", "Realloc", "void *pointer, size_t bytes"),
    Function("void", "Free", "void *pointer"),
    Function("float", "GetUsedMemoryRatio", ""),
    # Module life cycle.
    Function("int", "SetModuleAttribs", "RedisModuleCtx *ctx, const char *name, int version, int api_version"),
    Function("int", "IsModuleNameBusy", "const char *name"),
    Function("void", "SetModuleOptions", "RedisModuleCtx *ctx, int options"),
    Function(
        "int",
        "CreateCommand",
        "RedisModuleCtx *ctx, const char *name, RedisModuleCmdFunc function, const char *flags, "
        "int first_key, int last_key, int key_step",
    ),
    Function("RedisModuleCommand *", "GetCommand", "RedisModuleCtx *ctx, const char *name", "7.0"),
    Function("int", "SetCommandInfo", "RedisModuleCommand *command, const RedisModuleCommandInfo *info", "7.0"),
    Function("int", "AddACLCategory", "RedisModuleCtx *ctx, const char *name", "7.4"),
    Function("int", "SetCommandACLCategories", "RedisModuleCommand *command, const char *categories", "7.4"),
    Function("int", "GetServerVersion", ""),
    Function("RedisModuleServerInfoData *", "GetServerInfo", "RedisModuleCtx *ctx, const char *section"),
    Function("const char *", "ServerInfoGetFieldC", "RedisModuleServerInfoData *data, const char *field"),
    Function("void", "FreeServerInfo", "RedisModuleCtx *ctx, RedisModuleServerInfoData *data"),
    Function(
        "int",
        "SubscribeToServerEvent",
        "RedisModuleCtx *ctx, RedisModuleEvent event, RedisModuleEventCallback callback",
    ),
    Function(
        "int", "SubscribeToKeyspaceEvents", "RedisModuleCtx *ctx, int types, RedisModuleNotificationFunc callback"
    ),
    Function(
        "int",
        "NotifyKeyspaceEvent",
        "RedisModuleCtx *ctx, int type, const char *event, RedisModuleString *key",
    ),
    Function("int", "SignalModifiedKey", "RedisModuleCtx *ctx, RedisModuleString *key"),
    Function("void", "Log", "RedisModuleCtx *ctx, const char *level, const char *format, ..."),
    Function("void", "LogIOError", "RedisModuleIO *io, const char *level, const char *format, ..."),
    Function("RedisModuleCtx *", "GetDetachedThreadSafeContext", "RedisModuleCtx *ctx"),
    Function("RedisModuleCtx *", "GetThreadSafeContext", "RedisModuleBlockedClient *client"),
    Function("void", "FreeThreadSafeContext", "RedisModuleCtx *ctx"),
    Function("void", "ThreadSafeContextLock", "RedisModuleCtx *ctx"),
    Function("void", "ThreadSafeContextUnlock", "RedisModuleCtx *ctx"),
    Function(
        "uint64_t", "CreateTimer", "RedisModuleCtx *ctx, long long period_ms, RedisModuleTimerFunc callback, void *data"
    ),
    # Configuration.
    Function(
        "int",
        "RegisterNumericConfig",
        "RedisModuleCtx *ctx, const char *name, long long initial, unsigned int flags, long long least, "
        "long long most, RedisModuleConfigGetNumericFunc get, RedisModuleConfigSetNumericFunc set, "
        "RedisModuleConfigApplyFunc apply, void *data",
        "7.0",
    ),
    Function(
        "int",
        "RegisterStringConfig",
        "RedisModuleCtx *ctx, const char *name, const char *initial, unsigned int flags, "
        "RedisModuleConfigGetStringFunc get, RedisModuleConfigSetStringFunc set, RedisModuleConfigApplyFunc apply, "
        "void *data",
        "7.0",
    ),
    Function("int", "LoadConfigs", "RedisModuleCtx *ctx", "7.0"),
    # Contexts and clients.
    Function("int", "GetContextFlags", "RedisModuleCtx *ctx"),
    Function("int", "GetSelectedDb", "RedisModuleCtx *ctx"),
    Function("int", "SelectDb", "RedisModuleCtx *ctx, int db"),
    Function("unsigned long long", "GetClientId", "RedisModuleCtx *ctx"),
    Function("int", "GetClientInfoById", "void *info, uint64_t id"),
    Function("RedisModuleString *", "GetCurrentUserName", "RedisModuleCtx *ctx", "7.0"),
    Function("RedisModuleUser *", "GetModuleUserFromUserName", "RedisModuleString *name", "7.0"),
    Function("int", "FreeModuleUser", "RedisModuleUser *user"),
    Function("void", "SetContextUser", "RedisModuleCtx *ctx, const RedisModuleUser *user", "7.0.6"),
    Function("int", "ACLCheckKeyPermissions", "RedisModuleUser *user, RedisModuleString *key, int flags", "7.0"),
    Function("int", "IsKeysPositionRequest", "RedisModuleCtx *ctx"),
    Function("void", "KeyAtPos", "RedisModuleCtx *ctx, int position"),
    Function("void", "KeyAtPosWithFlags", "RedisModuleCtx *ctx, int position, int flags", "7.0"),
    # Blocked clients.
    Function(
        "RedisModuleBlockedClient *",
        "BlockClient",
        "RedisModuleCtx *ctx, RedisModuleCmdFunc reply, RedisModuleCmdFunc timed_out, "
        "RedisModuleFreePrivDataFunc free_private_data, long long timeout_ms",
    ),
    Function("int", "UnblockClient", "RedisModuleBlockedClient *client, void *private_data"),
    Function("void *", "GetBlockedClientPrivateData", "RedisModuleCtx *ctx"),
    Function("RedisModuleBlockedClient *", "GetBlockedClientHandle", "RedisModuleCtx *ctx"),
    Function("void", "SetDisconnectCallback", "RedisModuleBlockedClient *client, RedisModuleDisconnectFunc callback"),
    Function("int", "BlockedClientMeasureTimeStart", "RedisModuleBlockedClient *client"),
    Function("int", "BlockedClientMeasureTimeEnd", "RedisModuleBlockedClient *client"),
    # Strings.
    Function("RedisModuleString *", "CreateString", "RedisModuleCtx *ctx, const char *data, size_t length"),
    Function("RedisModuleString *", "CreateStringFromLongLong", "RedisModuleCtx *ctx, long long value"),
    Function("void", "FreeString", "RedisModuleCtx *ctx, RedisModuleString *string"),
    Function("RedisModuleString *", "HoldString", "RedisModuleCtx *ctx, RedisModuleString *string"),
    Function("const char *", "StringPtrLen", "const RedisModuleString *string, size_t *length"),
    Function("int", "StringCompare", "RedisModuleString *a, RedisModuleString *b"),
    Function("int", "StringToLongLong", "const RedisModuleString *string, long long *value"),
    Function("int", "StringToDouble", "const RedisModuleString *string, double *value"),
    # Replies.
    Function("int", "WrongArity", "RedisModuleCtx *ctx"),
    Function("int", "ReplyWithError", "RedisModuleCtx *ctx, const char *text"),
    Function("int", "ReplyWithSimpleString", "RedisModuleCtx *ctx, const char *text"),
    Function("int", "ReplyWithLongLong", "RedisModuleCtx *ctx, long long value"),
    Function("int", "ReplyWithDouble", "RedisModuleCtx *ctx, double value"),
    Function("int", "ReplyWithArray", "RedisModuleCtx *ctx, long length"),
    Function("int", "ReplyWithBigNumber", "RedisModuleCtx *ctx, const char *number, size_t length", "7.0"),
    Function("int", "ReplyWithStringBuffer", "RedisModuleCtx *ctx, const char *data, size_t length"),
    Function("int", "ReplyWithCString", "RedisModuleCtx *ctx, const char *text"),
    Function("int", "ReplyWithString", "RedisModuleCtx *ctx, RedisModuleString *string"),
    Function("int", "ReplyWithNull", "RedisModuleCtx *ctx"),
    Function("int", "ReplyWithMap", "RedisModuleCtx *ctx, long length", "7.0"),
    Function("int", "ReplyWithBool", "RedisModuleCtx *ctx, int value", "7.0"),
    # Keyspace.
    Function("void *", "OpenKey", "RedisModuleCtx *ctx, RedisModuleString *name, int mode"),
    Function("void", "CloseKey", "RedisModuleKey *key"),
    Function("int", "KeyType", "RedisModuleKey *key"),
    Function("int", "DeleteKey", "RedisModuleKey *key"),
    Function("int", "ModuleTypeSetValue", "RedisModuleKey *key, RedisModuleType *type, void *value"),
    Function(
        "int",
        "ModuleTypeReplaceValue",
        "RedisModuleKey *key, RedisModuleType *type, void *value, void **former",
    ),
    Function("long long", "GetExpire", "RedisModuleKey *key"),
    Function("int", "SetExpire", "RedisModuleKey *key, long long milliseconds"),
    Function("RedisModuleType *", "ModuleTypeGetType", "RedisModuleKey *key"),
    Function("void *", "ModuleTypeGetValue", "RedisModuleKey *key"),
    # Replication and calls.
    Function("int", "AvoidReplicaTraffic", ""),
    Function("int", "Replicate", "RedisModuleCtx *ctx, const char *command, const char *format, ..."),
    Function("int", "ReplicateVerbatim", "RedisModuleCtx *ctx"),
    Function("RedisModuleCallReply *", "Call", "RedisModuleCtx *ctx, const char *command, const char *format, ..."),
    Function("int", "CallReplyType", "RedisModuleCallReply *reply"),
    Function("size_t", "CallReplyLength", "RedisModuleCallReply *reply"),
    Function("RedisModuleCallReply *", "CallReplyArrayElement", "RedisModuleCallReply *reply, size_t index"),
    Function("const char *", "CallReplyProto", "RedisModuleCallReply *reply, size_t *length"),
    Function("const char *", "CallReplyStringPtr", "RedisModuleCallReply *reply, size_t *length"),
    Function("void", "FreeCallReply", "RedisModuleCallReply *reply"),
    Function("int", "ReplyWithCallReply", "RedisModuleCtx *ctx, RedisModuleCallReply *reply"),
    # Data types.
    Function(
        "RedisModuleType *",
        "CreateDataType",
        "RedisModuleCtx *ctx, const char *name, int encoding_version, RedisModuleTypeMethods *methods",
    ),
    Function("void", "SaveUnsigned", "RedisModuleIO *io, uint64_t value"),
    Function("uint64_t", "LoadUnsigned", "RedisModuleIO *io"),
    Function("void", "SaveSigned", "RedisModuleIO *io, int64_t value"),
    Function("int64_t", "LoadSigned", "RedisModuleIO *io"),
    Function("void", "SaveStringBuffer", "RedisModuleIO *io, const char *data, size_t length"),
    Function("char *", "LoadStringBuffer", "RedisModuleIO *io, size_t *length"),
    Function("int", "IsIOError", "RedisModuleIO *io"),
    Function("void", "EmitAOF", "RedisModuleIO *io, const char *command, const char *format, ..."),
    Function("const RedisModuleString *", "GetKeyNameFromIO", "RedisModuleIO *io"),
    Function("void", "DigestAddStringBuffer", "RedisModuleDigest *digest, const char *data, size_t length"),
    Function("void", "DigestAddLongLong", "RedisModuleDigest *digest, long long value"),
    Function("void", "DigestEndSequence", "RedisModuleDigest *digest"),
    # Functions that modules offer each other.
    Function("int", "ExportSharedAPI", "RedisModuleCtx *ctx, const char *name, void *function"),
    Function("void *", "GetSharedAPI", "RedisModuleCtx *ctx, const char *name"),
    Function("void *", "DefragAlloc", "RedisModuleDefragCtx *ctx, void *pointer"),
    Function(
        "RedisModuleString *",
        "DefragRedisModuleString",
        "RedisModuleDefragCtx *ctx, RedisModuleString *string",
        in_redis_only=True,
    ),
    # INFO.
    Function("int", "RegisterInfoFunc", "RedisModuleCtx *ctx, RedisModuleInfoFunc callback"),
    Function("int", "InfoAddSection", "RedisModuleInfoCtx *ctx, const char *name"),
    Function("int", "InfoAddFieldCString", "RedisModuleInfoCtx *ctx, const char *field, const char *value"),
    Function("int", "InfoAddFieldLongLong", "RedisModuleInfoCtx *ctx, const char *field, long long value"),
    Function("int", "InfoBeginDictField", "RedisModuleInfoCtx *ctx, const char *name"),
    Function("int", "InfoEndDictField", "RedisModuleInfoCtx *ctx"),
    Function("void", "LatencyAddSample", "const char *event, long long milliseconds"),
)
