/* A stand-in for Habana's management library, written from hlml.h's names and layouts (HabanaAI/gohlml).
 * soname: libhlml.so
 *
 * ULLAGE_GAUDI_SCENARIO; see ../scenario.h and ../README.md. A value that is not given answers NOT_SUPPORTED.
 * -DLONG_ADDRESS is a later release: a longer bus_id, so everything behind it in hlml_pci_info moved.
 */
#define SCENARIO_ENV "ULLAGE_GAUDI_SCENARIO"
#include "../scenario.h"

#include <stdbool.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, AIP_IS_LOST = 15 };

#ifdef LONG_ADDRESS
#define ADDRESS 19
#else
#define ADDRESS 15
#endif
typedef struct {
    unsigned bus; char bus_id[ADDRESS]; unsigned device, domain, pci_device_id; char link_speed[10], link_width[10];
} Pci;
typedef struct { unsigned long long free, total, used; } Memory;
typedef struct { unsigned long long reference, violation; } Violation;
typedef struct { uint8_t hbm, pc, sid, bank; uint16_t row; } Row;

static int initialized;
static int places[64];

static const char *card(void *device) {
    static __thread char name[24];
    snprintf(name, sizeof name, "card %d", device ? *(int *)device : -1);
    return name;
}

static int begin(void *device, const char *function) {
    int code = enter(card(device), function);
    if (code) return code;
    if (!initialized) return UNINITIALIZED;
    return !exists(card(device)) || find(card(device), "lost") ? AIP_IS_LOST : OK;
}

#define BEGIN(device)                          \
    int code_ = begin((device), __func__);     \
    if (code_) return leave(code_)

static int wide(void *device, const char *key, unsigned long long *out) {
    const char *text = find(card(device), key);
    if (!text) return NOT_SUPPORTED;
    *out = strtoull(text, NULL, 0);
    return OK;
}

static int narrow(void *device, const char *key, unsigned *out) {
    unsigned long long value;
    int code = wide(device, key, &value);
    if (!code) *out = (unsigned)value;
    return code;
}

static int text(const char *thing, const char *key, char *out, unsigned length) {
    const char *found = find(thing, key);
    if (!found) return NOT_SUPPORTED;
    if (strlen(found) + 1 > length) return INSUFFICIENT_SIZE;
    copy(out, length, found);
    return OK;
}

int hlml_init(void) {
    int code = enter(NULL, __func__);
    if (!code) initialized = 1;
    return leave(code);
}

int hlml_shutdown(void) {
    int code = enter(NULL, __func__);
    initialized = 0;
    return leave(code);
}

int hlml_device_get_count(unsigned *out) {
    int code = enter(NULL, __func__);
    if (code) return leave(code);
    char name[24];
    for (*out = 0; *out < 64; ++*out) {
        snprintf(name, sizeof name, "card %u", *out);
        if (!exists(name)) break;
    }
    return leave(OK);
}

int hlml_device_get_handle_by_index(unsigned index, void **out) {
    int code = enter(NULL, __func__);
    if (code) return leave(code);
    if (index >= 64) return leave(INVALID_ARGUMENT);
    places[index] = (int)index;
    *out = &places[index];
    return leave(exists(card(*out)) ? OK : NOT_FOUND);
}

int hlml_get_driver_version(char *out, unsigned length) {
    int code = enter(NULL, __func__);
    return leave(code ? code : text("system", "driver", out, length));
}

int hlml_device_get_uuid(void *d, char *out, unsigned length) { BEGIN(d); return leave(text(card(d), "uuid", out, length)); }
int hlml_device_get_name(void *d, char *out, unsigned length) { BEGIN(d); return leave(text(card(d), "name", out, length)); }
int hlml_device_get_serial(void *d, char *out, unsigned length) { BEGIN(d); return leave(text(card(d), "serial", out, length)); }
int hlml_get_firmware_spi_version(void *d, char *out, unsigned length) { BEGIN(d); return leave(text(card(d), "firmware", out, length)); }

int hlml_device_get_pci_info(void *d, Pci *out) {
    BEGIN(d);
    memset(out, 0, sizeof *out);
    return leave(text(card(d), "pci", out->bus_id, sizeof out->bus_id));
}

int hlml_device_get_module_id(void *d, unsigned *out) { BEGIN(d); return leave(narrow(d, "module_id", out)); }
int hlml_device_get_minor_number(void *d, unsigned *out) { BEGIN(d); return leave(narrow(d, "minor", out)); }
int hlml_device_get_utilization_rates(void *d, unsigned *out) { BEGIN(d); return leave(narrow(d, "utilization", out)); }
int hlml_device_get_power_usage(void *d, unsigned *out) { BEGIN(d); return leave(narrow(d, "power_mw", out)); }
int hlml_device_get_power_management_limit(void *d, unsigned *out) { BEGIN(d); return leave(narrow(d, "power_limit_mw", out)); }
int hlml_device_get_power_management_default_limit(void *d, unsigned *out) { BEGIN(d); return leave(narrow(d, "power_default_mw", out)); }
int hlml_device_get_pcie_replay_counter(void *d, unsigned *out) { BEGIN(d); return leave(narrow(d, "replays", out)); }
int hlml_device_get_total_energy_consumption(void *d, unsigned long long *out) { BEGIN(d); return leave(wide(d, "energy_mj", out)); }
int hlml_device_get_current_clocks_throttle_reasons(void *d, unsigned long long *out) { BEGIN(d); return leave(wide(d, "throttle", out)); }

static int kinded(void *d, const char *what, int kind, unsigned *out) {
    char key[40];
    snprintf(key, sizeof key, "%s_%d", what, kind);
    return narrow(d, key, out);
}
int hlml_device_get_clock_info(void *d, int kind, unsigned *out) { BEGIN(d); return leave(kinded(d, "clock", kind, out)); }
int hlml_device_get_max_clock_info(void *d, int kind, unsigned *out) { BEGIN(d); return leave(kinded(d, "clock_max", kind, out)); }
int hlml_device_get_temperature(void *d, int kind, unsigned *out) { BEGIN(d); return leave(kinded(d, "temp", kind, out)); }
int hlml_device_get_temperature_threshold(void *d, int kind, unsigned *out) { BEGIN(d); return leave(kinded(d, "limit", kind, out)); }

int hlml_device_get_memory_info(void *d, Memory *out) {
    BEGIN(d);
    int code = wide(d, "memory_total", &out->total);
    if (!code) code = wide(d, "memory_used", &out->used);
    if (!code) out->free = out->total - out->used;
    return leave(code);
}

/* card N ecc_<type>_<counter> COUNT, and ecc_<type>_<counter>_<location> */
int hlml_device_get_total_ecc_errors(void *d, int type, int counter, unsigned long long *out) {
    BEGIN(d);
    char key[40];
    snprintf(key, sizeof key, "ecc_%d_%d", type, counter);
    return leave(wide(d, key, out));
}

int hlml_device_get_memory_error_counter(void *d, int type, int counter, int location, unsigned long long *out) {
    BEGIN(d);
    char key[40];
    snprintf(key, sizeof key, "ecc_%d_%d_%d", type, counter, location);
    return leave(wide(d, key, out));
}

int hlml_device_get_replaced_rows(void *d, int cause, unsigned *out, Row *rows) {
    (void)rows;
    BEGIN(d);
    return leave(kinded(d, "rows", cause, out));
}

int hlml_device_get_replaced_rows_pending_status(void *d, unsigned *out) { BEGIN(d); return leave(narrow(d, "rows_pending", out)); }

int hlml_device_get_violation_status(void *d, int policy, Violation *out) {
    BEGIN(d);
    char key[40];
    snprintf(key, sizeof key, "violation_%d", policy);
    out->reference = 1;
    return leave(wide(d, key, &out->violation));
}

/* ports 0xffffff, ports_external 0x7, and ports_up */
int hlml_get_mac_addr_info(void *d, uint64_t *mask, uint64_t *external) {
    BEGIN(d);
    unsigned long long all, outside;
    int code = wide(d, "ports", &all);
    if (!code) code = wide(d, "ports_external", &outside);
    if (code) return leave(code);
    mask[0] = all;
    external[0] = outside;
    mask[1] = external[1] = 0;
    return leave(OK);
}

int hlml_nic_get_link(void *d, uint32_t port, bool *up) {
    BEGIN(d);
    unsigned long long states;
    int code = wide(d, "ports_up", &states);
    if (!code) *up = states >> port & 1;
    return leave(code);
}
