/* A stand-in for Cambricon's CNDev library, written from the public header's names and struct layouts.
 * soname: libcndev.so
 *
 * It answers what the file named in ULLAGE_CAMBRICON_SCENARIO says (../README.md), 10 (not supported) otherwise. It
 * takes structs up to the API version in `system version` (6), and answers 3 to newer ones and to none.
 */
#define SCENARIO_ENV "ULLAGE_CAMBRICON_SCENARIO"
#include <stdbool.h>
#include "../scenario.h"

enum { API_VERSION = 3, UNINITIALIZED = 4, BAD_ARGUMENT = 5, BAD_DEVICE = 6, NO_SPACE = 9, NOT_SUPPORTED = 10, TIMEOUT = 17 };

typedef int32_t Device;
typedef struct { int version; unsigned number; } CardInfo;
typedef struct { int version; uint8_t uuid[37]; uint64_t ncs; } Uuid;
typedef struct { int version; uint64_t sn, board; } Sn;
typedef struct { int version; unsigned mcu[3], driver[3]; } VersionInfo;
typedef struct {
    unsigned subsystem, device_id;
    uint16_t vendor, subsystem_vendor;
    unsigned domain, bus, device, function;
    uint16_t module, slot;
    uint32_t reserved[8];
} Pcie;
typedef struct { int64_t total, used, kept, vtotal, vused; uint64_t global; uint64_t reserved[16]; } MemoryV2;
typedef struct { int version; int64_t total, used, vtotal, vused, channels, channel[20]; uint64_t global; } MemoryV1;
typedef struct { int version, average, cores[80]; } Util;
typedef struct { int version; uint16_t chip; uint8_t count, cores[80]; } Cpu;
typedef struct { int version, vpu_count, vpu[20], enc_count, enc[20], dec_count, dec[20]; } Codec;
typedef struct { int usage, cap, machine, tdp, most, reserved[16]; } PowerV2;
typedef struct { int version, usage, cap, usage_decimal, machine, cap_decimal; uint16_t tdp, now, now_decimal; } PowerV1;
typedef struct { int version, board, cluster[20], die[8], chip, inlet, outlet, memory, video, cpu, isp; } Temp;
typedef struct {
    int version, board, ddr;
    uint8_t over, fast;
    uint16_t count, cluster[20];
    int dflt, range[2];
} Freq;
typedef struct { short core, soc, vcc, vdd, reserved[16]; } Volt;
typedef struct { int version; uint64_t counts[8]; } Ecc;
typedef struct {
    int version;
    uint32_t sram_sbe, sram_dbe, sram_parity, dram_sbe, dram_dbe;
    uint64_t life[5];
    bool exceeded;
    uint64_t reserved[11];
} MemEcc;
typedef struct { int version; unsigned pid; uint64_t physical, virtual_; } Process;
typedef struct { int version, health, device, driver; } HealthV1;
typedef struct { char msg[512]; uint32_t device_id, bdf; int code; uint32_t category, severity; } Detail;
typedef struct { int system, health; Detail error; } Incident;
typedef struct { int health, device, driver, overall; uint32_t count; Incident incidents[64]; uint32_t reserved[8]; } HealthV2;
typedef struct { int64_t read, write, read_total, write_total; uint64_t stamp; int64_t reserved[8]; } Throughput;
typedef struct { int mac, serdes, presence; uint32_t reserved[8]; } LinkStatus;
typedef struct { int version; uint64_t counters[18]; } LinkCounter;
typedef struct { int version; uint32_t corrected, uncorrected, histogram[3]; } Rows;
typedef struct { int version, cause; uint32_t count; uint64_t address[512]; } Pages;
typedef struct { int version; bool retire_pending, pending, failure; } Repair;
typedef struct { int32_t version; int reasons[6]; } Throttle;
typedef struct {
    int version, profile, instance;
    uint8_t uuid[37];
    int domain, bus, device, function;
    char profile_name[100], name[100], node[100];
    uint32_t quota[2];
    uint64_t memory[2];
    unsigned reserved[128];
} Smlu;
typedef struct {
    int version;
    Device parent;
    int instance, profile;
    uint8_t uuid[37];
    int domain, bus, device, function, placement[3], cores, vpus, jpus, gdmas, memory;
    char profile_name[100], node[100], ipcm[100], name[100];
    unsigned reserved[128];
} Mim;
typedef struct {
    uint32_t version;
    Device device;
    uint64_t data, type, timestamp;
    uint32_t compute, mlu;
    uint64_t reserved[8];
} EventData;

_Static_assert(sizeof(HealthV2) == 34612, "cndevCardHealthStateV2_t");
_Static_assert(sizeof(Smlu) == 904, "cndevSMluInfo_t");
_Static_assert(sizeof(MemoryV2) == 176, "cndevMemoryInfoV2_t");

static int ready;

static int present(char *out, size_t size, int number) {
    snprintf(out, size, "card %d", number);
    return exists(out) && !find(out, "gone");
}

/* The card behind a handle: the number in the scenario; with INDEX_HANDLES the index, which closes up. */
static int card_name(char *out, size_t size, Device device) {
#ifdef INDEX_HANDLES
    for (int i = 0, seen = 0; i < 64; i++)
        if (present(out, size, i) && seen++ == device) return 1;
    snprintf(out, size, "card none");
    return 0;
#else
    return present(out, size, device);
#endif
}

#define CARD(function)                                                       \
    char t[24];                                                              \
    int there, code;                                                         \
    pthread_mutex_lock(&lock); look(); there = card_name(t, sizeof t, device); pthread_mutex_unlock(&lock); \
    code = enter(t, function);                                               \
    if (code) return leave(code);                                            \
    if (!ready) return leave(UNINITIALIZED);                                 \
    if (!there) return leave(BAD_DEVICE)
#define VERSION(v) if ((int)(v) < 1 || (int)(v) > (int)number("system", "version", 6)) return leave(API_VERSION)
#define VALUE(key) const char *text = find(t, key); if (!text) return leave(NOT_SUPPORTED)

int cndevInit(int reserved) {
    (void)reserved;
    int code = enter(NULL, "cndevInit");
    if (!code) ready = 1;
    return leave(code);
}

int cndevRelease(void) {
    ready = 0;
    return leave(enter(NULL, "cndevRelease"));
}

int cndevGetDeviceCount(CardInfo *out) {
    int code = enter(NULL, "cndevGetDeviceCount");
    if (code) return leave(code);
    VERSION(out->version);
    char t[24];
    out->number = 0;
    for (int i = 0; i < 64; i++) out->number += (unsigned)present(t, sizeof t, i);
    return leave(0);
}

/* the handle is the number in the scenario; indexes close up when a card is gone */
int cndevGetDeviceHandleByIndex(int index, Device *out) {
    int code = enter(NULL, "cndevGetDeviceHandleByIndex"), seen = 0;
    if (code) return leave(code);
    char t[24];
    for (int i = 0; i < 64; i++)
        if (present(t, sizeof t, i) && seen++ == index) {
#ifdef INDEX_HANDLES
            *out = index;
#else
            *out = i;
#endif
            return leave(0);
        }
    return leave(BAD_DEVICE);
}

int cndevGetUUID(Uuid *out, Device device) {
    CARD("cndevGetUUID");
    VERSION(out->version);
    VALUE("uuid");
    memcpy(out->uuid, text, strlen(text) < 37 ? strlen(text) : 37);
    return leave(0);
}

int cndevGetCardSN(Sn *out, Device device) {
    CARD("cndevGetCardSN");
    VERSION(out->version);
    VALUE("sn");
    out->sn = strtoull(text, NULL, 16);
    return leave(0);
}

int cndevGetPCIeInfoV2(Pcie *out, Device device) {
    CARD("cndevGetPCIeInfoV2");
    VALUE("pci");
    if (sscanf(text, "%x:%x:%x.%x", &out->domain, &out->bus, &out->device, &out->function) != 4) return leave(BAD_ARGUMENT);
    out->vendor = 0xcabc;
    out->slot = 0xFFFF;
    return leave(0);
}

const char *cndevGetCardNameStringByDevId(Device device) {
    static char name[64];
    char t[24];
    pthread_mutex_lock(&lock);
    look();
    card_name(t, sizeof t, device);
    copy(name, sizeof name, find(t, "name"));
    pthread_mutex_unlock(&lock);
    return name;
}

int cndevGetVersionInfo(VersionInfo *out, Device device) {
    CARD("cndevGetVersionInfo");
    VERSION(out->version);
    VALUE("driver");
    sscanf(text, "%u.%u.%u", &out->driver[0], &out->driver[1], &out->driver[2]);
    out->mcu[0] = 1; out->mcu[1] = 1; out->mcu[2] = 6;
    return leave(0);
}

int cndevGetCoreCount(CardInfo *out, Device device) {
    CARD("cndevGetCoreCount");
    VERSION(out->version);
    VALUE("cores");
    out->number = (unsigned)part(text, 0, 0);
    return leave(0);
}

int cndevGetMemoryUsageV2(MemoryV2 *out, Device device) {
    CARD("cndevGetMemoryUsageV2");
    VALUE("memory"); /* total, used, reserved MB */
    out->total = (int64_t)part(text, 0, 0);
    out->used = (int64_t)part(text, 1, 0);
    out->kept = (int64_t)part(text, 2, 0);
    out->vtotal = 1 << 20;
    return leave(0);
}

int cndevGetMemoryUsage(MemoryV1 *out, Device device) {
    CARD("cndevGetMemoryUsage");
    VERSION(out->version);
    VALUE("memory");
    out->total = (int64_t)part(text, 0, 0);
    out->used = (int64_t)part(text, 1, 0);
    return leave(0);
}

int cndevGetDeviceUtilizationInfo(Util *out, Device device) {
    CARD("cndevGetDeviceUtilizationInfo");
    VERSION(out->version);
    VALUE("utilization");
    out->average = (int)part(text, 0, 0);
    return leave(0);
}

int cndevGetDeviceCPUUtilization(Cpu *out, Device device) {
    CARD("cndevGetDeviceCPUUtilization");
    VERSION(out->version);
    VALUE("cpu");
    out->chip = (uint16_t)part(text, 0, 0);
    return leave(0);
}

int cndevGetVideoCodecUtilization(Codec *out, Device device) {
    CARD("cndevGetVideoCodecUtilization");
    VERSION(out->version);
    VALUE("codec"); /* encoder encoder decoder */
    out->enc_count = 2; out->dec_count = 1;
    out->enc[0] = (int)part(text, 0, 0); out->enc[1] = (int)part(text, 1, 0); out->dec[0] = (int)part(text, 2, 0);
    return leave(0);
}

int cndevGetDevicePowerInfo(PowerV2 *out, Device device) {
    CARD("cndevGetDevicePowerInfo");
    VALUE("power");
    out->usage = (int)part(text, 0, 0);
    out->cap = (int)part(text, 1, 0);
    return leave(0);
}

int cndevGetPowerInfo(PowerV1 *out, Device device) {
    CARD("cndevGetPowerInfo");
    VERSION(out->version);
    VALUE("power");
    out->usage = (int)part(text, 0, 0);
    out->cap = (int)part(text, 1, 0);
    return leave(0);
}

int cndevGetTemperatureInfo(Temp *out, Device device) {
    CARD("cndevGetTemperatureInfo");
    VERSION(out->version);
    VALUE("temperature"); /* chip, board, memory, cluster 0 */
    out->chip = (int)part(text, 0, 0);
    out->board = (int)part(text, 1, 0);
    out->memory = (int)part(text, 2, 0);
    out->cluster[0] = (int)part(text, 3, 0);
    return leave(0);
}

int cndevGetFrequencyInfo(Freq *out, Device device) {
    CARD("cndevGetFrequencyInfo");
    VERSION(out->version);
    VALUE("frequency"); /* core, DDR, highest */
    out->board = (int)part(text, 0, 0);
    out->ddr = (int)part(text, 1, 0);
    out->range[1] = (int)part(text, 2, 0);
    return leave(0);
}

int cndevGetVoltageInfo(Volt *out, Device device) {
    CARD("cndevGetVoltageInfo");
    VALUE("voltage");
    out->core = (short)part(text, 0, 0);
    return leave(0);
}

int cndevGetPerformanceThrottleReason(Throttle *out, Device device) {
    CARD("cndevGetPerformanceThrottleReason");
    VERSION(out->version);
    VALUE("throttle");
    for (int i = 0; i < 6; i++) out->reasons[i] = (int)part(text, i, 0);
    return leave(0);
}

int cndevGetECCInfo(Ecc *out, Device device) {
    CARD("cndevGetECCInfo");
    VERSION(out->version);
    VALUE("ecc"); /* corrected, uncorrected */
    out->counts[4] = (uint64_t)part(text, 0, 0);
    out->counts[5] = (uint64_t)part(text, 1, 0);
    return leave(0);
}

int cndevGetMemEccCounter(MemEcc *out, Device device) {
    CARD("cndevGetMemEccCounter");
    VERSION(out->version);
    VALUE("memecc"); /* SRAM SBE, DBE, parity, DRAM SBE, DBE, life DRAM SBE, DBE */
    out->sram_sbe = (uint32_t)part(text, 0, 0); out->sram_dbe = (uint32_t)part(text, 1, 0);
    out->sram_parity = (uint32_t)part(text, 2, 0); out->dram_sbe = (uint32_t)part(text, 3, 0);
    out->dram_dbe = (uint32_t)part(text, 4, 0);
    out->life[0] = (uint64_t)part(text, 5, 0); out->life[1] = (uint64_t)part(text, 6, 0);
    return leave(0);
}

int cndevGetProcessInfo(unsigned *count, Process *rows, Device device) {
    CARD("cndevGetProcessInfo");
    VERSION(rows[0].version);
    VALUE("processes"); /* pid KiB pid KiB ...; or `many N`: N processes of 1 KiB */
    unsigned room = *count, there_are = 0;
    if (find(t, "many")) there_are = (unsigned)number(t, "many", 0);
    else while (part(text, 2 * (int)there_are, 0) > 0) there_are++;
    *count = there_are;
    if (there_are > room) return leave(NO_SPACE);
    for (unsigned i = 0; i < there_are; i++) {
        rows[i].pid = find(t, "many") ? 1000 + i : (unsigned)part(text, 2 * (int)i, 0);
        rows[i].physical = find(t, "many") ? 1 : (uint64_t)part(text, 2 * (int)i + 1, 0);
    }
    return leave(0);
}

int cndevGetCardHealthState(HealthV1 *out, Device device) {
    CARD("cndevGetCardHealthState");
    VERSION(out->version);
    VALUE("health"); /* device, driver, overall */
    out->device = (int)part(text, 0, 0);
    out->driver = (int)part(text, 1, 0);
    return leave(0);
}

/* incidents: system:health:code:message ... */
int cndevGetCardHealthStateV2(HealthV2 *out, Device device) {
    CARD("cndevGetCardHealthStateV2");
    VALUE("health");
    out->device = (int)part(text, 0, 0);
    out->driver = (int)part(text, 1, 0);
    out->overall = (int)part(text, 2, 0);
    char words[400], *save = NULL;
    copy(words, sizeof words, find(t, "incidents"));
    for (char *word = strtok_r(words, " ", &save); word && out->count < 64; word = strtok_r(NULL, " ", &save)) {
        Incident *one = &out->incidents[out->count++];
        sscanf(word, "%d:%d:%d:%511s", &one->system, &one->health, &one->error.code, one->error.msg);
    }
    out->count = (uint32_t)number(t, "incident_count", out->count);
    return leave(0);
}

int cndevGetCardHeartbeatCount(CardInfo *out, Device device) {
    CARD("cndevGetCardHeartbeatCount");
    VERSION(out->version);
    VALUE("heartbeat");
    out->number = (unsigned)part(text, 0, 0);
    return leave(0);
}

int cndevGetPcieReplayCounter(CardInfo *out, Device device) {
    CARD("cndevGetPcieReplayCounter");
    VERSION(out->version);
    VALUE("replays");
    out->number = (unsigned)part(text, 0, 0);
    return leave(0);
}

int cndevGetPCIethroughputV2(Throughput *out, Device device) {
    CARD("cndevGetPCIethroughputV2");
    VALUE("pcie"); /* read total, write total */
    out->read_total = (int64_t)part(text, 0, 0);
    out->write_total = (int64_t)part(text, 1, 0);
    return leave(0);
}

int cndevGetMLULinkPortNumber(Device device) {
    char t[24];
    pthread_mutex_lock(&lock);
    look();
    card_name(t, sizeof t, device);
    int ports = (int)number(t, "ports", 0);
    pthread_mutex_unlock(&lock);
    return ports;
}

int cndevGetMLULinkStatusV2(LinkStatus *out, Device device, int link) {
    CARD("cndevGetMLULinkStatusV2");
    VALUE("macs"); /* MAC state of each port */
    out->mac = (int)part(text, link, 0);
    return leave(0);
}

int cndevGetMLULinkCounter(LinkCounter *out, Device device, int link) {
    CARD("cndevGetMLULinkCounter");
    VERSION(out->version);
    VALUE("link_counters"); /* read, write, replay, CRC24, CRC32, the same for each port */
    (void)link;
    out->counters[0] = (uint64_t)part(text, 0, 0); out->counters[2] = (uint64_t)part(text, 1, 0);
    out->counters[4] = (uint64_t)part(text, 2, 0); out->counters[7] = (uint64_t)part(text, 3, 0);
    out->counters[8] = (uint64_t)part(text, 4, 0);
    return leave(0);
}

static int remapped(Rows *out, Device device, const char *name, const char *key) {
    CARD(name);
    VERSION(out->version);
    VALUE(key);
    out->corrected = (uint32_t)part(text, 0, 0);
    out->uncorrected = (uint32_t)part(text, 1, 0);
    return leave(0);
}

int cndevGetRemappedRowsV2(Rows *out, Device device) { return remapped(out, device, "cndevGetRemappedRowsV2", "rows_v2"); }
int cndevGetRemappedRows(Rows *out, Device device) { return remapped(out, device, "cndevGetRemappedRows", "rows_v1"); }

int cndevGetRetiredPages(Pages *out, Device device) {
    CARD("cndevGetRetiredPages");
    VERSION(out->version);
    VALUE("pages"); /* single bit, double bit */
    out->count = (uint32_t)part(text, out->cause, 0);
    return leave(0);
}

int cndevGetRepairStatus(Repair *out, Device device) {
    CARD("cndevGetRepairStatus");
    VERSION(out->version);
    VALUE("repair"); /* retire pending, pending, failure */
    out->retire_pending = part(text, 0, 0) > 0;
    out->pending = part(text, 1, 0) > 0;
    out->failure = part(text, 2, 0) > 0;
    return leave(0);
}

int cndevGetMimMode(CardInfo *out, Device device) {
    CARD("cndevGetMimMode");
    VERSION(out->version);
    out->number = find(t, "mim") != NULL;
    return leave(0);
}

int cndevGetSMLUMode(CardInfo *out, Device device) {
    CARD("cndevGetSMLUMode");
    VERSION(out->version);
    out->number = find(t, "smlu") != NULL;
    return leave(0);
}

int cndevGetAllSMluInstanceInfo(int *count, Smlu *rows, Device device) {
    CARD("cndevGetAllSMluInstanceInfo");
    VERSION(rows[0].version);
    VALUE("smlu"); /* instance, quota, quota used, bytes, bytes used, profile */
    if (*count < 1) { *count = 1; return leave(NO_SPACE); }
    *count = 1;
    rows[0].instance = (int)part(text, 0, 0);
    rows[0].quota[0] = (uint32_t)part(text, 1, 0); rows[0].quota[1] = (uint32_t)part(text, 2, 0);
    rows[0].memory[0] = (uint64_t)part(text, 3, 0); rows[0].memory[1] = (uint64_t)part(text, 4, 0);
    copy(rows[0].profile_name, 100, strrchr(text, ' ') + 1);
    return leave(0);
}

int cndevGetAllMluInstanceInfo(int *count, Mim *rows, Device device) {
    CARD("cndevGetAllMluInstanceInfo");
    VERSION(rows[0].version);
    VALUE("mim"); /* instance, cores, MB, profile */
    *count = 1;
    rows[0].instance = (int)part(text, 0, 0);
    rows[0].cores = (int)part(text, 1, 0);
    rows[0].memory = (int)part(text, 2, 0);
    copy(rows[0].profile_name, 100, strrchr(text, ' ') + 1);
    return leave(0);
}

/* ---- events: every `system xid N: device code` is given once, in order of N */

static int registered[64], given;

int cndevEventHandleCreate(void **out) {
    int code = enter(NULL, "cndevEventHandleCreate");
    *out = &given;
    return leave(code);
}

int cndevEventHandleDestroy(void *handle) { return handle == &given ? 0 : BAD_ARGUMENT; }

int cndevRegisterEvents(void *handle, uint64_t types, Device device) {
    if (handle != &given || !(types & 1)) return BAD_ARGUMENT;
    if (device >= 0 && device < 64) registered[device] = 1;
    return 0;
}

int cndevEventWait(void *handle, EventData *out, int timeout) {
    (void)timeout;
    int code = enter(NULL, "cndevEventWait");
    if (code) return leave(code);
    if (handle != &given) return leave(BAD_ARGUMENT);
    VERSION(out->version);
    char key[24];
    snprintf(key, sizeof key, "xid%d", given);
    const char *text = find("system", key);
    if (!text) return leave(TIMEOUT);
    int device = (int)part(text, 0, 0);
    if (device < 0 || device > 63 || !registered[device]) return leave(TIMEOUT);
    out->device = device;
    out->type = 1;
    out->data = (uint64_t)part(text, 1, 0);
    out->timestamp = 1700000000;
    given++;
    return leave(0);
}
