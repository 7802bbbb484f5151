/* A stand-in for Kunlunxin's XPUML, written from the public header's names and layouts (xpuml.h).
 * soname: libxpuml.so
 *
 * It answers what ULLAGE_KUNLUNXIN_SCENARIO says (see ../README.md), NOT_SUPPORTED (3) otherwise.
 */
#define SCENARIO_ENV "ULLAGE_KUNLUNXIN_SCENARIO"
#include "../handles.h"

typedef struct { struct card *handle; } Device;
typedef struct { unsigned domain, bus, device, function, pciDeviceId, pciSubSystemId; char busId[32]; uint64_t reserved[9]; } PciInfo;
typedef struct { uint64_t page, total, free_, used, l3page, l3total, l3free, l3used, reserved[8]; } Memory;
typedef struct { unsigned xpu, memory; uint64_t reserved[15]; } Utilization;
typedef struct { unsigned pid; uint64_t used, l3; unsigned root, r32; uint64_t reserved[12]; } Process;
typedef struct { int arch, board, model; unsigned counts[7]; uint64_t memory_mb, l3_mb, sn[2], reserved[7]; } Attributes;
_Static_assert(sizeof(PciInfo) == 128 && sizeof(Memory) == 128 && sizeof(Utilization) == 128, "128 bytes each");
_Static_assert(sizeof(Process) == 128 && sizeof(Attributes) == 128, "128 bytes each");

static int initialised;
static int of(Device d) { return (int)(intptr_t)d.handle - 1; }

#define ENTER(d)                                       \
    int card = of(d), code = begin(card, __func__);    \
    if (!initialised) return 1;                        \
    if (code) return code
#define NUMBER(out, key) return narrow_of(say(card, key), out) ? 0 : 3

int xpumlInit(void) { int code = begin(SYSTEM, __func__); if (!code) initialised = 1; return code; }
int xpumlShutdown(void) { initialised = 0; return 0; }
const char *xpumlErrorString(int code) { (void)code; return "an error"; }
int xpumlSystemGetDriverVersion(char *out, unsigned length) {
    int code = begin(SYSTEM, __func__);
    return code ? code : text_into(say(SYSTEM, "driver_version"), out, length) ? 0 : 3;
}
int xpumlDeviceGetCount(unsigned *count) {
    int code = begin(SYSTEM, __func__);
    if (!initialised) return 1;
    *count = (unsigned)card_count();
    return code;
}
int xpumlDeviceGetHandleByIndex(unsigned index, Device *device) {
    int code = begin(SYSTEM, __func__), card = card_at(index);
    if (code || card < 0) return code ? code : 6;
    device->handle = (struct card *)(intptr_t)(card + 1);
    return say(card, "handle_fails") ? atoi(say(card, "handle_fails")) : 0;
}
int xpumlDeviceGetPciInfo(Device d, PciInfo *out) {
    ENTER(d);
    const char *text = say(card, "pci");
    if (!text || sscanf(text, "%x:%x:%x.%x", &out->domain, &out->bus, &out->device, &out->function) != 4) return 3;
    snprintf(out->busId, sizeof out->busId, "%s", text);
    narrow_of(say(card, "pci_device_id"), &out->pciDeviceId);
    return 0;
}
int xpumlDeviceGetSerial(Device d, char *out, unsigned length) { ENTER(d); return text_into(say(card, "serial"), out, length) ? 0 : 3; }
int xpumlDeviceGetAttributes(Device d, Attributes *out) {
    ENTER(d);
    unsigned model;
    if (!narrow_of(say(card, "model"), &model)) return 3;
    out->model = (int)model;
    return 0;
}
int xpumlDeviceGetMemoryInfo(Device d, Memory *out) {
    ENTER(d);
    unsigned long long total, used;
    if (!whole_of(say(card, "memory_total"), &total) || !whole_of(say(card, "memory_used"), &used)) return 3;
    out->total = total;
    out->used = used;
    out->free_ = total - used;
    return 0;
}
int xpumlDeviceGetUtilizationRates(Device d, Utilization *out) {
    ENTER(d);
    const char *text = say(card, "utilization");
    return text && sscanf(text, "%u %u", &out->xpu, &out->memory) == 2 ? 0 : 3;
}
int xpumlDeviceGetPowerUsage(Device d, unsigned *out) { ENTER(d); NUMBER(out, "power_mw"); }
int xpumlDeviceGetTemperature(Device d, int sensor, unsigned *out) { ENTER(d); if (sensor) return 2; NUMBER(out, "temperature"); }
int xpumlDeviceGetClockInfo(Device d, int type, unsigned *out) { ENTER(d); if (type) return 2; NUMBER(out, "clock"); }
int xpumlDeviceGetState(Device d, int *out) { ENTER(d); unsigned value; if (!narrow_of(say(card, "state"), &value)) return 3; *out = (int)value; return 0; }
int xpumlDeviceGetComputeRunningProcesses(Device d, unsigned *count, Process *rows) {
    ENTER(d);
    unsigned found = 0, pid;
    unsigned long long bytes;
    if (!say(card, "processes") && !process_of(card, 0, &pid, &bytes)) return 3;
    while (process_of(card, (int)found, &pid, &bytes)) {
        if (found < *count) {
            memset(&rows[found], 0, sizeof rows[found]);
            rows[found].pid = 7; /* as seen inside the container */
            rows[found].root = pid;
            rows[found].used = bytes;
        }
        found++;
    }
    int short_ = found > *count;
    *count = found;
    return short_ ? 7 : 0;
}
