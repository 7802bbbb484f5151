/* A stand-in for Hygon's librocm_smi64, written from the public header's names and struct layouts
 * (rocm_smi.h as HYGON-AI/dcu-dcgm ships it).
 * soname: librocm_smi64.so.2
 *
 * ULLAGE_HYGON_SCENARIO; see ../scenario.h and ../README.md. A value that is not given answers NOT_SUPPORTED.
 * -DOLD_COUNTS is an early release: error counts of two numbers, and no window functions.
 */
#define SCENARIO_ENV "ULLAGE_HYGON_SCENARIO"
#include "../scenario.h"

enum { OK = 0, INVALID_ARGS = 1, NOT_SUPPORTED = 2, INIT_ERROR = 8, INSUFFICIENT_SIZE = 11, UNEXPECTED_DATA = 15 };

#ifdef OLD_COUNTS
typedef struct { uint64_t correctable, uncorrectable; } ErrorCount;
#else
typedef struct { uint64_t correctable, uncorrectable, deferred, reserved[5]; } ErrorCount;
#endif
typedef struct { uint32_t process_id, pasid; uint64_t vram_usage, sdma_usage; uint32_t cu_occupancy; } ProcessInfo;
typedef struct { uint64_t page_address, page_size; int status; } PageRecord;

static int initialized;

static const char *card(uint32_t dv) {
    static __thread char name[24];
    snprintf(name, sizeof name, "card %u", dv);
    return name;
}

static int begin(uint32_t dv, const char *function) {
    int code = enter(card(dv), function);
    if (code) return code;
    if (!initialized) return INIT_ERROR;
    return exists(card(dv)) ? OK : INVALID_ARGS;
}

#define BEGIN(dv)                              \
    int code_ = begin((dv), __func__);         \
    if (code_) return leave(code_)

static int wide(uint32_t dv, const char *key, uint64_t *out) {
    const char *text = find(card(dv), key);
    if (!text) return NOT_SUPPORTED;
    *out = *text == '-' ? (uint64_t)strtoll(text, NULL, 0) : strtoull(text, NULL, 0);
    return OK;
}

int rsmi_init(uint64_t flags) {
    (void)flags;
    int code = enter(NULL, __func__);
    if (!code) initialized = 1;
    return leave(code);
}

int rsmi_shut_down(void) {
    int code = enter(NULL, __func__);
    initialized = 0;
    return leave(code);
}

int rsmi_num_monitor_devices(uint32_t *out) {
    int code = enter(NULL, __func__);
    if (code) return leave(code);
    if (!initialized) return leave(INIT_ERROR);
    for (*out = 0; exists(card(*out)); ++*out) {}
    return leave(OK);
}

int rsmi_dev_pci_id_get(uint32_t dv, uint64_t *out) { BEGIN(dv); return leave(wide(dv, "bdf", out)); }
int rsmi_dev_unique_id_get(uint32_t dv, uint64_t *out) { BEGIN(dv); return leave(wide(dv, "unique_id", out)); }

static int text(uint32_t dv, const char *key, char *out, size_t length) {
    const char *found = find(card(dv), key);
    if (!found) return NOT_SUPPORTED;
    if (strlen(found) + 1 > length) return INSUFFICIENT_SIZE;
    copy(out, length, found);
    return OK;
}

int rsmi_dev_serial_number_get(uint32_t dv, char *out, uint32_t length) { BEGIN(dv); return leave(text(dv, "serial", out, length)); }
int rsmi_dev_name_get(uint32_t dv, char *out, size_t length) { BEGIN(dv); return leave(text(dv, "name", out, length)); }
int rsmi_dev_vbios_version_get(uint32_t dv, char *out, uint32_t length) { BEGIN(dv); return leave(text(dv, "vbios", out, length)); }

int rsmi_version_str_get(int component, char *out, uint32_t length) {
    int code = enter(NULL, __func__);
    if (code) return leave(code);
    const char *found = component == 0 ? find("system", "driver") : NULL;
    if (!found) return leave(NOT_SUPPORTED);
    copy(out, length, found);
    return leave(OK);
}

int rsmi_dev_busy_percent_get(uint32_t dv, uint32_t *out) {
    BEGIN(dv);
    uint64_t value;
    int code = wide(dv, "busy", &value);
    if (!code) *out = (uint32_t)value;
    return leave(code);
}

int rsmi_dev_memory_busy_percent_get(uint32_t dv, uint32_t *out) {
    BEGIN(dv);
    uint64_t value;
    int code = wide(dv, "memory_busy", &value);
    if (!code) *out = (uint32_t)value;
    return leave(code);
}

#ifndef OLD_COUNTS
static int window(uint32_t dv, const char *key, uint32_t milliseconds, float *out) {
    const char *found = find(card(dv), key);
    if (!found) return NOT_SUPPORTED;
    usleep(milliseconds * 1000);
    *out = strtof(found, NULL);
    return OK;
}
int rsmi_dev_hcu_util_get(uint32_t dv, uint32_t ms, float *out) { BEGIN(dv); return leave(window(dv, "hcu_util", ms, out)); }
int rsmi_dev_cu_util_get(uint32_t dv, uint32_t ms, float *out) { BEGIN(dv); return leave(window(dv, "cu_util", ms, out)); }
#endif

int rsmi_dev_memory_total_get(uint32_t dv, int type, uint64_t *out) {
    BEGIN(dv);
    return leave(type == 0 ? wide(dv, "memory_total", out) : NOT_SUPPORTED);
}

int rsmi_dev_memory_usage_get(uint32_t dv, int type, uint64_t *out) {
    BEGIN(dv);
    return leave(type == 0 ? wide(dv, "memory_used", out) : NOT_SUPPORTED);
}

int rsmi_dev_power_ave_get(uint32_t dv, uint32_t sensor, uint64_t *out) { (void)sensor; BEGIN(dv); return leave(wide(dv, "power_uw", out)); }
int rsmi_dev_power_cap_get(uint32_t dv, uint32_t sensor, uint64_t *out) { (void)sensor; BEGIN(dv); return leave(wide(dv, "power_cap_uw", out)); }
int rsmi_dev_pci_replay_counter_get(uint32_t dv, uint64_t *out) { BEGIN(dv); return leave(wide(dv, "replays", out)); }

int rsmi_dev_power_get(uint32_t dv, uint64_t *out, int *type) {
    BEGIN(dv);
    *type = 1;
    return leave(wide(dv, "power_now_uw", out));
}

int rsmi_dev_temp_metric_get(uint32_t dv, uint32_t sensor, int metric, int64_t *out) {
    BEGIN(dv);
    char key[32];
    uint64_t value;
    snprintf(key, sizeof key, metric == 5 ? "crit_%u" : "temp_%u", sensor);
    int code = wide(dv, key, &value);
    if (!code) *out = (int64_t)value;
    return leave(code);
}

int rsmi_dev_ecc_count_get(uint32_t dv, uint64_t block, ErrorCount *out) {
    BEGIN(dv);
    char key[40];
    snprintf(key, sizeof key, "ecc_%llu", (unsigned long long)block);
    const char *found = find(card(dv), key);
    if (!found) return leave(NOT_SUPPORTED);
    memset(out, 0, sizeof *out);
    out->correctable = (uint64_t)part(found, 0, 0);
    out->uncorrectable = (uint64_t)part(found, 1, 0);
#ifndef OLD_COUNTS
    out->deferred = (uint64_t)part(found, 2, 0);
#endif
    return leave(OK);
}

/* card N pages "R P F": how many of each */
int rsmi_dev_memory_reserved_pages_get(uint32_t dv, uint32_t *count, PageRecord *out) {
    BEGIN(dv);
    const char *found = find(card(dv), "pages");
    if (!found) return leave(NOT_SUPPORTED);
    uint32_t most = out ? *count : 0, n = 0;
    for (int status = 0; status < 3; status++)
        for (int i = 0; i < (int)part(found, status, 0); i++, n++)
            if (n < most) out[n] = (PageRecord){0x1000ull * n, 4096, status};
    *count = n;
    return leave(OK);
}

/* process PID cards "0 2" and process PID vram_<card> BYTES; the list itself carries no sizes, as recent drivers */
static uint32_t pids(uint32_t *out, uint32_t most) {
    uint32_t n = 0;
    for (int i = 0; i < line_count; i++)
        if (!strncmp(lines[i].thing, "process ", 8) && !strcmp(lines[i].key, "cards")) {
            if (n < most) out[n] = (uint32_t)atoi(lines[i].thing + 8);
            n++;
        }
    return n;
}

int rsmi_compute_process_info_get(ProcessInfo *out, uint32_t *count) {
    int code = enter(NULL, __func__);
    if (code) return leave(code);
    if (find("system", "no_processes")) return leave(NOT_SUPPORTED);
    uint32_t found[64], n = pids(found, 64), most = out ? *count : 0;
    for (uint32_t i = 0; i < n && i < most; i++) out[i] = (ProcessInfo){found[i], 0x8000 + i, 0, 0, 0};
    *count = n;
    return leave(OK);
}

int rsmi_compute_process_gpus_get(uint32_t pid, uint32_t *out, uint32_t *count) {
    int code = enter(NULL, __func__);
    if (code) return leave(code);
    char name[24];
    snprintf(name, sizeof name, "process %u", pid);
    const char *cards = find(name, "cards");
    if (!cards) return leave(10);
    uint32_t most = out ? *count : 0, n = 0;
    for (double dv; (dv = part(cards, (int)n, -1)) >= 0; n++)
        if (n < most) out[n] = (uint32_t)dv;
    *count = n;
    return leave(OK);
}

int rsmi_compute_process_info_by_device_get(uint32_t pid, uint32_t dv, ProcessInfo *out) {
    int code = enter(NULL, __func__);
    if (code) return leave(code);
    char name[24], key[24];
    snprintf(name, sizeof name, "process %u", pid);
    snprintf(key, sizeof key, "vram_%u", dv);
    *out = (ProcessInfo){pid, 0, (uint64_t)number(name, key, 0), 0, 0};
    return leave(OK);
}
