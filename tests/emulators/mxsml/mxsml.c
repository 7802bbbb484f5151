/* A stand-in for MetaX's MXSML, written from the public header's names and layouts (mx_sml.h).
 * soname: libmxsml.so
 *
 * It answers what ULLAGE_METAX_SCENARIO says (see ../README.md), OPERATION_NOT_SUPPORT (3) otherwise. As the real
 * one it finds cards when it is initialised, and again only when that is asked for by flag; `system rescan 1`
 * makes it look at every call instead. -DOLD leaves out what came later: sGPU, process v2, init with flags.
 */
#define SCENARIO_ENV "ULLAGE_METAX_SCENARIO"
#define LOST_CODE 4 /* a sysfs error: the library has no word for a card that fell off */
#include "../handles.h"

typedef struct { unsigned deviceId, type; char bdf[32]; unsigned gpuId, nodeId; char uuid[96]; unsigned brand, mode; char name[32]; } DeviceInfo;
typedef struct { int number; int id[128]; } Ids;
typedef struct { long vis_total, vis_used, total, used, xtt_total, xtt_used; } Memory;
typedef struct { unsigned voltage, current, power; } Electric;
typedef struct { float speed; unsigned width; } Pcie;
typedef struct { int rx, tx; } Throughput;
typedef struct { unsigned sram_ce, sram_ue, dram_ce, dram_ue, retired; } Ecc;
typedef struct { int code; char reason[64]; } Reason;
typedef struct { int bit, count; char first[20], name[64]; } Event;
typedef struct { char bdf[32]; unsigned gpu; unsigned long used; } Gpu;
typedef struct { char bdf[32]; unsigned gpu; unsigned long used; unsigned die; } Gpu2;
typedef struct { unsigned pid; char name[64]; unsigned count; Gpu gpus[64]; } Process;
typedef struct { unsigned pid; char name[64]; unsigned count; Gpu2 gpus[64]; } Process2;
typedef struct { unsigned parent, id, vram, priority, compute, minor, device_priority; char uuid[96]; } Sgpu;
typedef struct { long total, used, free_; } SgpuMemory;

#define VIRTUAL_BASE 100 /* device id 100 + 10 N + M is function M of card N */

static int initialised, known[MOST_CARDS], known_count;

static void discover(void) {
    known_count = 0;
    for (int c = 0; c < MOST_CARDS; c++)
        if (there(c) && !say(c, "limited")) known[known_count++] = c;
}

static int card_of(unsigned id) {
    if (say(SYSTEM, "rescan")) discover();
    if (id < (unsigned)known_count) return known[id];
    if (id >= VIRTUAL_BASE && id < VIRTUAL_BASE + 10 * MOST_CARDS) return (int)(id - VIRTUAL_BASE) / 10;
    return -1;
}

#define ENTER(id)                                          \
    if (!initialised) return 1;                            \
    int card = card_of(id);                                \
    if (card < 0) return 6;                                \
    int code = begin(card, __func__);                      \
    if (code) return code
#define NUMBER(out, key) return narrow_of(say(card, key), out) ? 0 : 3

int mxSmlInit(void) {
    int code = begin(SYSTEM, __func__);
    if (code) return code;
    if (!initialised) discover();
    initialised = 1;
    return known_count || say(SYSTEM, "limited") ? 0 : 2;
}
#ifndef OLD
int mxSmlInitWithFlags(unsigned flags) {
    int code = begin(SYSTEM, __func__);
    if (code) return code;
    if (flags == 1 || !initialised) discover();
    initialised = 1;
    return 0;
}
#endif
unsigned mxSmlGetDeviceCount(void) {
    begin(SYSTEM, __func__);
    if (say(SYSTEM, "rescan")) discover();
    unsigned count = (unsigned)known_count;
    return count;
}
unsigned mxSmlGetPfDeviceCount(void) {
    unsigned count = 0;
    for (int i = 0; i < known_count; i++) count += say(known[i], "mode") && atoi(say(known[i], "mode")) == 1;
    return count;
}
const char *mxSmlGetErrorString(unsigned code) { (void)code; return "an error"; }
int mxSmlGetMacaVersion(char *out, unsigned *length) { return text_into(say(SYSTEM, "maca_version"), out, *length) ? 0 : 3; }
int mxSmlGetDeviceInfo(unsigned id, DeviceInfo *out) {
    ENTER(id);
    memset(out, 0, sizeof *out);
    out->deviceId = id;
    if (id >= VIRTUAL_BASE) {
        int m = (int)(id - VIRTUAL_BASE) % 10;
        if (!part_exists(card, m)) return 6;
        text_into(say_part(card, m, "pci"), out->bdf, sizeof out->bdf);
        text_into(say_part(card, m, "uuid"), out->uuid, sizeof out->uuid);
        out->mode = 2;
        return 0;
    }
    text_into(say(card, "pci"), out->bdf, sizeof out->bdf);
    text_into(say(card, "uuid"), out->uuid, sizeof out->uuid);
    text_into(say(card, "name"), out->name, sizeof out->name);
    narrow_of(say(card, "brand"), &out->brand);
    narrow_of(say(card, "mode"), &out->mode);
    return 0;
}
int mxSmlGetAllLimitedDevices(Ids *out) {
    begin(SYSTEM, __func__);
    out->number = 0;
    for (int c = 0; c < MOST_CARDS; c++)
        if (there(c) && say(c, "limited")) out->id[out->number++] = c;
    return 0;
}
int mxSmlGetLimitedDeviceInfo(unsigned id, DeviceInfo *out) {
    memset(out, 0, sizeof *out);
    out->deviceId = id;
    return text_into(say((int)id, "pci"), out->bdf, sizeof out->bdf) ? 0 : 6;
}
int mxSmlGetVirtualDevicesByPhysicalId(unsigned id, Ids *out) {
    ENTER(id);
    out->number = 0;
    for (int m = 0; m < 10; m++)
        if (part_exists(card, m) && say_part(card, m, "pci")) out->id[out->number++] = VIRTUAL_BASE + 10 * card + m;
    return 0;
}
int mxSmlGetDeviceVersion(unsigned id, unsigned unit, char *out, unsigned *length) {
    ENTER(id);
    return text_into(say(card, unit == 0 ? "bios" : unit == 1 ? "driver" : "no"), out, *length) ? 0 : 3;
}
int mxSmlGetBoardSerial(unsigned id, char *out, unsigned *length) { ENTER(id); return text_into(say(card, "serial"), out, *length) ? 0 : 3; }
int mxSmlGetMemoryInfo(unsigned id, Memory *out) {
    ENTER(id);
    int m = (int)(id - VIRTUAL_BASE) % 10;
    const char *text = id >= VIRTUAL_BASE ? say_part(card, m, "memory") : say(card, "memory");
    memset(out, 0, sizeof *out);
    return text && sscanf(text, "%ld %ld", &out->used, &out->total) == 2 ? 0 : 3;
}
int mxSmlGetDeviceIpUsage(unsigned id, unsigned ip, int *out) {
    ENTER(id);
    char key[24];
    unsigned value;
    snprintf(key, sizeof key, "usage_%u", ip);
    const char *text = id >= VIRTUAL_BASE ? say_part(card, (int)(id - VIRTUAL_BASE) % 10, key) : say(card, key);
    if (!narrow_of(text, &value)) return 3;
    *out = (int)value;
    return 0;
}
int mxSmlGetBoardPowerInfo(unsigned id, unsigned *count, Electric *out) {
    ENTER(id);
    unsigned ways[3];
    const char *text = say(card, "power");
    int n = text ? sscanf(text, "%u %u %u", &ways[0], &ways[1], &ways[2]) : 0;
    if (n <= 0) return 3;
    if (*count < (unsigned)n) { *count = (unsigned)n; return 10; }
    for (int i = 0; i < n; i++) out[i] = (Electric){12000, 0, ways[i]};
    *count = (unsigned)n;
    return 0;
}
int mxSmlGetBoardPowerLimit(unsigned id, unsigned *out) { ENTER(id); NUMBER(out, "power_limit"); }
int mxSmlGetTemperatureInfo(unsigned id, unsigned sensor, int *out) {
    ENTER(id);
    char key[24];
    unsigned value;
    snprintf(key, sizeof key, "temperature_%u", sensor);
    if (!narrow_of(say(card, key), &value)) return 3;
    *out = (int)value;
    return 0;
}
static int clocks(const char *text, unsigned *count, unsigned *out) {
    unsigned there_are[3];
    int n = text ? sscanf(text, "%u %u %u", &there_are[0], &there_are[1], &there_are[2]) : 0;
    if (n <= 0) return 3;
    if (*count < (unsigned)n) { *count = (unsigned)n; return 10; }
    memcpy(out, there_are, sizeof(unsigned) * (size_t)n);
    *count = (unsigned)n;
    return 0;
}
int mxSmlGetClocks(unsigned id, unsigned ip, unsigned *count, unsigned *out) { ENTER(id); char key[24]; snprintf(key, sizeof key, "clock_%u", ip); return clocks(say(card, key), count, out); }
int mxSmlGetDpmIpClockInfo(unsigned id, unsigned ip, unsigned *out, unsigned *count) { ENTER(id); char key[24]; snprintf(key, sizeof key, "dpm_%u", ip); return clocks(say(card, key), count, out); }
int mxSmlGetPcieInfo(unsigned id, Pcie *out) { ENTER(id); const char *text = say(card, "pcie"); return text && sscanf(text, "%f %u", &out->speed, &out->width) == 2 ? 0 : 3; }
int mxSmlGetPcieMaxLinkInfo(unsigned id, Pcie *out) { ENTER(id); const char *text = say(card, "pcie_max"); return text && sscanf(text, "%f %u", &out->speed, &out->width) == 2 ? 0 : 3; }
int mxSmlGetPcieThroughput(unsigned id, Throughput *out) { ENTER(id); const char *text = say(card, "throughput"); return text && sscanf(text, "%d %d", &out->rx, &out->tx) == 2 ? 0 : 3; }
int mxSmlGetFanSpeedInfo(unsigned id, unsigned *rpm, unsigned *pwm) { ENTER(id); *pwm = 0; NUMBER(rpm, "fan"); }
int mxSmlGetCurrentClocksThrottleReason(unsigned id, unsigned long long *out) { ENTER(id); return whole_of(say(card, "throttle"), out) ? 0 : 4; }
int mxSmlGetMetaXLinkPortState(unsigned id, unsigned *out, unsigned *count) {
    ENTER(id);
    const char *text = say(card, "ports");
    if (!text || *count < 7) return text ? 10 : 3;
    for (int i = 0; i < 7; i++) out[i] = (unsigned)part(text, i, 5);
    *count = 7;
    return 0;
}
int mxSmlGetTotalEccErrors(unsigned id, Ecc *out) {
    ENTER(id);
    const char *text = say(card, "ecc");
    return text && sscanf(text, "%u %u %u %u %u", &out->sram_ce, &out->sram_ue, &out->dram_ce, &out->dram_ue, &out->retired) == 5 ? 0 : 3;
}
int mxSmlGetDeviceUnavailableReason(unsigned id, Reason *out) {
    ENTER(id);
    const char *text = say(card, "unavailable");
    memset(out, 0, sizeof *out);
    if (text) out->code = atoi(text);
    if (text && strchr(text, ' ')) snprintf(out->reason, sizeof out->reason, "%s", strchr(text, ' ') + 1);
    return 0;
}
int mxSmlGetPciEventInfo(unsigned id, unsigned type, Event *out, unsigned *count) {
    ENTER(id);
    char key[16];
    snprintf(key, sizeof key, "event_%u", type);
    const char *text = say(card, key);
    if (text && *count < 1) return 10;
    *count = text ? 1 : 0;
    if (text) {
        memset(out, 0, sizeof *out);
        sscanf(text, "%d %d %63[^\n]", &out->bit, &out->count, out->name);
    }
    return 0;
}
static int process_rows(int card, unsigned *count, void *rows, int second) {
    unsigned found = 0, pid;
    unsigned long long bytes;
    while (process_of(card, (int)found, &pid, &bytes)) {
        if (found < *count && !second) {
            Process *p = &((Process *)rows)[found];
            memset(p, 0, sizeof *p);
            p->pid = pid;
            p->count = 1;
            p->gpus[0].used = bytes;
            text_into(say(card, "pci"), p->gpus[0].bdf, sizeof p->gpus[0].bdf);
        } else if (found < *count) { /* of two cards: only the bytes on this one are asked for */
            Process2 *p = &((Process2 *)rows)[found];
            memset(p, 0, sizeof *p);
            p->pid = pid;
            p->count = 2;
            p->gpus[0].used = 12345;
            snprintf(p->gpus[0].bdf, sizeof p->gpus[0].bdf, "0000:ff:00.0");
            p->gpus[1].used = bytes;
            text_into(say(card, "pci"), p->gpus[1].bdf, sizeof p->gpus[1].bdf);
        }
        found++;
    }
    int short_ = found > *count;
    *count = found;
    return short_ ? 10 : 0;
}
int mxSmlGetSingleGpuProcess(unsigned id, unsigned *count, Process *rows) { ENTER(id); return process_rows(card, count, rows, 0); }
#ifndef OLD
int mxSmlGetSingleGpuProcess_v2(unsigned id, unsigned *count, Process2 *rows) { ENTER(id); return process_rows(card, count, rows, 1); }
int mxSmlGetSgpuToggle(unsigned id, unsigned *out) { ENTER(id); NUMBER(out, "sgpu"); }
unsigned mxSmlGetSgpuCount(unsigned id) {
    int card = card_of(id);
    unsigned count = 0;
    for (int m = 0; m < 16; m++) count += part_exists(card, m) && say_part(card, m, "quota") != NULL;
    return count;
}
int mxSmlGetSgpuInfo(unsigned id, unsigned sgpu, Sgpu *out) {
    ENTER(id);
    const char *text = say_part(card, (int)sgpu, "quota");
    if (!text) return 3;
    memset(out, 0, sizeof *out);
    out->parent = id;
    out->id = sgpu;
    sscanf(text, "%u %u", &out->compute, &out->vram);
    text_into(say_part(card, (int)sgpu, "uuid"), out->uuid, sizeof out->uuid);
    return 0;
}
int mxSmlGetSgpuMemory(unsigned id, unsigned sgpu, SgpuMemory *out) {
    ENTER(id);
    const char *text = say_part(card, (int)sgpu, "memory");
    if (!text || sscanf(text, "%ld %ld", &out->used, &out->total) != 2) return 3;
    out->free_ = out->total - out->used;
    return 0;
}
int mxSmlGetSgpuUsage(unsigned id, unsigned sgpu, int *out) { ENTER(id); unsigned value; if (!narrow_of(say_part(card, (int)sgpu, "usage"), &value)) return 3; *out = (int)value; return 0; }
#endif
