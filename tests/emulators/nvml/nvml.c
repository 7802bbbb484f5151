/* A stand-in for NVIDIA's management library, written from the public header's names and struct layouts.
 * soname: libnvidia-ml.so.1
 *
 * It answers what the file named in ULLAGE_NVML_SCENARIO says (see ../README.md), NOT_SUPPORTED otherwise.
 * The file is read again when it changes; a value that is not there any more is not supported any more.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4,
    NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15, VERSION_MISMATCH = 25, UNKNOWN = 999
};

#define MOST_CARDS 64
#define MOST_MIGS 16
#define MOST_VALUES 640
#define NO_INSTANCE 0xFFFFFFFFu

typedef struct { char key[72]; char text[160]; } Value;
typedef struct Thing {
    int exists;              /* named in the scenario */
    struct Thing *parent;    /* of a MIG device */
    int count;
    Value values[MOST_VALUES];
} Thing;

static Thing *system_thing, *cards[MOST_CARDS], *migs[MOST_CARDS][MOST_MIGS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int initialized;

/* ---- the scenario */

static Thing *thing(Thing **place) {
    if (!*place) *place = calloc(1, sizeof(Thing));
    if (!*place) abort();
    return *place;
}

static void put(Thing *t, const char *key, const char *text) {
    if (t->count >= MOST_VALUES) return;
    Value *v = &t->values[t->count++];
    snprintf(v->key, sizeof v->key, "%s", key);
    snprintf(v->text, sizeof v->text, "%s", text);
    t->exists = 1;
}

static const char *find(const Thing *t, const char *key) {
    if (!t) return NULL;
    for (int i = t->count - 1; i >= 0; i--) /* the last line of a key counts */
        if (strcmp(t->values[i].key, key) == 0) return t->values[i].text;
    return NULL;
}

static void forget(void) {
    if (system_thing) system_thing->count = system_thing->exists = 0;
    for (int c = 0; c < MOST_CARDS; c++) {
        if (cards[c]) cards[c]->count = cards[c]->exists = 0;
        for (int m = 0; m < MOST_MIGS; m++)
            if (migs[c][m]) migs[c][m]->count = migs[c][m]->exists = 0;
    }
}

/* keys whose first argument is part of the key: "field 185 uint 3" is kept as field:185 -> "uint 3" */
static int has_argument(const char *key) {
    static const char *names[] = {"field", "gpm", "link", "fail", "hang", "process", "process_util", NULL};
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], key) == 0) return 1;
    return 0;
}

static void take_line(char *line) {
    char *save = NULL, *word, key[72];
    line[strcspn(line, "\r\n")] = 0;
    if (!(word = strtok_r(line, " \t", &save)) || *word == '#') return;
    Thing *t = NULL;
    if (strcmp(word, "system") == 0) {
        t = thing(&system_thing);
    } else if (strcmp(word, "card") == 0 || strcmp(word, "mig") == 0) {
        int is_mig = *word == 'm';
        char *card_word = strtok_r(NULL, " \t", &save);
        if (!card_word) return;
        int card = atoi(card_word);
        if (card < 0 || card >= MOST_CARDS) return;
        t = thing(&cards[card]);
        if (is_mig) {
            char *mig_word = strtok_r(NULL, " \t", &save);
            int number = mig_word ? atoi(mig_word) : -1;
            if (number < 0 || number >= MOST_MIGS) return;
            Thing *parent = t;
            t = thing(&migs[card][number]);
            t->parent = parent;
        }
    } else {
        fprintf(stderr, "nvml emulator: a line begins with %s\n", word);
        return;
    }
    if (!(word = strtok_r(NULL, " \t", &save))) return;
    if (has_argument(word)) {
        char *argument = strtok_r(NULL, " \t", &save);
        snprintf(key, sizeof key, "%s:%s", word, argument ? argument : "");
    } else {
        snprintf(key, sizeof key, "%s", word);
    }
    while (save && (*save == ' ' || *save == '\t')) save++;
    put(t, key, save && *save ? save : "1");
}

static void look(void) {
    static struct timespec looked;
    static struct stat before;
    const char *path = getenv("ULLAGE_NVML_SCENARIO");
    struct timespec now;
    struct stat st;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double since = (double)(now.tv_sec - looked.tv_sec) + (double)(now.tv_nsec - looked.tv_nsec) / 1e9;
    if (looked.tv_sec && since < 0.01) return; /* cheap enough to be measured against */
    looked = now;
    if (!path || stat(path, &st) != 0) {
        forget();
        memset(&before, 0, sizeof before);
        return;
    }
    if (st.st_mtim.tv_sec == before.st_mtim.tv_sec && st.st_mtim.tv_nsec == before.st_mtim.tv_nsec &&
        st.st_size == before.st_size && st.st_ino == before.st_ino)
        return;
    before = st;
    FILE *file = fopen(path, "r");
    if (!file) return;
    forget();
    char line[512];
    while (fgets(line, sizeof line, file)) take_line(line);
    fclose(file);
}

static void hang(void) {
    pthread_mutex_unlock(&lock);
    for (;;) pause();
}

/* What every call begins with: 0 to go on, else the code to answer. Holds the lock until leave(). */
static int enter(const Thing *t, const char *function) {
    char key[72];
    pthread_mutex_lock(&lock);
    look();
    const Thing *asked[] = {system_thing, t ? t->parent : NULL, t};
    for (int i = 0; i < 3; i++) {
        const char *text;
        if (!asked[i]) continue;
        snprintf(key, sizeof key, "hang:%s", function);
        if (find(asked[i], key)) hang();
        snprintf(key, sizeof key, "fail:%s", function);
        if ((text = find(asked[i], key))) return atoi(text);
    }
    if (!initialized) return UNINITIALIZED;
    for (int i = 1; i < 3; i++)
        if (asked[i] && (!asked[i]->exists || find(asked[i], "lost") || find(asked[i], "gone")))
            return GPU_IS_LOST;
    return SUCCESS;
}

static int leave(int code) {
    pthread_mutex_unlock(&lock);
    return code;
}

#define ENTER(t, function)                            \
    int code_ = enter((t), (function));               \
    if (code_) return leave(code_)

static int number(const Thing *t, const char *key, double *out) {
    const char *text = find(t, key);
    if (!text) return NOT_SUPPORTED;
    *out = strtod(text, NULL);
    return SUCCESS;
}

static int whole(const Thing *t, const char *key, unsigned long long *out) {
    const char *text = find(t, key);
    if (!text) return NOT_SUPPORTED;
    *out = *text == '-' ? (unsigned long long)strtoll(text, NULL, 0) : strtoull(text, NULL, 0);
    return SUCCESS;
}

static int narrow(const Thing *t, const char *key, unsigned int *out) {
    unsigned long long wide;
    int code = whole(t, key, &wide);
    if (code == SUCCESS) *out = (unsigned int)wide;
    return code;
}

static int text_of(const Thing *t, const char *key, char *out, unsigned int length) {
    const char *text = find(t, key);
    if (!text) return NOT_SUPPORTED;
    if (strlen(text) + 1 > length) return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return SUCCESS;
}

#define GET_UINT(function, key)                       \
    int function(Thing *t, unsigned int *out) {       \
        ENTER(t, #function);                          \
        return leave(narrow(t, key, out));            \
    }
#define GET_ULL(function, key)                        \
    int function(Thing *t, unsigned long long *out) { \
        ENTER(t, #function);                          \
        return leave(whole(t, key, out));             \
    }
#define GET_TEXT(function, key)                                      \
    int function(Thing *t, char *out, unsigned int length) {         \
        ENTER(t, #function);                                         \
        return leave(text_of(t, key, out, length));                  \
    }

/* ---- library and enumeration */

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    initialized = 1;
    int code = enter(NULL, "nvmlInitWithFlags");
    if (code) initialized = 0;
    return leave(code);
}

int nvmlShutdown(void) {
    ENTER(NULL, "nvmlShutdown");
    initialized = 0;
    return leave(SUCCESS);
}

const char *nvmlErrorString(int code) {
    static char text[40];
    snprintf(text, sizeof text, "emulated error %d", code);
    return text;
}

int nvmlSystemGetDriverVersion(char *out, unsigned int length) {
    ENTER(NULL, "nvmlSystemGetDriverVersion");
    return leave(text_of(system_thing, "driver_version", out, length));
}

int nvmlSystemGetCudaDriverVersion_v2(int *out) {
    ENTER(NULL, "nvmlSystemGetCudaDriverVersion_v2");
    unsigned int version;
    int code = narrow(system_thing, "cuda_version", &version);
    if (code == SUCCESS) *out = (int)version;
    return leave(code);
}

static int counted(const Thing *t) { return t && t->exists && find(t, "uuid") && !find(t, "gone"); }

int nvmlDeviceGetCount_v2(unsigned int *out) {
    ENTER(NULL, "nvmlDeviceGetCount_v2");
    *out = 0;
    for (int i = 0; i < MOST_CARDS; i++) *out += (unsigned int)counted(cards[i]);
    return leave(SUCCESS);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, Thing **out) {
    ENTER(NULL, "nvmlDeviceGetHandleByIndex_v2");
    unsigned int seen = 0, code;
    for (int i = 0; i < MOST_CARDS; i++) {
        if (!counted(cards[i])) continue;
        if (seen++ != index) continue;
        if (narrow(cards[i], "handle_fails", &code) == SUCCESS) return leave((int)code);
        *out = cards[i];
        return leave(SUCCESS);
    }
    return leave(INVALID_ARGUMENT);
}

GET_TEXT(nvmlDeviceGetUUID, "uuid")
GET_TEXT(nvmlDeviceGetName, "name")
GET_TEXT(nvmlDeviceGetSerial, "serial")
GET_TEXT(nvmlDeviceGetVbiosVersion, "vbios_version")
GET_UINT(nvmlDeviceGetMinorNumber, "minor_number")
GET_UINT(nvmlDeviceGetBoardId, "board_id")
GET_UINT(nvmlDeviceGetMultiGpuBoard, "multi_gpu_board")
GET_UINT(nvmlDeviceGetMaxMigDeviceCount, "max_mig_devices")
GET_UINT(nvmlDeviceGetGpuInstanceId, "gi")
GET_UINT(nvmlDeviceGetComputeInstanceId, "ci")

typedef struct {
    char busIdLegacy[16];
    unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} Pci;

int nvmlDeviceGetPciInfo_v3(Thing *t, Pci *out) {
    ENTER(t, "nvmlDeviceGetPciInfo_v3");
    memset(out, 0, sizeof *out);
    return leave(text_of(t, "pci", out->busId, sizeof out->busId));
}

/* ---- one card's values */

typedef struct { unsigned int gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } MemoryV2;

int nvmlDeviceGetUtilizationRates(Thing *t, Utilization *out) {
    ENTER(t, "nvmlDeviceGetUtilizationRates");
    const char *text = find(t, "utilization");
    if (!text || sscanf(text, "%u %u", &out->gpu, &out->memory) != 2) return leave(NOT_SUPPORTED);
    return leave(SUCCESS);
}

static int utilization_of(Thing *t, const char *key, unsigned int *out, unsigned int *period) {
    *period = 167000;
    return narrow(t, key, out);
}

int nvmlDeviceGetEncoderUtilization(Thing *t, unsigned int *out, unsigned int *period) {
    ENTER(t, "nvmlDeviceGetEncoderUtilization");
    return leave(utilization_of(t, "encoder", out, period));
}

int nvmlDeviceGetDecoderUtilization(Thing *t, unsigned int *out, unsigned int *period) {
    ENTER(t, "nvmlDeviceGetDecoderUtilization");
    return leave(utilization_of(t, "decoder", out, period));
}

int nvmlDeviceGetMemoryInfo_v2(Thing *t, MemoryV2 *out) {
    ENTER(t, "nvmlDeviceGetMemoryInfo_v2");
    if (out->version != (sizeof(MemoryV2) | 2u << 24)) return leave(VERSION_MISMATCH);
    unsigned long long reserved = 0, used, total;
    if (whole(t, "memory_total", &total) || whole(t, "memory_used", &used)) return leave(NOT_SUPPORTED);
    whole(t, "memory_reserved", &reserved);
    out->total = total, out->reserved = reserved, out->used = used;
    out->free = total - reserved - used;
    return leave(SUCCESS);
}

int nvmlDeviceGetMemoryInfo(Thing *t, Memory *out) {
    ENTER(t, "nvmlDeviceGetMemoryInfo");
    unsigned long long reserved = 0, used, total;
    if (whole(t, "memory_total", &total) || whole(t, "memory_used", &used)) return leave(NOT_SUPPORTED);
    whole(t, "memory_reserved", &reserved);
    out->total = total, out->used = used + reserved; /* v1 counts the reserve as used */
    out->free = total - out->used;
    return leave(SUCCESS);
}

int nvmlDeviceGetBAR1MemoryInfo(Thing *t, Memory *out) {
    ENTER(t, "nvmlDeviceGetBAR1MemoryInfo");
    int code = whole(t, "bar1_used", &out->used);
    out->total = 1ull << 37, out->free = out->total - out->used;
    return leave(code);
}

int nvmlDeviceGetTemperature(Thing *t, unsigned int sensor, unsigned int *out) {
    ENTER(t, "nvmlDeviceGetTemperature");
    return leave(sensor ? INVALID_ARGUMENT : narrow(t, "temperature", out));
}

typedef struct { unsigned int version, sensor; int temperature; } TemperatureV1;

int nvmlDeviceGetTemperatureV(Thing *t, TemperatureV1 *out) {
    ENTER(t, "nvmlDeviceGetTemperatureV");
    if (out->version != (sizeof(TemperatureV1) | 1u << 24)) return leave(VERSION_MISMATCH);
    return leave(narrow(t, "temperature", (unsigned int *)&out->temperature));
}

int nvmlDeviceGetTemperatureThreshold(Thing *t, unsigned int threshold, unsigned int *out) {
    ENTER(t, "nvmlDeviceGetTemperatureThreshold");
    return leave(narrow(t, threshold == 1 ? "temperature_slowdown" : "temperature_shutdown", out));
}

int nvmlDeviceGetMarginTemperature(Thing *t, TemperatureV1 *out) {
    ENTER(t, "nvmlDeviceGetMarginTemperature"); /* two words: version, margin */
    if (out->version != (8u | 1u << 24)) return leave(VERSION_MISMATCH);
    return leave(narrow(t, "temperature_margin", (unsigned int *)&out->sensor));
}

GET_UINT(nvmlDeviceGetPowerUsage, "power_mw")
GET_UINT(nvmlDeviceGetEnforcedPowerLimit, "power_limit_mw")
GET_UINT(nvmlDeviceGetPowerManagementDefaultLimit, "power_limit_default_mw")
GET_ULL(nvmlDeviceGetTotalEnergyConsumption, "energy_mj")
GET_UINT(nvmlDeviceGetFanSpeed, "fan")
GET_UINT(nvmlDeviceGetPerformanceState, "pstate")
GET_ULL(nvmlDeviceGetCurrentClocksEventReasons, "throttle")
GET_ULL(nvmlDeviceGetCurrentClocksThrottleReasons, "throttle")
GET_UINT(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_generation")
GET_UINT(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_generation_max")
GET_UINT(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width")
GET_UINT(nvmlDeviceGetMaxPcieLinkWidth, "pcie_width_max")
GET_UINT(nvmlDeviceGetPcieReplayCounter, "pcie_replays")

static int clock_of(Thing *t, const char *suffix, unsigned int type, unsigned int *out) {
    static const char *names[] = {"graphics", "sm", "memory", "video"};
    char key[72];
    if (type > 3) return INVALID_ARGUMENT;
    snprintf(key, sizeof key, "clock_%s%s", names[type], suffix);
    return narrow(t, key, out);
}

int nvmlDeviceGetClockInfo(Thing *t, unsigned int type, unsigned int *out) {
    ENTER(t, "nvmlDeviceGetClockInfo");
    return leave(clock_of(t, "", type, out));
}

int nvmlDeviceGetMaxClockInfo(Thing *t, unsigned int type, unsigned int *out) {
    ENTER(t, "nvmlDeviceGetMaxClockInfo");
    return leave(clock_of(t, "_max", type, out));
}

int nvmlDeviceGetPcieThroughput(Thing *t, unsigned int counter, unsigned int *out) {
    ENTER(t, "nvmlDeviceGetPcieThroughput"); /* 0 sent, 1 received; KB/s */
    return leave(narrow(t, counter ? "pcie_rx_kbps" : "pcie_tx_kbps", out));
}

int nvmlDeviceGetTotalEccErrors(Thing *t, unsigned int type, unsigned int counter, unsigned long long *out) {
    ENTER(t, "nvmlDeviceGetTotalEccErrors");
    static const char *keys[2][2] = {{"ecc_corrected", "ecc_corrected_lifetime"},
                                     {"ecc_uncorrected", "ecc_uncorrected_lifetime"}};
    if (type > 1 || counter > 1) return leave(INVALID_ARGUMENT);
    return leave(whole(t, keys[type][counter], out));
}

int nvmlDeviceGetMemoryErrorCounter(Thing *t, unsigned int type, unsigned int counter, unsigned int where,
                                    unsigned long long *out) {
    ENTER(t, "nvmlDeviceGetMemoryErrorCounter");
    if (counter != 0 || where != 7) return leave(NOT_SUPPORTED); /* only volatile SRAM is played */
    return leave(whole(t, type ? "sram_uncorrected" : "sram_corrected", out));
}

int nvmlDeviceGetNvLinkState(Thing *t, unsigned int link, unsigned int *out) {
    ENTER(t, "nvmlDeviceGetNvLinkState");
    char key[72];
    snprintf(key, sizeof key, "link:%u", link);
    const char *text = find(t, key);
    if (!text) return leave(link == 0 ? NOT_SUPPORTED : INVALID_ARGUMENT);
    *out = strcmp(text, "up") == 0;
    return leave(SUCCESS);
}

int nvmlDeviceGetNvLinkVersion(Thing *t, unsigned int link, unsigned int *out) {
    (void)link;
    ENTER(t, "nvmlDeviceGetNvLinkVersion");
    return leave(narrow(t, "link_version", out));
}

typedef struct { unsigned char cluster[16]; unsigned int status, clique, state; } Fabric;
typedef struct { unsigned int version; unsigned char cluster[16]; unsigned int status, clique, state, mask; } FabricV2;

int nvmlDeviceGetGpuFabricInfo(Thing *t, Fabric *out) {
    ENTER(t, "nvmlDeviceGetGpuFabricInfo");
    memset(out, 0, sizeof *out);
    narrow(t, "fabric_status", &out->status);
    return leave(narrow(t, "fabric_state", &out->state));
}

int nvmlDeviceGetGpuFabricInfoV(Thing *t, FabricV2 *out) {
    ENTER(t, "nvmlDeviceGetGpuFabricInfoV");
    if (out->version != (sizeof(FabricV2) | 2u << 24)) return leave(VERSION_MISMATCH);
    out->mask = out->status = 0;
    narrow(t, "fabric_status", &out->status);
    narrow(t, "fabric_health", &out->mask);
    return leave(narrow(t, "fabric_state", &out->state));
}

/* ---- fields */

typedef union { double d; unsigned int ui; unsigned long ul; unsigned long long ull; long long sll; int si; unsigned short us; } AnyValue;
typedef struct {
    unsigned int fieldId, scopeId;
    long long timestamp, latency;
    unsigned int valueType, nvmlReturn;
    AnyValue value;
} Field;

static int field_of(Thing *t, Field *f) {
    static const char *types[] = {"double", "uint", "ulong", "ull", "sll", "int", "ushort"};
    char key[72], type[16] = "", rest[100] = "";
    snprintf(key, sizeof key, "field:%u@%u", f->fieldId, f->scopeId);
    const char *text = find(t, key);
    if (!text) {
        snprintf(key, sizeof key, "field:%u", f->fieldId);
        text = find(t, key);
    }
    if (!text || sscanf(text, "%15s %99[^\n]", type, rest) != 2) return NOT_SUPPORTED;
    if (strcmp(type, "fail") == 0) return atoi(rest);
    for (unsigned int i = 0; i < 7; i++) {
        if (strcmp(type, types[i]) != 0) continue;
        f->valueType = i;
        switch (i) { /* only the value's own bytes are written: the rest of the union keeps what was there */
        case 0: f->value.d = strtod(rest, NULL); break;
        case 1: f->value.ui = (unsigned int)strtoul(rest, NULL, 0); break;
        case 2: f->value.ul = strtoul(rest, NULL, 0); break;
        case 3: f->value.ull = strtoull(rest, NULL, 0); break;
        case 4: f->value.sll = strtoll(rest, NULL, 0); break;
        case 5: f->value.si = (int)strtol(rest, NULL, 0); break;
        default: f->value.us = (unsigned short)strtoul(rest, NULL, 0);
        }
        return SUCCESS;
    }
    return UNKNOWN;
}

int nvmlDeviceGetFieldValues(Thing *t, int count, Field *fields) {
    ENTER(t, "nvmlDeviceGetFieldValues");
    for (int i = 0; i < count; i++) {
        fields[i].nvmlReturn = (unsigned int)field_of(t, &fields[i]);
        fields[i].timestamp = 1, fields[i].latency = 1;
    }
    return leave(SUCCESS);
}

/* ---- processes */

typedef struct { unsigned int pid; unsigned long long used; unsigned int gi, ci; } Process;

static int processes_of(Thing *t, unsigned int *count, Process *out) {
    unsigned int room = *count, found = 0;
    if (!find(t, "processes")) return NOT_SUPPORTED;
    for (int i = 0; i < t->count; i++) {
        if (strncmp(t->values[i].key, "process:", 8) != 0) continue;
        if (found < room && out) {
            char bytes[32] = "";
            Process *p = &out[found];
            p->pid = (unsigned int)strtoul(t->values[i].key + 8, NULL, 10);
            p->gi = p->ci = NO_INSTANCE;
            sscanf(t->values[i].text, "%31s %u %u", bytes, &p->gi, &p->ci);
            p->used = strcmp(bytes, "NA") == 0 ? ~0ull : strtoull(bytes, NULL, 0);
        }
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Thing *t, unsigned int *count, Process *out) {
    ENTER(t, "nvmlDeviceGetComputeRunningProcesses_v3");
    return leave(processes_of(t, count, out));
}

int nvmlDeviceGetComputeRunningProcesses_v2(Thing *t, unsigned int *count, Process *out) {
    ENTER(t, "nvmlDeviceGetComputeRunningProcesses_v2");
    return leave(processes_of(t, count, out));
}

typedef struct { unsigned int pid; unsigned long long time; unsigned int sm, memory, encoder, decoder; } ProcessSample;

int nvmlDeviceGetProcessUtilization(Thing *t, ProcessSample *out, unsigned int *count, unsigned long long since) {
    (void)since;
    ENTER(t, "nvmlDeviceGetProcessUtilization");
    unsigned int room = *count, found = 0;
    for (int i = 0; i < t->count; i++) {
        if (strncmp(t->values[i].key, "process_util:", 13) != 0) continue;
        if (found < room && out) {
            memset(&out[found], 0, sizeof *out);
            out[found].pid = (unsigned int)strtoul(t->values[i].key + 13, NULL, 10);
            out[found].time = (unsigned long long)time(NULL) * 1000000;
            out[found].sm = (unsigned int)strtoul(t->values[i].text, NULL, 10);
        }
        found++;
    }
    *count = found;
    if (!found) return leave(find(t, "processes") ? NOT_FOUND : NOT_SUPPORTED);
    return leave(found > room ? INSUFFICIENT_SIZE : SUCCESS);
}

/* ---- MIG */

int nvmlDeviceGetMigMode(Thing *t, unsigned int *current, unsigned int *pending) {
    ENTER(t, "nvmlDeviceGetMigMode");
    int code = narrow(t, "mig_mode", current);
    if (code == SUCCESS) *pending = *current;
    return leave(code);
}

int nvmlDeviceGetMigDeviceHandleByIndex(Thing *t, unsigned int index, Thing **out) {
    ENTER(t, "nvmlDeviceGetMigDeviceHandleByIndex");
    if (index >= MOST_MIGS) return leave(INVALID_ARGUMENT);
    for (int card = 0; card < MOST_CARDS; card++)
        if (cards[card] == t && migs[card][index] && migs[card][index]->exists) {
            *out = migs[card][index];
            return leave(SUCCESS);
        }
    return leave(NOT_FOUND);
}

typedef struct {
    unsigned int multiprocessors, copy, decoders, encoders, jpegs, ofas, gi_slices, ci_slices;
    unsigned long long memory_mb;
} Attributes;

int nvmlDeviceGetAttributes_v2(Thing *t, Attributes *out) {
    ENTER(t, "nvmlDeviceGetAttributes_v2");
    memset(out, 0, sizeof *out);
    unsigned long long bytes = 0;
    whole(t, "memory_total", &bytes);
    out->memory_mb = bytes >> 20;
    if (narrow(t, "gi_slices", &out->gi_slices)) return leave(NOT_SUPPORTED);
    return leave(narrow(t, "ci_slices", &out->ci_slices));
}

/* ---- GPM: two samples, and metrics between them */

typedef struct { Thing *thing; } GpmSample;
typedef struct { unsigned int id, code; double value; const char *names[3]; } GpmMetric;
typedef struct { unsigned int version, count; GpmSample *first, *second; GpmMetric metrics[512]; } GpmGet;
typedef struct { unsigned int version, supported; } GpmSupport;

int nvmlGpmQueryDeviceSupport(Thing *t, GpmSupport *out) {
    ENTER(t, "nvmlGpmQueryDeviceSupport");
    out->supported = find(t, "gpm_supported") != NULL;
    return leave(SUCCESS);
}

int nvmlGpmSampleAlloc(GpmSample **out) {
    ENTER(NULL, "nvmlGpmSampleAlloc");
    *out = calloc(1, sizeof(GpmSample));
    return leave(SUCCESS);
}

int nvmlGpmSampleFree(GpmSample *sample) {
    ENTER(NULL, "nvmlGpmSampleFree");
    free(sample);
    return leave(SUCCESS);
}

int nvmlGpmSampleGet(Thing *t, GpmSample *sample) {
    ENTER(t, "nvmlGpmSampleGet");
    sample->thing = t;
    return leave(SUCCESS);
}

int nvmlGpmMigSampleGet(Thing *t, unsigned int gi, GpmSample *sample) {
    ENTER(t, "nvmlGpmMigSampleGet");
    for (int card = 0; card < MOST_CARDS; card++)
        for (int m = 0; cards[card] == t && m < MOST_MIGS; m++) {
            unsigned int its;
            if (migs[card][m] && migs[card][m]->exists && narrow(migs[card][m], "gi", &its) == SUCCESS && its == gi) {
                sample->thing = migs[card][m];
                return leave(SUCCESS);
            }
        }
    return leave(NOT_FOUND);
}

int nvmlGpmMetricsGet(GpmGet *get) {
    ENTER(get->second->thing, "nvmlGpmMetricsGet");
    if (get->version != 1) return leave(VERSION_MISMATCH);
    if (get->first->thing != get->second->thing) return leave(INVALID_ARGUMENT);
    for (unsigned int i = 0; i < get->count; i++) {
        char key[72];
        snprintf(key, sizeof key, "gpm:%u", get->metrics[i].id);
        get->metrics[i].code = (unsigned int)number(get->second->thing, key, &get->metrics[i].value);
    }
    return leave(SUCCESS);
}
