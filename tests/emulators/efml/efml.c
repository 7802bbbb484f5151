/* A stand-in for Enflame's EFML, written from the public header's names and layouts (efml.h): the calls by index
 * (Efml*) and the calls by handle (efml*), whose orders of cards differ on purpose.
 * soname: libefml.so.1
 *
 * It answers what ULLAGE_ENFLAME_SCENARIO says (see ../README.md), NOT_SUPPORTED (3) otherwise. -DINDEX_ONLY is a
 * release without calls by handle. -DLEGACY_PCI puts the short address before the numbers, as some releases do.
 */
#define SCENARIO_ENV "ULLAGE_ENFLAME_SCENARIO"
#include "../handles.h"
#include <stdbool.h>

typedef struct device *Device;
#ifdef LEGACY_PCI
typedef struct { char legacy[16]; unsigned domain, bus, device, pciDeviceId, pciSubSystemId; char busId[32]; } PciInfo;
#else
typedef struct { unsigned domain, bus, device, function, pciDeviceId, pciSubSystemId; char busId[32]; } PciInfo;
#endif
typedef struct { unsigned long long total, free_, used; } Memory;
typedef struct { unsigned gcu, memory; } Utilization;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } Process;
typedef struct { char name[128]; unsigned vendor, device_id, domain, bus, dev, func, logic; } DeviceInfo;
typedef struct { float capability, drawn; } Power;
typedef struct { uint64_t total; unsigned used; } OldMemory;
typedef struct { float asic, memory, board; } Thermal;
typedef struct { unsigned hbm, dtu; } Clocks;
typedef struct { float dtu, soc, hbmqc, v18, vddp; } Voltages;
typedef struct { bool enabled, pending, pdblack; unsigned single, twice; } EccStatus;
typedef struct { bool supported, flags; } Rma;
typedef struct { unsigned connected; char rest[100]; } Port;
typedef struct { unsigned pid; uint64_t device, system; } OldProcess;
typedef struct { unsigned long long id; int reset, source; unsigned long long time; unsigned bdf; } Record;

static int old_open;
/* the calls by index count from the last card */
static int back(unsigned index) { return card_at((unsigned)card_count() - 1 - index); }

#define OLD(index)                                             \
    if (!old_open) return 1;                                   \
    int card = back(index), code = begin(card, __func__);      \
    if (code) return code == LOST_CODE ? 254 : code
#define NUMBER(out, key) return narrow_of(say(card, key), out) ? 0 : 3

int EfmlInit(bool no_driver) { (void)no_driver; int code = begin(SYSTEM, __func__); if (!code) old_open = 1; return code; }
void EfmlShutdown(void) { old_open = 0; }
int EfmlGetDriverVer(char *out) { int code = begin(SYSTEM, __func__); return code ? code : text_into(say(SYSTEM, "driver_version"), out, 128) ? 0 : 3; }
int EfmlGetDevCount(unsigned *count) { if (!old_open) return 1; int code = begin(SYSTEM, __func__); *count = (unsigned)card_count(); return code; }
int EfmlGetDevName(unsigned i, char *out) { OLD(i); return text_into(say(card, "name"), out, 128) ? 0 : 3; }
int EfmlGetDevUuid(unsigned i, char *out) { OLD(i); return text_into(say(card, "uuid"), out, 128) ? 0 : 3; }
int EfmlGetDevSn(unsigned i, char *out) { OLD(i); return text_into(say(card, "serial"), out, 128) ? 0 : 3; }
int EfmlGetFwVersion(unsigned i, char *out) { OLD(i); return text_into(say(card, "firmware"), out, 128) ? 0 : 3; }
int EfmlGetDevInfo(unsigned i, DeviceInfo *out) {
    OLD(i);
    const char *text = say(card, "pci");
    return text && sscanf(text, "%x:%x:%x.%x", &out->domain, &out->bus, &out->dev, &out->func) == 4 ? 0 : 3;
}
int EfmlGetDevDtuUsage(unsigned i, float *out) { OLD(i); double v; if (!real_of(say(card, "old_usage"), &v)) return 3; *out = (float)v; return 0; }
int EfmlGetDevMem(unsigned i, OldMemory *out) { OLD(i); const char *t = say(card, "old_memory"); if (!t) return 3; out->used = (unsigned)part(t, 0, 0); out->total = (uint64_t)part(t, 1, 0); return 0; }
int EfmlGetDevPwr(unsigned i, Power *out) { OLD(i); const char *t = say(card, "old_power"); return t && sscanf(t, "%f %f", &out->drawn, &out->capability) == 2 ? 0 : 3; }
int EfmlGetDevTempV2(unsigned i, Thermal *out) { OLD(i); const char *t = say(card, "old_temperature"); return t && sscanf(t, "%f %f %f", &out->asic, &out->memory, &out->board) == 3 ? 0 : 3; }
int EfmlGetDevClk(unsigned i, Clocks *out) { OLD(i); const char *t = say(card, "old_clocks"); return t && sscanf(t, "%u %u", &out->dtu, &out->hbm) == 2 ? 0 : 3; }
int EfmlGetDevVolt(unsigned i, Voltages *out) { OLD(i); const char *t = say(card, "voltage"); return t && sscanf(t, "%f", &out->dtu) == 1 ? 0 : 3; }
int EfmlGetDevHealth(unsigned i, bool *out) { OLD(i); const char *t = say(card, "health"); if (!t) return 3; *out = atoi(t) != 0; return 0; }
int EfmlGetDevEccStatus(unsigned i, EccStatus *out) {
    OLD(i);
    const char *t = say(card, "ecc");
    if (!t) return 3;
    *out = (EccStatus){true, false, part(t, 2, 0) != 0, (unsigned)part(t, 0, 0), (unsigned)part(t, 1, 0)};
    return 0;
}
int EfmlGetDevRmaStatus(unsigned i, Rma *out) { OLD(i); const char *t = say(card, "rma"); *out = (Rma){t != NULL, t && atoi(t)}; return 0; }
int EfmlGetGcuLarePortNum(unsigned i, unsigned *out) { OLD(i); NUMBER(out, "ports"); }
int EfmlGetGcuLarePortInfo(unsigned i, unsigned port, Port *out) { OLD(i); memset(out, 0xab, sizeof *out); const char *t = say(card, "connected"); out->connected = t && (int)port < atoi(t); return 0; }
int EfmlGetProcessInfo(unsigned i, unsigned *count, OldProcess *rows) {
    OLD(i);
    unsigned found = 0, pid;
    unsigned long long bytes;
    while (found < *count && process_of(card, (int)found, &pid, &bytes)) rows[found++] = (OldProcess){pid, bytes, 0};
    *count = found;
    return 0;
}
int EfmlGetErrorRecords(unsigned i, unsigned count, Record *rows, unsigned *total) {
    OLD(i);
    *total = 0;
    for (int n = 0; n < 8 && *total < count; n++) {
        char key[16];
        snprintf(key, sizeof key, "record_%d", n);
        const char *t = say(card, key);
        if (!t) continue;
        rows[*total] = (Record){(unsigned long long)part(t, 0, 0), (int)part(t, 1, 0), (int)part(t, 2, 0), (unsigned long long)part(t, 3, 0), 0};
        (*total)++;
    }
    return 0;
}
int EfmlGetVdevList(unsigned i, unsigned *ids, unsigned *count) {
    OLD(i);
    unsigned found = 0;
    for (int m = 0; m < 16; m++)
        if (part_exists(card, m) && found < *count) ids[found++] = (unsigned)m;
    *count = found;
    return found ? 0 : 3;
}
int EfmlGetVdevMem(unsigned i, unsigned v, OldMemory *out) { OLD(i); const char *t = say_part(card, (int)v, "memory"); if (!t) return 3; out->used = (unsigned)part(t, 0, 0); out->total = (uint64_t)part(t, 1, 0); return 0; }
int EfmlGetVdevDtuUsage(unsigned i, unsigned v, float *out) { OLD(i); double u; if (!real_of(say_part(card, (int)v, "usage"), &u)) return 3; *out = (float)u; return 0; }

#ifndef INDEX_ONLY
static int new_open;
static int of(Device d) { return (int)(intptr_t)d - 1; }
#define NEW(d)                                                 \
    if (!new_open) return 1;                                   \
    int card = of(d), code = begin(card, __func__);            \
    if (code) return code

int efmlInit_v2(void) { int code = begin(SYSTEM, __func__); if (!code) new_open = 1; return code; }
int efmlShutdown(void) { new_open = 0; return 0; }
int efmlDeviceGetCount_v2(unsigned *count) { if (!new_open) return 1; int code = begin(SYSTEM, __func__); *count = (unsigned)card_count(); return code; }
int efmlDeviceGetHandleByIndex_v2(unsigned index, Device *d) {
    int code = begin(SYSTEM, __func__), card = card_at(index);
    if (code || card < 0) return code ? code : 6;
    *d = (Device)(intptr_t)(card + 1);
    return say(card, "handle_fails") ? atoi(say(card, "handle_fails")) : 0;
}
int efmlDeviceGetName(Device d, char *out, unsigned length) { NEW(d); return text_into(say(card, "name"), out, length) ? 0 : 3; }
int efmlDeviceGetPciInfo_v3(Device d, PciInfo *out) {
    NEW(d);
    unsigned domain, bus, device, function;
    const char *text = say(card, "pci");
    if (!text || sscanf(text, "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4) return 3;
    memset(out, 0, sizeof *out);
    out->domain = domain, out->bus = bus, out->device = device;
    snprintf(out->busId, sizeof out->busId, "%08X:%02X:%02X.%X", domain, bus, device, function);
    return 0;
}
int efmlDeviceGetVirtualizationMode(Device d, int *out) { NEW(d); unsigned v; if (!narrow_of(say(card, "mode"), &v)) return 3; *out = (int)v; return 0; }
int efmlDeviceGetMemoryInfo(Device d, Memory *out) { NEW(d); return whole_of(say(card, "memory_total"), &out->total) && whole_of(say(card, "memory_used"), &out->used) ? 0 : 3; }
int efmlDeviceGetUtilizationRates(Device d, Utilization *out) { NEW(d); const char *t = say(card, "utilization"); return t && sscanf(t, "%u %u", &out->gcu, &out->memory) == 2 ? 0 : 3; }
int efmlDeviceGetPowerUsage(Device d, unsigned *out) { NEW(d); NUMBER(out, "power_mw"); }
int efmlDeviceGetEnforcedPowerLimit(Device d, unsigned *out) { NEW(d); NUMBER(out, "power_limit_mw"); }
int efmlDeviceGetTemperature(Device d, int sensor, int *out) { NEW(d); unsigned v; if (sensor || !narrow_of(say(card, "temperature"), &v)) return 3; *out = (int)v; return 0; }
int efmlDeviceGetTemperatureThreshold(Device d, int kind, unsigned *out) { NEW(d); if (kind != 1) return 3; NUMBER(out, "slowdown"); }
int efmlDeviceGetClockInfo(Device d, int type, unsigned *out) { NEW(d); char key[16]; snprintf(key, sizeof key, "clock_%d", type); NUMBER(out, key); }
int efmlDeviceGetMaxClockInfo(Device d, int type, unsigned *out) { NEW(d); if (type) return 3; NUMBER(out, "clock_max"); }
int efmlDeviceGetFanSpeed(Device d, unsigned *out) { NEW(d); NUMBER(out, "fan"); }
int efmlDeviceGetPcieThroughput(Device d, int counter, unsigned *out) { NEW(d); NUMBER(out, counter ? "pcie_rx" : "pcie_tx"); }
int efmlDeviceGetCurrPcieLinkGeneration(Device d, unsigned *out) { NEW(d); NUMBER(out, "generation"); }
int efmlDeviceGetCurrPcieLinkWidth(Device d, unsigned *out) { NEW(d); NUMBER(out, "width"); }
int efmlDeviceGetMaxPcieLinkGeneration(Device d, unsigned *out) { NEW(d); NUMBER(out, "generation_max"); }
int efmlDeviceGetMaxPcieLinkWidth(Device d, unsigned *out) { NEW(d); NUMBER(out, "width_max"); }
int efmlDeviceGetEncoderUtilization(Device d, unsigned *out, unsigned *period) { NEW(d); *period = 1; NUMBER(out, "encoder"); }
int efmlDeviceGetDecoderUtilization(Device d, unsigned *out, unsigned *period) { NEW(d); *period = 1; NUMBER(out, "decoder"); }
int efmlDeviceGetComputeRunningProcesses_v3(Device d, unsigned *count, Process *rows) {
    NEW(d);
    unsigned found = 0, pid;
    unsigned long long bytes;
    while (process_of(card, (int)found, &pid, &bytes)) {
        if (found < *count) rows[found] = (Process){pid, bytes, ~0u, ~0u};
        found++;
    }
    int short_ = found > *count;
    *count = found;
    return short_ ? 7 : 0;
}
#endif
