/* The records of control_view.h as JSON, and the interface descriptions that say what they are.
 * Runs in: postmaster (and tests).
 * Owns: nothing.
 * Source: systemd-ops 2.4 (traps of the IDL parser), 2.7. */
#include <stdio.h>
#include <string.h>

#include "control/control.h"
#include "control/control_json.h"
#include "control/control_methods.h"

/* 0 means unknown: left out. */
static void
add_known(struct json_object *o, const char *key, uint64_t v)
{
    if (v != 0)
        control_json_add_int(o, key, (int64_t) v);
}

static void
add_list(struct json_object *o, const char *key, const char *const *names)
{
    if (names[0] == NULL)
        return;
    struct json_object *list = json_object_new_array();
    for (; *names != NULL; names++)
        (void) json_object_array_add(list, control_json_string(*names));
    json_object_object_add(o, key, list);
}

struct json_object *
control_progress_object(const struct control_progress *p)
{
    struct json_object *o = json_object_new_object();

    control_json_add_str(o, "phase", p->phase);
    if (p->unit != NULL) {
        control_json_add_int(o, "done", (int64_t) p->done);
        add_known(o, "total", p->total);
        control_json_add_str(o, "unit", p->unit);
    }
    if (p->total > 0) {
        /* One digit, written by us: json-c would print seventeen. */
        uint64_t permille = p->done >= p->total ? 1000 : p->done * 1000 / p->total;
        char text[16];
        (void) snprintf(text, sizeof text, "%u.%u", (unsigned) (permille / 10),
                        (unsigned) (permille % 10));
        json_object_object_add(o, "percent",
                               json_object_new_double_s((double) permille / 10.0, text));
    }
    control_json_add_int(o, "elapsedUSec", (int64_t) p->elapsed_usec);
    add_known(o, "remainingUSec", p->remaining_usec);
    control_json_add_str(o, "message", p->message);
    return o;
}

static struct json_object *
checkpoint_object(const struct control_checkpoint *c)
{
    struct json_object *o = json_object_new_object();
    struct json_object *cause = json_object_new_array();

    for (const char *const *name = c->cause; *name != NULL; name++)
        (void) json_object_array_add(cause, json_object_new_string(*name));
    json_object_object_add(o, "cause", cause);
    control_json_add_int(o, "startedUSec", (int64_t) c->started_usec);
    control_json_add_int(o, "durationUSec", (int64_t) c->duration_usec);
    add_known(o, "writeUSec", c->write_usec);
    add_known(o, "syncUSec", c->sync_usec);
    control_json_add_int(o, "buffersWritten", (int64_t) c->buffers_written);
    add_known(o, "segmentsAdded", c->segments_added);
    add_known(o, "segmentsRemoved", c->segments_removed);
    add_known(o, "segmentsRecycled", c->segments_recycled);
    control_json_add_lsn(o, "redoLsn", c->redo_lsn);
    control_json_add_lsn(o, "lsn", c->lsn);
    return o;
}

/* What only monitors see. */
static void
add_private(struct json_object *o, const struct control_status *s)
{
    const char *invocation =
        getenv("INVOCATION_ID"); /* NOLINT(concurrency-mt-unsafe): one thread */
    char text[32];

    control_json_add_str(o, "invocationId", invocation);
    control_json_add_str(o, "dataDirectory", s->data_directory);
    if (s->system_identifier != 0) {
        (void) snprintf(text, sizeof text, "%" PRIu64, s->system_identifier);
        control_json_add_str(o, "systemIdentifier", text);
    }
    add_list(o, "listen", s->listen);
    if (s->connections >= 0)
        control_json_add_int(o, "connections", s->connections);
    if (s->connections_max >= 0)
        control_json_add_int(o, "connectionsMax", s->connections_max);
}

static void
add_config(struct json_object *o, const struct control_status *s)
{
    if (s->config_generation == 0)
        return;
    control_json_add_int(o, "configGeneration", (int64_t) s->config_generation);
    json_object_object_add(o, "configValid", json_object_new_boolean(s->config_valid));
    add_known(o, "configLoadedUSec", s->config_loaded_usec);
    add_list(o, "pendingRestart", s->pending_restart);
}

static struct json_object *
storage_object(const struct control_storage *s)
{
    struct json_object *o = json_object_new_object();

    control_json_add_str(o, "name", s->name);
    control_json_add_int(o, "freeBytes", (int64_t) s->free_bytes);
    control_json_add_int(o, "totalBytes", (int64_t) s->total_bytes);
    json_object_object_add(o, "low", json_object_new_boolean(s->is_low));
    json_object_object_add(o, "full", json_object_new_boolean(s->full_since_usec != 0));
    add_known(o, "fullSinceUSec", s->full_since_usec);
    control_json_add_int(o, "refusals", (int64_t) s->refusals);
    control_json_add_str(o, "lastError", s->error);
    add_known(o, "lastErrorUSec", s->refused_usec);
    return o;
}

static void
add_storage(struct json_object *o, const struct control_status *s)
{
    struct json_object *list;

    if (s->n_storages == 0)
        return;
    list = json_object_new_array();
    for (int i = 0; i < s->n_storages; i++)
        (void) json_object_array_add(list, storage_object(&s->storages[i]));
    json_object_object_add(o, "storage", list);
}

/* Frames are of 8192 bytes here, as shared_buffers counts. */
static uint64_t
bytes_left(const struct control_status *s)
{
    uint64_t limit = s->cache[CACHE_COUNT_OVER_LIMIT], used = s->cache[CACHE_COUNT_OVER_USED];

    return s->cache[CACHE_COUNT_FRAMES_FREE] * PAGE_BYTES + (limit > used ? limit - used : 0);
}

static void
add_cache(struct json_object *o, const struct control_status *s)
{
    static const char *const names[CACHE_COUNTS] = {
/* clang-format off */
#define CACHE_COUNT(id, name, comment) [CACHE_COUNT_##id] = #name,
#include "tbl/cache_counts.def"
#undef CACHE_COUNT
        /* clang-format on */
    };
    struct json_object *cache;

    if (s->cache[CACHE_COUNT_FRAMES] == 0)
        return;
    cache = json_object_new_object();
    for (int i = 0; i < CACHE_COUNTS; i++)
        control_json_add_int(cache, names[i], (int64_t) s->cache[i]);
    control_json_add_int(cache, "bytesLeft", (int64_t) bytes_left(s));
    json_object_object_add(o, "cache", cache);
}

struct json_object *
control_status_object(const struct control_status *s, enum control_who who)
{
    struct json_object *o = json_object_new_object();

    control_json_add_str(o, "instance", s->instance != NULL ? s->instance : "");
    control_json_add_str(o, "version", PINION_VERSION);
    control_json_add_str(o, "state", control_state_name(s->state));
    control_json_add_str(o, "pmState", s->pm_state);
    control_json_add_str(o, "role", s->role);
    control_json_add_int(o, "stateSinceUSec", (int64_t) s->state_since_usec);
    control_json_add_int(o, "startedUSec", (int64_t) s->started_usec);
    add_known(o, "readyUSec", s->ready_usec);
    control_json_add_int(o, "mainPid", s->main_pid);
    control_json_add_str(o, "unit", s->unit);
    if (who >= WHO_MONITOR)
        add_private(o, s);
    add_config(o, s);
    add_known(o, "timeline", s->timeline);
    control_json_add_lsn(o, "insertLsn", s->insert_lsn);
    control_json_add_lsn(o, "flushLsn", s->flush_lsn);
    control_json_add_lsn(o, "replayLsn", s->replay_lsn);
    control_json_add_lsn(o, "visibleLsn", s->visible_lsn);
    if (s->crash_restarts >= 0)
        control_json_add_int(o, "crashRestarts", s->crash_restarts);
    add_known(o, "refusedDatabases", s->refused_databases);
    if (s->checkpoint.lsn != 0)
        json_object_object_add(o, "lastCheckpoint", checkpoint_object(&s->checkpoint));
    if (s->progress.phase[0] != '\0')
        json_object_object_add(o, "progress", control_progress_object(&s->progress));
    add_storage(o, s);
    add_cache(o, s);
    return o;
}

static const char idl_service[] =
    "# The interface every Varlink service has.\n"
    "interface org.varlink.service\n"
    "\n"
    "method GetInfo() -> (vendor: string, product: string, version: string, url: string, "
    "interfaces: []string)\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n"
    "\n"
    "error InterfaceNotFound (interface: string)\n"
    "error MethodNotFound (method: string)\n"
    "error MethodNotImplemented (method: string)\n"
    "error InvalidParameter (parameter: string)\n"
    "error PermissionDenied ()\n"
    "error ExpectedMore ()\n"
    "error ExpectedUpgrade ()\n";

/* No comment may follow the last field of a struct, and no enum value may have a dash
 * (systemd-ops 2.4). */
static const char idl_control_head[] =
    "# Control and monitoring interface of one Pinion instance.\n"
    "interface org.pinion.Control\n"
    "\n"
    "# Life-cycle state of the instance. Clients must tolerate unknown values.\n"
    "type State (";
static const char idl_control_types[] =
    ")\n"
    "type Role (primary, standby)\n"
    "\n"
    "# Progress of the phase that is running right now. Unknown quantities are omitted.\n"
    "type Progress (\n"
    "\t# machine readable phase name, e.g. redo, fsync, shutdown_checkpoint\n"
    "\tphase: string, done: ?int, total: ?int,\n"
    "\t# unit of done and total: bytes, buffers, files, pages, clients, processes\n"
    "\tunit: ?string, percent: ?float, elapsedUSec: int, remainingUSec: ?int,\n"
    "\t# one line for people, identical to the STATUS= text sent to the service manager\n"
    "\tmessage: string\n"
    ")\n"
    "type ConfigProblem (file: ?string, line: ?int, setting: ?string, severity: (error, warning), "
    "message: string, hint: ?string)\n"
    "# Of one finished checkpoint.\n"
    "type CheckpointInfo (\n"
    "\t# why it was asked for: time, wal, immediate, shutdown, end_of_recovery, force\n"
    "\tcause: []string, startedUSec: int, durationUSec: int, writeUSec: ?int, syncUSec: ?int,\n"
    "\tbuffersWritten: int, segmentsAdded: ?int, segmentsRemoved: ?int, segmentsRecycled: ?int,\n"
    "\tredoLsn: ?string, lsn: string\n"
    ")\n"
    "# A file system that the server writes to, measured every few seconds.\n"
    "type Storage (\n"
    "\t# wal: that of pg_wal; data: that of the databases\n"
    "\tname: string, freeBytes: int, totalBytes: int,\n"
    "\t# less is free than low_space_warning says\n"
    "\tlow: bool,\n"
    "\t# something did not fit, and nothing has fitted since; statements that write fail with "
    "53100\n"
    "\tfull: bool, fullSinceUSec: ?int, refusals: int, lastError: ?string, lastErrorUSec: ?int\n"
    ")\n"
    "# The page cache; counts since the shared memory was made, not older than some seconds.\n"
    "type Cache (\n"
/* clang-format off */
#define CACHE_COUNT(id, name, comment) "\t# " comment "\n\t" #name ": int,\n"
#include "tbl/cache_counts.def"
#undef CACHE_COUNT
    /* clang-format on */
    "\t# what free frames and the overflow can still take\n"
    "\tbytesLeft: int\n"
    ")\n"
    "type Status (\n"
    "\tinstance: string, version: string, state: State,\n"
    "\t# PostgreSQL's name of the postmaster state, e.g. PM_RUN\n"
    "\tpmState: string, role: ?Role,\n"
    "\tstateSinceUSec: int, startedUSec: int, readyUSec: ?int, mainPid: ?int,\n"
    "\t# value of $INVOCATION_ID, for journalctl _SYSTEMD_INVOCATION_ID=\n"
    "\tinvocationId: ?string, unit: ?string, dataDirectory: ?string, systemIdentifier: ?string,\n"
    "\tlisten: ?[]string, connections: ?int, connectionsMax: ?int,\n"
    "\tconfigGeneration: ?int, configValid: ?bool, configLoadedUSec: ?int, "
    "pendingRestart: ?[]string,\n"
    "\ttimeline: ?int, insertLsn: ?string, flushLsn: ?string, replayLsn: ?string,\n"
    "\tcrashRestarts: ?int, lastCheckpoint: ?CheckpointInfo, progress: ?Progress,\n"
    "\t# found damaged by the verification at the start: nobody can log in to them\n"
    "\trefusedDatabases: ?int,\n"
    "\tstorage: ?[]Storage, cache: ?Cache,\n"
    "\t# newest LSN a statement outside a write transaction may be shown\n"
    "\tvisibleLsn: ?string\n"
    ")\n"
    "type Process (\n"
    "\tpid: int, role: string, state: ?string, startedUSec: int,\n"
    "\t# age of the last heartbeat, of processes that are watched; a critical one has to show life "
    "all the\n\t# time, the others have as long as a call to storage\n"
    "\theartbeatAgeUSec: ?int,\n"
    "\tcritical: bool, database: ?string, user: ?string, client: ?string\n"
    ")\n"
    "# Something that happened to the server; a line of the file pinion_history.\n"
    "type HistoryEntry (\n"
    "\t# start, ready, promotion, crash, reload, reload_failed, stop, stop_canceled, stopped\n"
    "\ttimeUSec: int, event: string, message: string,\n"
    "\t# of the postmaster\n"
    "\tpid: ?int,\n"
    "\t# who asked for it, and why in his words\n"
    "\tby: ?string, reason: ?string, timeline: ?int\n"
    ")\n"
    "type Setting (\n"
    "\t# as SHOW prints it; initial: the built-in default\n"
    "\tname: string, value: ?string, initial: string,\n"
    "\t# default, configuration file, command line\n"
    "\tsource: string, file: ?string, line: ?int,\n"
    "\t# who may change it and when: internal, postmaster, sighup, superuser, user\n"
    "\tcontext: string, description: string,\n"
    "\t# the files hold another value, which a restart applies\n"
    "\tpendingRestart: bool\n"
    ")\n"
    "\n";

/* The methods come from their table, so the text lists exactly what there is. */
static void
print_methods(FILE *f)
{
    static const struct {
        const char *interface, *name, *signature, *comment;
    } rows[] = {
/* clang-format off */
#define CONTROL_METHOD(id, iface, name, who, valid, more, sig, comment) { iface, #name, sig, comment },
#include "tbl/control_methods.def"
#undef CONTROL_METHOD
        /* clang-format on */
    };
    static const struct {
        const char *name, *fields;
    } errors[] = {
/* clang-format off */
#define CONTROL_ERROR(id, name, fields, exit) { name, fields },
#include "tbl/control_errors.def"
#undef CONTROL_ERROR
        /* clang-format on */
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        if (strcmp(rows[i].interface, "org.pinion.Control") == 0)
            (void) fprintf(f, "%smethod %s%s\n", rows[i].comment, rows[i].name, rows[i].signature);
    }
    (void) fputc('\n', f);
    for (size_t i = 0; i < ELEMENTSOF(errors); i++)
        (void) fprintf(f, "error %s %s\n", errors[i].name, errors[i].fields);
}

char *
control_idl(const char *interface)
{
    char states[512] = "";
    char *text = NULL;
    size_t bytes = 0;

    if (strcmp(interface, "org.varlink.service") == 0)
        return strdup(idl_service);
    if (strcmp(interface, "org.pinion.Control") != 0)
        return NULL;

    for (int i = 0; i < CONTROL_STATES; i++) {
        (void) strncat(states, i > 0 ? ", " : "", sizeof states - strlen(states) - 1);
        (void) strncat(states, control_state_name((enum control_state) i),
                       sizeof states - strlen(states) - 1);
    }
    FILE *f = open_memstream(&text, &bytes);
    if (f == NULL)
        return NULL;
    (void) fprintf(f, "%s%s%s", idl_control_head, states, idl_control_types);
    print_methods(f);
    (void) fclose(f);
    return text;
}
