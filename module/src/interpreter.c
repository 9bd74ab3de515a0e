/* CPython inside redis-server: bring-up, and the way from C threads into Python.
 *
 * The interpreter is isolated: environment variables, the working directory and
 * the user's site directory do not reach it. It starts without `site` and with
 * only the compiled event-loop modules imported, so that a server that never
 * runs a model pays a few milliseconds; site-packages come with the first worker. */
#include <Python.h>

#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "command_table.h"
#include "commands.h"
#include "compiled_modules.h"
#include "internal.h"

#define DECLARE(package, name) PyMODINIT_FUNC PyInit_##name(void);
COMPILED_MODULES(DECLARE)

static pthread_once_t worker_import = PTHREAD_ONCE_INIT;
static char worker_import_error[512]; /* empty: the worker side is imported */
static enum { NOT_YET, IMPORTED, BROKEN } worker_side;

static int fail(RedisModuleCtx *ctx, const char *what, const char *why) {
    RedisModule_Log(ctx, "warning", "could not start Python: %s%s%s", what, why ? ": " : "", why ? why : "");
    return REDISMODULE_ERR;
}

/* Describes and clears the current Python exception. */
static void describe_exception(char *text, size_t room) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *message = value ? PyObject_Str(value) : NULL;
    const char *utf8 = message ? PyUnicode_AsUTF8(message) : NULL;
    const char *name = type ? ((PyTypeObject *)type)->tp_name : "unknown error";
    PyOS_snprintf(text, room, "%s: %s", name, utf8 ? utf8 : "");
    PyErr_Clear();
    Py_XDECREF(message);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

static PyStatus configure(PyConfig *config, const char *python) {
    static char *const argv[] = {"redis-server"};
    PyConfig_InitIsolatedConfig(config);
    config->install_signal_handlers = 0;
    config->site_import = 0; /* the first worker does it */
    config->parse_argv = 0;
    config->write_bytecode = 1;
    config->configure_c_stdio = 0;
    PyStatus status = PyConfig_SetBytesString(config, &config->executable, python);
    if (PyStatus_Exception(status)) return status;
    status = PyConfig_SetBytesString(config, &config->program_name, python);
    if (PyStatus_Exception(status)) return status;
    return PyConfig_SetBytesArgv(config, 1, argv);
}

static PyStatus initialize(const char *python) {
    PyPreConfig pre;
    PyPreConfig_InitIsolatedConfig(&pre);
    pre.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&pre);
    if (PyStatus_Exception(status)) return status;
    PyConfig config;
    status = configure(&config, python);
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return status;
}

/* Makes the package that holds us importable and imports the event-loop side. */
static int import_event_loop(const char *module_dir) {
    PyObject *path = PySys_GetObject("path"); /* borrowed */
    const char *slash = strrchr(module_dir, '/');
    PyObject *root = PyUnicode_DecodeFSDefaultAndSize(module_dir, slash ? slash - module_dir : 0);
    if (!path || !root || PyList_Insert(path, 0, root) != 0) return -1;
    Py_DECREF(root);
    /* The finder that lets the import system see the modules linked into this library. */
    PyObject *finder = PyImport_ImportModule("redisai_py.linked");
    if (!finder) return -1;
    Py_DECREF(finder);
#define IMPORT(package, name)                                                         \
    if (strcmp(#package, "eventloop") == 0) {                                         \
        PyObject *imported = PyImport_ImportModule("redisai_py." #package "." #name); \
        if (!imported) return -1;                                                     \
        Py_DECREF(imported);                                                          \
    }
    COMPILED_MODULES(IMPORT)
    return 0;
}

int rai_interpreter_start(RedisModuleCtx *ctx, const char *module_dir, const char *python) {
    static int started; /* by a load that failed later */
    if (started) return REDISMODULE_OK;
#define APPEND(package, name)                                                         \
    if (PyImport_AppendInittab("redisai_py." #package "." #name, PyInit_##name) != 0) \
        return fail(ctx, "no memory", NULL);
    COMPILED_MODULES(APPEND)
    PyStatus status = initialize(python);
    if (PyStatus_Exception(status)) return fail(ctx, status.func ? status.func : "interpreter", status.err_msg);
    char error[512];
    int failed = import_event_loop(module_dir);
    if (failed) describe_exception(error, sizeof(error));
    /* From here on the main thread never holds the GIL again. */
    PyEval_SaveThread();
    started = !failed;
    return failed ? fail(ctx, module_dir, error) : REDISMODULE_OK;
}

/* ---- from C threads into Python ----------------------------------------- */

static void import_worker_side(void) {
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *site = PyImport_ImportModule("site");
    PyObject *done = site ? PyObject_CallMethod(site, "main", NULL) : NULL;
    PyObject *entry = done ? PyImport_ImportModule("redisai_py.worker.entry") : NULL;
    if (!entry) describe_exception(worker_import_error, sizeof(worker_import_error));
    Py_XDECREF(entry);
    Py_XDECREF(done);
    Py_XDECREF(site);
    PyGILState_Release(gil);
    if (worker_import_error[0]) rai_log("warning", worker_import_error);
    rai_exit_quickly();
    __atomic_store_n(&worker_side, entry ? IMPORTED : BROKEN, __ATOMIC_RELEASE);
}

/* What a worker does when its Python side cannot be imported: it answers. */
static void refuse_jobs(rai_queue *queue) {
    char text[600];
    int length = snprintf(text, sizeof(text), "ERR the Python side of the module is broken: %s", worker_import_error);
    for (;;) {
        rai_job *job;
        int64_t cancelled, cancelled_count;
        if (rai_queue_take(queue, &job, 1, &cancelled, 1, &cancelled_count, INT64_MAX) == 0) continue;
        if (job->kind == RAI_JOB_LOAD) rai_model_loaded(job->model, NULL, text, (size_t)length);
        rai_job_fail(job, text, (size_t)length);
        rai_jobs_complete(&job, 1);
    }
}

void rai_serve_queue(rai_queue *queue) {
    pthread_once(&worker_import, import_worker_side);
    if (worker_import_error[0] == 0) {
        rai_python_worker(queue);
        strcpy(worker_import_error, "a worker has ended, see the log");
    }
    refuse_jobs(queue);
}

/* Answers calls, and forgets everything else, when the Python side of the flows is gone. */
static void refuse_calls(void) {
    char node[700];
    int length = snprintf(node + 9, sizeof(node) - 9, "ERR flows do not run: %s", worker_import_error);
    int64_t size = length + 1; /* with the NUL */
    node[0] = '-';
    memcpy(node + 1, &size, sizeof(size));
    for (;;) {
        struct pollfd readable = {rai_flows_descriptor(), POLLIN, 0};
        if (poll(&readable, 1, -1) < 0) continue;
        rai_flow_message *next, *message = rai_flows_take();
        for (; message; message = next) {
            next = message->next;
            if (message->kind == RAI_FLOW_CALLED) {
                rai_flow_reply(message->job, node, sizeof(size) + 1 + (size_t)size, NULL, 0);
                rai_jobs_complete(&message->job, 1);
            }
            rai_flow_message_free(message);
        }
    }
}

void rai_serve_flows(void) {
    pthread_once(&worker_import, import_worker_side);
    if (worker_import_error[0] == 0) {
        rai_python_flows();
        strcpy(worker_import_error, "their thread has ended, see the log");
    }
    refuse_calls();
}

int64_t rai_check_runs(int64_t now_us) {
    enum { LATER_US = 100000 };
    int side = __atomic_load_n(&worker_side, __ATOMIC_ACQUIRE);
    if (side == IMPORTED) return rai_python_watchdog(now_us);
    return side == BROKEN ? INT64_MAX : now_us + LATER_US;
}
