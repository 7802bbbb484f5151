/* A stand-in for Hygon's virtual devices, written from the public names and layouts of dmi_virtual.h.
 * soname: libhydmi.so.1
 *
 * ULLAGE_HYGON_SCENARIO, the same file as the cards': "vdcu 2 card 0", "vdcu 2 cus 20", memory_total, memory_used,
 * busy, container; "card 0 cus 60" is the whole card. Numbers of vDCUs may have gaps, as after one was destroyed.
 */
#define SCENARIO_ENV "ULLAGE_HYGON_SCENARIO"
#include "../scenario.h"

enum { OK = 0, OPEN_FAILED = 3, NOT_SUPPORTED = 6, NO_SUCH_VDEV = 15 };

typedef struct {
    char name[256];
    int compute_unit_count;
    size_t global_mem_size, usage_mem_size;
    uint64_t container_id;
    int device_id;
} Info;

static const char *thing(const char *what, int number_of) {
    static __thread char name[24];
    snprintf(name, sizeof name, "%s %d", what, number_of);
    return name;
}

int dmiGetVDeviceCount(int *out) {
    int code = enter(NULL, __func__);
    if (code) return leave(code);
    *out = 0;
    for (int i = 0; i < 64; i++) *out += exists(thing("vdcu", i));
    return leave(OK);
}

static int fill(const char *what, int id, Info *out) {
    if (!exists(thing(what, id))) return NO_SUCH_VDEV;
    const char *name = thing(what, id);
    memset(out, 0, sizeof *out);
    copy(out->name, sizeof out->name, "DCU");
    out->compute_unit_count = (int)number(name, "cus", 0);
    out->global_mem_size = (size_t)number(name, "memory_total", 0);
    out->usage_mem_size = (size_t)number(name, "memory_used", 0);
    out->container_id = (uint64_t)number(name, "container", 0);
    out->device_id = (int)number(name, "card", id);
    return OK;
}

int dmiGetDeviceInfo(int id, Info *out) {
    int code = enter(thing("card", id), __func__);
    return leave(code ? code : fill("card", id, out));
}

int dmiGetVDeviceInfo(int id, Info *out) {
    int code = enter(thing("vdcu", id), __func__);
    return leave(code ? code : fill("vdcu", id, out));
}

int dmiGetVDevBusyPercent(int id, int *out) {
    int code = enter(thing("vdcu", id), __func__);
    if (code) return leave(code);
    const char *text = find(thing("vdcu", id), "busy");
    if (!text) return leave(NOT_SUPPORTED);
    *out = atoi(text);
    return leave(OK);
}
