/* A stand-in for FuriosaAI's management library, written from its public header's names and struct layouts.
 * soname: libfuriosa_smi.so
 *
 * ULLAGE_FURIOSA_SCENARIO; see ../scenario.h and ../README.md. A value that is not given answers
 * NOT_SUPPORTED. -DOLD is an early release: performance counters without a core number, memory in use told.
 */
#define SCENARIO_ENV "ULLAGE_FURIOSA_SCENARIO"
#include "../scenario.h"

#include <stdbool.h>

enum { OK = 0, INVALID_ARGUMENT = 1, DEVICE_NOT_FOUND = 4, DEVICE_LOST = 5, UNINITIALIZED = 15, NOT_SUPPORTED = 17 };

typedef struct { uint32_t count; uint32_t handles[64]; } Handles;
typedef struct { uint32_t major, minor, patch; char metadata[96]; } Version;
typedef struct {
    uint32_t index, arch, core_num, numa_node;
    char name[96], serial[96], uuid[96], bdf[96];
    uint16_t major, minor;
    Version firmware_version, pert_version;
} Info;
typedef struct { uint32_t count; struct { uint32_t core, status; } core[128]; } Statuses;
typedef struct { uint32_t count; struct { uint32_t core, frequency; } pe[64]; } Frequencies;
#ifdef OLD
typedef struct { long timestamp; uint64_t cycles, busy; } Counter;
#else
typedef struct { long timestamp; uint32_t core; uint64_t cycles, busy; } Counter;
#endif
typedef struct { uint32_t count; Counter pe[64]; } Counters;
typedef struct { double soc_peak, ambient; } Temperature;
typedef struct {
    uint8_t generation; uint32_t width; double speed; uint32_t max_width; double max_speed;
} PcieLink;

static int initialized;

/* The scenario's name of a handle; one buffer, as the calls hold the lock or are alone. */
static const char *card(uint32_t handle) {
    static __thread char name[24];
    snprintf(name, sizeof name, "card %u", handle);
    return name;
}

static int begin(uint32_t handle, const char *function) {
    int code = enter(card(handle), function);
    if (code) return code;
    if (!initialized) return UNINITIALIZED;
    if (!exists(card(handle))) return DEVICE_NOT_FOUND;
    return find(card(handle), "lost") ? DEVICE_LOST : OK;
}

#define BEGIN(handle)                          \
    int code_ = begin((handle), __func__);     \
    if (code_) return leave(code_)

int furiosa_smi_init(void) {
    int code = enter("system", __func__);
    if (!code) initialized = 1;
    return leave(code);
}

int furiosa_smi_get_driver_info(Version *out) {
    int code = enter("system", __func__);
    if (code) return leave(code);
    const char *text = find("system", "driver");
    if (!text) return leave(NOT_SUPPORTED);
    memset(out, 0, sizeof *out);
    sscanf(text, "%u.%u.%u %95s", &out->major, &out->minor, &out->patch, out->metadata);
    return leave(OK);
}

int furiosa_smi_get_device_handles(Handles *out) {
    int code = enter("system", __func__);
    if (code) return leave(code);
    if (!initialized) return leave(UNINITIALIZED);
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < 64; i++)
        if (exists(card(i)) && !find(card(i), "gone")) out->handles[out->count++] = i;
    const char *wild = find("system", "count");
    if (wild) out->count = (uint32_t)strtoul(wild, NULL, 0);
    return leave(OK);
}

int furiosa_smi_get_device_info(uint32_t handle, Info *out) {
    BEGIN(handle);
    memset(out, 0, sizeof *out);
    const char *text;
    out->index = handle;
    out->arch = (text = find(card(handle), "arch")) ? (uint32_t)atoi(text) : 1;
    out->core_num = 8;
    out->numa_node = (text = find(card(handle), "numa_node")) ? (uint32_t)strtoul(text, NULL, 0) : 0;
    copy(out->name, sizeof out->name, find(card(handle), "name"));
    copy(out->serial, sizeof out->serial, find(card(handle), "serial"));
    copy(out->uuid, sizeof out->uuid, find(card(handle), "uuid"));
    copy(out->bdf, sizeof out->bdf, find(card(handle), "bdf"));
    if ((text = find(card(handle), "firmware")))
        sscanf(text, "%u.%u.%u %95s", &out->firmware_version.major, &out->firmware_version.minor,
               &out->firmware_version.patch, out->firmware_version.metadata);
    return leave(OK);
}

int furiosa_smi_get_device_liveness(uint32_t handle, bool *out) {
    BEGIN(handle);
    const char *text = find(card(handle), "alive");
    if (!text) return leave(NOT_SUPPORTED);
    *out = atoi(text) != 0;
    return leave(OK);
}

int furiosa_smi_get_device_core_status(uint32_t handle, Statuses *out) {
    BEGIN(handle);
    const char *text = find(card(handle), "occupied");
    if (!text) return leave(NOT_SUPPORTED);
    memset(out, 0, sizeof *out);
    out->count = 8;
    for (uint32_t i = 0; i < 8; i++) { out->core[i].core = i; out->core[i].status = i < (uint32_t)atoi(text); }
    return leave(OK);
}

int furiosa_smi_get_core_frequency(uint32_t handle, Frequencies *out) {
    BEGIN(handle);
    const char *text = find(card(handle), "core_mhz");
    if (!text) return leave(NOT_SUPPORTED);
    memset(out, 0, sizeof *out);
    out->count = 8;
    for (uint32_t i = 0; i < 8; i++) { out->pe[i].core = i; out->pe[i].frequency = (uint32_t)atoi(text); }
    return leave(OK);
}

int furiosa_smi_get_memory_frequency(uint32_t handle, uint32_t *out) {
    BEGIN(handle);
    const char *text = find(card(handle), "memory_mhz");
    if (!text) return leave(NOT_SUPPORTED);
    *out = (uint32_t)atoi(text);
    return leave(OK);
}

/* counters STAMP CYCLES BUSY: the same for all eight cores, busy growing by the core's number */
int furiosa_smi_get_device_performance_counter(uint32_t handle, Counters *out) {
    BEGIN(handle);
    const char *text = find(card(handle), "counters");
    long stamp;
    unsigned long long cycles, busy;
    if (!text || sscanf(text, "%ld %llu %llu", &stamp, &cycles, &busy) != 3) return leave(NOT_SUPPORTED);
    memset(out, 0, sizeof *out);
    const char *cores = find(card(handle), "cores");
    out->count = cores ? (uint32_t)strtoul(cores, NULL, 0) : 8;
    for (uint32_t i = 0; i < 8; i++) {
        out->pe[i].timestamp = stamp;
#ifndef OLD
        out->pe[i].core = i;
#endif
        out->pe[i].cycles = cycles;
        out->pe[i].busy = busy;
    }
    return leave(OK);
}

int furiosa_smi_get_device_power_consumption(uint32_t handle, double *out) {
    BEGIN(handle);
    const char *text = find(card(handle), "power");
    if (!text) return leave(NOT_SUPPORTED);
    *out = strtod(text, NULL);
    return leave(OK);
}

int furiosa_smi_get_device_temperature(uint32_t handle, Temperature *out) {
    BEGIN(handle);
    const char *text = find(card(handle), "temperature");
    if (!text || sscanf(text, "%lf %lf", &out->soc_peak, &out->ambient) != 2) return leave(NOT_SUPPORTED);
    return leave(OK);
}

int furiosa_smi_get_governor_profile(uint32_t handle, uint32_t *out) {
    BEGIN(handle);
    const char *text = find(card(handle), "governor");
    if (!text) return leave(NOT_SUPPORTED);
    *out = (uint32_t)atoi(text);
    return leave(OK);
}

int furiosa_smi_get_pcie_link_info(uint32_t handle, PcieLink *out) {
    BEGIN(handle);
    const char *text = find(card(handle), "pcie");
    unsigned generation, width, max_width;
    if (!text || sscanf(text, "%u %u %u", &generation, &width, &max_width) != 3) return leave(NOT_SUPPORTED);
    memset(out, 0, sizeof *out);
    out->generation = (uint8_t)generation;
    out->width = width;
    out->speed = 32.0;
    out->max_width = max_width;
    out->max_speed = 32.0;
    return leave(OK);
}

#ifdef OLD
typedef struct { uint64_t total, used; } Memory;

int furiosa_smi_get_memory_utilization(uint32_t handle, Memory *out) {
    BEGIN(handle);
    const char *text = find(card(handle), "memory");
    unsigned long long total, used;
    if (!text || sscanf(text, "%llu %llu", &total, &used) != 2) return leave(NOT_SUPPORTED);
    out->total = total;
    out->used = used;
    return leave(OK);
}
#endif
