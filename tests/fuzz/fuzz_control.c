/* What anybody on the machine may send to the control socket: the input as one message, from a peer
 * of each level, over a made-up server. Also checks that whatever json-c accepted behind our check
 * comes back as valid JSON. Run: CC=clang meson setup build-fuzz -Dfuzz=true
 * -Db_sanitize=address,undefined -Db_lundef=false, then build-fuzz/tests/fuzz/fuzz_control
 * tests/fuzz/corpus_control */
#include <string.h>

#include "base/log.h"
#include "control/control_dispatch.h"
#include "control/control_json.h"
#include "support/control_fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check_reply(void *sink, struct json_object *reply)
{
    size_t bytes;
    const char *text = json_object_to_json_string_length(
        reply, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &bytes);
    struct err e = ERR_INIT;

    (void) sink;
    ASSERT(strlen(text) == bytes);
    ASSERT(control_json_check(text, bytes, &e) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct control_fake fake;
    struct control_view view;
    struct err e = ERR_INIT;

    log_set_min(LOG_LEVEL_PANIC);
    control_fake_init(&fake);
    view = control_fake_view(&fake);
    for (int who = WHO_PUBLIC; who <= WHO_ADMIN; who++) {
        struct control_peer peer = { .uid = 1000, .who = (enum control_who) who };
        struct control_call call = { .view = &view, .peer = &peer, .send = check_reply };
        if (control_dispatch(&call, (const char *) p, n, &e) == CONTROL_PARKED) {
            (void) control_call_poll(&call, true);
            control_call_finish(&call, false);
        }
        control_call_done(&call);
    }
    return 0;
}
