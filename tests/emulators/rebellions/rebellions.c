/* A stand-in for Rebellions' management library, written from its public header's names and struct layouts.
 * soname: librbln-ml.so
 *
 * ULLAGE_REBELLIONS_SCENARIO; see ../scenario.h and ../README.md. The header has no code for "not supported":
 * a value that is not given answers IOCTL_FAILED.
 */
#define SCENARIO_ENV "ULLAGE_REBELLIONS_SCENARIO"
#include "../scenario.h"

#include <stddef.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NO_PERMISSION = 3, NOT_FOUND = 4, IOCTL_FAILED = 5 };

typedef uint64_t Device;
typedef struct {
    uint64_t sram_base_address, dram_base_address, dram_size;
    uint32_t sram_size, device_id, cpld_version, chiplet_cnt;
    uint8_t cpucp_version[128], card_name[16];
    uint32_t rev_id, drm_minor, dcluster_cnt;
    uint64_t reserved2[4];
} HwIp;
typedef struct {
    char uuid[38], bus_id[32];
    uint64_t serial_id;
    uint32_t board_info, device_id, group_id, numa_node;
} Info;
typedef struct { uint64_t bar0_free, bar0_used, bar0_total; } Bar0;

static int initialized;
static unsigned order[64], count;

/* Handles are 0x1000 + card, so that an index taken for a handle is found out. */
static const char *card(Device device) {
    static __thread char name[24];
    snprintf(name, sizeof name, "card %llu", (unsigned long long)(device - 0x1000));
    return name;
}

static int begin(Device device, const char *function) {
    int code = enter(card(device), function);
    if (code) return code;
    if (!initialized) return UNINITIALIZED;
    return exists(card(device)) ? SUCCESS : INVALID_ARGUMENT;
}

#define BEGIN(device)                         \
    int code_ = begin((device), __func__);    \
    if (code_) return leave(code_)

int rblnmlInit(void) {
    int code = enter("system", __func__);
    if (!code) initialized = 1;
    return leave(code);
}

int rblnmlShutdown(void) {
    initialized = 0;
    return SUCCESS;
}

int rblnmlDeviceGetCount(unsigned *out) {
    int code = enter("system", __func__);
    if (code) return leave(code);
    if (!initialized) return leave(UNINITIALIZED);
    count = 0;
    for (unsigned i = 0; i < 64; i++)
        if (exists(card(0x1000 + i)) && !find(card(0x1000 + i), "gone")) order[count++] = i;
    *out = (unsigned)number("system", "count", count);
    return leave(SUCCESS);
}

int rblnmlDeviceGetHandleByIndex(unsigned index, Device *out) {
    int code = enter("system", __func__);
    if (code) return leave(code);
    if (!initialized) return leave(UNINITIALIZED);
    if (index >= count) return leave(NOT_FOUND);
    *out = 0x1000 + order[index];
    return leave(SUCCESS);
}

int rblnmlGetDeviceInfo(Device device, Info *out) {
    BEGIN(device);
    memset(out, 0, sizeof *out);
    copy(out->uuid, sizeof out->uuid, find(card(device), "uuid"));
    copy(out->bus_id, sizeof out->bus_id, find(card(device), "bus_id"));
    out->serial_id = (uint64_t)number(card(device), "serial", 0);
    out->device_id = (uint32_t)(device - 0x1000);
    out->group_id = (uint32_t)number(card(device), "group", 0);
    out->numa_node = (uint32_t)number(card(device), "numa_node", 0);
    return leave(SUCCESS);
}

int rblnmlGetDeviceHWIPInfo(Device device, HwIp *out) {
    BEGIN(device);
    memset(out, 0, sizeof *out);
    out->dram_size = (uint64_t)number(card(device), "dram", 0);
    copy((char *)out->card_name, sizeof out->card_name, find(card(device), "name"));
    return leave(SUCCESS);
}

#define GET_TEXT(function, key)                                        \
    int function(Device device, char *out, size_t length) {            \
        BEGIN(device);                                                 \
        const char *text = find(card(device), key);                    \
        if (!text) return leave(IOCTL_FAILED);                         \
        copy(out, length, text);                                       \
        return leave(SUCCESS);                                         \
    }
GET_TEXT(rblnmlGetKernelVersion, "kernel")
GET_TEXT(rblnmlGetFwVersion, "firmware")

#define GET_U32(function, key)                                         \
    int function(Device device, uint32_t *out) {                       \
        BEGIN(device);                                                 \
        if (!find(card(device), key)) return leave(IOCTL_FAILED);      \
        *out = (uint32_t)number(card(device), key, 0);                 \
        return leave(SUCCESS);                                         \
    }
GET_U32(rblnmlDeviceGetTemperature, "temperature")
GET_U32(rblnmlDeviceGetPowerUsage, "power_uw")
GET_U32(rblnmlDeviceGetPowerState, "pstate")
GET_U32(rblnmlDeviceGetUtilization, "utilization")

int rblnmlDeviceGetBAR0MemoryInfo(Device device, Bar0 *out) {
    BEGIN(device);
    const char *text = find(card(device), "memory");
    if (!text) return leave(IOCTL_FAILED);
    out->bar0_used = (uint64_t)part(text, 0, 0);
    out->bar0_total = (uint64_t)part(text, 1, 0);
    out->bar0_free = out->bar0_total - out->bar0_used;
    return leave(SUCCESS);
}
