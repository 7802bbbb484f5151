/* A stand-in for Biren's BRML, written from the public header's names and layouts (brml.h).
 * soname: libbiren-ml.so.1
 *
 * It answers what ULLAGE_BIREN_SCENARIO says (see ../README.md), NOT_SUPPORTED (3) otherwise.
 */
#define SCENARIO_ENV "ULLAGE_BIREN_SCENARIO"
#define LOST_CODE 0xFF /* the library has no code of its own for it */
#include "../handles.h"

typedef struct device *Device;
typedef struct { unsigned domain, bus, device, function, pciDeviceId, pciSubSystemId; char busId[32]; } PciInfo;
typedef struct { unsigned long long total, free_, used; } Memory;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned pid; unsigned long long used, host; } Process;
typedef struct { char name[96], id[96], serial[96], board_id[96]; } GpuInfo;
_Static_assert(sizeof(PciInfo) == 56 && sizeof(Memory) == 24 && sizeof(Process) == 24 && sizeof(GpuInfo) == 384, "sizes");

static int initialised;
/* a handle is the card + 1, and for an instance the instance + 1 above bit 16 */
static int of(Device d) { return (int)((intptr_t)d & 0xFFFF) - 1; }
static int instance(Device d) { return (int)((intptr_t)d >> 16) - 1; }

#define ENTER(d)                                       \
    int card = of(d), code = begin(card, __func__);    \
    if (!initialised) return 1;                        \
    if (code) return code
#define NUMBER(out, key) return narrow_of(say(card, key), out) ? 0 : 3
#define WIDE(out, key) return whole_of(say(card, key), out) ? 0 : 3

int brmlInit(void) { int code = begin(SYSTEM, __func__); if (!code) initialised = 1; return code; }
int brmlShutdown(void) { initialised = 0; return 0; }
const char *brmlErrorString(int code) { (void)code; return "an error"; }
int brmlSystemGetDriverVersion(char *out, unsigned length) { int code = begin(SYSTEM, __func__); return code ? code : text_into(say(SYSTEM, "driver_version"), out, length) ? 0 : 5; }
int brmlSystemGetSupaDriverVersion(int *out) { unsigned value; if (!narrow_of(say(SYSTEM, "supa_version"), &value)) return 5; *out = (int)value; return 0; }
int brmlDeviceGetCount(unsigned *count) { int code = begin(SYSTEM, __func__); if (!initialised) return 1; *count = (unsigned)card_count(); return code; }
int brmlDeviceGetHandleByIndex(unsigned index, Device *d) {
    int code = begin(SYSTEM, __func__), card = card_at(index);
    if (code || card < 0) return code ? code : 5;
    *d = (Device)(intptr_t)(card + 1);
    return say(card, "handle_fails") ? atoi(say(card, "handle_fails")) : 0;
}
int brmlDeviceGetUUID(Device d, char *out, unsigned length) { ENTER(d); return text_into(say(card, "uuid"), out, length) ? 0 : 3; }
int brmlDeviceGetMinorNumber(Device d, unsigned *out) { ENTER(d); NUMBER(out, "minor"); }
int brmlDeviceGetFirmwareVersion(Device d, int type, char *out, int length) { ENTER(d); return type == 6 && text_into(say(card, "firmware"), out, (unsigned)length) ? 0 : 5; }
int brmlDeviceGetGpuInfo(Device d, GpuInfo *out) {
    ENTER(d);
    text_into(say(card, "name"), out->name, sizeof out->name);
    text_into(say(card, "serial"), out->serial, sizeof out->serial);
    text_into(say(card, "board_id"), out->board_id, sizeof out->board_id);
    return 0;
}
int brmlDeviceGetPciInfo(Device d, PciInfo *out) {
    ENTER(d);
    const char *text = say(card, "pci");
    return text && sscanf(text, "%x:%x:%x.%x", &out->domain, &out->bus, &out->device, &out->function) == 4 ? 0 : 3;
}
int brmlDeviceGetMemoryInfo(Device d, Memory *out) {
    ENTER(d);
    int p = instance(d);
    const char *total = p < 0 ? say(card, "memory_total") : say_part(card, p, "memory_total");
    const char *used = p < 0 ? say(card, "memory_used") : say_part(card, p, "memory_used");
    return whole_of(total, &out->total) && whole_of(used, &out->used) ? 0 : 3;
}
int brmlDeviceGetUtilizationRates(Device d, Utilization *out) {
    ENTER(d);
    int p = instance(d);
    const char *text = p < 0 ? say(card, "utilization") : say_part(card, p, "utilization");
    return text && sscanf(text, "%u %u", &out->gpu, &out->memory) == 2 ? 0 : 3;
}
int brmlDeviceGetPowerUsage(Device d, unsigned *out) { ENTER(d); NUMBER(out, "power_mw"); }
int brmlDeviceGetPowerManagementLimit(Device d, unsigned *out) { ENTER(d); NUMBER(out, "power_limit_mw"); }
int brmlDeviceGetTemperature(Device d, int sensor, unsigned *out) { ENTER(d); char key[32]; snprintf(key, sizeof key, "temperature_%d", sensor); NUMBER(out, key); }
int brmlDeviceGetTemperatureThreshold(Device d, int kind, unsigned *out) { ENTER(d); if (kind != 1) return 3; NUMBER(out, "slowdown"); }
int brmlDeviceGetClockInfo(Device d, int type, unsigned *out) { ENTER(d); char key[32]; snprintf(key, sizeof key, "clock_%d", type); NUMBER(out, key); }
int brmlDeviceGetMaxClockInfo(Device d, int type, unsigned *out) { ENTER(d); char key[32]; snprintf(key, sizeof key, "clock_max_%d", type); NUMBER(out, key); }
int brmlDeviceGetEncoderUtilization(Device d, unsigned *out, unsigned *period) { ENTER(d); *period = 1; NUMBER(out, "encoder"); }
int brmlDeviceGetDecoderUtilization(Device d, unsigned *out, unsigned *period) { ENTER(d); *period = 1; NUMBER(out, "decoder"); }
int brmlDeviceGetCurrentClocksThrottleReasons(Device d, unsigned long long *out) { ENTER(d); WIDE(out, "throttle"); }
int brmlDeviceGetPcieThroughput(Device d, int counter, unsigned *out) { ENTER(d); NUMBER(out, counter ? "pcie_rx" : "pcie_tx"); }
int brmlDeviceGetCurrPcieLinkGeneration(Device d, unsigned *out) { ENTER(d); NUMBER(out, "generation"); }
int brmlDeviceGetMaxPcieLinkGeneration(Device d, unsigned *out) { ENTER(d); NUMBER(out, "generation_max"); }
int brmlDeviceGetCurrPcieLinkWidth(Device d, unsigned *out) { ENTER(d); NUMBER(out, "width"); }
int brmlDeviceGetMaxPcieLinkWidth(Device d, unsigned *out) { ENTER(d); NUMBER(out, "width_max"); }
int brmlDeviceGetPcieReplayCounter(Device d, unsigned *out) { ENTER(d); NUMBER(out, "replays"); }
int brmlDeviceGetTotalEccErrors(Device d, int type, int counter, unsigned long long *out) { ENTER(d); if (counter) return 2; WIDE(out, type ? "ecc_uncorrected" : "ecc_corrected"); }
int brmlDeviceGetMemoryErrorCounter(Device d, int type, int counter, int place, unsigned long long *out) {
    ENTER(d);
    char key[32];
    (void)counter;
    snprintf(key, sizeof key, "sram_%d_%d", type, place);
    WIDE(out, key);
}
int brmlDeviceGetTotalAerErrors(Device d, int type, unsigned long long *out) { ENTER(d); char key[16]; snprintf(key, sizeof key, "aer_%d", type); WIDE(out, key); }
int brmlDeviceGetHealthStatus(Device d, int *out) { ENTER(d); unsigned value; if (!narrow_of(say(card, "health"), &value)) return 3; *out = (int)value; return 0; }
int brmlDeviceGetBrLinkNumber(Device d, unsigned *out) { ENTER(d); NUMBER(out, "links"); }
int brmlDeviceGetBrLinkState(Device d, unsigned link, int *out) { ENTER(d); char key[16]; snprintf(key, sizeof key, "link_%u", link); *out = say(card, key) && strcmp(say(card, key), "up") == 0; return 0; }
int brmlDeviceGetBrLinkErrorCounter(Device d, unsigned link, int kind, unsigned long long *out) { ENTER(d); char key[32]; snprintf(key, sizeof key, "link_errors_%d", kind); (void)link; WIDE(out, key); }
int brmlDeviceGetSviMode(Device d, unsigned *current, unsigned *pending) { ENTER(d); *pending = 0; NUMBER(current, "svi"); }
int brmlDeviceGetGpuInstanceById(Device d, unsigned id, Device *out) {
    ENTER(d);
    if (!part_exists(card, (int)id)) return 5;
    *out = (Device)(intptr_t)((card + 1) | ((intptr_t)(id + 1) << 16));
    return 0;
}
int brmlDeviceGetComputeRunningProcesses(Device d, unsigned *count, Process *rows) {
    ENTER(d);
    unsigned found = 0, pid;
    unsigned long long bytes;
    while (process_of(card, (int)found, &pid, &bytes)) {
        if (found < *count) rows[found] = (Process){pid, bytes, 0};
        found++;
    }
    int short_ = found > *count;
    *count = found;
    return short_ ? 6 : 0;
}
