/* A stand-in for Iluvatar's IXML, written from the public header's names and layouts (api.h of go-ixml).
 * soname: libixml.so
 *
 * It exports NVML's names on purpose, as the real one does. It answers what ULLAGE_ILUVATAR_SCENARIO says
 * (see ../README.md), NOT_SUPPORTED (3) otherwise.
 */
#define SCENARIO_ENV "ULLAGE_ILUVATAR_SCENARIO"
#include "../handles.h"

typedef struct device *Device;
typedef struct { char busIdLegacy[16]; unsigned domain, bus, device, pciDeviceId, pciSubSystemId; char busId[32]; } PciInfo;
typedef struct { unsigned long long total, free_, used; } Memory;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned pid; unsigned long long used; } Process;
_Static_assert(sizeof(PciInfo) == 68 && sizeof(Memory) == 24 && sizeof(Process) == 16, "sizes");

static int initialised;
static int of(Device d) { return (int)(intptr_t)d - 1; }

#define ENTER(d)                                       \
    int card = of(d), code = begin(card, __func__);    \
    if (!initialised) return 1;                        \
    if (code) return code
#define NUMBER(out, key) return narrow_of(say(card, key), out) ? 0 : 3
#define TEXT(out, length, key) return text_into(say(card, key), out, length) ? 0 : 3

int nvmlInit_v2(void) { int code = begin(SYSTEM, __func__); if (!code) initialised = 1; return code; }
int nvmlShutdown(void) { initialised = 0; return 0; }
int nvmlSystemGetDriverVersion(char *out, unsigned length) { int code = begin(SYSTEM, __func__); return code ? code : text_into(say(SYSTEM, "driver_version"), out, length) ? 0 : 3; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { unsigned value; if (!narrow_of(say(SYSTEM, "cuda_version"), &value)) return 3; *out = (int)value; return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { int code = begin(SYSTEM, __func__); if (!initialised) return 1; *count = (unsigned)card_count(); return code; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *d) {
    int code = begin(SYSTEM, __func__), card = card_at(index);
    if (code || card < 0) return code ? code : 6;
    *d = (Device)(intptr_t)(card + 1);
    return say(card, "handle_fails") ? atoi(say(card, "handle_fails")) : 0;
}
int nvmlDeviceGetUUID(Device d, char *out, unsigned length) { ENTER(d); TEXT(out, length, "uuid"); }
int nvmlDeviceGetName(Device d, char *out, unsigned length) { ENTER(d); TEXT(out, length, "name"); }
int nvmlDeviceGetSerial(Device d, char *out, unsigned length) { ENTER(d); TEXT(out, length, "serial"); }
int nvmlDeviceGetVbiosVersion(Device d, char *out, unsigned length) { ENTER(d); TEXT(out, length, "vbios"); }
int nvmlDeviceGetMinorNumber(Device d, unsigned *out) { ENTER(d); NUMBER(out, "minor"); }
int nvmlDeviceGetBoardId(Device d, unsigned *out) { ENTER(d); NUMBER(out, "board"); }
int nvmlDeviceGetPciInfo_v3(Device d, PciInfo *out) {
    ENTER(d);
    const char *text = say(card, "pci");
    return text && sscanf(text, "%x:%x:%x", &out->domain, &out->bus, &out->device) == 3 ? 0 : 3;
}
int nvmlDeviceGetMemoryInfo(Device d, Memory *out) { ENTER(d); return whole_of(say(card, "memory_total"), &out->total) && whole_of(say(card, "memory_used"), &out->used) ? 0 : 3; }
int nvmlDeviceGetUtilizationRates(Device d, Utilization *out) { ENTER(d); const char *text = say(card, "utilization"); return text && sscanf(text, "%u %u", &out->gpu, &out->memory) == 2 ? 0 : 3; }
int nvmlDeviceGetPowerUsage(Device d, unsigned *out) { ENTER(d); NUMBER(out, "power_mw"); }
int ixmlDeviceGetBoardPowerUsage(Device d, unsigned *out) { ENTER(d); NUMBER(out, "board_power_mw"); }
int ixmlDeviceGetBoardPosition(Device d, unsigned *out) { ENTER(d); NUMBER(out, "position"); }
int nvmlDeviceGetPowerManagementLimit(Device d, unsigned *out) { ENTER(d); NUMBER(out, "power_limit_mw"); }
int nvmlDeviceGetTemperature(Device d, int sensor, unsigned *out) { ENTER(d); if (sensor) return 2; NUMBER(out, "temperature"); }
int nvmlDeviceGetTemperatureThreshold(Device d, int kind, unsigned *out) { ENTER(d); if (kind != 1) return 3; NUMBER(out, "slowdown"); }
int nvmlDeviceGetFanSpeed(Device d, unsigned *out) { ENTER(d); NUMBER(out, "fan"); }
int nvmlDeviceGetClockInfo(Device d, int type, unsigned *out) { ENTER(d); NUMBER(out, type == 1 ? "clock_sm" : type == 2 ? "clock_mem" : "clock_other"); }
int nvmlDeviceGetMaxClockInfo(Device d, int type, unsigned *out) { ENTER(d); if (type != 1) return 3; NUMBER(out, "clock_max"); }
int nvmlDeviceGetPerformanceState(Device d, unsigned *out) { ENTER(d); NUMBER(out, "pstate"); }
int nvmlDeviceGetCurrentClocksThrottleReasons(Device d, unsigned long long *out) { ENTER(d); return whole_of(say(card, "throttle"), out) ? 0 : 3; }
int nvmlDeviceGetCurrPcieLinkGeneration(Device d, unsigned *out) { ENTER(d); NUMBER(out, "generation"); }
int nvmlDeviceGetCurrPcieLinkWidth(Device d, unsigned *out) { ENTER(d); NUMBER(out, "width"); }
int nvmlDeviceGetMaxPcieLinkGeneration(Device d, unsigned *out) { ENTER(d); NUMBER(out, "generation_max"); }
int nvmlDeviceGetMaxPcieLinkWidth(Device d, unsigned *out) { ENTER(d); NUMBER(out, "width_max"); }
int nvmlDeviceGetEncoderUtilization(Device d, unsigned *out, unsigned *period) { ENTER(d); *period = 167000; NUMBER(out, "encoder"); }
int nvmlDeviceGetDecoderUtilization(Device d, unsigned *out, unsigned *period) { ENTER(d); *period = 167000; NUMBER(out, "decoder"); }
int nvmlDeviceGetPcieThroughput(Device d, int counter, unsigned *out) { ENTER(d); NUMBER(out, counter ? "pcie_rx" : "pcie_tx"); }
int nvmlDeviceGetPcieReplayCounter(Device d, unsigned *out) { ENTER(d); NUMBER(out, "replays"); }
int ixmlDeviceGetEccErros(Device d, unsigned *single, unsigned *twice) { ENTER(d); return narrow_of(say(card, "ecc_single"), single) && narrow_of(say(card, "ecc_double"), twice) ? 0 : 3; }
int ixmlDeviceGetHealth(Device d, unsigned long long *out) { ENTER(d); return whole_of(say(card, "health"), out) ? 0 : 3; }
int nvmlDeviceGetComputeRunningProcesses(Device d, unsigned *count, Process *rows) {
    ENTER(d);
    unsigned found = 0, pid;
    unsigned long long bytes;
    while (process_of(card, (int)found, &pid, &bytes)) {
        if (found < *count) rows[found] = (Process){pid, bytes};
        found++;
    }
    int short_ = found > *count;
    *count = found;
    return short_ ? 7 : 0;
}
